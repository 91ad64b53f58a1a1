"""Parquet, Arrow, and datasets on disk: the same text as in JSON lines, or one error."""

from __future__ import annotations

import gzip
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest

import embedcli
from embedcli.config import TextSettings
from embedcli.errors import CorpusError, EmbedError
from embedcli.text import columnar
from embedcli.text.corpus import Corpus, fingerprint_of
from embedcli.text.encode import encode

pa = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'embedcli[arrow]'")
feather = pytest.importorskip("pyarrow.feather")
parquet = pytest.importorskip("pyarrow.parquet")

TEXTS = ["a warm film", "दो\nlines", "", "plain", "a warm film"] * 40
LABELS = ["good", "new", "bad", "bad", "good"] * 40
CLASSES = {"info": {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}}}


def table_of(texts: Sequence[str | None] = TEXTS, labels: Any = LABELS) -> Any:
    return pa.table({"id": range(len(texts)), "text": texts, "label": labels})


def stream(path: Path, table: Any, rows: int = 7, compression: str | None = None) -> None:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(path, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)


WRITERS: dict[str, Callable[[Path, Any], object]] = {
    "parquet": lambda path, table: parquet.write_table(table, path, row_group_size=30),
    "parquet, zstd": lambda path, table: parquet.write_table(
        table, path, compression="zstd", use_dictionary=False, data_page_version="2.0"
    ),
    "feather": lambda path, table: feather.write_feather(table, path, chunksize=30),
    "feather, plain": lambda path, table: feather.write_feather(
        table, path, compression="uncompressed"
    ),
    "stream": stream,
    "stream, zstd": lambda path, table: stream(path, table, 50, "zstd"),
}


def json_lines(path: Path, texts: Sequence[str] = TEXTS, labels: Sequence[Any] = LABELS) -> Path:
    lines = (json.dumps({"text": t, "label": x}) for t, x in zip(texts, labels, strict=True))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def read(path: Path, *, labelled: bool = True, **settings: Any) -> list[tuple[bytes, Any]]:
    """Return each line of a corpus, with its row."""
    found: list[tuple[bytes, Any]] = []
    for block in Corpus([path], TextSettings(**settings), labelled=labelled).blocks():
        assert block.rows is not None
        found += zip(block.data.split(b"\n"), block.rows, strict=False)
    return found


def error_of(path: Path, **settings: Any) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        read(path, **settings)
    return caught.value


@pytest.mark.parametrize("name", ["data", "data.bin", "data.txt", "data.parquet"])
@pytest.mark.parametrize("kind", WRITERS)
def test_the_records_are_those_of_json_lines(tmp_path: Path, kind: str, name: str) -> None:
    WRITERS[kind](tmp_path / name, table_of())
    if name == "data.parquet" and "parquet" not in kind:
        assert "no Parquet file" in error_of(tmp_path / name).message
        return
    expected = read(json_lines(tmp_path / "expected.jsonl"))
    assert read(tmp_path / name) == expected
    expected = [(line, row._replace(labels=())) for line, row in expected]
    assert read(tmp_path / name, labelled=False) == expected


@pytest.mark.parametrize("kind", ["parquet", "feather", "stream"])
def test_training_gives_the_bytes_that_json_lines_give(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path / "data", table_of())
    settings: dict[str, Any] = {"task": "classify", "dim": 4, "epochs": 2, "min_count": 1}
    one = embedcli.train(json_lines(tmp_path / "a.jsonl"), tmp_path / "one", **settings)
    two = embedcli.train(tmp_path / "data", tmp_path / "two", **settings)
    assert one.digest == two.digest
    settings["input_format"] = "parquet" if kind == "parquet" else "arrow"
    assert embedcli.train(tmp_path / "data", tmp_path / "three", **settings).digest == two.digest


@pytest.mark.parametrize("kind", WRITERS)
def test_the_file_is_hashed_and_its_ids_are_kept(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBED_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "data"
    WRITERS[kind](path, table_of())
    data = path.read_bytes()
    read_to: list[tuple[int, int]] = []
    (tmp_path / "work").mkdir()
    first = encode(
        [path],
        TextSettings(),
        folder=tmp_path / "work",
        progress=lambda *sizes: read_to.append(sizes),
    )
    assert first.fingerprint == fingerprint_of([(len(data), sha256(data).hexdigest())])
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    again = encode([path], TextSettings(), folder=tmp_path)
    assert again.ids.tolist() == first.ids.tolist()


def test_progress_is_told_while_a_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedcli.text.corpus.BLOCK", 1 << 10)
    for module in ("sources", "columnar"):
        monkeypatch.setattr(f"embedcli.text.{module}.READ", 1 << 10)
    parquet.write_table(table_of([f"word{i}" for i in range(20_000)], [0] * 20_000), tmp_path / "a")
    told: list[tuple[int, int]] = []
    corpus = Corpus([tmp_path / "a"], TextSettings(), progress=lambda *sizes: told.append(sizes))
    for _ in corpus.blocks():
        pass
    size = (tmp_path / "a").stat().st_size
    assert {total for _, total in told} == {size}
    assert len({done for done, _ in told}) > 20
    assert told == sorted(told)


@pytest.mark.parametrize("kind", ["feather", "stream"])
def test_arrow_may_be_compressed_or_come_through_a_pipe(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path / "data", table_of())
    data, expected = (tmp_path / "data").read_bytes(), read(tmp_path / "data")
    (tmp_path / "data.gz").write_bytes(gzip.compress(data))
    assert read(tmp_path / "data.gz") == expected
    os.mkfifo(tmp_path / "pipe")
    thread = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[data])
    thread.start()
    assert read(tmp_path / "pipe") == expected
    thread.join()


