"""Views of what is explained: blocks for people, and the JSON of docs/explain.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from embedcli.messages import catalogue
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
    from embedcli.explanation import Change, Context, Pair, PartOf, Step, Token, Word
    from embedcli.messages import Catalogue
    from embedcli.tasks.task import Example

    Explained = Step | Word | Pair

PARTS_SHOWN = 60  # of a word
ROWS_SHOWN = 20  # of each table's changes
ANSWERS_SHOWN = 8  # context words, and negative samples, of each example
NOT_IN_JSON = (  # fields of a step, and of a word
    "describe_target", "loss_formula", "weights", "dropout", "folder", "frozen", "solved",
)  # fmt: skip


def formatted(of: Explained, output: str, precision: int = 4, language: str | None = None) -> str:
    """Return an explanation as text, json, svg or html; the language is that of `catalogue`."""
    if output == "text":
        return plain_text(blocks_of(of, precision, language))
    if output == "json":
        return json_text(record_of(of)) + "\n"
    say = catalogue(language)
    if output == "html":
        from embedcli.views import explain_page

        of_any: Any = of
        is_step = type(of).__name__ == "Step"
        return (explain_page.step_page if is_step else explain_page.drawn_page)(of_any, say)
    from embedcli.views import explain_svg

    return explain_svg.svg(of, say)


def blocks_of(of: Explained, precision: int = 4, language: str | None = None) -> Iterator[Block]:
    """Show an explanation, part by part."""
    views: dict[str, Any] = {"Step": step_blocks, "Word": word_blocks, "Pair": pair_blocks}
    blocks: Iterator[Block] = views[type(of).__name__](of, catalogue(language), precision)
    return blocks


def record_of(of: Explained) -> dict[str, Any]:
    """Return an explanation as docs/explain.md describes it."""
    record = {name: each for name, each in to_json(of).items() if name not in NOT_IN_JSON}
    for name in ("parts", "similar"):
        if not record.get(name, True):  # of a word that is not composed, or not of words
            del record[name]
    if "examples" in record:
        record["rows"] = [{"id": int(index), "row": row} for index, row in record["rows"].items()]
        for example in record["examples"]:
            del example["title"]
    return record


def step_blocks(step: Step, say: Catalogue, precision: int) -> Iterator[Block]:
    """Show one step of learning, part by part."""
    yield paragraph(captions.title(step, say))
    yield Heading(say("step.tokens"), 1)
    yield Flow([_token_cell(token, say) for token in step.tokens])
    yield Heading(say("step.look_up"), 2)
    yield paragraph(captions.look_up(step, say))
    names = {token.id: token.token for token in step.tokens}
    yield _rows([(str(i), names[i], row) for i, row in step.rows.items()], say, precision)
    if step.ngrams:
        yield paragraph(captions.ngrams(step, say))
        ngrams = [("–" if n.row is None else str(n.row), n.words, n.vector) for n in step.ngrams]
        yield _rows(ngrams[:ROWS_SHOWN], say, precision)
        yield from _rest(len(ngrams) - ROWS_SHOWN, "table.more_rows", say)
    if step.composed:
        yield paragraph(say("step.parts_explained"))
        for each in step.composed:
            yield Flow(_parts(each.token, each.parts, say), indent="  ")
    yield Heading(say("step.answer"), 3)
    yield paragraph(captions.answer(step, say))
    yield Heading(say("step.forward"), 4)
    counts = captions.asks_counts(step)
    for example in step.examples:
        draw = _counts_asked if counts else _words_asked
        if example.centre is None:
            draw = _outputs
        yield from draw(example, say, precision)
    yield paragraph(captions.loss(step, say))
    yield Heading(say("step.backward"), 5)
    yield paragraph(say("step.chain_rule"))
    yield from _tables(step, _gradient_rows, say, precision)
    yield Heading(say("step.update"), 6)
    yield paragraph(captions.update(step, say))
    yield from _tables(step, _before_and_after, say, precision)
    yield Heading(say("step.stays"), 7)
    yield paragraph(captions.unchanged(step, say))


def word_blocks(word: Word, say: Catalogue, precision: int) -> Iterator[Block]:
    """Show what became of a word in training."""
    yield Line([Cell(word.token, "heading")])
    for sentence in captions.history(word, say):
        yield paragraph(sentence)
    if word.parts:
        yield Line([])
        yield Flow(_parts(say("word.parts"), word.parts, say))
    if word.similar:
        yield Flow([Cell(say("word.similar"), "heading"), *captions.similar(word, say)])
    rows = [("" if word.id is None else str(word.id), say("table.now"), word.now)]
    if word.start is not None:
        rows.insert(0, (str(word.id), say("table.at_first"), word.start))
    yield Line([])
    yield _rows(rows, say, precision)
    yield Line([])
    then = [f"{each.token} {each.cosine:.{precision}f}" for each in word.neighbors_then]
    now = [f"{each.token} {each.cosine:.{precision}f}" for each in word.neighbors_now]
    if word.id is None:
        yield Table([say("table.nearest_now")], [[each] for each in now], right=(False,))
        return
    pairs = [list(pair) for pair in zip_longest(then, now, fillvalue="")]
    header = [say("table.nearest_at_first"), say("table.nearest_now")]
    yield Table(header, pairs, right=(False, False))


def _parts(name: str, parts: Sequence[PartOf], say: Catalogue) -> list[str | Cell]:
    """Show what a word is composed of."""
    cells: list[str | Cell] = [Cell(name, "heading")]
    cells += [captions.part_cell(part, say) for part in parts[:PARTS_SHOWN]]
    if len(parts) > PARTS_SHOWN:
        cells.append(say("table.more_answers", count=len(parts) - PARTS_SHOWN))
    return cells


def pair_blocks(pair: Pair, say: Catalogue, precision: int) -> Iterator[Block]:
    """Show which context words make two words similar."""
    yield Line([Cell("  ".join(pair.words), "heading")])
    for sentence in captions.pair(pair, say):
        yield paragraph(sentence)
    for key, contexts in captions.contexts(pair):
        yield Heading(say(key))
        yield _contexts(pair, contexts, say, precision)


def _contexts(pair: Pair, contexts: Sequence[Context], say: Catalogue, precision: int) -> Table:
    rows: list[Row] = [
        [
            context.token,
            f"{context.part:+.{precision}f}",
            captions.share(context.part, pair.cosine),
            *(f"{score:+.2f}" for score in context.scores),
        ]
        for context in contexts
    ]
    header = [say("two_words.context"), say("two_words.part"), say("two_words.share")]
    header += [say("two_words.score", word=word) for word in pair.words]
    return Table(header, rows, right=(False, *[True] * 4))


def _token_cell(token: Token, say: Catalogue) -> str | Cell:
    if token.id is None:
        return Cell(say("table.unknown_token", token=token.token), "muted")
    if not token.kept:
        return say("table.unread_token", token=token.token, id=token.id)
    return f"{token.token} → {token.id}"


def _rows(cells: Iterable[tuple[str, str, Any]], say: Catalogue, precision: int) -> Table:
    """Show (index, word, row) in a table."""
    rows: list[Row] = [[index, name, Vector(row, precision)] for index, name, row in cells]
    header = [say("table.index"), say("table.word"), say("table.row")]
    return Table(header, rows, right=(True, False, False))


def _outputs(example: Example, say: Catalogue, precision: int) -> Iterator[Block]:
    """Show what the head predicts for the text, and the targets."""
    shown = sorted(example.candidates, key=lambda each: (-each.target, -each.prediction))
    numbers = shown[0].kind == "number"
    if numbers:
        shown = list(example.candidates)
    best = max(each.prediction for each in shown)
    rows: list[Row] = []
    for each in shown[:ROWS_SHOWN]:
        prediction: str | Cell = f"{each.prediction:.{precision}f}"
        if not numbers and (each.target or each.prediction == best):
            prediction = Cell(str(prediction), "right" if each.target else "wrong")
        rows.append(
            [
                each.name or say("table.numbered", number=each.id + 1),
                f"{each.score:.{precision}f}",
                prediction,
                f"{each.target_in_units:g}",
                f"{each.loss:.{precision}f}",
            ]
        )
    header = ["table.number" if numbers else "table.label", "table.score", "table.prediction"]
    header += ["table.target", "table.loss"]
    yield Table(list(map(say, header)), rows, right=(False, True, True, True, False))
    key = "table.more_numbers" if numbers else "table.more_labels"
    yield from _rest(len(shown) - ROWS_SHOWN, key, say)


def _words_asked(example: Example, say: Catalogue, precision: int) -> Iterator[Block]:
    """Show which words were asked for at one place, and the probability of each."""
    yield Heading(example.title)
    positive, negative = captions.answers(example)
    for key, answers in (("table.right", positive), ("table.negatives", negative)):
        cells: list[str | Cell] = [say(key)]
        for each, times in answers[:ANSWERS_SHOWN]:
            name = each.name if times == 1 else f"{each.name} ×{times}"
            right = (each.prediction > 0.5) == bool(each.target)
            cells.append(
                Cell(f"{name} {each.prediction:.{precision}f}", "right" if right else "wrong")
            )
        if len(answers) > ANSWERS_SHOWN:
            cells.append(say("table.more_answers", count=len(answers) - ANSWERS_SHOWN))
        loss = sum(each.loss for each, _ in answers)
        cells.append(say("table.losses", loss=f"{loss:.{precision}f}"))
        yield Flow(cells, indent="  ")


def _counts_asked(example: Example, say: Catalogue, precision: int) -> Iterator[Block]:
    """Show how often words stand near a word, and how often they are predicted to."""
    yield Heading(example.title)
    rows: list[Row] = [
        [
            each.name,
            f"{each.target_in_units:.4g}",
            f"{each.prediction:.4g}",
            *(f"{x:.{precision}f}" for x in (each.target, each.score, each.weight, each.loss)),
        ]
        for each in example.candidates[:ANSWERS_SHOWN]
    ]
    header = ["table.word", "table.count", "table.prediction", "table.log_count", "table.score"]
    header += ["table.weight", "table.loss"]
    yield Table(list(map(say, header)), rows, right=(False, *[True] * 6), margin=2)
    left = len(example.candidates) - ANSWERS_SHOWN
    if left > 0:
        yield Line([f"  {say('table.more_answers', count=left)}"])


def _tables(
    step: Step,
    rows_of: Callable[[Change, Catalogue], Iterable[tuple[str, str, Any]]],
    say: Catalogue,
    precision: int,
) -> Iterator[Block]:
    """Show something of every change, a parameter at a time."""
    for name, changes in captions.by_parameter(step):
        yield Heading(name)
        shown = (row for change in changes[:ROWS_SHOWN] for row in rows_of(change, say))
        yield _rows(shown, say, precision)
        yield from _rest(len(changes) - ROWS_SHOWN, "table.more_rows", say)


def _rest(count: int, key: str, say: Catalogue) -> Sequence[Block]:
    return [Line([say(key, count=count), say("table.json_has_all")], " ")] if count > 0 else []


def _gradient_rows(change: Change, say: Catalogue) -> Iterator[tuple[str, str, Any]]:
    name, times = captions.label_of(change), len(change.parts)
    if times > captions.LOOK_UPS_SHOWN:
        name = say("table.sum_of", word=name, count=times)
    elif times > 1:
        for number, part in enumerate(change.parts, 1):
            yield "", say("table.look_up", number=number), part
        name = say("table.sum", word=name)
    yield _index(change, say), name, change.gradient.ravel()


def _before_and_after(change: Change, say: Catalogue) -> Iterator[tuple[str, str, Any]]:
    yield _index(change, say), captions.label_of(change), change.before.ravel()
    yield "", say("table.after"), change.after.ravel()


def _index(change: Change, say: Catalogue) -> str:
    return say("table.all") if change.row is None else str(change.row)
