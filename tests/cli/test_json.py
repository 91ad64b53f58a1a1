"""docs/json.md is a contract: the keys it names, with the types it names, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedcli
from embedcli.cli.app import COMMANDS

PAGE = (Path(embedcli.__file__).parent.parent / "docs/json.md").read_text(encoding="utf-8")
HEADING = re.compile(r"^(####?) (.*)$", re.MULTILINE)
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| [^|]*\|$", re.MULTILINE)
ELSEWHERE = {"map", "explain"}  # docs/map.md and docs/explain.md
SILENT = {"train", "convert", "help"}  # print no JSON

Table = dict[str, str]


def tables() -> dict[str, Table]:
    """Every table of the page by its heading: key → type."""
    parts = HEADING.split(PAGE)[1:]
    found = zip(parts[1::3], parts[2::3], strict=True)
    return {heading: dict(ROW.findall(text)) for heading, text in found}


TABLES = tables()


def fits(value: Any, kind: str) -> bool:
    """Whether a value is of a type of the page."""
    if kind.endswith(" or null"):
        return value is None or fits(value, kind.removesuffix(" or null"))
    if kind.startswith("list of "):
        return isinstance(value, list) and all(fits(each, kind[8:]) for each in value)
    if kind.startswith("map of "):
        return isinstance(value, dict) and all(fits(each, kind[7:]) for each in value.values())
    simple = {"text": str, "whole": int, "number": int | float, "setting": object, "flag": bool}
    if kind in simple:
        takes_bool = kind in ("setting", "flag")
        return isinstance(value, simple[kind]) and (takes_bool or type(value) is not bool)
    table = TABLES[f"`{kind}`"]
    return isinstance(value, dict) and obeys(value, table)


def obeys(record: dict[str, Any], table: Table) -> bool:
    assert list(record) == list(table)
    for key, kind in table.items():
        assert fits(record[key], kind), f"{key}: {record[key]!r} is no {kind}"
    return True


TEXT = "__label__1 nice to see you\n__label__2 bad to hear that\n" * 3
PAIRS = "nice\tbad\t1.5\nsee\thear\t6\nyou\tthat\t3\nyou\tnobody\t3\n"
QUESTIONS = ": family\nnice bad see hear\n: gram1\nsee hear you that\nsee hear you nobody\n"
COMMANDS_OF = {
    "`lookup`": ["lookup see nobody --oov zero"],
    "`show-table`": ["show-table", "show-table --model v.txt"],
    "`neighbors`": ["neighbors see nobody --oov zero", "neighbors --plus see --minus nice"],
    "`neighbors` of several models": ["neighbors see nobody -m both --oov zero"],
    "`analogy`": ["analogy nice bad see", "analogy nice bad see --method 3cosmul"],
    "`similarity`": ["similarity nice bad nice nobody --oov zero"],
    "`odd`": ["odd nice bad see"],
    "`tune`": [
        "tune text.txt --task classify --trials 3 --valid text.txt --out t1",
        "tune text.txt --task regress --trials 2 --valid text.txt --dim auto --out t2",
    ],
    "`tokenize`": ["tokenize text.txt", "tokenize text.txt --vocab v --oov unknown"],
    "`count`": [
        "count text.txt",
        "count text.txt --pair see nice",
        "count text.txt --pair hear nice",
    ],
    "`count --word`": ["count text.txt --word see"],
    "`index`": ["index embeddings"],
    "`reproduce`": ["reproduce embeddings text.txt"],
    "`predict`": ["predict text.txt", "predict text.txt -k 2"],
    "`predict --why`": ["predict text.txt --why", "predict text.txt --why --model numbers"],
    "`vectors`": ["vectors nice see"],
    "`evaluate` of word pairs": ["evaluate pairs.txt"],
    "`evaluate` of analogies": ["evaluate questions.txt"],
    "`evaluate --task classify`": [
        "evaluate --task classify text.txt",
        "evaluate --task classify text.txt --model several",
    ],
    "`evaluate --task regress`": ["evaluate --task regress text.txt --model numbers"],
    "`compare`": [
        "compare embeddings several",
        "compare both several see",
        "compare v.txt numbers",
    ],
    "`info`": ["info", "info --model v.txt"],
    "`cache`": ["cache", "cache --clear"],
}


@pytest.fixture
def models(embed, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "pairs.txt").write_text(PAIRS)
    (tmp_path / "questions.txt").write_text(QUESTIONS)
    (tmp_path / "v").write_text("nice\nto\n")
    same = {"dim": 4, "epochs": 2, "workers": 1}
    embedcli.train("text.txt", task="classify", **same)
    embedcli.train("text.txt", "several", task="classify", multi_label=True, **same)
    embedcli.train("text.txt", "numbers", task="regress", **same)
    embedcli.train("text.txt", "both/1", task="classify", **same)
    embedcli.train("text.txt", "both/2", task="classify", seed=1, **same)
    embedcli.convert("embeddings", "v.txt", "word2vec")


def roots() -> dict[str, str]:
    """The headings that are commands, and what stands after their colon."""
    return dict(heading.split(": ", 1) for heading in TABLES if ": " in heading)


@pytest.mark.parametrize("heading", COMMANDS_OF)
def test_a_command_prints_what_the_page_says(embed, models, heading):
    how = roots()[heading]
    table = TABLES[f"{heading}: {how}"]
    for command in COMMANDS_OF[heading]:
        found = embed(*command.split(), "--format", "json")
        assert found.code == 0, found.err
        if how == "one":
            records = [json.loads(found.out)]
        elif how == "a list of":
            records = json.loads(found.out)
        else:
            assert how == "a line for each line of text, a list of"
            lines = found.out.splitlines()
            assert len(lines) == len(TEXT.splitlines())
            records = [record for line in lines for record in json.loads(line)]
        assert records
        assert all(obeys(record, table) for record in records)


def test_numbers_are_said_as_a_list(embed, models):
    found = embed("predict", "text.txt", "--model", "numbers", "--format", "json")
    lines = [json.loads(line) for line in found.out.splitlines()]
    assert len(lines) == len(TEXT.splitlines())
    assert all(fits(line, "list of number") and len(line) == 1 for line in lines)


def test_every_command_is_on_the_page():
    told = {re.match(r"`([\w-]+)", heading)[1] for heading in roots()}
    assert told | ELSEWHERE | SILENT == set(COMMANDS)
    assert roots().keys() == COMMANDS_OF.keys()


def test_what_is_not_a_finite_number_is_null(embed, tmp_path):
    np.save(tmp_path / "v.npy", np.array([[1, 2], [np.nan, 1], [0, 0]], np.float32))
    (tmp_path / "v.vocab.txt").write_text("a\nb\nc\n")
    for command in ("lookup b", "similarity a b", "neighbors b", "neighbors a", "odd a b c"):
        found = embed(*command.split(), "--model", "v.npy", "--format", "json")
        assert found.code == 0, found.err
        json.loads(found.out, parse_constant=pytest.fail)
    assert json.loads(embed("lookup", "b", "--model", "v.npy", "--format", "json").out) == [
        {"index": 1, "token": "b", "count": None, "vector": [None, 1]}
    ]
