"""A corpus to ids on disk, numbered by first appearance."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.config import TextSettings
from embedcli.errors import MALFORMED_DATA_ERRORS, CorpusError, StoreError, VocabularyError
from embedcli.storage.bundle import Bundle
from embedcli.text import cache
from embedcli.text.blocks import BlockEncoder, BlockIds, encode_blocks
from embedcli.text.corpus import Corpus
from embedcli.text.labels import (
    ClassNames,
    ClassTargets,
    LabelKind,
    Numbers,
    NumberTargets,
    label_codec,
    parse_labels,
)
from embedcli.text.lines import Block
from embedcli.text.numbering import MISSING, Strings
from embedcli.text.phrases import MARK, PHRASES, Pair, Phrases, best_pairs, joined_pieces
from embedcli.text.spool import Elsewhere, Spool, blocks_of
from embedcli.text.vocabulary import Coverage, Vocabulary
from embedcli.text.words import Known, Words, kept_words, renumber, resolve_min_count


class PlacedPart(NamedTuple):
    """A part of a text that another machine read: what its `PartIds` and `Codes` are found by."""

    ids: Any
    codes: Any
    digest: str  # of the bytes
    name: str  # of the file
    stored: tuple[int, int]  # its size, and the time of its last change


class EncodedCorpus(NamedTuple):
    """A corpus as ids, lines and targets; the arrays as long as the corpus are memory-mapped."""

    ids: NDArray[np.int32]  # (N,) without the words left out
    offsets: NDArray[np.int64]  # (L + 1,) line i is ids[offsets[i]:offsets[i + 1]]
    vocabulary: Vocabulary  # by first appearance, with counts in the corpus
    first_lines: NDArray[np.int64]  # (V,) line of the corpus, from 1, that first has a word; or 0
    fingerprint: str  # SHA-256 of the bytes that were read
    targets: ClassTargets | NumberTargets | None
    min_count: int  # as resolved
    too_long: int = 0  # words left out because they have more than `tokenizer.LONGEST` characters
    name: str = "corpus"  # the files, for errors
    phrases: Phrases | None = None  # that were joined
    # Where the parts of the text are that other machines read. Of a text without labels `ids` and
    # `offsets` are zeros here, of the right length.
    parts: tuple[PlacedPart, ...] = ()

    @property
    def lines(self) -> int:
        """The number of lines, with blank ones."""
        return len(self.offsets) - 1


def encode(
    places: Sequence[str | Path],
    settings: TextSettings,
    *,
    folder: Path,
    labels: LabelKind = "none",
    vocabulary: Vocabulary | None = None,
    known: Known | None = None,
    phrases: Phrases | None = None,
    by_name: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> EncodedCorpus:
    """Read the text at `places` and number its words by first appearance.

    Ids, offsets and targets are written to files in `folder` and memory-mapped. With a `vocabulary`
    its ids are used, other words are left out, and min_count, max_vocab and stop_words do not
    apply. Words and labels `known` from earlier text are kept and come first; counts are added, and
    max_vocab limits all words. `phrases` are joined; without, those that the settings ask for are
    learnt from the text, unless its words are given. `by_name` and `progress` are as in `Corpus`.
    Raises CorpusError for text that cannot be read, has no word, or lacks labels.
    """
    corpus = Corpus(places, settings, labelled=labels != "none", by_name=by_name, progress=progress)
    if not settings.cache:
        return _encode(corpus, settings, folder, labels, vocabulary, known, phrases)
    given = None if vocabulary is None else sha256(vocabulary.to_bytes()).hexdigest()
    before = None if known is None else known.digest()
    joined = None if phrases is None else phrases.digest()
    cached = cache.Cached(corpus.sources, settings, [labels, given, before, by_name, joined])
    entry = cached.find()
    if entry is not None:
        try:
            return _read_entry(entry, labels)._replace(name=corpus.name)
        except (OSError, StoreError, VocabularyError, *MALFORMED_DATA_ERRORS):
            cache.remove(entry.folder)
    encoded = _encode(corpus, settings, folder, labels, vocabulary, known, phrases)
    cached.store(encoded.fingerprint, _entry_of(encoded, folder))
    return encoded


def _encode(
    corpus: Corpus,
    settings: TextSettings,
    folder: Path,
    labels: LabelKind,
    vocabulary: Vocabulary | None,
    known: Known | None,
    phrases: Phrases | None,
) -> EncodedCorpus:
    joins = phrases is not None or (settings.phrases and vocabulary is None and known is None)
    codec = label_codec(labels, () if known is None else known.labels)
    words = Words() if joins else Words(vocabulary, known)
    text = read_text(corpus, settings, folder, words, codec, "apart" if joins else "ids")
    if joins and text.ids.total:
        words = Words(vocabulary, known)
        words, ids, phrases = _join(text.words, text.ids, phrases, settings, folder, words)
        text = text._replace(words=words, ids=ids)
    return encoded(text, settings, folder, phrases, given=vocabulary is not None)[0]


class ReadText(NamedTuple):
    """A text as it was read: its words, none of which are left out yet, ids and labels."""

    words: Words
    ids: Spool
    codec: ClassNames | Numbers | None
    targets: Spool
    lines: LineNumbers
    too_long: int
    name: str
    size: int  # in bytes
    fingerprint: str


def read_text(
    corpus: Corpus,
    settings: TextSettings,
    folder: Path,
    words: Words,
    codec: ClassNames | Numbers | None,
    name: str = "ids",
) -> ReadText:
    """Read a corpus, whose `words` and labels are numbered by first appearance."""
    lines, too_long = LineNumbers(), 0
    with Spool(folder, name, np.int32) as ids, labels_spool(folder, codec) as targets:
        for block, found, by in encode_blocks(corpus.blocks(), settings):
            ids.add(*words.add(found, ids.lines, by))
            too_long += found.too_long
            if codec is not None:
                targets.add(*_targets_of(block, found, codec))
            lines.add(block, ids.lines)
    of_corpus = corpus.name, corpus.size, corpus.fingerprint
    return ReadText(words, ids, codec, targets, lines, too_long, *of_corpus)


def encoded(
    text: ReadText,
    settings: TextSettings,
    folder: Path,
    phrases: Phrases | None = None,
    *,
    given: bool = False,
) -> tuple[EncodedCorpus, NDArray[np.bool_]]:
    """Leave out words, unless all are `given`; return the corpus, and which were kept (V,)."""
    words, ids, codec = text.words, text.ids, text.codec
    if not ids.total:
        if words.read:
            raise CorpusError(f"{text.name}: none of its words is in the given vocabulary")
        if not text.size:
            raise CorpusError(f"{text.name}: no word found, as it is empty; expected text")
        raise CorpusError(
            f"{text.name}: no word found; expected text with letters or digits",
            hint=f"the tokenizer is {settings.tokenizer}; see --tokenizer",
        )
    if codec is not None:
        _check_labelled(
            ids.offsets(), text.targets.offsets(), text.lines, codec, settings, text.name
        )
    min_count, kept = 1, np.ones(len(words), np.bool_)  # (V,)
    if not given:
        min_count = resolve_min_count(settings, ids.total)
        kept = kept_words(words, min_count, settings, text.name)
        if not kept.all():
            ids = _drop(kept, ids, folder, words)
    corpus = EncodedCorpus(
        ids=ids.numbers(),
        offsets=ids.offsets(),
        vocabulary=words.vocabulary(kept),
        first_lines=words.first_lines[kept],
        fingerprint=text.fingerprint,
        targets=None if codec is None else codec.targets(text.targets),
        min_count=min_count,
        too_long=text.too_long,
        name=text.name,
        phrases=phrases,
    )
    return corpus, kept


def _join(
    apart: Words,
    spool: Spool,
    given: Phrases | None,
    settings: TextSettings,
    folder: Path,
    words: Words,
) -> tuple[Words, Spool, Phrases]:
    """Join the phrases of a text, those `given` or learnt from it, and number it by `words`.

    `spool` holds the text as ids of `apart`, which gets the phrases too.
    """
    # 1. Join the pairs of one pass after the other.
    passes: list[tuple[Pair, ...]] = []
    dropped = 0
    for number in range(settings.phrase_passes if given is None else len(given.passes)):
        if given is None:
            keys, pairs, more = best_pairs(spool, apart.lines, settings)
            dropped += more
            passes.append(tuple(pairs))
        else:
            pairs = list(given.passes[number])
            sides = ["".join(f"{pair[side]}\n" for pair in pairs).encode() for side in (0, 1)]
            first, second = (apart.number(lines).astype(np.int64) for lines in sides)
            keys = first << 32 | second
        if not pairs:
            continue
        names = "".join(f"{pair.first}{MARK}{pair.second}\n" for pair in pairs)
        joined = apart.number(names.encode())  # (P,)
        before = spool
        with Spool(folder, f"joined.{number}", np.int32) as spool:
            for ids, ends in joined_pieces(before, keys, joined, len(apart)):
                spool.add(ids, ends)
        before.remove()
    # 2. Number the words anew, by first appearance.
    strings, codes = Strings.of_lines(apart.lines), np.full(len(apart), MISSING, np.int32)
    read = 0
    with ids_spool(folder) as numbered:
        for ids, ends in spool.pieces():
            found, places = np.unique(ids[codes[ids] == MISSING], return_index=True)
            at = np.flatnonzero(codes[ids] == MISSING)[places]  # where each new word first is
            order = np.argsort(at)
            codes[found[order]] = np.arange(read, read + len(found))
            block = BlockIds(
                restarted=not read,
                new_words=strings[found[order]].lines(),
                first_lines=np.searchsorted(ends, at[order], side="right"),
                codes=codes[ids],
                line_ends=ends,
                labels=[],
                label_lines=np.zeros(0, np.int64),
                too_long=0,
            )
            read += len(found)
            numbered.add(*words.add(block, numbered.lines, 0))
    spool.remove()
    if given is None:
        given = Phrases(tuple(passes), dropped)
    return words, numbered, given


def ids_spool(folder: Path, *, overwrite: bool = False) -> Spool:
    """Return the files of a text's ids."""
    return Spool(folder, "ids", np.int32, overwrite=overwrite)


