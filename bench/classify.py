"""`embed train --task classify` beside fastText's supervised: precision at 1, and wall time.

    python bench/classify.py SST2=train.txt:test.txt TREC=... --wiki simplewiki.txt \
        --peer-python PEERS/bin/python --json result.json

Both read the same file: `__label__x`, then the lower-cased tokens of the text, split by blanks.
fastText (as many dimensions, two threads) is tuned a set at a time, on a tenth of the training
texts: rate .1, .5, 1, passes 5, 10, 25. `embed` takes its preset as it is. With `--tuned` fastText
is tuned with bigrams too, and so is `embed`: words and bigrams, rate .05 to .4, passes 3 to 20.
Precision is on the test texts, the mean of the seeds; where texts have one label it is the
accuracy. Time is that of a process, from its start to the model on disk, the two in turn; ratios
are taken within a round.

`--wiki` cuts texts of some 230 words from a plain text, a paragraph a line, and labels each with
the quarter of the file it stands in: Wikipedia's dumps begin with the oldest articles, and what
those are about differs from what the newest are about.
"""

from __future__ import annotations

import argparse
import compileall
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import machine
import measure

import embedcli

GRID = [
    {"lr": lr, "epoch": epoch, "wordNgrams": words}
    for lr, epoch, words in itertools.product((0.1, 0.5, 1.0), (5, 10, 25), (1, 2))
]
EMBED_GRID = [
    {"lr": lr, "epochs": epochs, **ngrams}
    for lr, epochs, ngrams in itertools.product(
        (0.05, 0.1, 0.2, 0.4), (3, 5, 10, 20), ({}, {"word-ngrams": 2})
    )
]
WIKI_TRAIN, WIKI_TEST, WIKI_WORDS = 25_000, 5_000, 230

# A process of its own each time: 0.9.3 fills only `thread` tenths of the first table
# (densematrix.cc, uniform), and what the process left in memory before may be NaN; so large
# arrays are asked of the system, which gives zeros.
ZEROED = ("env", "MALLOC_MMAP_THRESHOLD_=65536")
FASTTEXT = """
import json, sys, fasttext
train, out, test, settings = sys.argv[1:]
try:
    model = fasttext.train_supervised(train, verbose=0, **json.loads(settings))
except RuntimeError:  # "Encountered NaN": the rate is too large
    print(0.0)
else:
    if out:
        model.save_model(out)
    if test:
        print(model.test(test)[1])
"""


@dataclass(frozen=True)
class Set:
    """Texts to learn from and to test on, and how the first are split to tune on."""

    name: str
    train: Path
    test: Path
    fit: Path
    held: Path


@dataclass(frozen=True)
class Result:
    """What one set gave."""

    name: str
    texts: int
    fasttext: dict[str, float]  # as tuned
    embed: dict[str, float]  # as tuned, or empty
    fasttext_precision: list[float]
    embed_precision: list[float]
    fasttext_seconds: list[float]
    embed_seconds: list[float]


