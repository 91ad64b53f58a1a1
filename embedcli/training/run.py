"""A training run, from text to a model folder: prepared, stopped, resumed, saved.

While a run lasts, its folder is locked and the ids of its text lie in a working folder beside it.
From time to time, and when the run is stopped, its state is written to FOLDER.checkpoint, from
which it can be resumed to the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedcli import __version__
from embedcli.composer import Parts
from embedcli.config import TrainSettings, interval, require_same
from embedcli.errors import (
    ConfigError,
    CorpusError,
    EmbedError,
    StoreError,
    TrainingError,
    WorkerError,
)
from embedcli.model import Model, load_table, require_model_or_nothing, save_model
from embedcli.nn.optimizers import OPTIMIZERS
from embedcli.parallel import available_memory, resolve_workers
from embedcli.storage import files
from embedcli.table import EmbeddingTable
from embedcli.tasks import TASKS
from embedcli.text.addresses import is_address
from embedcli.text.encode import EncodedCorpus, encode
from embedcli.text.labels import ClassTargets
from embedcli.text.phrases import Phrases
from embedcli.text.resample import resample
from embedcli.text.sources import STDIN, find_sources, size_and_time
from embedcli.text.subwords import Subwords
from embedcli.text.vocabulary import Vocabulary
from embedcli.text.words import Known
from embedcli.training import limits
from embedcli.training.checkpoint import (
    Checkpoint,
    checkpoint_folder,
    has_checkpoint,
    remove_checkpoint,
    require_checkpoint,
    save_checkpoint,
)
from embedcli.training.engines import LOCAL, EngineChoice, Notice, Round
from embedcli.training.environment import environment
from embedcli.training.loop import Step, Training
from embedcli.training.pretrained import ABSENT, Coverage, copy_vectors
from embedcli.training.shards import Plan
from embedcli.training.snapshots import Snapshots
from embedcli.training.update import Earlier, load_to_update, updated_state
from embedcli.views import notebook

# Settings that do not change the result of a run.
MAY_CHANGE_ON_RESUME = ("workers", "cache", "checkpoint_every", "max_expansion")
# What the text of a resumed run must have in common with that of the run that was stopped.
MUST_MATCH_ON_RESUME = ("read", "valid", "words")
# The time between two checkpoints is at least so many times what writing one takes: they cost 2 %.
CHECKPOINT_SPACING = 50


@notebook.shown
class Reading(NamedTuple):
    """How much of a text of several blocks is read, in bytes as they are stored."""

    done: int
    total: int  # 0 where it is not known


@notebook.shown
class Counting(NamedTuple):
    """How much of a text is counted, in tokens."""

    done: int
    total: int


@notebook.shown
@dataclass(frozen=True)
class Prepared:
    """What a run starts from: the text as read, and the settings with every `auto` resolved."""

    lines: int
    tokens: int  # kept, in the whole text
    words: int  # V
    settings: TrainSettings
    resolved: Mapping[str, Any]  # the settings that were `auto`
    coverage: Coverage | None  # of the words by `vectors`
    resumed: tuple[int, int] | None  # steps done before, and all
    known: int | None  # words of the model that is updated
    baseline: float | None  # what predicting always the same would reach; see `Task.baseline`
    too_long: int = 0  # words that were left out for their length
    label_counts: Mapping[str, int] = field(default_factory=dict)  # texts of each label
    phrases: Phrases | None = None  # that are joined in the text


@dataclass(frozen=True)
class Trained:
    """A finished run: the folder, its table, the settings as resolved, the log, the digest."""

    folder: Path
    table: EmbeddingTable
    settings: TrainSettings
    log: Sequence[Mapping[str, Any]]
    digest: str  # SHA-256 of table.npy

    def _repr_svg_(self) -> str:
        from embedcli.views import charts

        return charts.curves(self.log, str(self.folder))


@notebook.shown
class Replica(NamedTuple):
    """A replica begins: its number from 1, how many there are, its seed, and its folder."""

    number: int
    replicas: int
    seed: int
    folder: Path


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """A run was stopped on request after `step` of `total` steps, and can be resumed."""

    def __init__(self, folder: Path, step: int, total: int, *, from_stdin: bool) -> None:
        super().__init__(f"stopped at step {step} of {total}")
        self.folder = folder
        self.step = step
        self.total = total
        self.from_stdin = from_stdin  # the text must be given again


Event: TypeAlias = Reading | Counting | Prepared | Replica | Step | Round | Notice
Report = Callable[[Event], None]
Stop = Callable[[], bool]


def start(
    sources: Sequence[str | Path],
    folder: Path,
    settings: TrainSettings,
    report: Report,
    stop: Stop,
    engine: EngineChoice = LOCAL,
) -> Trained:
    """Train on text and save the model in `folder`; see `api.train`."""
    require_usable(settings)
    engine.require_usable(settings)
    require_place(folder)
    require_model_or_nothing(folder)
    with files.Lock(folder):
        _require_no_checkpoint(folder)
        with files.working_folder(folder) as work, engine.connected():
            text = RunText(absolute(sources), work, report, engine)
            return Run(text, folder, settings, None, report).train(stop, engine)


def require_usable(settings: TrainSettings) -> None:
    """Raise ConfigError for settings that contradict each other."""
    if settings.resample and settings.valid_share:
        raise ConfigError(
            f"valid_share: found {settings.valid_share:g} with resample, which would put copies of "
            "one text on both sides",
            "--valid FILE",
        )
    optimizer = settings.optimizer
    if settings.shards > 1 and (settings.momentum or not OPTIMIZERS[optimizer].sums):
        found = f"{optimizer} with momentum" if settings.momentum else optimizer
        raise ConfigError(
            f"optimizer: found {found} and {settings.shards} shards; its averages decay with each "
            "step, so those of several shards cannot be added",
            "--optimizer damped_sgd, adagrad, or sgd without momentum",
        )


def require_place(folder: Path) -> None:
    """Raise StoreError for a folder that cannot be replaced."""
    place = Path(os.path.realpath(folder))
    if place == Path.cwd() or place in Path.cwd().parents:
        raise StoreError(
            f"{str(folder)!r}: the current folder, or one above it, which cannot be replaced",
            "--out FOLDER, a new one",
        )
    if os.path.ismount(place):  # Path.is_mount is not for Windows
        raise StoreError(
            f"{str(folder)!r}: a disk is mounted here, so the folder cannot be replaced",
            f"choose a folder on it, as --out {folder / 'model'}",
        )


def _require_no_checkpoint(folder: Path) -> None:
    """Raise StoreError where a run that was stopped is kept; the caller holds the folder's lock."""
    if has_checkpoint(folder):
        raise StoreError(
            f"{checkpoint_folder(folder)}: holds a run that was stopped",
            f"embed train --resume continues it; to start anew, remove the folder, "
            f"or choose another --out than {folder}",
        )


