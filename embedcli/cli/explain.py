"""Lay open what training does: `explain`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from embedcli.cli import flags
from embedcli.cli.app import examples
from embedcli.views import story, terminal
from embedcli.views.blocks import Row, Table, Vector

if TYPE_CHECKING:
    from embedcli.explanation import Change, Example, Step, Word

FORMATS = ("text", "json", "svg", "html")
ROWS_SHOWN = 20  # of each table's changes, on the terminal
ANSWERS_SHOWN = 8  # right words, and noise words, of each example, on the terminal


@examples(
    'embed explain "nice to see you again"',
    'embed explain "nice to see you again" --out step.html',
    'embed explain "a moving film" --model reviews --label positive',
    "embed explain --word king",
)
def explain(
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="A text to take one step of learning on.")
    ] = None,
    word: Annotated[
        str | None, typer.Option(metavar="WORD", help="Tell what became of a word instead.")
    ] = None,
    model: flags.Model = flags.EMBEDDINGS,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="The right label or number of the text (classify, regress); repeatable.",
        ),
    ] = None,
    seed: Annotated[
        int | None, flags.number(help="Draw other windows and noise words than the model's seed.")
    ] = None,
    oov: Annotated[
        Literal["error", "skip"],
        flags.one_of(
            "error", "skip", help="An unknown word of TEXT is an error, or left out as in training."
        ),
    ] = "skip",
    output: Annotated[
        str | None,
        flags.one_of(
            "--format", *FORMATS, help="How to show it. [default: as --out is named, or text]"
        ),
    ] = None,
    out: Annotated[
        Path | None, flags.path("--out", help="Write to this file. [default: standard output]")
    ] = None,
    precision: flags.Precision = 4,
    quiet: flags.Quiet = False,
) -> None:
    """Show one step of learning on a text, as training takes it, and change nothing.

    From tokens to ids, the rows that were looked up, the right answer and how it was made, the
    loss, the gradient of each row, the rows before and after the step, and what stays. With --word,
    the story of a word: where it stood, how often it was trained, how far its row moved, its
    neighbours then and now. The JSON is described in docs/explain.md.
    """
    if (text is None) == (word is None):
        raise typer.BadParameter("give a text, or --word WORD")
    from embedcli import api
    from embedcli.text.vocabulary import Coverage

    output = output or _told_by(out)
    if word is not None:
        if label:
            raise typer.BadParameter("goes with a text, not with --word", param_hint="--label")
        story_of_word = api.explain_word(word, model)
        _write(_shown_word(story_of_word, output, precision), out)
    elif text is not None:
        step = api.explain(text, model, labels=label or (), seed=seed, oov=oov)
        _write(_shown_step(step, output, precision), out)
        coverage = Coverage()
        coverage.add(len(step.tokens), sum(token.id is None for token in step.tokens))
        terminal.say_found(coverage, quiet=quiet)


def _told_by(out: Path | None) -> str:
    ending = "" if out is None else out.suffix[1:].lower()
    return ending if ending in FORMATS else "text"


def _write(lines: Iterable[str], out: Path | None) -> None:
    if out is None:
        sys.stdout.writelines(lines)
        return
    from embedcli.storage import files

    with files.atomic_write(out) as file:
        file.write("".join(lines).encode())


def _shown_step(step: Step, output: str, precision: int) -> Iterable[str]:
    if output == "json":
        return [terminal.json_text(step_record(step)) + "\n"]
    if output == "text":
        return _text_of_step(step, precision)
    from embedcli.views.picture import step_html, step_svg

    return [step_svg(step) if output == "svg" else step_html(step)]


def _shown_word(word: Word, output: str, precision: int) -> Iterable[str]:
    if output == "json":
        return [terminal.json_text(word_record(word)) + "\n"]
    if output == "text":
        return _text_of_word(word, precision)
    from embedcli.views.picture import word_html, word_svg

    return [word_svg(word) if output == "svg" else word_html(word)]


def step_record(step: Step) -> dict[str, Any]:
    """Return a step as docs/explain.md describes it."""
    return {
        "task": step.task,
        "text": step.text,
        "settings": asdict(step.settings),
        "shape": list(step.shape),
        "tokens": [
            {"token": t.token, "id": t.id, "count": t.count, "kept": t.kept} for t in step.tokens
        ],
        "rows": [{"id": index, "row": terminal.numbers(row)} for index, row in step.rows.items()],
        "one_hot_difference": step.one_hot_difference,
        "examples": [_example_record(example) for example in step.examples],
        "loss": step.loss,
        "total": step.total,
        "count": step.count,
        "optimizer": dict(step.optimizer),
        "rate": step.rate,
        "number": step.number,
        "changes": [_change_record(change) for change in step.changes],
        "unchanged": dict(step.unchanged),
    }


def _example_record(example: Example) -> dict[str, Any]:
    names = (
        "kind", "id", "name", "place", "target", "weight", "score", "prediction",
        "target_in_units", "loss",
    )  # fmt: skip
    return {
        "centre": example.centre,
        "inputs": list(example.inputs),
        "candidates": [
            {name: getattr(candidate, name) for name in names} for candidate in example.candidates
        ],
    }


def _change_record(change: Change) -> dict[str, Any]:
    return {
        "parameter": change.parameter,
        "row": change.row,
        "name": change.name,
        "curvature": change.curvature,
        "parts": _nested(change.parts),
        "gradient": _nested(change.gradient),
        "before": _nested(change.before),
        "after": _nested(change.after),
        "state_before": {slot: _nested(array) for slot, array in change.state_before.items()},
        "state_after": {slot: _nested(array) for slot, array in change.state_after.items()},
    }


def word_record(word: Word) -> dict[str, Any]:
    """Return the story of a word as docs/explain.md describes it."""
    return {
        "token": word.token,
        "id": word.id,
        "words": word.words,
        "count": word.count,
        "share": word.share,
        "rank": word.rank,
        "first_line": word.first_line,
        "trained": word.trained,
        "moved": word.moved,
        "turned": word.turned,
        "usually_moved": word.usually_moved,
        "start": None if word.start is None else terminal.numbers(word.start),
        "now": terminal.numbers(word.now),
        "neighbors_then": _neighbor_records(word.neighbors_then),
        "neighbors_now": _neighbor_records(word.neighbors_now),
    }


def _neighbor_records(found: Iterable[Any]) -> list[dict[str, Any]]:
    return [{"token": each.token, "id": each.id, "cosine": each.cosine} for each in found]


def _nested(array: Any) -> Any:
    """Return an array of any shape as lists of numbers."""
    return terminal.numbers(array) if array.ndim == 1 else [_nested(part) for part in array]


def _text_of_step(step: Step, precision: int) -> Iterator[str]:
    yield from _paragraph(story.title(step))
    yield from _heading(1, "Tokens and their ids")
    yield from _wrapped(_token_cells(step))
    yield from _heading(2, "Look-up: the rows of the table")
    yield from _paragraph(story.look_up(step))
    names = {token.id: token.token for token in step.tokens}
    yield from _rows([(str(i), names[i], row) for i, row in step.rows.items()], precision)
    yield from _heading(3, "The right answer")
    yield from _paragraph(step.describe_target)
    yield from _heading(4, "Forward, to the loss")
    for example in step.examples:
        if example.centre is None:
            yield from _outputs(example, precision)
        else:
            yield from _words_asked(example, precision)
    yield from _paragraph(story.loss(step))
    yield from _heading(5, "Backward: the gradient of each row")
    yield from _paragraph(story.backward())
    yield from _tables(step, _gradient_rows, precision)
    yield from _heading(6, "One step of the optimizer")
    yield from _paragraph(story.update(step))
    yield from _tables(step, _before_and_after, precision)
    yield from _heading(7, "What stays")
    yield from _paragraph(story.unchanged(step))


def _heading(number: int, words: str) -> Iterator[str]:
    yield f"\n{number}. {words}\n"


def _paragraph(words: str) -> Iterator[str]:
    yield from _wrapped(terminal.visible(words).split(), " ")


def _token_cells(step: Step) -> Iterator[str]:
    for token in step.tokens:
        shown = terminal.visible(token.token)
        if token.id is None:
            yield f"{shown} → not in the vocabulary"
        else:
            yield f"{shown} → {token.id}" + ("" if token.kept else " (not read)")


def _wrapped(cells: Iterable[str], gap: str = "   ", indent: str = "") -> Iterator[str]:
    """Lay cells one after the other in lines as wide as the page."""
    line = ""
    for cell in cells:
        if line and terminal.width(line + gap + cell) > terminal.columns_of_page():
            yield line + "\n"
            line = ""
        line += gap + cell if line else indent + cell
    yield line + "\n"


def _rows(cells: Sequence[tuple[str, str, Any]], precision: int) -> Iterator[str]:
    """Lay out (index, word, row) in a table, the rows as wide as the page leaves them."""
    rows: list[Row] = [[index, name, Vector(row, precision)] for index, name, row in cells]
    yield from Table(["index", "word", "row"], rows, right=(True, False, False)).plain()


def _outputs(example: Example, precision: int) -> Iterator[str]:
    """Show what the head says of the text, and what is right."""
    shown = sorted(example.candidates, key=lambda each: (-each.target, -each.prediction))
    if shown[0].kind == "number":
        shown = list(example.candidates)
    rows = [
        [
            each.name or f"number {each.id + 1}",
            f"{each.score:.{precision}f}",
            f"{each.prediction:.{precision}f}",
            f"{each.target_in_units:g}",
            f"{each.loss:.{precision}f}",
        ]
        for each in shown[:ROWS_SHOWN]
    ]
    header = [shown[0].kind, "score", "said", "right", "loss"]
    yield from Table(header, rows, right=(False, True, True, True, False)).plain()
    yield from _rest(len(shown) - ROWS_SHOWN, f"{shown[0].kind}s")


def _words_asked(example: Example, precision: int) -> Iterator[str]:
    """Show which words were asked for at one place, and the probability that each was given."""
    yield f"\n{terminal.visible(example.title)}\n"
    right = [each for each in example.candidates if each.target]
    noise = [each for each in example.candidates if not each.target]
    for wanted, answers in (("right, 1:", right), ("noise, 0:", noise)):
        cells = [
            f"{terminal.visible(each.name)} {each.prediction:.{precision}f}"
            for each in answers[:ANSWERS_SHOWN]
        ]
        if len(answers) > ANSWERS_SHOWN:
            cells.append(f"and {len(answers) - ANSWERS_SHOWN} more")
        cells.append(f"(loss {sum(each.loss for each in answers):.{precision}f})")
        yield from _wrapped([wanted, *cells], indent="  ")


def _tables(
    step: Step, rows_of: Callable[[Change], Iterable[tuple[str, str, Any]]], precision: int
) -> Iterator[str]:
    """Show something of every change, a parameter at a time."""
    for name, changes in story.by_parameter(step):
        yield f"\n{name}\n"
        cells = [cell for change in changes[:ROWS_SHOWN] for cell in rows_of(change)]
        yield from _rows(cells, precision)
        yield from _rest(len(changes) - ROWS_SHOWN, "rows")


def _rest(count: int, what: str) -> Iterator[str]:
    if count > 0:
        yield f"and {count:,} more {what} (--format json has all)\n"


def _gradient_rows(change: Change) -> Iterator[tuple[str, str, Any]]:
    name = story.label_of(change)
    if len(change.parts) > 1:
        for number, part in enumerate(change.parts, 1):
            yield "", f"look-up {number}", part
        name = f"{name}, the sum"
    yield _index(change), name, change.gradient.ravel()


def _before_and_after(change: Change) -> Iterator[tuple[str, str, Any]]:
    yield _index(change), story.label_of(change), change.before.ravel()
    yield "", "→ after", change.after.ravel()


def _index(change: Change) -> str:
    return "all" if change.row is None else str(change.row)


def _text_of_word(word: Word, precision: int) -> Iterator[str]:
    yield f"{terminal.visible(word.token)}\n"
    for sentence in (story.place(word), story.training(word), story.move(word)):
        yield from _paragraph(sentence)
    rows = [(str(word.id), "now", word.now)]
    if word.start is not None:
        rows.insert(0, (str(word.id), "at first", word.start))
    yield "\n"
    yield from _rows(rows, precision)
    yield "\n"
    then = [f"{each.token} {each.cosine:.{precision}f}" for each in word.neighbors_then]
    now = [f"{each.token} {each.cosine:.{precision}f}" for each in word.neighbors_now]
    pairs = [list(pair) for pair in zip_longest(then, now, fillvalue="")]
    header = ["nearest at first", "nearest now"]
    yield from Table(header, pairs, right=(False, False)).plain()
