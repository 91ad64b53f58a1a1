"""Approximate against exact search of a large table: recall of the 10 nearest, and time.

    embed train simplewiki.txt --epochs 1 --dim 100 --out embeddings
    python bench/approximate.py embeddings --words 1000000 --hnswlib

The rows are those of the model, disturbed: each is a row of it plus a share of the difference of
two others, so that they lie as trained vectors do. `--words 0` searches the model as it is. The
questions are rows of the table, as in `embed neighbors`; they are asked together, as of a file of
words, and one by one. `--hnswlib` builds an index of the same rows with that library (float32, in
memory), with the same connectivity and candidates.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import machine
import numpy as np

import embedcli
from embedcli.indexing import GRAPH, index_path
from embedcli.table import EmbeddingTable, unit
from embedcli.text.vocabulary import Vocabulary

K = 10
ALONE = 50  # questions that are asked one by one
PART = 1 << 16


def disturbed(rows: np.ndarray, words: int, share: float) -> np.ndarray:
    """Return so many rows, made from those of a model, (words, D)."""
    random = np.random.default_rng(1)
    made = np.empty((words, rows.shape[1]), np.float32)
    for start in range(0, words, PART):
        one, two, three = random.integers(0, len(rows), (3, min(PART, words - start)))
        made[start : start + PART] = rows[one] + share * (rows[two] - rows[three])
    return made


def measured(search: Callable[[np.ndarray], np.ndarray], queries: np.ndarray) -> dict[str, float]:
    """Return the milliseconds of a question among many, and alone."""
    search(queries[:ALONE])
    began = time.perf_counter()
    search(queries)
    together = time.perf_counter() - began
    began = time.perf_counter()
    for query in queries[:ALONE]:
        search(query[None])
    alone = time.perf_counter() - began
    return {"together": 1e3 * together / len(queries), "alone": 1e3 * alone / ALONE}


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the share of the K nearest that was found."""
    pairs = zip(found.tolist(), exact.tolist(), strict=True)
    return sum(len(set(one) & set(other)) for one, other in pairs) / exact.size


def say(**record: object) -> None:
    numbers = {key: round(x, 4) if isinstance(x, float) else x for key, x in record.items()}
    print(json.dumps(numbers), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--words", type=int, default=1_000_000)
    parser.add_argument("--share", type=float, default=0.5, help="of the difference of two rows")
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--connectivity", type=int, default=16)
    parser.add_argument("--expansion", type=int, default=128)
    parser.add_argument("--candidates", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--hnswlib", action="store_true")
    given = parser.parse_args()
    say(**machine.describe())
    rows = np.array(embedcli.load(given.model).vectors)
    if given.words:
        rows = disturbed(unit(rows), given.words, given.share)
    words = Vocabulary(list(map(str, range(len(rows)))))
    asked = np.random.default_rng(2).choice(len(rows), given.questions, replace=False)
    with TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        embedcli.convert(EmbeddingTable(words, rows), model, "model")
        made = embedcli.index(model, connectivity=given.connectivity, expansion=given.expansion)
        say(index="embed", seconds=made.seconds, megabytes=made.bytes / 1e6)
        table = embedcli.load(model)
        queries = unit(rows[asked])
        exact = table.nearest(queries, K).ids
        say(search="exact", **measured(lambda q: table.nearest(q, K).ids, queries))
        began = time.perf_counter()
        opened = table.index
        size = (index_path(model) / GRAPH).stat().st_size
        say(opened=time.perf_counter() - began, megabytes=size / 1e6)
        for candidates in given.candidates:
            table.index = replace(opened, expansion=candidates)

            def by_index(q: np.ndarray) -> np.ndarray:
                return table.nearest(q, K, approximate=True).ids

            found = by_index(queries)
            say(
                search="embed",
                candidates=candidates,
                recall=recall(found, exact),
                **measured(by_index, queries),
            )
    if given.hnswlib:
        import hnswlib

        rows = unit(rows)
        began = time.perf_counter()
        index = hnswlib.Index("ip", rows.shape[1])
        index.init_index(len(rows), M=given.connectivity, ef_construction=given.expansion)
        index.add_items(rows, num_threads=os.cpu_count())
        say(index="hnswlib", seconds=time.perf_counter() - began)
        for candidates in given.candidates:
            index.set_ef(candidates)

            def by_peer(q: np.ndarray) -> np.ndarray:
                return index.knn_query(q, K)[0].astype(np.int64)

            found = by_peer(queries)
            say(
                search="hnswlib",
                candidates=candidates,
                recall=recall(found, exact),
                **measured(by_peer, queries),
            )


if __name__ == "__main__":
    main()