def resume(
    sources: Sequence[str | Path] | None,
    folder: Path,
    given: Mapping[str, Any],
    report: Report,
    stop: Stop,
    engine: EngineChoice = LOCAL,
) -> Trained:
    """Go on with the run whose checkpoint lies beside `folder`.

    `sources` say where the text is now, if it was moved; `given` settings must be those of the
    run, but for `MAY_CHANGE_ON_RESUME`. Raises StoreError where there is no checkpoint, CorpusError
    where the text has changed, ConfigError for other settings.
    """
    require_checkpoint(folder)  # before the lock, which makes folders that do not exist
    with files.Lock(folder):
        has_checkpoint(folder)  # removes what a killed process left of another one
        checkpoint = Checkpoint.load(folder)
        settings = same_settings(given, checkpoint.settings)
        engine.require_usable(settings)
        places = checkpoint.sources if sources is None else absolute(sources)
        require_not_typed(places)
        with files.working_folder(folder) as work, engine.connected():
            text = RunText(places, work, report, engine)
            return Run(text, folder, settings, checkpoint, report).train(stop, engine)


def same_settings(given: Mapping[str, Any], kept: TrainSettings) -> TrainSettings:
    """Return the settings of a run that is resumed, some of which may change.

    Raises ConfigError where another one is given with another value.
    """
    require_same(
        [name for name in given if name not in MAY_CHANGE_ON_RESUME],
        given,
        kept,
        "the run to go on with",
        "leave them out to go on; remove the checkpoint to start anew",
    )
    changed = {name: value for name, value in given.items() if name in MAY_CHANGE_ON_RESUME}
    return replace(kept, **changed)


