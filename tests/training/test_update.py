"""Models that go on learning on new text: ids, rows and what is known of them stay."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import embedcli
from embedcli.cli import main
from embedcli.errors import ConfigError, CorpusError, StoreError
from embedcli.model import Model, load_model, save_model, verify_model
from embedcli.storage import files
from embedcli.training import run

TEXT = "".join(
    f"__label__{number % 3} w{number % 7} w{number % 5} w{number * number % 11} and more\n"
    for number in range(120)
)
MORE = "".join(
    f"__label__{number % 2 + 2} w{number % 3} new{number % 4} and even\n" for number in range(60)
)
SETTINGS = {"task": "classify", "dim": 5, "epochs": 2, "batch_size": 8, "group": 4}
VARIANTS = {
    "classify": {},
    "adam": {"optimizer": "adam"},
    "hidden": {"hidden": 4, "dropout": 0.5, "optimizer": "sgd", "momentum": 0.9},
    "flatten": {"pool": "flatten", "length": 4, "optimizer": "rmsprop"},
    "regress": {"task": "regress", "optimizer": "rmsprop"},
    "ngrams": {"word_ngrams": 2, "optimizer": "adam"},
    "skipgram": {"task": "skipgram", "batch_size": 64, "dim": 6},
    "cbow": {"task": "cbow", "batch_size": 64},
    "subwords": {"task": "skipgram", "batch_size": 64, "dim": 6, "min_n": 1, "max_n": 3},
    "subwords adam": {"task": "cbow", "batch_size": 64, "max_n": 3, "optimizer": "adam"},
}
# Twice the counts are the same shares, but their powers may round to other noise words.
ON_THE_SAME_TEXT = {
    **VARIANTS,
    **{
        variant: {**VARIANTS[variant], "noise_power": 1.0}
        for variant in ("cbow", "skipgram", "subwords", "subwords adam")
    },
}

Train = Callable[..., Model]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Train on a text with settings of which some are others."""

    def go(text: str, out: str, **other: object) -> Model:
        path = tmp_path / "text.txt"
        path.write_text(text)
        if "update" in other:
            other["update"] = str(tmp_path / str(other["update"]))
        else:
            other = {**SETTINGS, **other}
        embedcli.train(path, tmp_path / out, **other)
        verify_model(tmp_path / out)
        return load_model(tmp_path / out)

    return go


def leads(old: np.ndarray, new: np.ndarray) -> bool:
    """Whether an array is the leading block of another."""
    return np.array_equal(new[tuple(map(slice, old.shape))], old)


@pytest.mark.parametrize("variant", VARIANTS)
def test_ids_labels_and_what_is_known_of_words_stay(variant, train):
    supervised = VARIANTS[variant].get("task") not in ("skipgram", "cbow")
    text, more = (each if supervised else re.sub("__label__. ", "", each) for each in (TEXT, MORE))
    old = train(text, "m", **VARIANTS[variant])
    new = train(more, "n", update="m")
    words, labels = list(old.table.vocabulary), list(old.labels)
    assert list(new.table.vocabulary) == [*words, "new0", "even", "new1", "new2", "new3"]
    assert list(new.labels)[: len(labels)] == labels
    both = train(text + more, "both", **VARIANTS[variant])
    assert list(both.table.vocabulary) == list(new.table.vocabulary)
    assert both.table.vocabulary.counts.tolist() == new.table.vocabulary.counts.tolist()
    assert both.labels == new.labels
    assert leads(old.first_lines, new.first_lines)
    assert new.first_lines[len(words) :].tolist() == [1, 1, 2, 3, 4]
    assert (new.trained[: len(words)] >= old.trained).all()
    assert [record["epoch"] for record in new.log] == [1, 2, 3, 4]
    assert [*new.log[:2]] == [*old.log]
    same = (
        "task",
        "optimizer",
        "lr",
        "schedule",
        "batch_size",
        "epochs",
        "min_count",
        "multi_label",
    )
    for name in same:
        assert getattr(new.settings, name) == getattr(old.settings, name), name


