from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from embedcli.formats import FORMAT_OF_SUFFIX, FORMATS

from .conftest import WORDS


def test_info(embed, model):
    found = embed("info")
    assert found.code == 0
    assert "shape       8 × 4 float32" in found.out
    assert "format      model" in found.out
    assert "untrained   0 of 8 words" in found.out
    assert "not checked" in found.out


def test_info_of_a_model_from_a_file_does_not_speak_of_training(embed, tmp_path):
    (tmp_path / "v.txt").write_text("a 1 2\nb 3 4\n")
    embed("convert", "v.txt", "embeddings")
    said = embed("info").out
    assert "task        none: no word was trained, the vectors came from a file" in said
    assert "untrained" not in said


def test_info_json(embed, model):
    record = json.loads(embed("info", "--format", "json").out)
    assert (record["words"], record["dim"], record["untrained"]) == (8, 4, 0)
    assert record["settings"]["dim"] == 4
    norms = np.linalg.norm(model.vectors, axis=1)
    assert record["norms"] == pytest.approx([norms.min(), norms.mean(), norms.max()])
    assert record["files"]["table.npy"] == 128 + 8 * 4 * 4


def test_verify_finds_a_flipped_byte_and_names_the_file(embed, model, tmp_path):
    assert embed("info", "--verify").code == 0
    for path in (tmp_path / "embeddings").iterdir():
        data = path.read_bytes()
        for place in {0, len(data) // 2, len(data) - 1} if data else ():
            path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
            found = embed("info", "--verify")
            assert (found.code, found.out) == (1, "")
            assert found.err.startswith(f"error: embeddings/{path.name}: ")
        path.write_bytes(data)
    assert embed("info", "--verify").code == 0


@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("v.txt", None),
        ("v.txt.gz", None),
        ("v.vec", None),
        ("v.bin", None),
        ("v.npy", None),
        ("v.tsv", None),
        ("v.glove", "glove"),
        ("copy", None),
    ],
)
def test_convert_there_and_look_up(embed, model, name, to):
    argv = ["convert", "embeddings", name, *(["--to", to] if to else [])]
    assert embed(*argv) == (0, f"{name}  8 × 4 float32\n", "")
    shown = json.loads(embed("show-table", "--model", name, "--format", "json").out)
    assert [record["token"] for record in shown] == WORDS
    vectors = np.float32([record["vector"] for record in shown])
    np.testing.assert_array_equal(vectors, model.vectors)
    assert "8 × 4" in embed("info", "--model", name).out
    record = json.loads(embed("info", "--model", name, "--format", "json").out)
    assert record["format"] == (to or FORMAT_OF_SUFFIX[Path(name.removesuffix(".gz")).suffix])


def test_convert_says_what_it_left_out(embed, tmp_path):
    (tmp_path / "v.txt").write_text("3 2\na 1 2\na 3 4\nb 5 6\n")
    found = embed("convert", "v.txt", "v.npy")
    assert found == (0, "v.npy  2 × 2 float32\n", "1 row left out: repeated\n")


def test_convert_needs_to_know_the_format(embed, model):
    found = embed("convert", "embeddings", "v.xyz")
    assert found.code == 1
    assert "hint: --to FORMAT" in found.err


def test_convert_does_not_write_over_what_it_reads(embed, model, tmp_path):
    (tmp_path / "v.txt").write_text("a 1 2\nb 3 4\n")
    (tmp_path / "link.txt").symlink_to("v.txt")
    for source, target in (("v.txt", "v.txt"), ("v.txt", "link.txt"), ("embeddings",) * 2):
        found = embed("convert", source, target)
        assert found.code == 1
        assert found.err.startswith(f"error: {target}: that is what is read")
    assert (tmp_path / "v.txt").read_text() == "a 1 2\nb 3 4\n"


def test_formats_of_the_flag_are_those_that_are_written(embed, model):
    said = " ".join(embed("convert", "--help").out.split()).replace("- ", "-")
    choices = re.search(r"--to FORMAT Format of OUT: ([\w, -]+);", said)[1].split(", ")
    assert set(choices) == {*FORMATS, "quantized"}
    assert embed("convert", "embeddings", "out", "--to", "excel").code == 2
