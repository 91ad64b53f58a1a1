"""An index of a model's table: a graph of near words, for approximate search.

The graph is an HNSW (Malkov and Yashunin 2020, "Efficient and robust approximate nearest neighbor
search using Hierarchical Navigable Small World graphs"), which usearch builds and searches (extra
`index`). It holds unit vectors in int8 and finds candidates; the table scores them in float32.

    MODEL.index/graph.usearch   as usearch writes it
    MODEL.index/manifest.json   see `storage.bundle`; and "table", the SHA-256 of the table's rows,
                                "connectivity" and "expansion"

usearch does not check what it reads: a damaged graph can end the process. The graph is therefore
compared with its SHA-256 each time it is opened, which takes .7 s for each GB.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import StoreError
from embedcli.storage import files
from embedcli.storage.bundle import (
    MANIFEST,
    as_json,
    open_bundle,
    require_types,
    require_whole,
    write_bundle,
)
from embedcli.table import EmbeddingTable, unit
from embedcli.views import notebook

GRAPH = "graph.usearch"
SPARE = 4  # candidates for each word that is wanted: int8 puts them in another order than float32


@notebook.shown
class Indexed(NamedTuple):
    """The index that was built: its folder, its size, and the seconds it took."""

    path: str
    words: int
    dim: int
    connectivity: int
    expansion: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class GraphIndex:
    """An opened index (`table.Index`): the graph of usearch, and how many words it considers."""

    graph: Any
    words: int
    expansion: int

    def search(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Return the ids of k candidates or more for vectors (Q, D): (Q, c), -1 for none."""
        count = min(SPARE * k, self.words)
        self.graph.expansion_search = max(count, self.expansion)
        found = self.graph.search(queries, count)
        ids = np.atleast_2d(found.keys).astype(np.int64)  # (Q, c)
        counts = getattr(found, "counts", np.full(1, ids.shape[1]))  # (Q,)
        ids[np.arange(ids.shape[1]) >= counts[:, None]] = -1
        return ids


def index_path(model: Path) -> Path:
    """Return the folder of a model's index."""
    return files.beside(model, ".index")


def build_index(
    model: Path,
    table: EmbeddingTable,
    digest: str,
    connectivity: int,
    expansion: int,
    workers: int,
    report: Callable[[int, int], None],
) -> Indexed:
    """Build the index of a model whose table has this digest, in place of an older one.

    Each word is linked to `connectivity` others (twice as many at the lowest level), the best of
    `expansion` candidates. With one worker the same table gives the same bytes; several add words
    in an order that varies. `report` is called with the words added, and their number. Words whose
    vectors are not finite are left out. Raises StoreError.
    """
    began = time.perf_counter()
    folder = index_path(model)
    _require_free(folder)
    graph = _usearch(folder).Index(
        ndim=table.dim,
        metric="cos",
        dtype="i8",
        connectivity=connectivity,
        expansion_add=expansion,
        enable_key_lookups=False,
    )
    for start, block in table.blocks():
        finite = np.isfinite(block).all(axis=1)  # (B,)
        ids = start + np.flatnonzero(finite)
        if len(ids):
            graph.add(ids, unit(block[finite]), threads=workers)
        report(start + len(block), len(table))
    data = graph.save()
    files.require_space(folder, len(data), "the index")
    facts = {"table": digest, "connectivity": connectivity, "expansion": expansion}
    with files.Lock(folder):
        _require_free(folder)  # it may have come meanwhile
        write_bundle(folder, "index", {GRAPH: [data]}, facts)
    seconds = round(time.perf_counter() - began, 3)
    return Indexed(str(folder), len(graph), table.dim, connectivity, expansion, len(data), seconds)


def _require_free(folder: Path) -> None:
    """Raise StoreError where something else than an index is in the place of one."""
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise StoreError(f"{folder}: not an index; it is left as it is", "move it away")


def open_index(model: Path, digest: str, shape: tuple[int, int]) -> GraphIndex:
    """Open the index of a model whose table has this digest and shape (V, D).

    Raises StoreError where there is none, or where it is damaged or that of another table.
    """
    folder, again = index_path(model), f"embed index {model}"
    if not (folder / MANIFEST).is_file():
        raise StoreError(f"{model}: has no index", again)
    library = _usearch(folder)
    bundle = open_bundle(folder, "index", again)
    with bundle.damage(MANIFEST):
        require_types(bundle.facts, {"table": str, "expansion": int})
        expansion = require_whole(bundle.facts["expansion"])
        bundle.path(GRAPH)
    if bundle.facts["table"] != digest:
        raise StoreError(f"{folder}: was made of another table than {model} has now", again)
    bundle.verify()
    with bundle.damage(GRAPH):
        try:
            graph = library.Index.restore(bundle.path(GRAPH), view=True)
        except RuntimeError as error:
            raise ValueError(str(error)) from None
        if graph is None or graph.ndim != shape[1] or len(graph) > shape[0]:
            raise ValueError(f"found {as_json(str(graph))}; expected the words of the table")
    return GraphIndex(graph, len(graph), min(expansion, len(graph)))


def _usearch(path: Path) -> Any:
    """Return the library; raises StoreError where it is not installed."""
    try:
        return importlib.import_module("usearch.index")
    except ImportError:
        raise StoreError(
            f"{path}: an index needs usearch, which is not installed",
            "pip install 'embedcli[index]'",
        ) from None
