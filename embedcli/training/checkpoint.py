"""The checkpoint of a run that has not ended: a bundle in MODEL.checkpoint/state.

It holds the parameters, the optimizer's arrays, the weights of the best epoch and `state.json`. It
holds no random streams: each draw is made from a stream that seed, epoch and batch determine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli import __version__
from embedcli.config import TrainSettings, explicit, schema, with_current_names
from embedcli.errors import (
    MALFORMED_DATA_ERRORS,
    ConfigError,
    StoreError,
    VocabularyError,
    describe_malformed,
)
from embedcli.model import SNAPSHOT_WORDS, require_curve, require_log
from embedcli.nn.optimizers import make_optimizer
from embedcli.storage import files
from embedcli.storage.bundle import (
    MANIFEST,
    as_json,
    json_bytes,
    open_bundle,
    require_types,
    write_bundle,
)
from embedcli.tasks import TASKS
from embedcli.tasks.task import Task
from embedcli.training.shards import Plan
from embedcli.training.snapshots import snapshot_steps
from embedcli.training.state import TrainState
from embedcli.training.update import Earlier

# The types of what a checkpoint holds beside arrays.
STATE: Mapping[str, type | UnionType] = {
    "embed": str,
    "sources": list,
    "settings": dict,
    "text": dict,
    "step": int,
    "total": int,
    "place": dict,
    "earlier": dict | None,
    "differences": dict,
}
_STATE = "state.json"
_MAX_COUNT = 1 << 53
_HINT = "remove the folder to start anew"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a stopped run is resumed from."""

    folder: Path
    sources: list[str]
    settings: TrainSettings  # as given, with `auto` where it was
    text: Mapping[str, Any]  # digests of the text, and the sizes and times of its files
    step: int  # steps done
    total: int
    place: Mapping[str, Any]  # see `TrainState.place`
    arrays: dict[str, NDArray[Any]]
    earlier: Earlier | None  # of the model that is updated
    differences: Mapping[str, str]  # of machines that may have given other bytes

    @classmethod
    def load(cls, model: Path) -> Checkpoint:
        """Read and check the checkpoint of the run that writes `model`; raises StoreError."""
        arrays, state = load_checkpoint(model)
        folder = checkpoint_folder(model)
        with _damage(folder):
            state.setdefault("differences", {})  # a run of one machine may come without
            require_types(state, STATE)
            if state["embed"] != __version__:
                raise StoreError(
                    f"{folder}: written by embed {state['embed']}; this is embed {__version__}, "
                    "whose training may differ",
                    f"resume it with embed {state['embed']}, or remove the folder to start anew",
                )
            require_types(state["text"], {"read": str, "words": str, "files": dict}, "text: ")
            for path, found in state["text"]["files"].items():
                if not isinstance(found, list) or [type(each) for each in found] != [int, int]:
                    raise ValueError(
                        f"text: found {as_json(found)} of {path}; expected its size and time"
                    )
            require_types(state["differences"], dict.fromkeys(state["differences"], str))
            given = explicit(
                TrainSettings, given=with_current_names(TrainSettings, state["settings"])
            )
            earlier = state["earlier"]
            if (earlier is None) != (given["update"] is None):
                raise ValueError("the model that is updated is not the one of the settings")
            return cls(
                folder=folder,
                sources=[str(each) for each in state["sources"]],
                settings=TrainSettings(**{name: given[name] for name in schema(TrainSettings)}),
                text=state["text"],
                step=state["step"],
                total=state["total"],
                place=state["place"],
                arrays=arrays,
                differences=state["differences"],
                earlier=None
                if earlier is None
                else Earlier.restored(arrays, earlier, given["buckets"]),
            )

    def require_shapes(self, words: int, labels: Sequence[str]) -> None:
        """Raise StoreError unless the parameters have the shapes of a run on such a text.

        It is called before a task is made, whose settings alone could ask for any memory.
        """
        with _damage(self.folder):
            prefix = "parameters."
            found = {
                name.removeprefix(prefix): array
                for name, array in self.arrays.items()
                if name.startswith(prefix)
            }
            task, settings = TASKS[self.settings.task], self.settings
            head = task.head_shapes(settings, words, labels, found)
            for name, shape in {"table": (words, settings.dim), **head}.items():
                if name not in found:
                    raise KeyError(prefix + name)
                if found[name].shape != shape:
                    raise ValueError(f"{prefix}{name}: found {found[name].shape}; expected {shape}")

    def restored(self, task: Task, plan: Plan) -> TrainState:
        """Return the state of the run, checked against its task; raises StoreError."""
        with _damage(self.folder):
            _require_place(self.place, self.step, plan)
            expected = self._expected_arrays(task)
            for name, kind in expected.items():
                if name not in self.arrays:
                    raise KeyError(name)
                if _kind(self.arrays[name]) != kind:
                    raise ValueError(f"{name}: found {_kind(self.arrays[name])}; expected {kind}")
            for name in self.arrays:
                if name not in expected and not name.startswith("earlier."):
                    raise ValueError(f"{name}: an array that such a run does not have")
            return TrainState.restored(self.arrays, self.place)

    def _expected_arrays(self, task: Task) -> dict[str, str]:
        """Return shape and dtype of each array that the checkpoint of such a run has."""
        expected = {}
        for name, tensor in task.parameters.items():
            expected[f"parameters.{name}"] = _kind(tensor.data)
            if self.place["best_epoch"]:
                expected[f"best.{name}"] = _kind(tensor.data)
            for slot in make_optimizer(self.settings).slots if tensor.requires_grad else ():
                expected[f"slots.{name}.{slot}"] = _kind(tensor.data)
        words = len(task.parameters["table"])
        expected["trained"] = f"({words},) int64"
        if self.settings.vectors is not None:
            expected["found"] = f"({words},) uint8"
        steps = snapshot_steps(self.settings.snapshots, self.total)
        if len(steps):
            shape = (len(steps), min(words, SNAPSHOT_WORDS), self.settings.dim)
            expected["snapshots"] = f"{shape} float16"
        return expected


