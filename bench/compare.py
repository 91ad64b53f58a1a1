"""`embed` and its peers on one corpus, in turn, at the same settings: speed, memory, quality.

    python bench/compare.py CORPUS --similarity wordsim353.txt simlex999.txt \
        --analogies questions-words.txt --peer-python PEERS/bin/python --json result.json

The corpus is tokenised once, so that all read the same tokens split by blanks. A round runs each
contestant in a process of its own, with a seed of its own; ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import machine
import measure

CONTESTANTS = Path(__file__).with_name("contestants.py")
NAMES = ("embed", "gensim", "fasttext")


@dataclass(frozen=True)
class Result:
    """One contestant in one round."""

    name: str
    seed: int
    version: str
    train_words: float
    """Words a second while it trained, every token of the text counted once an epoch."""
    total_words: float
    """The same from the start of its process to the saved vectors."""
    peak_mb: float
    """MB, proportional set size of all its processes."""
    quality: dict[str, float]


def main(argv: Sequence[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    settings = {
        name: getattr(args, name)
        for name in (
            "task", "dim", "window", "negatives", "min_count", "subsample", "workers", "epochs"
        )
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        tokens, words = tokenized(args.corpus, Path(scratch) / "tokens.txt")
        results = [
            _run(name, tokens, words * args.epochs, {**settings, "seed": seed}, args)
            for seed in range(args.rounds)
            for name in args.contestants
        ]
    report = {
        "machine": machine.describe(),
        "corpus": {"name": args.corpus.name, "words": words},
        "settings": settings,
        "results": [asdict(result) for result in results],
    }
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    print(_table(report, results, args.contestants))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--task", choices=("skipgram", "cbow"), default="skipgram")
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--negatives", type=int, default=5)
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--subsample", type=float, default=1e-4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestants", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--similarity", nargs="*", type=Path, default=[], help="word pair files")
    parser.add_argument("--analogies", nargs="*", type=Path, default=[], help="question files")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with the peers")
    parser.add_argument("--scratch", type=Path, help="folder for tokens and vectors")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


def tokenized(corpus: Path, tokens: Path) -> tuple[Path, int]:
    """Write the tokens of a corpus, a line a line; return their file and number."""
    command = [sys.executable, "-m", "embedcli", "tokenize", str(corpus), "--format", "tokens"]
    with tokens.open("wb") as file:
        subprocess.run(command, stdout=file, check=True)
    with tokens.open("rb") as file:
        return tokens, sum(len(line.split()) for line in file)


def _run(
    name: str, tokens: Path, words: int, settings: dict[str, Any], args: argparse.Namespace
) -> Result:
    out = tokens.with_name(f"{name}.bin")
    python = sys.executable if name == "embed" else args.peer_python
    command = [python, str(CONTESTANTS), name, str(tokens), str(out), json.dumps(settings)]
    run = measure.run(command)
    told = json.loads(run.stdout.splitlines()[-1])
    result = Result(
        name=name,
        seed=settings["seed"],
        version=told["version"],
        train_words=words / told["train_seconds"],
        total_words=words / run.seconds,
        peak_mb=run.peak_pss / 1e6,
        quality=_quality(out, args.similarity, args.analogies),
    )
    print(f"round {settings['seed'] + 1}: {result}", file=sys.stderr)
    return result


def _quality(
    vectors: Path, similarity: Sequence[Path], analogies: Sequence[Path]
) -> dict[str, float]:
    """Spearman's correlation on each file of pairs, accuracy on each of analogies, their mean."""
    from embedcli import evaluation, formats

    table = formats.open_table(vectors)
    scores = {
        file.stem: evaluation.similarity(table, evaluation.read_pairs(file)).spearman
        for file in similarity
    }
    scores |= {
        file.stem: evaluation.analogies(table, evaluation.read_questions(file)).total.accuracy
        for file in analogies
    }
    return scores | ({"mean": statistics.fmean(scores.values())} if scores else {})


def _table(report: dict[str, Any], results: Sequence[Result], names: Sequence[str]) -> str:
    """Lay the figures out as a Markdown table: medians, ratios as min / median / max."""
    tests = list(results[0].quality)
    head = ["", "k words/s, training", "end to end", "peak MB", "embed ÷ it, training", *tests]
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    by_name = {name: [each for each in results if each.name == name] for name in names}
    for name, own in by_name.items():
        ratios = sorted(
            ours.train_words / its.train_words
            for ours, its in zip(by_name.get("embed", []), own, strict=True)
        ) if name != "embed" and "embed" in by_name else []  # fmt: skip
        lines.append(
            _row(
                [
                    f"{name} {own[0].version}",
                    f"{statistics.median(each.train_words for each in own) / 1e3:,.0f}",
                    f"{statistics.median(each.total_words for each in own) / 1e3:,.0f}",
                    f"{statistics.median(each.peak_mb for each in own):,.0f}",
                    f"{ratios[0]:.2f} / {statistics.median(ratios):.2f} / {ratios[-1]:.2f}"
                    if ratios
                    else "",
                    *(f"{statistics.fmean(e.quality[test] for e in own):.3f}" for test in tests),
                ]
            )
        )
    about = ", ".join(f"{name} {value}" for name, value in report["settings"].items())
    where = ", ".join(f"{value}" for value in report["machine"].values())
    corpus = f"{report['corpus']['name']}, {report['corpus']['words']:,} words"
    return "\n".join([f"{corpus}; {about}; {len(by_name[names[0]])} rounds.", where, "", *lines])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
