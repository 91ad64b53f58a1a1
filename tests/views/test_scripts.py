"""The scripts of `explain --as` compute loss, gradients and rows of the explained step."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import io
import re
from contextlib import redirect_stdout
from functools import cache
from typing import get_args

import numpy as np
import pytest

from embedcli import api
from embedcli.cli import explain
from embedcli.errors import ConfigError
from embedcli.explanation import explain_step
from embedcli.model import load_model, save_model
from embedcli.nn.layers import POOLS
from embedcli.nn.optimizers import OPTIMIZERS
from embedcli.storage import files
from embedcli.views import scripts
from embedcli.views.scripts import script
from tests.explained import (
    ASKED,
    EVERY,
    OF_PARTS_AND_COUNTS,
    TALE,
    explained_model,
    explained_step,
)

SCRIPTS = {**EVERY, **OF_PARTS_AND_COUNTS}
LIBRARIES = tuple(scripts.IMPORTS)


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Each case's model, and the step that is explained; made when it is asked for."""
    return cache(lambda name: explained_step(name, tmp_path_factory.mktemp(name)))


def run(code: str) -> tuple[dict, str]:
    """Run a script; its variables, and what it prints."""
    names, printed = {}, io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, "script", "exec"), names)
    return names, printed.getvalue()


def skip_without(library: str) -> None:
    needed = {"torch": ["torch"], "keras": ["torch", "keras"]}.get(library, [])
    for each in needed:
        if importlib.util.find_spec(each) is None:
            pytest.skip(f"{each} is not installed")


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_computes_the_step(steps, name, library):
    skip_without(library)
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
    shown = set(
        re.findall(r"^([\w.]+\[\d+\])  gradient .*?  after ", printed, re.MULTILINE | re.DOTALL)
    )
    for change in step.changes:
        rows = range(len(change.after)) if change.row is None else [change.row]
        assert shown >= {f"{change.parameter}[{row}]" for row in rows}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_script_is_short(steps, library):
    for name in SCRIPTS:
        code = script(steps(name), library)
        most = 31 if "subwords" in name else 30
        assert 10 <= len(code.splitlines()) <= most, (name, code)


@pytest.mark.parametrize("task", ["skipgram", "cbow"])
def test_each_tile_of_a_long_text_has_its_own_samples(task, tmp_path):
    (tmp_path / "text.txt").write_text(TALE, encoding="utf-8")
    drawn = {"tile": 4, "tile_negatives": 3, "min_count": 1, "cache": False}
    api.train(tmp_path / "text.txt", tmp_path / "m", task=task, dim=4, epochs=1, **drawn)
    step = api.explain("nice to see you again see you soon", tmp_path / "m")
    assert len(step.examples) == 8
    found, _ = run(script(step, "numpy"))
    assert found["loss"].item() == pytest.approx(step.loss, rel=1e-5)
    for change in step.changes:
        gradient = found["gradients"][change.parameter][change.row]
        np.testing.assert_allclose(gradient, change.gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["skipgram-sgd", "cbow-sgd"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_model_trained_without_biases_has_a_script_without(name, library, tmp_path):
    skip_without(library)
    model, _ = explained_model(name, tmp_path)
    assert "task.bias" in {each.key for each in explain_step(model, ASKED).describe_target}
    head = {"output": model.head["output"]}
    with files.Lock(tmp_path / "model"):
        save_model(tmp_path / "model", dataclasses.replace(model, head=head))
    step = explain_step(load_model(tmp_path / "model"), ASKED)
    assert "task.bias" not in {each.key for each in step.describe_target}
    found, _ = run(script(step, library))
    assert found["loss"].item() == pytest.approx(step.loss, rel=1e-5)


def test_text_and_folder_are_literals(steps):
    harmful = 'see"\nimport os\n\u202e\udc80'
    step = dataclasses.replace(steps("skipgram-sgd"), text=harmful, folder="a'\nb\u202e")
    code = script(step, "numpy")
    assert "\nimport os" not in code and "\u202e" not in code
    texts = [each.value for each in ast.walk(ast.parse(code)) if isinstance(each, ast.Constant)]
    assert code.encode() and "a'\nb\u202e/" in texts


def test_a_model_without_a_folder_of_npy_files_is_an_error(steps):
    step = dataclasses.replace(steps("skipgram-sgd"), folder=None)
    with pytest.raises(ConfigError, match=r"not a folder of \.npy files"):
        script(step, "numpy")


def test_every_optimizer_and_pool_has_a_case_and_a_formula():
    assert {settings.get("optimizer", "damped_sgd") for settings in EVERY.values()} == set(
        OPTIMIZERS
    )
    assert {settings.get("pool", "mean") for settings in EVERY.values()} == set(POOLS)
    assert get_args(explain.Library) == LIBRARIES
    for library in LIBRARIES:
        assert scripts.POOLS[library].keys() == {*POOLS, "mean of more"}
    assert scripts.STEPS.keys() == OPTIMIZERS.keys()
