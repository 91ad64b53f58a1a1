"""Engines: who trains the shards of a round.

A run asks two things of an engine: to train a step, and to bring the state to this process.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from embedcli.config import EngineName, TrainSettings
from embedcli.errors import ConfigError
from embedcli.parallel import Team
from embedcli.text.sources import STDIN
from embedcli.views import notebook

if TYPE_CHECKING:
    from pathlib import Path

    from embedcli.text.encode import EncodedCorpus
    from embedcli.text.words import Known
    from embedcli.training.loop import BatchReport, Training


@notebook.shown
class Machine(NamedTuple):
    """What a machine did in a round."""

    name: str
    shards: int
    words: int  # that it trained
    seconds: float  # that it trained for
    sent: int  # bytes


@notebook.shown
class Round(NamedTuple):
    """A round that is over, of so many from 1; it took the seconds from its start to its end."""

    number: int
    seconds: float
    machines: tuple[Machine, ...]


@notebook.shown
class Notice(NamedTuple):
    """A message for the user about the machines of a run."""

    text: str


Tell = Callable[[Notice], None]


class Engine(Protocol):
    """Trains the shards of a run, as long as it is open.

    `differences` maps each machine that may give other bytes to its versions that differ. `round`
    is the last round; None before it, and where there is one shard.
    """

    differences: Mapping[str, str]
    round: Round | None

    def train(self, epoch: int, number: int) -> list[BatchReport]:
        """Train a step, a group of batches or a round of all shards; report its batches."""

    def collect(self) -> None:
        """Bring the state after the last step to this process, if it is elsewhere."""

    def __enter__(self) -> Engine: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class LocalEngine:
    """Trains the shards one after the other, each with all workers of this machine."""

    differences: Mapping[str, str] = {}

    def __init__(self, training: Training, tell: Tell | None = None) -> None:
        del tell  # there is nothing to say of this machine
        self._training = training
        self.round: Round | None = None
        self.team = Team(1, training.work)
        self._in_turns = False  # whether a round is being trained, so that `restore` can undo it

    def __enter__(self) -> LocalEngine:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        if self._training.plan.shards > 1:
            self._training.make_merger()
        self._threads = threadpool_limits(1, user_api="blas")
        self.team = Team(self._training.workers, self._training.work, self._training.make_ahead)
        return self

    def train(self, epoch: int, number: int) -> list[BatchReport]:
        """Train a group of batches, or the turns of all shards, and merge what they changed."""
        training, plan = self._training, self._training.plan
        turns = [plan.turn(epoch, number, shard) for shard in range(plan.shards)]
        following = [(epoch, turn[0]) for turn in turns[1:]] + [plan.following(epoch, number)]
        if plan.shards == 1:
            return training.turn(self.team, epoch, turns[0], following[0])
        reports: list[BatchReport] = []
        began = time.perf_counter()
        self._in_turns = True
        for shard, (groups, then) in enumerate(zip(turns, following, strict=True), start=1):
            reports += training.turn(self.team, epoch, groups, then)
            if shard < plan.shards:
                training.merge(self.team, last=False)
        self._in_turns = False
        training.merge(self.team, last=True)
        seconds, words = time.perf_counter() - began, int(sum(each.words for each in reports))
        machine = Machine(platform.node(), plan.shards, words, seconds, 0)
        self.round = Round(training.done + 1, seconds, (machine,))
        return reports

    def collect(self) -> None:
        """Do nothing: the state is here."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.team.close()
        self._threads.__exit__(kind, error, trace)
        if self._in_turns:
            self._training.restore()


def _ray_engine(training: Training, tell: Tell, corpus: EncodedCorpus, mixed: bool) -> Engine:
    from embedcli.training.cluster import RayEngine

    return RayEngine(training, tell, corpus, mixed=mixed)


ENGINES: dict[EngineName, Callable[..., Engine]] = {"local": LocalEngine, "ray": _ray_engine}


class EngineChoice(NamedTuple):
    """The engine of a run, and the options of that for Ray; see `api.train`."""

    name: EngineName = "local"
    address: str | None = None
    mixed: bool = False

    def require_usable(self, settings: TrainSettings) -> None:
        """Raise ConfigError for an engine that cannot train with such settings, or here."""
        if self.name not in ENGINES:
            raise ConfigError(f"engine: found {self.name!r}; expected {', '.join(ENGINES)}")
        if self.name == "local":
            if self.address is not None or self.mixed:
                flag = "mixed" if self.address is None else "address"
                raise ConfigError(f"{flag}: has no effect with engine local", "--engine ray")
            return
        if settings.shards == 1:
            raise ConfigError(
                "engine: found ray and one shard; expected several, which machines share",
                "--shards 4",
            )
        if find_spec("ray") is None:
            raise ConfigError("engine: ray is not installed", "pip install 'embedcli[ray]'")

    def connected(self) -> AbstractContextManager[None]:
        """Return what connects this process to the cluster, if the engine has one."""
        if self.name == "local":
            return nullcontext()
        from embedcli.training.reading import connected

        return connected(self.address or "auto")

    def read(
        self,
        sources: Sequence[str],
        settings: TrainSettings,
        known: Known | None,
        folder: Path,
        progress: Callable[[int, int], None],
        tell: Tell,
    ) -> EncodedCorpus | None:
        """Have the machines of the cluster read a text; see `reading.read`.

        None if there is no cluster, or the text comes by standard input.
        """
        if self.name == "local" or not sources or STDIN in sources:
            return None
        from embedcli.training.reading import read

        return read(sources, settings, known, folder, progress, tell)

    def make(self, training: Training, tell: Tell, corpus: EncodedCorpus) -> Engine:
        """Return the engine of a run on a corpus."""
        if self.name == "local":
            return ENGINES[self.name](training, tell)
        return ENGINES[self.name](training, tell, corpus, self.mixed)


LOCAL = EngineChoice()
