"""`--task glove` beside Stanford's GloVe: quality, and seconds from the text to the vectors.

    python bench/glove.py CORPUS --glove GLOVE/build \
        --similarity wordsim353.txt simlex999.txt --analogies questions-words.txt

GLOVE/build holds vocab_count, cooccur, shuffle and glove, built from github.com/stanfordnlp/GloVe
with gcc -O3. Both get the same tokens, window, x_max, iterations, dim and min_count; the seconds
are those of all four programs, and of `embed train` with reading the text.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
import measure
from compare import _quality, tokenized


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--glove", type=Path, help="folder of Stanford's programs")
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--window", type=int, default=10)
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--x-max", type=float, default=100)
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--similarity", nargs="*", type=Path, default=[])
    parser.add_argument("--analogies", nargs="*", type=Path, default=[])
    args = parser.parse_args()
    print(", ".join(machine.describe().values()))
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        os.environ["EMBED_CACHE"] = str(scratch / "cache")
        tokens, words = tokenized(args.corpus, scratch / "tokens.txt")
        print(f"{args.corpus.name}, {words:,} words", flush=True)
        vectors, seconds = _embed(args, tokens, scratch)
        _print("embed", seconds, _quality(vectors, args.similarity, args.analogies))
        if args.glove is not None:
            vectors, seconds = _stanford(args, tokens, scratch)
            _print("GloVe", seconds, _quality(vectors, args.similarity, args.analogies))


def _embed(args: argparse.Namespace, tokens: Path, scratch: Path) -> tuple[Path, float]:
    settings = {
        "--dim": args.dim, "--window": args.window, "--min-count": args.min_count,
        "--x-max": args.x_max, "--epochs": args.iterations, "--workers": args.threads,
        "--out": scratch / "model", "--tokenizer": "whitespace",
    }  # fmt: skip
    command = [sys.executable, "-m", "embedcli", "train", str(tokens), "--task", "glove", "-q"]
    command += ["--no-cache", "--no-fold-case", "--no-normalize"]
    run = measure.run(command + [str(part) for pair in settings.items() for part in pair])
    return scratch / "model/table.npy", run.seconds


def _stanford(args: argparse.Namespace, tokens: Path, scratch: Path) -> tuple[Path, float]:
    build, vocabulary = args.glove.resolve(), "-vocab-file vocab.txt"
    quiet = "-verbose 0"
    lines = [
        f"{build}/vocab_count -min-count {args.min_count} {quiet} < {tokens} > vocab.txt",
        f"{build}/cooccur {vocabulary} -window-size {args.window} {quiet} < {tokens} > counts",
        f"{build}/shuffle {quiet} -seed 1 < counts > shuffled",
        f"{build}/glove -save-file vectors -threads {args.threads} -input-file shuffled "
        f"-x-max {args.x_max} -iter {args.iterations} -vector-size {args.dim} -binary 0 "
        f"{vocabulary} {quiet} -seed 1",
    ]
    (scratch / "run.sh").write_text(f"set -e\ncd {scratch}\n" + "\n".join(lines) + "\n")
    run = measure.run(["bash", str(scratch / "run.sh")])
    subprocess.run(["rm", str(scratch / "counts"), str(scratch / "shuffled")], check=True)
    return scratch / "vectors.txt", run.seconds


def _print(name: str, seconds: float, quality: dict[str, float]) -> None:
    scores = ", ".join(f"{test} {score:.3f}" for test, score in quality.items())
    print(f"{name}: {seconds:.0f} s; {scores}", flush=True)


if __name__ == "__main__":
    main()
