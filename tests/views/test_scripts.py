"""The scripts of `explain --as` compute loss, gradients and rows of the explained step."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import io
from contextlib import redirect_stdout

import numpy as np
import pytest

from embedcli.errors import ConfigError
from embedcli.explanation import explain_step
from embedcli.views.scripts import LIBRARIES, script
from tests.explained import ANSWERS, ASKED, CASES, SEVERAL, TALE, TEXTS, trained

MORE = {
    "several": {"task": "classify", "optimizer": "sgd", "lr": 0.5, "class_weights": "new=2"},
    "regress-flatten-right": {
        "task": "regress", "optimizer": "rmsprop", "lr": 0.01, "pool": "flatten", "length": 9,
        "pad_side": "right", "hidden": 3,
    },
    "dropout": {"task": "classify", "optimizer": "sgd", "hidden": 5, "dropout": 0.4, "lr": 0.3},
    "dropout-of-pooled": {"task": "classify", "optimizer": "sgd", "dropout": 0.4, "lr": 0.3},
    "nesterov-decay": {
        "task": "regress", "optimizer": "sgd", "momentum": 0.5, "nesterov": True, "lr": 0.1,
        "weight_decay": 0.3,
    },
    "words-decay-adam": {"task": "skipgram", "optimizer": "adam", "weight_decay": 0.3, "lr": 0.1},
    "cbow-clipped": {"task": "cbow", "optimizer": "rmsprop", "clip_norm": 0.02, "lr": 0.1},
    "classify-damped": {"task": "classify", "optimizer": "damped_sgd", "lr": 0.5},
    "frozen": {"task": "skipgram", "freeze": "all", "vectors": "given.txt"},
    "frozen-found": {"task": "classify", "freeze": "found", "vectors": "given.txt"},
}  # fmt: skip
EVERY = {**CASES, **MORE}


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Each case's model, and the step that is explained."""
    made = {}

    def step(name: str):
        if name not in made:
            settings, folder = dict(EVERY[name]), tmp_path_factory.mktemp(name)
            if "vectors" in settings:
                (folder / "given.txt").write_text("see 1 2 3 4\nfilm 4 3 2 1\n")
                settings["vectors"] = str(folder / "given.txt")
            text, answer = TEXTS.get(settings["task"], TALE), ANSWERS[settings["task"]]
            if name == "several":
                text, answer = SEVERAL, ["warm", "new"]
            made[name] = explain_step(trained(folder, text, **settings), ASKED, answer)
        return made[name]

    return step


def run(code: str) -> tuple[dict, str]:
    """Run a script; its variables, and what it prints."""
    names, printed = {}, io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, "script", "exec"), names)
    return names, printed.getvalue()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", EVERY)
def test_a_script_computes_the_step(steps, name, library):
    needed = {"torch": ["torch"], "keras": ["torch", "keras"]}.get(library, [])
    for each in needed:
        if importlib.util.find_spec(each) is None:
            pytest.skip(f"{each} is not installed")
    step = steps(name)
    found, printed = run(script(step, library))
    loss = found["loss"]
    assert loss.item() == pytest.approx(step.loss, rel=1e-5)
    assert printed.startswith(f"loss {step.loss:.4f}\n")
    assert step.changes
    for change in step.changes:
        at = ... if change.row is None else change.row
        gradient, after = found["gradients"][change.parameter], found["weights"][change.parameter]
        np.testing.assert_allclose(gradient[at], change.gradient, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(after[at], change.after, rtol=1e-5, atol=1e-5)
    assert printed.count("  after ") == sum(map(len, found["rows"].values()))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_script_is_short(steps, library):
    for name in EVERY:
        code = script(steps(name), library)
        assert 10 <= len(code.splitlines()) <= 38, (name, code)


def test_text_and_folder_are_literals(steps):
    harmful = 'see"\nimport os\n\u202e\udc80'
    step = dataclasses.replace(steps("skipgram-sgd"), text=harmful, folder="a'\nb\u202e")
    code = script(step, "numpy")
    assert "\nimport os" not in code and "\u202e" not in code
    names = ast.parse(code).body[1].targets
    assert code.encode() and names[0].id == "folder"


def test_a_model_without_a_folder_of_npy_files_is_an_error(steps):
    step = dataclasses.replace(steps("skipgram-sgd"), folder=None)
    with pytest.raises(ConfigError, match=r"not a folder of \.npy files"):
        script(step, "numpy")
