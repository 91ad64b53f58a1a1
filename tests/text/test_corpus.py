"""Bytes of every kind to blocks of whole lines, or to one error."""

import gzip
import io
import os
import pty
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.config import TextSettings
from embedcli.errors import ConfigError, CorpusError
from embedcli.text import corpus as module
from embedcli.text import sources
from embedcli.text.corpus import Corpus
from embedcli.text.encode import encode
from embedcli.text.lines import Block
from tests.packing import PACKERS, ZSTD

TEXT = "Hope to see you soon\nआपसे मिलने की उम्मीद है\n" * 50
COMPRESSED = [suffix for suffix in PACKERS if suffix]


def blocks_of(*places: str | Path, **settings: object) -> list[Block]:
    return list(Corpus(places, TextSettings(**settings)).blocks())  # type: ignore[arg-type]


def text_of(*places: str | Path, **settings: object) -> bytes:
    return b"".join(block.data for block in blocks_of(*places, **settings))


def error_of(*places: str | Path, **settings: object) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        blocks_of(*places, **settings)
    return caught.value


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("named", [True, False])
def test_compressions_are_told_by_content(tmp_path: Path, suffix: str, named: bool) -> None:
    path = tmp_path / ("text" + (suffix if named else ".txt"))
    path.write_bytes(PACKERS[suffix](TEXT.encode()))
    assert text_of(path) == TEXT.encode()


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_members_one_after_the_other(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(PACKERS[suffix](b"one\n") + PACKERS[suffix](b"two\n"))
    assert text_of(path) == b"one\ntwo\n"


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_a_compressed_file_cut_off(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(PACKERS[suffix](os.urandom(5000))[:-20])
    assert "damaged or cut off" in error_of(path).message


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_a_compressed_file_damaged(tmp_path: Path, suffix: str) -> None:
    packed = bytearray(PACKERS[suffix](os.urandom(5000)))
    packed[6:60] = b"\xff" * 54
    path = tmp_path / "text"
    path.write_bytes(packed)
    assert str(path) in error_of(path).message


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_expansion_without_end(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "EXPANSION_FLOOR", 1 << 18)
    path = tmp_path / "text"
    path.write_bytes(PACKERS[suffix](b"a " * (1 << 19)))
    error = error_of(path, max_expansion=20)
    assert "expands to more than 20 times" in error.message
    assert error.hint is not None
    assert "--max-expansion" in error.hint
    assert len(text_of(path, max_expansion=100_000)) == 1 << 20


def test_zstandard_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd")
    monkeypatch.setitem(sys.modules, ZSTD, None)
    assert error_of(path).hint == "pip install 'embedcli[zst]'"


def test_folders_patterns_and_links(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/10.txt", "a.txt", "b/c/d.txt", ".hidden", ".git/x", "z.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text\n" + name + "\n")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    (tmp_path / "b" / "link.txt").symlink_to(tmp_path / "a.txt")
    os.mkfifo(tmp_path / "pipe")

    def names(*places: str) -> list[str]:
        found = sources.find_sources([str(tmp_path / place) for place in places])
        return [str(Path(source.path).relative_to(tmp_path)) for source in found]

    assert names("") == ["a.txt", "b/10.txt", "b/2.txt", "b/c/d.txt", "b/link.txt", "z.csv"]
    assert names("b/*.txt", "a.txt") == ["b/10.txt", "b/2.txt", "b/link.txt", "a.txt"]
    assert names("b/c*") == ["b/c/d.txt"]
    assert names("**/d.txt") == ["b/c/d.txt"]


def test_a_name_with_the_signs_of_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("one")
    assert text_of(tmp_path / "a[1].txt") == b"one"


def test_places_without_text(tmp_path: Path) -> None:
    assert "No such file" in error_of(tmp_path / "none.txt").message
    assert "no file matches" in error_of(str(tmp_path / "*.txt")).message
    assert "without files" in error_of(tmp_path).message
    (tmp_path / "dangling").symlink_to("nowhere")
    assert "No such file" in error_of(tmp_path / "dangling").message
    assert "No such file" in error_of(tmp_path).message
    assert "null byte" in error_of("a\0b").message
    assert "twice" in error_of("-", "-").message


def test_an_unreadable_file(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    path = tmp_path / "text"
    path.write_text("a")
    path.chmod(0)
    assert "Permission denied" in error_of(path).message


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"line of text\n" * 400_000)

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    for change in (grow, lambda: os.truncate(path, 10)):
        blocks = Corpus([path], TextSettings()).blocks()
        next(blocks)
        change()
        with pytest.raises(CorpusError, match="changed while it was read"):
            list(blocks)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for places in ([], ["-"]):
        stdin = io.TextIOWrapper(io.BytesIO(gzip.compress(b"a b\n")))
        monkeypatch.setattr(sys, "stdin", stdin)
        assert text_of(*places) == b"a b\n"
        assert not stdin.closed


def test_standard_input_ends_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gives an empty reading at Ctrl-D, and then reads on."""
    ours, theirs = pty.openpty()
    with open(theirs, "rb") as file:  # noqa: PTH123 - of a descriptor
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        os.write(ours, b"hi\n\x04")
        assert text_of("-") == b"hi\n"
    os.close(ours)


def test_the_fingerprint_is_of_what_was_read(tmp_path: Path) -> None:
    prints = []
    for name, parts in (("a", ["x\n", "y\n"]), ("b", ["x\n", "y\n"]), ("c", ["y\n", "x\n"])):
        paths = [tmp_path / f"{name}{number}" for number in range(2)]
        for path, part in zip(paths, parts, strict=True):
            path.write_text(part)
        corpus = Corpus(paths, TextSettings())
        list(corpus.blocks())
        prints.append(corpus.fingerprint)
    assert prints[0] == prints[1] != prints[2]


@given(st.lists(st.text("ab \r\té字\u2028\0", max_size=30)), st.integers(8, 40))
def test_blocks_hold_the_text_in_order(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], size: int
) -> None:
    path = tmp_path_factory.mktemp("corpus") / "text"
    data = "\n".join(lines).encode()
    path.write_bytes(data)
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", size)
        blocks = blocks_of(path)
    assert b"".join(block.data for block in blocks) == data
    offset = 0
    for block in blocks:
        assert 0 < len(block.data) <= size
        assert block.offset == offset
        assert block.line == data[:offset].count(b"\n") + 1
        assert block.data.decode()
        offset += len(block.data)
    for before, after in pairwise(blocks):
        assert before.whole == before.data.endswith(b"\n")
        if not before.whole and b" " in before.data[1:]:
            assert after.data.startswith((b" ", b"\t"))


@pytest.mark.parametrize(
    ("data", "said", "hint"),
    [
        (b"PK\x03\x04\x14\0\0\0\x08\0", "is a zip archive", "unpack it"),
        (b"a.txt".ljust(257, b"\0") + b"ustar\x0000text", "is a tar archive", "tar -xf"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "is an archive", "unpack it"),
        (b"%PDF-1.7\n%\xe2\xe3", "is a PDF document", "pdftotext"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n",
            "is a pointer of Git LFS",
            "git lfs pull",
        ),
        (b"\n<!DOCTYPE html>\n<html>Not found</html>", "is an HTML page", "extract its text"),
        (gzip.compress(b"text\n"), "is compressed twice", "decompress it"),
        ("Hope to see you\n".encode("utf-16-le"), "looks like UTF-16", "--encoding utf-16-le"),
        ("Hope to see you\n".encode("utf-16-be"), "looks like UTF-16", "--encoding utf-16-be"),
        ("यह किताब\n".encode("utf-16-le"), "looks like UTF-16", "--encoding utf-16-le"),
        ("यह किताब\n".encode("utf-16-be"), "looks like UTF-16", "--encoding utf-16-be"),
        ("你好，世界\n".encode("utf-16-le"), "is not UTF-8", "--encoding utf-16-le"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, data: bytes, said: str, hint: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(gzip.compress(data))
    error = encode_error(path)
    assert said in error.message
    assert hint in (error.hint or "")


def encode_error(path: Path) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        encode([path], TextSettings(cache=False), folder=path.parent)
    return caught.value


def test_carriage_returns_alone_end_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedcli.text.lines.READ", 4)
    path = tmp_path / "text"
    for data, expected in (
        (b"one\rtwo\r\rthree", b"one\ntwo\n\nthree"),
        (b"one\r\r\r", b"one\n\n\n"),
        (b"\r" * 9, b"\n" * 9),
        (b"one\rtwo\nthree\r\n", b"one\rtwo\nthree\r\n"),
    ):
        path.write_bytes(data)
        assert text_of(path) == expected
    path.write_bytes("text,label\ra,x\rb,y\r".encode("utf-16"))
    found = list(Corpus([path], TextSettings(encoding="utf-16", text_column="text")).blocks())
    assert b"".join(block.data for block in found) == b"a\nb\n"


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert "empty: no word found, as it is empty" in encode_error(tmp_path / "empty").message
    assert encode_error(tmp_path).message.startswith(str(tmp_path / "empty"))


def test_byte_order_marks(tmp_path: Path) -> None:
    path = tmp_path / "text"
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes("é\r\nb".encode(encoding))
        assert text_of(path, encoding=encoding) == "é\r\nb".encode()
    path.write_bytes(b"\xef\xbb\xbf")
    assert blocks_of(path) == []
    path.write_bytes("é".encode("utf-16"))
    with pytest.raises(ConfigError, match="name of a text encoding"):
        blocks_of(path, encoding="rot13")


@pytest.mark.parametrize(
    ("encoding", "data", "message"),
    [
        ("shift_jis", "日本\n".encode("shift_jis") + b"a\xff", ":2: byte 0xff at offset 6"),
        ("utf-16-le", "a\nb\n".encode("utf-16-le") + b"\x00\xdc", ":3: byte 0x00 at offset 8"),
        ("ascii", b"abc\n" * 100_000 + b"\x80", ":100001: byte 0x80 at offset 400000"),
    ],
)
def test_other_encodings(tmp_path: Path, encoding: str, data: bytes, message: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(data)
    assert message in error_of(path, encoding=encoding).message
    assert text_of(path, encoding=encoding, errors="replace").endswith("\ufffd".encode())
    assert text_of(path, encoding=encoding, errors="skip")


def test_a_line_without_end_is_cut_between_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 64)
    path = tmp_path / "text"
    for text in ("word " * 100, "字" * 200, "a=b;" * 100, "👩🏽‍💻🇩🇪" * 40, "é" * 200, "x" * 200):
        path.write_text(text)
        blocks = blocks_of(path)
        assert b"".join(block.data for block in blocks) == text.encode()
        assert all(block.data.decode() for block in blocks)
        assert not any(block.data.decode()[0] in "\u200d🏽" for block in blocks)
        assert [block.whole for block in blocks] == [False] * (len(blocks) - 1) + [True]


def test_reading_a_text_of_several_blocks_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("embedcli.text.corpus.BLOCK", 100)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("some words\n" * 100, encoding="utf-8")
    told = []
    corpus = Corpus([tmp_path], TextSettings(), progress=lambda *sizes: told.append(sizes))
    blocks = list(corpus.blocks())
    assert len(told) == len(blocks) - 2 > 10  # none for the first block of a file
    assert told == sorted(told)
    assert {total for _, total in told} == {2200} and told[-1][0] == 2200
