"""An array that grows at its end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Growing:
    """Numbers (n,) to which more are added, with room ahead so that few are copied."""

    def __init__(self, dtype: DTypeLike) -> None:
        self._room = np.empty(0, dtype)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> NDArray[Any]:
        """The numbers (n,): a view, valid until more are added."""
        return self._room[: self._size]

    def extend(self, values: NDArray[Any]) -> None:
        """Add numbers (m,) at the end."""
        size = self._size + len(values)
        if size > len(self._room):
            room = np.empty(size + size // 2, self._room.dtype)
            room[: self._size] = self.values
            self._room = room
        self._room[self._size : size] = values
        self._size = size
