"""Views of an explained step and word: blocks for people, and the JSON of docs/explain.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from embedcli.views import captions
from embedcli.views.blocks import (
    Block,
    Cell,
    Flow,
    Heading,
    Line,
    Row,
    Table,
    Vector,
    paragraph,
    plain_text,
)
from embedcli.views.records import to_json
from embedcli.views.terminal import json_text

if TYPE_CHECKING:
    from embedcli.explanation import Change, Step, Word
    from embedcli.tasks.task import Example

ROWS_SHOWN = 20  # of each table's changes
ANSWERS_SHOWN = 8  # context words, and noise words, of each example


def formatted(of: Step | Word, output: str, precision: int = 4) -> str:
    """Return an explanation as text, json, svg or html."""
    if output == "text":
        return plain_text(blocks_of(of, precision))
    if output == "json":
        return json_text(record_of(of)) + "\n"
    from embedcli.views import explain_svg

    return explain_svg.svg(of) if output == "svg" else explain_svg.html(of)


def blocks_of(of: Step | Word, precision: int = 4) -> Iterator[Block]:
    """Show an explanation, part by part."""
    step: Any = of
    return step_blocks(step, precision) if hasattr(of, "tokens") else word_blocks(step, precision)


def record_of(of: Step | Word) -> dict[str, Any]:
    """Return an explanation as docs/explain.md describes it."""
    step: Any = of
    return step_record(step) if hasattr(of, "tokens") else word_record(step)


def step_record(step: Step) -> dict[str, Any]:
    """Return a step as docs/explain.md describes it."""
    record: dict[str, Any] = to_json(step)
    del record["describe_target"], record["loss_formula"]
    record["rows"] = [{"id": index, "row": to_json(row)} for index, row in step.rows.items()]
    for example in record["examples"]:
        del example["title"]
    return record


def word_record(word: Word) -> dict[str, Any]:
    """Return what became of a word as docs/explain.md describes it."""
    record: dict[str, Any] = to_json(word)
    del record["frozen"]
    return record


def step_blocks(step: Step, precision: int = 4) -> Iterator[Block]:
    """Show one step of learning, part by part."""
    yield paragraph(captions.title(step))
    yield Heading("Tokens and their ids", 1)
    yield Flow([_token_cell(token) for token in step.tokens])
    yield Heading("Look-up: the rows of the table", 2)
    yield paragraph(captions.look_up(step))
    names = {token.id: token.token for token in step.tokens}
    yield _rows([(str(i), names[i], row) for i, row in step.rows.items()], precision)
    yield Heading("The right answer", 3)
    yield paragraph(step.describe_target)
    yield Heading("Forward, to the loss", 4)
    for example in step.examples:
        draw = _outputs if example.centre is None else _words_asked
        yield from draw(example, precision)
    yield paragraph(captions.loss(step))
    yield Heading("Backward: the gradient of each row", 5)
    yield paragraph(captions.backward())
    yield from _tables(step, _gradient_rows, precision)
    yield Heading("One step of the optimizer", 6)
    yield paragraph(captions.update(step))
    yield from _tables(step, _before_and_after, precision)
    yield Heading("What stays", 7)
    yield paragraph(captions.unchanged(step))


def word_blocks(word: Word, precision: int = 4) -> Iterator[Block]:
    """Show what became of a word in training."""
    yield Line([Cell(word.token, "heading")])
    for sentence in (captions.place(word), captions.training(word), captions.move(word)):
        yield paragraph(sentence)
    rows = [(str(word.id), "now", word.now)]
    if word.start is not None:
        rows.insert(0, (str(word.id), "at first", word.start))
    yield Line([])
    yield _rows(rows, precision)
    yield Line([])
    then = [f"{each.token} {each.cosine:.{precision}f}" for each in word.neighbors_then]
    now = [f"{each.token} {each.cosine:.{precision}f}" for each in word.neighbors_now]
    pairs = [list(pair) for pair in zip_longest(then, now, fillvalue="")]
    yield Table(["nearest at first", "nearest now"], pairs, right=(False, False))


def _token_cell(token: Any) -> str | Cell:
    if token.id is None:
        return Cell(f"{token.token} → not in the vocabulary", "muted")
    return f"{token.token} → {token.id}" + ("" if token.kept else " (not read)")


def _rows(cells: Iterable[tuple[str, str, Any]], precision: int) -> Table:
    """Show (index, word, row) in a table."""
    rows: list[Row] = [[index, name, Vector(row, precision)] for index, name, row in cells]
    return Table(["index", "word", "row"], rows, right=(True, False, False))


def _outputs(example: Example, precision: int) -> Iterator[Block]:
    """Show what the head predicts for the text, and the targets."""
    shown = sorted(example.candidates, key=lambda each: (-each.target, -each.prediction))
    if shown[0].kind == "number":
        shown = list(example.candidates)
    best = max(each.prediction for each in shown)
    rows: list[Row] = []
    for each in shown[:ROWS_SHOWN]:
        prediction: str | Cell = f"{each.prediction:.{precision}f}"
        if each.kind != "number" and (each.target or each.prediction == best):
            prediction = Cell(str(prediction), "right" if each.target else "wrong")
        rows.append(
            [
                each.name or f"number {each.id + 1}",
                f"{each.score:.{precision}f}",
                prediction,
                f"{each.target_in_units:g}",
                f"{each.loss:.{precision}f}",
            ]
        )
    header = [shown[0].kind, "score", "prediction", "target", "loss"]
    yield Table(header, rows, right=(False, True, True, True, False))
    yield from _rest(len(shown) - ROWS_SHOWN, f"{shown[0].kind}s")


def _words_asked(example: Example, precision: int) -> Iterator[Block]:
    """Show which words were asked for at one place, and the probability of each."""
    yield Heading(example.title)
    positive, negative = captions.answers(example)
    for label, answers in (("right, 1:", positive), ("noise, 0:", negative)):
        cells: list[str | Cell] = [label]
        for each, times in answers[:ANSWERS_SHOWN]:
            name = each.name if times == 1 else f"{each.name} ×{times}"
            right = (each.prediction > 0.5) == bool(each.target)
            said = f"{name} {each.prediction:.{precision}f}"
            cells.append(Cell(said, "right" if right else "wrong"))
        if len(answers) > ANSWERS_SHOWN:
            cells.append(f"and {len(answers) - ANSWERS_SHOWN} more")
        cells.append(f"(loss {sum(each.loss for each, _ in answers):.{precision}f})")
        yield Flow(cells, indent="  ")


def _tables(
    step: Step, rows_of: Callable[[Change], Iterable[tuple[str, str, Any]]], precision: int
) -> Iterator[Block]:
    """Show something of every change, a parameter at a time."""
    for name, changes in captions.by_parameter(step):
        yield Heading(name)
        yield _rows((row for change in changes[:ROWS_SHOWN] for row in rows_of(change)), precision)
        yield from _rest(len(changes) - ROWS_SHOWN, "rows")


def _rest(count: int, what: str) -> Sequence[Block]:
    return [Line([f"and {count:,} more {what} (--format json has all)"])] if count > 0 else []


def _gradient_rows(change: Change) -> Iterator[tuple[str, str, Any]]:
    name = captions.label_of(change)
    if len(change.parts) > 1:
        for number, part in enumerate(change.parts, 1):
            yield "", f"look-up {number}", part
        name = f"{name}, the sum"
    yield _index(change), name, change.gradient.ravel()


def _before_and_after(change: Change) -> Iterator[tuple[str, str, Any]]:
    yield _index(change), captions.label_of(change), change.before.ravel()
    yield "", "→ after", change.after.ravel()


def _index(change: Change) -> str:
    return "all" if change.row is None else str(change.row)
