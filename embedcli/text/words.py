"""The words of a corpus as they are met, and which of them stay."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedcli.config import TextSettings
from embedcli.errors import CorpusError
from embedcli.files import read_text
from embedcli.text.blocks import BlockIds
from embedcli.text.tokenizer import Tokenizer
from embedcli.text.vocabulary import Vocabulary

# From so many tokens on a corpus is large: `auto` leaves out rare words and thins out common ones.
LARGE_CORPUS_TOKENS = 1_000_000
_LARGE_MIN_COUNT = 5


def resolve_min_count(settings: TextSettings, tokens: int) -> int:
    """Return `min_count` for a corpus of so many tokens: `auto` is 1, or 5 for a large one."""
    if settings.min_count != "auto":
        return settings.min_count
    return _LARGE_MIN_COUNT if tokens >= LARGE_CORPUS_TOKENS else 1


@dataclass(frozen=True)
class Known:
    """Words and labels of an earlier text, whose ids stay when another text adds its own."""

    vocabulary: Vocabulary
    first_lines: NDArray[np.int64]  # (V,)
    labels: tuple[str, ...] = ()

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each word stood in the earlier text, or zeros where that is not known: (V,)."""
        counts = self.vocabulary.counts
        return np.zeros(len(self.vocabulary), np.int64) if counts is None else np.asarray(counts)

    def digest(self) -> str:
        """SHA-256 of all of it."""
        labels = "\n".join(self.labels).encode("utf-8", "surrogatepass")
        parts = [self.vocabulary.to_bytes(), self.counts.tobytes(), self.first_lines.tobytes()]
        return sha256(b"".join(sha256(part).digest() for part in [*parts, labels])).hexdigest()


