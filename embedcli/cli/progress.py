"""How far a long work is: one bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from embedcli.storage.files import readable
from embedcli.views import colors
from embedcli.views.records import measured
from embedcli.views.terminal import note

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from embedcli.training.loop import Step
    from embedcli.training.run import Event

PARTS = 32  # of a training, whose mean losses are kept
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_EPOCHS = 1.0  # short epochs share a line; the log has them all
SECONDS_BETWEEN_FRAMES = 0.1


class Progress:
    """Shows on standard error how much is done, how fast, and the time left, within a block.

    On a terminal that is a bar; that of a training stays, others are gone in the end.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._on_terminal = sys.stderr.isatty()
        self._bar: RichProgress | None = None
        self._shown = time.monotonic()
        self.start("")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop showing a work; the next one has a bar of its own."""
        if self._bar is not None:
            self._bar.live.transient = self._what != "train"
            self._bar.stop()
            self._bar = None

    def start(self, what: str, done: int | None = None) -> None:
        """Begin to measure the time of a work, of which so much was done before."""
        self._what, self._started, self._first = what, time.monotonic(), done
        self._words, self.machines = 0, 1
        self._losses: dict[int, list[float]] = {}  # of the steps in each part of a training

    def say(self, what: str, done: int, total: int, unit: str = "bytes") -> None:
        """Show how much was read, written or answered; `total` is 0 where it is not known."""
        if what != self._what or self._first is None:
            self.start(what, done)
            return
        now = time.monotonic()
        pause = SECONDS_BETWEEN_FRAMES if self._on_terminal else SECONDS_BETWEEN_LINES
        if self.quiet or now - self._shown < pause:
            return
        self._shown, passed = now, now - self._started
        speed = (done - self._first) / max(passed, 1e-9)
        parts = [f"{readable(int(speed))}/s" if unit == "bytes" else f"{speed:,.0f} {unit}/s"]
        if total:
            parts.append(f"{clock((total - done) / max(speed, 1e-9))} left")
        if self._on_terminal:
            self._draw(what, done, total, "  ".join(parts))
        else:
            amount = readable(done) if unit == "bytes" else f"{done:,} {unit}"
            share = f"{done / total:4.0%}" if total else amount
            note(f"{share} {', '.join([what, *parts])}")

    def report(self, event: Event) -> None:
        """Show how far a training is; see `api.train`."""
        from embedcli.training.engines import Round
        from embedcli.training.loop import Step
        from embedcli.training.run import Counting, Prepared, Reading, Replica

        if isinstance(event, Reading):
            self.say("read", *event)
        elif isinstance(event, Counting):
            self.say("count", *event, unit="words")
        elif isinstance(event, Replica):
            self.end()
        elif isinstance(event, Prepared):
            self.start("train")
        elif isinstance(event, Round):
            self.machines = len(event.machines)
        elif isinstance(event, Step):
            self.step(event)

    def step(self, step: Step) -> None:
        """Show a step of training; where an epoch was validated, its metrics."""
        if self.quiet:
            return
        if self._first is None:
            self._first = step.number - 1
        self._words += step.words
        part = self._losses.setdefault((step.number - 1) * PARTS // step.total, [0.0, 0.0])
        part[0], part[1] = part[0] + step.loss, part[1] + 1
        now, last = time.monotonic(), step.number == step.total
        passed = now - self._started
        if self._on_terminal:
            metrics = measured(step.record) if step.record is not None else ""
            if len(metrics.split()) > 2:
                line = f"epoch {step.epoch}/{step.epochs}  {metrics}"
                self._rich().console.print(line, markup=False, highlight=False)
            pause = SECONDS_BETWEEN_FRAMES
        else:
            pause = SECONDS_BETWEEN_LINES if step.record is None else SECONDS_BETWEEN_EPOCHS
        if now - self._shown < pause and not last:
            return
        self._shown = now
        left = passed * (step.total - step.number) / max(step.number - self._first, 1)
        speed = f"{self._words / max(passed, 1e-9):,.0f} words/s  {clock(left)} left"
        if self.machines > 1:
            speed = f"{self.machines} machines  {speed}"
        epoch, loss = f"epoch {step.epoch}/{step.epochs}", f"loss {step.loss:.4f}"
        if self._on_terminal:
            self._draw(epoch, step.number, step.total, f"{loss}  {speed}")
        else:
            metrics = measured(step.record) if step.record else loss
            share = f"{step.number / step.total:4.0%}"
            print(f"{epoch}  {share}  {metrics}  {speed}", file=sys.stderr)

    def loss_curve(self) -> str:
        """Return the mean losses of the parts of a training as bars, between the first and last."""
        from embedcli.views.charts import sparkline

        means = [total / steps for total, steps in self._losses.values()]
        if not means:
            return ""
        return f"loss  {means[0]:.4f} {sparkline(means)} {means[-1]:.4f}"

    def _draw(self, what: str, done: int, total: int, parts: str) -> None:
        bar = self._rich()
        share = f"{done / total:4.0%}  {parts}" if total else parts
        bar.update(
            bar.task_ids[0], description=what, completed=done, total=total or None, parts=share
        )
        bar.refresh()

    def _rich(self) -> RichProgress:
        """Return the bar; it is made when it is first shown."""
        if self._bar is None:
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[parts]}", markup=False),
                console=colors.console(sys.stderr),
                auto_refresh=False,
                expand=True,
                redirect_stdout=False,  # results go where standard output goes
            )
            self._bar.add_task("", parts="")
            self._bar.start()
        return self._bar


def clock(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds.

    >>> clock(59.6), clock(3661)
    ('1:00', '1:01:01')
    """
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