def labels_spool(folder: Path, codec: ClassNames | Numbers | None) -> Spool:
    """Return the files of a text's labels."""
    return Spool(folder, "labels", np.float32 if codec is None else codec.dtype)


def _entry_of(encoded: EncodedCorpus, folder: Path) -> dict[str, Path | bytes | NDArray[Any]]:
    """Return the members of an entry of the cache."""
    names = encoded.targets.names if isinstance(encoded.targets, ClassTargets) else ()
    facts = {"fingerprint": encoded.fingerprint, "min_count": encoded.min_count, "names": names}
    facts["too_long"] = encoded.too_long
    spools = [ids_spool(folder), labels_spool(folder, None)]
    if encoded.phrases is not None:
        facts["dropped_pairs"] = encoded.phrases.dropped
    return {
        **{path.name: path for spool in spools for path in spool.paths},
        **({} if encoded.phrases is None else {PHRASES: encoded.phrases.to_bytes()}),
        "vocab.txt": encoded.vocabulary.to_bytes(),
        "counts.npy": np.asarray(encoded.vocabulary.counts),
        "first_lines.npy": encoded.first_lines,
        "facts.json": json.dumps(facts).encode(),
    }


def _read_entry(entry: Bundle, labels: LabelKind) -> EncodedCorpus:
    """Map what `_entry_of` kept.

    Raises StoreError, VocabularyError or MALFORMED_DATA_ERRORS where that is impossible.
    """
    facts = json.loads(entry.path("facts.json").read_bytes())
    names = [str(name) for name in facts["names"]]
    codec = label_codec(labels, names)
    ids, targets = ids_spool(entry.folder), labels_spool(entry.folder, codec)
    counts, first_lines = entry.array("counts"), entry.array("first_lines")
    if counts.dtype != np.int64 or first_lines.dtype != np.int64 or counts.ndim != 1:
        raise ValueError("counts or first lines of another type")
    offsets = len(ids.offsets())
    _require_lines(ids, offsets, len(counts))
    if codec is not None:
        _require_lines(targets, offsets, len(names) if isinstance(codec, ClassNames) else None)
    if first_lines.shape != counts.shape:
        raise ValueError(f"{len(first_lines)} first lines of {len(counts)} words")
    phrases = None
    if PHRASES in entry.files:
        phrases = Phrases.read(entry.path(PHRASES), dropped=int(facts["dropped_pairs"]))
    return EncodedCorpus(
        ids=ids.numbers(),
        offsets=ids.offsets(),
        vocabulary=Vocabulary.open(entry.path("vocab.txt"), counts),
        first_lines=first_lines,
        fingerprint=str(facts["fingerprint"]),
        targets=None if codec is None else codec.targets(targets),
        min_count=int(facts["min_count"]),
        too_long=int(facts["too_long"]),
        phrases=phrases,
    )


