"""The command line: parse, call one function of `embedcli.api`, print the result."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from embedcli.errors import EmbedError, brief

DONE, FAILED, MISUSED = 0, 1, 2
# New objects after which Python looks for reference cycles. A command makes few of them; at the
# default of 700 the search took a twentieth of the time of a short command.
GC_THRESHOLD = 100_000
STOPS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
if sys.platform != "win32":
    STOPS[signal.SIGHUP] = "hung up"


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code_of(number: int) -> int:
    """Return the exit code of a command that a signal ended: 130, 143 or 129."""
    return 128 + number


def entry() -> NoReturn:
    """Run the `embed` command of the shell."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the parent process
            setattr(sys, name, Path(os.devnull).open("r+", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout.buffer, io.RawIOBase):
        # PYTHONUNBUFFERED: the rest of a write that was cut short, as by a full disk, was lost.
        buffer = io.BufferedWriter(sys.stdout.buffer)
        sys.stdout = io.TextIOWrapper(buffer, line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    for number in STOPS.keys() - {signal.SIGINT}:
        if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup it stays ignored
            signal.signal(number, _terminate)
    gc.set_threshold(GC_THRESHOLD)
    try:
        code = main(sys.argv[1:])
        try:
            sys.stdout.flush()
        except OSError:  # `main` has said so; flushing once more at exit would change the exit code
            _discard_output()
        for number in STOPS:  # there is nothing left to stop
            signal.signal(number, signal.SIG_IGN)
    except (KeyboardInterrupt, Terminated) as end:
        code = _stopped(getattr(end, "number", signal.SIGINT))
    gc.freeze()  # or Python would visit every object once more before it exits
    sys.exit(code)


def _terminate(number: int, _: object) -> NoReturn:
    raise Terminated(number)


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; only results go to stdout."""
    try:
        import typer  # inside, for signals may arrive while it is loaded

        from embedcli.cli import app

        try:
            return app.run(argv)
        except typer.Abort:
            return _stopped(signal.SIGINT)
        except typer.TyperException as error:
            command = getattr(error, "ctx", None)
            path = command.command_path if command else "embed"
            hint = _renamed_flag(error) or f"{path} --help"
            return _fail(error.format_message(), hint, code=MISUSED)
    except KeyboardInterrupt:
        return _stopped(signal.SIGINT)
    except Terminated as end:
        return _stopped(end.number)
    except EmbedError as error:
        return _fail(error.message, error.hint)
    except MemoryError:
        return _fail("not enough memory", "free some, or try a smaller --dim or --max-vocab")
    except BrokenPipeError:
        _discard_output()  # the reader has what it wanted
        return DONE
    except OSError as error:
        return _fail(f"{error.filename or 'output'}: {error.strerror or error}")


def _discard_output() -> None:
    """Redirect stdout to nowhere, so that flushing the buffer at exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _renamed_flag(error: Exception) -> str | None:
    """Return a hint at the flag that replaced the unknown one, if that is an old name."""
    from embedcli.config import TrainSettings, former_names

    unknown = getattr(error, "option_name", "").removeprefix("--").replace("-", "_")
    name = former_names(TrainSettings).get(unknown)
    return f"Did you mean --{name.replace('_', '-')}?" if name else None


def _stopped(number: int) -> int:
    return _fail(STOPS[signal.Signals(number)], code=exit_code_of(number))


def _fail(message: str, hint: str | None = None, *, code: int = FAILED) -> int:
    from embedcli.views.terminal import note, visible

    note(f"error: {brief(visible(message))}")
    if hint:
        note(f"hint: {brief(visible(hint))}")
    return code
