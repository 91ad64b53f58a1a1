"""Shards: the same bytes for any workers, from any point; how they are merged; what is refused."""

import errno
import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import embedcli
from embedcli.cli import main
from embedcli.config import TrainSettings
from embedcli.errors import ConfigError, TrainingError
from embedcli.parallel import shared_array
from embedcli.training import engines, shards
from embedcli.training.engines import LocalEngine, Notice, Round
from embedcli.training.loop import Training
from embedcli.training.run import Stopped
from embedcli.training.shards import Merger, Plan
from tests.tasks.corpora import make_task
from tests.tasks.test_words import planted_lines

TEXT = "".join(
    f"__label__{number % 3} w{number % 7} w{number % 5} w{number * number % 11} and more\n"
    for number in range(120)
)
SETTINGS = {"dim": 5, "epochs": 13, "batch_size": 8, "group": 2, "shards": 3}
VARIANTS = {
    "classify": {"task": "classify", "hidden": 4},
    "sgd": {"task": "classify", "optimizer": "sgd"},
    "ngrams": {"task": "classify", "word_ngrams": 2, "buckets": 101, "valid_share": 0.2},
    "regress": {"task": "regress", "round": "30"},
    "skipgram": {"task": "skipgram", "batch_size": 16, "change_dtype": "float16"},
    "cbow": {"task": "cbow", "batch_size": 16, "round": "45", "clip_norm": 3.0},
    "subwords": {"task": "skipgram", "batch_size": 16, "min_n": 1, "max_n": 3},
}


@pytest.fixture
def train(tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT)

    def go(out="m", **other):
        settings = {} if other.get("resume") else SETTINGS
        return embedcli.train(tmp_path / "corpus.txt", tmp_path / out, **{**settings, **other})

    return go


