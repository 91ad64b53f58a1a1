import tarfile

import numpy as np
import pytest

from embedcli import formats
from embedcli.errors import FormatError
from embedcli.formats import base
from embedcli.formats.base import Options

WORD2VEC = "3 2\nthe 0.5 -1\nnaïve 1e-3 2.25\nहिन्दी .5 +3.\n".encode()
WORD2VEC_BINARY = (
    b"3 2\n"
    b"the \x00\x00\x00\x3f\x00\x00\x80\xbf\n"
    b"na\xc3\xafve \x6f\x12\x83\x3a\x00\x00\x10\x40\n"
    b"\xe0\xa4\xb9\xe0\xa4\xbf\xe0\xa4\xa8\xe0\xa5\x8d\xe0\xa4\xa6\xe0\xa5\x80 "
    b"\x00\x00\x00\x3f\x00\x00\x40\x40\n"
)
ROWS = np.float32([[0.5, -1], [1e-3, 2.25], [0.5, 3]])
WORDS = ["the", "naïve", "हिन्दी"]

SPELLINGS = {
    "word2vec": WORD2VEC,
    "no header": WORD2VEC.partition(b"\n")[2],
    "no final newline": WORD2VEC[:-1],
    "CRLF": WORD2VEC.replace(b"\n", b"\r\n"),
    "byte order mark": b"\xef\xbb\xbf" + WORD2VEC,
    "byte order mark, no header": b"\xef\xbb\xbf" + WORD2VEC.partition(b"\n")[2],
    "blank at the end, as fastText": WORD2VEC.replace(b"\n", b" \n").replace(b"3 2 ", b"3 2"),
    "tabs": WORD2VEC.replace(b" ", b"\t"),
    "many blanks": WORD2VEC.replace(b" ", b"   "),
    "blank lines": WORD2VEC.replace(b"\n", b"\n\n"),
    "header between blanks": WORD2VEC.replace(b"3 2", b" 3  2 ", 1),
    "binary": WORD2VEC_BINARY,
    "binary without newlines": b"3 2\n" + WORD2VEC_BINARY[4:].replace(b"\n", b""),
}


def read(tmp_path, data, **options):
    (tmp_path / "file").write_bytes(data)
    return formats.read(tmp_path / "file", Options(**options))


