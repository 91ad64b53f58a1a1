from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import embedcli
from embedcli.cli import main
from embedcli.errors import ConfigError, VocabularyError
from embedcli.training.run import Prepared

REVIEWS = "__label__good warm and lovely\n__label__bad cold and dull\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.txt"
    path.write_text(REVIEWS)
    return path


def test_every_public_name_is_there_and_typed():
    for name in embedcli.__all__:
        assert getattr(embedcli, name) is not None
    assert dir(embedcli) == sorted(embedcli.__all__)
    with pytest.raises(AttributeError):
        embedcli.nothing  # noqa: B018
    typed = set()
    stub = Path(embedcli.__file__).with_suffix(".pyi")
    for node in ast.walk(ast.parse(stub.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("embedcli."):
            typed |= {(node.module, alias.asname) for alias in node.names}
    assert typed == {(module, name) for name, module in embedcli._MODULE_OF.items()}


def test_importing_the_package_imports_next_to_nothing():
    script = "import sys, embedcli; print(*(set(sys.modules) & {'numpy', 'embedcli.api', 'typer'}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"\n"


def test_a_name_stays_what_it_is_when_its_module_is_imported():
    from embedcli import evaluation, explanation, prediction  # noqa: F401

    for name in ("evaluate", "explain", "predict", "describe", "tokenize", "cache", "vectors"):
        assert callable(getattr(embedcli, name)), name


def test_a_question_is_the_same_in_python_and_on_the_command_line(corpus, tmp_path, capsys):
    embedcli.train(corpus, tmp_path / "m", task="classify", dim=3)
    words = ["Warm", "cold", "and", "dull"]
    for name, given in [
        ("neighbors", words[:2]),
        ("analogy", words[:3]),
        ("similarity", words),
        ("odd", words),
    ]:
        assert (
            main([name, *words[: len(given)], "-m", str(tmp_path / "m"), "--format", "json"]) == 0
        )
        printed = json.loads(capsys.readouterr().out)
        questions = [given[:2], given[2:]] if name == "similarity" else given
        for model in (tmp_path / "m", embedcli.load(tmp_path / "m")):
            answers = getattr(embedcli, name)(questions, model)
            assert answers == getattr(embedcli.load(tmp_path / "m"), name)(questions)
            told = [
                list(answer.tokens) if name != "neighbors" else answer.token for answer in answers
            ]
            assert told == [record.get("tokens", record.get("token")) for record in printed]
            if name == "neighbors":
                best = printed[0]["neighbors"][0]
                assert answers[0].neighbors[0].token == best["token"]
                assert answers[0].neighbors[0].score == pytest.approx(best["score"], abs=1e-5)


def test_train_then_load(corpus, tmp_path):
    events = []
    trained = embedcli.train(
        corpus, tmp_path / "m", task="classify", dim=3, epochs=2, report=events.append
    )
    assert isinstance(events[0], Prepared)
    assert (events[0].lines, events[0].tokens, events[0].words) == (2, 6, 5)
    assert [step.epoch for step in events[1:]] == [1, 2]
    table = embedcli.load(tmp_path / "m")
    assert table["warm"].shape == (3,)
    np.testing.assert_array_equal(table["warm"], trained.table["warm"])
    assert np.load(tmp_path / "m/table.npy", allow_pickle=False).shape == (5, 3)
    with pytest.raises(VocabularyError):
        table["zzzz"]


def test_the_digest_is_the_same_for_the_same_run(corpus, tmp_path):
    runs = [
        embedcli.train(corpus, tmp_path / f"m{i}", task="classify", dim=3, seed=seed).digest
        for i, seed in enumerate((0, 0, 1))
    ]
    assert runs[0] == runs[1] != runs[2]


def test_train_checks_its_settings(corpus, tmp_path):
    with pytest.raises(ConfigError) as caught:
        embedcli.train(corpus, tmp_path / "m", dimm=3)
    assert caught.value.hint == "Did you mean dim?"
    with pytest.raises(ConfigError):
        embedcli.train(corpus, tmp_path / "m", dim=0)
    assert not (tmp_path / "m").exists()


def test_tokenize_grows_its_vocabulary(tmp_path):
    (tmp_path / "a.txt").write_text("one two\ntwo three\n")
    lines = embedcli.tokenize(tmp_path / "a.txt")
    assert [line.ids for line in lines] == [[0, 1], [1, 2]]
    assert list(lines.vocabulary) == ["one", "two", "three"]


def test_convert_returns_what_was_read(corpus, tmp_path):
    embedcli.train(corpus, tmp_path / "m", task="classify", dim=3)
    found = embedcli.convert(tmp_path / "m", tmp_path / "v.txt")
    assert found.table.vectors.shape == (5, 3)
    assert embedcli.load(tmp_path / "v.txt")["warm"].shape == (3,)


def test_notebooks_show_records_as_tables(corpus, tmp_path):
    embedcli.train(corpus, tmp_path / "m", task="classify", dim=3)
    (tmp_path / "pairs").write_text("warm cold 1\ncold dull 9\n")
    table = embedcli.load(tmp_path / "m")
    assert repr(table) == "EmbeddingTable(5 words × 3)"
    answers = table.neighbors(["warm", "cold"])
    for record in (
        table,
        table.lookup(["warm", "<b>"], "zero"),
        answers,
        answers[0],
        table.odd(["warm", "cold"])[0],
        embedcli.describe(tmp_path / "m"),
        embedcli.evaluate(tmp_path / "pairs", tmp_path / "m"),
        embedcli.evaluate(corpus, tmp_path / "m", task="classify"),
    ):
        html = record._repr_html_()
        assert "<table" in html, record
        assert "<b>" not in html


def test_notebooks_show_explanations_as_pictures(corpus, tmp_path):
    embedcli.train(corpus, tmp_path / "m", task="classify", dim=3)
    row = embedcli.load(tmp_path / "m").lookup(["warm"])[0]
    assert row._repr_html_().count("<span") == 2 + 3  # the word, its place, its numbers
    step = embedcli.explain("warm <b>", tmp_path / "m", labels=["good"])
    for record in (step, embedcli.explain_word("warm", tmp_path / "m")):
        assert record._repr_svg_().startswith("<svg") and "<b>" not in record._repr_svg_()