@pytest.mark.parametrize("variant", VARIANTS)
def test_any_workers_and_any_stop_give_the_same_bytes(variant, train, monkeypatch):
    monkeypatch.setattr("embedcli.training.loop.SMALL_RUN", 1)  # several workers, however short
    settings = VARIANTS[variant]
    steps = []
    whole = train("whole", workers=1, report=steps.append, **settings)
    total = steps[-1].total
    assert train("several", workers=2, **settings).digest == whole.digest
    asked = iter([False] * (total // 2))
    with pytest.raises(Stopped):
        train(stop=lambda: next(asked, True), **settings)
    resumed = train(resume=True, workers=3)
    assert resumed.digest == whole.digest
    counts = [(each.folder / "trained.npy").read_bytes() for each in (resumed, whole)]
    assert counts[0] == counts[1]


def test_python_that_leaves_out_assertions_gives_the_same_bytes(train, tmp_path):
    settings = {**SETTINGS, "task": "classify", "workers": 1}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    command = [sys.executable, "-O", "-m", "embedcli", "train", "corpus.txt", "--out=o", *flags]
    whole = train(**settings)
    said = subprocess.run([*command, "--quiet"], cwd=tmp_path, capture_output=True, check=True)
    assert whole.digest in said.stdout.decode()


class Talker(LocalEngine):
    """An engine that has something to say of each round."""

    differences = {"machine b": "kernel Zen"}  # noqa: RUF012

    def __init__(self, training, tell, **_):
        super().__init__(training)
        self._tell = tell

    def train(self, epoch, number):
        self._tell(Notice("a round begins"))
        reports = super().train(epoch, number)
        self._tell(Notice("a round ends"))
        return reports


@pytest.mark.parametrize("kind", [Round, Notice])
def test_a_run_whose_rounds_cannot_be_reported_goes_on_to_the_same_bytes(kind, train, monkeypatch):
    monkeypatch.setitem(engines.ENGINES, "local", Talker)
    heard = []

    def full(event):
        heard.append(event)
        if isinstance(event, kind) and len(heard) > 30:
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        train(task="classify", report=full)
    assert train(resume=True).digest == train("whole", task="classify").digest


def test_machines_that_may_give_other_bytes_are_in_the_model_of_a_resumed_run(train, monkeypatch):
    settings = {"task": "classify"}
    asked = iter([False] * 9)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setitem(engines.ENGINES, "local", Talker)
        train(stop=lambda: next(asked, True), **settings)
    asked = iter([False] * 9)
    with pytest.raises(Stopped):
        train(resume=True, stop=lambda: next(asked, True))
    manifest = json.loads((train(resume=True).folder / "manifest.json").read_text())
    assert manifest["environment"]["machine b"] == "kernel Zen"


def test_machines_are_in_the_model_of_a_run_that_ends_in_an_error(train, tmp_path, monkeypatch):
    monkeypatch.setitem(engines.ENGINES, "local", Talker)
    with pytest.raises(TrainingError, match="not a finite number"):
        train(task="classify", optimizer="sgd", lr=1e18)
    manifest = json.loads((tmp_path / "m/manifest.json").read_text())
    assert manifest["environment"]["machine b"] == "kernel Zen"


def test_one_shard_is_the_training_of_today(train):
    one = train("one", shards=1, batch_size=16)
    given = {name: each for name, each in SETTINGS.items() if name != "shards"} | {"batch_size": 16}
    again = embedcli.train(one.folder.parent / "corpus.txt", one.folder.parent / "again", **given)
    assert again.digest == one.digest
    assert "shards: 1" in (one.folder / "config.yaml").read_text()
    assert "round" not in (one.folder / "config.yaml").read_text()


def test_the_round_that_was_chosen_is_in_the_model(train):
    settings = {"task": "skipgram", "batch_size": 16, "epochs": 30}
    chosen = train(**settings)
    events = []
    again = train("again", round=chosen.settings.round, report=events.append, **settings)
    assert again.digest == chosen.digest
    assert int(chosen.settings.round) > 0
    assert f'round: "{chosen.settings.round}"' in (chosen.folder / "config.yaml").read_text()
    assert shards.recommended_rounds(3) <= events[-1].total <= 2 * shards.recommended_rounds(3)


def test_a_model_of_shards_is_updated_on_other_text(train, tmp_path):
    before = train(task="classify")
    (tmp_path / "more.txt").write_text(TEXT.replace("and", "or"))
    after = embedcli.train(tmp_path / "more.txt", tmp_path / "after", update=str(before.folder))
    assert after.settings.shards == 3
    counts = [np.load(each.folder / "trained.npy") for each in (before, after)]
    assert (counts[1][: len(counts[0])] >= counts[0]).all()


@given(
    st.integers(1, 300), st.integers(1, 12), st.integers(1, 9), st.integers(1, 12), st.floats(1, 4)
)
def test_a_plan_has_each_batch_once_and_shards_in_step(batches, group, number, length, growth):
    plan = Plan(batches, 2, group, min(number, batches), length, growth)
    for epoch in range(2):
        turns = [
            [plan.turn(epoch, each, shard) for each in range(plan.steps(epoch))]
            for shard in range(plan.shards)
        ]
        groups = [each for shard in turns for turn in shard for each in turn]
        assert [batch for each in groups for batch in each] == list(range(batches))
        assert all(0 < len(each) <= math.ceil(group * growth) for each in groups)
        if plan.shards == 1:
            steps = [plan.step(epoch, each.start) for each in groups]
            assert steps == list(range(plan.before(epoch) + 1, plan.before(epoch + 1) + 1))
        assert all(turn for shard in turns for turn in shard)
        for shard in turns:
            shares = [plan.progress(epoch, turn[0].start) for turn in shard]
            assert shares[0] == epoch / 2
            assert shares == sorted(shares)
            assert shares[-1] < (epoch + 1) / 2


def test_rounds_grow_over_the_run_and_are_whole_groups():
    plan = Plan(4000, epochs=3, group=5, shards=4, length=60)
    turns = [
        plan.turn(epoch, step, 1)
        for epoch in range(3)
        for step in range(plan.steps(epoch) - 1)  # the last of an epoch is what is left
    ]
    lengths = [sum(map(len, turn)) for turn in turns]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (15, 60)
    assert {len(group) for turn in turns for group in turn} == {5}


def combined(changes):
    """The rule, row by row, in float64."""
    total = np.zeros_like(changes[0])
    for change in changes:
        for row in range(len(total)):
            along, square = total[row] @ change[row], total[row] @ total[row]
            share = max(along, 0) / square if square else 0
            total[row] = total[row] + change[row] - share * total[row]
    return total


def test_changes_are_combined_row_by_row_and_sums_are_added():
    rng = np.random.default_rng(1)
    table = shared_array((40, 6), np.float32)
    square, trained = shared_array((40, 6), np.float32), shared_array((40,), np.int64)
    bias = shared_array((7,), np.float32)
    for array in (table, square, bias):
        array[...] = rng.normal(size=array.shape)
    arrays = {"table": [table, square], "bias": [bias], "trained": [trained]}
    before = {name: [each.copy() for each in every] for name, every in arrays.items()}
    merger = Merger(arrays, "float32", parts=3)
    changes, biases = [], []
    for _ in range(4):
        change = rng.normal(size=table.shape) * (rng.random((40, 1)) < 0.6)
        ids = np.flatnonzero(change.any(axis=1))
        table[ids] += change[ids].astype(np.float32)
        square[ids] += 1
        trained[ids] += 1
        bias += 1
        merger.mark("table", ids)
        merger.mark("trained", ids)
        merger.mark("bias", slice(None))
        for task in range(len(merger.tasks)):
            merger.end_turn(task)
        assert all(
            (now == then).all() for now, then in zip(arrays["table"], before["table"], strict=True)
        )
        changes.append(change)
        biases.append(np.ones((1, 7)))
    for task in range(len(merger.tasks)):
        merger.end_round(task)
    touched = sum(change.any(axis=1).astype(int) for change in changes)
    assert trained.tolist() == touched.tolist()
    np.testing.assert_allclose(square - before["table"][1], np.tile(touched[:, None], 6), atol=1e-5)
    np.testing.assert_allclose(table - before["table"][0], combined(changes), atol=1e-5)
    np.testing.assert_allclose(bias - before["bias"][0], combined(biases)[0], atol=1e-5)


def test_a_change_of_half_precision_is_the_change_but_for_its_last_digits(train):
    settings = {"task": "skipgram", "batch_size": 16}
    whole, half = train("whole", **settings), train(change_dtype="float16", **settings)
    assert whole.digest != half.digest
    np.testing.assert_allclose(half.table.vectors, whole.table.vectors, atol=0.02)


@pytest.mark.parametrize("square", [1e-8, 70_000.0])
def test_sums_of_the_optimizer_are_not_sent_in_half_precision(square):
    table, sums = shared_array((2, 3), np.float32), shared_array((2, 3), np.float32)
    merger = Merger({"table": [table, sums]}, "float16", parts=1)
    table += np.float32(0.1)
    sums += np.float32(square)
    merger.mark("table", slice(None))
    merger.end_turn(0)
    merger.end_round(0)
    assert (table == np.float32(np.float16(0.1))).all()
    assert (sums == np.float32(square)).all()


def test_numbers_that_overflow_leave_the_state_before_the_round(tmp_path):
    task = make_task(
        tmp_path, planted_lines(120, 1), task="skipgram", optimizer="sgd", epochs=3, shards=2,
        batch_size=16, tile=16, tile_negatives=8, group=2,
    )  # fmt: skip
    plan = Plan(task.batches, 3, 2, 2, 4)
    training = Training(task, task.settings, plan=plan)
    steps = training.steps()
    next(steps)
    kept = {name: array.copy() for name, array in training.state.arrays().items()}
    *_, bad = plan.turn(0, 1, 1)[-1]
    gradients = task.gradients

    def overflow(batch, out):
        loss = gradients(batch, out)
        return replace(loss, total=np.inf) if batch is poisoned else loss

    poisoned = task.batch(0, bad)
    training._made[0, bad] = poisoned
    task.gradients = overflow
    with pytest.raises(TrainingError, match=f"batch {bad + 1}"):
        next(steps)
    assert training.whole
    assert {name: array.tolist() for name, array in training.state.arrays().items()} == {
        name: array.tolist() for name, array in kept.items()
    }


def test_a_corpus_with_too_few_rounds_is_refused_with_what_would_do(train):
    with pytest.raises(ConfigError, match=r"shards: 3 shards of .* rounds of .* 25 or more") as few:
        train(task="skipgram", batch_size=16, round="300")
    flag, value = few.value.hint.split(", or ")[0].split()
    assert flag == "--round"
    train(task="skipgram", batch_size=16, round=value)
    assert few.value.hint.endswith(", or leave out --shards and --round")
    with pytest.raises(ConfigError, match=r"2000 shards of \d+ words have 0 rounds of at") as many:
        train(task="skipgram", batch_size=16, shards=2000)
    words, longest = re.search(
        r"shards of (\d+) words .* at most (\d+) words", str(many.value)
    ).groups()
    assert longest == words
    flag, value = many.value.hint.split()
    assert flag == "--shards"
    train(task="skipgram", batch_size=16, shards=int(value))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adam"}, "optimizer: found adam and 3 shards"),
        ({"optimizer": "rmsprop"}, "optimizer: found rmsprop and 3 shards"),
        ({"optimizer": "sgd", "momentum": 0.5}, "found sgd with momentum and 3 shards"),
        ({"task": "glove"}, "shards: has no effect with task glove"),
        ({"task": "svd", "epochs": None}, "shards: has no effect with task svd"),
        ({"shards": 1, "round": "9"}, "round: has no effect with shards 1; .* shards from 2"),
        ({"round": "0"}, r"round: found '0'; expected a number of words \(200000, 200k, 1M\)"),
        ({"shards": 0}, "shards: found 0; expected a whole number from 1"),
    ],
)
def test_what_cannot_be_merged_is_refused(settings, message, train):
    given = {name: each for name, each in {**SETTINGS, **settings}.items() if each is not None}
    if settings.get("task") in ("glove", "svd"):
        given = {"shards": 3, "task": settings["task"]}
    with pytest.raises(ConfigError, match=message):
        embedcli.train("corpus.txt", "m", **given)


