from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli import config
from embedcli.config import Settings, TextSettings, TrainSettings
from embedcli.errors import ConfigError
from embedcli.nn.initializers import INITIALIZERS
from embedcli.nn.optimizers import OPTIMIZERS
from embedcli.tasks import TASKS


def read(tmp_path: Path, text: str) -> dict[str, object]:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    return config.read_yaml(path, TrainSettings)


@pytest.mark.parametrize(
    ("name", "known"), [("task", TASKS), ("optimizer", OPTIMIZERS), ("init", INITIALIZERS)]
)
def test_choices_are_those_of_the_dicts(name, known):
    assert set(config.schema(TrainSettings)[name].choices) == set(known)


def test_every_default_is_allowed_and_every_group_has_its_place():
    TrainSettings()
    specs = config.schema(TrainSettings)
    assert {spec.group for spec in specs.values()} == set(config.GROUPS)
    assert sum(map(len, config.groups(TrainSettings).values())) == len(specs)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("lr: 1e-3", {"lr": 0.001}),
        ("lr: 1", {"lr": 1.0}),
        ("dim: 7", {"dim": 7}),
        ("min_count: auto", {"min_count": "auto"}),
        ("min-count: 3", {"min_count": 3}),
        ("max_vocab: null", {"max_vocab": None}),
        ("max_vocab:", {"max_vocab": None}),
        ("subsample: none", {"subsample": None}),
        ("normalize: no", {"normalize": False}),
        ("multi_label: TRUE", {"multi_label": True}),
        ("checkpoint_every: 1000", {"checkpoint_every": "1000"}),
        ("label_prefix: '#'", {"label_prefix": "#"}),
        ("stop_words: रोक.txt", {"stop_words": "रोक.txt"}),
        ("# nothing\n", {}),
        ("", {}),
        ("\ufeffdim: 7\r\n", {"dim": 7}),
        ("{dim: 7, lr: 0.5}", {"dim": 7, "lr": 0.5}),
    ],
)
def test_a_plain_value_is_read_as_its_setting_wants_it(tmp_path, text, value):
    assert read(tmp_path, text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dim: 1.5", "c.yaml:1: dim: found '1.5'; expected a whole number from 1 to 100000"),
        ("dim: true", "dim: found 'true'"),
        ("dim: '7'", "dim: found '7'"),
        ("dim: 0", "dim: found 0; expected a whole number from 1"),
        ("dim: १०", "dim: found"),
        ("\n\nlr: 0", "c.yaml:3: lr: found 0.0; expected a number above 0"),
        ("lr: 1e308", "lr: found 1e+308; expected a number above 0, up to 1e+18"),
        ("weight_decay: 1e308", "found 1e+308; expected a number from 0 to 1e+18"),
        ("init_scale: 1e308", "found 1e+308; expected a number from 0 to 1e+18"),
        ("lr: nan", "lr: found 'nan'"),
        ("lr: 1e999", "lr: found '1e999'"),
        ("dim:", "dim: found"),
        ("normalize: maybe", "normalize: found 'maybe'; expected true or false"),
        ("task: cbwo", "expected skipgram, cbow, glove, svd, classify or regress"),
        ("dim: 3\ndim: 3", "c.yaml:2: dim: given twice"),
        ("min_count: 3\nmin-count: 3", "c.yaml:2: min-count: given twice"),
        ("dim: [3]", "dim: found a list"),
        ("dim: {a: 3}", "dim: found a mapping inside"),
        ("- dim", "c.yaml:1: found a list"),
        ("dim", "found text alone"),
        ("dim: &a 3\nwindow: *a", "c.yaml:2: window: found an alias"),
        ("dim: !!python/object/apply:os.getpid []", "dim: found the tag"),
        ("dim: 3\n---\ndim: 4", "c.yaml:3: "),
        ("dim: 3\n\tlr: 3", "c.yaml:2: not YAML"),
        ("dim: \x00", "not YAML"),
        ("[" * 30_000, "found a list"),
        ("dim: " + "9" * 30_000, "dim: found"),
        ("#" * 100_000, "larger than 65536 bytes"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, said):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert said in caught.value.message
    assert len(caught.value.message) < 400


def test_a_file_that_explodes_does_not(tmp_path):
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for x, y in itertools.pairwise("abcdefghi"):
        lines.append(f"{y}: &{y} [{','.join([f'*{x}'] * 9)}]")
    with pytest.raises(ConfigError, match="a: found a list"):
        read(tmp_path, "\n".join(lines))


def test_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes(b"dim: 3\nlabel_prefix: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"c\.yaml:2: not UTF-8"):
        config.read_yaml(path, TrainSettings)


def test_an_unknown_key_gets_the_nearest(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "widnow: 3")
    assert caught.value.hint == "Did you mean window?"
    with pytest.raises(ConfigError) as caught:
        config.resolve(TrainSettings, given={"epoch": 3})
    assert caught.value.hint == "Did you mean epochs?"


def test_the_old_name_of_a_setting_is_accepted_in_a_file(tmp_path):
    assert read(tmp_path, "tile-noise: 7") == {"tile_negatives": 7}
    with pytest.raises(ConfigError, match=r"c\.yaml:2: tile_noise: given twice"):
        read(tmp_path, "tile_negatives: 7\ntile_noise: 7")


def test_the_old_name_of_a_setting_is_an_error_in_python_that_names_the_new_one():
    with pytest.raises(ConfigError, match="tile_noise: no such setting") as caught:
        config.resolve(TrainSettings, given={"tile_noise": 7})
    assert caught.value.hint == "Did you mean tile_negatives?"


@pytest.mark.parametrize(
    "values", [{"dim": 1.5}, {"dim": True}, {"dim": "7"}, {"lr": float("nan")}, {"task": "x"}]
)
def test_settings_made_in_python_are_checked_too(values):
    with pytest.raises(ConfigError):
        TrainSettings(**values)


# What each task trained with when its values were in a preset file, where that is not the default.
WORDS = {
    "init": "word2vec",
    "optimizer": "damped_sgd",
    "schedule": "linear",
    "epochs": 5,
    "batch_size": 2048,
    "group": 12,
    "tile": 128,
}
TEXTS = {
    "init": "uniform",
    "optimizer": "adagrad",
    "schedule": "linear",
    "batch_size": 128,
    "group": 1,
}
OF_TASKS = {
    "skipgram": {**WORDS, "lr": 0.1, "tile_negatives": 48},
    "cbow": {**WORDS, "lr": 0.3, "tile_negatives": 24},
    "classify": {**TEXTS, "lr": "auto", "epochs": 3},
    "regress": {**TEXTS, "lr": 0.06, "epochs": 4},
}
OF_ALL = {
    "dim": 100,
    "init_scale": 0.05,
    "warmup": 0.0,
    "momentum": 0.0,
    "nesterov": False,
    "weight_decay": 0.0,
    "clip_norm": None,
    "seed": 0,
    "min_count": "auto",
    "freeze": "none",
    "window": 5,
    "negatives": 5,
    "noise_power": 0.75,
    "subsample": "auto",
    "pool": "mean",
    "length": None,
    "hidden": None,
    "dropout": 0.0,
    "multi_label": "auto",
    "valid_share": 0.0,
    "patience": None,
}


@pytest.mark.parametrize("task", OF_TASKS)
def test_the_defaults_are_what_a_task_uses(task):
    expected = {**OF_ALL, **OF_TASKS[task]}
    for settings in (
        TrainSettings(task=task),
        config.resolve(TrainSettings, given={"task": task}),
        config.resolve(TrainSettings, config=task),
    ):
        assert {name: getattr(settings, name) for name in expected} == expected


def test_a_task_without_a_default_of_its_own_has_that_of_the_first():
    assert config.ByTask(skipgram=1, cbow=2).of("classify") == 1


def test_a_rate_that_only_one_task_chooses_is_the_default_of_another():
    assert TrainSettings(task="classify", lr="auto").lr == "auto"
    assert TrainSettings(task="skipgram", lr="auto").lr == 0.1
    with pytest.raises(ConfigError, match="epochs: found 'auto'"):
        TrainSettings(epochs="auto")


def test_the_preset_of_the_question_is_the_network_of_the_question():
    settings = config.resolve(TrainSettings, config="question")
    expected = {
        "task": "regress",
        "dim": 2,
        "length": 5,
        "pad_side": "left",
        "pool": "flatten",
        "init": "uniform",
        "init_scale": 0.05,
        "optimizer": "rmsprop",
        "lr": 0.001,
        "schedule": "constant",
        "warmup": 0.0,
        "epochs": 1,
        "batch_size": 32,
        "group": 1,
    }
    assert {name: getattr(settings, name) for name in expected} == expected


def test_later_sources_override_earlier_ones(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("task: regress\ndim: 3\nepochs: 9\n")
    resolved = config.resolve(TrainSettings, config=str(path), given={"epochs": 2})
    assert (resolved.task, resolved.dim, resolved.epochs) == ("regress", 3, 2)
    assert resolved.optimizer == "adagrad"
    other = config.resolve(TrainSettings, config=str(path), given={"task": "classify"})
    assert (other.dim, other.lr) == (3, TrainSettings(task="classify").lr)
    updated = config.resolve(TrainSettings, base={"dim": 7, "lr": 0.5}, given={"lr": 0.25})
    assert (updated.dim, updated.lr) == (7, 0.25)


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        (
            {"task": "classify", "window": 5},
            "task classify; it belongs to task skipgram, cbow, glove or svd",
            "",
        ),
        ({"task": "regress", "class_weights": None}, "it belongs to task classify", ""),
        ({"pool": "max"}, "with task skipgram; it belongs to task classify or regress", ""),
        ({"valid_share": 0.1}, "it belongs to task classify or regress", ""),
        ({"optimizer": "adam", "momentum": 0.5}, "with optimizer adam; it belongs to", "sgd"),
        ({"optimizer": "sgd", "nesterov": True}, "without momentum", "or give momentum"),
        ({"init_scale": 0.1}, "with init word2vec; it belongs to init uniform or normal", ""),
        ({"task": "classify", "patience": 3}, "without valid or valid_share", "valid_share"),
        ({"task": "classify", "pad_side": "left"}, "without length", "length"),
        ({"tokenizer": "char", "segmenter": "icu"}, "it belongs to tokenizer word", ""),
    ],
)
def test_a_setting_without_an_effect_is_an_error(given, message, hint, tmp_path):
    name = [*given][-1]
    with pytest.raises(ConfigError, match=f"^{name}: has no effect .*{message}") as caught:
        config.resolve(TrainSettings, given=given)
    assert caught.value.hint.startswith("leave it out, or ")
    assert hint in caught.value.hint
    path = tmp_path / "c.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in given.items()))
    with pytest.raises(ConfigError, match=rf"c\.yaml: {name}: has no effect"):
        config.resolve(TrainSettings, config=str(path))


@pytest.mark.parametrize(
    "given",
    [
        {"optimizer": "sgd", "momentum": 0.5, "nesterov": True},
        {"init": "normal", "init_scale": 0.1},
        {"task": "classify", "valid": "v.txt", "patience": 3},
        {"task": "classify", "valid_share": 0.1, "patience": 3},
        {"task": "cbow", "window": 2},
    ],
)
def test_a_setting_with_an_effect_is_kept(given):
    settings = config.resolve(TrainSettings, given=given)
    assert {name: getattr(settings, name) for name in given} == given


def test_settings_of_an_earlier_model_that_have_no_effect_any_more_are_left_out():
    base = {"optimizer": "sgd", "momentum": 0.5, "tile": 32, "window": 3, "task": "classify"}
    settings = config.resolve(TrainSettings, base=base, given={"optimizer": "adam"})
    assert (settings.optimizer, settings.momentum) == ("adam", 0.0)
    assert settings.tile == TrainSettings().tile


def test_the_settings_file_of_a_model_may_hold_some_that_have_no_effect(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("task: classify\nwindow: 9\noptimizer: sgd\nmomentum: 0.5\n")
    with pytest.raises(ConfigError, match="window: has no effect"):
        config.resolve(TrainSettings, config=str(path))
    (tmp_path / "manifest.json").write_text("{}")
    again = config.resolve(TrainSettings, config=str(path))
    assert (again.task, again.window, again.momentum) == ("classify", 5, 0.5)
    other = config.resolve(TrainSettings, config=str(path), given={"optimizer": "adam"})
    assert (other.optimizer, other.momentum) == ("adam", 0.0)


def test_a_file_that_names_every_setting_is_read(tmp_path):
    lines = [
        f"{name}: {'null' if value is None else value}"
        for name, value in dataclasses.asdict(TrainSettings(task="classify")).items()
    ]
    assert read(tmp_path, "\n".join(lines))["tile"] == 128


def test_only_settings_that_have_an_effect_are_written():
    names = {line.split(":")[0] for line in config.to_yaml(TrainSettings(task="cbow")).split("\n")}
    assert {"window", "tile_negatives"} <= names
    assert not {"momentum", "pool", "patience", "init_scale"} & names


def test_a_preset_by_name_or_a_hint():
    assert config.resolve(TrainSettings, config="question").dim == 2
    with pytest.raises(ConfigError) as caught:
        config.resolve(TrainSettings, config="qestion")
    assert caught.value.hint == "Did you mean question?"


@pytest.mark.parametrize("name", sorted(config.presets()))
def test_presets_are_read_and_explained(name):
    path = config.presets()[name]
    settings = config.resolve(TrainSettings, config=name)
    if name == "subword":
        assert settings == TrainSettings(min_n=3, max_n=6, group_growth=5, lr=0.05)
    else:
        assert name in ("question", "sample") or settings == TrainSettings(task=name)
    assert path.read_text(encoding="utf-8").startswith("#")


TEXT = st.text(max_size=20)


@given(
    prefix=TEXT,
    stop_words=st.none() | TEXT,
    lr=st.floats(1e-30, 1e18),
    max_vocab=st.none() | st.integers(1, 10**9),
    min_count=st.just("auto") | st.integers(1, 100),
    fold=st.booleans(),
)
def test_what_is_written_is_read_back(
    tmp_path_factory, prefix, stop_words, lr, max_vocab, min_count, fold
):
    settings = TrainSettings(
        label_prefix=prefix,
        stop_words=stop_words,
        lr=lr,
        max_vocab=max_vocab,
        min_count=min_count,
        fold_case=fold,
    )
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    path.write_text(config.to_yaml(settings), encoding="utf-8", newline="")
    assert TrainSettings(**config.read_yaml(path, TrainSettings)) == settings


def test_text_settings_are_a_part_of_train_settings():
    assert issubclass(TrainSettings, TextSettings)
    assert issubclass(TextSettings, Settings)
    assert all(field.kw_only for field in dataclasses.fields(TrainSettings))


def test_a_number_that_no_float_holds_is_out_of_range():
    with pytest.raises(ConfigError, match=r"lr: found 1000.+; expected a number above 0"):
        TrainSettings(lr=10**400)
