"""A training run, from text to a model folder: prepared, stopped, resumed, saved.

While a run lasts, its folder is locked and its ids lie in a working folder beside it; every so
often, and when it is stopped, its state is kept in FOLDER.checkpoint, from where it can go on to
the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli import __version__, store
from embedcli.config import (
    TrainSettings,
    explicit,
    interval,
    require_same,
    schema,
    with_current_names,
)
from embedcli.errors import (
    UNFIT,
    ConfigError,
    CorpusError,
    EmbedError,
    StoreError,
    TrainingError,
    VocabularyError,
    WorkerError,
)
from embedcli.nn.optimizers import make_optimizer
from embedcli.parallel import available_memory
from embedcli.storage import files
from embedcli.table import EmbeddingTable
from embedcli.tasks import TASKS
from embedcli.tasks.task import Task
from embedcli.text.encode import EncodedCorpus, encode
from embedcli.text.labels import ClassTargets
from embedcli.text.sources import STDIN, find_sources
from embedcli.text.vocabulary import Vocabulary
from embedcli.text.words import Known
from embedcli.training import limits, update
from embedcli.training.loop import Step, Training, TrainState
from embedcli.training.pretrained import ABSENT, Coverage, start_from
from embedcli.training.update import Earlier

# Settings that may be others when a run goes on: they change nothing of its result.
FREE = ("workers", "cache", "checkpoint_every", "max_expansion")
# A time between two checkpoints is stretched to this many times what writing one takes, so that
# they cost 2 % at most.
SPARING = 50
LARGEST = 1 << 53  # of what a checkpoint counts


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
    baseline: float | None  # of `classify` and `regress`, what learning nothing would reach


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

    def __init__(self, folder: Path, step: int, total: int, *, from_stdin: bool) -> None:
        super().__init__(f"stopped at step {step} of {total}")
        self.folder = folder
        self.step = step
        self.total = total
        self.from_stdin = from_stdin  # and the text is needed again


Report = Callable[[Prepared | Step], None]
Stop = Callable[[], bool]


def start(
    sources: Sequence[str | Path], folder: Path, settings: TrainSettings, report: Report, stop: Stop
) -> Trained:
    """Train on text and save the model in `folder`; see `api.train`."""
    _require_own_place(folder)
    store.require_model_or_nothing(folder)
    with files.Lock(folder):
        if store.has_checkpoint(folder):
            raise StoreError(
                f"{store.checkpoint_folder(folder)}: a run that was stopped is kept here",
                f"embed train --resume goes on with it; to start anew, remove the folder, "
                f"or choose another --out than {folder}",
            )
        with files.working_folder(folder) as work:
            return _Run(_absolute(sources), folder, settings, None).finish(work, report, stop)


def resume(
    sources: Sequence[str | Path] | None,
    folder: Path,
    given: Mapping[str, Any],
    report: Report,
    stop: Stop,
) -> Trained:
    """Go on with the run whose checkpoint lies beside `folder`.

    `sources` say where the text is now, if it is elsewhere; `given` settings must be those of the
    run, but for those in `FREE`. Raises StoreError where there is no checkpoint, CorpusError where
    the text has changed, ConfigError for other settings.
    """
    store.require_checkpoint(folder)  # or not even a folder above it is made
    with files.Lock(folder):
        store.has_checkpoint(folder)  # and what a killed process left of one is gone
        checkpoint = Checkpoint.load(folder)
        require_same(
            [name for name in given if name not in FREE],
            given,
            checkpoint.settings,
            "the run to go on with",
            "leave them out to go on; remove the checkpoint to start anew",
        )
        free = {name: value for name, value in given.items() if name in FREE}
        settings = replace(checkpoint.settings, **free)
        places = checkpoint.sources if sources is None else _absolute(sources)
        if STDIN in places and sys.stdin.isatty():
            raise CorpusError(
                "-: the text came by standard input, and is needed again",
                "embed train --resume < TEXT",
            )
        with files.working_folder(folder) as work:
            return _Run(places, folder, settings, checkpoint).finish(work, report, stop)


def _absolute(sources: Sequence[str | Path]) -> list[str]:
    names = map(str, sources)
    return [name if name in (STDIN, "") else str(Path.cwd() / name) for name in names]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that a stopped run goes on from."""

    sources: list[str]
    settings: TrainSettings  # as asked for, `auto` among them
    text: Mapping[str, Any]  # see `_facts`
    step: int  # steps done
    total: int
    place: Mapping[str, Any]
    arrays: dict[str, NDArray[Any]]
    earlier: Earlier | None  # of the model that is updated

    @classmethod
    def load(cls, folder: Path) -> Checkpoint:
        """Read the checkpoint of the run that writes `folder`; raises StoreError."""
        arrays, state = store.load_checkpoint(folder)
        with _damage(folder):
            store.require_kinds(state, STATE)
            if state["embed"] != __version__:
                raise StoreError(
                    f"{store.checkpoint_folder(folder)}: of embed {state['embed']}; this is embed "
                    f"{__version__}, which may learn otherwise",
                    f"go on with embed {state['embed']}, or remove the checkpoint to start anew",
                )
            _require_facts(state["text"])
            given = explicit(
                TrainSettings, given=with_current_names(TrainSettings, state["settings"])
            )
            earlier = state["earlier"]
            if (earlier is None) != (given["update"] is None):
                raise ValueError("the model that is updated is not the one of the settings")
            return cls(
                sources=[str(each) for each in state["sources"]],
                settings=TrainSettings(**{name: given[name] for name in schema(TrainSettings)}),
                text=state["text"],
                step=state["step"],
                total=state["total"],
                place=state["place"],
                arrays=arrays,
                earlier=None if earlier is None else Earlier.restored(arrays, earlier),
            )


