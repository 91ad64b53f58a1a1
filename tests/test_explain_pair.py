"""Why two words are similar: parts of context words that add up to the cosine."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import embedcli
from embedcli.cli import main
from embedcli.config import TrainSettings
from embedcli.errors import StoreError, VocabularyError
from embedcli.explanation import explain_pair
from embedcli.model import Model, save_model
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary
from embedcli.views.explain import formatted

rng = np.random.default_rng(5)
WORDS = ["king", "queen", "<b>", "राजा", *(f"w{n}" for n in range(40))]


def model_of(output, dim=6):
    table = rng.normal(size=(len(output), dim)).astype(np.float32)
    ones = np.ones(len(output), np.int64)
    return Model(
        table=EmbeddingTable(Vocabulary(WORDS[: len(output)], ones), table),
        settings=TrainSettings(dim=dim),
        head={"output": np.asarray(output, np.float32)},
        trained=ones,
        first_lines=ones,
    )


@pytest.fixture
def model():
    return model_of(rng.normal(size=(len(WORDS), 6)) + 0.5)


def test_the_parts_add_up_to_the_cosine(model):
    found = explain_pair(model, ("king", "queen"), k=len(WORDS))
    vectors = model.table.vectors[:2].astype(np.float64)
    cosine = vectors[0] @ vectors[1] / np.prod(np.linalg.norm(vectors, axis=1))
    every = [*found.drawn_to, *found.kept_from, *found.opposing]
    assert len(every) == found.contexts == len(WORDS)
    assert found.cosine == pytest.approx(cosine)
    assert sum(each.part for each in every) == pytest.approx(cosine)
    assert found.toward + found.away + found.opposed == pytest.approx(cosine)
    assert found.rest == pytest.approx(0, abs=1e-9)
    assert found.toward == pytest.approx(sum(each.part for each in found.drawn_to))
    assert all(each.part < 0 for each in found.opposing)
    for each in every:
        index = WORDS.index(each.token)
        scores = model.head["output"][index] @ model.table.vectors[:2].T  # (2,)
        assert np.allclose(each.scores, scores, atol=1e-5)


def test_scores_have_the_bias_that_training_adds(model):
    bias = rng.normal(size=(len(WORDS), 1)).astype(np.float32)
    biased = replace(model, head={**model.head, "output_bias": bias})
    one, other = (explain_pair(each, ("king", "queen"), len(WORDS)) for each in (model, biased))
    for before, after in zip(one.drawn_to, other.drawn_to, strict=True):
        assert (after.token, after.part) == (before.token, before.part)
        added = bias[WORDS.index(after.token), 0]
        assert np.subtract(after.scores, before.scores) == pytest.approx([added] * 2)


def test_the_two_words_are_treated_alike(model):
    one, two = explain_pair(model, ("king", "queen")), explain_pair(model, ("queen", "king"))
    assert [each.token for each in one.drawn_to] == [each.token for each in two.drawn_to]
    assert one.toward == pytest.approx(two.toward)
    itself = explain_pair(model, ("king", "king"))
    assert itself.cosine == pytest.approx(1) and not itself.opposing


def test_turning_both_tables_changes_nothing(model):
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0].astype(np.float32)
    turned = model_of(model.head["output"] @ turn)
    turned.table.vectors[:] = model.table.vectors @ turn
    one, two = (explain_pair(each, ("king", "queen")) for each in (model, turned))
    parts = [[each.part for each in found.drawn_to] for found in (one, two)]
    assert parts[0] == pytest.approx(parts[1], abs=1e-5)


def test_of_orthonormal_rows_a_part_is_the_product_of_two_scores():
    model = model_of(np.eye(6))
    found = explain_pair(model, ("king", "queen"), k=6)
    norms = np.linalg.norm(model.table.vectors[:2], axis=1)
    for each in found.drawn_to:
        assert each.part == pytest.approx(np.prod(each.scores) / np.prod(norms), rel=1e-5)


def test_what_the_output_table_does_not_span_is_the_rest():
    output = np.zeros((8, 6))
    output[:, :2] = rng.normal(size=(8, 2))
    model = model_of(output)
    found = explain_pair(model, ("king", "queen"))
    units = model.table.vectors[:2] / np.linalg.norm(model.table.vectors[:2], axis=1)[:, None]
    assert found.rest == pytest.approx(float(units[0, 2:] @ units[1, 2:]), abs=1e-6)
    empty = explain_pair(model_of(np.zeros((8, 6))), ("king", "queen"))
    assert empty.rest == pytest.approx(empty.cosine) and not empty.drawn_to


def test_what_cannot_be_explained(model, tmp_path):
    with pytest.raises(VocabularyError, match="quean"):
        explain_pair(model, ("king", "quean"))
    with pytest.raises(StoreError, match="skipgram or cbow"):
        explain_pair(
            Model(table=model.table, settings=TrainSettings(task="classify", dim=6),
                  trained=model.trained, first_lines=model.first_lines),
            ("king", "queen"),
        )  # fmt: skip


@pytest.fixture
def explain(model, tmp_path, monkeypatch, capsys):
    save_model(tmp_path / "embeddings", model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*argv):
        code = main(["explain", *argv])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_every_form(explain):
    code, text, _ = explain("king", "queen")
    assert code == 0 and text.startswith("king  queen\nThe cosine of king and queen is")
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "Both are drawn to" in text
    assert "दोनों इनकी ओर खिंचते हैं" in explain("king", "राजा", "--lang", "hi")[1]
    for form in ("svg", "html"):
        drawn = explain("king", "<b>", "--format", form)[1]
        assert "king · &lt;b&gt;" in drawn and "<b>" not in drawn
    assert embedcli.explain_pair("king", "queen")._repr_svg_().startswith("<svg")


def test_an_output_table_of_zeros_has_no_part_in_the_cosine():
    found = explain_pair(model_of(np.zeros((len(WORDS), 6))), ("king", "queen"))
    assert found.rest == found.cosine and not found.drawn_to
    for form in ("text", "svg", "html"):
        assert "outside of what the output table spans" in formatted(found, form, language="en")


def test_json_is_as_documented(explain):
    found = json.loads(explain("king", "queen", "--format", "json")[1])
    page = (Path(__file__).parents[1] / "docs/explain.md").read_text(encoding="utf-8")
    section = page.split("## Two words\n")[1]
    whole, context = re.split(r"### `drawn_to`", section)
    keys = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
    assert list(found) == keys.findall(whole)
    assert list(found["drawn_to"][0]) == keys.findall(context)


def test_texts_and_words_are_told_apart(explain):
    assert explain("king", "queen", "w1")[0] == 2
    assert "in quotation marks" in explain("king", "queen", "w1")[2]
    assert explain("king", "queen", "--label", "x")[0] == 2
    assert explain("king queen", "--word", "king")[0] == 2
    assert explain()[0] == 2
