"""A training run, from text to a model folder: prepared, stopped, resumed, saved.

While a run lasts, its folder is locked and its ids lie in a working folder beside it; every so
often, and when it is stopped, its state is kept in FOLDER.checkpoint, from where it can go on to
the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli import files, formats, store
from embedcli.config import TrainSettings, interval
from embedcli.errors import ConfigError, StoreError, TrainingError, WorkerError
from embedcli.table import EmbeddingTable
from embedcli.tasks import TASKS
from embedcli.tasks.task import Task
from embedcli.text.encode import EncodedCorpus, encode
from embedcli.text.labels import ClassTargets, LabelKind
from embedcli.text.sources import STDIN
from embedcli.text.vocabulary import Vocabulary
from embedcli.training import Step, Training, TrainState

TARGETS: dict[str, LabelKind] = {"classify": "class", "regress": "number"}
# Settings that may be others when a run goes on: they change nothing of its result.
FREE = ("workers", "cache", "checkpoint_every", "max_expansion")


@dataclass(frozen=True)
class Prepared:
    """What a run starts from: the text as read, and the settings with every `auto` resolved."""

    lines: int
    tokens: int  # kept, in the whole text
    words: int  # V
    settings: TrainSettings
    resolved: Mapping[str, Any]  # the settings that were `auto`
    coverage: tuple[int, int] | None  # words found in `vectors`, and all
    resumed: tuple[int, int] | None  # steps done before, and all


@dataclass(frozen=True)
class Trained:
    """A finished run: the folder, its table, the settings as resolved, the log, the digest."""

    folder: Path
    table: EmbeddingTable
    settings: TrainSettings
    log: Sequence[Mapping[str, Any]]
    digest: str  # SHA-256 of table.npy


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """A run was stopped on request after `step` of `total` steps, and can be resumed."""

    def __init__(self, folder: Path, step: int, total: int) -> None:
        super().__init__(f"stopped at step {step} of {total}")
        self.folder = folder
        self.step = step
        self.total = total


Report = Callable[[Prepared | Step], None]
Stop = Callable[[], bool]


def start(
    sources: Sequence[str | Path], folder: Path, settings: TrainSettings, report: Report, stop: Stop
) -> Trained:
    """Train on text and save the model in `folder`; see `api.train`."""
    store.require_model_or_nothing(folder)
    if store.checkpoint_folder(folder).exists():
        raise StoreError(
            f"{store.checkpoint_folder(folder)}: a run that was stopped is kept here",
            f"embed train --resume goes on with it; to start anew, remove the folder, "
            f"or choose another --out than {folder}",
        )
    places = [str(each) if str(each) == STDIN else str(Path.cwd() / each) for each in sources]
    with files.Lock(folder), files.working_folder(folder) as work:
        return _Run(places, folder, settings, None).finish(work, report, stop)


def resume(folder: Path, given: Mapping[str, Any], report: Report, stop: Stop) -> Trained:
    """Go on with the run whose checkpoint lies beside `folder`.

    `given` settings must be those of the run, but for those in `FREE`. Raises StoreError where
    there is no checkpoint or the text has changed, ConfigError for another setting.
    """
    with files.Lock(folder), files.working_folder(folder) as work:
        arrays, saved = store.load_checkpoint(folder)
        settings = TrainSettings(**saved["settings"])
        for name, value in given.items():
            if name not in FREE and getattr(settings, name) != value:
                found = getattr(settings, name)
                raise ConfigError(
                    f"{name}: found {value!r}; the run to go on with has {found!r}",
                    "leave it out to go on; remove the checkpoint to start anew",
                )
        settings = replace(settings, **given)
        return _Run(saved["sources"], folder, settings, (arrays, saved)).finish(work, report, stop)


class _Run:
    """One run: what it was asked for, and the checkpoint it starts from, if any."""

    def __init__(
        self,
        sources: Sequence[str],
        folder: Path,
        settings: TrainSettings,
        checkpoint: tuple[dict[str, NDArray[Any]], dict[str, Any]] | None,
    ) -> None:
        self.sources = sources
        self.folder = folder
        self.settings = settings
        self.checkpoint = checkpoint

    def finish(self, work: Path, report: Report, stop: Stop) -> Trained:
        """Prepare, train, save."""
        corpus = self._encoded(self.sources, work / "corpus", None)
        valid = None
        if self.settings.valid is not None:
            valid = self._encoded([self.settings.valid], work / "valid", corpus.vocabulary)
        fingerprint = corpus.fingerprint + (f" {valid.fingerprint}" if valid else "")
        self._require_same_text(fingerprint)
        task = TASKS[self.settings.task](corpus, self.settings, valid)
        found = self._start_from_vectors(task, corpus.vocabulary)
        training = Training(
            task,
            self.settings,
            state=self._state(),
            frozen=self._frozen(found, len(corpus.vocabulary)),
        )
        resolved = self._resolved(corpus, task, training)
        # The number of workers changes nothing, so the saved settings do not tell it.
        settings = replace(self.settings, **{k: v for k, v in resolved.items() if k != "workers"})
        report(
            Prepared(
                lines=corpus.lines,
                tokens=len(corpus.ids),
                words=len(corpus.vocabulary),
                settings=settings,
                resolved=resolved,
                coverage=None if found is None else (int(found.sum()), len(found)),
                resumed=self._resumed(),
            )
        )
        keeper = _Keeper(self, training, fingerprint, found)
        try:
            # What overflows is found by the training, which stops with an error of its own.
            with np.errstate(over="ignore", invalid="ignore"):
                keeper.watch(report, stop)
        except WorkerError as error:
            if store.checkpoint_folder(self.folder).exists():
                error.hint = f"embed train --resume --out {self.folder}"
            raise
        except TrainingError as error:
            if training.whole:
                self._save(corpus, settings, training)
                error.hint = f"{error.hint}. The last good state is saved in {self.folder}."
            raise
        return self._save(corpus, settings, training)

    def _encoded(
        self, places: Sequence[str], folder: Path, vocabulary: Vocabulary | None
    ) -> EncodedCorpus:
        folder.mkdir()
        labels = TARGETS.get(self.settings.task, "none")
        return encode(places, self.settings, labels=labels, folder=folder, vocabulary=vocabulary)

    def _require_same_text(self, fingerprint: str) -> None:
        if self.checkpoint is not None and self.checkpoint[1]["text"] != fingerprint:
            raise StoreError(
                f"{', '.join(self.sources)}: not the text that the stopped run was reading",
                "put the text back to go on; remove the checkpoint to start anew",
            )

    def _state(self) -> TrainState | None:
        if self.checkpoint is None:
            return None
        arrays, saved = self.checkpoint
        return TrainState.restored(arrays, saved["place"])

    def _resumed(self) -> tuple[int, int] | None:
        if self.checkpoint is None:
            return None
        return self.checkpoint[1]["step"], self.checkpoint[1]["total"]

    def _start_from_vectors(self, task: Task, vocabulary: Vocabulary) -> NDArray[np.bool_] | None:
        """Put the vectors of a file into the table where it has the word; which has it, (V,)."""
        settings = self.settings
        if settings.vectors is None:
            return None
        if self.checkpoint is not None:
            return self.checkpoint[0].pop("found")
        given = formats.open_table(Path(settings.vectors))
        if given.dim != settings.dim:
            raise ConfigError(
                f"vectors: found vectors of {given.dim} numbers; expected {settings.dim} (dim)",
                f"--dim {given.dim}",
            )
        rows = task.parameters["table"].data  # (V, D)
        places = given.vocabulary.ids_of(vocabulary.tokens(slice(None)), unknown=-1)  # (V,)
        found: NDArray[np.bool_] = places >= 0  # (V,)
        rows[found] = given.rows(places[found])
        return found

    def _frozen(self, found: NDArray[np.bool_] | None, words: int) -> dict[str, NDArray[np.bool_]]:
        """Say which rows stay as they are: masks (V,) by parameter."""
        if self.settings.freeze == "none":
            return {}
        if self.settings.freeze == "all":
            return {"table": np.ones(words, np.bool_)}  # (V,)
        if found is None:
            raise ConfigError("freeze: found 'found', but no vectors to look in", "--vectors FILE")
        return {"table": found}

    def _resolved(self, corpus: EncodedCorpus, task: Task, training: Training) -> dict[str, Any]:
        """Say what each setting that is `auto` turned out to be."""
        known = {"min_count": corpus.min_count, "workers": training.workers, **task.resolved}
        return {k: value for k, value in known.items() if getattr(self.settings, k) == "auto"}

    def _save(self, corpus: EncodedCorpus, settings: TrainSettings, training: Training) -> Trained:
        state = training.state
        slots = {
            f"{name}/{slot}": array
            for name, kept in state.slots.items()
            for slot, array in kept.items()
        }
        targets = corpus.targets
        model = store.Model(
            table=EmbeddingTable(corpus.vocabulary, state.parameters["table"]),
            settings=settings,
            head={name: array for name, array in state.parameters.items() if name != "table"},
            labels=targets.names if isinstance(targets, ClassTargets) else (),
            trained=state.trained,
            first_lines=corpus.first_lines,
            optimizer=slots,
            log=state.log,
            corpus=corpus.fingerprint,
            start={"init": settings.init, "scale": settings.init_scale, "seed": settings.seed},
        )
        manifest = store.save(self.folder, model)
        store.remove_checkpoint(self.folder)
        return Trained(
            self.folder, store.load_table(self.folder), settings, state.log, manifest.digest
        )


class _Keeper:
    """Keeps a run's state every so often, and when it is stopped."""

    def __init__(
        self, run: _Run, training: Training, text: str, found: NDArray[np.bool_] | None
    ) -> None:
        self.run = run
        self.training = training
        self.text = text
        self.found = found
        self.every = interval(run.settings.checkpoint_every)
        self.kept_at = time.monotonic()
        self.kept_step = (run._resumed() or (0, 0))[0]

    def watch(self, report: Report, stop: Stop) -> None:
        """Train to the end; raises Stopped where `stop` says so after a step."""
        for step in self.training.steps():
            report(step)
            if self.training.state.finished:
                continue
            if stop():
                self._keep(step)
                raise Stopped(self.run.folder, step.number, step.total)
            if self._is_due(step):
                self._keep(step)

    def _is_due(self, step: Step) -> bool:
        return (
            time.monotonic() - self.kept_at >= self.every.seconds
            or step.number - self.kept_step >= self.every.steps
        )

    def _keep(self, step: Step) -> None:
        arrays = self.training.state.arrays()
        if self.found is not None:
            arrays["found"] = self.found
        state = {
            "sources": self.run.sources,
            "settings": asdict(self.run.settings),
            "text": self.text,
            "step": step.number,
            "total": step.total,
            "place": self.training.state.place(),
        }
        store.save_checkpoint(self.run.folder, arrays, state)
        self.kept_at, self.kept_step = time.monotonic(), step.number