class _Remembered:
    """The ids of the words that an encoder remembers, in its order, in an array that grows."""

    def __init__(self) -> None:
        self._ids = np.empty(0, np.int32)
        self._size = 0

    def followed_by(self, fresh: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the ids, and after them others (n,): valid until the next call."""
        size = self._size + len(fresh)
        if size > len(self._ids):
            self._ids = np.resize(self._ids, 2 * size)
        self._ids[self._size : size] = fresh
        return self._ids[:size]

    def keep(self, ids: NDArray[np.int32]) -> None:
        """Add ids (n,) to those remembered."""
        self._ids[self._size : self._size + len(ids)] = ids
        self._size += len(ids)


class Words:
    """The words met so far, by first appearance, with their counts and first lines.

    Only those of a `given` vocabulary are met, if there is one; those `known` come first.
    """

    def __init__(self, given: Vocabulary | None = None, known: Known | None = None) -> None:
        self._given = given
        self._known = known
        before = known.vocabulary if given is None and known is not None else given
        size = 0 if before is None else len(before)
        self._index: defaultdict[str, int] = defaultdict()
        if before is not None:
            self._index.update(zip(before, range(size), strict=True))
        if given is None:
            self._index.default_factory = self._index.__len__
        self._counts = np.zeros(max(size, 1024), np.int64)
        self._first_lines = np.zeros(max(size, 1024), np.int64)
        if known is not None:
            self._first_lines[:size] = known.first_lines
        self._remembered: defaultdict[int, _Remembered] = defaultdict(_Remembered)
        self.total = 0  # words that were counted
        self.read = 0  # words that were read

    def __len__(self) -> int:
        return len(self._index)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each word was met: (V,)."""
        return self._counts[: len(self)]

    @property
    def known(self) -> int:
        """How many words were known before."""
        return 0 if self._known is None else len(self._known.vocabulary)

    @property
    def first_lines(self) -> NDArray[np.int64]:
        """The line, from 1, that first has each word, or 0: (V,)."""
        return self._first_lines[: len(self)]

    def add(
        self, found: BlockIds, lines: int, encoder: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Take in a block that begins on line `lines`, from 0; returns its ids and line ends.

        `encoder` numbers the encoder, of whose words it is known by now which ones it remembers.
        """
        fresh = self._ids(found.fresh.split("\n") if found.fresh else [])  # (fresh words,)
        ids = self._remembered[encoder].followed_by(fresh)  # (words,)
        met = np.bincount(found.codes, minlength=len(ids))  # (words,)
        here = np.flatnonzero(met)
        known = here[ids[here] >= 0]
        self._counts[ids[known]] += met[known]
        new = fresh >= 0
        new[new] = self._first_lines[fresh[new]] == 0
        self._first_lines[fresh[new]] = found.first_lines[new] + lines + 1
        self.read += len(found.codes)
        self.total += int(met[known].sum())
        everything = len(known) == len(here)
        renumbered = renumber(found.codes, found.line_ends, ids, everything=everything)
        self._remembered[encoder].keep(fresh[found.kept])
        return renumbered

    def _ids(self, tokens: list[str]) -> NDArray[np.int32]:
        """Return the ids of a block's words, -1 for one outside the given vocabulary: (v,)."""
        if self._given is not None:
            return np.array([self._index.get(token, -1) for token in tokens], np.int32)
        ids = np.fromiter(map(self._index.__getitem__, tokens), np.int32, len(tokens))
        while len(self._counts) < len(self):
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
            self._first_lines = np.concatenate(
                [self._first_lines, np.zeros_like(self._first_lines)]
            )
        return ids

    def vocabulary(self, kept: NDArray[np.bool_] | None) -> Vocabulary:
        """Return the words, or those `kept` (V,), with their counts in this and earlier text."""
        if self._given is not None:
            return self._given.with_counts(self.counts)
        counts = self.counts
        if self._known is not None:
            counts = counts.copy()
            counts[: self.known] += self._known.counts
        if kept is None or kept.all():
            return Vocabulary(self._index, counts).compact()
        tokens = (token for token, keep in zip(self._index, kept, strict=True) if keep)
        return Vocabulary(tokens, counts[kept]).compact()

    def places_of(self, tokens: set[str]) -> list[int]:
        """Return the ids of those of `tokens` that were met."""
        return [self._index[token] for token in tokens if token in self._index]


def kept_words(words: Words, min_count: int, settings: TextSettings) -> NDArray[np.bool_]:
    """Return which words stay (V,), by min_count, stop_words and max_vocab.

    Words known before stay whatever their counts. Raises CorpusError if no word stays.
    """
    counts = words.counts
    kept = counts >= min_count
    if settings.stop_words is not None:
        kept[words.places_of(read_stop_words(Path(settings.stop_words), settings))] = False
    kept[: words.known] = True
    if settings.max_vocab is not None:
        places = words.known + np.flatnonzero(kept[words.known :])  # of the new words that stay
        order = np.argsort(-counts[places], kind="stable")
        kept[places[order[max(settings.max_vocab - words.known, 0) :]]] = False
    if not kept.any():
        raise CorpusError(
            f"no word is left of {len(words):,}: the most frequent is met {counts.max():,} times, "
            f"min_count is {min_count}",
            hint="lower --min-count or shorten --stop-words",
        )
    return kept


def read_stop_words(path: Path, settings: TextSettings) -> set[str]:
    """Read words to leave out, one a line, spelt as the tokenizer would spell them."""
    tokenizer = Tokenizer(settings)
    text = read_text(path, CorpusError, "a file of words", "one word a line")
    found: set[str] = set()
    for line in text.split("\n"):
        tokens = tokenizer.tokenize(line)
        found.add(tokens[0] if len(tokens) == 1 else line.strip())
    return found


def renumber(
    ids: NDArray[np.int32],
    line_ends: NDArray[np.int64],
    new_ids: NDArray[np.int32],
    *,
    everything: bool,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Put new ids (v,) for ids (n,), dropping those that are -1, and move the lines' ends."""
    renumbered = new_ids[ids]  # (n,)
    if everything:
        return renumbered, line_ends
    stays = renumbered >= 0
    gone = np.flatnonzero(~stays)  # few
    return renumbered[stays], line_ends - np.searchsorted(gone, line_ends)