def _require_lines(spool: Spool, offsets: int, numbers: int | None) -> None:
    """Raise ValueError unless there are so many rising offsets, and all numbers are in range."""
    last = 0
    for ends in blocks_of(spool.offsets_path, np.int64):
        if ends[0] < last or (np.diff(ends) < 0).any():
            raise ValueError("line offsets do not rise")
        last = ends[-1]
    if len(spool.offsets()) != offsets or last != len(spool.numbers()):
        raise ValueError("line offsets do not match the numbers")
    for block in [] if numbers is None else blocks_of(spool.numbers_path, np.int32):
        if block.min() < 0 or block.max() >= numbers:
            raise ValueError(f"a number out of range, of {numbers}")


def token_lines(
    places: Sequence[str | Path],
    settings: TextSettings,
    coverage: Coverage | None = None,
    *,
    by_name: bool = False,
    phrases: Phrases | None = None,
) -> Iterator[tuple[list[str], bool]]:
    """Yield the tokens of each line, and whether the line ends with them.

    A line of megabytes comes in several parts, each with its `phrases` joined. Words that are too
    long are left out and counted in `coverage`; `by_name` is as in `Corpus`.
    """
    encoder = BlockEncoder(settings)
    for block in Corpus(places, settings, by_name=by_name).blocks():
        (*whole, last), too_long = encoder.lines(block)
        if coverage is not None:
            coverage.too_long += too_long
        for line in whole:
            yield line if phrases is None else phrases.join(line), True
        if not block.whole:
            yield last if phrases is None else phrases.join(last), False