def test_the_schema_tells_what_the_settings_of_shards_need():
    spec = embedcli.config.schema(TrainSettings)["round"]
    assert "shards from 2" in spec.conditions()


def test_the_command_writes_a_line_a_round_to_its_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.txt").write_text(TEXT)
    flags = ["--epochs", "13", "--dim", "5", "--batch-size", "16", "--quiet"]
    command = ["train", "corpus.txt", *flags, "--report", "rounds.jsonl"]
    assert main([*command, "--shards", "3"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == list(range(1, len(lines) + 1))
    assert len(lines) >= 50
    assert {machine["shards"] for line in lines for machine in line["machines"]} == {3}
    assert sum(machine["words"] for line in lines for machine in line["machines"]) == 13 * 600
    assert main([*command, "--out", "one"]) == 1
    assert "report: has no effect with shards 1" in capsys.readouterr().err
    assert main([*command, "--shards", "3", "--optimizer", "adam"]) == 1
    assert len((tmp_path / "rounds.jsonl").read_text().splitlines()) == len(lines)


@pytest.mark.parametrize("flags", [["--engine=ray"], ["--address=auto"], ["--mixed"]])
def test_replicas_are_not_trained_by_an_engine(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.txt").write_text(TEXT)
    assert main(["train", "corpus.txt", "--replicas", "2", *flags]) == 1
    name = flags[0].strip("-").split("=")[0]
    assert f"{name}: has no effect with --replicas" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "ray", "shards": 1}, "engine: found ray and one shard"),
        ({"engine": "ray"}, "engine: ray is not installed"),
        ({"engine": "spark"}, "engine: found 'spark'; expected local, ray"),
        ({"address": "auto"}, "address: has no effect with engine local"),
        ({"mixed": True}, "mixed: has no effect with engine local"),
    ],
)
def test_an_engine_that_cannot_train_is_refused(options, message, train, monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda _: None)
    heard = []
    with pytest.raises(ConfigError, match=message):
        train(batch_size=16, report=heard.append, **options)
    assert not heard  # the text is not read
