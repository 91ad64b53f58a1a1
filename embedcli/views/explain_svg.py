"""Explanations as pictures: SVG that needs nothing else, and a page of HTML around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from embedcli.messages import catalogue
from embedcli.views import captions
from embedcli.views.blocks import Heading
from embedcli.views.canvas import (
    ACCENT,
    LINE,
    MARGIN,
    MUTED,
    WIDTH,
    Canvas,
    clipped,
    text_width,
)
from embedcli.views.colors import INK, PAPER, RIGHT, WORD_COLORS, WRONG, ink_on, largest_of, tint

if TYPE_CHECKING:
    from embedcli.explanation import (
        Candidate,
        Change,
        Context,
        Example,
        Pair,
        Step,
        Word,
    )
    from embedcli.messages import Catalogue

NUMBERS_SHOWN = 100  # of a row
ROWS_SHOWN = 24  # of each parameter
NEGATIVES_SHOWN = 10  # columns of the table of answers
EXAMPLES_SHOWN = 24  # places asked about
TOKENS_SHOWN = 24
ONE_HOT_SHOWN = 14  # cells of a one-hot vector


class Sentences(NamedTuple):
    """A paragraph."""

    words: str
    size: float = 13
    color: str = MUTED


class Figure(NamedTuple):
    """A drawing, and what it shows in words."""

    words: str
    draw: Callable[[Canvas], None]


Part = Heading | Sentences | Figure


def svg(of: Any, say: Catalogue | None = None) -> str:
    """Return an explanation as one picture; without `say`, in the language of the environment."""
    title, drawn = parts(of, say or catalogue())
    canvas = Canvas()
    canvas.y += 14
    shown = clipped(title, 26, WIDTH - 2 * MARGIN)
    canvas.text(MARGIN, canvas.y, shown, size=26, bold=True)
    canvas.y += 30
    for part in drawn:
        if isinstance(part, Heading):
            canvas.heading(part.number or 0, part.words)
        elif isinstance(part, Sentences):
            canvas.paragraph(part.words, size=part.size, color=part.color)
        else:
            part.draw(canvas)
    return canvas.svg(title)


def parts(of: Any, say: Catalogue) -> tuple[str, Iterator[Part]]:
    """Return the title of an explanation, and what is drawn of it, from the top down."""
    if hasattr(of, "tokens"):
        return f"“{of.text}”", _step_parts(of, say)
    if hasattr(of, "contexts"):
        return " · ".join(of.words), _pair_parts(of, say)
    return of.token, _word_parts(of, say)


def _step_parts(step: Step, say: Catalogue) -> Iterator[Part]:
    colors = _word_colors(step)
    yield Sentences(captions.title(step, say), size=15)
    draw = partial(_draw_look_up, step=step, colors=colors, say=say)
    yield Figure(say("page.tokens_and_rows"), draw)
    yield Sentences(captions.look_up(step, say))
    if step.ngrams:
        yield Sentences(captions.ngrams(step, say))
        yield Figure(say("page.ngrams"), partial(_draw_ngrams, step=step, say=say))
    if step.composed:
        yield Sentences(say("step.parts_explained"))
    for each in step.composed:
        yield Sentences(captions.parts(f"{each.token} =", each.parts, say), color=INK)
    yield Heading(say("step.answer"), 3)
    yield Sentences(captions.answer(step, say))
    yield Heading(say("step.forward"), 4)
    if step.examples[0].centre is None:
        draw = partial(_draw_outputs, example=step.examples[0], say=say)
        yield Figure(say("page.outputs"), draw)
    elif captions.asks_counts(step):
        yield Figure(say("page.counts"), partial(_draw_counts, step=step, say=say))
    else:
        yield Figure(say("page.answers"), partial(_draw_answers, step=step, say=say))
        yield Sentences(_key_to_answers(step, say))
    yield Sentences(captions.loss(step, say), color=INK)
    yield Heading(say("page.backward"), 5)
    yield Sentences(f"{say('step.chain_rule')} {captions.update(step, say)}")
    for name, changes in captions.by_parameter(step):
        draw = partial(_draw_changes, name=name, changes=changes, colors=colors, say=say)
        yield Figure(say("page.changes", parameter=name), draw)
    yield Heading(say("step.stays"), 6)
    yield Sentences(captions.unchanged(step, say))


def _word_parts(word: Word, say: Catalogue) -> Iterator[Part]:
    for sentence in captions.history(word, say):
        yield Sentences(sentence, size=14, color=INK)
    if word.parts:
        yield Sentences(captions.parts(f"{word.token} =", word.parts, say))
    if word.similar:
        yield Sentences(f"{say('word.similar')} {', '.join(captions.similar(word, say))}")
    key = "page.row_now" if word.id is None else "page.row_then_and_now"
    yield Heading(say(key), 1)
    yield Figure(say("page.the_row"), partial(_draw_rows, word=word, say=say))
    key = "page.neighbors_now" if word.id is None else "page.neighbors_then_and_now"
    yield Heading(say(key), 2)
    yield Figure(say("page.the_neighbors"), partial(_draw_neighbors, word=word, say=say))


def _pair_parts(pair: Pair, say: Catalogue) -> Iterator[Part]:
    for sentence in captions.pair(pair, say):
        yield Sentences(sentence, size=14, color=INK)
    sizes = [abs(each.part) for _, found in captions.contexts(pair) for each in found]
    largest = max(sizes, default=0.0)
    for number, (key, found) in enumerate(captions.contexts(pair), 1):
        yield Heading(say(key), number)
        draw = partial(_draw_contexts, pair=pair, contexts=found, largest=largest)
        yield Figure(say(key), draw)


def _draw_contexts(canvas: Canvas, pair: Pair, contexts: Sequence[Context], largest: float) -> None:
    """Draw the parts of context words as bars."""
    left, width = MARGIN + 190, 480.0
    for each in contexts:
        color = RIGHT if each.part > 0 else WRONG
        name = clipped(each.token, 14, 176)
        canvas.text(left - 12, canvas.y + 15, name, size=14, anchor="end")
        length = max(2, width * abs(each.part) / largest)
        canvas.box(left, canvas.y, length, 20, fill=color, radius=4)
        words = f"{each.part:+.4f}  {captions.share(each.part, pair.cosine)}"
        canvas.text(left + length + 10, canvas.y + 15, words, size=12, color=color, mono=True)
        canvas.y += 26
    canvas.y += 8


def _word_colors(step: Step) -> dict[int, str]:
    ids = dict.fromkeys(token.id for token in step.tokens if token.id is not None)
    return {each: WORD_COLORS[place % len(WORD_COLORS)] for place, each in enumerate(ids)}


def _draw_look_up(canvas: Canvas, step: Step, colors: dict[int, str], say: Catalogue) -> None:
    """Draw the tokens with their ids, and threads from them to the rows they pick."""
    rows_left, width = MARGIN + 300.0, 400.0
    top = canvas.y
    canvas.heading(1, say("page.tokens"))
    canvas.y = top
    shape = {"rows": step.shape[0], "dim": step.shape[1]}
    canvas.heading(2, say("page.rows_of_table", **shape), x=rows_left)
    top = canvas.y = canvas.y + 4
    ends = _draw_tokens(canvas, step, colors, say)
    bottom, canvas.y = canvas.y, top
    names = {token.id: token.token for token in step.tokens}
    picked = {index: row for index, row in step.rows.items() if index in ends}
    largest = largest_of(picked.values())
    last = -1
    for index, row in picked.items():
        _draw_gap(canvas, rows_left, width, index - last - 1, say)
        for x, y in ends[index]:
            middle = (x + rows_left) / 2
            course = f"M{x} {y:.1f}C{middle} {y:.1f} {middle} {canvas.y + 11:.1f} "
            canvas.path(
                f"{course}{rows_left - 8} {canvas.y + 11:.1f}", color=colors[index], width=1.6
            )
        canvas.heatmap_row(rows_left, canvas.y, row[:NUMBERS_SHOWN], width, 22, largest)
        right = rows_left + width + 12.0
        number = str(index)
        canvas.text(right, canvas.y + 16, number, size=12, color=colors[index], mono=True)
        right += text_width(number, 13) + 10
        label = clipped(names[index], 14, WIDTH - MARGIN - right)
        canvas.text(right, canvas.y + 16, label, size=14, color=colors[index], bold=True)
        canvas.y += 28
        last = index
    _draw_gap(canvas, rows_left, width, step.shape[0] - last - 1, say)
    for x in (rows_left - 5, rows_left + width + 5):
        canvas.path(f"M{x} {top - 4:.1f}V{canvas.y:.1f}", color=INK, width=2)
    canvas.y += 12
    _draw_legend(canvas, rows_left + 60, largest, step.shape[1], say)
    canvas.y = max(bottom, canvas.y) + 26
    for index in list(picked)[:1]:
        _draw_one_hot(canvas, step, index, colors[index], largest)


def _draw_tokens(
    canvas: Canvas, step: Step, colors: dict[int, str], say: Catalogue
) -> dict[int, list[tuple[float, float]]]:
    """Draw the tokens one below the other; returns where the threads of each id begin."""
    ends: dict[int, list[tuple[float, float]]] = {}
    width = 190
    for token in step.tokens[:TOKENS_SHOWN]:
        known = token.id is not None
        color = colors[token.id] if token.id is not None else MUTED
        canvas.box(
            MARGIN, canvas.y, width, 26, fill=tint(color), stroke=color, radius=6,
            dashed=not token.kept,
        )  # fmt: skip
        shown = clipped(token.token, 14, width - 60)
        canvas.text(MARGIN + 10, canvas.y + 18, shown, size=14, color=INK if known else MUTED)
        label = str(token.id) if known else say("page.unknown")
        canvas.text(
            MARGIN + width - 10, canvas.y + 17, label, size=12, color=color, anchor="end", mono=True
        )
        if token.id is not None and token.kept:
            ends.setdefault(token.id, []).append((MARGIN + width + 2, canvas.y + 13))
        canvas.y += 32
    left_out = len(step.tokens) - TOKENS_SHOWN
    if left_out > 0:
        canvas.text(
            MARGIN, canvas.y + 12, say("page.more_tokens", count=left_out), size=12, color=MUTED
        )
        canvas.y += 24
    return ends


def _draw_ngrams(canvas: Canvas, step: Step, say: Catalogue) -> None:
    """Draw the n-grams of the text and the rows they pick, one below the other."""
    left, width = MARGIN + 300.0, 400.0
    largest = largest_of([each.vector for each in step.ngrams])
    for each in step.ngrams[:ROWS_SHOWN]:
        name = clipped(each.words, 14, 280)
        canvas.text(left - 12, canvas.y + 16, name, size=14, anchor="end")
        canvas.heatmap_row(left, canvas.y, each.vector[:NUMBERS_SHOWN], width, 22, largest)
        number = "–" if each.row is None else str(each.row)
        canvas.text(left + width + 12, canvas.y + 16, number, size=12, color=MUTED, mono=True)
        canvas.y += 28
    _draw_rest(canvas, len(step.ngrams) - ROWS_SHOWN, "table.more_rows", say)
    canvas.y += 12


def _draw_gap(canvas: Canvas, left: float, width: float, rows: int, say: Catalogue) -> None:
    """Draw rows that were not picked as one band."""
    if rows <= 0:
        return
    canvas.box(left, canvas.y, width, 16, fill="#f2f4f7")
    words = say("page.gap", count=rows)
    canvas.text(left + width / 2, canvas.y + 12, words, size=10.5, color=MUTED, anchor="middle")
    canvas.y += 22


def _draw_legend(canvas: Canvas, x: float, largest: float, dim: int, say: Catalogue) -> None:
    canvas.legend(x, canvas.y, largest)
    if dim > NUMBERS_SHOWN:
        words = say("page.first_numbers", shown=NUMBERS_SHOWN, dim=dim)
        canvas.text(x + 200, canvas.y + 9, words, size=11, color=MUTED)


def _draw_one_hot(canvas: Canvas, step: Step, index: int, color: str, largest: float) -> None:
    """Draw that a one-hot vector times the table is the row."""
    rows = step.shape[0]
    first = min(max(0, index - ONE_HOT_SHOWN // 2), max(0, rows - ONE_HOT_SHOWN))
    x, y, cell = float(MARGIN), canvas.y, 20.0
    if first:
        canvas.text(x, y + 15, "…", color=MUTED)
        x += 18
    for place in range(first, min(first + ONE_HOT_SHOWN, rows)):
        ink, edge, fill = (color, color, tint(color)) if place == index else (MUTED, LINE, PAPER)
        canvas.box(x, y, cell, 22, fill=fill, stroke=edge)
        digit = "1" if place == index else "0"
        canvas.text(x + cell / 2, y + 15, digit, size=11, color=ink, anchor="middle", mono=True)
        x += cell
    if first + ONE_HOT_SHOWN < rows:
        canvas.text(x + 6, y + 15, "…", color=MUTED)
        x += 22
    canvas.text(x + 12, y + 16, "× W =", size=14, bold=True)
    canvas.heatmap_row(x + 70, y, step.rows[index][:NUMBERS_SHOWN], 320, 22, largest)
    canvas.y += 46


def _draw_outputs(canvas: Canvas, example: Example, say: Catalogue) -> None:
    """Draw the predictions of the head for a text as bars, and the targets."""
    shown = sorted(example.candidates, key=lambda each: (-each.target, -each.prediction))
    if shown[0].kind == "number":
        _draw_numbers(canvas, example.candidates, say)
        return
    left, width = MARGIN + 190, 480
    for each in shown[:ROWS_SHOWN]:
        color = RIGHT if each.target else WRONG
        name = clipped(each.name, 14, 176)
        canvas.text(left - 12, canvas.y + 15, name, size=14, anchor="end", bold=bool(each.target))
        canvas.box(left, canvas.y, width, 20, fill="#f2f4f7", radius=4)
        canvas.box(left, canvas.y, max(2, width * each.prediction), 20, fill=color, radius=4)
        words = f"{each.prediction:.4f}   {say('page.target_is', target=f'{each.target:g}')}"
        canvas.text(left + width + 12, canvas.y + 15, words, size=12, color=color, mono=True)
        canvas.y += 28
    _draw_rest(canvas, len(shown) - ROWS_SHOWN, "table.more_labels", say)


def _draw_numbers(canvas: Canvas, candidates: Sequence[Candidate], say: Catalogue) -> None:
    """Draw each predicted number and its target on a line."""
    left, width = MARGIN + 190, 480
    for each in candidates[:ROWS_SHOWN]:
        low, high = sorted((each.prediction, each.target_in_units))
        pad = (high - low) * 0.4 or max(abs(high), 1.0)
        low, high = low - pad, high + pad
        y = canvas.y + 24
        name = say("table.numbered", number=each.id + 1)
        canvas.text(left - 12, y + 5, name, size=14, anchor="end", bold=True)
        canvas.path(f"M{left} {y:.1f}h{width}", color=LINE, width=2)
        for value, words, color, shift in (
            (each.prediction, say("table.prediction"), WRONG, -12),
            (each.target_in_units, say("table.target"), RIGHT, 24),
        ):
            x = left + width * (value - low) / (high - low)
            canvas.box(x - 6, y - 6, 12, 12, fill=color, radius=6)
            shown = f"{words} {value:.5g}"
            canvas.text(x, y + shift, shown, size=12, color=color, anchor="middle", mono=True)
        canvas.y += 66
    _draw_rest(canvas, len(candidates) - ROWS_SHOWN, "table.more_numbers", say)


def _draw_counts(canvas: Canvas, step: Step, say: Catalogue) -> None:
    """Draw how often words stand near each word, and below it how often they are predicted to."""
    shown = step.examples[:EXAMPLES_SHOWN]
    largest = max(
        max(each.target_in_units, min(each.prediction, 1e6))
        for example in shown
        for each in example.candidates
    )
    left, width = MARGIN + 250, 420
    for example in shown:
        canvas.y += 8
        name = clipped(example.title, 14, 120)
        canvas.text(MARGIN + 120, canvas.y + 13, name, size=14, anchor="end", bold=True)
        for each in example.candidates[:NEGATIVES_SHOWN]:
            name = clipped(each.name, 13, 110)
            canvas.text(left - 10, canvas.y + 13, name, size=13, anchor="end")
            for value, color, y in (
                (each.target_in_units, RIGHT, 1),
                (each.prediction, WRONG, 9),
            ):
                length = max(1.5, width * min(value, largest) / largest)
                canvas.box(left, canvas.y + y, length, 7, fill=color, radius=2)
            target, found = say("table.target"), say("table.prediction")
            words = f"{target} {each.target_in_units:.4g}, {found} {each.prediction:.4g}"
            canvas.text(left + width + 8, canvas.y + 13, words, size=11, color=MUTED)
            canvas.y += 21
        _draw_rest(canvas, len(example.candidates) - NEGATIVES_SHOWN, "table.more_numbers", say)
    _draw_rest(canvas, len(step.examples) - EXAMPLES_SHOWN, "page.more_places", say)


def _draw_answers(canvas: Canvas, step: Step, say: Catalogue) -> None:
    """Draw the words asked for at each place, a row each.

    There is a column for each word of the text and for each negative sample. A cell shows the
    predicted probability, and is the darker the more wrong it is.
    """
    places = [place for place, token in enumerate(step.tokens) if token.kept][:TOKENS_SHOWN]
    columns = {place: number for number, place in enumerate(places)}
    samples = _sample_columns(step.examples)
    left, cell = (
        MARGIN + 150,
        min(40.0, (WIDTH - 2 * MARGIN - 190) / (len(places) + len(samples) + 1)),
    )
    negatives_left = left + len(places) * cell + 22
    canvas.y += 74
    for place, number in columns.items():
        x = left + (number + 0.6) * cell
        name = clipped(step.tokens[place].token, 12, 90)
        canvas.text(x, canvas.y - 8, name, size=12, turn=-45, color=RIGHT)
    for number, name in enumerate(samples):
        x = negatives_left + (number + 0.6) * cell
        canvas.text(x, canvas.y - 8, clipped(name, 12, 90), size=12, turn=-45, color=WRONG)
    for example in step.examples[:EXAMPLES_SHOWN]:
        centre = example.centre or 0
        name = clipped(step.tokens[centre].token, 14, 140)
        canvas.text(left - 12, canvas.y + 19, name, size=14, anchor="end", bold=True)
        inputs = set(example.inputs)
        if inputs == {centre} and centre in columns:
            x = left + columns[centre] * cell
            canvas.text(x + cell / 2, canvas.y + 18, "•", color=MUTED, anchor="middle")
        else:
            for place in inputs & columns.keys():
                x = left + columns[place] * cell
                canvas.box(x + 2, canvas.y + 2, cell - 4, 24, stroke=RIGHT, radius=4, dashed=True)
        positive, negative = captions.answers(example)
        for each, times in positive:
            if each.place in columns:
                x = left + columns[each.place] * cell
                _draw_answer(canvas, x, cell, each, times, say)
        for number, (each, times) in enumerate(negative[: len(samples)]):
            _draw_answer(canvas, negatives_left + number * cell, cell, each, times, say)
        canvas.y += 30
    canvas.y += 12
    _draw_rest(canvas, len(step.examples) - EXAMPLES_SHOWN, "page.more_places", say)


def _key_to_answers(step: Step, say: Catalogue) -> str:
    """Explain the colours of the figure of answers."""
    own = all(set(each.inputs) == {each.centre} for each in step.examples)
    words = max(len(captions.answers(example)[1]) for example in step.examples)
    more = words - len(_sample_columns(step.examples))
    sentences = [say("page.in_window" if own else "page.between_inputs")]
    if more > 0:
        sentences.append(say("page.more_negatives", count=more))
    return " ".join(sentences)


def _sample_columns(examples: Sequence[Example]) -> list[str]:
    """Head the columns of negative samples: by their words where all places share them."""
    names = [
        [each.name if times == 1 else f"{each.name} ×{times}" for each, times in negative]
        for _, negative in map(captions.answers, examples)
    ]
    longest = max(map(len, names), default=0)
    shared = all(each == names[0] for each in names)
    return names[0][:NEGATIVES_SHOWN] if shared else [""] * min(longest, NEGATIVES_SHOWN)


def _draw_answer(
    canvas: Canvas, x: float, cell: float, answer: Candidate, times: int, say: Catalogue
) -> None:
    error = abs(answer.target - answer.prediction)
    fill = tint(RIGHT if answer.target else WRONG, 0.12 + 0.88 * error)
    tip = say(
        "page.tip",
        name=answer.name if times == 1 else say("page.drawn", name=answer.name, count=times),
        prediction=answer.prediction,
        target=answer.target,
        weight=answer.weight,
        loss=answer.loss,
    )
    canvas.box(x + 2, canvas.y + 2, cell - 4, 24, fill=fill, radius=4, tip=tip)
    if cell >= 24:
        said = f"{answer.prediction:.2f}".removeprefix("0")
        at, ink = (x + cell / 2, canvas.y + 18), ink_on(fill)
        canvas.text(*at, said, size=10.5, color=ink, anchor="middle", mono=True)


def _draw_changes(
    canvas: Canvas,
    name: str,
    changes: Sequence[Change],
    colors: dict[int, str],
    say: Catalogue,
) -> None:
    """Draw gradient, row before and row after, for each row of one parameter."""
    left, width, gap = MARGIN + 150, 204.0, 16
    shown = changes[:ROWS_SHOWN]
    steepest = largest_of(part for change in shown for part in (change.gradient, change.parts))
    largest = largest_of(part for change in shown for part in (change.before, change.after))
    canvas.y += 22
    canvas.text(MARGIN, canvas.y, name, size=14, bold=True, mono=True)
    for number, key in enumerate(("page.gradient", "page.before", "page.after")):
        x = left + number * (width + gap)
        canvas.text(x, canvas.y, say(key), size=12, color=MUTED)
    canvas.y += 10
    for change in shown:
        times, name = len(change.parts), captions.label_of(change)
        if times > captions.LOOK_UPS_SHOWN:
            name = say("table.sum_of", word=clipped(name, 11, 50), count=times)
        elif times > 1:
            for number, part in enumerate(change.parts, 1):
                label = say("table.look_up", number=number)
                canvas.text(left - 12, canvas.y + 9, label, size=10.5, color=MUTED, anchor="end")
                canvas.heatmap_row(left, canvas.y, part[:NUMBERS_SHOWN], width, 10, steepest)
                canvas.text(
                    left + width + 4, canvas.y + 9,
                    "+" if number < times else "=", size=12, color=MUTED,
                )  # fmt: skip
                canvas.y += 13
        color = colors.get(change.row, INK) if change.row is not None else INK
        size = 13 if times <= captions.LOOK_UPS_SHOWN else 11
        name = clipped(name, size, 136)
        canvas.text(left - 12, canvas.y + 14, name, size=size, anchor="end", color=color, bold=True)
        for number, row in enumerate((change.gradient, change.before, change.after)):
            x = left + number * (width + gap)
            scale = largest if number else steepest
            canvas.heatmap_row(x, canvas.y, row.ravel()[:NUMBERS_SHOWN], width, 19, scale)
        moved = float(np.linalg.norm(change.after - change.before))
        x = left + 3 * (width + gap) - 8
        canvas.text(
            x, canvas.y + 14, say("page.moved", distance=moved), size=11, color=MUTED, mono=True
        )
        canvas.y += 25
    _draw_rest(canvas, len(changes) - ROWS_SHOWN, "table.more_rows", say)
    canvas.y += 4
    canvas.legend(left + 62, canvas.y, steepest)
    canvas.legend(left + width + gap + 62, canvas.y, largest)
    canvas.y += 22


def _draw_rest(canvas: Canvas, count: int, key: str, say: Catalogue) -> None:
    if count > 0:
        canvas.text(MARGIN + 150, canvas.y + 12, say(key, count=count), size=12, color=MUTED)
        canvas.y += 24


def _draw_rows(canvas: Canvas, word: Word, say: Catalogue) -> None:
    """Draw the row as it was at first, and as it is now."""
    rows = [(say("table.now"), word.now)]
    if word.start is not None:
        rows.insert(0, (say("table.at_first"), word.start))
    left = MARGIN + 80
    for label, row in rows:
        largest = largest_of([row])
        canvas.text(left - 12, canvas.y + 17, label, size=13, anchor="end", color=MUTED)
        canvas.heatmap_row(left, canvas.y, row[:NUMBERS_SHOWN], WIDTH - MARGIN - left, 24, largest)
        canvas.y += 32
        _draw_legend(canvas, left + 70, largest, len(row), say)
        canvas.y += 26


def _draw_neighbors(canvas: Canvas, word: Word, say: Catalogue) -> None:
    """Draw both lists with bars for cosines, and threads between words that are in both."""
    canvas.y += 14
    top, half = canvas.y, (WIDTH - 2 * MARGIN - 120) / 2
    places: dict[int, float] = {}
    columns = [(say("table.at_first"), word.neighbors_then)] if word.id is not None else []
    columns.append((say("table.now"), word.neighbors_now))
    for column, (title, found) in enumerate(columns):
        canvas.y = top
        x = MARGIN + column * (half + 120)
        canvas.text(x, canvas.y, title, size=13, color=MUTED)
        canvas.y += 12
        for each in found:
            name, bar = clipped(each.token, 14, 150), half - 230
            canvas.text(x, canvas.y + 17, name, size=14)
            canvas.box(x + 160, canvas.y + 6, bar, 12, fill="#f2f4f7", radius=3)
            color, length = ACCENT if each.cosine >= 0 else WRONG, max(2, bar * abs(each.cosine))
            canvas.box(x + 160, canvas.y + 6, length, 12, fill=color, radius=3)
            cosine = f"{each.cosine:.4f}"
            canvas.text(
                x + half, canvas.y + 17, cosine, size=12, color=MUTED, anchor="end", mono=True
            )
            middle = canvas.y + 12
            if title != columns[-1][0]:
                places[each.id] = middle
            elif each.id in places:
                start = MARGIN + half + 6
                course = f"M{start} {places[each.id]:.1f}C{start + 54} {places[each.id]:.1f} "
                canvas.path(f"{course}{x - 60} {middle:.1f} {x - 6} {middle:.1f}", color=ACCENT)
            canvas.y += 28
    canvas.y = top + 12 + 28 * max(len(word.neighbors_then), len(word.neighbors_now), 1)
