import json
import re
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli import formats
from embedcli.errors import EmbedError, FormatError, StoreError
from embedcli.formats import FORMATS
from embedcli.formats.base import Options
from embedcli.table import EmbeddingTable
from embedcli.text import sources
from embedcli.text.vocabulary import Vocabulary
from tests.packing import PACKERS

WRITABLE = [name for name in FORMATS if name != "parquet" or find_spec("pyarrow")]
ENDINGS = {"npy": ".npy", "projector": ".tsv", "safetensors": ".safetensors", "model": ""}


def make(words, rows, counts=None):
    return EmbeddingTable(Vocabulary(words, counts), np.asarray(rows, np.float32))


def tokens_of(table):
    return table.vocabulary.tokens(slice(None))


@pytest.fixture
def table():
    rows = np.random.default_rng(0).normal(size=(4, 3))
    return make(["the", "naïve", "हिन्दी", "x-1"], rows)


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), min_size=1)
odd_words = st.sampled_from(
    "| |a b| a|a |\t|\r|a\r|\ufeffa|1|2 3|0.5 0.5|nan|\x00|\x85|\u2028|\xa0|<s>|\x1b[31m|=1+1"
    "|__label__x|{|\x93NUMPY|II|-|#|''|\"|\\"[1:].split("|")
)
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
tables = st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(
    lambda shape: st.tuples(
        st.lists(words | odd_words, min_size=shape[0], max_size=shape[0], unique=True),
        st.lists(
            st.lists(numbers, min_size=shape[1], max_size=shape[1]),
            min_size=shape[0],
            max_size=shape[0],
        ),
    )
)


@pytest.mark.parametrize("name", WRITABLE)
@given(content=tables)
def test_every_format_round_trips_or_refuses(name, content, tmp_path_factory):
    path = tmp_path_factory.mktemp("trip") / f"out{ENDINGS.get(name, '.vec')}"
    try:
        FORMATS[name].write(path, make(*content))
    except FormatError:
        assert not path.exists()
        return
    found = formats.read(path)
    assert tokens_of(found.table) == content[0]
    np.testing.assert_array_equal(found.table.vectors, np.float32(content[1]))
    assert not found.skipped


@pytest.mark.parametrize("name", WRITABLE)
def test_the_format_is_told_by_content(name, table, tmp_path):
    path = tmp_path / f"out{ENDINGS.get(name, '.misleading.bin')}"
    FORMATS[name].write(path, table)
    assert formats.sniff(path) == name
    assert tokens_of(formats.open_table(path)) == tokens_of(table)


@pytest.mark.parametrize("source", WRITABLE)
@pytest.mark.parametrize("target", WRITABLE)
def test_any_format_converts_to_any_other(source, target, table, tmp_path):
    first = tmp_path / f"first{ENDINGS.get(source, '.vec')}"
    second = tmp_path / f"second{ENDINGS.get(target, '.vec')}"
    FORMATS[source].write(first, table)
    formats.convert(first, second, target)
    found = formats.open_table(second)
    assert tokens_of(found) == tokens_of(table)
    np.testing.assert_array_equal(found.vectors, table.vectors)


@pytest.mark.parametrize("name", WRITABLE)
def test_a_table_that_is_not_finite_or_empty_is_not_written(name, table, tmp_path):
    path = tmp_path / f"out{ENDINGS.get(name, '.vec')}"
    for number in (np.nan, np.inf):
        broken = np.array(table.vectors)
        broken[2, 1] = number
        with pytest.raises(FormatError, match="हिन्दी"):
            FORMATS[name].write(path, make(tokens_of(table), broken))
    with pytest.raises(FormatError, match="without words"):
        FORMATS[name].write(path, make([], np.empty((0, 3))))
    assert list(tmp_path.iterdir()) == []


def test_counts_stay_where_the_format_has_room_for_them(table, tmp_path):
    counted = make(tokens_of(table), table.vectors, np.array([9, 7, 5, 3]))
    for name in ("model", "projector"):
        FORMATS[name].write(tmp_path / f"out{ENDINGS[name]}", counted)
        found = formats.open_table(tmp_path / f"out{ENDINGS[name]}")
        assert found.vocabulary.counts.tolist() == [9, 7, 5, 3]


COMPRESSORS = {suffix: pack for suffix, pack in PACKERS.items() if suffix}


