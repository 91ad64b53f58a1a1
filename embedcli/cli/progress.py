"""The course of a training: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from embedcli.training import Step

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_EPOCHS = 1.0  # short epochs share a line; the log has them all
SECONDS_BETWEEN_FRAMES = 0.1


class Watch(Protocol):
    """Is told every step."""

    def __call__(self, step: Step, /) -> None:
        """Show the step, or keep it for a later line."""


@contextmanager
def progress(quiet: bool) -> Iterator[Watch]:
    """Show a run's course on stderr as long as the block lasts."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar() as watch:
            yield watch
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
        print(
            f"epoch {step.epoch}/{step.epochs}  {step.number / step.total:4.0%}  "
            f"{in_words(step)}  {self.pace.speed:,.0f} words/s  "
            f"{clock(self.pace.left(step))} left",
            file=sys.stderr,
        )


def in_words(step: Step) -> str:
    """Say a step's loss, or all that was measured at an epoch's end."""
    if step.record is None:
        return f"loss {step.loss:.4f}"
    measured = {k: v for k, v in step.record.items() if isinstance(v, float)}
    return "  ".join(f"{name} {value:.4f}" for name, value in measured.items())


def clock(seconds: float) -> str:
    """Spell a duration.

    >>> clock(59.6), clock(3661)
    ('1:00', '1:01:01')
    """
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


@contextmanager
def _bar() -> Iterator[Watch]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns: list[Any] = [
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:3.0f}%  {task.fields[measured]}"),
    ]
    console = Console(stderr=True)
    with Progress(*columns, console=console, auto_refresh=False, expand=True) as shown:
        bar = shown.add_task("", epoch="", measured="", total=None)
        pace = _Pace()
        last = -1.0

        def watch(step: Step) -> None:
            nonlocal last
            pace.add(step)
            if pace.passed - last < SECONDS_BETWEEN_FRAMES and step.number < step.total:
                return
            last = pace.passed
            measured = (
                f"loss {step.loss:.4f}  {pace.speed:,.0f} words/s  {clock(pace.left(step))} left"
            )
            epoch = f"{step.epoch}/{step.epochs}"
            shown.update(
                bar, completed=step.number, total=step.total, epoch=epoch, measured=measured
            )
            shown.refresh()

        yield watch