@pytest.mark.parametrize("variant", ON_THE_SAME_TEXT)
def test_an_update_with_nothing_new_is_the_run_going_on(variant, train):
    same = {**ON_THE_SAME_TEXT[variant], "schedule": "constant"}
    whole = train(TEXT, "whole", **{**same, "epochs": 5})
    train(TEXT, "m", **same)
    new = train(TEXT, "m", update="m", epochs=3)
    np.testing.assert_array_equal(new.table.vectors, whole.table.vectors)
    for mine, others in ((new.head, whole.head), (new.optimizer, whole.optimizer)):
        assert mine.keys() == others.keys()
        for name, array in mine.items():
            np.testing.assert_array_equal(array, others[name], err_msg=name)
    assert new.trained.tolist() == whole.trained.tolist()
    assert new.log == whole.log
    assert new.start == whole.start


LINES = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.lists(st.sampled_from("stuvwxyz"), min_size=1, max_size=5)
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25)
@given(first=LINES, second=LINES, min_count=st.integers(1, 3))
def test_rows_without_a_part_in_the_new_text_stay(tmp_path_factory, first, second, min_count):
    place = tmp_path_factory.mktemp("update")
    beginning = [("a", ["s"]), ("b", ["t"])]
    for name, lines in (("old", beginning + first), ("new", second)):
        text = "".join(f"__label__{label} {' '.join(words)}\n" for label, words in lines)
        (place / f"{name}.txt").write_text(text)
    embedcli.train(place / "old.txt", place / "m", **{**SETTINGS, "group": 1})
    old = load_model(place / "m")
    embedcli.train(place / "new.txt", place / "n", update=str(place / "m"), min_count=min_count)
    new = load_model(place / "n")
    words = list(old.table.vocabulary)
    met: dict[str, int] = {}
    for word in (word for _, line in second for word in line):
        met[word] = met.get(word, 0) + 1
    added = [word for word, count in met.items() if word not in words and count >= min_count]
    assert list(new.table.vocabulary) == words + added
    for number, word in enumerate(words):
        stays = np.array_equal(new.table.vectors[number], old.table.vectors[number])
        assert stays or word in met
        for slot, array in old.optimizer.items():
            if slot.startswith("table.") and word not in met:
                np.testing.assert_array_equal(new.optimizer[slot][number], array[number])
        before = int(old.table.vocabulary.counts[number])
        assert new.table.vocabulary.counts[number] == before + met.get(word, 0)
    labels = dict.fromkeys([*old.labels, *(label for label, _ in second)])
    assert new.labels == tuple(labels)


def test_what_is_new_begins_as_it_would_have_begun(train, tmp_path):
    train(TEXT, "m", seed=3)
    new = train(MORE, "n", update="m", seed=8, freeze="all")
    both = train(TEXT + MORE, "both", seed=3, freeze="all")
    size = len(load_model(tmp_path / "m").table)
    np.testing.assert_array_equal(new.table.vectors[size:], both.table.vectors[size:])
    assert leads(load_model(tmp_path / "m").table.vectors, new.table.vectors)
    assert new.start == both.start
    trained = train(MORE, "n", update="m", seed=8)
    told = embedcli.api.explain_word("w0", tmp_path / "n")
    np.testing.assert_array_equal(told.start, both.table["w0"])
    assert told.moved == pytest.approx(np.linalg.norm(trained.table["w0"] - both.table["w0"]))
    told = embedcli.api.explain_word("even", tmp_path / "n")
    np.testing.assert_array_equal(told.start, both.table["even"])
    assert told.moved > 0 and told.trained > 0


def test_the_new_is_learnt_and_the_old_not_forgotten(train, tmp_path):
    train(TEXT, "m", epochs=20)
    train(MORE, "n", update="m", epochs=20)
    assert (
        embedcli.api.evaluate(tmp_path / "text.txt", tmp_path / "n", task="classify").accuracy > 0.9
    )


def test_in_place_the_model_before_is_kept(train, tmp_path):
    old = train(TEXT, "m").bundle
    train(MORE, "m", update="m")
    assert verify_model(tmp_path / "m.previous").bundle.files == old.files


