"""The first inputs of every target, and each that once broke a promise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.cases import Box, Case, require_memory
from tests.fuzz.inputs import TARGETS

FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))
READERS = {
    "text", "records", "columns", "settings", "vectors", "model", "checkpoint", "kept ids",
    "judgements",
}  # fmt: skip


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """Return a place to run cases in."""
    with Box(tmp_path) as box:
        yield box


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_are_taken_or_one_error(name: str, box: Box) -> None:
    make, _ = TARGETS[name]
    for number in range(150 if name in READERS else 25):
        box.check(make(Random(f"{name} test {number}")))
    box.require_no_leftovers()
    require_memory()


@pytest.mark.parametrize("path", FOUND, ids=[path.stem for path in FOUND])
def test_what_was_found_stays_mended(path: Path, box: Box) -> None:
    case = Case.load(path.read_text(encoding="utf-8"))
    box.check(case)
    box.require_no_leftovers()


def test_a_case_is_written_down_and_read_back() -> None:
    for make, _ in TARGETS.values():
        case = make(Random("case"))
        assert Case.load(case.dump()) == case