def test_parquet_has_to_be_a_file(tmp_path: Path) -> None:
    WRITERS["parquet"](tmp_path / "data", table_of())
    data = (tmp_path / "data").read_bytes()
    (tmp_path / "data.gz").write_bytes(gzip.compress(data))
    assert "compressed as a whole" in error_of(tmp_path / "data.gz").message
    os.mkfifo(tmp_path / "pipe")
    thread = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[data])
    thread.start()
    error = error_of(tmp_path / "pipe")
    thread.join()
    assert "not read from a pipe" in error.message
    assert "save it" in (error.hint or "")


def test_a_file_that_is_replaced_while_it_is_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS["parquet"](tmp_path / "data", table_of())
    WRITERS["parquet"](tmp_path / "other", table_of(["another"], ["x"]))
    library = columnar._library

    def replacing(file: Any) -> Any:
        (tmp_path / "other").replace(tmp_path / "data")
        return library(file)

    monkeypatch.setattr(columnar, "_library", replacing)
    assert "changed while it was read" in error_of(tmp_path / "data").message


def dataset(folder: Path, shards: int = 2) -> None:
    """Write a folder as `datasets.Dataset.save_to_disk` does."""
    schema = pa.schema(
        {"text": pa.string(), "label": pa.int64()}, metadata={"huggingface": json.dumps(CLASSES)}
    )
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{shards:05}.arrow" for number in range(shards)]
    for number, name in enumerate(names):
        texts = [f"text {number} {row}" for row in range(10)]
        stream(folder / name, pa.table({"text": texts, "label": [0, 1] * 5}, schema=schema))
    state = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps(CLASSES["info"]))
    stream(folder / "cache-1234.arrow", table_of())  # as `map` and `filter` leave


def test_a_dataset_on_disk_is_its_data_files_with_the_names_of_its_labels(tmp_path: Path) -> None:
    dataset(tmp_path / "set")
    found = read(tmp_path / "set")
    assert len(found) == 20
    assert found[0] == (b"text 0 0", (1, ("neg",)))
    assert found[19] == (b"text 1 9", (10, ("pos",)))
    embedcli.train(tmp_path / "set", tmp_path / "m", task="classify", dim=2, epochs=1)
    lines = list(embedcli.predict(tmp_path / "set", tmp_path / "m", k=2).lines)
    assert {label.name for line in lines for label in line} == {"neg", "pos"}


def test_of_several_splits_one_is_to_be_named(tmp_path: Path) -> None:
    dataset(tmp_path / "sets/test")
    dataset(tmp_path / "sets/train")
    (tmp_path / "sets/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    error = error_of(tmp_path / "sets")
    assert "several splits (test, train)" in error.message
    assert (error.hint or "").endswith("sets/test")
    assert len(read(tmp_path / "sets/train")) == 20


@pytest.mark.parametrize(
    "state",
    [
        b"", b"[]", b'{"_data_files": 3}', b'{"_data_files": [{"filename": "../a"}]}',
        b'{"_data_files": [{"filename": "/etc/hostname"}]}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_state_of_a_dataset_is_one_error(tmp_path: Path, state: bytes) -> None:
    dataset(tmp_path / "set")
    (tmp_path / "set/state.json").write_bytes(state)
    assert "state.json" in error_of(tmp_path / "set").message


def test_a_missing_text_is_a_blank_line_and_a_missing_label_an_error(tmp_path: Path) -> None:
    parquet.write_table(table_of(["one", None, "two"], ["a", "b", None]), tmp_path / "data")
    assert [line for line, _ in read(tmp_path / "data", labelled=False)] == [b"one", b"", b"two"]
    assert error_of(tmp_path / "data").message.endswith(
        "data:3: label is null; expected a label or a number"
    )
    schema = pa.schema({"text": pa.string(), "label": pa.int64()})
    schema = schema.with_metadata({"huggingface": json.dumps(CLASSES)})
    stream(tmp_path / "hf", pa.table({"text": ["a", "b"], "label": [1, -1]}, schema=schema))
    assert "hf:2: label is null" in error_of(tmp_path / "hf").message


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1.5], ("1.5",)),
        ([True], ("true",)),
        ([["a", "b"]], ("a", "b")),
        ([[]], ()),
        (pa.array(["x"]).dictionary_encode(), ("x",)),
    ],
)
def test_labels_are_spelt_as_in_json(tmp_path: Path, labels: Any, expected: Any) -> None:
    parquet.write_table(table_of(["one"], labels), tmp_path / "data")
    assert read(tmp_path / "data")[0][1].labels == expected


