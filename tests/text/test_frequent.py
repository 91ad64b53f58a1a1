"""Pieces looked up as numbers: never one for another, and the first come are found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.text import frequent
from embedcli.text.frequent import MISSING, FrequentPieces

PIECES = st.lists(st.binary(min_size=1, max_size=40).map(lambda piece: piece.replace(b" ", b"\0")))


@given(PIECES, PIECES, st.sampled_from([1, 2, 4]), st.sampled_from([2, 18]))
def test_what_is_found_is_what_was_put_in(
    put: list[bytes], asked: list[bytes], numbers: int, slots: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frequent, "_SLOTS_BITS", slots)
        table = FrequentPieces(numbers)
        known = [piece for piece in put if len(piece) <= table.longest]
        table.add(known, np.arange(len(known), dtype=np.int32))
        text = b"  ".join([*asked, *known, b""])
        codes, starts, ends = table.find(text)
    everything = [*asked, *known]
    assert len(codes) == len(everything)
    for code, piece in zip(codes.tolist(), everything, strict=True):
        assert code == MISSING or known[code] == piece
    missing = [piece for code, piece in zip(codes, everything, strict=True) if code == MISSING]
    assert [text[start:end] for start, end in zip(starts, ends, strict=True)] == missing


def test_the_first_has_the_slot() -> None:
    table = FrequentPieces(2)
    table.add([b"a", b"a"], np.array([1, 2], np.int32))
    table.add([b"a"], np.array([3], np.int32))
    assert table.find(b"a b")[0].tolist() == [1, MISSING]
