"""Raw text to ids, beside gensim's `build_vocab` over the same text already split by blanks.

    python bench/encoding.py CORPUS --peer-python PEERS/bin/python --rounds 5

`embed` decodes, folds case, finds the words and writes their ids; gensim reads the words, as split
by blanks, from the lines that `embed tokenize` made, and counts them. Each runs in a process of its
own, in turn; imports are not counted. MB are those of the raw text for both.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
from compare import tokenized

EMBED = """
import sys, tempfile, time
from pathlib import Path
from embedcli.config import TextSettings
from embedcli.text.encode import encode
settings = TextSettings(cache=False, workers=int(sys.argv[2]), min_count=5)
with tempfile.TemporaryDirectory() as folder:
    start = time.perf_counter()
    encode([sys.argv[1]], settings, folder=Path(folder))
    print(time.perf_counter() - start)
"""
GENSIM = """
import sys, time
from gensim.models import Word2Vec
model = Word2Vec(workers=int(sys.argv[2]), min_count=5)
start = time.perf_counter()
model.build_vocab(corpus_file=sys.argv[1])
print(time.perf_counter() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with gensim")
    args = parser.parse_args()
    size = args.corpus.stat().st_size / 1e6
    with tempfile.TemporaryDirectory() as scratch:
        tokens, _ = tokenized(args.corpus, Path(scratch) / "tokens.txt")
        rounds = [
            (
                _seconds(sys.executable, EMBED, args.corpus, args.workers),
                _seconds(args.peer_python, GENSIM, tokens, args.workers),
            )
            for _ in range(args.rounds)
        ]
    ratios = sorted(theirs / ours for ours, theirs in rounds)
    ours, theirs = (size / statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    print(", ".join(machine.describe().values()))
    print(f"{args.corpus.name}, {size:.1f} MB, {args.workers} workers, {args.rounds} rounds")
    print(f"embed {ours:.1f} MB/s, gensim {theirs:.1f} MB/s; embed ÷ gensim: "
          f"{ratios[0]:.2f} / {statistics.median(ratios):.2f} / {ratios[-1]:.2f}")  # fmt: skip


def _seconds(python: str, code: str, text: Path, workers: int) -> float:
    command = [python, "-c", code, str(text), str(workers)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