@pytest.mark.parametrize("kind", ["parquet", "stream"])
def test_columns_are_named_or_an_error_names_them(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path / "data", table_of(["one"], [[{"a": 1}]]))
    assert read(tmp_path / "data", labelled=False, text_column="text")[0][0] == b"one"
    assert (
        "column 'id' is int64; expected text"
        in error_of(tmp_path / "data", text_column="id").message
    )
    error = error_of(tmp_path / "data", text_column="none")
    assert error.message.endswith("no column 'none'; the columns are id, text, label")
    assert error.hint == "name it by --text-column"
    assert "expected a label or a number" in error_of(tmp_path / "data").message
    two = pa.table([["a"], ["b"]], names=["text", "text"])
    WRITERS[kind](tmp_path / "data", two)
    assert "two columns 'text'" in error_of(tmp_path / "data", labelled=False).message


@pytest.mark.parametrize("type_", ["large_string", "string_view", "dictionary"])
def test_each_type_of_text_is_read(tmp_path: Path, type_: str) -> None:
    texts = pa.array(["one", "two", "one"])
    texts = texts.dictionary_encode() if type_ == "dictionary" else texts.cast(type_)
    for kind in ("feather, plain", "stream, zstd", "parquet"):
        if type_ == "string_view" and kind != "feather, plain":
            continue  # old versions of pyarrow crash when they write it, or refuse to
        WRITERS[kind](tmp_path / "data", pa.table({"text": texts}))
        assert [line for line, _ in read(tmp_path / "data", labelled=False)] == [
            b"one", b"two", b"one",
        ]  # fmt: skip


@pytest.mark.parametrize("kind", WRITERS)
def test_a_damaged_file_is_one_error_or_other_text(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path / "data", table_of())
    data = (tmp_path / "data").read_bytes()
    random, refused = Random(kind), 0
    for _ in range(60):
        spoilt = bytearray(data[: random.choice((len(data), random.randrange(12, len(data))))])
        for _ in range(random.choice((0, 1, 4))):
            spoilt[random.randrange(8, len(spoilt))] = random.randrange(256)
        (tmp_path / "data").write_bytes(spoilt)
        try:
            read(tmp_path / "data")
        except EmbedError as error:
            refused += 1
            assert str(tmp_path / "data") in error.message
    assert refused > 20


@pytest.mark.parametrize("kind", ["parquet, zstd", "stream, zstd", "parquet", "feather"])
def test_expansion_without_end(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "EXPANSION_FLOOR", 1 << 10)
    WRITERS[kind](tmp_path / "data", pa.table({"text": ["a " * 5000] * 300}))
    error = error_of(tmp_path / "data", labelled=False, max_expansion=3)
    assert "expands to more than 3 times its size" in error.message
    assert "--max-expansion" in (error.hint or "")
    assert len(read(tmp_path / "data", labelled=False, max_expansion=100_000)) == 300


def test_compressed_buffers_are_measured_before_they_are_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = pa.array(["a" * 100_000])
    for column, size in ((texts, 100_000), (texts.dictionary_encode(), 100_000)):
        stream(tmp_path / "data", pa.table({"text": column}), compression="zstd")
        with (tmp_path / "data").open("rb") as file:
            messages = list(pa.ipc.MessageReader.open_stream(file))
            assert sum(map(columnar._stated_size, messages)) >= size
        assert (tmp_path / "data").stat().st_size < 2000
    stream(tmp_path / "data", pa.table({"text": texts}))
    with (tmp_path / "data").open("rb") as file:
        messages = list(pa.ipc.MessageReader.open_stream(file))
    assert sum(map(columnar._stated_size, messages)) == 0


def test_without_the_library_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS["parquet"](tmp_path / "data", table_of())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    error = error_of(tmp_path / "data")
    assert "needs pyarrow" in error.message
    assert error.hint == "pip install 'embedcli[arrow]'"


def test_an_arrow_file_whose_schema_is_in_its_footer_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "polars.arrow"
    path.write_bytes(b"ARROW1\0\0" + bytes.fromhex("04000000f2ffffff14000400") + b"ARROW1")
    with pytest.raises(CorpusError, match="no schema after ARROW1") as refused:
        embedcli.train(path, tmp_path / "model", text_column="text")
    assert "write_ipc_stream" in str(refused.value.hint)
