import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import embedcli
from embedcli import tuning
from embedcli.config import TrainSettings, schema
from embedcli.errors import ConfigError, StoreError, TrainingError
from embedcli.model import load_settings
from embedcli.tasks import TASKS
from embedcli.tuning import Range

from .tasks.corpora import labelled_lines, make_task, numbered_lines, ordered_lines, trained, write

SPACE = "lr: 0.02 to 0.5 log\nepochs: 1 to 4\nword_ngrams: none, 2\ndim: 4, 8\n"


@pytest.fixture
def corpus(tmp_path):
    write(tmp_path / "space.yaml", SPACE.splitlines())
    return write(tmp_path / "text.txt", ordered_lines(240, 1))


def tune(corpus, out, **more):
    settings = {"task": "classify", "trials": 20, "space": corpus.parent / "space.yaml", **more}
    return embedcli.tune(corpus, corpus.parent / out, **settings)


def told(found):
    """What a search did, but for times."""
    return [{**dataclasses.asdict(each), "seconds": 0, "elapsed": 0} for each in found.trials]


@given(st.integers(0, 1000), st.sampled_from(SPACE.splitlines()))
def test_values_are_those_of_the_range(seed, line):
    name, _, text = line.partition(": ")
    spec = schema(TrainSettings)[name]
    range_ = Range.parse(spec, text)
    rng = np.random.default_rng(seed)
    value = range_.draw(rng)
    for each in (value, range_.near(value, rng)):
        assert spec.check(each) == each
        if range_.choices:
            assert each in range_.choices
        else:
            assert range_.low <= each <= range_.high
            assert isinstance(each, int) == range_.whole


def test_a_step_around_the_best_is_a_step():
    range_ = Range.parse(schema(TrainSettings)["lr"], "0.01 to 1 log")
    rng = np.random.default_rng(0)
    near = [range_.near(0.1, rng) for _ in range(200)]
    far = [range_.draw(rng) for _ in range(200)]
    assert np.std(np.log(near)) < np.std(np.log(far)) / 1.5
    assert np.exp(np.mean(np.log(near))) == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("nonsense: 1, 2", "no setting of classify"),
        ("window: 1 to 5", "no setting of classify"),
        ("shards: 1, 2", "no setting of classify"),
        ("lr: 2 to 1", "expected LOW to HIGH"),
        ("lr: 0.1, soon", "lr: found 'soon'"),
        ("pool: mean to max", "expected LOW to HIGH"),
        ("", "nothing to search"),
    ],
)
def test_a_space_of_something_else_is_one_error(lines, said, corpus):
    path = write(corpus.parent / "space.yaml", [lines])
    with pytest.raises(ConfigError, match=said) as caught:
        tune(corpus, "t")
    assert str(path) in caught.value.message


def test_shards_are_refused(corpus):
    with pytest.raises(ConfigError, match="shards: found 4; trials of a search are"):
        tune(corpus, "t", shards=4)
    assert not (corpus.parent / "t").exists()


def test_a_search_finds_the_same_for_any_workers(corpus):
    one, two = (tune(corpus, f"t{n}", workers=n, valid_share=0.25) for n in (1, 2))
    assert told(one) == told(two)
    assert one.best == two.best and one.score == two.score
    assert len(one.trials) == 20
    assert one.trials[0].settings == {}
    searched = [trial.settings for trial in one.trials[1:15]]
    assert all(set(each) == {"lr", "epochs", "word_ngrams", "dim"} for each in searched)
    # The order of words alone tells the labels apart.
    assert one.best["word_ngrams"] == 2
    other = tune(corpus, "t3", workers=1, valid_share=0.25, seed=1)
    assert told(other) != told(one)


def test_the_best_settings_are_a_configuration(corpus):
    found = tune(corpus, "t", pool="sum", batch_size=16, trials=10)
    assert found.best["pool"] == "sum" and found.best["batch_size"] == 16
    embedcli.train(corpus, corpus.parent / "m", config=found.folder / "best.yaml")
    settings = load_settings(corpus.parent / "m")
    assert {name: getattr(settings, name) for name in found.best} == found.best
    assert settings.task == "classify" and settings.valid_share == 0
    searched = {name: found.best[name] for name in ("lr", "epochs", "word_ngrams", "dim")}
    done = [trial for trial in found.trials if trial.settings == searched]
    assert found.score == pytest.approx(np.mean([trial.score for trial in done][: found.seeds]))


def test_the_best_are_trained_again_with_other_seeds(corpus):
    found = tune(corpus, "t", trials=24)
    assert [trial.seed for trial in found.trials] == [0] * 18 + [1] * 4 + [2] * 2
    ranked = sorted(
        (trial for trial in found.trials[:18] if trial.score is not None),
        key=lambda trial: -trial.score,
    )
    again = [trial.settings for trial in found.trials[18:22]]
    assert again[0] == ranked[0].settings
    assert found.seeds == 2  # the third seed did not reach all


