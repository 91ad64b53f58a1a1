"""Tokens and their ids."""

from __future__ import annotations

import copy
import mmap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import VocabularyError
from embedcli.storage.files import read_text
from embedcli.text.spelling import nearest_spellings
from embedcli.views import notebook

# How to handle a word that is not in a vocabulary: as an error, leave it out, a vector of zeros, or
# one that is composed of parts of the word.
Oov = Literal["error", "skip", "zero", "compose"]

_NEWLINE = ord("\n")
# Up to so many single look-ups are cheaper than an index of every token.
_SEARCHES_BEFORE_INDEX = 32


@notebook.shown
@dataclass
class Coverage:
    """How many of the words read so far were in the vocabulary, how many were not or too long."""

    known: int = 0
    unknown: int = 0
    composed: int = 0  # of the unknown: they have a vector that is composed of their parts
    too_long: int = 0  # left out, with more than `tokenizer.LONGEST` characters
    respelled: int | None = None  # of the known, found in lower case only; None: all were folded

    def add(self, words: int, unknown: int, composed: int = 0) -> None:
        """Count so many words, of them the unknown ones, and of these the composed ones."""
        self.known += words - unknown
        self.unknown += unknown
        self.composed += composed


class Vocabulary:
    """The tokens of a table, numbered from 0, with their counts.

    Tokens are kept as UTF-8 lines, in memory or in a memory-mapped `vocab.txt`. An index is built
    only when it is needed, so that one word of a million is found in milliseconds.

    `counts` is int64 (V,), or None if they are not known. Raises VocabularyError for a token that
    is repeated or empty, or that contains a newline.
    """

    def __init__(self, tokens: Iterable[str], counts: NDArray[np.int64] | None = None) -> None:
        listed = list(tokens)
        index: dict[str, int] = dict(zip(listed, range(len(listed)), strict=True))
        if len(index) < len(listed):
            place = next(place for place, token in enumerate(listed) if index[token] != place)
            again = listed.index(listed[place], place + 1) + 1
            raise VocabularyError(
                f"line {again}: {listed[place]!r} was line {place + 1} already; expected each word "
                "once"
            )
        lines = "\n".join([*listed, ""])
        if lines.count("\n") > len(listed) or "" in index:
            place = next(n for n, token in enumerate(listed) if not token or "\n" in token)
            raise VocabularyError(
                f"line {place + 1}: found {listed[place]!r}; expected a token without a newline, "
                "not empty"
            )
        try:
            self._lines: bytes | mmap.mmap = lines.encode("utf-8")
        except UnicodeEncodeError as error:
            found = hex(ord(error.object[error.start]))
            raise VocabularyError(f"a token has {found}, which is not text") from None
        self._index: dict[str, int] | None = index
        self._listed: list[str] | None = listed
        self._starts: NDArray[np.int64] | None = None
        self._searches = 0
        self.counts = self._checked(counts)

    def _checked(self, counts: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
        if counts is not None and len(counts) != len(self):
            raise VocabularyError(f"found {len(counts)} counts for {len(self)} tokens")
        return counts

    @classmethod
    def of_lines(
        cls, lines: bytes | mmap.mmap, counts: NDArray[np.int64] | None = None
    ) -> Vocabulary:
        """Return the vocabulary of a `vocab.txt`'s content, which is not checked."""
        vocabulary = cls(())
        vocabulary._lines = lines
        vocabulary._index = vocabulary._listed = None
        vocabulary.counts = vocabulary._checked(counts)
        return vocabulary

    @classmethod
    def open(cls, path: Path, counts: NDArray[np.int64] | None = None) -> Vocabulary:
        """Memory-map a `vocab.txt` (UTF-8, one token a line, line number = id) without reading it.

        Raises VocabularyError if the file is missing or its last line has no newline.
        """
        try:
            with path.open("rb") as file:
                empty = path.stat().st_size == 0
                lines = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise VocabularyError(f"{path}: {error.strerror}; expected a vocabulary") from error
        if not empty and lines[-1:] != b"\n":
            raise VocabularyError(f"{path}: the last line has no end")
        return cls.of_lines(lines, counts)

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read a vocabulary from a file with one token a line; raises VocabularyError."""
        text = read_text(path, VocabularyError, "a vocabulary", "one token a line")
        tokens = [line.removesuffix("\r") for line in text.split("\n")]
        if tokens[-1] == "":
            tokens.pop()
        try:
            return cls(tokens)
        except VocabularyError as error:
            raise VocabularyError(f"{path}: {error.message}", hint=error.hint) from None

    def with_counts(self, counts: NDArray[np.int64]) -> Vocabulary:
        """Return the same tokens with other counts, int64 (V,)."""
        other = copy.copy(self)
        other.counts = counts
        return other

    def to_bytes(self) -> bytes:
        """Return the content of `vocab.txt`: UTF-8, one token a line."""
        return self._lines[:]

    def __len__(self) -> int:
        if self._listed is not None:
            return len(self._listed)
        return len(self._line_starts()) - 1

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __contains__(self, token: object) -> bool:
        return isinstance(token, str) and self._find(token) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} tokens)"

    def id_of(self, token: str) -> int:
        """Return the id of `token`; raises VocabularyError, naming near spellings, if unknown."""
        found = self._find(token)
        if found is None:
            raise self.unknown(token)
        return found

    def get(self, token: str) -> int | None:
        """Return the id of `token`, or None if it is unknown."""
        return self._find(token)

    def ids_of(self, tokens: Sequence[str], unknown: int | None = None) -> NDArray[np.int32]:
        """Return the ids of `tokens`, int32 (n,).

        The id of an unknown token is `unknown`; raises VocabularyError if that is None.
        """
        if len(tokens) > _SEARCHES_BEFORE_INDEX:
            self._indexed()
        ids = np.empty(len(tokens), np.int32)  # (n,)
        for place, token in enumerate(tokens):
            found = self._find(token)
            if found is None:
                if unknown is None:
                    raise self.unknown(token)
                found = unknown
            ids[place] = found
        return ids

    def token(self, id: int) -> str:  # noqa: A002 - the field's own word
        """Return the token numbered `id`; raises VocabularyError outside 0 … V-1."""
        if not 0 <= id < len(self):
            raise VocabularyError(
                f"id {id}: the vocabulary has {len(self)} words", hint=f"ids run to {len(self) - 1}"
            )
        if self._listed is not None:
            return self._listed[id]
        starts = self._line_starts()
        return _text(self._lines[starts[id] : starts[id + 1] - 1])

    @overload
    def tokens(self, ids: slice) -> list[str]: ...
    @overload
    def tokens(self, ids: Iterable[int]) -> list[str]: ...
    def tokens(self, ids: slice | Iterable[int]) -> list[str]:
        """Return the tokens of a slice of ids, or of ids one by one."""
        if isinstance(ids, slice):
            ids = range(*ids.indices(len(self)))
        return [self.token(int(id_)) for id_ in ids]

    def suggest(self, token: str, limit: int = 3) -> list[str]:
        """Return the `limit` tokens spelt most like `token`, nearest first, frequent ones first."""
        return self.tokens(
            nearest_spellings(token, self._lines, self._line_starts(), self.counts, limit)
        )

    def unknown(self, token: str) -> VocabularyError:
        """Return the error for a token that is not here, with near spellings as its hint."""
        near = ", ".join(self.suggest(token))
        return VocabularyError(
            f"{token!r} is not in the vocabulary", hint=f"did you mean {near}?" if near else None
        )

    def _find(self, token: str) -> int | None:
        if self._index is None:
            self._searches += 1
            if self._searches <= _SEARCHES_BEFORE_INDEX:
                return self._search(token)
        return self._indexed().get(token)

    def _search(self, token: str) -> int | None:
        """Find a token's line in the bytes, without an index."""
        try:
            line = token.encode("utf-8") + b"\n"
        except UnicodeEncodeError:
            return None
        if "\n" in token or not token:
            return None
        lines = self._lines
        if lines[: len(line)] == line:
            return 0
        place = lines.find(b"\n" + line)
        if place < 0:
            return None
        before = np.frombuffer(lines, np.uint8, count=place + 1)
        return int(np.count_nonzero(before == _NEWLINE))

    def _line_starts(self) -> NDArray[np.int64]:
        """Where each token's line begins, with the end: int64 (V + 1,)."""
        if self._starts is None:
            ends = np.flatnonzero(np.frombuffer(self._lines, np.uint8) == _NEWLINE)  # (V,)
            self._starts = np.zeros(len(ends) + 1, np.int64)  # (V + 1,)
            np.add(ends, 1, out=self._starts[1:])
        return self._starts

    def _all(self) -> list[str]:
        if self._listed is None:
            self._listed = _text(self._lines[:]).split("\n")[:-1]
        return self._listed

    def _indexed(self) -> dict[str, int]:
        if self._index is None:
            tokens = self._all()
            self._index = dict(zip(tokens, range(len(tokens)), strict=True))
        return self._index

    def _repr_html_(self) -> str:
        first = self.tokens(slice(0, notebook.LISTED))
        return notebook.pairs({"words": len(self), "first": first, "counts": self.counts})


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        found = line[error.start : error.start + 1].hex()
        raise VocabularyError(f"the vocabulary is damaged: byte 0x{found} is not UTF-8") from None
