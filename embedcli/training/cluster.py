"""The engine for Ray: a replica of the run on each machine of a cluster.

A replica trains the turns of shards with all cores of its machine. What a turn changed comes as
arrays, in as many parts as there are replicas; each replica merges one part of all shards, and
takes the merged parts of the others. So each machine sends and receives about twice what a shard
changed, however many there are, through Ray's object store; this process sends only commands.

Replicas hold the same tables after each round. Where one is lost its round is trained again by
those that are left, to the same bytes; machines that join later get the tables from another one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from embedcli import __version__
from embedcli.autodiff.tensor import Array
from embedcli.config import TrainSettings
from embedcli.errors import (
    ConfigError,
    CorpusError,
    EmbedError,
    StoreError,
    TrainingError,
    WorkerError,
)
from embedcli.nn.composition import Composition
from embedcli.parallel import keep_freed_memory, trim_heap
from embedcli.tasks import TASKS
from embedcli.tasks.task import Task
from embedcli.text.encode import EncodedCorpus
from embedcli.text.labels import ClassTargets, label_codec
from embedcli.text.parts import Codes, PartIds, assemble
from embedcli.training.engines import LocalEngine, Machine, Notice, Round, Tell
from embedcli.training.environment import environment
from embedcli.training.loop import BatchReport, Training
from embedcli.training.reading import LostError, nodes, on, result
from embedcli.training.shards import Changes, Plan
from embedcli.training.state import TrainState

START = 300.0  # seconds to wait for the first replicas
SHORTEST = 120.0  # after which a machine that does not answer counts as lost, or
TIMES_LONGEST = 20  # so many times what the longest turn took
FAILURES = 10  # of one round, after which it is given up
FETCH = 600.0  # seconds to wait for the ids of a part, which may have to be read again
SLOWEST = 5e6  # bytes a second at which whole tables are sent, at least
LOOK_FOR_MACHINES = 2.0  # seconds between two looks


class PartedTask(NamedTuple):
    """A task whose text other machines read; each makes it anew of the ids, which it fetches."""

    corpus: EncodedCorpus  # without what is as long as the text
    labels: tuple[str, ...]
    buckets: Mapping[str, Array]
    composition: Composition | None

    @classmethod
    def of(cls, task: Task, corpus: EncodedCorpus) -> PartedTask:
        """Return a task without what is as long as its text."""
        labels = corpus.targets.names if isinstance(corpus.targets, ClassTargets) else ()
        ids, lines = np.zeros(0, np.int32), np.zeros(0, np.int64)
        corpus = corpus._replace(ids=ids, offsets=lines, first_lines=lines, targets=None)
        return cls(corpus, labels, task.buckets, task.composition)

    def here(self, settings: TrainSettings, weights: Mapping[str, Array]) -> Task:
        """Fetch the ids, and make the task with some weights.

        Raises WorkerError for ids that do not come, or were made again of a file that has changed.
        """
        import ray

        def parts() -> Iterator[tuple[PartIds, Codes]]:
            for part in self.corpus.parts:
                try:
                    ids, codes = (result(ray, ref, FETCH) for ref in (part.ids, part.codes))
                except (LostError, CorpusError) as error:
                    raise WorkerError(f"the ids of {part.name}: {error}") from error
                if ids.digest != part.digest:
                    raise WorkerError(f"{part.name} is another file on {ids.machine}")
                yield ids, codes

        kind = TASKS[settings.task]
        with TemporaryDirectory(prefix="embed-") as folder:  # mapped files outlive it
            ids, targets = assemble(parts(), kind.label_kind, Path(folder))
            codec = label_codec(kind.label_kind, self.labels)
            corpus = self.corpus._replace(
                ids=ids.numbers(),
                offsets=ids.offsets(),
                targets=None if codec is None else codec.targets(targets),
                parts=(),
            )
        return kind(
            corpus, settings, None, weights, buckets=self.buckets, composition=self.composition
        )


class Shipment(NamedTuple):
    """What a replica is made of."""

    task: Task | PartedTask
    settings: TrainSettings
    plan: Plan
    frozen: dict[str, Array]
    state: TrainState


class Turn(NamedTuple):
    """What a replica tells of a turn, beside its changes."""

    reports: list[BatchReport]
    seconds: float
    size: int  # bytes of the changes


class Replica:
    """The replica of a run on one machine, an actor; `done` counts the rounds it has applied."""

    def __init__(self, shipment: Shipment, done: int, workers: int) -> None:
        self._done = done
        self._failed: EmbedError | None = None  # what it could not be made for
        self._broken: WorkerError | None = None
        try:
            self._make(shipment, workers)
        except EmbedError as error:
            self._failed = error

    def _make(self, shipment: Shipment, workers: int) -> None:
        task, settings, plan, frozen, state = shipment
        state = replace(state, slots={name: dict(each) for name, each in state.slots.items()})
        settings = replace(settings, workers=workers)
        if isinstance(task, PartedTask):
            task = task.here(settings, state.parameters)
        self._training = Training(task, settings, state=state, frozen=frozen, plan=plan)
        trim_heap()
        keep_freed_memory()
        self._engine = LocalEngine(self._training).__enter__()

    def about(self) -> dict[str, str]:
        """Return what this machine computes with; raises what the replica could not be made for."""
        if self._failed is not None:
            raise self._failed
        return {"embed": __version__, **environment()}

    def turn(self, epoch: int, number: int, shard: int, parts: int) -> tuple[Any, ...]:
        """Train a shard's batches of a round; return a `Turn` and the changes in parts."""
        began, training = time.perf_counter(), self._training
        training.state.epoch, training.state.group = epoch, number  # as errors tell the step
        groups = training.plan.turn(epoch, number, shard)
        try:
            reports = training.turn(self._engine.team, epoch, groups, (epoch, range(0)))
        except WorkerError as error:
            self._broken = error  # its processes are incomplete
            raise
        except TrainingError:
            training.restore()
            raise
        changes = training.merger.take_changes(parts)
        size = sum(map(_size, changes))
        return Turn(reports, time.perf_counter() - began, size), *changes

    def merge(self, *changes: Changes) -> tuple[int, Changes]:
        """Merge one part of the changes of all shards; return its size in bytes, and the part."""
        merged = self._training.merger.merge(changes)
        return _size(merged), merged

    def accept(self, done: int, *merged: Changes) -> None:
        """Apply all parts of a round's merged changes."""
        for part in merged:
            self._training.merger.apply(part)
        self._done = done

    def reset(self) -> int:
        """Forget the round that is not over; return how many were applied."""
        if self._broken is not None:
            raise self._broken
        self._training.restore()
        return self._done

    def state(self) -> tuple[int, dict[str, Array]]:
        """Return how many rounds were applied, and the arrays after them."""
        return self._done, self._training.state.arrays()

    def load(self, done: int, arrays: dict[str, Array]) -> int:
        """Go on from the state of another replica."""
        self._done = done
        for name, array in self._training.state.arrays().items():
            array[...] = arrays[name]
        self._training.merger.adopt()
        return self._done