def main(argv: Sequence[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    compileall.compile_dir(Path(embedcli.__file__).parent, quiet=1)  # as an installer does
    results = []
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        for made in _sets(args, Path(scratch)):
            results.append(_compare(made, args))
            print(_row(_cells(results[-1])), file=sys.stderr)
    report = {"machine": machine.describe(), "results": [asdict(result) for result in results]}
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    print(_table(report, results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", metavar="NAME=TRAIN:TEST")
    parser.add_argument("--wiki", type=Path, help="text to cut a set from, a paragraph a line")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tuned", action="store_true", help="tune embed as fastText is")
    parser.add_argument("--rounds", type=int, default=5, help="of timing; 0: none")
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2, help="of fastText")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with fastText")
    parser.add_argument("--scratch", type=Path, help="folder for texts and models")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


def _sets(args: argparse.Namespace, scratch: Path) -> Iterator[Set]:
    for given in args.sets:
        name, _, files = given.partition("=")
        train, test = (_labelled(Path(file)) for file in files.split(":"))
        yield _written(name, train, test, scratch)
    if args.wiki:
        texts = _wiki(args.wiki)
        yield _written("wiki", texts[:WIKI_TRAIN], texts[WIKI_TRAIN:], scratch)


def _labelled(path: Path) -> list[str]:
    """Read labelled texts and write their words as `embed` cuts them."""
    from embedcli.config import TextSettings
    from embedcli.text.tokenizer import Tokenizer

    tokenizer = Tokenizer(TextSettings())
    lines = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        words = line.split()
        labels = [word for word in words if word.startswith("__label__")]
        text = " ".join(word for word in words if not word.startswith("__label__"))
        if labels:
            lines.append(" ".join([*labels, *tokenizer.tokenize(text)]) + "\n")
    return lines


def _wiki(path: Path) -> list[str]:
    """Cut texts of some 230 words, each labelled with the quarter of the file it stands in."""
    from embedcli.config import TextSettings
    from embedcli.text.encode import token_lines

    texts: list[list[str]] = [[]]
    for tokens, _ in token_lines([path], TextSettings()):
        texts[-1] += tokens
        if len(texts[-1]) >= WIKI_WORDS:
            texts.append([])
    wanted = WIKI_TRAIN + WIKI_TEST
    places = [place * (len(texts) - 1) // wanted for place in range(wanted)]
    lines = [
        f"__label__{place * 4 // len(texts) + 1} {' '.join(texts[place])}\n" for place in places
    ]
    random.Random(1).shuffle(lines)
    return lines


def _written(name: str, train: list[str], test: list[str], scratch: Path) -> Set:
    """Write the files of a set; a tenth of the training texts is held out to tune on."""
    order = list(range(len(train)))
    random.Random(7).shuffle(order)
    held = set(order[: len(train) // 10])
    parts = {
        "train": train,
        "test": test,
        "fit": [line for place, line in enumerate(train) if place not in held],
        "held": [line for place, line in enumerate(train) if place in held],
    }
    files = {}
    for part, lines in parts.items():
        files[part] = scratch / f"{name}.{part}.txt"
        files[part].write_text("".join(lines), encoding="utf-8")
    return Set(name, **files)


def _compare(made: Set, args: argparse.Namespace) -> Result:
    grid = [one for one in GRID if args.tuned or one["wordNgrams"] == 1]
    best = max(grid, key=lambda one: _fasttext_precision(made.fit, made.held, one, 0, args))
    chosen: dict[str, float] = {}
    if args.tuned:
        chosen = max(
            EMBED_GRID, key=lambda one: _embed_precision(made.fit, made.held, one, 0, args)
        )
    seeds = range(args.seeds)
    theirs = [_fasttext_precision(made.train, made.test, best, seed, args) for seed in seeds]
    ours = [_embed_precision(made.train, made.test, chosen, seed, args) for seed in seeds]
    timed: tuple[list[float], list[float]] = ([], [])
    for seed in range(args.rounds):
        out = made.train.with_suffix(".bin")
        timed[0].append(
            measure.run(_fasttext(made.train, out, None, best, seed, args), every=9).seconds
        )
        timed[1].append(measure.run(_embed(made.train, chosen, seed, args), every=9).seconds)
    texts = made.train.read_bytes().count(b"\n")
    return Result(made.name, texts, best, chosen, theirs, ours, *timed)


def _fasttext(
    train: Path,
    out: Path | None,
    test: Path | None,
    chosen: dict[str, float],
    seed: int,
    args: argparse.Namespace,
) -> list[str]:
    settings = {**chosen, "dim": args.dim, "thread": args.threads, "seed": seed}
    files = [str(file or "") for file in (train, out, test)]
    return [*ZEROED, args.peer_python, "-c", FASTTEXT, *files, json.dumps(settings)]


def _fasttext_precision(
    train: Path, test: Path, chosen: dict[str, float], seed: int, args: argparse.Namespace
) -> float:
    command = _fasttext(train, None, test, chosen, seed, args)
    return float(subprocess.run(command, capture_output=True, check=True).stdout)


def _embed(train: Path, chosen: dict[str, float], seed: int, args: argparse.Namespace) -> list[str]:
    flags = {"task": "classify", "out": train.with_suffix(""), "seed": seed, "dim": args.dim}
    given = [
        str(part) for name, value in {**flags, **chosen}.items() for part in (f"--{name}", value)
    ]
    return [
        *(sys.executable, "-m", "embedcli", "train", str(train)),
        *given,
        *("--no-cache", "--quiet"),
    ]


def _embed_precision(
    train: Path, test: Path, chosen: dict[str, float], seed: int, args: argparse.Namespace
) -> float:
    from embedcli import evaluation
    from embedcli.model import load_model

    measure.run(_embed(train, chosen, seed, args), every=9)
    model = load_model(train.with_suffix(""))
    return evaluation.classification(model, [test]).precision_at[1]


def _cells(result: Result) -> list[str]:
    ratios = sorted(
        ours / theirs
        for ours, theirs in zip(result.embed_seconds, result.fasttext_seconds, strict=True)
    )
    return [
        f"{result.name} ({result.texts:,})",
        ", ".join(f"{value:g}" for value in result.fasttext.values()),
        ", ".join(f"{value:g}" for value in result.embed.values()) or "preset",
        _precision(result.fasttext_precision),
        _precision(result.embed_precision),
        _median(result.fasttext_seconds),
        _median(result.embed_seconds),
        " / ".join(f"{each:.2f}" for each in (ratios[0], statistics.median(ratios), ratios[-1]))
        if ratios
        else "",
    ]


def _precision(figures: Sequence[float]) -> str:
    return f"{statistics.fmean(figures):.4f} ({min(figures):.4f}–{max(figures):.4f})"


def _median(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f}" if seconds else ""


def _table(report: dict[str, Any], results: Sequence[Result]) -> str:
    head = [
        *("set (texts)", "fastText's rate, passes, n-grams", "embed's"),
        *("fastText precision at 1", "embed precision at 1"),
        *("fastText s", "embed s", "embed ÷ fastText, seconds"),
    ]
    where = ", ".join(f"{value}" for value in report["machine"].values())
    rule = _row(["---", *["---:"] * (len(head) - 1)])
    return "\n".join([where, "", _row(head), rule, *(_row(_cells(each)) for each in results)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
