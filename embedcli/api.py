"""What a Python user calls, and the command line too: train, load, look up, convert."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import VocabularyError
from embedcli.table import EmbeddingTable

if TYPE_CHECKING:
    from embedcli.config import TextSettings
    from embedcli.text.tokenizer import Tokenizer
    from embedcli.text.vocabulary import Vocabulary

Oov = Literal["error", "skip", "zero"]
OovId = Literal["error", "skip", "unknown"]
Source = str | Path


def load(path: str | Path = "embeddings") -> EmbeddingTable:
    """Open a table, memory-mapped: a model folder, or a file of vectors in any known format.

    Raises StoreError or FormatError.

    >>> load("embeddings")["king"].shape  # doctest: +SKIP
    (100,)
    """
    if Path(path).is_file():
        from embedcli import formats

        return formats.open_table(Path(path))
    from embedcli import store

    return store.load_table(Path(path))


@dataclass(frozen=True)
class Found:
    """Words looked up: as they are spelt in the vocabulary, and their ids, (N,) int64.

    An id is -1 for a word that is not there; `missed` counts those, the skipped ones too.
    """

    words: Sequence[str]
    ids: NDArray[np.int64]
    missed: int


def find(
    table: EmbeddingTable,
    words: Iterable[str],
    *,
    oov: Oov = "error",
    spelt_as: str | Path | None = None,
) -> Found:
    """Find the ids of words, each as it stands, or else as the model at `spelt_as` spells it.

    A word in neither spelling raises VocabularyError, is skipped, or gets id -1, by `oov`.
    """
    asked = list(words)
    ids = table.vocabulary.ids_of(asked, unknown=-1)  # (N,)
    unknown = np.flatnonzero(ids < 0)  # (U,)
    if spelt_as is not None and len(unknown):
        tokenizer = tokenizer_of(spelt_as)
        for place in unknown:
            asked[place] = _respelt(table, asked[place], tokenizer)
        ids = table.vocabulary.ids_of(asked, unknown=-1)  # (N,)
    missed = np.flatnonzero(ids < 0)  # (M,)
    if oov == "error" and len(missed):
        raise table.vocabulary.unknown(asked[missed[0]])
    if oov == "skip":
        asked = [word for word, each in zip(asked, ids, strict=True) if each >= 0]
        ids = ids[ids >= 0]  # (N - M,)
    return Found(asked, ids.astype(np.int64), len(missed))


def _respelt(table: EmbeddingTable, word: str, tokenizer: Tokenizer) -> str:
    tokens = tokenizer.tokenize(word)
    return tokens[0] if len(tokens) == 1 and tokens[0] in table.vocabulary else word


def find_ids(table: EmbeddingTable, ids: Iterable[int]) -> Found:
    """Find the words of ids; raises VocabularyError for one outside the table."""
    wanted = np.array(list(ids), np.int64)  # (N,)
    for each in wanted[(wanted < 0) | (wanted >= len(table))][:1]:
        raise VocabularyError(f"index {each}: not in the table; expected 0 to {len(table) - 1}")
    return Found(table.vocabulary.tokens(wanted), wanted, 0)


def vectors_of(table: EmbeddingTable, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Read the rows of ids, zeros for -1, (N, D)."""
    rows = table.rows(np.maximum(ids, 0))  # (N, D)
    rows[ids < 0] = 0
    return rows


def counts_of(table: EmbeddingTable, ids: NDArray[np.int64]) -> list[int | None]:
    """Read how often the words of ids stood in the corpus; None where that is not known."""
    counts = table.vocabulary.counts
    if counts is None:
        return [None] * len(ids)
    return [int(counts[each]) if each >= 0 else None for each in ids]


def order(table: EmbeddingTable, by: Literal["id", "count", "norm", "token"]) -> NDArray[np.int64]:
    """Order the ids, (V,): as they are, or by count or norm from the largest, or by spelling."""
    if by == "id":
        return np.arange(len(table))  # (V,)
    if by == "token":
        tokens = table.vocabulary.tokens(slice(None))
        return np.array(sorted(range(len(table)), key=tokens.__getitem__), np.int64)  # (V,)
    keys = table.norms() if by == "norm" else table.vocabulary.counts  # (V,)
    if keys is None:
        raise VocabularyError("the table has no counts", "--sort id, norm or token")
    return np.argsort(-keys, kind="stable")  # (V,)


