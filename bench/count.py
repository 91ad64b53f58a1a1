"""Counting pairs of words: words a second and memory, beside GloVe's cooccur.

    python bench/count.py CORPUS --window 10 --memory 512m 1g --cooccur GLOVE/build

The corpus is tokenised once. Ids are cached before the measured runs, so that they count alone;
cooccur reads the same tokens and the vocabulary that vocab_count made of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import measure
from compare import tokenized

COUNT = """
import json, sys, time
from pathlib import Path
from embedcli.config import TextSettings, bytes_of
from embedcli.counting import count_cells
from embedcli.text.encode import encode
tokens, folder, window, memory, workers, min_count = sys.argv[1:]
settings = TextSettings(tokenizer="whitespace", normalize=False, fold_case=False,
                        min_count=int(min_count))
(Path(folder) / "ids").mkdir()
corpus = encode([tokens], settings, folder=Path(folder) / "ids")
began = time.perf_counter()
parts = count_cells(corpus, int(window), "harmonic", folder=Path(folder), workers=int(workers),
                    memory=bytes_of(memory))
print(json.dumps({"seconds": time.perf_counter() - began,
                  "cells": sum(len(part.rows) for part in parts)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--window", type=int, default=10)
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--memory", nargs="+", default=["1g"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cooccur", type=Path, help="folder of GloVe's programs")
    args = parser.parse_args()
    print(", ".join(machine.describe().values()))
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        os.environ["EMBED_CACHE"] = str(scratch / "cache")
        tokens, words = tokenized(args.corpus, scratch / "tokens.txt")
        print(f"{args.corpus.name}, {words:,} words, window {args.window}\n")
        print("| | M words/s | seconds | peak MB | cells |\n|---|---:|---:|---:|---:|")
        for number in range(args.rounds + 1):  # the first fills the cache
            for memory in args.memory:
                folder = Path(tempfile.mkdtemp(dir=scratch))
                rest = [args.window, memory, args.workers, args.min_count]
                run = measure.run(
                    [sys.executable, "-c", COUNT, str(tokens), str(folder), *map(str, rest)]
                )
                told = json.loads(run.stdout)
                if number:
                    _print(f"embed, {memory}", words, told["seconds"], run.peak_pss, told["cells"])
            if args.cooccur is not None and number:
                _cooccur(args, tokens, scratch, words)


def _cooccur(args: argparse.Namespace, tokens: Path, scratch: Path, words: int) -> None:
    vocabulary, counts = scratch / "vocab.txt", scratch / "counts.bin"
    count = [str(args.cooccur / "vocab_count"), "-min-count", str(args.min_count)]
    with tokens.open("rb") as text, vocabulary.open("wb") as out:
        subprocess.run([*count, "-verbose", "0"], stdin=text, stdout=out, check=True)
    command = [str(args.cooccur / "cooccur"), "-vocab-file", str(vocabulary)]
    command += ["-window-size", str(args.window), "-memory", "4.0", "-verbose", "0"]
    began = time.perf_counter()
    with tokens.open("rb") as text, counts.open("wb") as out:
        subprocess.run(command, stdin=text, stdout=out, check=True, cwd=scratch)
    seconds = time.perf_counter() - began
    _print("cooccur, 4 GB", words, seconds, 0, counts.stat().st_size // 16)


def _print(name: str, words: int, seconds: float, peak: int, cells: int) -> None:
    memory = f"{peak / 1e6:,.0f}" if peak else ""
    speed = words / seconds / 1e6
    print(f"| {name} | {speed:.2f} | {seconds:.2f} | {memory} | {cells:,} |", flush=True)


if __name__ == "__main__":
    main()