@pytest.mark.parametrize("data", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("block", [1 << 22, 7])
def test_every_spelling_gives_the_same_table(data, block, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "_BLOCK", block)
    found = read(tmp_path, data)
    assert found.table.vocabulary.tokens(slice(None)) == WORDS
    np.testing.assert_array_equal(found.table.vectors, ROWS)
    assert not found.skipped


def test_words_with_blanks_are_parsed_from_the_right(tmp_path):
    data = b"plain 0.5 1\nNew York 2 3\n. . . 4 5\n 6 7\n8 9 10\nat 1@2.com 11 12\n"
    found = read(tmp_path, data)
    words = found.table.vocabulary.tokens(slice(None))
    assert words == ["plain", "New York", ". . .", "8", "at 1@2.com"]
    assert found.table["at 1@2.com"].tolist() == [11, 12]
    assert found.skipped == {"empty": 1}


def test_numbers_are_words_where_they_name_nodes_or_stand_among_words(tmp_path):
    found = read(tmp_path, b"0 0.5 1\n1 2 3\n17 .5 .5\n")
    assert found.table.vocabulary.tokens(slice(None)) == ["0", "1", "17"]
    found = read(tmp_path, b"the 0.5 1\n1.5 2 3\n")
    assert found.table.vocabulary.tokens(slice(None)) == ["the", "1.5"]
    with pytest.raises(FormatError) as caught:
        read(tmp_path, b"1.5 .25 3\n")
    assert "NAME.vocab.txt" in caught.value.hint


def test_repeated_words_keep_their_first_row_and_are_counted(tmp_path, monkeypatch):
    data = b"a 1 1\nb 2 2\na 3 3\nc 4 4\na 5 5\nc 6 6\n"
    for block in (1 << 22, 12):
        monkeypatch.setattr(base, "_BLOCK", block)
        found = read(tmp_path, data)
        assert found.table.vocabulary.tokens(slice(None)) == ["a", "b", "c"]
        assert found.table.vectors[:, 0].tolist() == [1, 2, 4]
        assert found.skipped == {"repeated": 3}
    assert read(tmp_path, b"6 2\n" + data).skipped == {"repeated": 3}


BROKEN = {
    "fewer lines": (b"4 2\na 1 2\nb 3 4\n", r"file: 2 vectors; its header says 4"),
    "more lines": (b"1 2\na 1 2\nb 3 4\n", r"file: more than the 1 vectors"),
    "fewer numbers": (b"2 2\na 1 2\nb 3\n", r"file:3: 1 numbers; expected a word and 2"),
    "a word for a number": (b"a 1 2\nb 3 x\n", r"file:2: found 'x'; expected 2 numbers"),
    "a decimal comma": (b"a 1 2\nb 3 4,5\n", r"file:2: found '4,5'"),
    "numbers that touch": (b"2 3\na 1 2 3\nb 1-2 3 4\n", r"file:3: found '1-2'"),
    "NaN": (b"2 2\na 1 2\nb nan 2\n", r"file:3: a number that is not finite"),
    "infinity": (b"a 1 2\nb 1 -Infinity\n", r"file:2: a number that is not finite"),
    "beyond float32": (b"a 1 2\nb 1 1e39\n", r"file:2: a number that is not finite"),
    "2^63 rows": (b"9223372036854775808 2\na 1 2\n", r"its header says 9223372036854775808"),
    "no dimensions": (b"2 0\na\nb\n", "not a known format"),
    "only a header": (b"0 3\n", r"file: holds no vectors"),
    "prose": (b"It was the best of times,\nit was the worst of times.\n", "not a known format"),
    "a matrix": (
        b"1.5\t.25\t3\n2.5\t1\t0\n",
        r"file:1: .*numbers without a word",
    ),
    "a matrix of whole numbers": (b"1 0 2\n3 1 1\n", r"file:1: .*numbers without a word"),
    "decimal commas after a header": (b"2 3\nking 0,5 0,25 1\nto 1 2 3\n", r"file:2: found '0,5'"),
    "sparse rows": (b"2 2\nking a:1 b:.5\nto a:2 c:1\n", r"file:2: found 'a:1'"),
    "lists": (b"2 2\nking [0.5, 1]\nto [1, 2]\n", r"file:2: found '\[0.5,'"),
    "UTF-16": ("a 0.5 1\nb 2 3\n".encode("utf-16"), "not a known format"),
    "nothing but newlines": (b"\n\n\n", "not a known format"),
}


@pytest.mark.parametrize("data, message", BROKEN.values(), ids=BROKEN)
def test_broken_text_is_one_error_with_the_line(data, message, tmp_path):
    with pytest.raises(FormatError, match=message):
        read(tmp_path, data)


BROKEN_BINARY = {
    "cut in a vector": (WORD2VEC_BINARY[:-3], r"byte 58: ends after 2 vectors; .* says 3"),
    "cut in a word": (WORD2VEC_BINARY[:20], r"ends after 1 vectors"),
    "too many": (b"2" + WORD2VEC_BINARY[1:], "more than the 2 vectors"),
    "too few": (b"9" + WORD2VEC_BINARY[1:], "ends after 3 vectors; its header says 9"),
    "huge rows": (b"3 999999999\na \x00\x01\x02\x03", "vectors of 999999999 numbers"),
    "only a header": (b"2 2", "ends after 0 vectors"),
    "2^63": (b"9223372036854775808 2\n\x00 \x00\x01", "ends after 0 vectors"),
    "no dimensions": (b"2 0\n\x01 \x02 ", "vectors of 0 numbers"),
    "a word without end": (b"2 2\n" + b"\x01" * 100_000, "a word without an end"),
    "NaN": (WORD2VEC_BINARY.replace(b"\x80\xbf", b"\xc0\x7f"), "byte 4: a number that is not"),
    "a newline inside": (WORD2VEC_BINARY.replace(b"the", b"t\ne"), "byte 4: .* of one line"),
}


@pytest.mark.parametrize("data, message", BROKEN_BINARY.values(), ids=BROKEN_BINARY)
def test_broken_binary_is_one_error_with_the_byte(data, message, tmp_path):
    with pytest.raises(FormatError, match=message):
        read(tmp_path, data)


ODD_BYTES = {
    "text": b"caf\xe9 1 2\nna\xefve 3 4\nok 5 6\n",
    "counted": b"3 2\ncaf\xe9 1 2\nna\xefve 3 4\nok 5 6\n",
    "binary": b"3 1\ncaf\xe9 \0\0\x80\x3f\nna\xefve \0\0\0\x40\nok \0\0\x40\x40\n",
}


@pytest.mark.parametrize("data", ODD_BYTES.values(), ids=ODD_BYTES)
def test_odd_encodings(data, tmp_path):
    with pytest.raises(FormatError, match=r"byte 3 of the word 'caf\\xe9' is not utf-8") as caught:
        read(tmp_path, data)
    assert "embed convert reads it with --encoding" in caught.value.hint
    found = read(tmp_path, data, encoding="latin-1")
    assert found.table.vocabulary.tokens(slice(None)) == ["café", "naïve", "ok"]
    found = read(tmp_path, data, errors="replace")
    assert found.table.vocabulary.tokens(slice(None)) == ["caf\ufffd", "na\ufffdve", "ok"]
    found = read(tmp_path, data, errors="skip")
    assert found.table.vocabulary.tokens(slice(None)) == ["ok"]
    assert found.skipped == {"undecodable": 2}
    with pytest.raises(FormatError, match="klingon"):
        read(tmp_path, data, encoding="klingon")


def test_lines_end_at_newlines_only(tmp_path):
    words = ["a\u2028b", "c\x85d", "e\x0cf", "g\x1dh", "\xa0", "\u200d"]
    data = "".join(f"{word} 1 2\n" for word in words).encode()
    assert read(tmp_path, data).table.vocabulary.tokens(slice(None)) == words


def test_a_line_without_end_is_refused_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "_LONGEST_LINE", 1000)
    monkeypatch.setattr(base, "_BLOCK", 100)
    with pytest.raises(FormatError, match="a line of over"):
        read(tmp_path, b"a 0.5\n" * 3 + b"b" * 5000)