@pytest.mark.parametrize("variant", ["classify", "adam", "skipgram"])
def test_an_update_that_was_stopped_goes_on_without_the_model_it_began_with(
    variant, train, tmp_path
):
    train(TEXT, "m", **VARIANTS[variant])
    whole = train(MORE, "whole", update="m", epochs=6)
    asked = iter([False] * 3)
    with pytest.raises(run.Stopped):
        train(MORE, "n", update="m", epochs=6, stop=lambda: next(asked, True))
    shutil.rmtree(tmp_path / "m")
    embedcli.train(None, tmp_path / "n", resume=True)
    names = {each.name for each in (tmp_path / "whole").iterdir()}
    assert {"vocab.txt", "table.npy", "counts.npy", "trained.npy", "log.jsonl"} < names
    for name in names - {"config.yaml", "manifest.json"}:
        assert (tmp_path / "n" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), (
            name
        )
    assert load_model(tmp_path / "n").start == whole.start
    assert load_model(tmp_path / "n").corpus == whole.corpus


def test_the_table_is_the_same_for_any_workers_and_with_the_cache(train):
    train(TEXT * 3, "m", group=4)
    tables = {
        train(
            MORE * 9, f"n{workers}{cache}", update="m", workers=workers, cache=cache, epochs=4
        ).digest
        for workers in (1, 2, 3)
        for cache in (False, True)
    }
    assert len(tables) == 1


def test_min_count_and_max_vocab_choose_among_new_words_alone(train):
    train(TEXT, "m")
    rare = train(MORE + "__label__0 once\n", "n", update="m", min_count=2)
    assert "once" not in rare.table.vocabulary and "new3" in rare.table.vocabulary
    size = len(rare.table) - 5
    fewer = train(MORE, "n", update="m", max_vocab=size + 2)
    assert list(fewer.table.vocabulary)[size:] == ["new0", "even"]
    for fewest in (1, size - 1, size):
        none = train(MORE, "n", update="m", max_vocab=fewest)
        assert len(none.table) == size


def test_vectors_are_for_new_words(train, tmp_path):
    old = train(TEXT, "m")
    (tmp_path / "v.txt").write_text("2 5\nand 1 2 3 4 5\neven 5 4 3 2 1\n")
    given = {"vectors": str(tmp_path / "v.txt"), "freeze": "found"}
    new = train(MORE, "n", update="m", **given)
    np.testing.assert_array_equal(new.table["and"], old.table["and"])
    assert new.table["even"].tolist() == [5, 4, 3, 2, 1]
    assert embedcli.api.explain_word("w0", tmp_path / "n").start is None
    later = train(TEXT, "n", update="n")  # those vectors are not asked for again
    assert later.settings.vectors is None and later.settings.freeze == "none"
    assert embedcli.api.explain_word("w0", tmp_path / "n").start is None
    assert not np.array_equal(later.table["and"], new.table["and"])


def test_another_optimizer_starts_anew(train):
    old = train(TEXT, "m")
    new = train(MORE, "n", update="m", optimizer="adam", lr=0.001, epochs=1)
    assert {name.rpartition(".")[2] for name in new.optimizer} == {"mean", "square"}
    unmet = old.table.vocabulary.id_of("w10") if "w10" in old.table.vocabulary else 5
    assert not new.optimizer["table.square"][unmet].any()
    assert not np.array_equal(
        old.optimizer["table.square"][unmet], new.optimizer["table.square"][unmet]
    )


def test_what_was_learnt_with_other_settings_is_refused(train, tmp_path):
    train(TEXT, "m")
    with pytest.raises(
        ConfigError, match=r"found dim 6, fold_case false; .* has dim 5, fold_case t"
    ):
        train(MORE, "n", update="m", dim=6, fold_case=False)
    with pytest.raises(ConfigError, match=r"found task .cbow., .* has task .classify."):
        train(MORE, "n", update="m", config="cbow")
    with pytest.raises(CorpusError, match="has several labels"):
        train("__label__0 __label__1 two\n", "n", update="m")
    with pytest.raises(ConfigError, match="multi_label true"):
        train("__label__0 __label__1 two\n", "n", update="m", multi_label=True)
    with pytest.raises(ConfigError, match="no text"):
        embedcli.train(None, tmp_path / "n", update=str(tmp_path / "m"))
    with pytest.raises(ConfigError, match="update"):
        embedcli.train(tmp_path / "text.txt", tmp_path / "n", update=5)
    with pytest.raises(StoreError, match="no such model"):
        train(MORE, "n", update="nothing")
    with pytest.raises(CorpusError, match="no word"):
        train("\n", "n", update="m")
    train(TEXT, "r", task="regress")
    with pytest.raises(CorpusError, match="found 2 numbers a text; the model to update has 1"):
        train("__label__0 __label__1 two\n", "n", update="r")
    assert not (tmp_path / "n").exists()