@pytest.mark.parametrize("ending, compress", COMPRESSORS.items(), ids=COMPRESSORS)
def test_compressed_files_are_read_and_written(ending, compress, table, tmp_path):
    plain, packed = tmp_path / "a.vec", tmp_path / f"b.vec{ending}"
    FORMATS["word2vec"].write(plain, table)
    (tmp_path / "misnamed").write_bytes(compress(plain.read_bytes()))
    FORMATS["word2vec"].write(packed, table)
    for path in (tmp_path / "misnamed", packed):
        assert path.read_bytes() != plain.read_bytes()
        assert formats.sniff(path) == "word2vec"
        np.testing.assert_array_equal(formats.open_table(path).vectors, table.vectors)


@pytest.mark.parametrize(
    ("name", "file"),
    [("word2vec-binary", "a.bin"), ("npy", "a.npy"), ("safetensors", "a.safetensors")],
)
@pytest.mark.parametrize("ending, compress", COMPRESSORS.items(), ids=COMPRESSORS)
def test_compressed_binary_is_read(name, file, ending, compress, table, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    FORMATS[name].write(tmp_path / file, table)
    packed = tmp_path / f"{file}{ending}"
    packed.write_bytes(compress((tmp_path / file).read_bytes()))
    (tmp_path / file).unlink()
    told = []
    found = formats.read(packed, Options(progress=lambda *now: told.append(now)))
    assert tokens_of(found.table) == tokens_of(table)
    np.testing.assert_array_equal(found.table.vectors, table.vectors)
    assert told[-1] == (packed.stat().st_size, packed.stat().st_size)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_only_text_is_written_compressed(table, tmp_path):
    with pytest.raises(FormatError, match="not written compressed"):
        formats.convert(written(table, tmp_path), tmp_path / "b.npy.gz")
    assert not (tmp_path / "b.npy.gz").exists()


def written(table, tmp_path):
    FORMATS["safetensors"].write(tmp_path / "a.safetensors", table)
    return tmp_path / "a.safetensors"


def test_words_that_a_format_cannot_hold_are_left_out_if_asked(tmp_path):
    words = ["\ufeffa", "new york", "the", "a\tb", "b\r", "\ufeffc"]
    rows = np.arange(12).reshape(6, 2)
    source = written(make(words, rows, np.arange(6, 0, -1)), tmp_path)
    with pytest.raises(FormatError, match="cannot be written") as caught:
        formats.convert(source, tmp_path / "a.txt")
    assert "--errors skip" in caught.value.hint
    kept = {
        "word2vec": [2, 5],
        "fasttext": [2, 5],
        "word2vec-binary": [2, 3, 4, 5],
        "npy": [1, 2, 3, 5],
        "projector": [1, 2, 5],
        "glove": [1, 2, 5],
        "safetensors": [0, 1, 2, 3, 4, 5],
    }
    for name, places in kept.items():
        target = tmp_path / f"out{ENDINGS.get(name, '.vec')}"
        found = formats.convert(source, target, name, Options(errors="skip"))
        left_out = {f"words that {name} cannot hold": 6 - len(places)}
        assert found.skipped == (left_out if len(places) < 6 else {})
        again = formats.open_table(target)
        assert tokens_of(again) == [words[place] for place in places]
        np.testing.assert_array_equal(again.vectors, rows[places])
        assert again.vocabulary.counts.tolist() == [6 - place for place in places]


@pytest.mark.parametrize("name", [name for name in WRITABLE if not FORMATS[name].keeps_counts])
def test_counts_are_kept_in_a_file_beside(name, table, tmp_path):
    counted = make(tokens_of(table), table.vectors, np.array([9, 7, 5, 3]))
    path = tmp_path / f"out{ENDINGS.get(name, '.vec')}"
    FORMATS[name].write(path, counted)
    assert (tmp_path / "out.vocab").read_text(encoding="utf-8").splitlines()[0] == "the 9"
    assert formats.open_table(path).vocabulary.counts.tolist() == [9, 7, 5, 3]
    for other in ("the 9\nnaïve 7\n", "the 9\nnaïve 7\nx-1 5\nहिन्दी 3\n", "?", "", "x" * 10_000):
        (tmp_path / "out.vocab").write_text(other, encoding="utf-8")
        assert formats.open_table(path).vocabulary.counts is None


def test_counts_with_thousands_of_digits_are_none(tmp_path):
    words = [f"w{number}" for number in range(500)]
    path = tmp_path / "out.vec"
    FORMATS["word2vec"].write(path, make(words, np.ones((500, 2)), np.ones(500, np.int64)))
    lines = (tmp_path / "out.vocab").read_text().splitlines()
    lines[0] = "w0 " + 5000 * "9"
    (tmp_path / "out.vocab").write_text("\n".join(lines) + "\n")
    assert formats.open_table(path).vocabulary.counts is None


@pytest.mark.parametrize("name", ["projector", "safetensors", "parquet"])
def test_a_count_below_0_is_an_error(name, table, tmp_path):
    if name == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"out{ENDINGS.get(name, '.parquet')}"
    matrix = {"words": False} if name == "safetensors" else {}
    counted = make(["a", "b"], np.ones((2, 3)), np.array([9, -7]))
    formats.importlib.import_module(f"embedcli.formats.{name}").write(path, counted, **matrix)
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(FormatError, match="count below 0"):
        formats.open_table(path)


@pytest.mark.parametrize("compress", COMPRESSORS.values(), ids=COMPRESSORS)
def test_a_file_that_expands_without_end_is_refused(compress, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "EXPANSION_FLOOR", 1 << 18)
    (tmp_path / "bomb").write_bytes(compress(b"word 0.5 0.5\n" * 100_000))
    with pytest.raises(FormatError, match="expands") as caught:
        formats.read(tmp_path / "bomb", Options(max_expansion=2))
    assert caught.value.hint == "if that is right, decompress it first"


def test_a_missing_library_is_named_with_the_extra(monkeypatch, table, tmp_path):
    path = tmp_path / "a.safetensors"
    FORMATS["safetensors"].write(path, table)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for action in (lambda: formats.read(path), lambda: FORMATS["safetensors"].write(path, table)):
        with pytest.raises(FormatError) as caught:
            action()
        assert "embedcli[safetensors]" in caught.value.hint


def test_the_safetensors_library_reads_what_is_written(table, tmp_path):
    from safetensors.numpy import load_file

    FORMATS["safetensors"].write(tmp_path / "a.safetensors", table)
    found = load_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(found["embedding"], table.vectors)
    assert found["vocabulary"].tobytes().decode().split("\n")[:-1] == tokens_of(table)


def test_safetensors_of_others_take_words_from_beside(tmp_path):
    from safetensors.numpy import save_file

    matrix = np.float16([[1, 2], [3, 4]])
    path = tmp_path / "theirs.safetensors"
    save_file({"model.embed_tokens.weight": matrix, "bias": np.zeros(2, np.float32)}, path)
    with pytest.raises(FormatError, match="without words"):
        formats.read(path)
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    assert formats.open_table(path)["b"].tolist() == [3, 4]
    save_file({"one": matrix, "two": matrix}, path)
    with pytest.raises(FormatError, match="2 matrices"):
        formats.read(path)


def in_safetensors(path, rows, dtype, words=b"a\nb\n"):
    """Write rows, as the bytes of another type of float, with their words."""
    shape, data = rows.shape, rows.tobytes()
    tensors = {
        "embedding": {"dtype": dtype, "shape": shape, "data_offsets": (0, len(data))},
        "vocabulary": {
            "dtype": "U8",
            "shape": (len(words),),
            "data_offsets": (len(data), len(data) + len(words)),
        },
    }
    header = json.dumps(tensors).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data + words)