class Line(NamedTuple):
    """Tokens of a line and their ids; `ended` is false where a very long line goes on."""

    tokens: Sequence[str]
    ids: Sequence[int]
    ended: bool


def tokenize(
    sources: Source | Sequence[Source],
    *,
    vocabulary: Vocabulary | None = None,
    oov: OovId = "error",
    **settings: Any,
) -> Tokenized:
    r"""Cut text into tokens and number them by first appearance, or by a given vocabulary.

    `sources` are files, folders, globs or "-"; `settings` those of `config.TextSettings`. A word
    outside a given vocabulary raises VocabularyError, is skipped, or gets -1, by `oov`.

    >>> from tempfile import NamedTemporaryFile
    >>> with NamedTemporaryFile("w", suffix=".txt") as file:
    ...     _ = file.write("Hope to see you soon\nNice to see you again\n")
    ...     file.flush()
    ...     [line.ids for line in tokenize(file.name)]
    [[0, 1, 2, 3, 4], [5, 1, 2, 3, 6]]
    """
    from embedcli.config import TextSettings, resolve

    places = [sources] if isinstance(sources, str | Path) else list(sources)
    return Tokenized(places, resolve(TextSettings, given=settings), vocabulary, oov)


class Tokenized:
    """Lines of text as tokens and ids, read as they are asked for; then, their vocabulary."""

    def __init__(
        self,
        places: Sequence[Source],
        settings: TextSettings,
        vocabulary: Vocabulary | None,
        oov: OovId,
    ) -> None:
        self._places = places
        self._settings = settings
        self._given = vocabulary
        self._oov = oov
        self._index: defaultdict[str, int] = defaultdict()
        self._index.default_factory = self._index.__len__

    def __iter__(self) -> Iterator[Line]:
        selects = self._settings.max_vocab or self._settings.stop_words
        if self._given is not None:
            yield from self._numbered_by(self._given)
        elif selects or self._settings.min_count not in ("auto", 1):
            yield from self._selected()
        else:
            for tokens, ended in self._lines():
                yield Line(tokens, [self._index[token] for token in tokens], ended)

    def _lines(self) -> Iterator[tuple[list[str], bool]]:
        from embedcli.text.encode import token_lines

        return token_lines(self._places, self._settings)

    def _numbered_by(self, vocabulary: Vocabulary) -> Iterator[Line]:
        for tokens, ended in self._lines():
            ids = vocabulary.ids_of(tokens, unknown=None if self._oov == "error" else -1).tolist()
            if self._oov == "skip":
                kept = [(token, each) for token, each in zip(tokens, ids, strict=True) if each >= 0]
                tokens, ids = [token for token, _ in kept], [each for _, each in kept]
            yield Line(tokens, ids, ended)

    def _selected(self) -> Iterator[Line]:
        """Go twice through the text: which words stay is known only at its end."""
        from embedcli.text.encode import encode

        with TemporaryDirectory(prefix="embed-") as folder:
            corpus = encode(self._places, self._settings, folder=Path(folder))
            self._given = corpus.vocabulary
            tokens = corpus.vocabulary.tokens(slice(None))
            for start, stop in pairwise(corpus.offsets.tolist()):
                ids = corpus.ids[start:stop].tolist()
                yield Line([tokens[each] for each in ids], ids, True)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary that was given, or that of the lines read so far."""
        from embedcli.text.vocabulary import Vocabulary

        return Vocabulary(self._index) if self._given is None else self._given


def tokenizer_of(path: str | Path) -> Tokenizer:
    """Make the tokenizer with which a model was trained; the default one for a file of vectors."""
    from embedcli.config import TextSettings
    from embedcli.text.tokenizer import Tokenizer

    if Path(path).is_file():
        return Tokenizer(TextSettings())
    from embedcli import store

    return Tokenizer(store.load(Path(path)).settings)
