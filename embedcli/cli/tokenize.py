"""Text to tokens and ids: `tokenize`."""

from __future__ import annotations

import shutil
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
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

# Settings of learning phrases, which a training does.
PHRASES = ("phrases", "phrase_score", "phrase_threshold", "phrase_min_count", "phrase_passes")


@examples(
    "printf 'Hope to see you soon\\nNice to see you again\\n' | embed tokenize",
    "embed tokenize --format tokens book.txt.gz",
    "embed tokenize corpus/ --save-ids ids.npy --save-vocab vocab.txt > /dev/null",
    "embed tokenize new.txt --vocab vocab.txt --oov skip",
    "embed tokenize new.txt --phrases embeddings/phrases.txt --format tokens",
)
@flags.with_settings(TextSettings, leave_out=("cache", *PHRASES))
def tokenize(
    ctx: typer.Context,
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CORPUS", help="Files, folders or globs; none or -: standard input."
        ),
    ] = None,
    output: Annotated[Literal["ids", "tokens", "json"], flags.FORMAT] = "ids",
    vocab: Annotated[
        Path | None, typer.Option(help="Vocabulary to number the words by, one per line.")
    ] = None,
    oov: Annotated[
        Literal["error", "skip", "unknown"],
        typer.Option(help="A word outside --vocab is an error, skipped, or has the id -1."),
    ] = "error",
    phrases: Annotated[
        Path | None, typer.Option(help="List of word pairs to join: a model's phrases.txt.")
    ] = None,
    save_ids: Annotated[
        Path | None, typer.Option(help="Write all ids to a .npy file (int32).")
    ] = None,
    save_vocab: Annotated[
        Path | None, typer.Option(help="Write the vocabulary, one word per line.")
    ] = None,
    quiet: flags.Quiet = False,
) -> None:
    """Split text into tokens and number them.

    Ids count from 0, by first appearance. Prints one line for each line of the text. Every word is
    kept unless --min-count, --max-vocab or --stop-words says otherwise. JSON: for each line a list
    of {"token", "id"}.
    """
    from embedcli import api
    from embedcli.text.vocabulary import Vocabulary

    given = None if vocab is None else Vocabulary.read(vocab)
    settings = flags.given(ctx)
    lines = api.tokenize(corpus or ["-"], vocabulary=given, oov=oov, phrases=phrases, **settings)
    if unmatched := lines.unmatched:
        terminal.note(
            f"{vocab}: {len(unmatched):,} words can never be found, such as {unmatched[0]!r}: "
            "tokens are folded; see --no-fold-case and --no-normalize",
            quiet=quiet,
        )
    with TemporaryFile() as ids:
        for line in _printed(lines, output):
            if save_ids is not None:
                ids.write(array("i", line.ids).tobytes())
        if save_ids is not None:
            _save_ids(save_ids, ids)
    if save_vocab is not None:
        flags.write_file(save_vocab, lines.vocabulary.to_bytes())
    if given is not None:
        terminal.say_found(lines.coverage, quiet=quiet)
    else:
        terminal.say_too_long(lines.coverage.too_long, quiet=quiet)


def _printed(lines: Iterable[Line], output: str) -> Iterator[Line]:
    """Yield lines after printing them; a very long one comes in parts."""
    opening, gap, closing = ("[", ", ", "]\n") if output == "json" else ("", " ", "\n")
    raw = terminal.raw if sys.stdout.isatty() else str
    cells: dict[str, Callable[[Line], Iterator[str]]] = {
        "ids": lambda line: map(str, line.ids),
        "tokens": lambda line: map(raw, line.tokens),
        "json": lambda line: (
            terminal.json_text({"token": token, "id": id_})
            for token, id_ in zip(line.tokens, line.ids, strict=True)
        ),
    }
    started = filled = False  # whether parts of the line, and cells of it, were printed
    for line in lines:
        text = gap.join(cells[output](line))
        sys.stdout.write("" if started else opening)
        sys.stdout.write(gap if filled and text else "")
        sys.stdout.write(text + (closing if line.ended else ""))
        started = not line.ended
        filled = started and (filled or bool(text))
        yield line


def _save_ids(path: Path, ids: Any) -> None:
    """Write ids (int32), which were written one after the other, as a .npy file."""
    from embedcli.storage.arrays import npy_header
    from embedcli.storage.files import atomic_write

    header = npy_header((ids.tell() // 4,), "i")
    ids.seek(0)
    with atomic_write(path) as out:
        out.write(header)
        shutil.copyfileobj(ids, out)
