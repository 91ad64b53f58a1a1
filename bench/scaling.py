"""Time and memory of training against tokens, dim, vocabulary and workers.

    python bench/scaling.py CORPUS --rounds 3 --json result.json

Skip-gram, one epoch over the tokens of CORPUS, one thing changed at a time. More tokens are copies
of the text, so that the vocabulary stays the same. Time should grow with each as it does, and
memory with the tables alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import machine
import measure
from compare import CONTESTANTS, tokenized

MIN_COUNT = 5


@dataclass(frozen=True, kw_only=True)
class Case:
    """One size of everything."""

    varied: str
    copies: int = 1
    dim: int = 100
    max_vocab: int = 40_000
    workers: int = 2


@dataclass(frozen=True)
class Result:
    """What a case took: seconds of training, and of the whole process; bytes at the peak."""

    case: Case
    train_seconds: float
    seconds: float
    peak_pss: int


def cases() -> Iterator[Case]:
    """Yield what is run, the middle of all first."""
    middle = Case(varied="")
    yield from (replace(middle, varied="tokens", copies=copies) for copies in (1, 4, 16))
    yield from (replace(middle, varied="dim", dim=dim) for dim in (50, 100, 200, 300))
    sizes = (10_000, 20_000, 40_000)
    yield from (replace(middle, varied="vocabulary", max_vocab=size) for size in sizes)
    yield from (replace(middle, varied="workers", workers=workers) for workers in (1, 2))


def main() -> None:
    args = _parser().parse_args()
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        tokens, words = tokenized(args.corpus, Path(scratch) / "tokens.txt")
        results = [_run(tokens, case) for _ in range(args.rounds) for case in cases()]
    if args.json:
        report = {"machine": machine.describe(), "words": words}
        report["results"] = [asdict(result) for result in results]
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    print("\n".join(_table(results, words)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="folder for tokens and vectors")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


def _run(tokens: Path, case: Case) -> Result:
    text = tokens.with_name("copies.txt")
    with text.open("wb") as out, tokens.open("rb") as file:
        for _ in range(case.copies):
            file.seek(0)
            while block := file.read(1 << 24):
                out.write(block)
    settings = {
        "task": "skipgram", "dim": case.dim, "window": 5, "negatives": 5,
        "min_count": MIN_COUNT * case.copies, "subsample": 1e-4, "workers": case.workers,
        "epochs": 1, "seed": 0, "embed": {"max_vocab": case.max_vocab},
    }  # fmt: skip
    out_file = str(tokens.with_name("vectors.bin"))
    command = [sys.executable, str(CONTESTANTS), "embed", str(text), out_file, json.dumps(settings)]
    run = measure.run(command)
    told = json.loads(run.stdout.splitlines()[-1])
    result = Result(case, told["train_seconds"], run.seconds, run.peak_pss)
    print(result, file=sys.stderr)
    return result


def _table(results: Sequence[Result], words: int) -> Iterator[str]:
    yield f"{words:,} words a copy; medians of {sum(r.case == results[0].case for r in results)}"
    yield ""
    yield "| varied | copies | dim | words at most | workers | training s | whole s | peak MB |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for case in cases():
        own = [result for result in results if result.case == case]
        cells = [
            case.varied,
            f"{case.copies}",
            f"{case.dim}",
            f"{case.max_vocab:,}",
            f"{case.workers}",
            f"{statistics.median(result.train_seconds for result in own):.2f}",
            f"{statistics.median(result.seconds for result in own):.2f}",
            f"{statistics.median(result.peak_pss for result in own) / 1e6:,.0f}",
        ]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
