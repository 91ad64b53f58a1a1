"""The command line: parse, call one function of `embedcli.api`, show what came back."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from embedcli.errors import EmbedError

DONE, FAILED, MISUSED, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived."""


def entry() -> NoReturn:
    """Run the `embed` of the shell."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup keeps its promise
            signal.signal(number, _terminate)
    sys.exit(main(sys.argv[1:]))


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; results go to stdout, all else to stderr."""
    import typer

    from embedcli.cli import app

    try:
        return app.run(argv)
    except EmbedError as error:
        return _fail(error.message, error.hint)
    except typer.TyperException as error:
        command = getattr(error, "ctx", None)
        path = command.command_path if command else "embed"
        return _fail(error.format_message(), f"{path} --help", code=MISUSED)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", code=INTERRUPTED)
    except Terminated:
        return _fail("terminated", code=TERMINATED)
    except BrokenPipeError:
        # The reader has what it wanted; what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        return _fail(f"{error.filename or 'output'}: {error.strerror or error}")


def _fail(message: str, hint: str | None = None, *, code: int = FAILED) -> int:
    from embedcli.cli.render import note

    note(f"error: {message}")
    if hint:
        note(f"hint: {hint}")
    return code
