"""Measure `embed map`: seconds, memory, and neighbours kept, and those of openTSNE.

    python bench/map.py MODEL [--words 2000 20000] [--opentsne PYTHON]

PYTHON is the interpreter of an environment with openTSNE. It lays out the same unit vectors, by
cosine, with its defaults; its time is that of the layout alone, while that of `embed map` is of the
whole command: start, exact neighbours in the whole table, layout, and page.
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
from embedcli.mapping.build import kept_neighbors
from embedcli.table import unit

PEER = """
import sys, time, numpy as np, openTSNE
rows = np.load(sys.argv[1])
began = time.perf_counter()
places = openTSNE.TSNE(metric="cosine", n_jobs=-1, random_state=0).fit(rows)
print(time.perf_counter() - began)
np.save(sys.argv[2], np.asarray(places))
"""


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
                "kept": round(found.arrangements[0].share, 3),
            }
            print(json.dumps(record), flush=True)
            if asked.opentsne:
                np.save(folder / "rows.npy", unit(found.vectors))
                files = [str(folder / "rows.npy"), str(folder / "places.npy")]
                ran = measure.run([asked.opentsne, "-c", PEER, *files])
                near = found.near_on_map.ids
                kept = kept_neighbors(np.load(files[1]).astype(np.float64), near)
                record = {
                    "program": "openTSNE",
                    "words": len(found),
                    "seconds": round(float(ran.stdout), 2),
                    "peak_mb": ran.peak_pss >> 20,
                    "kept": round(float(kept.sum() / max(np.count_nonzero(near >= 0), 1)), 3),
                }
                print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