# What a checkpoint holds beside arrays.
STATE: Mapping[str, type | UnionType] = {
    "embed": str,
    "sources": list,
    "settings": dict,
    "text": dict,
    "step": int,
    "total": int,
    "place": dict,
    "earlier": dict | None,
}


@contextmanager
def _damage(folder: Path) -> Iterator[None]:
    """Turn what goes wrong while a checkpoint's content is read into one StoreError."""
    try:
        yield
    except UNFIT as error:
        raise _unfit(folder, store.in_words(error)) from error
    except (ConfigError, VocabularyError) as error:
        raise _unfit(folder, error.message) from error


def _unfit(folder: Path, what: str) -> StoreError:
    return StoreError(
        f"{store.checkpoint_folder(folder)}: damaged: {what}", "remove it to start anew"
    )


def _require_facts(text: Mapping[str, Any]) -> None:
    """Raise KeyError or ValueError for what `_Run._facts` does not say."""
    store.require_kinds(text, {"read": str, "words": str, "files": dict})
    for path, facts in text["files"].items():
        if not isinstance(facts, list) or [type(each) for each in facts] != [int, int]:
            raise ValueError(f"text: found {facts!r:.40} of {path}; expected its size and time")


def _require_place(
    place: Mapping[str, Any], step: int, groups: int, settings: TrainSettings
) -> None:
    """Raise KeyError or ValueError for a place that is none of the run's `groups` an epoch."""
    fresh = TrainState({}, {}, np.zeros(0)).place()
    store.require_kinds(place, {name: type(value) for name, value in fresh.items()})
    store.require_log(place["log"])
    limits = {
        "epoch": settings.epochs - 1,
        "group": groups - 1,
        "best_epoch": place["epoch"],
        "words": LARGEST,
        "epochs_before": LARGEST,
        "steps_before": LARGEST,
    }
    for name, most in limits.items():
        if not 0 <= place[name] <= most:
            raise ValueError(f"{name}: found {place[name]!r:.40}; expected 0 to {most}")
    if place["finished"] or step != place["epoch"] * groups + place["group"]:
        raise ValueError(f"step {step} is not where the run stood")


def _require_own_place(folder: Path) -> None:
    """Refuse a place that cannot be exchanged: the folder one is in, one above it, or a mount."""
    place = Path(os.path.realpath(folder))
    if place == Path.cwd() or place in Path.cwd().parents:
        raise StoreError(
            f"{str(folder)!r}: the folder you are in, or one above it", "--out FOLDER, a new one"
        )
    if place.is_mount():
        raise StoreError(
            f"{str(folder)!r}: a disk is mounted here, so that nothing can take its place",
            f"choose a folder on it, as --out {folder / 'model'}",
        )


