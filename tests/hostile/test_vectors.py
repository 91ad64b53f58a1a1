"""Hostile files of vectors: each is one error or harmless, in bounded time and memory."""

import contextlib
import json
import os
import resource
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from embedcli import formats
from embedcli.errors import EmbedError, FormatError
from embedcli.formats import FORMATS
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary

MEMORY = 200 << 10  # KiB that one file may add


def npy(descr, shape, data=b""):
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype, shape, *offsets):
    return {"embedding": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


FILES = {
    "pickle": b"\x80\x04cos\nsystem\n(S'false'\ntR.",
    "npy of objects": npy("|O", "(2, 2)", b"\x80\x04N."),
    "npy of 2^63 rows": npy("<f4", f"({2**63}, 1)"),
    "npy beyond the file": npy("<f4", "(1000000, 300)", bytes(8)),
    "npy of three dimensions": npy("<f4", "(1, 1, 1)", bytes(4)),
    "npy of whole numbers": npy("<i4", "(1, 1)", bytes(4)),
    "npy of a record": npy([("a", "<f4")], "(1,)", bytes(4)),
    "npy that runs": b"\x93NUMPY\x01\x00\x1e\x00" + b"__import__('os').system('false')"[:30],
    "safetensors header beyond": struct.pack("<Q", 2**62) + b"{}",
    "safetensors header cut": safetensors(b'{"a": {"dtype": "F32"'),
    "safetensors deep": safetensors(b'{"a":' * 20_000),
    "safetensors beyond": safetensors(tensor("F32", [2**40, 4], 0, 2**44)),
    "safetensors overlap": safetensors(tensor("F32", [2, 2], 0, 4), bytes(4)),
    "safetensors of 2^63 rows": safetensors(tensor("F32", [2**63, 1], 0, 4), bytes(4)),
    "safetensors without rows": safetensors(tensor("F32", [0, 4], 0, 0)),
    "safetensors without words": safetensors(tensor("F32", [1, 1], 0, 4), bytes(4)),
    "safetensors of float8": safetensors(tensor("F8_E5M2", [1, 2], 0, 2), bytes(2)),
    "word2vec of 2^63 rows": b"9223372036854775807 1\na 0.5\n",
    "word2vec of many dimensions": b"1 999999999\na 0.5 0.5\n",
    "word2vec binary of 2^63 rows": b"9223372036854775807 300\na " + bytes(90),
    "word2vec binary of many dimensions": b"1 999999999\na " + bytes(90),
    "one line": b"a" * (40 << 20),
    "NUL bytes": bytes(1 << 20),
    "numbers without words": b"0.5 0.5\n0.5 0.5\n" * 1000,
    "HTML": b"<html><body>404 Not Found</body></html>\n",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
}


@pytest.fixture(autouse=True)
def bounded():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_each_is_one_error(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "vocab.txt").write_text("a\n")
    if data == FILES["safetensors without words"]:
        (tmp_path / "vocab.txt").unlink()
    with pytest.raises(FormatError):
        formats.read(tmp_path / "file")


def fasttext(words, maxn, dim=1, rows=None, minn=1):
    data = struct.pack("<2i", 793712314, 12)
    data += struct.pack("<12id", dim, 5, 5, 1, 5, 1, 2, 2, 1, minn, maxn, 100, 1e-4)
    data += struct.pack("<3iqq", len(words), len(words), 0, 9, -1)
    data += b"".join(word + b"\0" + struct.pack("<qb", 1, 0) for word in words) + b"\0"
    rows = len(words) + 1 if rows is None else rows
    return data + struct.pack("<2q", rows, dim) + bytes(4 * rows * dim)


AMPLIFIED = {
    "a word of 20,000 letters": (fasttext([b"a" * 20_000], 20_000), "numbers to sum"),
    "a word of 100,000 letters": (fasttext([b"a" * 100_000], 100_000), "numbers to sum"),
    "long n-grams": (fasttext([b"a" * 1_000] * 300, 1_000), "numbers to sum"),
    "wide rows": (fasttext([b"a" * 20_000], 300, 20_000), "numbers to sum"),
    "a letter of 50,000 bytes": (fasttext([b"\x80" * 50_000], 9), "a character of over"),
    "just within": (fasttext([b"ab" * 100] * 4, 200), None),
    "wide and just within": (fasttext([b"a" * 2_000], 4, 5_000), None),
}


@pytest.mark.parametrize(("data", "error"), AMPLIFIED.values(), ids=AMPLIFIED)
def test_few_bytes_ask_for_little_time_and_memory(data, error, tmp_path):
    """20 kB took 9 GB and 20 s before there was a bound."""
    (tmp_path / "small").write_bytes(fasttext([b"a"], 2))
    formats.read(tmp_path / "small")  # the modules that reading imports are not counted
    (tmp_path / "file").write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF)
    if error is None:
        assert len(formats.read(tmp_path / "file").table)
    else:
        with pytest.raises(FormatError, match=error):
            formats.read(tmp_path / "file")
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 1 + 3e-6 * len(data)
    assert (after.ru_maxrss - before.ru_maxrss) << 10 < (32 << 20) + 100 * len(data)


def test_pipes_devices_and_folders_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(FormatError, match="regular"):
            formats.read(tmp_path / place)


def test_words_that_would_do_harm_are_only_words(tmp_path):
    words = [
        "\x1b]0;owned\x07",
        "[red]x[/red]",
        "\u202egnp.exe",
        "<script>",
        "=HYPERLINK()",
        "../x",
    ]
    rows = np.eye(len(words), dtype=np.float32)
    for name in ("word2vec", "glove", "projector", "npy", "safetensors", "model"):
        path = tmp_path / {"projector": "a.tsv", "npy": "a.npy"}.get(name, name)
        FORMATS[name].write(path, EmbeddingTable(Vocabulary(words), rows))
        assert formats.open_table(path).vocabulary.tokens(slice(None)) == words


SEEDS = {
    "word2vec": b"3 2\nthe 0.5 -1\nna\xc3\xafve 1e-3 2.25\nx .5 +3.\n",
    "glove": b"the 0.5 -1\nna\xc3\xafve 1e-3 2.25\nx .5 +3.\n",
    "word2vec-binary": b"2 1\nthe \x00\x00\x00\x3f\nna\xc3\xafve \x6f\x12\x83\x3a\n",
    "npy": npy("<f4", "(1, 2)", bytes(8)),
    "safetensors": safetensors(tensor("F32", [1, 2], 0, 8), bytes(8)),
    "fasttext-bin": struct.pack("<2i", 793712314, 12)
    + struct.pack("<12id", 2, 5, 5, 1, 5, 1, 2, 2, 3, 2, 3, 100, 1e-4)
    + struct.pack("<3iqq", 1, 1, 0, 9, -1)
    + b"a\0"
    + struct.pack("<qb", 9, 0)
    + b"\0"
    + struct.pack("<2q", 4, 2)
    + bytes(32),
    "gzip": bytes.fromhex("1f8b08000000000002ff4b5430d03350300400a3a1d3090b000000"),
}
edits = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=6)), max_size=5
)


@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS)
@examples(max_examples=150)
@given(edits=edits)
def test_changed_files_are_read_or_one_error(seed, edits, tmp_path_factory):
    data = bytearray(seed)
    for place, cut, junk in edits:
        place %= len(data) + 1
        data[place : place + cut] = junk
    folder = tmp_path_factory.mktemp("changed")
    (folder / "file").write_bytes(data)
    (folder / "vocab.txt").write_text("a\n")
    with contextlib.suppress(EmbedError):
        formats.read(folder / "file")