def checkpoint_folder(model: Path) -> Path:
    """Return the folder of the checkpoint of the run that writes `model`."""
    return files.beside(model, ".checkpoint")


def save_checkpoint(
    model: Path, arrays: Mapping[str, NDArray[Any]], state: Mapping[str, Any]
) -> None:
    """Write the checkpoint of the run that writes `model`, whole or not at all; raises StoreError.

    `state` is what JSON can hold.
    """
    members = {_STATE: json_bytes(state), **{f"{name}.npy": each for name, each in arrays.items()}}
    write_bundle(checkpoint_folder(model) / "state", "checkpoint", members, {})


def load_checkpoint(model: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays, memory-mapped, and the state of a checkpoint, its digests checked.

    Raises StoreError where there is none, or it is damaged.
    """
    require_checkpoint(model)
    bundle = open_bundle(checkpoint_folder(model) / "state", "checkpoint", _HINT)
    bundle.verify()
    with bundle.damage(_STATE):
        state = json.loads(bundle.path(_STATE).read_bytes())
        if not isinstance(state, dict):
            raise ValueError(f"found {as_json(state)}; expected an object")
    return bundle.arrays(), state


def require_checkpoint(model: Path) -> None:
    """Raise StoreError where there is no checkpoint of a run that writes `model`."""
    folder = checkpoint_folder(model)
    if (folder / "state.npz").exists():
        raise StoreError(
            f"{folder}: a checkpoint of format version 1, which this embed cannot resume; "
            "it resumes version 2",
            "resume it with the embed that wrote it, or remove the folder to start anew",
        )
    if not (files.current_path(folder / "state") / MANIFEST).exists():
        raise StoreError(f"{folder}: no checkpoint", "start the training without --resume")


def has_checkpoint(model: Path) -> bool:
    """Return whether there is a checkpoint, after removing what a dead process left of one.

    The caller holds the `files.Lock` of the model.
    """
    folder = checkpoint_folder(model)
    if folder.is_dir():
        with files.storing(folder):
            files.sweep(folder / "state", keep_previous=False)
            files.sweep(folder / "state.npz")
            if not any(folder.iterdir()):
                folder.rmdir()
    return any((folder / name).exists() for name in (f"state/{MANIFEST}", "state.npz"))


def remove_checkpoint(model: Path) -> None:
    """Remove the checkpoint of the run that wrote `model`, if there is one."""
    folder = checkpoint_folder(model)
    with files.storing(folder):
        if (folder / "state").is_dir():
            files.remove_folder(folder / "state")
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def _damage(folder: Path) -> Iterator[None]:
    """Turn errors raised while the content of a checkpoint is read into a StoreError."""
    try:
        yield
    except MALFORMED_DATA_ERRORS as error:
        raise StoreError(f"{folder}: damaged: {describe_malformed(error)}", _HINT) from error
    except (ConfigError, VocabularyError) as error:
        raise StoreError(f"{folder}: damaged: {error.message}", _HINT) from error


def _require_place(place: Mapping[str, Any], step: int, plan: Plan) -> None:
    """Raise KeyError or ValueError for a place that a run of such a plan cannot be at."""
    fresh = TrainState({}, {}, np.zeros(0)).place()
    require_types({**fresh, **place}, {name: type(value) for name, value in fresh.items()})
    require_curve(place.get("curve", ()))
    require_log(place["log"])
    largest = {
        "epoch": plan.epochs - 1,
        "group": plan.total - 1,
        "best_epoch": place["epoch"],
        "words": _MAX_COUNT,
        "epochs_before": _MAX_COUNT,
        "steps_before": _MAX_COUNT,
    }
    for name, most in largest.items():
        if not 0 <= place[name] <= most:
            raise ValueError(f"{name}: found {as_json(place[name])}; expected 0 to {most}")
    before, group = plan.before(place["epoch"]), place["group"]
    if place["finished"] or group >= plan.steps(place["epoch"]) or step != before + group:
        raise ValueError(f"step {step} is not where the run stopped")


def _kind(array: NDArray[Any]) -> str:
    return f"{array.shape} {array.dtype}"
