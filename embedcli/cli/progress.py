"""The course of a training: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from embedcli.views.records import measured

if TYPE_CHECKING:
    from rich.progress import Progress

    from embedcli.training.loop import Step

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_EPOCHS = 1.0  # short epochs share a line; the log has them all
SECONDS_BETWEEN_FRAMES = 0.1
END_OF_LINE = "\x1b[K"  # what is left there of a longer one is cleared


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[Step], None]]:
    """Show a run's steps on stderr as long as the block lasts."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with ExitStack() as stack:
            yield _Bar(stack)
    else:
        yield _Lines()


class _Pace:
    """Words a second and seconds left, from what was seen so far."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.first: int | None = None  # step of a resumed run
        self.words = 0

    def add(self, step: Step) -> None:
        if self.first is None:
            self.first = step.number - 1
        self.words += step.words

    @property
    def passed(self) -> float:
        return time.monotonic() - self.started

    @property
    def speed(self) -> float:
        return self.words / max(self.passed, 1e-9)

    def left(self, step: Step) -> float:
        done = step.number - (self.first or 0)
        return self.passed * (step.total - step.number) / max(done, 1)


class _Lines:
    """A line at the end of an epoch, and every ten seconds of a long one."""

    def __init__(self) -> None:
        self.pace = _Pace()
        self.shown = 0.0

    def __call__(self, step: Step) -> None:
        self.pace.add(step)
        passed = self.pace.passed
        gap = SECONDS_BETWEEN_LINES if step.record is None else SECONDS_BETWEEN_EPOCHS
        if passed - self.shown < gap and step.number < step.total:
            return
        self.shown = passed
        said = measured(step.record) if step.record else f"loss {step.loss:.4f}"
        print(
            f"epoch {step.epoch}/{step.epochs}  {step.number / step.total:4.0%}  "
            f"{said}  {self.pace.speed:,.0f} words/s  "
            f"{clock(self.pace.left(step))} left",
            file=sys.stderr,
        )


def clock(seconds: float) -> str:
    """Spell a duration.

    >>> clock(59.6), clock(3661)
    ('1:00', '1:01:01')
    """
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class Share:
    """How much of a long file is read or written, as long as the block lasts.

    On a terminal that is one line, which is gone in the end; elsewhere a line now and then.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.bar = sys.stderr.isatty()
        self.what = ""
        self.started = self.shown = time.monotonic()

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar and not self.quiet:
            print(f"\r{END_OF_LINE}", end="", file=sys.stderr, flush=True)

    def say(self, what: str, done: int, size: int) -> None:
        """Say that so much of a size is read, or written."""
        now = time.monotonic()
        if what != self.what:
            self.what, self.started = what, now
        pause = SECONDS_BETWEEN_FRAMES if self.bar else SECONDS_BETWEEN_LINES
        if self.quiet or now - self.shown < pause:
            return
        self.shown = now
        left = (now - self.started) * (size - done) / max(done, 1)
        line = f"{done / max(size, 1):4.0%} {what}, {clock(left)} left"
        if self.bar:
            print(f"\r{line}{END_OF_LINE}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr)


class _Bar:
    """A bar for the run, and above it a line for each epoch that was validated."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.shown: Progress | None = None
        self.pace = _Pace()
        self.last = 0.0

    def __call__(self, step: Step) -> None:
        self.pace.add(step)
        shown = self.shown or self._start()
        if step.record is not None and len(measured(step.record).split()) > 2:
            line = f"epoch {step.epoch}/{step.epochs}  {measured(step.record)}"
            shown.console.print(line, markup=False, highlight=False)
        passed = self.pace.passed
        if passed - self.last < SECONDS_BETWEEN_FRAMES and step.number < step.total:
            return
        self.last = passed
        loss, left = f"loss {step.loss:.4f}", f"{clock(self.pace.left(step))} left"
        shown.update(
            shown.task_ids[0],
            completed=step.number,
            total=step.total,
            epoch=f"{step.epoch}/{step.epochs}",
            measured=f"{loss}  {self.pace.speed:,.0f} words/s  {left}",
        )
        shown.refresh()

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.shown = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:3.0f}%  {task.fields[measured]}"),
            console=Console(stderr=True),
            auto_refresh=False,
            expand=True,
        )
        self.shown.add_task("", epoch="", measured="")
        self.stack.enter_context(self.shown)
        return self.shown
