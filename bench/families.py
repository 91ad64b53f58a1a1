"""Skip-gram, GloVe and SVD on one corpus, and Stanford's GloVe: seconds, memory, quality.

    python bench/families.py CORPUS --glove GLOVE/build \
        --similarity wordsim353.txt simlex999.txt --analogies questions-words.txt

Each task has its own defaults, but for dim and min_count. GLOVE/build holds vocab_count, cooccur,
shuffle and glove, built from github.com/stanfordnlp/GloVe with gcc -O3; they get the window, x_max
and iterations of `--task glove`. All read the same tokens; the seconds are those from the text to
the vectors, of Stanford's all four programs. `--only svd skipgram` runs some of them, so that a
table can be made in several sittings; a row is printed when it is done.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import machine
import measure
from compare import _row, tokenized

from embedcli import evaluation, formats
from embedcli.config import TrainSettings

TASKS = ("skipgram", "glove", "svd")
STANFORD = "Stanford's GloVe"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--glove", type=Path, help="folder of Stanford's programs")
    parser.add_argument("--only", nargs="+", choices=(*TASKS, "stanford"), help="of these")
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--similarity", nargs="*", type=Path, default=[])
    parser.add_argument("--analogies", nargs="*", type=Path, default=[])
    args = parser.parse_args()
    print(", ".join(machine.describe().values()))
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        os.environ["EMBED_CACHE"] = str(scratch / "cache")
        tokens, words = tokenized(args.corpus, scratch / "tokens.txt")
        print(f"{args.corpus.name}, {words:,} words\n")
        tests = [file.stem for file in args.similarity]
        for file in args.analogies:
            tests += [f"{file.stem}, {part}" for part in ("semantic", "syntactic", "all")]
        head = ["", "seconds", "peak MB", *tests]
        print(_row(head), _row(["---", *["---:"] * (len(head) - 1)]), sep="\n", flush=True)
        for task in args.only or (*TASKS, *(["stanford"] if args.glove else [])):
            command = _stanford(args, tokens, scratch) if task == "stanford" else None
            run = measure.run(command or _embed(task, args, tokens, scratch))
            vectors = scratch / ("vectors.txt" if command else f"{task}/table.npy")
            scores = _quality(vectors, args.similarity, args.analogies)
            figures = [f"{run.seconds:.0f}", f"{run.peak_pss / 1e6:,.0f}"]
            print(_row([STANFORD if command else task, *figures, *scores]), flush=True)


def _embed(task: str, args: argparse.Namespace, tokens: Path, scratch: Path) -> list[str]:
    command = [sys.executable, "-m", "embedcli", "train", str(tokens), "--task", task, "--quiet"]
    command += ["--tokenizer", "whitespace", "--no-fold-case", "--no-normalize", "--no-cache"]
    command += ["--dim", str(args.dim), "--min-count", str(args.min_count)]
    return [*command, "--workers", str(args.workers), "--out", str(scratch / task)]


def _stanford(args: argparse.Namespace, tokens: Path, scratch: Path) -> list[str]:
    same, build, quiet = TrainSettings(task="glove"), args.glove.resolve(), "-verbose 0"
    vocabulary = f"-vocab-file vocab.txt {quiet}"
    lines = [
        f"cd {scratch}",
        f"{build}/vocab_count -min-count {args.min_count} {quiet} < {tokens} > vocab.txt",
        f"{build}/cooccur {vocabulary} -window-size {same.window} < {tokens} > counts",
        f"{build}/shuffle {quiet} -seed 1 < counts > shuffled",
        "rm counts",
        f"{build}/glove {vocabulary} -save-file vectors -input-file shuffled -binary 0 -seed 1 "
        f"-threads {args.workers} -vector-size {args.dim} -iter {same.epochs} -x-max {same.x_max}",
        "rm shuffled",
    ]
    return ["bash", "-ec", "\n".join(lines)]


def _quality(vectors: Path, similarity: Sequence[Path], analogies: Sequence[Path]) -> list[str]:
    """Return the scores of a table: Spearman's correlations, and shares of right analogies."""
    table = formats.open_table(vectors)
    scores = [
        evaluation.similarity(table, evaluation.read_pairs(file)).spearman for file in similarity
    ]
    for file in analogies:
        found = evaluation.analogies(table, evaluation.read_questions(file))
        scores += [each.accuracy for each in (found.semantic, found.syntactic, found.total)]
    return [f"{score:.3f}" for score in scores]


if __name__ == "__main__":
    main()
