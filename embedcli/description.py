"""What a model folder or a file of vectors is: shape, norms, settings, sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from embedcli import formats
from embedcli.config import TrainSettings
from embedcli.formats.base import Options
from embedcli.formats.fasttext_bin import open_model
from embedcli.model import load_model, verify_model
from embedcli.quantize import Int8Rows, ProductRows
from embedcli.table import EmbeddingTable

_BINS = 40  # of the histogram of norms


class Histogram(NamedTuple):
    """How many numbers lie between each two edges: n counts, n + 1 edges, the last included."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Description:
    """A model folder, or a file of vectors (then `settings` is None)."""

    path: Path
    format: str  # one of `formats.FORMATS`, as found from the content
    words: int  # V
    dim: int  # D
    norms: tuple[float, float, float]  # smallest, mean, largest
    histogram: Histogram  # of the norms that are finite
    files: Mapping[str, int]  # name → bytes
    settings: TrainSettings | None = None
    digest: str | None = None  # SHA-256 of table.npy
    corpus: str | None = None  # SHA-256 of the text's bytes
    version: str | None = None  # of the `embed` that wrote it
    untrained: int | None = None  # words that no training step used
    labels: Sequence[str] = ()
    ngrams: int | None = None  # rows of n-grams, if the model has them
    log: Sequence[Mapping[str, Any]] = ()
    rows: str = "float32"  # how rows are stored, or one of `quantize.QUANTIZERS`
    fasttext: Mapping[str, Any] | None = None  # settings of a model of fastText's

    def _repr_html_(self) -> str:
        from embedcli.views import blocks, records

        return blocks.html_of(records.description(self))


def of_file(path: Path) -> Description:
    """Describe a file of vectors, or a folder of them for the projector; raises FormatError."""
    table = formats.open_table(path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    sizes = {each.name: each.stat().st_size for each in files}
    kind = formats.sniff(path)
    found = Description(path, kind, len(table), table.dim, *_norms(table), sizes)
    if kind != "fasttext-bin":
        return found
    model = open_model(path, Options())
    return replace(
        found,
        labels=tuple(label.decode("utf-8", "replace") for label in model.labels),
        rows="float32" if isinstance(model.input, np.ndarray) else model.input.kind,
        fasttext=model.settings(),
    )


def of_model(path: Path, *, verify: bool) -> Description:
    """Describe a model folder, whose files are compared with their digests first if `verify`.

    Raises StoreError.
    """
    model = verify_model(path) if verify else load_model(path)
    bundle = model.bundle
    norms, histogram = _norms(model.table)
    vectors = model.table.vectors
    return Description(
        path=path,
        format="model",
        words=len(model.table),
        dim=model.table.dim,
        norms=norms,
        histogram=histogram,
        files={name: file.bytes for name, file in bundle.files.items()} if bundle else {},
        settings=model.settings,
        digest=model.digest,
        corpus=model.corpus,
        version=bundle.embed if bundle else None,
        untrained=None if model.is_quantized else int(np.count_nonzero(model.trained == 0)),
        labels=model.labels,
        ngrams=sum(map(len, model.buckets.values())) if model.buckets else None,
        log=model.log,
        rows=vectors.kind if isinstance(vectors, Int8Rows | ProductRows) else "float32",
    )


def _norms(table: EmbeddingTable) -> tuple[tuple[float, float, float], Histogram]:
    norms = table.norms()  # (V,)
    counts, edges = np.histogram(norms[np.isfinite(norms)], _BINS)
    histogram = Histogram(tuple(edges.tolist()), tuple(counts.tolist()))
    return (float(norms.min()), float(norms.mean()), float(norms.max())), histogram
