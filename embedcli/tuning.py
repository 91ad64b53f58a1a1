"""A search for good settings: many short trainings, compared on text that none of them learns from.

Trials come in rounds of `ROUND`. The first trial is the preset; then settings are drawn at random,
and around the best so far. Trials of a round run side by side and know only the rounds before, so
that a number of trials finds the same for any number of workers. A trial is stopped a quarter or
half of its way where it is not among the better half of earlier trials at that point. In the end
the best are trained again and again with other seeds, and the better half goes on, as a small set
to validate on flatters the luckiest of many. A share of the corpus is drawn anew by each seed.

Source: Li et al. 2020, "A system for massively parallel hyperparameter tuning" (asynchronous
successive halving, the variant that stops); Bergstra & Bengio 2012, on random search.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.random import Generator

from embedcli import __version__, evaluation
from embedcli.config import (
    OF_SHARDS,
    TEXTS,
    Spec,
    TextSettings,
    TrainSettings,
    presets,
    read_pairs,
    schema,
    to_yaml,
)
from embedcli.errors import MALFORMED_DATA_ERRORS, ConfigError, StoreError, TrainingError
from embedcli.parallel import available_memory, map_in_order, resolve_workers
from embedcli.storage import files
from embedcli.storage.bundle import as_json, require_types
from embedcli.table import EmbeddingTable
from embedcli.tasks import TASKS
from embedcli.text.encode import EncodedCorpus, encode
from embedcli.training import limits
from embedcli.training.loop import Training
from embedcli.views import notebook

ROUND = 8  # trials that are drawn from the same results
RUNGS = (0.25, 0.5)  # shares of a training after which it may be stopped
FINALISTS = 4  # settings around which others are drawn, and at least so many are trained again
MOST_FINALISTS, TRIALS_PER_FINALIST = 16, 16
AGAIN = 2  # other seeds for each length of `--dim auto`
SEARCH = 0.75  # share of the time, or of the trials, before that
_NEAR = 0.15  # standard deviation of a step around the best, as a share of a range
_TRIES = 20  # to draw settings that were not tried
_AS_GOOD = 0.01  # share of the best score by which shorter vectors may be behind
_SLOT = 1 << 20  # bytes of a pickled job or result
_RANGE = re.compile(r"(\S+) to (\S+)( log)?")
TRIALS, SEARCHED, BEST = "trials.jsonl", "search.json", "best.yaml"


@dataclass(frozen=True)
class Range:
    """The values that a setting may take: choices, or numbers between two."""

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @classmethod
    def parse(cls, spec: Spec, text: str) -> Range:
        """Read `1, 2, 3`, `0.1 to 2` or `0.1 to 2 log`; raises ConfigError."""
        found = _RANGE.fullmatch(text.strip())
        if not found:
            return cls(spec.name, tuple(spec.parse(part.strip()) for part in text.split(",")))
        low, high = (spec.parse(part) for part in found.group(1, 2))
        if not all(isinstance(each, int | float) for each in (low, high)) or not low < high:
            raise ConfigError(f"{spec.name}: found {text!r}; expected LOW to HIGH, two numbers")
        if found[3] and low <= 0:
            raise ConfigError(f"{spec.name}: found {text!r}; expected numbers above 0 for log")
        return cls(spec.name, (), low, high, bool(found[3]), isinstance(low, int))

    def draw(self, rng: Generator) -> Any:
        """Draw any value."""
        if self.choices:
            return self.choices[int(rng.integers(len(self.choices)))]
        return self._at(float(rng.random()))

    def near(self, value: Any, rng: Generator) -> Any:
        """Draw a value near another: mostly the same of choices, a step away in a range."""
        if self.choices or not isinstance(value, int | float):
            return self.draw(rng) if rng.random() < 0.25 else value
        low, high, at = self.low, self.high, float(value)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = (at - low) / (high - low) + float(rng.normal(0, _NEAR))
        return self._at(min(max(share, 0.0), 1.0))

    def _at(self, share: float) -> Any:
        if self.log:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + (self.high - self.low) * share
        return round(value) if self.whole else float(f"{value:.3g}")


DIMS = (Range("dim", (8, 16, 32, 64, 128, 256)),)  # the space of `--dim auto`, each tried once


@notebook.shown
@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a search."""

    number: int  # from 1
    settings: Mapping[str, Any]  # those that are searched, as far as they are not the preset's
    seed: int
    score: float | None  # higher is better; None: it diverged, or time was over
    rungs: Sequence[float] = ()  # scores on the way, after the shares `RUNGS` of it
    stopped: bool = False  # on the way, as it was behind
    seconds: float  # that it took
    elapsed: float  # since the search began