def require_not_typed(places: Sequence[str]) -> None:
    """Raise CorpusError where a text that came by standard input would be read from a terminal."""
    if STDIN in places and sys.stdin.isatty():
        raise CorpusError(
            "-: the text came by standard input, and is needed again",
            "embed train --resume < TEXT",
        )


def absolute(sources: Sequence[str | Path]) -> list[str]:
    """Return sources with absolute paths, for a checkpoint."""
    names = map(str, sources)
    as_they_are = (STDIN, "")
    return [
        name if name in as_they_are or is_address(name) else str(Path.cwd() / name)
        for name in names
    ]


class RunText:
    """The text of a run or of several replicas, which is read when it is first asked for.

    It is read by this process, or by the machines of the engine.
    """

    def __init__(
        self, sources: Sequence[str], work: Path, report: Report, engine: EngineChoice = LOCAL
    ) -> None:
        self.sources, self.work = sources, work
        self._report, self._engine = report, engine
        self._read: tuple[EncodedCorpus, EncodedCorpus | None, dict[str, Any]] | None = None

    def read(
        self, settings: TrainSettings, known: Known | None, phrases: Phrases | None
    ) -> tuple[EncodedCorpus, EncodedCorpus | None, dict[str, Any]]:
        """Return the text as ids, that to validate on, and the facts of both for a checkpoint."""
        if self._read is None:
            folder, corpus = self.work / "corpus", None
            if phrases is None and not settings.phrases and not settings.resample:
                corpus = self._engine.read(
                    self.sources, settings, known, folder, self._progress, self._report
                )
            if corpus is None:
                limits.require_for_ids(self.work.parent, self.sources, settings)
                corpus = _encoded(
                    self.sources,
                    settings,
                    folder,
                    known=known,
                    phrases=phrases,
                    progress=self._progress,
                )
            valid = None
            if settings.valid is not None:
                folder = self.work / "valid"
                valid = _encoded(
                    [settings.valid], settings, folder, corpus.vocabulary, phrases=corpus.phrases
                )
            self._read = corpus, valid, _text_facts(self.sources, settings, corpus, valid)
        return self._read

    def _progress(self, done: int, total: int) -> None:
        self._report(Reading(done, total))


