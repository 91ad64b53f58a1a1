"""Replicas: several models of one text, with successive seeds, as folders of one folder.

    OUT/1, OUT/2, ...   a model folder each; the seed of OUT/i is the first seed + i - 1
    OUT/replicas.json   text, settings and number of replicas, so that a training can be resumed

The text is encoded once. A model that is whole is never trained again; the one that was stopped has
its checkpoint, as any run, at OUT/i.checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from embedcli import __version__
from embedcli.config import TrainSettings, explicit, schema, with_current_names
from embedcli.errors import MALFORMED_DATA_ERRORS, ConfigError, StoreError, describe_malformed
from embedcli.model import is_model, load_model
from embedcli.storage import files
from embedcli.storage.bundle import as_json, json_bytes, require_types
from embedcli.training.checkpoint import Checkpoint, has_checkpoint
from embedcli.training.run import (
    MAY_CHANGE_ON_RESUME,
    Replica,
    Report,
    Run,
    RunText,
    Stop,
    Stopped,
    Trained,
    absolute,
    require_not_typed,
    require_place,
    require_same_text,
    require_usable,
    same_settings,
)

PLAN = "replicas.json"
MOST = 1000  # replicas
_LARGEST_PLAN = 1 << 24


@dataclass(frozen=True)
class _Plan:
    """What is trained in a folder of replicas."""

    sources: list[str]
    settings: TrainSettings  # of the first replica
    replicas: int
    text: Mapping[str, Any]  # see `run.RunText`

    def save(self, folder: Path) -> None:
        """Write the plan, whole or not at all; raises StoreError."""
        with files.atomic_write(folder / PLAN) as file:
            file.write(json_bytes({"embed": __version__, **asdict(self)}))

    @classmethod
    def load(cls, folder: Path) -> _Plan:
        """Read and check the plan of a folder; raises StoreError."""
        path = folder / PLAN
        if not path.is_file():
            raise StoreError(
                f"{folder}: no replicas to go on with (it has no {PLAN})",
                "start the training without --resume",
            )
        try:
            if path.stat().st_size > _LARGEST_PLAN:
                raise ValueError("too large")
            found = json.loads(path.read_bytes())
            if not isinstance(found, dict):
                raise ValueError(f"found {as_json(found)}; expected an object")
            require_types(
                found,
                {"embed": str, "sources": list, "settings": dict, "replicas": int, "text": dict},
            )
            if found["embed"] != __version__:
                raise StoreError(
                    f"{path}: written by embed {found['embed']}; this is embed {__version__}, "
                    "whose training may differ",
                    f"resume it with embed {found['embed']}, or choose another --out",
                )
            require_types(found["text"], {"read": str, "words": str, "files": dict}, "text: ")
            if not 1 <= found["replicas"] <= MOST:
                raise ValueError(f"replicas: found {found['replicas']}; expected 1 to {MOST}")
            given = explicit(
                TrainSettings, given=with_current_names(TrainSettings, found["settings"])
            )
            settings = TrainSettings(**{name: given[name] for name in schema(TrainSettings)})
            return cls(list(map(str, found["sources"])), settings, found["replicas"], found["text"])
        except MALFORMED_DATA_ERRORS as error:
            raise StoreError(f"{path}: damaged: {describe_malformed(error)}") from error
        except ConfigError as error:
            raise StoreError(f"{path}: damaged: {error.message}") from error


def start(
    sources: Sequence[str | Path],
    folder: Path,
    settings: TrainSettings,
    replicas: int,
    report: Report,
    stop: Stop,
) -> list[Trained]:
    """Train replicas on text and save them in `folder`; see `api.train_replicas`."""
    _require_number(replicas)
    require_usable(settings)
    require_place(folder)
    if folder.is_dir() and any(not each.name.startswith(".") for each in folder.iterdir()):
        raise StoreError(
            f"{folder}: not empty; expected a new folder for {replicas} replicas",
            "embed train --resume goes on with replicas; else choose another --out",
        )
    with files.Lock(folder), files.working_folder(folder) as work:
        text = RunText(absolute(sources), work, report)
        return _train(folder, text, settings, replicas, None, report, stop)


def resume(
    sources: Sequence[str | Path] | None,
    folder: Path,
    given: Mapping[str, Any],
    replicas: int | None,
    report: Report,
    stop: Stop,
) -> list[Trained]:
    """Go on with the replicas of `folder`: those that are missing, and the one that was stopped."""
    plan = _Plan.load(folder)
    replicas = max(plan.replicas, _require_number(replicas or 1))
    settings = same_settings(given, plan.settings)
    places = plan.sources if sources is None else absolute(sources)
    require_not_typed(places)
    with files.Lock(folder), files.working_folder(folder) as work:
        text = RunText(places, work, report)
        return _train(folder, text, settings, replicas, plan, report, stop)


def _require_number(replicas: int) -> int:
    if not 1 <= replicas <= MOST:
        raise ConfigError(f"replicas: found {replicas}; expected a whole number from 1 to {MOST}")
    return replicas


def _train(
    folder: Path,
    text: RunText,
    settings: TrainSettings,
    replicas: int,
    plan: _Plan | None,
    report: Report,
    stop: Stop,
) -> list[Trained]:
    trained = []
    for number in range(1, replicas + 1):
        place, seed = folder / str(number), settings.seed + number - 1
        with files.Lock(place):
            stopped = has_checkpoint(place)
            if is_model(place) and not stopped:
                model = load_model(place)
                trained.append(Trained(place, model.table, model.settings, model.log, model.digest))
                continue
            report(Replica(number, replicas, seed, place))
            own = replace(settings, seed=seed)
            checkpoint = Checkpoint.load(place) if stopped else None
            if checkpoint is not None:
                _require_settings(checkpoint, own)
            run = Run(text, place, own, checkpoint, report)
            if plan is not None:
                require_same_text(plan.text, run.text)
            if plan is None or plan.replicas != replicas:
                plan = _Plan(list(text.sources), settings, replicas, run.text)
                plan.save(folder)
            try:
                trained.append(run.train(stop))
            except Stopped as end:
                raise Stopped(folder, end.step, end.total, from_stdin=end.from_stdin) from None
    return trained


def _require_settings(checkpoint: Checkpoint, settings: TrainSettings) -> None:
    """Raise StoreError for a checkpoint of other settings than those of the replicas."""
    same = {name: getattr(settings, name) for name in MAY_CHANGE_ON_RESUME}
    if replace(checkpoint.settings, **same) != settings:
        raise StoreError(
            f"{checkpoint.folder}: has other settings than {PLAN}", "remove it to start anew"
        )