class _Run:
    """One run: what it was asked for, and the checkpoint it starts from, if any."""

    def __init__(
        self,
        sources: Sequence[str],
        folder: Path,
        settings: TrainSettings,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.sources = sources
        self.folder = folder
        self.settings = settings
        self.checkpoint = checkpoint

    def finish(self, work: Path, report: Report, stop: Stop) -> Trained:
        """Prepare, train, save."""
        limits.require_for_ids(self.folder, self.sources, self.settings)
        model = self._model_to_update()
        earlier = self._earlier(model)
        known = None if earlier is None else earlier.known
        corpus = self._encoded(self.sources, work / "corpus", None, known)
        valid = None
        if self.settings.valid is not None:
            valid = self._encoded([self.settings.valid], work / "valid", corpus.vocabulary)
        text = self._facts(corpus, valid)
        self._require_same_text(text)
        memory = available_memory()
        limits.require_for_tables(self.folder, len(corpus.vocabulary), self.settings, memory)
        task = TASKS[self.settings.task](corpus, self.settings, valid)
        limits.require_for_gradients(task, self.settings, memory)
        state = update.begin(model, task, self.settings) if model else self._state(task)
        found = self._start_from_vectors(task, corpus.vocabulary, known)
        frozen = self._frozen(found, len(corpus.vocabulary))
        with _means():
            training = Training(task, self.settings, state=state, frozen=frozen)
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
                coverage=None if found is None else Coverage.of(found),
                resumed=self._resumed(),
                known=None if known is None else len(known.vocabulary),
                baseline=task.baseline(),
            )
        )
        keeper = _Keeper(self, training, text, found, earlier)
        try:
            # What overflows is found by the training, which stops with an error of its own.
            with np.errstate(over="ignore", invalid="ignore"):
                keeper.watch(report, stop)
            return self._save(corpus, settings, training, earlier)
        except WorkerError as error:
            if training.whole:
                keeper.keep()
            self._say_how_to_go_on(error)
            raise
        except StoreError as error:
            self._say_how_to_go_on(error)
            raise
        except KeyboardInterrupt:
            if training.whole and not stop():
                keeper.keep()
            raise
        except TrainingError as error:
            if training.whole:
                self._save(corpus, settings, training, earlier)
                error.hint = f"{error.hint}. The last good state is saved in {self.folder}."
            raise

    def _say_how_to_go_on(self, error: EmbedError) -> None:
        if store.has_checkpoint(self.folder):
            how = f"embed train --resume --out {self.folder} goes on"
            error.hint = f"{error.hint}; then {how}" if error.hint else how

    def _model_to_update(self) -> store.Model | None:
        """Open the model that a new run goes on with; a resumed one needs it no more."""
        if self.checkpoint is not None or self.settings.update is None:
            return None
        return update.load(Path(self.settings.update), self.settings)

    def _earlier(self, model: store.Model | None) -> Earlier | None:
        if self.checkpoint is not None:
            return self.checkpoint.earlier
        return None if model is None else Earlier.of(model)

    def _encoded(
        self,
        places: Sequence[str],
        folder: Path,
        vocabulary: Vocabulary | None,
        known: Known | None = None,
    ) -> EncodedCorpus:
        folder.mkdir()
        labels = TASKS[self.settings.task].label_kind
        return encode(
            places, self.settings, labels=labels, folder=folder, vocabulary=vocabulary, known=known
        )

    def _facts(self, corpus: EncodedCorpus, valid: EncodedCorpus | None) -> dict[str, Any]:
        """Say what tells one text from another: digests, and for people sizes and times."""
        words = hashlib.sha256(corpus.vocabulary.to_bytes())
        words.update(np.array([len(corpus.ids), corpus.lines], np.int64).tobytes())
        files_of = {}
        for source in find_sources([*self.sources, *filter(None, [self.settings.valid])]):
            if source.path != STDIN:
                try:
                    status = Path(source.path).stat()
                except OSError as error:
                    raise CorpusError(
                        f"{source.path}: gone since it was read: {error.strerror}"
                    ) from error
                files_of[source.path] = [status.st_size, status.st_mtime_ns]
        return {
            "read": corpus.fingerprint,
            "valid": None if valid is None else valid.fingerprint,
            "words": words.hexdigest(),
            "files": files_of,
        }

    def _require_same_text(self, text: Mapping[str, Any]) -> None:
        before = None if self.checkpoint is None else self.checkpoint.text
        if before is None or all(text[key] == before.get(key) for key in DECIDING):
            return
        raise CorpusError(
            f"not the text of the run to go on with: {_difference(before, text)}",
            "put the text back to go on; remove the checkpoint to start anew",
        )

    def _state(self, task: Task) -> TrainState | None:
        if self.checkpoint is None:
            return None
        kept = self.checkpoint
        with _damage(self.folder):
            groups = -(-task.batches // self.settings.group)
            _require_place(kept.place, kept.step, groups, self.settings)
            kinds = self._kinds(task, kept)
            for name, kind in kinds.items():
                if name not in kept.arrays:
                    raise KeyError(name)
                if _kind(kept.arrays[name]) != kind:
                    raise ValueError(f"{name}: found {_kind(kept.arrays[name])}; expected {kind}")
            for name in kept.arrays:
                if name not in kinds and not name.startswith("earlier/"):
                    raise ValueError(f"{name}: an array that such a run does not have")
            return TrainState.restored(kept.arrays, kept.place)

    def _kinds(self, task: Task, kept: Checkpoint) -> dict[str, str]:
        """Say of what kind each array of a checkpoint is."""
        kinds = {f"parameters/{name}": _kind(each.data) for name, each in task.parameters.items()}
        if kept.place["best_epoch"]:
            kinds |= {name.replace("parameters", "best", 1): kind for name, kind in kinds.items()}
        for name, each in task.parameters.items():
            if each.requires_grad:
                for slot in make_optimizer(self.settings).slots:
                    kinds[f"slots/{name}/{slot.name}"] = _kind(each.data)
        words = len(task.parameters["table"])
        kinds["trained"] = f"({words},) int64"
        if self.settings.vectors is not None:
            kinds["found"] = f"({words},) uint8"
        return kinds

    def _resumed(self) -> tuple[int, int] | None:
        if self.checkpoint is None:
            return None
        return self.checkpoint.step, self.checkpoint.total

    def _start_from_vectors(
        self, task: Task, vocabulary: Vocabulary, known: Known | None
    ) -> NDArray[np.uint8] | None:
        """Put the vectors of a file into the table; says which words it has, (V,).

        Rows of words `known` before stay as they are.
        """
        settings = self.settings
        if settings.vectors is None:
            return None
        if self.checkpoint is not None:
            return self.checkpoint.arrays["found"]
        return start_from(
            Path(settings.vectors),
            task.parameters["table"].data,
            vocabulary,
            settings,
            0 if known is None else len(known.vocabulary),
        )

    def _frozen(self, found: NDArray[np.uint8] | None, words: int) -> dict[str, NDArray[np.bool_]]:
        """Say which rows stay as they are: masks (V,) by parameter."""
        if self.settings.freeze == "none":
            return {}
        if self.settings.freeze == "all":
            return {"table": np.ones(words, np.bool_)}  # (V,)
        if found is None:
            raise ConfigError("freeze: found 'found', but no vectors to look in", "--vectors FILE")
        return {"table": found != ABSENT}

    def _resolved(self, corpus: EncodedCorpus, task: Task, training: Training) -> dict[str, Any]:
        """Say what each setting that is `auto` turned out to be."""
        known = {"min_count": corpus.min_count, "workers": training.workers, **task.resolved}
        return {k: value for k, value in known.items() if getattr(self.settings, k) == "auto"}

    def _save(
        self,
        corpus: EncodedCorpus,
        settings: TrainSettings,
        training: Training,
        earlier: Earlier | None,
    ) -> Trained:
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
            corpus=_fingerprint(corpus, earlier),
            start=_start(settings, earlier),
        )
        manifest = store.save(self.folder, model)
        store.remove_checkpoint(self.folder)
        return Trained(
            self.folder, store.load_table(self.folder), settings, state.log, manifest.digest
        )


