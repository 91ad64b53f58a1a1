"""A corpus to ids on disk, in the order of first appearance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedcli.config import TextSettings
from embedcli.errors import CorpusError
from embedcli.text.blocks import BlockEncoder, BlockIds
from embedcli.text.corpus import Block, Corpus
from embedcli.text.labels import (
    ClassNames,
    ClassTargets,
    LabelKind,
    Numbers,
    NumberTargets,
    label_codec,
    parse_labels,
)
from embedcli.text.parallel import encode_blocks
from embedcli.text.spool import Spool
from embedcli.text.tokenizer import Tokenizer
from embedcli.text.vocabulary import Vocabulary

# From so many tokens on a corpus is large: `auto` leaves out rare words and thins out common ones.
LARGE_CORPUS_TOKENS = 1_000_000
_LARGE_MIN_COUNT = 5
# Ids that a second pass renumbers at a time.
_PASS = 1 << 21


@dataclass(frozen=True)
class EncodedCorpus:
    """A corpus as ids, lines and targets; the arrays as long as the corpus are memory-mapped."""

    ids: NDArray[np.int32]  # (N,) without the words left out
    offsets: NDArray[np.int64]  # (L + 1,) line i is ids[offsets[i]:offsets[i + 1]]
    vocabulary: Vocabulary  # by first appearance, with counts in the corpus
    first_lines: NDArray[np.int64]  # (V,) line of the corpus, from 1, that first has a word; or 0
    fingerprint: str  # SHA-256 of the bytes that were read
    targets: ClassTargets | NumberTargets | None
    min_count: int  # as resolved

    @property
    def lines(self) -> int:
        """How many lines there are, blank ones among them."""
        return len(self.offsets) - 1


def encode(
    places: Sequence[str | Path],
    settings: TextSettings,
    *,
    folder: Path,
    labels: LabelKind = "none",
    vocabulary: Vocabulary | None = None,
) -> EncodedCorpus:
    """Read the text at `places` and number its words by first appearance.

    Ids, offsets and targets are written to files in `folder` and mapped from there. With a
    `vocabulary` its ids are used, other words are left out, and none of min_count, max_vocab and
    stop_words applies. Raises CorpusError for text that cannot be read, has no word, or lacks its
    labels.
    """
    corpus = Corpus(places, settings, labelled=labels != "none")
    encoder = BlockEncoder(settings, labelled=labels != "none")
    codec = label_codec(labels)
    with (
        Spool(folder, "ids", np.int32) as ids,
        Spool(folder, "labels", np.float32 if codec is None else codec.dtype) as targets,
    ):
        words = _Words(vocabulary)
        lines = _LineNumbers()
        for block, found in encode_blocks(corpus.blocks(), encoder, settings):
            ids.add(*words.add(found, ids.lines))
            if codec is not None:
                targets.add(*_targets_of(block, found, codec))
            lines.add(block, ids.lines)
    if not words.total:
        raise _no_word(corpus, words, settings)
    if codec is not None:
        _check_labelled(ids.offsets(), targets.offsets(), lines, codec, settings)
    min_count = 1 if vocabulary is not None else resolve_min_count(settings, words.total)
    kept = None if vocabulary is not None else _kept(words, min_count, settings)
    if kept is not None and not kept.all():
        ids = _renumbered(ids, kept, folder)
    return EncodedCorpus(
        ids=ids.numbers(),
        offsets=ids.offsets(),
        vocabulary=words.vocabulary(kept),
        first_lines=words.first_lines if kept is None else words.first_lines[kept],
        fingerprint=corpus.fingerprint,
        targets=None if codec is None else codec.targets(targets),
        min_count=min_count,
    )


def token_lines(
    places: Sequence[str | Path], settings: TextSettings
) -> Iterator[tuple[list[str], bool]]:
    """Tokenize line by line: yields tokens, and whether the line ends with them.

    A line comes in one part, but for one of megabytes, which comes in several.
    """
    encoder = BlockEncoder(settings, labelled=False)
    for block in Corpus(places, settings).blocks():
        *whole, last = encoder.lines(block)
        for line in whole:
            yield line, True
        if not block.whole:
            yield last, False


def resolve_min_count(settings: TextSettings, tokens: int) -> int:
    """Return `min_count` for a corpus of so many tokens: `auto` is 1, or 5 for a large one."""
    if settings.min_count != "auto":
        return settings.min_count
    return _LARGE_MIN_COUNT if tokens >= LARGE_CORPUS_TOKENS else 1


class _Words:
    """The words met so far, by first appearance, with their counts and first lines."""

    def __init__(self, given: Vocabulary | None) -> None:
        self._given = given
        self._index: defaultdict[str, int] = defaultdict()
        if given is None:
            self._index.default_factory = self._index.__len__
        else:
            self._index.update(zip(given, range(len(given)), strict=True))
        size = 0 if given is None else len(given)
        self._counts = np.zeros(max(size, 1024), np.int64)
        self._first_lines = np.zeros(max(size, 1024), np.int64)
        self.total = 0  # words that were counted
        self.read = 0  # words that were read

    def __len__(self) -> int:
        return len(self._index)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each word was met: (V,)."""
        return self._counts[: len(self)]

    @property
    def first_lines(self) -> NDArray[np.int64]:
        """The line, from 1, that first has each word, or 0: (V,)."""
        return self._first_lines[: len(self)]

    def add(self, found: BlockIds, lines: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Take in a block that begins on line `lines`, from 0; returns its ids and line ends."""
        tokens = found.tokens.split("\n") if found.tokens else []
        ids = self._ids(tokens)  # (v,)
        met = np.bincount(found.ids, minlength=len(tokens))  # (v,)
        known = ids >= 0
        self._counts[ids[known]] += met[known]
        fresh = known.copy()
        fresh[known] = self._first_lines[ids[known]] == 0
        self._first_lines[ids[fresh]] = found.first_lines[fresh] + lines + 1
        self.read += len(found.ids)
        self.total += int(met[known].sum())
        return _renumber(found.ids, found.line_ends, ids, everything=bool(known.all()))

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
        """Return the words, or those `kept` (V,), with their counts."""
        if self._given is not None:
            return self._given.with_counts(self.counts)
        if kept is None or kept.all():
            return Vocabulary(self._index, self.counts)
        tokens = (token for token, keep in zip(self._index, kept, strict=True) if keep)
        return Vocabulary(tokens, self.counts[kept])

    def places_of(self, tokens: set[str]) -> list[int]:
        """Return the ids of those of `tokens` that were met."""
        return [self._index[token] for token in tokens if token in self._index]


class _LineNumbers:
    """Where in which file each line of the corpus stands, and whether it must bear a label."""

    def __init__(self) -> None:
        self._blocks: list[tuple[int, str, int, bool]] = []
        self._next = 0

    def add(self, block: Block, lines: int) -> None:
        """Note that a block was read, up to `lines` lines of the corpus."""
        self._blocks.append((self._next, block.name, block.line, block.rows is not None))
        self._next = lines

    def where(self, line: int) -> str:
        """Name the file and line, or record, of a line of the corpus, from 0."""
        start, name, first, columns = next(
            block for block in reversed(self._blocks) if block[0] <= line
        )
        return f"{name}:{' record ' if columns else ''}{first + line - start}"

    def without_columns(self) -> NDArray[np.bool_]:
        """Return which lines are of files without columns, whose labels stand in the text: (L,)."""
        plain = np.zeros(self._next, bool)  # (L,)
        ends = [start for start, *_ in self._blocks[1:]] + [self._next]
        for (start, _, _, columns), end in zip(self._blocks, ends, strict=True):
            plain[start:end] = not columns
        return plain


def _targets_of(
    block: Block, found: BlockIds, codec: ClassNames | Numbers
) -> tuple[NDArray[np.int32] | NDArray[np.float32], NDArray[np.int64]]:
    """Return a block's labels as numbers, and how many come up to the end of each line."""
    if block.rows is None:
        labels, places = found.labels, found.label_lines
        at = [f"{block.name}:{block.line + place}" for place in places]
    else:
        rows = [(row.line, codec.split(row.labels)) for row in block.rows]
        labels = [label for _, labels in rows for label in labels]
        at = [f"{block.name}:{line}" for line, labels in rows for _ in labels]
        places = np.repeat(np.arange(len(rows)), [len(labels) for _, labels in rows])
    lines = np.arange(len(found.line_ends))
    return parse_labels(codec, labels, at.__getitem__), np.searchsorted(places, lines, side="right")


def _check_labelled(
    words: NDArray[np.int64],
    labels: NDArray[np.int64],
    lines: _LineNumbers,
    codec: ClassNames | Numbers,
    settings: TextSettings,
) -> None:
    """Raise CorpusError for a line of words without a label, or with another number of numbers."""
    found = np.diff(labels)  # (L,)
    lacking = (np.diff(words) > 0) & (found == 0)
    if isinstance(codec, Numbers):
        wanted = int(found.max(initial=0))
        odd = (found > 0) & (found != wanted)
        if odd.any():
            place = int(np.argmax(odd))
            raise CorpusError(
                f"{lines.where(place)}: found {found[place]} numbers; expected {wanted}, "
                "as on other lines"
            )
    else:
        lacking &= lines.without_columns()
    if lacking.any():
        raise CorpusError(
            f"{lines.where(int(np.argmax(lacking)))}: a line without a label",
            hint=f"a label stands in the line as {settings.label_prefix}NAME, or in a column",
        )
    if not found.any():
        raise CorpusError("no text has a label; expected at least one")


def _no_word(corpus: Corpus, words: _Words, settings: TextSettings) -> CorpusError:
    names = ", ".join(source.path for source in corpus.sources[:3])
    if len(corpus.sources) > 3:
        names += f" and {len(corpus.sources) - 3} more"
    if words.read:
        return CorpusError(f"{names}: none of its words is in the vocabulary given")
    return CorpusError(
        f"{names}: no word found; expected text with letters or digits",
        hint=f"the tokenizer is {settings.tokenizer}; see --tokenizer",
    )


def _kept(words: _Words, min_count: int, settings: TextSettings) -> NDArray[np.bool_]:
    """Which words stay (V,), by min_count, stop_words and max_vocab."""
    counts = words.counts
    kept = counts >= min_count
    if settings.stop_words is not None:
        kept[words.places_of(read_stop_words(Path(settings.stop_words), settings))] = False
    places = np.flatnonzero(kept)
    if settings.max_vocab is not None and len(places) > settings.max_vocab:
        order = np.argsort(-counts[places], kind="stable")
        kept[places[order[settings.max_vocab :]]] = False
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
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: {error}; expected UTF-8 text, a word a line") from error
    found: set[str] = set()
    for line in text.split("\n"):
        tokens = tokenizer.tokenize(line)
        found.add(tokens[0] if len(tokens) == 1 else line.strip())
    return found


def _renumbered(ids: Spool, kept: NDArray[np.bool_], folder: Path) -> Spool:
    """Write the ids again, of the words `kept` (V,) and without gaps."""
    new_ids = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)  # (V,)
    numbers, offsets = ids.numbers(), ids.offsets()
    with Spool(folder, "kept", np.int32) as spool:
        first = 0
        while first < len(offsets) - 1:
            start = offsets[first]
            last = int(np.searchsorted(offsets, start + _PASS, side="right")) - 1
            last = max(last, first + 1)
            ends = offsets[first + 1 : last + 1] - start
            spool.add(*_renumber(numbers[start : offsets[last]], ends, new_ids, everything=False))
            first = last
    ids.remove()
    return spool


def _renumber(
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
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(stays)])  # (n + 1,)
    return renumbered[stays], before[line_ends]