_Result = tuple[list[BatchReport], tuple[Machine, ...]]  # of a round


@dataclass(eq=False)
class _Member:
    """A machine of the cluster and its replica."""

    node: str
    name: str
    actor: Any
    about: Any  # a reference to what it computes with, there once the replica is made


class RayEngine:
    """Trains the shards of a round on all machines of a Ray cluster.

    The process is connected to it (`reading.connected`). The text of the `corpus`, if machines read
    it, does not pass through this process. Machines that would give other bytes are refused unless
    `mixed`.
    """

    def __init__(
        self,
        training: Training,
        tell: Tell,
        corpus: EncodedCorpus | None = None,
        *,
        mixed: bool = False,
    ) -> None:
        import ray

        self._ray = ray
        self._training, self._tell, self._mixed = training, tell, mixed
        self._task: Task | PartedTask = training.task
        self._start = START
        if corpus is not None and corpus.parts:
            self._task = PartedTask.of(training.task, corpus)
            self._start += 4 * len(corpus.ids) / SLOWEST
        self._members: list[_Member] = []
        self._coming: list[_Member] = []
        self._refused: dict[str, str] = {}  # why, by node
        self._differ = False  # whether one was refused for the bytes it may give
        self._looked = 0.0
        self._longest = 0.0
        self._collected = training.done
        self._result: _Result | None = None
        self.differences: Mapping[str, str] = {}
        self.round: Round | None = None

    def __enter__(self) -> RayEngine:
        training = self._training
        state = replace(training.state, best={})
        shipment = Shipment(
            self._task, training.settings, training.plan, dict(training.frozen), state
        )
        self._shipment = self._ray.put(shipment)
        self._first_done = training.done
        try:
            self._begin()
        except BaseException:
            self._close()
            raise
        return self

    def _begin(self) -> None:
        """Make a replica on each machine, and wait for them."""
        self._look_for_machines()
        coming = {member.about: member for member in self._coming}
        if not coming:
            raise ConfigError(
                "engine: the Ray cluster has no machine with cores", "ray start, on each machine"
            )
        names = ", ".join(member.name for member in self._coming)
        self._tell(Notice(f"making replicas on {names}, in {self._start:.0f} s at most"))
        _, late = self._ray.wait(list(coming), num_returns=len(coming), timeout=self._start)
        for ref in late:
            self._drop(coming[ref], f"was not ready in {self._start:.0f} s")
        self._admit()
        if self._members:
            return
        if self._differ:
            raise ConfigError(f"engine: {'; '.join(self._refused.values())}", "--mixed allows it")
        raise ConfigError(
            f"engine: waited for a replica on {names}; none was made",
            "are their cores taken by other work? see ray status",
        )

    def train(self, epoch: int, number: int) -> list[BatchReport]:
        """Train a round on the machines there are; what is lost is trained again."""
        done, began = self._training.done, time.perf_counter()
        for _ in range(FAILURES):
            self._look_for_machines()
            self._admit()
            result = self._try(epoch, number)
            if result is not None:
                reports, machines = result
                self.round = Round(done + 1, time.perf_counter() - began, machines)
                return reports
        raise WorkerError(f"round {done + 1} was lost {FAILURES} times")

    def _try(self, epoch: int, number: int) -> _Result | None:
        self._result = None
        try:
            self._round(epoch, number)
        except LostError as error:
            self._recover(str(error))
        return self._result

    def _round(self, epoch: int, number: int) -> None:
        """Train and merge a round; `_result` is set once all that it changes is known."""
        members, shards = list(self._members), self._training.plan.shards
        # 1. Give each machine a shard, and another one when it has finished one.
        left, free = deque(range(shards)), deque(members)
        busy: dict[Any, tuple[int, _Member]] = {}
        changes: dict[int, list[Any]] = {}
        turns: dict[int, Turn] = {}
        work: dict[str, list[Turn]] = {member.node: [] for member in members}
        while left or busy:
            while left and free:
                shard, member = left.popleft(), free.popleft()
                call = member.actor.turn.options(num_returns=1 + len(members))
                ref, *changes[shard] = call.remote(epoch, number, shard, len(members))
                busy[ref] = shard, member
            names = ", ".join(member.name for _, member in busy.values())
            ref = self._first([*busy], self._limit, f"the turn of a shard on {names}")
            shard, member = busy.pop(ref)
            turns[shard] = self._get(ref)
            self._longest = max(self._longest, turns[shard].seconds)
            work[member.node].append(turns[shard])
            free.append(member)
        # 2. Each machine merges a part of the rows of all shards, and takes all parts.
        merged = [
            member.actor.merge.options(num_returns=2).remote(
                *(changes[shard][part] for shard in range(shards))
            )
            for part, member in enumerate(members)
        ]
        sizes = [self._get(size) for size, _ in merged]
        reports = [report for shard in range(shards) for report in turns[shard].reports]
        self._result = (
            reports,
            tuple(
                Machine(
                    name=member.name,
                    shards=len(mine),
                    words=int(sum(report.words for turn in mine for report in turn.reports)),
                    seconds=sum(turn.seconds for turn in mine),
                    sent=sum(turn.size for turn in mine) + size,
                )
                for member, size in zip(members, sizes, strict=True)
                for mine in [work[member.node]]
            ),
        )
        done = self._training.done + 1
        for ref in [
            member.actor.accept.remote(done, *(part for _, part in merged)) for member in members
        ]:
            self._get(ref)

    def collect(self) -> None:
        """Copy the arrays of a replica to those of this process."""
        training = self._training
        if self._collected == training.done:
            return
        reasons = []
        for member in self._members:
            try:
                found = member.actor.state.options(num_returns=2).remote()
                done, arrays = (self._get(each, self._limit_of_tables) for each in found)
            except LostError as error:
                reasons.append(f"{member.name}: {error}")
                continue
            if done == training.done:
                for name, array in training.state.arrays().items():
                    if name in arrays:  # else those of the best epoch
                        array[...] = arrays[name]
                self._collected = done
                return
        training.whole = False
        why = f" ({'; '.join(reasons)})" if reasons else ""
        raise WorkerError(f"engine: no machine is left that holds the tables{why}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.collect()
        except WorkerError:
            if error is None:
                raise
        finally:
            self._close()

    def _close(self) -> None:
        for member in [*self._members, *self._coming]:
            self._ray.kill(member.actor)
        self._members, self._coming = [], []

    @property
    def _limit(self) -> float:
        """Seconds after which a machine that computes is taken to be lost."""
        return max(SHORTEST, TIMES_LONGEST * self._longest)

    @property
    def _limit_of_tables(self) -> float:
        """The same for a machine that sends whole tables, or gets them."""
        size = sum(array.nbytes for array in self._training.state.arrays().values())
        return self._limit + size / SLOWEST

    def _first(self, refs: list[Any], limit: float, what: str) -> Any:
        """Return the first of some results that is there; raises LostError after `limit`."""
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=limit)
        if not ready:
            raise LostError(f"waited {limit:.0f} s for {what}")
        return ready[0]

    def _get(self, ref: Any, limit: float | None = None) -> Any:
        """Return a result, as `reading.result` does."""
        return result(self._ray, ref, self._limit if limit is None else limit)

    def _recover(self, reason: str) -> None:
        """Drop the machines that are lost, and bring the others to the same round."""
        training = self._training
        self._tell(Notice(f"round {training.done + 1}: {reason}; training it again"))
        # 1. Find how many rounds each has applied.
        done: dict[str, int] = {}
        for member, ref in [(member, member.actor.reset.remote()) for member in self._members]:
            try:
                done[member.node] = self._get(ref)
            except LostError:
                self._drop(member, "is lost")
        self._require_members()
        # 2. Where some have applied this round, the others get their tables.
        while self._members:
            last = max(done[member.node] for member in self._members)
            behind = [member for member in self._members if done[member.node] < last]
            if not behind:
                break
            donor = next(member for member in self._members if done[member.node] == last)
            if self._load(behind[0], donor):
                done[behind[0].node] = last
        self._require_members()
        if last == training.done:
            self._result = None

    def _require_members(self) -> None:
        if not self._members:
            self._training.whole = False
            raise WorkerError("engine: all machines are lost, and the tables with them")

    def _load(self, member: _Member, donor: _Member) -> bool:
        """Give a machine the tables of another; drop the one that is lost and return False."""
        done, arrays = donor.actor.state.options(num_returns=2).remote()
        try:
            self._get(done, self._limit_of_tables)  # alone: the arrays are not for this process
        except LostError:
            self._drop(donor, "is lost")
            return False
        try:
            self._get(member.actor.load.remote(done, arrays), self._limit_of_tables)
        except LostError:
            lost = member if self._answers(donor) else donor
            self._drop(lost, "is lost")
            return False
        return True

    def _answers(self, member: _Member) -> bool:
        try:
            self._get(member.actor.about.remote())
        except LostError:
            return False
        return True

    def _look_for_machines(self) -> None:
        """Begin to make a replica on each machine that has none."""
        ray, now = self._ray, time.monotonic()
        if self._looked and now - self._looked < LOOK_FOR_MACHINES and self._members:
            return
        self._looked = now
        known = {member.node for member in [*self._members, *self._coming]}
        for node in nodes(ray):
            if node.id in known or node.id in self._refused:
                continue
            actor = (
                ray.remote(Replica)
                .options(num_cpus=node.cores, scheduling_strategy=on(node, only=True))
                .remote(self._shipment, self._first_done, node.cores)
            )
            self._coming.append(_Member(node.id, node.name, actor, actor.about.remote()))

    def _admit(self) -> None:
        """Take in the machines whose replicas are made."""
        for member in list(self._coming):
            if not self._ray.wait([member.about], timeout=0)[0]:
                continue
            try:
                about = self._get(member.about)
            except (LostError, StoreError) as error:
                self._drop(member, f"could not make a replica ({error})", refuse=True)
                continue
            here = {"embed": __version__, **environment()}
            others = [f"{key} {about.get(key)}" for key in here if here[key] != about.get(key)]
            if others and not self._mixed:
                found = f"has {', '.join(others)}, which may give other bytes than this machine"
                self._differ = True
                self._drop(member, found, refuse=True)
                continue
            if others:
                self.differences = {
                    **self.differences,
                    f"machine {member.name}": ", ".join(others),
                }
            if self._training.done > self._first_done:
                self._tell(Notice(f"{member.name} takes part from round {self._training.done + 1}"))
                while member in self._coming and not self._load(member, self._members[0]):
                    self._require_members()
            if member in self._coming:
                self._coming.remove(member)
                self._members.append(member)

    def _drop(self, member: _Member, why: str, *, refuse: bool = False) -> None:
        """Do without a machine from now on."""
        self._tell(Notice(f"{member.name} {why}"))
        for members in (self._members, self._coming):
            if member in members:
                members.remove(member)
        if refuse:
            self._refused[member.node] = f"{member.name} {why}"
        self._ray.kill(member.actor)


def _size(changes: Changes) -> int:
    """Return the bytes of some changes."""
    return sum(ids.nbytes + sum(each.nbytes for each in rows) for ids, rows in changes.values())