@pytest.mark.parametrize("stopped", [1, 8, 11, 19])
def test_a_search_that_was_killed_goes_on(stopped, corpus):
    whole = tune(corpus, "whole")
    seen = []

    def kill(trial, best):
        seen.append(trial)
        if len(seen) == stopped:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(corpus, "t", report=kill)
    log = corpus.parent / "t" / "trials.jsonl"
    assert len(log.read_text().splitlines()) == stopped
    log.write_text(log.read_text() + '{"number": 9, "sett')  # as a kill may leave it
    with pytest.raises(StoreError, match="holds a search"):
        tune(corpus, "t")
    with pytest.raises(StoreError, match="other settings, ranges or metric"):
        tune(corpus, "t", resume=True, metric="f1")
    seen = []
    resumed = tune(corpus, "t", resume=True, report=lambda trial, best: seen.append(trial))
    assert len(seen) == 20 - stopped
    assert told(resumed) == told(whole)
    assert resumed.best == whole.best
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(line["number"] for line in lines) == list(range(1, 21))


def test_nothing_to_go_on_with_is_one_error(corpus):
    with pytest.raises(StoreError, match="no search to go on with"):
        tune(corpus, "t", resume=True)
    tune(corpus, "t", trials=1)
    (corpus.parent / "t" / "trials.jsonl").write_text('{"no": "trial"}\n')
    with pytest.raises(StoreError, match="damaged"):
        tune(corpus, "t", trials=1, resume=True)


@pytest.mark.parametrize("wrong", [{"elapsed": "x"}, {"score": "x"}, {"rungs": [None, []]}])
def test_a_damaged_trial_is_one_error(wrong, corpus):
    tune(corpus, "t", trials=1)
    log = corpus.parent / "t" / "trials.jsonl"
    log.write_text(json.dumps({**json.loads(log.read_text()), **wrong}) + "\n")
    with pytest.raises(StoreError, match="damaged"):
        tune(corpus, "t", trials=1, resume=True)


def test_a_trial_that_is_behind_is_stopped(corpus):
    found = tune(corpus, "t", trials=40, workers=1)
    stopped = [trial for trial in found.trials if trial.stopped]
    assert stopped
    assert all(trial.score is None and 1 <= len(trial.rungs) <= 2 for trial in stopped)
    assert all(trial.number > tuning.ROUND for trial in stopped)


def test_a_rate_that_diverges_is_no_end(corpus):
    write(corpus.parent / "space.yaml", ["lr: 1e17, 0.1", "optimizer: sgd"])
    found = tune(corpus, "t", trials=6, momentum=0.9, optimizer="sgd")
    diverged = [trial for trial in found.trials if trial.settings.get("lr") == 1e17]
    assert diverged and all(trial.score is None for trial in diverged)
    assert found.best.get("lr") != 1e17
    write(corpus.parent / "space.yaml", ["epochs: 1, 2"])
    with pytest.raises(TrainingError, match="no trial came to its end"):
        tune(corpus, "u", trials=2, lr=1e17, optimizer="sgd", momentum=0.9)


def test_a_search_is_made_longer(corpus):
    short = tune(corpus, "t", trials=12)
    seen = []
    long = tune(corpus, "t", trials=32, resume=True, report=lambda trial, _: seen.append(trial))
    assert told(long) == told(tune(corpus, "whole", trials=32))
    assert len(seen) < 32 and len(short.trials) == 12


def test_the_time_ends_a_search(corpus):
    found = tune(corpus, "t", trials=None, time="1s")
    assert found.trials[0].settings == {} and found.trials[0].score is not None
    with pytest.raises(ConfigError, match="expected seconds, minutes or hours"):
        tune(corpus, "t", time="soon")


def test_dim_auto_takes_the_shortest_that_is_as_good(corpus):
    found = tune(corpus, "t", dim="auto", space=None, word_ngrams=2, epochs=8, trials=None)
    dims = [8, 16, 32, 64, 128, 256]
    assert [trial.settings["dim"] for trial in found.trials[:6]] == dims
    assert sorted(trial.settings["dim"] for trial in found.trials) == sorted(dims * 3)
    means = {
        dim: np.mean([trial.score for trial in found.trials if trial.settings["dim"] == dim])
        for dim in dims
    }
    best = max(means.values())
    assert found.best["dim"] == min(dim for dim in dims if means[dim] >= 0.99 * best)
    assert found.score == pytest.approx(means[found.best["dim"]])


def test_settings_of_text_are_searched_too(corpus):
    write(corpus.parent / "space.yaml", ["min_count: 1, 3", "epochs: 1, 2, 3"])
    held = write(corpus.parent / "held.txt", ordered_lines(80, 2))
    found = tune(corpus, "t", trials=12, valid=str(held), metric="loss")
    assert {trial.settings.get("min_count") for trial in found.trials} >= {None, 1, 3}
    assert found.score < 0


