"""Quality and speed of shards on one machine against one shard, and what a cluster would give.

    python bench/shards.py CORPUS --epochs 3 --shards 1 2 4 8 --similarity WS.txt SIMLEX.txt MEN.txt

CORPUS is a file or a folder. Each number of shards trains once, in turn, with the round that `auto`
chooses; the mean of Spearman's correlations says what was learnt. `--costs` prints the table of
docs/clusters.md instead, which is on paper: it multiplies figures of one machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import embedcli
from embedcli.config import TrainSettings, schema
from embedcli.training.engines import Round
from embedcli.training.loop import Step

MACHINES = (1, 2, 4, 8, 16, 64)
GIGABITS = (1, 10, 100)
# Of rounds of a million words, dim 100: megabytes that a shard changes; the power of the number of
# shards by which those grow that all change together; and of both tables.
SIZES = {"100 k": (40.0, 0.35, 80.0), "1 M": (65.0, 0.6, 800.0)}
# Seconds for a megabyte: to collect a shard's changes, to merge them, to apply what was merged.
COLLECT, MERGE, APPLY = 0.0004, 0.0005, 0.0003


def main() -> None:
    args = _parser().parse_args()
    if args.costs:
        print("\n".join(_costs(args.seconds)))
        return
    print("| shards | words/s | time | correlation | rounds |")
    print("|---:|---:|---:|---:|---:|")
    for number in args.shards:
        speed, score, rounds = _train(args, number)
        if number == args.shards[0]:
            first = speed
        print(f"| {number} | {speed:,.0f} | {first / speed:.2f} | {score:.4f} | {rounds} |")
        sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", nargs="?", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--similarity", type=Path, nargs="*", default=[])
    parser.add_argument("--set", nargs="*", default=[], help="settings, as task=cbow")
    parser.add_argument("--costs", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.33, help="to train a million words")
    return parser


def _train(args: argparse.Namespace, shards: int) -> tuple[float, float, int]:
    """Return words a second, the mean correlation, and the rounds."""
    words, rounds, began = 0, 0, 0.0

    def report(event: object) -> None:
        nonlocal words, rounds, began
        if isinstance(event, Step):
            words += event.words
        elif isinstance(event, Round):
            rounds = event.number
        elif type(event).__name__ == "Prepared":
            began = time.perf_counter()

    with tempfile.TemporaryDirectory() as scratch:
        given = dict(each.split("=", 1) for each in args.set)
        settings = {key: schema(TrainSettings)[key].parse(value) for key, value in given.items()}
        trained = embedcli.train(
            args.corpus, Path(scratch) / "m", epochs=args.epochs, shards=shards, report=report,
            **settings,
        )  # fmt: skip
        speed = words / (time.perf_counter() - began)
        found = [embedcli.evaluate(each, trained.folder) for each in args.similarity]
        scores = [each.spearman for each in found]
    return speed, statistics.fmean(scores) if scores else 0.0, rounds


def _costs(seconds: float) -> list[str]:
    """Return how many times one machine's words a second M machines train, a shard each."""
    head = [f"V = {words}, {bits} Gbit/s" for words in SIZES for bits in GIGABITS]
    lines = [f"| machines | {' | '.join(head)} |", "|" + "---:|" * (len(head) + 1)]
    for machines in MACHINES:
        cells = []
        for changed, power, most in SIZES.values():
            merged = min(changed * machines**power, most)
            work = (COLLECT + MERGE) * changed + APPLY * merged if machines > 1 else 0
            for bits in GIGABITS:
                sending = (machines - 1) / machines * (changed + merged) * 8 / 1000 / bits
                cells.append(f"{machines * seconds / (seconds + work + sending):.1f}")
        lines.append(f"| {machines} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
