"""The loop: gradients of a group's batches, computed from the same weights, make one step.

Any worker may compute any batch; each row of a table is changed by one worker, and its gradients
are summed in the order of the batches. So the weights are byte for byte the same for any number of
workers. Nothing here knows a terminal: a run yields `Step`s.

With several shards (`training/shards.py`) a step is a round: each shard takes its turn, some groups
that begin with the tables all have in common, and the changes are merged.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import Array, Gradient
from embedcli.config import TrainSettings
from embedcli.errors import TrainingError
from embedcli.nn.optimizers import learning_rate, make_optimizer
from embedcli.parallel import (
    Team,
    keep_freed_memory,
    resolve_workers,
    shared_array,
    stretches,
    trim_heap,
)
from embedcli.tasks.task import Task
from embedcli.training.composed import ComposedWords
from embedcli.training.engines import Engine, LocalEngine
from embedcli.training.gradients import (
    Accumulator,
    LocalGradients,
    SharedGradients,
    settled,
    without_frozen,
)
from embedcli.training.shards import Merger, Plan
from embedcli.training.state import TrainState
from embedcli.views import notebook

SMALL_RUN = 64  # batches; a shorter run is over before other processes would be of use
TRIM_EVERY = 1024  # batches after which a process returns freed memory: new pages cost time
GRADIENTS, UPDATES = 0, 1  # the two halves of a group's work,
COMPOSE, SPREAD = 2, 3  # before and after them where the table is composed of parts;
END_TURN, END_ROUND = 4, 5  # after the groups of a shard, and after those of all
# One of these, then epoch, first batch and end of the group, and of the group that comes next.
COMMAND = struct.Struct("<7q")
PARTS_A_WORKER = 2  # of the rows that are merged, as frequent words change more often
CURVE_POINTS = 100  # of the loss of a run that the log keeps, at most; one an epoch beside


@notebook.shown
class Step(NamedTuple):
    """Progress of a run after the step that a group of batches makes, or a round of shards."""

    number: int  # steps done, of all epochs
    total: int  # steps of the whole run
    epoch: int  # from 1
    epochs: int
    loss: float  # mean over the group
    words: int  # corpus tokens consumed by the group
    rate: float  # learning rate at its beginning
    shares: tuple[int, ...]  # batches computed by each worker; () where machines share them
    record: Mapping[str, Any] | None  # at the end of an epoch: what the log keeps of it


class BatchReport(NamedTuple):
    """Facts about a batch, beside its gradients."""

    loss: float  # sum and count
    examples: float
    words: float
    finite: float  # 0 where a loss or gradient is not a finite number
    worker: float


class Training:
    """A run of a task; `steps()` does the work, `state` is what it has reached.

    `frozen` holds masks (V,) of the rows that are not trained, by parameter. With a `state` the
    run goes on from there. `plan` says which batches make a step, and `engine` trains them.
    Nothing changes between a `Step` and the next, so the state may be saved then. `whole` says
    whether it is that of a step's end: False if a worker died, or the run was interrupted, while
    rows were changed.
    """

    def __init__(
        self,
        task: Task,
        settings: TrainSettings,
        *,
        state: TrainState | None = None,
        frozen: Mapping[str, Array] | None = None,
        plan: Plan | None = None,
    ) -> None:
        self.task = task
        self.settings = settings
        self.whole = True
        self.plan = plan or Plan(
            task.batches, settings.epochs, settings.group, growth=settings.group_growth
        )
        self.total = self.plan.total
        self.workers = min(resolve_workers(settings.workers), settings.group, task.batches)
        if task.batches * settings.epochs < SMALL_RUN:
            self.workers = 1
        self.frozen = frozen or {}
        self._optimizer = make_optimizer(settings)
        self._trainable = {n: p for n, p in task.parameters.items() if p.requires_grad}
        self.state = self._place(state)
        self.state.finished |= task.solved
        slots = min(math.ceil(settings.group * settings.group_growth), task.batches)
        self._differentiated = task.differentiated
        self._gradients: Accumulator = LocalGradients(self._differentiated)
        if slots > 1:
            self._gradients = SharedGradients(
                self._differentiated, task.most_rows, slots, self.workers
            )
        self._composed: ComposedWords | None = None
        if task.composition is not None:
            table, parts = self.state.parameters["table"], self.state.parameters["parts"]
            most = min(slots * task.most_rows["table"], len(table))
            self._composed = ComposedWords(
                task.composition, table, parts, most, self.workers, self._optimizer
            )
        # One part a worker, as each has a fixed cost. Tables alternate, so that a worker with a
        # part of the table that takes longer gets one of the other next.
        self._parts = [
            (name, part)
            for part in range(self.workers)
            for name in reversed([*self._differentiated])
            if part == 0 or name in task.tables
        ]
        self._merger: Merger | None = None
        self.engine: Engine = LocalEngine(self)
        self._computed = 0  # batches, by this process
        self._ahead: list[tuple[int, int]] = []  # epoch and index of the batches it takes next,
        self._made: dict[tuple[int, int], Any] = {}  # and those that it has made already
        self._reports = shared_array((slots, len(BatchReport._fields)), np.float64)

    def steps(self, engine: Engine | None = None) -> Generator[Step, None, None]:
        """Train, a step at a time, on the engine given or in this process and those it forks.

        Raises TrainingError when a loss or gradient is no longer a finite number (the state is
        then that before the step), or when a worker died.
        """
        if engine is not None:
            self.engine = engine
        trim_heap()  # of what came before: it would be every worker's too
        keep_freed_memory()
        with self.engine:
            while not self.state.finished:
                yield self._step()

    def complete(self) -> None:
        """Bring the state here, and compose all vectors, not only those that were looked up last.

        It is called before the state is saved.
        """
        self.engine.collect()
        if self._composed is not None:
            self._composed.compose(self._not_frozen(np.arange(len(self.state.trained))))

    def _not_frozen(self, words: Array) -> Array:
        """Return the words (U,) whose rows of the table are trained."""
        frozen = self.frozen.get("table")
        return words if frozen is None else words[~frozen[words]]

    @property
    def done(self) -> int:
        """Steps done, of all epochs."""
        return self.plan.before(self.state.epoch) + self.state.group

    def _place(self, state: TrainState | None) -> TrainState:
        """Put the weights and the optimizer's state where all workers see them."""

        def shared(array: Array) -> Array:
            if self.workers == 1:
                return np.require(array, requirements=["C", "W"])
            copy = shared_array(array.shape, array.dtype)
            copy[...] = array
            return copy

        for name, tensor in self.task.parameters.items():
            tensor.data = shared(tensor.data if state is None else state.parameters[name])
        if state is None:
            slots = {n: self._optimizer.state_like(p.data) for n, p in self._trainable.items()}
            words = len(self.task.parameters["table"])
            trained = np.full(words, int(self.task.solved), np.int64)  # (V,)
            state = TrainState({}, slots, trained)
        state.parameters = {name: tensor.data for name, tensor in self.task.parameters.items()}
        state.trained = shared(state.trained)
        for name in self._trainable:  # a checkpoint has no entry for an optimizer without state
            state.slots.setdefault(name, {})
        for arrays in state.slots.values():
            arrays.update({slot: shared(array) for slot, array in arrays.items()})
        return state

    def _step(self) -> Step:
        state, epoch, number = self.state, self.state.epoch, self.state.group
        steps = self.plan.steps(epoch)
        lr = self._rate(epoch, self.plan.turn(epoch, number, 0)[0].start)
        reports = self.engine.train(epoch, number)
        loss, count = sum(r.loss for r in reports), sum(r.examples for r in reports)
        words = int(sum(r.words for r in reports))
        state.loss += loss
        state.count += count
        state.part_loss += loss
        state.part_count += count
        state.words += words
        state.group += 1
        parts = min(steps, max(1, CURVE_POINTS // self.settings.epochs))  # of an epoch
        if state.group * parts // steps > number * parts // steps:
            state.curve.append(float(f"{state.part_loss / max(state.part_count, 1):.6g}"))
            state.part_loss, state.part_count = 0.0, 0.0
        shares: tuple[int, ...] = ()
        if isinstance(self.engine, LocalEngine):
            shares = tuple(sum(r.worker == n for r in reports) for n in range(self.workers))
        return Step(
            number=self.done,
            total=self.total,
            epoch=epoch + 1,
            epochs=self.settings.epochs,
            loss=loss / max(count, 1),
            words=words,
            rate=lr,
            shares=shares,
            record=self._end_epoch() if state.group == steps else None,
        )

    def turn(
        self, team: Team, epoch: int, groups: Sequence[range], then: tuple[int, range]
    ) -> list[BatchReport]:
        """Train some groups of batches, each with a step of its own; return the reports of all.

        `then` says which epoch and batches come next, some of which are made in advance.
        """
        reports = []
        following = [*((epoch, batches) for batches in groups[1:]), then]
        for batches, after in zip(groups, following, strict=True):
            reports += self._group(team, epoch, batches, after)
        return reports

    def make_merger(self) -> None:
        """Make what merges the shards; it is called before the processes that share it fork."""
        arrays = {n: [p.data, *self.state.slots[n].values()] for n, p in self._trainable.items()}
        arrays["trained"] = [self.state.trained]
        dtype, parts = self.settings.change_dtype, PARTS_A_WORKER * self.workers
        self._merger = Merger(arrays, dtype, parts)

    @property
    def merger(self) -> Merger:
        """What merges the shards, once `make_merger` was called."""
        if self._merger is None:
            raise RuntimeError("make_merger was not called")
        return self._merger

    def merge(self, team: Team, *, last: bool) -> None:
        """Set what a shard changed aside; after the last of a round, apply what all changed."""
        self.whole = not last
        team.run(COMMAND.pack(END_ROUND if last else END_TURN, *[0] * 6), len(self.merger.tasks))
        self.whole = True

    def restore(self) -> None:
        """Undo the changes of an unfinished round."""
        self.merger.restore()
        self.whole = True

    def _group(
        self, team: Team, epoch: int, batches: range, then: tuple[int, range]
    ) -> list[BatchReport]:
        next_epoch, ahead = then
        place = epoch, batches.start, batches.stop, next_epoch, ahead.start, ahead.stop
        if self._composed is not None:
            looked_up = self.task.looked_up(self.state.epochs_before + epoch, batches)
            self._composed.begin(self._not_frozen(looked_up))
            team.run(COMMAND.pack(COMPOSE, *place), self._composed.shares)
        # 1. Compute the gradients of the group's batches, all from the same weights.
        team.run(COMMAND.pack(GRADIENTS, *place), len(stretches(len(batches), self.workers)))
        reports = [BatchReport(*report) for report in self._reports[: len(batches)].tolist()]
        for report, index in zip(reports, batches, strict=True):
            if not report.finite:
                lr = self._rate(epoch, batches.start)
                raise TrainingError(
                    f"step {self.done + 1} (epoch {epoch + 1}, batch {index + 1}) at rate "
                    f"{lr:.3g}: the loss or a gradient is not a finite number",
                    f"Take a smaller rate: --lr {self.task.lr / 10:.3g}",
                )
        # 2. Apply their sum, each part of a table by one worker.
        self.whole = False
        team.run(COMMAND.pack(UPDATES, *place), len(self._parts))
        if self._composed is not None:
            team.run(COMMAND.pack(SPREAD, *place), self._composed.shares)
        self.whole = True
        return reports

    def _end_epoch(self) -> dict[str, Any]:
        state = self.state
        record: dict[str, Any] = {
            "epoch": state.epochs_before + state.epoch + 1,
            "steps": state.steps_before + self.plan.before(state.epoch + 1),
            "loss": state.loss / max(state.count, 1),
            "words": state.words,
        }
        if len(state.curve) > 1:
            record["curve"] = state.curve
        state.epoch, state.group = state.epoch + 1, 0
        state.loss, state.count, state.words, state.curve = 0.0, 0.0, 0, []
        state.finished = state.epoch == self.settings.epochs
        if self.settings.valid is not None or self.settings.valid_share:
            self.engine.collect()
        validation = self.task.validate()
        if validation is not None:
            record |= validation.metrics
            patience = self.settings.patience
            if patience is not None:
                if validation.score > state.best_score:
                    state.best_score, state.best_epoch = validation.score, state.epoch
                    state.best = {name: array.copy() for name, array in state.parameters.items()}
                state.finished |= state.epoch - state.best_epoch >= patience
                if state.finished:
                    for name, array in state.best.items():
                        state.parameters[name][...] = array
        state.log.append(record)
        return record

    def _rate(self, epoch: int, batch: int) -> float:
        of = self.settings
        progress = self.plan.progress(epoch, batch)
        return learning_rate(of.schedule, self.task.lr, progress, of.warmup)

    def work(self, worker: int, command: bytes, task: int) -> None:
        """Do one task of a command: a stretch of batches, or a part of the update."""
        what, epoch, start, stop, next_epoch, ahead, end = COMMAND.unpack(command[: COMMAND.size])
        if what == GRADIENTS:
            slots = stretches(stop - start, self.workers)[task]
            # Made one after the other they take half the time: their code stays in the cache.
            made = [(slot, self._batch(epoch, start + slot)) for slot in slots]
            taken = stretches(end - ahead, self.workers)[worker : worker + 1]
            self._ahead = [(next_epoch, ahead + slot) for slots in taken for slot in slots]
            for slot, batch in made:
                self._compute(worker, slot, batch)
        elif what == UPDATES:
            self._update(*self._parts[task], epoch, range(start, stop))
        elif what == END_TURN:
            self.merger.end_turn(task)
        elif what == END_ROUND:
            self.merger.end_round(task)
        elif self._composed is not None and what == COMPOSE:
            self._composed.compose(self._composed.share(task))
        elif self._composed is not None:
            for gradient in self._composed.gradients(task):
                self._apply("parts", gradient, epoch, start)

    def _batch(self, epoch: int, index: int) -> Any:
        """Return a batch that was made ahead, or make it."""
        made = self._made.pop((epoch, index), None)
        return self.task.batch(self.state.epochs_before + epoch, index) if made is None else made

    def make_ahead(self) -> bool:
        """Make one of the batches that this worker will take next; False if all are made."""
        if not self._ahead:
            return False
        each = self._ahead.pop(0)
        self._made[each] = self._batch(*each)
        return True

    def _compute(self, worker: int, slot: int, batch: Any) -> None:
        """Leave a batch's gradients, and its report, where the other workers find them."""
        shared = self._gradients.batch(slot)
        clipped = self.settings.clip_norm is not None
        found = LocalGradients(self._differentiated) if clipped else shared
        with np.errstate(over="ignore", invalid="ignore"):  # numbers that are not finite are found
            loss = self.task.gradients(batch, found)
            finite = math.isfinite(loss.total) and found.finite()
            if clipped:
                for name, gradient in settled(found.by_name, self.settings, self.frozen).items():
                    shared.put(name, gradient)
        shared.close()
        words = self.task.words(batch)
        self._reports[slot] = BatchReport(loss.total, loss.count, words, finite, worker)
        self._computed += 1
        if self._computed % TRIM_EVERY == 0:
            trim_heap()

    def _update(self, name: str, part: int, epoch: int, batches: range) -> None:
        """Apply a part of the sum of the group's gradients of one parameter."""
        frozen = self.frozen.get(name)
        for total in self._gradients.sums(name, len(batches), part):
            gradient = without_frozen(total, frozen)
            if name == "table" and isinstance(gradient, RowGrad):
                trained = gradient.curvature > 0
                self.state.trained[gradient.ids[trained]] += 1
                if self._merger is not None:
                    self._merger.mark("trained", gradient.ids[trained])
                if self._composed is not None:
                    self._composed.take(gradient.take(trained))
                    continue
            self._apply(name, gradient, epoch, batches.start)

    def _apply(self, name: str, gradient: Gradient, epoch: int, batch: int) -> None:
        """Take the optimizer's step with the gradient of some rows, or of a whole parameter."""
        weights, state = self.state.parameters[name], self.state.slots[name]
        t = self.state.steps_before + self.plan.step(epoch, batch)
        lr = self._rate(epoch, batch)
        rows: Array | slice = slice(None)
        if isinstance(gradient, RowGrad):
            self._optimizer.step_rows(weights, state, gradient, lr, t)
            rows = gradient.ids
        else:
            self._optimizer.step_dense(weights, state, gradient, lr, t)
        if self._merger is not None:
            self._merger.mark(name, rows)