@dataclass(frozen=True)
class Tuned:
    """What a search found: the best settings, and all trials."""

    folder: Path
    task: str
    metric: str
    best: Mapping[str, Any]  # settings, beside those that were given
    score: float  # the mean over `seeds`
    seeds: int
    trials: Sequence[Trial]

    def _repr_html_(self) -> str:
        from embedcli.views import blocks, tuning

        return blocks.html_of(tuning.blocks_of(self))


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched, and how long."""

    settings: TrainSettings  # of every trial, but for those searched
    given: Mapping[str, Any]  # of them, those that are not defaults
    space: tuple[Range, ...]
    metric: str
    seconds: float = math.inf
    trials: int = 1 << 30
    seed: int = 0


@dataclass(frozen=True)
class _Job:
    number: int
    settings: Mapping[str, Any]
    seed: int
    bounds: tuple[float, ...] = ()  # at each rung: a lower score is stopped
    share: float = 1.0  # of the time of the search, after which it is given up


Report = Callable[[Trial, "Trial | None"], None]  # a trial, and the best so far


def read_space(settings: TrainSettings, path: Path | None = None) -> tuple[Range, ...]:
    """Read which settings are searched, from a file or the default of the task.

    Raises ConfigError for a setting that there is not, or that has no effect in the task.
    """
    path = path or presets()["classify"].parent / "tuning" / f"{settings.task}.yaml"
    space = []
    for line, name, scalar in read_pairs(path):
        spec = schema(TrainSettings).get(name.replace("-", "_"))
        if spec is None or spec.name in OF_SHARDS or spec.misplaced({"task": settings.task}):
            raise ConfigError(f"{path}:{line}: {name}: no setting of {settings.task} to search")
        try:
            space.append(Range.parse(spec, scalar.value))
        except ConfigError as error:
            raise ConfigError(f"{path}:{line}: {error.message}") from None
    if not space:
        raise ConfigError(f"{path}: found nothing to search; expected lines of setting: values")
    return tuple(space)


def tune(
    sources: Sequence[str | Path], folder: Path, search: Search, *, resume: bool, report: Report
) -> Tuned:
    """Search for settings and write them to `folder`; see `api.tune`."""
    with files.Lock(folder), TemporaryDirectory(prefix="embed-") as scratch:
        before = _begun(folder, search, resume)
        run = _Run(list(map(str, sources)), folder, search, Path(scratch), before)
        for trial in run.trials():
            with files.storing(folder), (folder / TRIALS).open("a", encoding="utf-8") as out:
                out.write(json.dumps(asdict(trial)) + "\n")
            report(trial, run.best_trial())
        return run.finish()


def _begun(folder: Path, search: Search, resume: bool) -> list[Trial]:
    """Make the folder of a search, or return the trials of the one to go on with."""
    facts = {
        "embed": __version__,
        "metric": search.metric,
        "seed": search.seed,
        "settings": to_yaml(search.settings),
        "space": [asdict(each) for each in search.space],
    }
    facts = json.loads(json.dumps(facts))
    path, exists = folder / SEARCHED, (folder / TRIALS).exists()
    begun = exists and (folder / TRIALS).stat().st_size > 0  # not one that failed at once
    if begun and not resume:
        raise StoreError(f"{folder}: holds a search", "--resume goes on with it; or another --out")
    if not begun:
        if resume and not exists:
            raise StoreError(f"{folder}: no search to go on with", "leave out --resume")
        with files.storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
            (folder / TRIALS).touch()
        return []
    try:
        if json.loads(path.read_text(encoding="utf-8")) != facts:
            raise StoreError(
                f"{folder}: the search to go on with has other settings, ranges or metric",
                "give the same to go on; or another --out",
            )
        # A line that a killed process did not end is run again.
        *lines, torn = (folder / TRIALS).read_text(encoding="utf-8").split("\n")
        if torn:
            (folder / TRIALS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return [_read_trial(line) for line in lines]
    except (OSError, *MALFORMED_DATA_ERRORS) as error:
        raise StoreError(f"{folder}: damaged: {error}", "remove the folder to start anew") from None


def _read_trial(line: str) -> Trial:
    """Read a line of the file of trials; raises one of `MALFORMED_DATA_ERRORS`."""
    found = json.loads(line)
    kinds = {"number": int, "settings": dict, "seed": int, "rungs": list, "stopped": bool}
    require_types(found, {**kinds, "seconds": float, "elapsed": float})
    for score in (*found["rungs"], found["score"]):
        if score is not None and not isinstance(score, float):
            raise ValueError(f"score: found {as_json(score)}; expected a number")
    return Trial(**found)


class _Run:
    """A search that runs: the corpora as ids, and the trials so far."""

    def __init__(
        self,
        sources: Sequence[str],
        folder: Path,
        search: Search,
        scratch: Path,
        before: Sequence[Trial],
    ) -> None:
        self._sources, self._folder, self._scratch = sources, folder, scratch
        self._search = search
        self._before = {(trial.seed, _key(trial.settings)): trial for trial in before}
        self._grid = _grid(search.space)
        self._done: list[Trial] = []
        self._finalists: list[Trial] = []  # those whose settings are trained again
        self._corpora: dict[TextSettings, tuple[EncodedCorpus, EncodedCorpus | None]] = {}
        self._began = time.monotonic() - max((trial.elapsed for trial in before), default=0.0)
        # Trials of texts are short: each is done by one process, and several run side by side.
        self._of_texts = search.settings.task in TEXTS
        self._workers = resolve_workers(search.settings.workers) if self._of_texts else 1
        self._pairs = None
        kind, _, path = search.metric.partition(":")
        if kind == "similarity":
            self._pairs = evaluation.read_pairs(Path(path))
        elif not self._of_texts:
            raise ConfigError(
                f"metric: found {search.metric!r}; words are compared with people's scores",
                "--metric similarity:PAIRS",
            )

    def trials(self) -> Iterator[Trial]:
        """Run rounds of trials until time or trials are over, then the best with other seeds.

        What an earlier run of the search has done is not done again.
        """
        search, grid = self._search, self._grid
        last = math.ceil(search.trials * SEARCH) if grid is None else len(grid)
        last, number = min(last, search.trials), 1
        while number <= last:
            jobs = [self._proposed(n) for n in range(number, min(number + ROUND, last + 1))]
            if number > 1 and self._left(SEARCH) <= 0 and not any(map(self._known, jobs)):
                break
            yield from self._run(jobs)
            number += len(jobs)
        best: dict[str, Trial] = {}
        for each in self._ranked():
            best.setdefault(_key(each.settings), each)
        many = min(max(len(best) // TRIALS_PER_FINALIST, FINALISTS), MOST_FINALISTS)
        self._finalists = list(best.values())[: len(best) if grid else many]
        again = 1
        while number <= search.trials and (grid is None or again <= AGAIN):
            jobs = [
                _Job(number + place, each.settings, search.seed + again)
                for place, each in enumerate(self._finalists[: search.trials + 1 - number])
            ]
            if not jobs or (self._left() <= 0 and not any(map(self._known, jobs))):
                break
            yield from self._run(jobs)
            if grid is None:
                means = self._means()[0]
                order = sorted(range(len(means)), key=lambda n: -means[n])
                kept = order[: max(len(order) // 2, FINALISTS)]
                self._finalists = [self._finalists[n] for n in kept]
            number, again = number + len(jobs), again + 1

    def best_trial(self) -> Trial | None:
        """Return the best trial so far."""
        ranked = self._ranked()
        return ranked[0] if ranked else None

    def finish(self) -> Tuned:
        """Write the best settings: of the best mean over seeds, or the shortest vectors."""
        ranked, search = self._ranked(), self._search
        if not ranked:
            raise TrainingError(
                "no trial came to its end: all diverged, or the time was too short",
                "--time 10m, or a --space with smaller rates",
            )
        finalists = self._finalists
        means, seeds = self._means()
        mean, best = max(means), finalists[means.index(max(means))]
        if self._grid is not None:
            near = [n for n, each in enumerate(means) if each >= mean - _AS_GOOD * abs(mean)]
            place = min(near, key=lambda n: int(finalists[n].settings["dim"]))
            mean, best = means[place], finalists[place]
        chosen = {**search.given, **best.settings}
        found = TrainSettings(**{"task": search.settings.task, **chosen})
        lines = [
            line for line in to_yaml(found).split("\n") if line.split(":")[0] in {"task", *chosen}
        ]
        note = f"# {search.metric} {mean:.4f} on held-out text, seeds: {seeds}"
        with files.atomic_write(self._folder / BEST) as out:
            out.write("".join(f"{line}\n" for line in [note, *lines]).encode())
        return Tuned(
            self._folder, search.settings.task, search.metric, chosen, mean, seeds, self._done
        )

    def _left(self, share: float = 1.0) -> float:
        """Return how many seconds are left of a share of the time."""
        return self._search.seconds * share - (time.monotonic() - self._began)

    def _ranked(self) -> list[Trial]:
        """Return the trials of the search that came to their end, the best first."""
        done = [
            each for each in self._done if each.seed == self._search.seed and each.score is not None
        ]
        return sorted(done, key=lambda trial: -(trial.score or 0.0))

    def _means(self) -> tuple[list[float], int]:
        """Return the mean score of each finalist, over as many seeds as all have."""
        scores = [
            [
                -math.inf if each.score is None else each.score
                for each in self._done
                if each.settings == trial.settings and not each.stopped
            ]
            for trial in self._finalists
        ]
        seeds = min(map(len, scores))
        return [float(np.mean(each[:seeds])) for each in scores], seeds

    def _known(self, job: _Job) -> Trial | None:
        """Return the trial that an earlier run of the search has done, if it has."""
        found = self._before.get((job.seed, _key(job.settings)))
        return None if found is None else replace(found, number=job.number)

    def _proposed(self, number: int) -> _Job:
        """Return what a trial tries; it depends on the rounds before alone."""
        search = self._search
        rng = np.random.default_rng((search.seed, number))
        best = self._ranked()[:FINALISTS]
        tried = [trial.settings for trial in self._done]
        settings: Mapping[str, Any] = {}
        if self._grid is not None:
            settings = self._grid[number - 1]
        elif number > 1:  # the first is the preset
            near = number > ROUND and best and rng.random() < 2 / 3
            default = asdict(search.settings)
            for _ in range(_TRIES):
                if near:
                    start = {**default, **best[int(rng.integers(len(best)))].settings}
                    settings = {
                        each.name: each.near(start[each.name], rng) for each in search.space
                    }
                else:
                    settings = {each.name: each.draw(rng) for each in search.space}
                if settings not in tried:
                    break
        # At each rung the better half goes on.
        reached = [
            sorted(trial.rungs[rung] for trial in self._done if len(trial.rungs) > rung)
            for rung in range(len(RUNGS))
        ]
        bounds = tuple(
            each[len(each) // 2] if len(each) >= ROUND else -math.inf for each in reached
        )
        return _Job(number, settings, search.seed, bounds if self._grid is None else (), SEARCH)

    def _run(self, jobs: Sequence[_Job]) -> Iterator[Trial]:
        """Run the trials of a round, but for those that an earlier run of the search has done."""
        known = [self._known(job) for job in jobs]
        self._done += filter(None, known)
        left = [job for job, trial in zip(jobs, known, strict=True) if trial is None]
        for job in left:
            self._corpus(self._settings(job))
        found: Iterator[Any] = map(self._try, left)
        if self._workers > 1 and len(left) > 1:
            found = (each for each, _ in map_in_order(self._try, left, self._workers, _SLOT))
        for trial in found:
            if trial is not None:
                self._done.append(trial)
                yield trial
        self._done.sort(key=lambda trial: trial.number)

    def _settings(self, job: _Job) -> TrainSettings:
        settings = replace(self._search.settings, **job.settings, seed=job.seed)
        return replace(settings, workers=1) if self._of_texts else settings

    def _corpus(self, settings: TrainSettings) -> tuple[EncodedCorpus, EncodedCorpus | None]:
        """Return the text, and that to validate on, as ids: read once for all trials."""
        names = [field.name for field in fields(TextSettings)]
        key = TextSettings(**{name: getattr(settings, name) for name in names})
        if key not in self._corpora:
            folder = self._scratch / str(len(self._corpora))
            (folder / "valid").mkdir(parents=True)
            labels = TASKS[settings.task].label_kind
            corpus = encode(self._sources, settings, folder=folder, labels=labels)
            valid = None
            if settings.valid is not None:
                valid = encode(
                    [settings.valid],
                    settings,
                    folder=folder / "valid",
                    labels=labels,
                    vocabulary=corpus.vocabulary,
                    phrases=corpus.phrases,
                )
            widest = max(
                (each.high for each in self._search.space if each.name == "dim"), default=0
            )
            wide = replace(settings, dim=max(settings.dim, int(widest)))
            limits.require_for_tables(
                self._folder, len(corpus.vocabulary), wide, available_memory()
            )
            self._corpora[key] = corpus, valid
        return self._corpora[key]

    def _try(self, job: _Job) -> Trial | None:
        """Train and measure; stop where it is behind. Returns None where the time is over."""
        began, settings = time.monotonic(), self._settings(job)
        corpus, valid = self._corpus(settings)
        kind = TASKS[settings.task]
        with TemporaryDirectory(dir=self._scratch) as folder:  # its files are mapped from here on
            task = kind(kind.source(corpus, settings, Path(folder)), settings, valid)
        training = Training(task, settings)

        def measure() -> float:
            if self._pairs is None:
                return task.measure(self._search.metric)
            arrays = kind.finished(settings, training.state.parameters)
            table = EmbeddingTable(corpus.vocabulary, arrays["table"])
            return evaluation.similarity(table, self._pairs).spearman

        rungs: list[float] = []
        score: float | None = None
        stopped = False
        try:
            with np.errstate(over="ignore", invalid="ignore"), closing(training.steps()) as steps:
                for step in steps:
                    if job.number > 1 and self._left(job.share) < 0:
                        return None
                    at = step.number / step.total
                    if len(rungs) < len(job.bounds) and RUNGS[len(rungs)] <= at < 1:
                        rungs.append(measure())
                        stopped = not rungs[-1] >= job.bounds[len(rungs) - 1]
                        if stopped:
                            break
                else:
                    score = measure()
        except TrainingError:
            pass  # it diverged, and has no score
        now = time.monotonic()
        return Trial(
            number=job.number,
            settings=job.settings,
            seed=job.seed,
            score=score if score is not None and math.isfinite(score) else None,
            rungs=rungs,
            stopped=stopped,
            seconds=round(now - began, 3),
            elapsed=round(now - self._began, 3),
        )


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _grid(space: Sequence[Range]) -> list[Mapping[str, Any]] | None:
    """Return every choice of the length of vectors, where nothing else is searched."""
    if len(space) == 1 and space[0].name == "dim" and space[0].choices:
        return [{"dim": dim} for dim in sorted(space[0].choices)]
    return None
