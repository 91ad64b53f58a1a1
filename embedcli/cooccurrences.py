"""A matrix of co-occurrence counts: with whom a word stands, and how much more than by chance.

A saved one is a bundle:

    cells.npz    row, col (n,) int32, data (n,) float64, shape, format: `scipy.sparse.load_npz`
    vocab.txt    one word a line; the line is its id, and its row and column
    counts.npy   (V,) int64, how often each word occurs
    totals.npy   (V,) float64, the sum of each row
    config.yaml  the settings as resolved
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedcli.config import CountSettings, bytes_of, read_yaml, to_yaml
from embedcli.counting import (
    BASE_MEMORY,
    MEMORY_OF_WORKER,
    Cells,
    count_cells,
    passes,
    rows_between,
)
from embedcli.errors import StoreError
from embedcli.parallel import resolve_workers
from embedcli.storage import files
from embedcli.storage.arrays import map_npz, npz_chunks, require_array
from embedcli.storage.bundle import MANIFEST, Member, open_bundle, require_types, write_bundle
from embedcli.text.encode import encode
from embedcli.text.tokenizer import Tokenizer
from embedcli.text.vocabulary import Vocabulary
from embedcli.views import notebook

Order = Literal["count", "pmi"]


@notebook.shown
@dataclass(frozen=True, slots=True)
class Partner:
    """A word that stands near another: how often, and how much more than by chance."""

    token: str
    id: int
    count: float
    pmi: float  # log of the count, divided by the count if both words were scattered at random
    ppmi: float  # the same, 0 where it is negative


@dataclass(frozen=True, slots=True)
class Contexts:
    """A word, how often it occurs, the sum of its counts, and the words near it."""

    token: str
    id: int
    occurrences: int
    total: float
    partners: Sequence[Partner]
    partners_in_all: int

    def _repr_html_(self) -> str:
        from embedcli.views import blocks, counts

        return blocks.html_of(counts.contexts(self))


@notebook.shown
@dataclass(frozen=True, slots=True)
class Pair:
    """Two words and how often they stand near each other; their PMI is None if they never do."""

    tokens: tuple[str, str]
    count: float
    expected: float  # the count if both words were scattered at random
    pmi: float | None
    ppmi: float


@dataclass(frozen=True, kw_only=True)
class Cooccurrences:
    """A symmetric matrix of counts (V, V), in parts one after the other."""

    vocabulary: Vocabulary  # with the counts of the words
    parts: Sequence[Cells]
    totals: NDArray[np.float64]  # (V,) the sum of each row
    settings: CountSettings
    corpus: str = ""  # fingerprint of the text
    folder: Path | None = None  # of the bundle it was loaded from

    @property
    def cells(self) -> int:
        """The number of cells that are not 0."""
        return sum(len(part.rows) for part in self.parts)

    @property
    def total(self) -> float:
        """The sum of all cells."""
        return float(self.totals.sum())

    def row(self, id_: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return the columns and counts (n,) of a word's row."""
        _, columns, counts = rows_between(self.parts, id_, id_ + 1)
        self._require_words(columns)
        return columns, counts

    def contexts(self, word: str, k: int = 10, order: Order = "count") -> Contexts:
        """Return a word with the k words that stand most often near it, or with most PMI.

        Raises VocabularyError.
        """
        id_ = self.id_of(word)
        columns, counts = self.row(id_)
        pmi = self.pmi(np.full(len(columns), id_), columns, counts)
        first = np.lexsort((columns, -(counts if order == "count" else pmi)))[:k]
        best = zip(*(each[first].tolist() for each in (columns, counts, pmi)), strict=True)
        return Contexts(
            token=self.vocabulary.token(id_),
            id=id_,
            occurrences=self.occurrences(id_),
            total=float(self.totals[id_]),
            partners=[
                Partner(self.vocabulary.token(column), column, count, each, max(each, 0.0))
                for column, count, each in best
            ],
            partners_in_all=len(columns),
        )

    def pair(self, one: str, other: str) -> Pair:
        """Return how often two words stand near each other; raises VocabularyError."""
        ids = self.id_of(one), self.id_of(other)
        columns, counts = self.row(ids[0])
        return self._pair(*ids, float(counts[columns == ids[1]].sum()))

    def most_frequent(self, k: int) -> list[Pair]:
        """Return the k pairs that stand most often near each other, each once."""
        best = Cells(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0))
        for some in passes(self.parts):
            upper = np.flatnonzero(some.rows <= some.columns)
            both = [np.concatenate((b, s[upper])) for b, s in zip(best, some, strict=True)]
            first = np.argsort(-both[2], kind="stable")[:k]
            best = Cells(*(each[first] for each in both))
        self._require_words(best.rows)
        self._require_words(best.columns)
        return [self._pair(*each) for each in zip(*(each.tolist() for each in best), strict=True)]

    def matrix(self) -> NDArray[np.float64]:
        """Return the whole matrix (V, V), for a small vocabulary."""
        size = len(self.vocabulary)
        matrix = np.zeros((size, size))
        for rows, columns, counts in self.parts:
            self._require_words(rows)
            self._require_words(columns)
            matrix[rows, columns] = counts
        return matrix

    def pmi(
        self, rows: NDArray[Any], columns: NDArray[Any], counts: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the pointwise mutual information of cells (n,), by the natural logarithm.

        It is log(count · total / (row's total · column's total)); Church & Hanks 1990.
        """
        found: NDArray[np.float64] = np.log(
            counts * self.total / (self.totals[rows] * self.totals[columns])
        )
        return found

    def id_of(self, word: str) -> int:
        """Return the id of a word as it stands, or else as the tokenizer spells it."""
        found = self.vocabulary.get(word)
        if found is None:
            found = self.vocabulary.get(Tokenizer(self.settings).spelt(word))
        if found is None:
            raise self.vocabulary.unknown(word)
        return found

    def occurrences(self, id_: int) -> int:
        """Return how often a word occurs in the text."""
        assert self.vocabulary.counts is not None
        return int(self.vocabulary.counts[id_])

    def _require_words(self, ids: NDArray[np.int32]) -> None:
        """Raise StoreError for ids (n,) of no word, which a damaged file may hold."""
        if len(ids) and not 0 <= ids.min() <= ids.max() < len(self.vocabulary):
            raise StoreError(f"{self.folder}: damaged: a row or column of no word")

    def _pair(self, one: int, other: int, count: float) -> Pair:
        expected = float(self.totals[one] * self.totals[other] / self.total) if self.total else 0.0
        pmi = float(np.log(count / expected)) if count else None
        tokens = self.vocabulary.token(one), self.vocabulary.token(other)
        return Pair(tokens, count, expected, pmi, max(pmi or 0.0, 0.0))

    def _repr_html_(self) -> str:
        from embedcli.views import blocks, counts, records

        return blocks.html_of(counts.summary(self, records.ROWS_IN_HTML))


def count(
    places: Sequence[str | Path],
    out: Path | None,
    settings: CountSettings,
    progress: Callable[[str, int, int], None] | None = None,
) -> Cooccurrences:
    """Count text, and save the counts in `out` where it is given; see `api.count`.

    Without, they lie in files that have no name any more, and end with what was returned.
    """
    say = progress or (lambda *_: None)
    workers, memory = resolve_workers(settings.workers), bytes_of(settings.memory)
    # A process that reads text takes less than one that counts.
    readers = max(min(workers, (memory - BASE_MEMORY) // MEMORY_OF_WORKER), 1)
    target = Path(tempfile.gettempdir()) / "embed-count" if out is None else out
    if out is None:
        files.sweep_folder(target.parent, target.name)
    else:
        require_counts_or_nothing(out)
    with (
        nullcontext() if out is None else files.Lock(out),
        files.working_folder(target) as work,
    ):
        read = replace(settings, workers=readers)
        corpus = encode(places, read, folder=work, progress=partial(say, "read"))
        parts = count_cells(
            corpus,
            settings.window,
            settings.weighting,
            folder=work,
            workers=workers,
            memory=memory,
            progress=partial(say, "count"),
        )
        found = Cooccurrences(
            vocabulary=corpus.vocabulary,
            parts=parts,
            totals=totals_of(parts, len(corpus.vocabulary)),
            settings=replace(settings, min_count=corpus.min_count),
            corpus=corpus.fingerprint,
        )
        if out is None:
            return found
        save_counts(out, found)
    return load_counts(out)


def totals_of(parts: Sequence[Cells], words: int) -> NDArray[np.float64]:
    """Return the sum of each row: (V,)."""
    totals = np.zeros(words)
    for rows, _, counts in passes(parts):
        np.add.at(totals, rows, counts)  # in their order, wherever a part ends
    return totals


def save_counts(folder: Path, found: Cooccurrences) -> None:
    """Write counts as a bundle; the caller holds the `files.Lock` of the folder.

    Raises StoreError where `folder` holds something else, or cannot be written.
    """
    require_counts_or_nothing(folder)
    size, cells = len(found.vocabulary), found.cells
    needed = cells * (2 * 4 + 8)
    files.require_space(folder, needed, "the counts")

    def numbers(name: str, dtype: str) -> tuple[tuple[int, ...], str, Iterator[NDArray[Any]]]:
        return (cells,), dtype, (getattr(some, name) for some in passes(found.parts))

    members: dict[str, Member] = {
        "cells.npz": npz_chunks(
            {
                "row": numbers("rows", "<i4"),
                "col": numbers("columns", "<i4"),
                "data": numbers("counts", "<f8"),
                "shape": ((2,), "<i8", [np.array([size, size], "<i8")]),
                "format": ((), "|S3", [np.array(b"coo")]),
            }
        ),
        "vocab.txt": found.vocabulary.to_bytes(),
        "counts.npy": np.asarray(found.vocabulary.counts, "<i8"),
        "totals.npy": found.totals,
        "config.yaml": to_yaml(found.settings).encode(),
    }
    facts: Mapping[str, Any] = {"words": size, "cells": cells, "corpus": found.corpus}
    write_bundle(folder, "counts", members, facts)


def load_counts(folder: Path) -> Cooccurrences:
    """Open saved counts in constant time; raises StoreError."""
    bundle = open_bundle(files.current_path(folder), "counts", "embed count makes it anew")
    with bundle.damage(MANIFEST):
        require_types(bundle.facts, {"words": int, "cells": int, "corpus": str})
        words, cells = bundle.facts["words"], bundle.facts["cells"]
    counts, totals = bundle.array("counts"), bundle.array("totals")
    with bundle.damage("cells.npz"):
        found = map_npz(bundle.path("cells.npz"), ("row", "col", "data"))
        part = Cells(found["row"], found["col"], found["data"])
        for array, dtype in zip(part, ("<i4", "<i4", "<f8"), strict=True):
            require_array(array, (cells,), dtype)
    with bundle.damage("counts.npy"):
        require_array(counts, (words,), "<i8")
    with bundle.damage("totals.npy"):
        require_array(totals, (words,), "<f8")
    with bundle.damage("vocab.txt"):
        vocabulary = Vocabulary.open(bundle.path("vocab.txt"), counts)
    with bundle.damage("config.yaml"):
        settings = CountSettings(**read_yaml(bundle.path("config.yaml"), CountSettings))
    return Cooccurrences(
        vocabulary=vocabulary,
        parts=[part],
        totals=totals,
        settings=settings,
        corpus=bundle.facts["corpus"],
        folder=folder,
    )


def holds_counts(folder: Path) -> bool:
    """Return whether a folder is a bundle of counts."""
    try:
        open_bundle(files.current_path(folder), "counts")
    except StoreError:
        return False
    return True


def require_counts_or_nothing(folder: Path) -> None:
    """Raise StoreError where `folder` holds something else than counts."""
    with files.storing(folder):
        empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not empty and not holds_counts(folder):
        raise StoreError(
            f"{folder}: not a folder of counts, and not empty; it is left as it is",
            "choose another --out",
        )
