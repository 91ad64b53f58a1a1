"""Small texts that ask for much: time and memory have to stay in proportion to the file."""

from __future__ import annotations

import bz2
import gzip
import lzma
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest

from embedcli.config import TextSettings
from embedcli.errors import CorpusError
from embedcli.text.encode import encode

SIZE = 400_000  # bytes
SECONDS = 2.5  # of the processor: it takes .2, and took 20 or more where time was quadratic
TEXTS = {
    "marks in the wrong order": "a" + "\u0300\u0316" * (SIZE // 4),
    "marks on marks": "क" + "\u093c\u094d" * (SIZE // 6),
    "flags": "🇩" * (SIZE // 4),
    "joined emoji": "😀\u200d" * (SIZE // 7),
    "selectors": "😀" + "\ufe0f" * (SIZE // 3),
    "tags": "🏴" + "\U000e0061" * (SIZE // 4),
    "joiners": "é" + "\u200c" * (SIZE // 3) + "x",
    "joined letters": "é\u200d" * (SIZE // 5),
    "apostrophes": "é'" * (SIZE // 3),
    "elisions": "éd'" * (SIZE // 4),
    "digits": "١," * (SIZE // 3),
    "middle dots": "é·" * (SIZE // 4),
    "gershayim": 'א"' * (SIZE // 3),
    "labels": "__label__a " * (SIZE // 11),
    "carriage returns": "\r" * SIZE + "a",
    "newlines": "\n" * SIZE + "a",
    "one letter": "x" * SIZE,
}


@pytest.mark.parametrize("tokenizer", ["word", "char"])
@pytest.mark.parametrize("name", TEXTS)
def test_time_and_memory_grow_with_the_file_alone(
    tmp_path: Path, name: str, tokenizer: str
) -> None:
    (tmp_path / "text").write_text(TEXTS[name] + "\nword\n", encoding="utf-8", newline="")
    settings = TextSettings(cache=False, workers=1, tokenizer=tokenizer)  # type: ignore[arg-type]
    tracemalloc.start()
    start = time.process_time()
    try:
        encode([tmp_path / "text"], settings, folder=tmp_path)
        assert time.process_time() - start < SECONDS
        assert tracemalloc.get_traced_memory()[1] < 150 * SIZE
    finally:
        tracemalloc.stop()


def test_a_header_does_not_choose_how_much_memory_is_taken(tmp_path: Path) -> None:
    packed = bytearray(lzma.compress(b"a b\n"))
    size = 4 * (packed[12] + 1)  # of the header of the block
    place = packed.index(b"\x21\x01", 12) + 2
    packed[place] = 40  # a dictionary of 4 GB
    packed[12 + size - 4 : 12 + size] = zlib.crc32(packed[12 : 12 + size - 4]).to_bytes(4, "little")
    (tmp_path / "text.xz").write_bytes(packed)
    with pytest.raises(CorpusError, match="Memory usage limit"):
        encode([tmp_path / "text.xz"], TextSettings(cache=False), folder=tmp_path)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_what_expands_without_end_is_read_a_piece_at_a_time(tmp_path: Path, pack) -> None:
    (tmp_path / "text").write_bytes(pack(b"\0" * (100 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(CorpusError, match="expands to more than"):
            encode([tmp_path / "text"], TextSettings(cache=False), folder=tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
