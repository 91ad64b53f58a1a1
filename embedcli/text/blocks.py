"""One block of text to ids of its own: the part of encoding that workers share."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from embedcli.config import TextSettings
from embedcli.text.corpus import Block
from embedcli.text.records import HANDLERS, undecodable
from embedcli.text.tokenizer import LINE_END, Tokenizer


@dataclass(frozen=True)
class BlockIds:
    """A block's tokens as ids into its own vocabulary, in the order of first appearance."""

    tokens: str  # the block's vocabulary, joined by newlines
    ids: NDArray[np.int32]  # (n,)
    line_ends: NDArray[np.int64]  # (lines,) tokens up to the end of each line that ends here
    first_lines: NDArray[np.int64]  # (v,) line of the block, from 0, where each token is first met
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

    def encode(self, block: Block) -> BlockIds:
        """Encode one block; raises CorpusError for bytes that are not UTF-8."""
        data = self._text(block)
        labels: list[str] = []
        label_lines = np.empty(0, np.int64)
        if self._label is not None and block.rows is None:
            labels, label_lines = _labels_in(data, self._label)
            data = self._label.sub(b" ", data)
        tokens, ids = self._local_ids(data)
        ends = np.flatnonzero(ids == _END)  # (lines,)
        first = _first_places(ids)
        return BlockIds(
            tokens="\n".join(tokens),
            ids=ids[ids != _END],
            line_ends=ends - np.arange(len(ends)),
            first_lines=np.searchsorted(ends, first),
            labels=labels,
            label_lines=label_lines,
        )

    def lines(self, block: Block) -> list[list[str]]:
        """Return the tokens of a block's lines; the last is the part of a line that goes on."""
        lines: list[list[str]] = [[]]
        for piece in chain.from_iterable(self._tokenizer.pieces(self._text(block))):
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

    def _local_ids(self, data: bytes) -> tuple[Iterable[str], NDArray[np.int32]]:
        """Return the tokens of `data` and their ids by first appearance; `_END` ends a line."""
        pieces: defaultdict[bytes, int] = defaultdict()
        pieces.default_factory = pieces.__len__
        pieces[LINE_END]
        # Small parts: the pieces of one are given back before the next, and stay in the cache.
        parts = [
            np.fromiter(map(pieces.__getitem__, part), np.int32, len(part))
            for part in self._tokenizer.pieces(data)
        ]
        del pieces[LINE_END]
        ids = np.concatenate(parts) if parts else np.empty(0, np.int32)  # (pieces in text,)
        return self._expand(list(pieces), ids)

    def _expand(
        self, pieces: list[bytes], ids: NDArray[np.int32]
    ) -> tuple[Iterable[str], NDArray[np.int32]]:
        """Replace the ids of pieces (from 1; 0 ends a line) by those of the tokens they give."""
        flat: list[str] = []
        size = np.ones(len(pieces) + 1, np.int32)  # (pieces + 1,)
        done = 0
        for place in self._tokenizer.unfinished(pieces).tolist():
            tokens = self._tokenizer.tokens_of(pieces[place])
            flat += _decoded(pieces[done:place])
            flat += tokens
            size[place + 1] = len(tokens)
            done = place + 1
        flat += _decoded(pieces[done:])
        index: defaultdict[str, int] = defaultdict()
        index.default_factory = index.__len__
        flat_ids = np.empty(len(flat) + 1, np.int32)  # (tokens of pieces + 1,)
        flat_ids[0] = _END
        flat_ids[1:] = np.fromiter(map(index.__getitem__, flat), np.int32, len(flat))
        return index, _replaced(ids, flat_ids, size)


_END = -1


def _decoded(pieces: list[bytes]) -> list[str]:
    return b"\n".join(pieces).decode("ascii").split("\n") if pieces else []


def _replaced(
    ids: NDArray[np.int32], flat: NDArray[np.int32], size: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Replace each of `ids` by its `size[id]` values in `flat`, which holds them id by id: (n,)."""
    start = np.cumsum(size) - size  # (v,)
    first = flat[np.minimum(start, len(flat) - 1)]  # (v,)
    times = size[ids]  # (pieces in text,)
    replaced = np.repeat(first[ids], times)  # (n,)
    several = np.flatnonzero(times > 1)
    if len(several):
        ends = np.cumsum(times)[several]
        times = times[several]
        within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        places = np.repeat(ends - times, times) + within
        replaced[places] = flat[np.repeat(start[ids[several]], times) + within]
    return replaced


def _first_places(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """Where each id, numbered by first appearance, is first met: (v,)."""
    highest = np.maximum.accumulate(ids) if len(ids) else ids  # (n,)
    return np.flatnonzero(np.diff(highest, prepend=np.int32(_END)))


def _labels_in(data: bytes, label: re.Pattern[bytes]) -> tuple[list[str], NDArray[np.int64]]:
    places: list[int] = []
    names: list[str] = []
    for match in label.finditer(data):
        places.append(match.start())
        names.append(match[1].decode("utf-8"))
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))  # (lines,)
    return names, np.searchsorted(ends, np.array(places, np.int64))