class Run:
    """One run, from the text that was read to the model that is saved."""

    def __init__(
        self,
        text: RunText,
        folder: Path,
        settings: TrainSettings,
        checkpoint: Checkpoint | None,
        report: Report,
    ) -> None:
        """Prepare the run: read the text, make its state, and report what it starts from."""
        self.sources, self.folder, self.given = text.sources, folder, settings
        self._before = {} if checkpoint is None else checkpoint.differences  # see `_differences`
        self._report = report
        self._unheard: OSError | None = None  # an error of reporting a notice
        # 1. The model that is updated. A resumed run needs only what the checkpoint holds of it.
        model, self.earlier = None, None
        if checkpoint is not None:
            self.earlier = checkpoint.earlier
        elif settings.update is not None:
            model = load_to_update(Path(settings.update), settings)
            self.earlier = Earlier.of(model)
        known = None if self.earlier is None else self.earlier.known
        # 2. The text, as ids.
        phrases = None if self.earlier is None else self.earlier.phrases
        corpus, valid, self.text = text.read(settings, known, phrases)
        if settings.resample:
            corpus = resample(corpus, settings.seed, text.work)
        self.corpus, vocabulary = corpus, corpus.vocabulary
        if checkpoint is not None:
            require_same_text(checkpoint.text, self.text)
            checkpoint.require_shapes(len(vocabulary), _labels_of(corpus))
        # 3. The task with its parameters, and where they start from.
        memory = available_memory()
        composition = TASKS[settings.task].composed_of(vocabulary, settings)
        ngrams = 0 if composition is None else len(composition.sizes) - len(vocabulary)
        limits.require_for_tables(folder, len(vocabulary), settings, memory, ngrams)
        buckets = None if self.earlier is None else self.earlier.buckets
        kind = TASKS[settings.task]
        task_folder = text.work / "task"
        shutil.rmtree(task_folder, ignore_errors=True)  # of the replica before
        task_folder.mkdir()
        source = kind.source(corpus, settings, task_folder, lambda *sizes: report(Counting(*sizes)))
        task = kind(source, settings, valid, buckets=buckets, composition=composition)
        ngrams = sum(map(len, task.buckets.values()))
        if ngrams:
            limits.require_for_tables(folder, len(vocabulary), settings, memory, ngrams)
        limits.require_for_gradients(task, settings, memory)
        plan = Plan.of(task.batches, len(corpus.ids), settings)
        state = None
        if checkpoint is not None:
            state = checkpoint.restored(task, plan)
        elif model is not None:
            state = updated_state(model, task, settings)
        self.found: NDArray[np.uint8] | None = None  # (V,) which words `vectors` has
        if settings.vectors is not None and checkpoint is not None:
            self.found = checkpoint.arrays["found"]
        elif settings.vectors is not None:
            rows = task.parameters["table"].data
            words_before = 0 if known is None else len(known.vocabulary)
            self.found = copy_vectors(
                Path(settings.vectors), rows, vocabulary, settings, words_before
            )
            if composition is not None:
                new = words_before + np.flatnonzero(self.found[words_before:] != ABSENT)
                composition.settle(rows, task.parameters["parts"].data, new)
        frozen = {}
        if settings.freeze == "all":
            frozen["table"] = np.ones(len(vocabulary), np.bool_)  # (V,)
        elif settings.freeze == "found":
            if self.found is None:
                hint = "--vectors FILE"
                raise ConfigError("freeze: found 'found', but no vectors to look in", hint)
            frozen["table"] = self.found != ABSENT
        # 4. The training loop.
        with _system_errors():
            self.training = Training(task, settings, state=state, frozen=frozen, plan=plan)
        self.snapshots = Snapshots(
            settings.snapshots,
            self.training.total,
            vocabulary,
            settings.dim,
            None if checkpoint is None else checkpoint.arrays.get("snapshots"),
        )
        resolved = {
            "min_count": corpus.min_count,
            "workers": resolve_workers(settings.workers) if task.solved else self.training.workers,
            **task.resolved,
        }
        if settings.shards > 1:
            resolved["round"] = str(int(plan.length * len(corpus.ids) / task.batches))
        resolved = {k: value for k, value in resolved.items() if getattr(settings, k) == "auto"}
        # The settings that are saved keep `workers` as it was given: it does not change the result.
        self.settings = replace(settings, **{k: v for k, v in resolved.items() if k != "workers"})
        self.checkpoint_interval = interval(settings.checkpoint_every)
        self.seconds_between = self.checkpoint_interval.seconds
        self.kept_at, self.kept_step = time.monotonic(), self.training.done
        report(
            Prepared(
                lines=corpus.lines,
                tokens=len(corpus.ids),
                words=len(vocabulary),
                settings=self.settings,
                resolved=resolved,
                coverage=None if self.found is None else Coverage.of(self.found),
                resumed=None if checkpoint is None else (checkpoint.step, checkpoint.total),
                known=None if known is None else len(known.vocabulary),
                baseline=task.baseline(),
                too_long=corpus.too_long,
                label_counts=task.label_counts,
                phrases=corpus.phrases,
            )
        )

    def train(self, stop: Stop, chosen: EngineChoice = LOCAL) -> Trained:
        """Train to the end and save the model; raises Stopped where `stop` asks for it."""
        training = self.training
        engine = chosen.make(training, self._tell, self.corpus)
        self._take_snapshot()
        try:
            # Overflow is found by the training loop, which raises an error of its own.
            with (
                np.errstate(over="ignore", invalid="ignore"),
                closing(training.steps(engine)) as steps,
            ):
                while True:
                    with _system_errors():
                        step = next(steps, None)
                    if step is None:
                        break
                    self._after_step(step, stop)
            return self._save()
        except (WorkerError, StoreError) as error:
            if isinstance(error, WorkerError) and training.whole:
                self.keep()
            if has_checkpoint(self.folder):
                _add_hint(error, f"embed train --resume --out {self.folder} goes on")
            raise
        except KeyboardInterrupt:
            if training.whole and not stop():
                self.keep()
            raise
        except TrainingError as error:
            if training.whole:
                self._save()
                error.hint = f"{error.hint}. The last good state is saved in {self.folder}."
            raise

    @property
    def _differences(self) -> dict[str, str]:
        """What the machines computed with that may give other bytes, before and since a stop."""
        return {**self._before, **self.training.engine.differences}

    def _tell(self, notice: Notice) -> None:
        """Report a notice of the engine; an error of that waits until the step is over."""
        try:
            self._report(notice)
        except OSError as error:
            self._unheard = error

    def _after_step(self, step: Step, stop: Stop) -> None:
        """Report a step, and write a checkpoint where one is due or the run is to stop."""
        engine, finished = self.training.engine, self.training.state.finished
        self._take_snapshot()
        try:
            if self._unheard is not None:
                raise self._unheard
            if engine.round is not None:
                self._report(engine.round)
            self._report(step)
        except OSError:  # a closed pipe or a full disk, to which progress was written
            if not finished:
                self.keep()
                raise
        if finished:
            return
        if stop():
            self.keep()
            from_stdin = STDIN in self.sources
            raise Stopped(self.folder, step.number, step.total, from_stdin=from_stdin)
        if (
            time.monotonic() - self.kept_at >= self.seconds_between
            or step.number - self.kept_step >= self.checkpoint_interval.steps
        ):
            self.keep()

    def _take_snapshot(self) -> None:
        """Keep the frequent words' rows of the table as it would be saved now, if that is due."""
        done, task = self.training.done, TASKS[self.settings.task]
        if done in self.snapshots.steps:
            self.training.complete()
            arrays = task.finished(self.settings, self.training.state.parameters)
            self.snapshots.take(done, arrays["table"])

    def keep(self) -> None:
        """Write the checkpoint; no group of batches may be half applied."""
        began = time.monotonic()
        training, earlier = self.training, self.earlier
        training.complete()
        arrays = training.state.arrays()
        if self.found is not None:
            arrays["found"] = self.found
        if len(self.snapshots.rows):
            arrays["snapshots"] = self.snapshots.rows
        if earlier is not None:
            arrays |= earlier.arrays()
        state = {
            "embed": __version__,
            "sources": self.sources,
            "settings": asdict(self.given),
            "text": self.text,
            "step": training.done,
            "total": training.total,
            "place": training.state.place(),
            "earlier": None if earlier is None else earlier.facts(),
            "differences": self._differences,
        }
        save_checkpoint(self.folder, arrays, state)
        self.kept_at, self.kept_step = time.monotonic(), training.done
        spent = self.kept_at - began
        self.seconds_between = max(self.checkpoint_interval.seconds, CHECKPOINT_SPACING * spent)

    def _save(self) -> Trained:
        """Save the model and remove the checkpoint."""
        training, composition = self.training, self.training.task.composition
        training.complete()
        state, settings, earlier = self.training.state, self.settings, self.earlier
        start: dict[str, Any]
        if earlier is None:
            corpus = self.corpus.fingerprint
            start = {"init": settings.init, "scale": settings.init_scale, "seed": settings.seed}
        else:
            both = f"{earlier.corpus} {self.corpus.fingerprint}"
            corpus = hashlib.sha256(both.encode(errors="surrogatepass")).hexdigest()
            start = dict(earlier.start)
        if settings.vectors is not None:
            start["vectors"] = settings.vectors
        kind = TASKS[settings.task]
        if kind.solved:
            start = {"from": settings.task}
        arrays = kind.finished(settings, state.parameters)
        if "input" in arrays:
            start["tables"] = 2
        parts = None
        if composition is not None:
            if "table" in training.frozen:
                composition.settle(
                    state.parameters["table"],
                    state.parameters["parts"],
                    np.flatnonzero(training.frozen["table"]),
                )
            subwords = Subwords.of(settings)
            parts = Parts(subwords, composition.buckets, composition.bucket_rows)
        snapshots, shares = self.snapshots.taken(self.training.done)
        model = Model(
            table=EmbeddingTable(self.corpus.vocabulary, arrays["table"]),
            settings=settings,
            head={name: array for name, array in arrays.items() if name != "table"},
            labels=_labels_of(self.corpus),
            trained=state.trained,
            first_lines=self.corpus.first_lines,
            optimizer={
                f"{name}.{slot}": array
                for name, slots in state.slots.items()
                for slot, array in slots.items()
            },
            buckets=self.training.task.buckets,
            phrases=self.corpus.phrases,
            log=state.log,
            corpus=corpus,
            start=start,
            environment={**environment(), **self._differences},
            parts=parts,
            snapshots=snapshots if len(snapshots) else None,
            snapshot_shares=shares if len(snapshots) else None,
        )
        digest = save_model(self.folder, model)
        remove_checkpoint(self.folder)
        return Trained(self.folder, load_table(self.folder), settings, state.log, digest)