def test_a_model_without_a_head_or_a_sound_file_is_refused(train, tmp_path):
    train(TEXT, "m")
    embedcli.convert(tmp_path / "m", tmp_path / "v.txt", "word2vec")
    embedcli.convert(tmp_path / "v.txt", tmp_path / "v", "model")
    with pytest.raises(StoreError, match="came from a file") as caught:
        train(MORE, "n", update="v", task="classify")
    assert "--vectors" in str(caught.value.hint)
    data = bytearray((tmp_path / "m/head.output.weight.npy").read_bytes())
    data[-4] ^= 1
    (tmp_path / "m/head.output.weight.npy").write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        train(MORE, "n", update="m")


@pytest.mark.parametrize(
    ("start", "said"),
    [({"seed": 1, "scale": None}, "'init' is missing"), ({"init": "x"}, "init: found 'x'")],
)
def test_a_model_that_does_not_say_how_it_began_is_refused(train, tmp_path, start, said):
    model = train(TEXT, "m")
    with files.Lock(tmp_path / "m"):
        save_model(tmp_path / "m", dataclasses.replace(model, start=start))
    with pytest.raises(StoreError, match=f"damaged: how its initial rows were made: .*{said}"):
        train(MORE, "n", update="m")


@pytest.mark.parametrize("variant", ["skipgram", "cbow", "subwords"])
def test_a_model_trained_without_biases_goes_on_without(variant, train, tmp_path):
    model = train(TEXT, "m", **VARIANTS[variant])
    head = {name: array for name, array in model.head.items() if name != "output_bias"}
    assert len(head) < len(model.head)
    with files.Lock(tmp_path / "m"):
        save_model(tmp_path / "m", dataclasses.replace(model, head=head))
    for text in (MORE, "other words\n" * 9):
        new = train(text, "m", update="m")
        assert new.head["output_bias"].shape == (len(new.table), 1)
        assert not new.head["output_bias"].any()


def test_biases_of_another_shape_are_refused(train, tmp_path):
    model = train(TEXT, "m", **VARIANTS["skipgram"])
    head = {**model.head, "output_bias": model.head["output_bias"][1:]}
    with files.Lock(tmp_path / "m"):
        save_model(tmp_path / "m", dataclasses.replace(model, head=head))
    with pytest.raises(StoreError, match="damaged: the head is of"):
        train(MORE, "n", update="m")


def test_a_log_or_fingerprint_that_is_no_text_is_kept(train, tmp_path):
    model = train(TEXT, "m")
    log = [{"epoch": 1, "\ud800": 2}]
    with files.Lock(tmp_path / "m"):
        save_model(tmp_path / "m", dataclasses.replace(model, log=log, corpus="\ud800"))
    assert train(MORE, "n", update="m").log[0] == log[0]


def test_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(TEXT)
    Path("b.txt").write_text(MORE)
    flags = ["--dim", "4", "--workers", "1"]
    assert main(["train", "a.txt", "--task", "classify", *flags]) == 0
    capsys.readouterr()
    assert main(["train", "b.txt", "--update", "embeddings"]) == 0
    said = capsys.readouterr()
    assert "of embeddings stay, 5 are new" in said.err
    assert main(["info", "--format", "json", "--verify"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["update"] == "embeddings"
    assert main(["train", "b.txt", "--update", "embeddings", "--dim", "7"]) == 1
    assert "found dim 7" in capsys.readouterr().err
    assert main(["train", "--update", "embeddings"]) == 1
    assert "no text" in capsys.readouterr().err


def test_settings_of_the_model_that_have_no_effect_any_more_are_left_out(train):
    train(TEXT, "m", optimizer="sgd", momentum=0.9)
    new = train(MORE, "n", update="m", optimizer="adam")
    assert (new.settings.optimizer, new.settings.momentum) == ("adam", 0.0)


def test_a_given_setting_without_an_effect_is_an_error_in_an_update_too(train):
    train(TEXT, "m", optimizer="adam")
    with pytest.raises(ConfigError, match="momentum: has no effect with optimizer adam"):
        train(MORE, "n", update="m", momentum=0.9)