def test_metrics_worked_by_hand(tmp_path):
    lines = labelled_lines(300, 1)
    task = make_task(tmp_path, lines, labelled_lines(90, 2), task="classify")
    trained(task)
    found = task.validate().metrics
    assert task.measure("accuracy") == task.measure("precision@1") == found["accuracy"]
    assert task.measure("f1") == found["f1"]
    assert task.measure("loss") == -found["valid_loss"]
    each = [task.measure(f"f1:{label}") for label in task.labels]
    assert np.mean(each) == pytest.approx(found["f1"])
    assert task.measure("precision@3") == pytest.approx(1 / 3)
    for wrong in ("f1:nobody", "precision@0", "precision", "mse"):
        with pytest.raises(ConfigError, match="expected accuracy, f1"):
            task.measure(wrong)
    several = make_task(
        tmp_path / "s", labelled_lines(200, 1, True), labelled_lines(60, 2, True), task="classify"
    )
    trained(several)
    measured = several.validate().metrics
    assert several.measure("precision@1") == pytest.approx(measured["precision_at_1"])
    assert several.measure("f1") == measured["f1"]
    assert several.measure("accuracy") <= several.measure("precision@1")


def test_numbers_are_searched_by_their_errors(tmp_path):
    corpus = write(tmp_path / "text.txt", numbered_lines(200, 1))
    write(tmp_path / "space.yaml", ["lr: 0.01 to 0.5 log", "epochs: 2 to 20"])
    found = tune(corpus, "t", task="regress", trials=8, pool="sum", metric="r2")
    assert found.score > 0.5
    with pytest.raises(ConfigError, match="expected loss, mse, mae or r2"):
        tune(corpus, "u", task="regress", trials=8, metric="accuracy")


def test_words_are_searched_by_similarity(tmp_path):
    text = write(tmp_path / "text.txt", ["the king and the queen", "a mango and a papaya"] * 30)
    pairs = write(tmp_path / "pairs.tsv", ["king\tqueen\t9", "mango\tpapaya\t8", "king\ta\t1"])
    write(tmp_path / "space.yaml", ["window: 1 to 4", "dim: 4, 8"])
    more = {"task": "skipgram", "epochs": 2, "trials": 4}
    found = tune(text, "t", metric=f"similarity:{pairs}", **more)
    assert -1 <= found.score <= 1 and len(found.trials) == 4
    with pytest.raises(ConfigError, match="compared with people's scores"):
        tune(text, "u", **more)
    assert len(tune(text, "u", metric=f"similarity:{pairs}", **more).trials) == 4


@pytest.mark.parametrize(("task", "line"), [("glove", "x_max: 1 to 9"), ("svd", "shift: 1, 2")])
def test_tasks_that_learn_from_counts_are_searched_too(tmp_path, task, line):
    text = write(tmp_path / "text.txt", ["the king and the queen", "a mango and a papaya"] * 30)
    pairs = write(tmp_path / "pairs.tsv", ["king\tqueen\t9", "mango\tpapaya\t8", "king\ta\t1"])
    write(tmp_path / "space.yaml", [line])
    found = tune(text, "t", task=task, trials=4, metric=f"similarity:{pairs}", dim=2)
    assert [trial.score is None for trial in found.trials] == [False] * 4
    assert found.best["dim"] == 2


def test_a_search_without_a_setting_to_search_is_one_error(corpus):
    given = {"lr": 0.1, "epochs": 2, "word_ngrams": None, "dim": 8}
    with pytest.raises(ConfigError, match="every setting to search is given") as error:
        tune(corpus, "t", **given)
    assert "--space FILE" in error.value.hint
    assert not (corpus.parent / "t").exists()


def test_every_task_has_a_space():
    for task in TASKS:
        space = tuning.read_space(TrainSettings(task=task))
        assert {"lr", "epochs", "dim"} - ({"lr", "epochs"} if TASKS[task].solved else set()) <= {
            each.name for each in space
        }


def test_the_command_prints_and_writes(corpus, capsys, monkeypatch):
    monkeypatch.chdir(corpus.parent)
    command = "tune text.txt --task classify --trials 9 --space space.yaml --metric f1:up"
    from embedcli.cli import main

    assert main([*command.split(), "--format", "tsv"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split("\t")[:3] == ["trial", "seed", "f1:up"]
    assert len(out.splitlines()) == 10
    assert "trial   1" in err and "embed train text.txt --config tuning/best.yaml" in err
    assert {path.name for path in Path("tuning").iterdir()} == {
        *("best.yaml", "curve.svg", "search.json", "trials.jsonl")
    }
    assert main([*command.split(), "--quiet"]) == 1
    assert main([*command.split(), "--resume", "--quiet"]) == 0
    assert "best" in capsys.readouterr().out
    assert main(["tune", "text.txt", "--task", "classify", "--dim", "wide"]) == 2
    assert main([*command.split(), "--shards", "4"]) == 2
