"""What a supervised task learns from: labels or numbers, a line at a time."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import CorpusError
from embedcli.text.spool import Spool, take_lines

LabelKind = Literal["none", "class", "number"]
_NEWLINE = ord("\n")


class ClassTargets(NamedTuple):
    """The labels of each line; those of line i are `ids[offsets[i]:offsets[i + 1]]`."""

    names: tuple[str, ...]  # (C,) by first appearance
    ids: NDArray[np.signedinteger]  # (n,) -1 for a label that is none of the names
    offsets: NDArray[np.int64]  # (L + 1,)

    @property
    def width(self) -> int:
        """How many outputs predict them, C."""
        return len(self.names)

    @property
    def given(self) -> NDArray[np.bool_]:
        """Which lines have a label, (L,)."""
        return np.diff(self.offsets) > 0

    def take(self, lines: NDArray[Any]) -> ClassTargets:
        """Copy the labels of some lines, in the order of `lines` (B,)."""
        return ClassTargets(self.names, *take_lines(self.ids, self.offsets, lines))

    def numbered_as(self, names: Sequence[str]) -> ClassTargets:
        """Return the labels numbered as in `names`; -1 for others."""
        number = {name: place for place, name in enumerate(names)}
        numbers = np.array([number.get(name, -1) for name in self.names], np.int64)  # (C',)
        ids = np.asarray(self.ids)  # (n,)
        return ClassTargets(
            tuple(names), numbers[ids] if len(ids) else ids.astype(np.int64), self.offsets
        )

    def multi_hot(self) -> NDArray[np.bool_]:
        """Return which of the names each line has, (L, C)."""
        mask = np.zeros((len(self.offsets) - 1, len(self.names)), bool)  # (L, C)
        owners = np.repeat(np.arange(len(mask)), np.diff(self.offsets))  # (n,)
        known = self.ids >= 0
        mask[owners[known], self.ids[known]] = True
        return mask


class NumberTargets(NamedTuple):
    """The numbers of each line, R of them; NaN for a line that has neither words nor numbers."""

    values: NDArray[np.float32]  # (L, R)

    @property
    def width(self) -> int:
        """How many outputs predict them, R."""
        return int(self.values.shape[1])

    @property
    def given(self) -> NDArray[np.bool_]:
        """Which lines have numbers, (L,)."""
        finite = np.asarray(np.isfinite(self.values).all(axis=1))
        return finite if self.width else np.zeros_like(finite)

    def take(self, lines: NDArray[Any]) -> NumberTargets:
        """Copy the numbers of some lines, in the order of `lines` (B,)."""
        return NumberTargets(self.values[lines])


def split_labels(text: bytes, prefix: str | None) -> tuple[bytes, list[str], NDArray[np.int64]]:
    """Return a text with a blank for each label, the labels, and the line of each: (labels,).

    A label is what follows `prefix` at the start of a word. Without a prefix there is none.

    >>> split_labels(b"__label__sport soup", "__label__")[:2]
    (b'  soup', ['sport'])
    """
    if not prefix or prefix.encode() not in text:
        return text, [], np.empty(0, np.int64)
    parts = _label_pattern(prefix).split(text)
    texts, labels = parts[0::2], parts[1::2]
    text = b" ".join(texts)
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))  # (labels + 1,)
    blanks = np.cumsum(sizes[:-1] + 1) - 1  # (labels,) where in the text each label was
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == _NEWLINE)  # (lines,)
    return text, [label.decode("utf-8") for label in labels], np.searchsorted(ends, blanks)


@cache
def _label_pattern(prefix: str) -> re.Pattern[bytes]:
    """Return the pattern of a label, and of what follows the prefix as its group.

    Whether the prefix begins a word is tested after it: a pattern that begins with letters is
    searched for several times faster.
    """
    begin = re.escape(prefix.encode())
    return re.compile(begin + rb"(?<!\S" + begin + rb")(\S*)")


class ClassNames:
    """Numbers labels by first appearance; a label counts once on a line."""

    dtype = np.dtype(np.int32)
    expected = "a label"

    @property
    def names(self) -> tuple[str, ...]:
        """The labels so far, by their numbers."""
        return tuple(self._names)

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names: defaultdict[str, int] = defaultdict()
        self._names.default_factory = self._names.__len__
        for name in names:
            self._names[name]
        self._unfinished = np.empty(0, np.int32)  # labels of a line that goes on in the next block

    def split(self, cells: tuple[str, ...]) -> list[str]:
        """Return the labels of a record's cells: each is one."""
        return [cell.strip() for cell in cells]

    def parse(self, label: str) -> float:
        """Return a label's number; raises ValueError if it is empty."""
        if not label:
            raise ValueError("an empty label")
        return self._names[label]

    def of_lines(
        self, numbers: NDArray[Any], lines: NDArray[np.int64], ended: int
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Drop repeated labels of a block, of whose lines so many end; returns the rest, as given.

        `numbers` (n,) are labels, and `lines` (n,) the lines they are on, in order.
        """
        before = len(self._unfinished)
        numbers = np.concatenate([self._unfinished, numbers])  # (before + n,)
        lines = np.concatenate([np.zeros(before, np.int64), lines])  # (before + n,)
        _, first = np.unique(lines * len(self._names) + numbers, return_index=True)
        first.sort()
        self._unfinished = numbers[first][lines[first] == ended]
        first = first[first >= before]
        return numbers[first], lines[first]

    def targets(self, spool: Spool) -> ClassTargets:
        """Return what was spooled, mapped."""
        return ClassTargets(tuple(self._names), spool.numbers(), spool.offsets())


class Numbers:
    """Reads numbers, as many on each line."""

    dtype = np.dtype(np.float32)
    expected = "a finite number"

    def split(self, cells: tuple[str, ...]) -> list[str]:
        """Return the numbers of a record's cells, which may hold several separated by blanks."""
        return [number for cell in cells for number in cell.split() or [cell]]

    def parse(self, label: str) -> float:
        """Return the number a label is; raises ValueError for what is not a finite float32."""
        try:
            number = float(label)
        except ValueError:
            raise ValueError(repr(label)) from None
        if not abs(number) <= float(np.finfo(np.float32).max):
            raise ValueError(repr(label))
        return number

    def of_lines(
        self, numbers: NDArray[Any], lines: NDArray[np.int64], ended: int
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the numbers of a block as they are; two may be equal."""
        del ended
        return numbers, lines

    def targets(self, spool: Spool) -> NumberTargets:
        """Return the spooled numbers as a matrix, mapped if it has no gaps; gaps are NaN."""
        sizes = np.diff(spool.offsets())  # (L,)
        width = int(sizes.max(initial=0))
        if (sizes == width).all():
            return NumberTargets(spool.numbers().reshape(len(sizes), width))
        values = np.full((len(sizes), width), np.nan, np.float32)  # (L, R)
        values[sizes > 0] = spool.numbers().reshape(-1, width)
        return NumberTargets(values)


def label_codec(kind: LabelKind, names: Iterable[str] = ()) -> ClassNames | Numbers | None:
    """Return what reads the labels of a kind of task, of which some `names` may be known."""
    return {"none": None, "class": ClassNames(names), "number": Numbers()}[kind]


def parse_labels(
    codec: ClassNames | Numbers, labels: Sequence[str], where: Callable[[int], str]
) -> NDArray[Any]:
    """Return labels as numbers (n,); raises CorpusError for an invalid one, at `where(i)`."""
    numbers: list[float] = []
    try:
        for label in labels:
            numbers.append(codec.parse(label))
    except ValueError as error:
        place = where(len(numbers))
        raise CorpusError(f"{place}: found {error}; expected {codec.expected}") from None
    return np.array(numbers, codec.dtype)  # (n,)
