"""Vectors in Parquet: of embed, and of others."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from embedcli import formats
from embedcli.errors import EmbedError, FormatError
from embedcli.formats import parquet as module
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary

pa = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'embedcli[arrow]'")
parquet = pytest.importorskip("pyarrow.parquet")


def make(size: int = 5, counts: bool = True) -> EmbeddingTable:
    rows = np.random.default_rng(1).normal(size=(size, 3)).astype(np.float32)
    words = [f"word{number}" for number in range(size)]
    return EmbeddingTable(Vocabulary(words, np.arange(size) if counts else None), rows)


@pytest.mark.parametrize("counts", [True, False])
def test_the_columns_are_token_count_and_vector(tmp_path: Path, counts: bool) -> None:
    table = make(counts=counts)
    formats.convert(table, tmp_path / "a.parquet")
    found = parquet.read_table(tmp_path / "a.parquet")
    assert found.schema.names == (["token", "count", "vector"] if counts else ["token", "vector"])
    assert found.schema.field("vector").type == pa.list_(pa.float32())
    assert found["vector"].to_pylist() == table.vectors.tolist()
    assert found["token"].to_pylist() == list(table.vocabulary)


def test_a_table_of_many_blocks_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", 7)
    monkeypatch.setattr("embedcli.formats.base._BLOCK", 1 << 8)
    table = make(100)
    formats.convert(table, tmp_path / "a.parquet")
    assert parquet.ParquetFile(tmp_path / "a.parquet").num_row_groups > 3
    found = formats.read(tmp_path / "a.parquet").table
    assert found.vectors.tolist() == table.vectors.tolist()
    assert found.vocabulary.counts is not None
    assert found.vocabulary.counts.tolist() == list(range(100))


def test_a_count_that_int64_cannot_hold_is_an_error(tmp_path: Path) -> None:
    counts = pa.array([1 << 63, 1], pa.uint64())
    columns = {"token": ["a", "b"], "count": counts, "vector": [[1.0], [2.0]]}
    parquet.write_table(pa.table(columns), tmp_path / "a")
    with pytest.raises(FormatError, match="9223372036854775808"):
        formats.open_table(tmp_path / "a")


@pytest.mark.parametrize(
    "type_", [pa.list_(pa.float64()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 2)]
)
def test_other_names_and_types_are_read_where_there_is_one_of_each(
    tmp_path: Path, type_: Any
) -> None:
    columns = {"id": [1, 2], "word": ["a", "b"], "emb": pa.array([[1, 2], [3, 4]], type_)}
    parquet.write_table(pa.table(columns), tmp_path / "a")
    table = formats.open_table(tmp_path / "a")
    assert table["b"].tolist() == [3, 4]
    parquet.write_table(pa.table({**columns, "text": ["x", "y"]}), tmp_path / "a")
    with pytest.raises(FormatError, match=r"2 columns of text; .* id, word, emb, text"):
        formats.open_table(tmp_path / "a")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[1.0, 2.0], [1.0]], "a:2: found 1 numbers; expected 2"),
        ([[1.0, 2.0], None], "a:2: found 0 numbers; expected 2"),
        ([[], []], "a:1: found 0 numbers; expected 1"),
        ([[1.0, 2.0], [None, 1.0]], "a:2: a number that is not finite"),
        ([[1.0, float("inf")], [0.0, 1.0]], "a:1: a number that is not finite"),
    ],
)
def test_rows_that_are_no_vectors_are_one_error(tmp_path: Path, rows: Any, said: str) -> None:
    array = pa.array(rows, pa.list_(pa.float32()))
    parquet.write_table(pa.table({"token": ["x", "y"], "vector": array}), tmp_path / "a")
    with pytest.raises(FormatError) as caught:
        formats.open_table(tmp_path / "a")
    assert caught.value.message.endswith(said)


def test_words_that_are_missing_or_repeated_are_left_out(tmp_path: Path) -> None:
    columns = {"token": ["a", None, "a"], "vector": [[1.0], [2.0], [3.0]], "count": [1, 2, None]}
    parquet.write_table(pa.table(columns), tmp_path / "a")
    found = formats.read(tmp_path / "a")
    assert found.skipped == {"empty": 1, "repeated": 1}
    assert found.table.vocabulary.counts is None


def test_a_damaged_file_is_one_error_or_other_vectors(tmp_path: Path) -> None:
    formats.convert(make(50), tmp_path / "a.parquet")
    data, random, refused = (tmp_path / "a.parquet").read_bytes(), Random("parquet"), 0
    for _ in range(100):
        spoilt = bytearray(data[: random.choice((len(data), random.randrange(12, len(data))))])
        spoilt[random.randrange(4, len(spoilt))] = random.randrange(256)
        (tmp_path / "a.parquet").write_bytes(spoilt)
        try:
            formats.open_table(tmp_path / "a.parquet")
        except EmbedError as error:
            refused += 1
            assert "a.parquet" in error.message
    assert refused > 30


def test_expansion_without_end(tmp_path: Path) -> None:
    rows = pa.array([[0.0] * 2_000_000], pa.list_(pa.float32()))
    parquet.write_table(pa.table({"token": ["a"], "vector": rows}), tmp_path / "a")
    assert (tmp_path / "a").stat().st_size < 5000
    with pytest.raises(FormatError, match="expands to 8,000,0"):
        formats.open_table(tmp_path / "a")


def test_without_the_library_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    formats.convert(make(), tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for action in (
        lambda: formats.read(tmp_path / "a.parquet"),
        lambda: formats.convert(make(), tmp_path / "b.parquet"),
    ):
        with pytest.raises(FormatError) as caught:
            action()
        assert caught.value.hint == "pip install 'embedcli[arrow]'"
