"""The words of a corpus as they are read, and which of them are kept."""

from __future__ import annotations

from collections import defaultdict
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.config import TextSettings
from embedcli.errors import CorpusError
from embedcli.storage.files import read_text
from embedcli.text.blocks import BlockIds
from embedcli.text.numbering import MISSING, GrowingArray, Numbering, Strings, first_places
from embedcli.text.tokenizer import Tokenizer
from embedcli.text.vocabulary import Vocabulary

# A corpus of at least so many tokens is large: `auto` leaves out rare words and thins out common
# ones.
LARGE_CORPUS_TOKENS = 1_000_000
_LARGE_MIN_COUNT = 5


def resolve_min_count(settings: TextSettings, tokens: int) -> int:
    """Return `min_count` for a corpus of so many tokens: `auto` is 1, or 5 for a large one."""
    if settings.min_count != "auto":
        return settings.min_count
    return _LARGE_MIN_COUNT if tokens >= LARGE_CORPUS_TOKENS else 1


class Known(NamedTuple):
    """Words and labels of an earlier text; they keep their ids when another text adds its own."""

    vocabulary: Vocabulary
    first_lines: NDArray[np.int64]  # (V,)
    labels: tuple[str, ...] = ()

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each word is in the earlier text, or zeros if that is not known: (V,)."""
        counts = self.vocabulary.counts
        return np.zeros(len(self.vocabulary), np.int64) if counts is None else np.asarray(counts)

    def digest(self) -> str:
        """Return the SHA-256 of all of it."""
        labels = "\n".join(self.labels).encode("utf-8", "surrogatepass")
        parts = [self.vocabulary.to_bytes(), self.counts.tobytes(), self.first_lines.tobytes()]
        return sha256(b"".join(sha256(part).digest() for part in [*parts, labels])).hexdigest()


class _EncoderWords:
    """The ids of the words that one encoder has codes for, and how often each was counted."""

    def __init__(self) -> None:
        self.ids = GrowingArray(np.int32)  # (codes,) `MISSING` outside the given vocabulary
        self.counts = GrowingArray(np.int64)  # (codes,)

    def add_to(self, counts: NDArray[np.int64]) -> None:
        """Add the counts to those of the words, (V,)."""
        known = self.ids.values != MISSING
        np.add.at(counts, self.ids.values[known], self.counts.values[known])


class Words:
    """The words read so far, by first appearance, with their counts and first lines.

    With a `given` vocabulary there are no others; words `known` from earlier text come first.
    """

    def __init__(self, given: Vocabulary | None = None, known: Known | None = None) -> None:
        self.read = 0  # words that were read, with repetitions
        self.known = 0 if known is None else len(known.vocabulary)
        self._given = given
        self._known = known
        self._index: Numbering | None = None
        self._lines: list[bytes] = []  # the words, in order, each ended by a newline
        self._counts = GrowingArray(np.int64)  # (V,) without the counts of `_encoders`
        self._first_lines = GrowingArray(np.int64)  # (V,)
        self._encoders: defaultdict[int, _EncoderWords] = defaultdict(_EncoderWords)
        before = known.vocabulary if given is None and known is not None else given
        if before is not None:
            self.number(before.to_bytes())
        if known is not None:
            self._first_lines.values[: self.known] = known.first_lines

    def __len__(self) -> int:
        return len(self._first_lines)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each word was read: (V,)."""
        counts = self._counts.values.copy()
        for encoder in self._encoders.values():
            encoder.add_to(counts)
        return counts

    @property
    def first_lines(self) -> NDArray[np.int64]:
        """The line, from 1, where each word first appears, or 0: (V,)."""
        return self._first_lines.values

    def add(
        self, found: BlockIds, lines: int, encoder: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Take in a block that begins on line `lines`, from 0; returns its ids and line ends.

        `encoder` is the number of the encoder, whose codes continue from its earlier blocks.
        """
        # 1. An encoder that restarted counts from code 0 again.
        if found.restarted:
            self._encoders.pop(encoder, _EncoderWords()).add_to(self._counts.values)
        # 2. Its new words get ids; those in other encoders' blocks have some already.
        ids = self._meet(found.new_words, found.first_lines + lines + 1)  # (new words,)
        # 3. Count the words, and replace their codes by ids.
        words = self._encoders[encoder]
        codes = found.codes.astype(np.intp)  # (n,) converted once for all look-ups
        words.ids.extend(ids)
        words.counts.extend(np.zeros(len(ids)))
        np.add.at(words.counts.values, codes, 1)
        self.read += len(codes)
        everything = self._given is None
        return renumber(codes, found.line_ends, words.ids.values, everything=everything)

    def merge(
        self, words: bytes, counts: NDArray[np.int64], first_lines: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """Take in the words (v,) of a part that another process read; return their ids."""
        ids = self._meet(words, first_lines)
        self._counts.values[ids] += counts
        self.read += int(counts.sum())
        return ids

    def _meet(self, words: bytes, first_lines: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the ids of words (v,), after adding new ones, and note where each first is."""
        if self._given is None or self._index is None:
            ids = self.number(words)
        else:
            ids = self._index.lookup(Strings.of_lines(words))
        # Of several spellings of a word the first decides where it first appears.
        known = self._first_lines.values
        new = np.flatnonzero(ids != MISSING)[::-1]
        new = new[known[ids[new]] == 0]
        known[ids[new]] = first_lines[new]
        return ids

    @property
    def lines(self) -> bytes:
        """The words in order, each ended by a newline."""
        return b"".join(self._lines)

    def number(self, lines: bytes) -> NDArray[np.int32]:
        """Return the ids of words, one a line, after adding the new ones: (v,)."""
        if self._index is None:
            self._index = Numbering.for_text(lines)
        size = len(self._index)
        words = Strings.of_lines(lines)
        ids = self._index.number(words)
        new = first_places(ids, size)
        self._lines.append(words[new].lines())
        self._counts.extend(np.zeros(len(new)))
        self._first_lines.extend(np.zeros(len(new)))
        return ids

    def vocabulary(self, kept: NDArray[np.bool_] | None) -> Vocabulary:
        """Return the words, or those `kept` (V,), with their counts in this and earlier text."""
        counts = self.counts
        if self._given is not None:
            return self._given.with_counts(counts)
        if self._known is not None:
            counts[: self.known] += self._known.counts
        lines = self.lines
        if kept is None or kept.all():
            return Vocabulary.of_lines(lines, counts)
        stays = np.repeat(kept, Strings.of_lines(lines).sizes + 1)  # (bytes,)
        lines = np.frombuffer(lines, np.uint8)[stays].tobytes()
        return Vocabulary.of_lines(lines, counts[kept])

    def ids_of(self, tokens: set[str]) -> NDArray[np.int32]:
        """Return the ids of those of `tokens` that were read."""
        if self._index is None:
            return np.empty(0, np.int32)
        lines = "".join(f"{token}\n" for token in tokens).encode()
        ids = self._index.lookup(Strings.of_lines(lines))
        found: NDArray[np.int32] = ids[ids != MISSING]
        return found


def kept_words(
    words: Words, min_count: int, settings: TextSettings, name: str
) -> NDArray[np.bool_]:
    """Return which words are kept (V,), by min_count, stop_words and max_vocab.

    Words of earlier text are kept whatever their counts. Raises CorpusError, with the `name` of the
    corpus, if no word is kept.
    """
    counts = words.counts
    kept = counts >= min_count
    if settings.stop_words is not None:
        kept[words.ids_of(read_stop_words(Path(settings.stop_words), settings))] = False
    kept[: words.known] = True
    if settings.max_vocab is not None:
        places = words.known + np.flatnonzero(kept[words.known :])  # of new words
        order = np.argsort(-counts[places], kind="stable")
        kept[places[order[max(settings.max_vocab - words.known, 0) :]]] = False
    if not kept.any():
        raise CorpusError(
            f"{name}: no word is left of {len(words):,}: the most frequent appears "
            f"{counts.max():,} times, min_count is {min_count}",
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
    ids: NDArray[np.int32] | NDArray[np.intp],
    line_ends: NDArray[np.int64],
    new_ids: NDArray[np.int32],
    *,
    everything: bool,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Replace ids (n,) by `new_ids` (v,), drop those that become -1, and move the line ends."""
    renumbered = new_ids.take(ids, mode="clip")  # (n,)
    if everything:
        return renumbered, line_ends
    stays = renumbered >= 0
    gone = np.flatnonzero(~stays)  # few
    return renumbered[stays], line_ends - np.searchsorted(gone, line_ends)
