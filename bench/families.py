"""Skip-gram, GloVe and SVD on one corpus: seconds from the text to the model, and quality.

    python bench/families.py CORPUS --similarity wordsim353.txt simlex999.txt \
        --analogies questions-words.txt

Each task has its own defaults, but for dim and min_count.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import machine
import measure
from compare import _quality, _row

TASKS = ("skipgram", "glove", "svd")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--similarity", nargs="*", type=Path, default=[])
    parser.add_argument("--analogies", nargs="*", type=Path, default=[])
    args = parser.parse_args()
    print(", ".join(machine.describe().values()))
    with tempfile.TemporaryDirectory() as name:
        os.environ["EMBED_CACHE"] = f"{name}/cache"
        for number, task in enumerate(TASKS):
            out = Path(name) / task
            command = [sys.executable, "-m", "embedcli", "train", str(args.corpus), "--task", task]
            command += ["--dim", str(args.dim), "--min-count", str(args.min_count), "-q"]
            run = measure.run([*command, "--no-cache", "--out", str(out)])
            quality = _quality(out / "table.npy", args.similarity, args.analogies)
            if not number:
                head = ["", "seconds", "peak MB", *quality]
                print(_row(head), _row(["---", *["---:"] * (len(head) - 1)]), sep="\n")
            scores = [f"{score:.3f}" for score in quality.values()]
            print(_row([task, f"{run.seconds:.0f}", f"{run.peak_pss / 1e6:,.0f}", *scores]))


if __name__ == "__main__":
    main()