def _encoded(
    places: Sequence[str],
    settings: TrainSettings,
    folder: Path,
    vocabulary: Vocabulary | None = None,
    known: Known | None = None,
    phrases: Phrases | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EncodedCorpus:
    folder.mkdir()
    labels = TASKS[settings.task].label_kind
    return encode(
        places,
        settings,
        labels=labels,
        folder=folder,
        vocabulary=vocabulary,
        known=known,
        phrases=phrases,
        progress=progress,
    )


def _labels_of(corpus: EncodedCorpus) -> tuple[str, ...]:
    return corpus.targets.names if isinstance(corpus.targets, ClassTargets) else ()


def _text_facts(
    sources: Sequence[str],
    settings: TrainSettings,
    corpus: EncodedCorpus,
    valid: EncodedCorpus | None,
) -> dict[str, Any]:
    """Return digests that tell one text from another; and sizes and times, for error messages."""
    words = hashlib.sha256(corpus.vocabulary.to_bytes())
    words.update(np.array([len(corpus.ids), corpus.lines], np.int64).tobytes())
    sizes_and_times = {part.name: list(part.stored) for part in corpus.parts}
    read_here = [] if corpus.parts else sources
    for source in find_sources([*read_here, *filter(None, [settings.valid])]):
        if source.path != STDIN:
            try:
                sizes_and_times[source.path] = list(size_and_time(source.path))
            except OSError as error:
                raise CorpusError(
                    f"{source.path}: gone since it was read: {error.strerror or error}"
                ) from error
    return {
        "read": corpus.fingerprint,
        "valid": None if valid is None else valid.fingerprint,
        "words": words.hexdigest(),
        "files": sizes_and_times,
    }


def require_same_text(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise CorpusError, naming the files that differ, unless two texts are the same."""
    if all(now[key] == before.get(key) for key in MUST_MATCH_ON_RESUME):
        return
    old, new = before["files"], now["files"]
    differences = [f"{path} is gone" for path in old if path not in new]
    differences += [f"{path} is new" for path in new if path not in old]
    for path in new:
        if path in old and list(old[path]) != new[path]:
            sizes = f"{new[path][0]:,} bytes, before {old[path][0]:,}"
            differences.append(f"{path} was written since ({sizes})")
    if before["read"] == now["read"] and before["valid"] == now["valid"]:
        differences = ["its bytes are the same, but give other words (other stop words?)"]
    raise CorpusError(
        f"not the text of the run to go on with: {'; '.join(differences) or 'its bytes differ'}",
        "put the text back to go on; remove the checkpoint to start anew",
    )


def _add_hint(error: EmbedError, hint: str) -> None:
    error.hint = f"{error.hint}; then {hint}" if error.hint else hint


@contextmanager
def _system_errors() -> Iterator[None]:
    """Turn an OSError raised while processes and memory are requested into a WorkerError."""
    try:
        yield
    except OSError as error:
        raise WorkerError(
            f"no process or memory for the training: {error.strerror or error}",
            "take fewer --workers",
        ) from error
