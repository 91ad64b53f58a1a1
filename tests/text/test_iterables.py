"""Texts from Python: the same model as from a file of them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedcli
from embedcli.errors import ConfigError
from embedcli.text.iterables import write_texts
from embedcli.training.run import Stopped, Trained

TEXTS = ["Hope to see you soon", "नमस्ते दुनिया\nand\r\nhello", "", "see you again"] * 9
LABELS = ["greeting", "hindi", "greeting", "greeting"] * 9
SETTINGS: dict[str, Any] = {"dim": 4, "epochs": 2, "min_count": 1, "cache": False}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder, and find nothing left in that of temporary files."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    assert list(temporary.iterdir()) == []


def trained(texts: Any, **settings: Any) -> Trained:
    return embedcli.train(texts=texts, out="m", **{**SETTINGS, **settings})


def from_file(text: str, name: str = "corpus.txt", **settings: Any) -> Trained:
    Path(name).write_text(text, encoding="utf-8", newline="")
    return embedcli.train(name, "file", **{**SETTINGS, **settings})


LINES = "".join(text.replace("\r", " ").replace("\n", " ") + "\n" for text in TEXTS)


@pytest.mark.parametrize("kind", ["list", "generator", "numpy", "pandas", "polars"])
def test_strings_give_the_bytes_of_a_file_of_lines(kind: str) -> None:
    made: dict[str, Callable[[], Any]] = {
        "list": lambda: TEXTS,
        "generator": lambda: (text for text in TEXTS),
        "numpy": lambda: np.array(TEXTS),
        "pandas": lambda: pytest.importorskip("pandas").Series(TEXTS),
        "polars": lambda: pytest.importorskip("polars").Series(TEXTS),
    }
    assert trained(made[kind]()).digest == from_file(LINES).digest


def test_tuples_of_text_and_label_are_records() -> None:
    pairs = zip(TEXTS, LABELS, strict=True)
    lines = [json.dumps({"text": t, "label": x}) for t, x in zip(TEXTS, LABELS, strict=True)]
    expected = from_file("\n".join(lines), "corpus.jsonl", task="classify")
    assert trained(pairs, task="classify").digest == expected.digest


def test_labels_may_be_numbers_of_numpy_or_lists() -> None:
    numbers = np.linspace(0, 1, len(TEXTS), dtype=np.float32)
    found = trained(zip(TEXTS, numbers, strict=True), task="regress")
    assert found.settings.task == "regress"
    several = [(text, ["a", "b"] if text else []) for text in TEXTS]
    assert trained(several, task="classify").settings.multi_label is True


def test_tokens_are_kept_as_they_are() -> None:
    lines = [["New_York", "é", "e\u0301", "__label__x", "don’t,"], [], ["New_York"]] * 5
    table = trained(lines).table
    assert set(table.vocabulary) == {"New_York", "é", "e\u0301", "__label__x", "don’t,"}
    arrays = [np.array(line, object) for line in lines]
    assert np.array_equal(trained(arrays).table.vectors, table.vectors)
    labelled = [(line, "few" if len(line) < 2 else "many") for line in lines]
    assert set(trained(labelled, task="classify").table.vocabulary) == set(table.vocabulary)


def test_tokens_are_cut_again_where_a_tokenizer_is_named() -> None:
    assert "new_york" in trained([["New_York", "City"]] * 9, tokenizer="word").table


def test_what_is_missing_is_a_blank_line(tmp_path: Path) -> None:
    for texts in ([None, "a", float("nan"), "b"], [None, ["a"], None, ["b"]]):
        path, _ = write_texts(texts, tmp_path)
        assert path.read_bytes() == b"\na\n\nb\n"
    pandas = pytest.importorskip("pandas")
    path, _ = write_texts(pandas.Series([None, "a", pandas.NA, "b"]), tmp_path)
    assert path.read_bytes() == b"\na\n\nb\n"


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ("one text", "found one text"),
        (Path("corpus.txt"), "found one text"),
        ([], "found none"),
        ([None], "found none"),
        (["a", 3], "text 2 is 3; expected a text"),
        (["a", ["b"]], "text 2 is ['b']; expected a text"),
        ([["a"], "b"], "text 2 is 'b'; expected a list of tokens"),
        ([["a", "b c"]], "text 1 is 'b c'; expected a token without blanks"),
        ([["a", ""]], "text 1 is ''; expected a token without blanks"),
        ([["a", 1]], "text 1 is 1; expected a token without blanks"),
        ([{"text": "a"}], "text 1 is {'text': 'a'}; expected a list of tokens"),
        ([("a", "x"), ("b",)], "text 2 is ('b',); expected a tuple of a text and its label"),
        ([()], "text 1 is (); expected a tuple"),
        ([("a", object)], "expected a label, a number, or a list of them"),
        (["a", "\ud800"], "text 2 has half a character (0xd800)"),
    ],
)
def test_anything_else_is_an_error_with_its_number(texts: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trained(texts)
    assert said in caught.value.message
    assert not Path("m").exists()


def test_a_table_has_to_be_a_column_of_it() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ConfigError) as caught:
        trained(pandas.DataFrame({"text": TEXTS, "label": LABELS}))
    assert "a table of the columns text, label" in caught.value.message
    assert caught.value.hint == 'texts=table["text"]'


def test_texts_and_sources_exclude_each_other() -> None:
    with pytest.raises(ConfigError):
        embedcli.train("corpus.txt", texts=TEXTS)


def test_a_stopped_run_is_resumed_with_the_same_texts() -> None:
    expected = trained(TEXTS, epochs=9, batch_size=8).digest
    asked = iter([False, True])
    with pytest.raises(Stopped):
        trained(iter(TEXTS), epochs=9, batch_size=8, stop=lambda: next(asked))
    with pytest.raises(embedcli.CorpusError) as caught:
        embedcli.train(texts=["other"] * 9, out="m", resume=True)
    assert "not the text of the run" in caught.value.message
    assert embedcli.train(texts=iter(TEXTS), out="m", resume=True).digest == expected
