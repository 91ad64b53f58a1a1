"""What a run will take: estimated before the work, and refused with what would fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedcli
from embedcli.config import TrainSettings
from embedcli.errors import StoreError
from embedcli.storage import files
from embedcli.tasks import TASKS
from embedcli.tasks.task import Task
from embedcli.text.encode import encode
from embedcli.training import limits, run
from embedcli.training.loop import Training

TEXT = "".join(
    f"__label__{number % 3} w{number % 7} w{number % 5} w{number * number % 11} and more\n"
    for number in range(120)
)
LABELS = {"classify": "class", "regress": "number"}
Train = Callable[..., run.Trained]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    (tmp_path / "corpus.txt").write_text(TEXT)

    def go(**other: Any) -> run.Trained:
        settings = {"task": "classify", "epochs": 1, "batch_size": 8, "group": 4, "workers": 2}
        return embedcli.train(tmp_path / "corpus.txt", tmp_path / "m", **{**settings, **other})

    return go


def task(tmp_path: Path, settings: TrainSettings) -> Task:
    """Make a task over the text."""
    (tmp_path / "corpus.txt").write_text(TEXT)
    labels: Any = LABELS.get(settings.task, "none")
    (tmp_path / "work").mkdir()
    corpus = encode([tmp_path / "corpus.txt"], settings, folder=tmp_path / "work", labels=labels)
    kind = TASKS[settings.task]
    return kind(kind.source(corpus, settings, tmp_path / "work"), settings, None)


@pytest.mark.parametrize("name", [name for name in TASKS if not TASKS[name].solved])
@pytest.mark.parametrize("group", [3, 1000])
def test_gradients_take_what_is_set_aside_for_them(name: str, group: int, tmp_path: Path) -> None:
    settings = TrainSettings(
        task=name,  # type: ignore[arg-type]
        dim=300, batch_size=2, group=group, epochs=20, workers=2, cache=False,
    )  # fmt: skip
    made = task(tmp_path, settings)
    kept = vars(Training(made, settings)._gradients).values()
    held = [
        array for each in kept for array in (each.values() if isinstance(each, dict) else [each])
    ]
    size = sum(array.nbytes for array in held if isinstance(array, np.ndarray))
    assert size == limits.gradient_bytes(made, group)


def test_tables_that_will_not_fit_are_refused_before_the_work(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = train(cache=False).table.vectors.shape[0]
    column = words * 4
    # Adagrad keeps a table of its own, and one is copied while it is put in place.
    monkeypatch.setattr(run, "available_memory", lambda: 3 * column * 10)
    with pytest.raises(StoreError, match=f"{words} words × 11 .* of memory") as caught:
        train(dim=11)
    assert str(caught.value.hint).endswith("or --dim 10")
    monkeypatch.setattr(files, "free_space", lambda _: 4 * column * 100)
    monkeypatch.setattr(run, "available_memory", lambda: None)
    with pytest.raises(StoreError, match="on the disk") as caught:
        train(dim=101)
    assert str(caught.value.hint).endswith("or --dim 100")
    monkeypatch.setattr(files, "free_space", lambda _: 100)
    with pytest.raises(StoreError, match=r"the ids of the text .* 100 bytes are free"):
        train(dim=1)


def test_ngrams_that_will_not_fit_are_refused_before_the_work(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = train(dim=50).table.vectors.shape[0]
    monkeypatch.setattr(run, "available_memory", lambda: 3 * (words + 7) * 50 * 4)
    with pytest.raises(StoreError, match=rf"{words} words and [0-9]+ n-grams × 50") as no:
        train(dim=50, word_ngrams=2)
    assert str(no.value.hint).startswith("--buckets 7 would fit")


def test_gradients_that_will_not_fit_are_refused_before_the_work(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = train(dim=50).table.vectors.shape[0]
    tables = 3 * words * 50 * 4
    free = next(
        size for size in range(tables, 100 * tables, tables // 8) if fits(train, size, monkeypatch)
    )
    monkeypatch.setattr(run, "available_memory", lambda: free - tables // 8)
    with pytest.raises(
        StoreError, match=r"of it for the gradients of 4 batches; .* are free"
    ) as no:
        train(dim=50)
    assert str(no.value.hint) == "--group 3 would fit"
    train(dim=50, group=3)
    monkeypatch.setattr(run, "available_memory", lambda: tables + 100)
    with pytest.raises(StoreError, match="for the gradients of 4 batches") as no:
        train(dim=50)
    assert "--batch-size" in str(no.value.hint)


def fits(train: Train, free: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a run begins with so much memory."""
    monkeypatch.setattr(run, "available_memory", lambda: free)
    try:
        train(dim=50)
    except StoreError:
        return False
    return True