BITS = [[0x3F80, 0xC049, 0x0000], [0x8000, 0x0001, 0x7F7F]]  # 1, -3.140625, 0, -0, least, most


@pytest.mark.parametrize("spilled", [False, True])
def test_bfloat16_is_widened_exactly(spilled, monkeypatch, tmp_path):
    from embedcli.formats import base

    path = tmp_path / "brain.safetensors"
    in_safetensors(path, np.array(BITS, "<u2"), "BF16")
    if spilled:
        monkeypatch.setattr(base, "_IN_MEMORY", 10)
    found = formats.open_table(path)
    assert tokens_of(found) == ["a", "b"]
    assert found.vectors.dtype == np.float32
    expected = np.float32([[1, -3.140625, 0], [-0.0, 2.0**-133, (2 - 2.0**-7) * 2.0**127]])
    np.testing.assert_array_equal(found.vectors, expected)
    assert found.vectors.view(np.uint32).tolist() == [[bits << 16 for bits in row] for row in BITS]


@pytest.mark.parametrize(("dtype", "kind"), [("F16", "<f2"), ("F32", "<f4"), ("F64", "<f8")])
def test_other_floats_of_safetensors_are_mapped(dtype, kind, tmp_path):
    path = tmp_path / "theirs.safetensors"
    in_safetensors(path, np.array([[1, 0.5], [-2, 3]], kind), dtype)
    found = formats.open_table(path)
    assert found.vectors.dtype == kind
    assert found["b"].tolist() == [-2, 3]
    assert found["b"].dtype == np.float32
    formats.convert(path, tmp_path / "ours.safetensors", "safetensors")
    again = formats.open_table(tmp_path / "ours.safetensors").vectors
    np.testing.assert_array_equal(again, np.float32([[1, 0.5], [-2, 3]]))


