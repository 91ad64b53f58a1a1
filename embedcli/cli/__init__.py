"""The command line: parse, call one function of `embedcli.api`, show what came back."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from embedcli.errors import EmbedError, brief

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
# Objects made anew after which Python looks for circles among them. A command makes few circles; to
# look every 700 took a twentieth of the time of a short one.
SELDOM = 100_000
STOPS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code_of(number: int) -> int:
    """Return what the shell is told of the end by a signal: 130, 143 or 129."""
    return 128 + number


def entry() -> NoReturn:
    """Run the `embed` of the shell."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("r+", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup keeps its promise
            signal.signal(number, _terminate)
    gc.set_threshold(SELDOM)
    code = main(sys.argv[1:])
    gc.freeze()  # or Python would go through all there is once more, before the system frees it
    sys.exit(code)


def _terminate(number: int, _: object) -> NoReturn:
    raise Terminated(number)


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; results go to stdout, all else to stderr."""
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return _fail(STOPS[signal.SIGINT], code=INTERRUPTED)
    except Terminated as end:
        return _fail(STOPS[signal.Signals(end.number)], code=exit_code_of(end.number))


def _run(argv: Sequence[str]) -> int:
    import typer

    from embedcli.cli import app

    try:
        return app.run(argv)
    except EmbedError as error:
        return _fail(error.message, error.hint)
    except MemoryError:
        return _fail("not enough memory", "free some, or try a smaller --dim or --max-vocab")
    except typer.TyperException as error:
        command = getattr(error, "ctx", None)
        path = command.command_path if command else "embed"
        hint = _renamed_flag(error) or f"{path} --help"
        return _fail(error.format_message(), hint, code=MISUSED)
    except typer.Abort:
        return _fail(STOPS[signal.SIGINT], code=INTERRUPTED)
    except BrokenPipeError:
        # The reader has what it wanted; what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        return _fail(f"{error.filename or 'output'}: {error.strerror or error}")


def _renamed_flag(error: Exception) -> str | None:
    """Hint at the flag that replaced the unknown one, where that is an old name of a setting."""
    from embedcli.config import TrainSettings, former_names

    unknown = getattr(error, "option_name", "").removeprefix("--").replace("-", "_")
    name = former_names(TrainSettings).get(unknown)
    return f"Did you mean --{name.replace('_', '-')}?" if name else None


def _fail(message: str, hint: str | None = None, *, code: int = FAILED) -> int:
    from embedcli.views.terminal import note, visible

    with contextlib.suppress(OSError):  # a terminal that is gone
        note(f"error: {brief(visible(message))}")
        if hint:
            note(f"hint: {brief(visible(hint))}")
    return code