class LineNumbers:
    """The file and line of each line of the corpus, and whether it must have a label."""

    def __init__(self) -> None:
        self._blocks: list[tuple[int, str, int, bool]] = []
        self.total = 0  # lines

    def add(self, block: Block, lines: int) -> None:
        """Note that a block was read, up to `lines` lines of the corpus."""
        self._blocks.append((self.total, block.name, block.line, block.rows is not None))
        self.total = lines

    def extend(self, other: LineNumbers, line: int) -> None:
        """Note the blocks of a text that goes on here, from a `line` of its file."""
        self._blocks += [
            (self.total + start, name, line - 1 + first, columns)
            for start, name, first, columns in other._blocks
        ]
        self.total += other.total

    def where(self, line: int) -> str:
        """Return the file and line, or record, of a line of the corpus, from 0."""
        start, name, first, columns = next(
            block for block in reversed(self._blocks) if block[0] <= line
        )
        return f"{name}:{' record ' if columns else ''}{first + line - start}"

    def without_columns(self) -> NDArray[np.bool_]:
        """Return which lines are of plain files, which have labels in their text: (L,)."""
        plain = np.zeros(self.total, bool)  # (L,)
        ends = [start for start, *_ in self._blocks[1:]] + [self.total]
        for (start, _, _, columns), end in zip(self._blocks, ends, strict=True):
            plain[start:end] = not columns
        return plain


def _targets_of(
    block: Block, found: BlockIds, codec: ClassNames | Numbers
) -> tuple[NDArray[np.int32] | NDArray[np.float32], NDArray[np.int64]]:
    """Return a block's labels as numbers, and how many there are up to the end of each line."""
    if block.rows is None:
        labels, places = found.labels, found.label_lines
        at = block.line + places  # (labels,)
    else:
        rows = [(row.line, codec.split(row.labels)) for row in block.rows]
        labels = [label for _, labels in rows for label in labels]
        at = np.array([line for line, labels in rows for _ in labels], np.int64)  # (labels,)
        places = np.repeat(np.arange(len(rows)), [len(labels) for _, labels in rows])
    numbers = parse_labels(codec, labels, lambda label: f"{block.name}:{at[label]}")
    lines = len(found.line_ends)
    numbers, places = codec.of_lines(numbers, places, lines)
    return numbers, np.searchsorted(places, np.arange(lines), side="right")


def _check_labelled(
    words: NDArray[np.int64],
    labels: NDArray[np.int64],
    lines: LineNumbers,
    codec: ClassNames | Numbers,
    settings: TextSettings,
    name: str,
) -> None:
    """Raise CorpusError for a text without a label, or with more or fewer numbers than others."""
    found = np.diff(labels)  # (L,)
    lacking = (np.diff(words) > 0) & (found == 0)
    if isinstance(codec, Numbers):
        most = int(found.max(initial=0))
        odd = (found > 0) & (found != most)
        if odd.any():
            place = int(np.argmax(odd))
            raise CorpusError(
                f"{lines.where(place)}: found {found[place]} numbers; expected {most}, "
                "as on other lines"
            )
    else:
        lacking &= lines.without_columns()
    if lacking.any():
        raise CorpusError(
            f"{lines.where(int(np.argmax(lacking)))}: a line without a label",
            hint="a label has a column of its own; see --text-column and --label-prefix"
            if settings.label_prefix is None
            else f"a label is a word {settings.label_prefix}NAME of the line, or has a column",
        )
    if not found.any():
        raise CorpusError(f"{name}: no text has a label; expected at least one")


def ids_without_gaps(kept: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return new ids of words (V,), for those `kept` without gaps, for the others `MISSING`."""
    return np.where(kept, np.cumsum(kept) - 1, MISSING).astype(np.int32)


def _drop(kept: NDArray[np.bool_], spool: Spool, folder: Path, words: Words) -> Spool:
    """Overwrite the ids with those of the words `kept` (V,)."""
    if isinstance(spool, Elsewhere):
        return Elsewhere(int(words.counts[kept].sum()), spool.lines)
    before, new_ids = spool.pieces(), ids_without_gaps(kept)
    with ids_spool(folder, overwrite=True) as spool:
        for ids, ends in before:
            spool.add(*renumber(ids, ends, new_ids, everything=False))
    return spool
