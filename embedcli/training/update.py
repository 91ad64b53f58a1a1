"""What a run takes over from an earlier model, to go on training it on new text.

Words keep their ids and labels their places, new ones come after them: so each array of the model
is the leading block of the array of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli import store
from embedcli.config import TrainSettings, require_same, schema
from embedcli.errors import ConfigError, StoreError
from embedcli.nn.initializers import initial_rows
from embedcli.nn.optimizers import make_optimizer
from embedcli.store import Model
from embedcli.tasks.task import Task
from embedcli.text.vocabulary import Vocabulary
from embedcli.text.words import Known
from embedcli.training.loop import TrainState

# What the model's numbers mean by; a run that goes on with them cannot have others.
FIXED = (
    "task",
    "dim",
    "tokenizer",
    "normalize",
    "fold_case",
    "segmenter",
    "init",
    "init_scale",
    "pool",
    "length",
    "pad_side",
    "hidden",
    "multi_label",
)
# What an earlier run was told for itself alone.
OF_ONE_RUN = ("update", "vectors", "freeze", "valid", "workers", "cache", "checkpoint_every")
# The schema's names of what `start` says.
START = {"init": "init", "seed": "seed", "scale": "init_scale"}


@dataclass(frozen=True)
class Earlier:
    """What stays known of an earlier model while a run goes on with it."""

    known: Known
    start: Mapping[str, Any]  # how its first rows were made
    corpus: str  # fingerprint of all the text it was trained on

    @classmethod
    def of(cls, model: Model) -> Earlier:
        """Return what stays known of a model."""
        known = Known(model.table.vocabulary, np.asarray(model.first_lines), model.labels)
        return cls(known, dict(model.start), model.corpus)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what a checkpoint keeps of it, as arrays by name."""
        return {
            "earlier/words": np.frombuffer(self.known.vocabulary.to_bytes(), np.uint8),
            "earlier/counts": self.known.counts,
            "earlier/first_lines": self.known.first_lines,
        }

    def facts(self) -> dict[str, Any]:
        """Return all else, as JSON knows it."""
        return {"labels": self.known.labels, "start": self.start, "corpus": self.corpus}

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Earlier:
        """Make it again from what `arrays` and `facts` returned.

        Raises KeyError, ValueError, ConfigError or VocabularyError for anything else.
        """
        store.require_kinds(facts, {"labels": list, "start": dict, "corpus": str})
        require_start(facts["start"])
        words = arrays["earlier/words"].tobytes().decode("utf-8").split("\n")[:-1]
        counts, first_lines = arrays["earlier/counts"], arrays["earlier/first_lines"]
        for name, array in (("counts", counts), ("first_lines", first_lines)):
            if array.shape != (len(words),) or array.dtype != np.int64 or (array < 0).any():
                raise ValueError(f"earlier/{name} is not of {len(words)} whole numbers")
        known = Known(Vocabulary(words, counts), first_lines, tuple(map(str, facts["labels"])))
        return cls(known, dict(facts["start"]), facts["corpus"])


def settings_of(folder: Path) -> dict[str, Any]:
    """Return the settings that a run which updates a model has where it is told no others.

    They are the model's, as resolved, but for those of one run. Raises StoreError.
    """
    settings = asdict(store.load_settings(folder))
    return {name: value for name, value in settings.items() if name not in OF_ONE_RUN}


def load(folder: Path, settings: TrainSettings) -> Model:
    """Open a model to go on with, its digests checked.

    Raises StoreError for one that cannot be gone on with, ConfigError for other settings than its
    own where they are part of what was learnt.
    """
    store.verify(folder)
    model = store.load(folder)
    if not model.head:
        raise StoreError(
            f"{folder}: its vectors came from a file, and there is no head to go on with",
            f"--vectors {folder} starts from the vectors alone",
        )
    require_same(
        FIXED,
        asdict(settings),
        model.settings,
        f"the model to update, {folder},",
        "leave them out, or train anew without --update",
    )
    try:
        require_start(model.start)
    except (KeyError, ConfigError) as error:
        what = error.message if isinstance(error, ConfigError) else store.in_words(error)
        raise StoreError(f"{folder}: damaged: how its rows began: {what}") from error
    return model


def require_start(start: Mapping[str, Any]) -> None:
    """Raise KeyError or ConfigError unless it is said how first rows were made."""
    for key, name in START.items():
        schema(TrainSettings)[name].check(start[key])


def begin(model: Model, task: Task, settings: TrainSettings) -> TrainState:
    """Make the state from which a run on new text goes on with a model.

    Rows of new words start as the model's own did, columns of new labels as a new head's; where
    the optimizer is another, its state starts anew. Class weights are those of the new text.
    """
    parameters = {name: tensor.data for name, tensor in task.parameters.items()}
    task.require_compatible(model.head)
    table, of = parameters["table"], model.start
    new = range(len(model.table), len(table))
    table[new.start :] = initial_rows(of["init"], of["seed"], new, table.shape[1], of["scale"])
    for first, block in model.table.blocks():
        table[first : first + len(block)] = block
    for name, array in parameters.items():
        if name not in ("table", *task.of_this_text):
            _lay(array, model.head.get(name), name)
    trained = np.zeros(len(table), np.int64)  # (V,)
    trained[: len(model.trained)] = model.trained
    state = TrainState(parameters, _slots(model, task, settings), trained, log=list(model.log))
    last = model.log[-1] if model.log else {}
    state.epochs_before = last.get("epoch", 0)
    if settings.optimizer == model.settings.optimizer:
        state.steps_before = last.get("steps", 0)
    return state


def _slots(
    model: Model, task: Task, settings: TrainSettings
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Make the optimizer's arrays, the model's own laid over them."""
    optimizer = make_optimizer(settings)
    trainable = {name: each for name, each in task.parameters.items() if each.requires_grad}
    slots = {name: optimizer.state_like(each.data) for name, each in trainable.items()}
    if settings.optimizer == model.settings.optimizer:
        for name, arrays in slots.items():
            for slot, array in arrays.items():
                kept = f"{name}/{slot}"
                if kept in model.optimizer:  # a setting may have given the rule one more
                    _lay(array, model.optimizer[kept], kept)
    return slots


def _lay(new: NDArray[Any], old: NDArray[Any] | None, name: str) -> None:
    """Put an array over the leading block of another."""
    if old is None or old.ndim != new.ndim or np.greater(old.shape, new.shape).any():
        found = None if old is None else old.shape
        raise StoreError(f"the model's {name}: damaged: found {found}; expected {new.shape}")
    new[tuple(map(slice, old.shape))] = old
