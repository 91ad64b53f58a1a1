"""Measure `embed map`: seconds, memory and quality of the picture, and those of openTSNE.

    python bench/map.py MODEL [--words 2000 20000] [--opentsne PYTHON]

PYTHON is the interpreter of an environment with openTSNE. It lays out the same unit vectors, by
cosine, with its defaults; its time is that of the layout alone, while that of `embed map` is of the
whole command: start, exact neighbours in the whole table, layout, and page.

Of both pictures: the shares of the 10 and 50 nearest words by cosine that are among as many nearest
points, and the trustworthiness for 10 (Venna & Kaski 2001), which asks how near in the table those
are that are near in the picture; over 1,000 words.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import machine
import measure
import numpy as np

import embedcli
from embedcli.table import unit

SAMPLE = 1000  # words at which pictures are measured
TRUSTED = 10  # neighbours

PEER = """
import sys, time, numpy as np, openTSNE
rows = np.load(sys.argv[1])
began = time.perf_counter()
places = openTSNE.TSNE(metric="cosine", n_jobs=-1, random_state=0).fit(rows)
print(time.perf_counter() - began)
np.save(sys.argv[2], np.asarray(places))
"""


def quality(places: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Measure places (N, 2) of unit rows (N, D) at some words."""
    number, kept, excess = len(rows), {10: 0, 50: 0}, 0
    words = np.random.default_rng(0).permutation(number)[:SAMPLE]
    for word in words:
        order = np.argsort(-(rows @ rows[word]), kind="stable")
        order = order[order != word]  # (N-1,) by cosine
        rank = np.empty(number, np.int64)
        rank[order] = 1 + np.arange(number - 1)
        apart = ((places - places[word]) ** 2).sum(axis=1)
        apart[word] = np.inf
        for k in kept:
            near = np.argpartition(apart, k)[:k]
            kept[k] += np.count_nonzero(rank[near] <= k)
            if k == TRUSTED:
                excess += np.maximum(rank[near] - k, 0).sum()
    scale = 2 / (len(words) * TRUSTED * (2 * number - 3 * TRUSTED - 1))
    shares = {f"kept_{k}": round(found / (k * len(words)), 3) for k, found in kept.items()}
    return {**shares, "trustworthiness": round(1 - scale * float(excess), 3)}


def main() -> None:
    """Print one line of JSON for the machine, and one for each size and program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--words", type=int, nargs="+", default=[2000, 20_000])
    parser.add_argument("--opentsne", metavar="PYTHON")
    asked = parser.parse_args()
    print(json.dumps(machine.describe()))
    for words in asked.words:
        with TemporaryDirectory() as name:
            folder = Path(name)
            command = [sys.executable, "-m", "embedcli", "map", "--quiet", "--words", str(words)]
            command += ["--model", str(asked.model), "--out", str(folder / "map.html")]
            ran = measure.run(command)
            found = embedcli.map_words(asked.model, words=words)
            record = {
                "program": "embed map",
                "words": len(found),
                "seconds": round(ran.seconds, 2),
                "peak_mb": ran.peak_pss >> 20,
                "page_mb": round((folder / "map.html").stat().st_size / 1e6, 1),
                **quality(found.arrangements[0].places, unit(found.vectors)),
            }
            print(json.dumps(record), flush=True)
            if asked.opentsne:
                np.save(folder / "rows.npy", unit(found.vectors))
                files = [str(folder / "rows.npy"), str(folder / "places.npy")]
                ran = measure.run([asked.opentsne, "-c", PEER, *files])
                record = {
                    "program": "openTSNE",
                    "words": len(found),
                    "seconds": round(float(ran.stdout), 2),
                    "peak_mb": ran.peak_pss >> 20,
                    **quality(np.load(files[1]), unit(found.vectors)),
                }
                print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