def test_what_is_written_is_what_the_tools_write(tmp_path):
    read(tmp_path, WORD2VEC)
    rows = ["the 0.5 -1.0", "naïve 0.001 2.25", "हिन्दी 0.5 3.0"]
    expected = {
        "word2vec": "3 2\n" + "".join(f"{row}\n" for row in rows),
        "glove": "".join(f"{row}\n" for row in rows),
        "fasttext": "3 2\n" + "".join(f"{row} \n" for row in rows),
    }
    for name, text in expected.items():
        formats.convert(tmp_path / "file", tmp_path / name, name)
        assert (tmp_path / name).read_text(encoding="utf-8") == text
    formats.convert(tmp_path / "file", tmp_path / "binary", "word2vec-binary")
    assert (tmp_path / "binary").read_bytes() == WORD2VEC_BINARY


@pytest.mark.parametrize(
    "magic",
    [b"\x80\x04\x95", b"PK\x03\x04", b"\x89HDF\r\n", b"FiFu", b"PAR1"],
)
def test_strangers_are_named(magic, tmp_path):
    with pytest.raises(FormatError, match=r"pickle|zip|HDF5|finalfusion|Parquet") as caught:
        read(tmp_path, magic + bytes(100))
    assert ("gensim" in (caught.value.hint or "")) == ("pickle" in caught.value.message)


@pytest.mark.parametrize(
    ("data", "what", "hint"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS", "git lfs pull"),
        (
            b"<!DOCTYPE html>\n<html><body>404</body></html>\n",
            "an HTML page",
            "extract its text first",
        ),
        (b"", "an empty file", "download"),
        ("the 1 2\nof 3 4\n".encode("utf-16"), "text in UTF-16", "iconv"),
        ("the 1 2\nof 3 4\n".encode("utf-16-le"), "text in UTF-16", "iconv"),
        (b"%PDF-1.4\n", "a PDF document", "pdftotext"),
    ],
)
def test_files_that_are_no_vectors_are_named(data, what, hint, tmp_path):
    with pytest.raises(FormatError, match=what) as caught:
        read(tmp_path, data)
    assert hint in caught.value.hint


def test_an_archive_of_vectors_is_to_be_unpacked(tmp_path):
    (tmp_path / "v.txt").write_bytes(WORD2VEC.partition(b"\n")[2])
    for name, mode in (("v.tar", "w"), ("v.tar.gz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(tmp_path / "v.txt", "v.txt")
        with pytest.raises(FormatError, match="a tar archive") as caught:
            formats.open_table(tmp_path / name)
        assert "unpack it" in caught.value.hint
