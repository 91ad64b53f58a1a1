"""What checkpoints cost: the share of a training's time that goes into writing them.

    python bench/checkpoints.py --words 100000 --dim 100 --every 30s

Trains skip-gram on made-up text whose words are as frequent as Zipf says, and times each
checkpoint; the folder should lie on the disk that models are written to.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import embedcli
from embedcli.training import checkpoint, run


def make_text(path: Path, words: int, tokens: int) -> None:
    """Write `tokens` words, `words` of them different, twenty a line."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, words + 1)
    drawn = rng.choice(words, max(tokens - words, 0), p=share / share.sum())
    ids = np.concatenate([np.arange(words), drawn])
    with path.open("w") as out:
        for start in range(0, len(ids), 20):
            out.write(" ".join(f"w{each}" for each in ids[start : start + 20].tolist()) + "\n")


def measure(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Train once; returns seconds of training, and of its checkpoints."""
    make_text(folder / "corpus.txt", asked.words, asked.tokens)
    spent: list[float] = []
    times: list[float] = []
    save = checkpoint.save_checkpoint

    def timed(*arguments: Any) -> None:
        began = time.perf_counter()
        save(*arguments)
        spent.append(time.perf_counter() - began)

    with mock.patch.object(run, "save_checkpoint", timed):
        embedcli.train(
            folder / "corpus.txt",
            folder / "model",
            min_count=1,
            dim=asked.dim,
            epochs=asked.epochs,
            checkpoint_every=asked.every,
            cache=False,
            report=lambda _: times.append(time.perf_counter()),
        )
    seconds = times[-1] - times[0]
    return {
        "words": asked.words,
        "dim": asked.dim,
        "every": asked.every,
        "training_seconds": round(seconds, 1),
        "checkpoints": len(spent),
        "seconds_each": [round(each, 3) for each in spent],
        "share": round(sum(spent) / seconds, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=100_000)
    parser.add_argument("--tokens", type=int, default=2_000_000)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--every", default="30s")
    parser.add_argument("--folder", help="where to write, rather than in the system's own")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="embed-checkpoints-", dir=asked.folder) as folder:
        print(json.dumps(measure(Path(folder), asked), indent=1))


if __name__ == "__main__":
    main()
