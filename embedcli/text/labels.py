"""What a supervised task learns from: labels or numbers, a line at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import CorpusError
from embedcli.text.spool import Spool

LabelKind = Literal["none", "class", "number"]


class ClassTargets(NamedTuple):
    """The labels of each line; those of line i are `ids[offsets[i]:offsets[i + 1]]`."""

    names: tuple[str, ...]  # (C,) by first appearance
    ids: NDArray[np.int32]  # (n,)
    offsets: NDArray[np.int64]  # (L + 1,)


class NumberTargets(NamedTuple):
    """The numbers of each line, R of them; NaN where a line without words bears none."""

    values: NDArray[np.float32]  # (L, R)


class ClassNames:
    """Numbers labels by first appearance."""

    dtype = np.dtype(np.int32)
    expected = "a label"

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names: defaultdict[str, int] = defaultdict()
        self._names.default_factory = self._names.__len__
        for name in names:
            self._names[name]

    def split(self, cells: tuple[str, ...]) -> list[str]:
        """Return the labels of a record's cells: each is one."""
        return [cell.strip() for cell in cells]

    def parse(self, label: str) -> float:
        """Return a label's number; raises ValueError if it is empty."""
        if not label:
            raise ValueError("an empty label")
        return self._names[label]

    def targets(self, spool: Spool) -> ClassTargets:
        """Return what was spooled, mapped."""
        return ClassTargets(tuple(self._names), spool.numbers(), spool.offsets())


class Numbers:
    """Reads numbers, as many on each line."""

    dtype = np.dtype(np.float32)
    expected = "a finite number"

    def split(self, cells: tuple[str, ...]) -> list[str]:
        """Return the numbers of a record's cells, which may hold several with blanks between."""
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

    def targets(self, spool: Spool) -> NumberTargets:
        """Return what was spooled, as a matrix; lines without numbers hold NaN."""
        sizes = np.diff(spool.offsets())  # (L,)
        width = int(sizes.max(initial=0))
        if (sizes == width).all():
            return NumberTargets(spool.numbers().reshape(len(sizes), width))
        values = np.full((len(sizes), width), np.nan, np.float32)  # (L, R)
        values[sizes > 0] = spool.numbers().reshape(-1, width)
        return NumberTargets(values)


def label_codec(kind: LabelKind, names: Iterable[str] = ()) -> ClassNames | Numbers | None:
    """Return what reads the labels of a kind of task, some of whose `names` may be known."""
    return {"none": None, "class": ClassNames(names), "number": Numbers()}[kind]


def parse_labels(
    codec: ClassNames | Numbers, labels: Sequence[str], where: Callable[[int], str]
) -> NDArray[Any]:
    """Return labels as numbers (n,); raises CorpusError for one that is none, at `where(i)`."""
    numbers: list[float] = []
    try:
        for label in labels:
            numbers.append(codec.parse(label))
    except ValueError as error:
        place = where(len(numbers))
        raise CorpusError(f"{place}: found {error}; expected {codec.expected}") from None
    return np.array(numbers, codec.dtype)  # (n,)
