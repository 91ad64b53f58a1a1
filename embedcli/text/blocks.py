"""One block of text to ids: the part of encoding that workers share."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedcli.config import TextSettings
from embedcli.text.corpus import Block
from embedcli.text.frequent import MISSING, FrequentPieces
from embedcli.text.records import HANDLERS, undecodable
from embedcli.text.tokenizer import LINE_END, Tokenizer

# Words an encoder remembers from one block to the next: those that one block has so often, or that
# another block had. Marks of so many hashes tell that; two words with one mark do no harm.
_MOST_REMEMBERED = 1 << 17
_WORTH_REMEMBERING = 2
_MARKS = 1 << 20
# Codes that are not of words: the end of a line, and a piece without a word.
_END, _NOTHING = -1, -2


@dataclass(frozen=True)
class BlockIds:
    """A block's words as codes.

    The first codes are of the words this encoder remembered before, in the order it came to
    remember them; the next are of the `fresh` words, in the order of first appearance.
    """

    fresh: str  # joined by newlines
    kept: NDArray[np.bool_]  # (fresh words,) which the encoder remembers from now on
    first_lines: NDArray[np.int64]  # (fresh words,) line of the block, from 0, that first has each
    codes: NDArray[np.int32]  # (n,)
    line_ends: NDArray[np.int64]  # (lines,) words up to the end of each line that ends here
    labels: list[str]  # of its lines, in their order
    label_lines: NDArray[np.int64]  # (labels,) line of the block of each


class BlockEncoder:
    """Turns blocks into `BlockIds`, as `settings` say; `labelled` lines bear fastText's labels."""

    def __init__(self, settings: TextSettings, *, labelled: bool) -> None:
        self._tokenizer = Tokenizer(settings)
        self._errors = settings.errors
        self._label = (
            re.compile(rb"(?<!\S)" + re.escape(settings.label_prefix.encode()) + rb"(\S*)")
            if labelled
            else None
        )
        self._codes: defaultdict[str, int] = defaultdict()
        self._codes.default_factory = self._codes.__len__
        self._frequent: FrequentPieces | None = None
        self._marks = np.zeros(_MARKS, bool)  # hashes of the words of blocks before

    def encode(self, block: Block) -> BlockIds:
        """Encode one block; raises CorpusError for bytes that are not UTF-8."""
        data = self._text(block)
        labels: list[str] = []
        label_lines = np.empty(0, np.int64)
        if self._label is not None and block.rows is None:
            labels, label_lines = _labels_in(data, self._label)
            data = self._label.sub(b" ", data)
        remembered = len(self._codes)
        codes, missed = self._encoded(data)
        codes = codes[codes != _NOTHING]
        ends = np.flatnonzero(codes == _END)  # (lines,)
        new = np.flatnonzero(codes >= remembered)
        first = new[_first_places(codes[new])]
        fresh, kept = self._remember(remembered, codes[new], missed)
        codes = codes[codes >= 0]
        return BlockIds(
            fresh="\n".join(fresh),
            kept=kept,
            first_lines=np.searchsorted(ends, first),
            codes=codes,
            line_ends=ends - np.arange(len(ends)),
            labels=labels,
            label_lines=label_lines,
        )

    def lines(self, block: Block) -> list[list[str]]:
        """Return the tokens of a block's lines; the last is the part of a line that goes on."""
        lines: list[list[str]] = [[]]
        for piece in self._tokenizer.pieces(self._text(block)):
            if piece == LINE_END:
                lines.append([])
            else:
                lines[-1] += self._tokenizer.tokens_of(piece)
        return lines

    def _text(self, block: Block) -> bytes:
        """Return the block's bytes, surely UTF-8, with a newline after its last line."""
        data = self._decodable(block)
        return data + b"\n" if block.whole and not data.endswith(b"\n") else data

    def _decodable(self, block: Block) -> bytes:
        data = block.data
        if data.isascii():
            return data
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            if self._errors == "strict":
                line = block.line + data.count(b"\n", 0, error.start)
                offset = block.offset + error.start
                raise undecodable(block.name, line, offset, "utf-8", error) from None
            return data.decode("utf-8", HANDLERS[self._errors]).encode("utf-8")
        return data

    def _encoded(self, data: bytes) -> tuple[NDArray[np.int32], _Missed]:
        """Return the codes of a text's words, with `_END` for the ends of lines: (n,)."""
        frequent = self._frequent or self._start(data)
        parts: list[NDArray[np.int32]] = []
        missing: list[bytes] = []
        for text in self._tokenizer.prepared(data):
            found, starts, ends = frequent.find(text)
            parts.append(found)
            missing += map(text.__getitem__, map(slice, starts.tolist(), ends.tolist()))
        codes = np.concatenate(parts) if parts else np.empty(0, np.int32)  # (pieces in text,)
        index: defaultdict[bytes, int] = defaultdict()
        index.default_factory = index.__len__
        ids = np.fromiter(map(index.__getitem__, missing), np.int32, len(missing))
        missed = self._cut(list(index))
        return _filled(codes, missed, ids), missed

    def _start(self, data: bytes) -> FrequentPieces:
        """Make the table of frequent pieces, for longer ones if the text is not of ASCII."""
        beyond = np.count_nonzero(np.frombuffer(data, np.uint8) >= 128)
        self._frequent = FrequentPieces(numbers=4 if beyond > len(data) // 4 else 2)
        self._frequent.add([LINE_END], np.array([_END], np.int32))
        return self._frequent

    def _cut(self, pieces: list[bytes]) -> _Missed:
        """Cut pieces into words, and give new words codes."""
        flat: list[str] = []
        size = np.ones(len(pieces), np.int64)  # (pieces,)
        done = 0
        for place in self._tokenizer.unfinished(pieces).tolist():
            tokens = self._tokenizer.tokens_of(pieces[place])
            flat += _decoded(pieces[done:place])
            flat += tokens
            size[place] = len(tokens)
            done = place + 1
        flat += _decoded(pieces[done:])
        codes = np.empty(len(flat) + 1, np.int32)  # (words + 1,)
        codes[:-1] = np.fromiter(map(self._codes.__getitem__, flat), np.int32, len(flat))
        return _Missed(pieces, codes, size, np.cumsum(size) - size)

    def _remember(
        self, remembered: int, codes: NDArray[np.int32], missed: _Missed
    ) -> tuple[list[str], NDArray[np.bool_]]:
        """Keep the fresh words that stood in the text before, while there is room.

        `codes` are those of fresh words. Returns all fresh words, and which were kept.
        """
        fresh = [self._codes.popitem()[0] for _ in range(len(self._codes) - remembered)][::-1]
        kept = np.bincount(codes - remembered, minlength=len(fresh)) >= _WORTH_REMEMBERING
        marks = np.fromiter(map(hash, fresh), np.int64, len(fresh)) % _MARKS
        kept |= self._marks[marks]
        self._marks[marks] = True
        kept &= np.cumsum(kept) <= _MOST_REMEMBERED - remembered
        final = np.full(remembered + len(fresh), MISSING, np.int32)  # (words,)
        final[:remembered] = np.arange(remembered)
        for word in np.flatnonzero(kept).tolist():
            final[remembered + word] = self._codes[fresh[word]]
        if self._frequent is not None:
            self._frequent.add(*missed.worth_finding(final, self._frequent.longest))
        return fresh, kept


@dataclass(frozen=True)
class _Missed:
    """Pieces that were not found, and their words."""

    pieces: list[bytes]
    codes: NDArray[np.int32]  # (words + 1,) of the words of all pieces, piece by piece
    size: NDArray[np.int64]  # (pieces,) how many words a piece has
    start: NDArray[np.int64]  # (pieces,) where its words begin

    def first(self) -> NDArray[np.int32]:
        """Return the code of the first word of each piece, or `_NOTHING`: (pieces,)."""
        return np.where(self.size > 0, self.codes[self.start], _NOTHING).astype(np.int32)

    def worth_finding(
        self, final: NDArray[np.int32], longest: int
    ) -> tuple[list[bytes], NDArray[np.int32]]:
        """Return the short pieces of no word, or of one remembered, with its `final` code."""
        codes = self.first()
        words = codes >= 0
        codes[words] = final[codes[words]]
        wanted = np.flatnonzero((self.size <= 1) & (codes != MISSING)).tolist()
        places = [place for place in wanted if len(self.pieces[place]) <= longest]
        return [self.pieces[place] for place in places], codes[places]


def _decoded(pieces: list[bytes]) -> list[str]:
    return b"\n".join(pieces).decode("ascii").split("\n") if pieces else []


def _filled(codes: NDArray[np.int32], missed: _Missed, ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """Put the words of missed pieces where `MISSING` stands, by the `ids` of the pieces: (n,)."""
    places = np.flatnonzero(codes == MISSING)
    codes[places] = missed.first()[ids]
    times = missed.size[ids]
    several = np.flatnonzero(times > 1)
    if not len(several):
        return codes
    places, ids, times = places[several], ids[several], times[several]
    every = np.ones(len(codes), np.int64)  # (pieces in text,)
    every[places] = times
    filled = np.repeat(codes, every)  # (n,)
    begins = np.cumsum(every)[places] - times
    within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    words = missed.codes[np.repeat(missed.start[ids], times) + within]
    filled[np.repeat(begins, times) + within] = words
    return filled


def _first_places(codes: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return where each code, numbered by first appearance, is first met: (v,)."""
    highest = np.maximum.accumulate(codes) if len(codes) else codes  # (n,)
    return np.flatnonzero(np.diff(highest, prepend=np.int32(-1)))


def _labels_in(data: bytes, label: re.Pattern[bytes]) -> tuple[list[str], NDArray[np.int64]]:
    places: list[int] = []
    names: list[str] = []
    for match in label.finditer(data):
        places.append(match.start())
        names.append(match[1].decode("utf-8"))
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))  # (lines,)
    return names, np.searchsorted(ends, np.array(places, np.int64))