def _fingerprint(corpus: EncodedCorpus, earlier: Earlier | None) -> str:
    """Return a digest of all the text that a model was trained on."""
    if earlier is None:
        return corpus.fingerprint
    both = f"{earlier.corpus} {corpus.fingerprint}"
    return hashlib.sha256(both.encode(errors="surrogatepass")).hexdigest()


def _start(settings: TrainSettings, earlier: Earlier | None) -> dict[str, Any]:
    """Say how the first rows can be made again, and where some of them came from instead."""
    start = {"init": settings.init, "scale": settings.init_scale, "seed": settings.seed}
    start = start if earlier is None else dict(earlier.start)
    return start if settings.vectors is None else {**start, "vectors": settings.vectors}


def _kind(array: NDArray[Any]) -> str:
    return f"{array.shape} {array.dtype}"


# What must be equal for a run to go on.
DECIDING = ("read", "valid", "words")


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say in which files two texts differ."""
    old, new = before["files"], now["files"]
    said = [f"{path} is gone" for path in old if path not in new]
    said += [f"{path} is new" for path in new if path not in old]
    for path in new:
        if path in old and list(old[path]) != new[path]:
            sizes = f"{new[path][0]:,} bytes, before {old[path][0]:,}"
            said.append(f"{path} was written since ({sizes})")
    if before["read"] == now["read"] and before["valid"] == now["valid"]:
        said = ["it gives other words, though its bytes are the same (other stop words?)"]
    return "; ".join(said) or "its bytes are others"


@contextmanager
def _means() -> Iterator[None]:
    """Turn what the system says while processes and memory are asked for into one error."""
    try:
        yield
    except OSError as error:
        raise WorkerError(
            f"no process or memory for the training: {error.strerror or error}",
            "take fewer --workers",
        ) from error


class _Keeper:
    """Keeps a run's state every so often, and when it is stopped."""

    def __init__(
        self,
        run: _Run,
        training: Training,
        text: Mapping[str, Any],
        found: NDArray[np.uint8] | None,
        earlier: Earlier | None,
    ) -> None:
        self.run = run
        self.training = training
        self.text = text
        self.found = found
        self.earlier = earlier
        self.every = interval(run.settings.checkpoint_every)
        self.seconds = self.every.seconds
        self.kept_at = time.monotonic()
        self.kept_step = training.done

    def watch(self, report: Report, stop: Stop) -> None:
        """Train to the end; raises Stopped where `stop` says so after a step."""
        with closing(self.training.steps()) as steps:
            while True:
                with _means():
                    step = next(steps, None)
                if step is None:
                    return
                self._tell(report, step)
                if self.training.state.finished:
                    continue
                if stop():
                    self.keep()
                    stdin = STDIN in self.run.sources
                    raise Stopped(self.run.folder, step.number, step.total, from_stdin=stdin)
                if self._is_due(step):
                    self.keep()

    def _tell(self, report: Report, step: Step) -> None:
        try:
            report(step)
        except OSError:  # a pipe that was closed, a full log: nobody hears of the run any more
            if not self.training.state.finished:
                self.keep()
                raise

    def _is_due(self, step: Step) -> bool:
        return (
            time.monotonic() - self.kept_at >= self.seconds
            or step.number - self.kept_step >= self.every.steps
        )

    def keep(self) -> None:
        """Write the checkpoint; the state must be that of a group's end."""
        began = time.monotonic()
        arrays = self.training.state.arrays()
        if self.found is not None:
            arrays["found"] = self.found
        if self.earlier is not None:
            arrays |= self.earlier.arrays()
        state = {
            "embed": __version__,
            "sources": self.run.sources,
            "settings": asdict(self.run.settings),
            "text": self.text,
            "step": self.training.done,
            "total": self.training.total,
            "place": self.training.state.place(),
            "earlier": None if self.earlier is None else self.earlier.facts(),
        }
        store.save_checkpoint(self.run.folder, arrays, state)
        self.kept_at, self.kept_step = time.monotonic(), self.training.done
        self.seconds = max(self.every.seconds, SPARING * (self.kept_at - began))
