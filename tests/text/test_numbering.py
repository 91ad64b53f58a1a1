"""Strings are numbered by first appearance, and none is ever taken for another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.text import numbering
from embedcli.text.numbering import MISSING, GrowingArray, Numbering, Strings, first_places

STRINGS = st.lists(
    (st.binary(min_size=1, max_size=40) | st.text("ab\0", min_size=1, max_size=9).map(str.encode))
    .map(lambda string: string.replace(b"\n", b"n").replace(b"\xff", b"\xfe"))
)  # fmt: skip


def of(strings: list[bytes]) -> Strings:
    return Strings.of_lines(b"".join(string + b"\n" for string in strings))


@given(st.lists(STRINGS, max_size=4), STRINGS, st.sampled_from([1, 2, 4]))
def test_numbers_are_those_of_a_dictionary(
    batches: list[list[bytes]], asked: list[bytes], integers: int
) -> None:
    expected: dict[bytes, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numbering, "_FIRST_BITS", 1)
        numbers = Numbering(integers)
        for batch in batches:
            found = numbers.number(of(batch))
            assert found.tolist() == [expected.setdefault(each, len(expected)) for each in batch]
    assert len(numbers) == len(expected)
    wanted = [*asked, *expected]
    looked_up = [expected.get(string, MISSING) for string in wanted]
    assert numbers.lookup(of(wanted)).tolist() == looked_up
    assert numbers.number(of(list(expected))).tolist() == list(expected.values())


def test_strings_for_one_slot_all_have_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbering, "_MIXERS", np.zeros(4, np.uint64))
    numbers = Numbering(2)
    assert numbers.number(of([b"b", b"a", b"b", b"c", b"a"])).tolist() == [0, 1, 0, 2, 1]
    assert numbers.lookup(of([b"d", b"c", b"a"])).tolist() == [MISSING, 2, 1]
    assert numbers.number(of([b"c", b"e", b"b"])).tolist() == [2, 3, 0]


@pytest.mark.parametrize("integers", [1, 2, 4])
def test_the_start_of_a_string_is_not_the_string(integers: int) -> None:
    numbers = Numbering(integers)
    strings = of([b"a" * size for size in range(1, 40)])
    for _ in range(2):
        assert numbers.number(strings).tolist() == list(range(39))
    assert numbers.lookup(of([b"a" * 40, b"a" * 39])).tolist() == [MISSING, 38]


def test_longer_ones_beyond_ascii() -> None:
    assert Numbering.for_text(b"hope").longest < Numbering.for_text("आशा".encode()).longest


@given(STRINGS)
def test_strings_and_lines(strings: list[bytes]) -> None:
    some = of(strings)
    assert some.listed() == strings
    assert some.lines() == b"".join(string + b"\n" for string in strings)
    back = np.arange(len(strings))[::-1]
    assert some[back].listed() == strings[::-1]


def test_where_new_numbers_first_stand() -> None:
    numbers = np.array([3, 0, 4, 3, 1, 4, 5], np.int32)
    assert first_places(numbers, 3).tolist() == [0, 2, 6]
    assert first_places(numbers, 6).tolist() == []


@given(st.lists(st.lists(st.integers(0, 9))))
def test_growing(batches: list[list[int]]) -> None:
    numbers = GrowingArray(np.int32)
    for batch in batches:
        numbers.extend(np.array(batch))
    assert numbers.values.tolist() == [number for batch in batches for number in batch]
    assert len(numbers) == sum(map(len, batches))
