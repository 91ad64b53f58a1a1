"""Text to tokens and ids: `tokenize`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.config import TextSettings
from embedcli.views import terminal

if TYPE_CHECKING:
    from embedcli.text.tokenized import Line


@examples(
    "printf 'Hope to see you soon\\nNice to see you again\\n' | embed tokenize",
    "embed tokenize --format tokens book.txt.gz",
    "embed tokenize corpus/ --save-ids ids.npy --save-vocab vocab.txt > /dev/null",
    "embed tokenize new.txt --vocab vocab.txt --oov skip",
)
@flags.with_settings(TextSettings, leave_out=("cache",))
def tokenize(
    ctx: typer.Context,
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CORPUS", help="Files, folders or globs; none or -: standard input."
        ),
    ] = None,
    output: Annotated[
        str, flags.one_of("--format", "ids", "tokens", "json", help="What to print.")
    ] = "ids",
    vocab: Annotated[
        Path | None, flags.path("--vocab", help="Number the words by this file, one a line.")
    ] = None,
    oov: Annotated[
        Literal["error", "skip", "unknown"],
        flags.one_of(
            "error",
            "skip",
            "unknown",
            help="A word outside --vocab is an error, left out, or has the id -1.",
        ),
    ] = "error",
    save_ids: Annotated[
        Path | None, flags.path("--save-ids", help="Write all ids to a .npy file (int32).")
    ] = None,
    save_vocab: Annotated[
        Path | None, flags.path("--save-vocab", help="Write the vocabulary, one word a line.")
    ] = None,
    quiet: flags.Quiet = False,
) -> None:
    """Cut text into tokens and number them.

    Ids count from 0, by first appearance. Prints one line for each line of the text, a blank one
    for a blank one. Every word is kept unless --min-count, --max-vocab or --stop-words says
    otherwise. JSON: for each line a list of {"token", "id"}.
    """
    from embedcli import api
    from embedcli.text.vocabulary import Vocabulary

    given = None if vocab is None else Vocabulary.read(vocab)
    lines = api.tokenize(corpus or ["-"], vocabulary=given, oov=oov, **flags.given(ctx))
    if unmatched := lines.unmatched:
        terminal.note(
            f"{vocab}: {len(unmatched):,} words can never be found, such as {unmatched[0]!r}: "
            "tokens are folded; see --no-fold-case and --no-normalize",
            quiet=quiet,
        )
    if save_ids is None:
        _print(lines, output)
    else:
        with TemporaryFile() as spool:
            _print(_spooled(lines, spool.write), output)
            _save_ids(save_ids, spool)
    if save_vocab is not None:
        from embedcli.storage import files

        with files.atomic_write(save_vocab) as out:
            out.write(lines.vocabulary.to_bytes())
    if given is not None:
        terminal.say_found(lines.coverage, quiet=quiet)
    else:
        terminal.say_too_long(lines.coverage.too_long, quiet=quiet)


def _spooled(lines: Any, write: Callable[[bytes], object]) -> Iterator[Line]:
    import numpy as np

    for line in lines:
        write(np.array(line.ids, "<i4").tobytes())
        yield line


def _save_ids(path: Path, spool: Any) -> None:
    import numpy as np

    from embedcli.storage import files

    shape = (spool.tell() // 4,)
    spool.seek(0)
    with files.atomic_write(path) as out:
        header = {"descr": "<i4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        shutil.copyfileobj(spool, out)


def _print(lines: Any, output: str) -> None:
    if output == "json":
        _print_json(lines)
        return
    cells: Callable[[Line], Iterator[str]] = {"ids": _ids, "tokens": _tokens}[output]
    filled = False
    for line in lines:
        text = " ".join(cells(line))
        gap = " " if filled and text else ""
        sys.stdout.write(f"{gap}{text}" + ("\n" if line.ended else ""))
        filled = not line.ended and (filled or bool(text))


def _ids(line: Line) -> Iterator[str]:
    return map(str, line.ids)


def _tokens(line: Line) -> Iterator[str]:
    return map(terminal.raw, line.tokens) if sys.stdout.isatty() else iter(line.tokens)


def _print_json(lines: Any) -> None:
    started = filled = False
    for line in lines:
        pairs = zip(line.tokens, line.ids, strict=True)
        text = ", ".join(terminal.json_text({"token": token, "id": each}) for token, each in pairs)
        opening = "" if started else "["
        comma = ", " if filled and text else ""
        sys.stdout.write(f"{opening}{comma}{text}" + ("]\n" if line.ended else ""))
        started = not line.ended
        filled = started and (filled or bool(text))