def test_numpy_loads_what_is_written(table, tmp_path):
    FORMATS["npy"].write(tmp_path / "a.npy", table)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), table.vectors)
    words = (tmp_path / "a.vocab.txt").read_text(encoding="utf-8").split("\n")
    assert words == [*tokens_of(table), ""]


def test_npy_needs_as_many_words_as_rows(table, tmp_path):
    FORMATS["npy"].write(tmp_path / "a.npy", table)
    (tmp_path / "a.vocab.txt").unlink()
    with pytest.raises(FormatError, match="without words") as caught:
        formats.read(tmp_path / "a.npy")
    assert "a.vocab.txt" in caught.value.hint
    (tmp_path / "vocab.txt").write_text("one\ntwo\n")
    with pytest.raises(FormatError, match="2 words for 4 vectors"):
        formats.read(tmp_path / "a.npy")


def test_the_projector_keeps_its_rules(table, tmp_path):
    counted = make(tokens_of(table), table.vectors, np.array([9, 7, 5, 3]))
    FORMATS["projector"].write(tmp_path / "folder", counted)
    numbers = (tmp_path / "folder" / "vectors.tsv").read_text().splitlines()
    names = (tmp_path / "folder" / "metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert [len(line.split("\t")) for line in numbers] == [3, 3, 3, 3]  # no header
    assert names[0] == "word\tcount"  # a header, for there are two columns
    assert len(names) == 5
    assert formats.sniff(tmp_path / "folder") == "projector"
    np.testing.assert_array_equal(formats.open_table(tmp_path / "folder").vectors, table.vectors)
    FORMATS["projector"].write(tmp_path / "plain.tsv", table)
    plain = (tmp_path / "plain.metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert plain == tokens_of(table)  # no header, for there is one column


def test_progress_is_told_in_bytes_and_rows(table, tmp_path):
    FORMATS["glove"].write(tmp_path / "a.txt", table)
    told = []
    formats.read(tmp_path / "a.txt", Options(progress=lambda *now: told.append(now)))
    size = (tmp_path / "a.txt").stat().st_size
    assert told[-1] == (size, size)
    formats.convert(
        tmp_path / "a.txt",
        tmp_path / "b.npy",
        "npy",
        Options(written=lambda *now: told.append(now)),
    )
    assert told[-1] == (4, 4)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="tells what is mapped")
def test_a_table_that_was_written_takes_no_memory(tmp_path):
    rows = np.ones((1 << 13, 512), np.float32)  # 16 MiB
    np.save(tmp_path / "a.npy", rows)
    (tmp_path / "a.vocab.txt").write_text("".join(f"w{i}\n" for i in range(len(rows))))
    found = formats.convert(tmp_path / "a.npy", tmp_path / "b.bin", "word2vec-binary")
    maps = Path("/proc/self/smaps").read_text()
    mapped = maps.partition(str(tmp_path / "a.npy"))[2]
    assert int(re.search(r"^Rss: *(\d+) kB", mapped, re.MULTILINE)[1]) < 1 << 10
    np.testing.assert_array_equal(found.table.vectors, rows)


def test_an_unknown_target(table, tmp_path):
    FORMATS["glove"].write(tmp_path / "a.txt", table)
    for name in ("excel",):
        with pytest.raises(FormatError, match="expected one of model, npy"):
            formats.convert(tmp_path / "a.txt", tmp_path / "b", name)


def test_a_place_that_is_nothing(tmp_path):
    with pytest.raises(EmbedError, match="No such file"):
        formats.open_table(tmp_path / "absent")
    with pytest.raises(StoreError, match="not a model"):
        formats.open_table(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(FormatError, match="not a known format"):
        formats.open_table(tmp_path / "empty")


def test_rows_beyond_the_memory_limit_go_to_a_file(monkeypatch, table, tmp_path):
    from embedcli.formats import base

    FORMATS["glove"].write(tmp_path / "a.txt", table)
    monkeypatch.setattr(base, "_IN_MEMORY", 10)
    found = formats.open_table(tmp_path / "a.txt")
    np.testing.assert_array_equal(found.vectors, table.vectors)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]
