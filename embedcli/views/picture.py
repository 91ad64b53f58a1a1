"""Explanations as pictures: SVG that needs nothing else, and a page of HTML around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from embedcli.views import story, terminal
from embedcli.views.canvas import (
    ACCENT,
    INK,
    LINE,
    MARGIN,
    MONO,
    MUTED,
    PAPER,
    SANS,
    WIDTH,
    Sheet,
    clipped,
    escaped,
    largest_of,
    text_width,
    tint,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedcli.explanation import Candidate, Change, Example, Neighbor, Step, Word

RIGHT, WRONG = "#12805c", "#b4540a"
WORD_COLORS = (
    "#3b4cca", "#c2410c", "#0f766e", "#9d2f77", "#5b7a10", "#6d3fc0", "#b45309", "#0369a1",
)  # fmt: skip
NUMBERS_SHOWN = 100  # of a row
ROWS_SHOWN = 24  # of each parameter
NOISE_SHOWN = 10  # columns of the table of answers
EXAMPLES_SHOWN = 24  # places asked about
TOKENS_SHOWN = 24
ONE_HOT_SHOWN = 14  # cells of a one-hot vector


def step_svg(step: Step) -> str:
    """Draw one step of learning."""
    sheet = Sheet()
    sheet.y += 12
    sheet.text(
        MARGIN, sheet.y, f"“{clipped(step.text, 26, WIDTH - 2 * MARGIN)}”", size=26, bold=True
    )
    sheet.y += 30
    sheet.paragraph(story.title(step), size=15)
    colors = _word_colors(step)
    _draw_look_up(sheet, step, colors)
    sheet.heading(3, "The right answer")
    sheet.paragraph(step.describe_target)
    sheet.heading(4, "Forward, to the loss")
    if step.examples[0].centre is None:
        _draw_outputs(sheet, step.examples[0])
    else:
        _draw_answers(sheet, step)
    sheet.y += 18
    sheet.paragraph(story.loss(step), color=INK)
    sheet.heading(5, "Backward: the gradient of each row, and one step of the optimizer")
    sheet.paragraph(f"{story.backward()} {story.update(step)}")
    for name, changes in story.by_parameter(step):
        _draw_changes(sheet, name, changes, colors)
    sheet.heading(6, "What stays")
    sheet.paragraph(story.unchanged(step))
    return sheet.svg(story.title(step))


def _word_colors(step: Step) -> dict[int, str]:
    ids = dict.fromkeys(token.id for token in step.tokens if token.id is not None)
    return {each: WORD_COLORS[place % len(WORD_COLORS)] for place, each in enumerate(ids)}


def _draw_look_up(sheet: Sheet, step: Step, colors: dict[int, str]) -> None:
    """Draw the tokens with their ids, and threads from them to the rows they pick."""
    rows_left, width = MARGIN + 300.0, 400.0
    top = sheet.y
    sheet.heading(1, "Tokens and ids")
    sheet.y = top
    sheet.heading(2, f"Look-up: rows of W ({step.shape[0]:,} × {step.shape[1]})", x=rows_left)
    top = sheet.y = sheet.y + 4
    ends = _draw_tokens(sheet, step, colors)
    bottom, sheet.y = sheet.y, top
    names = {token.id: token.token for token in step.tokens}
    picked = {index: row for index, row in step.rows.items() if index in ends}
    largest = largest_of(picked.values())
    last = -1
    for index, row in picked.items():
        _draw_gap(sheet, rows_left, width, index - last - 1)
        for x, y in ends[index]:
            middle = (x + rows_left) / 2
            course = f"M{x} {y:.1f}C{middle} {y:.1f} {middle} {sheet.y + 11:.1f} "
            sheet.path(
                f"{course}{rows_left - 8} {sheet.y + 11:.1f}", color=colors[index], width=1.6
            )
        sheet.strip(rows_left, sheet.y, row[:NUMBERS_SHOWN], width, 22, largest)
        right = rows_left + width + 12.0
        number = str(index)
        sheet.text(right, sheet.y + 16, number, size=12, color=colors[index], mono=True)
        right += text_width(number, 13) + 10
        label = clipped(names[index], 14, WIDTH - MARGIN - right)
        sheet.text(right, sheet.y + 16, label, size=14, color=colors[index], bold=True)
        sheet.y += 28
        last = index
    _draw_gap(sheet, rows_left, width, step.shape[0] - last - 1)
    for x in (rows_left - 5, rows_left + width + 5):
        sheet.path(f"M{x} {top - 4:.1f}V{sheet.y:.1f}", color=INK, width=2)
    sheet.y += 12
    _draw_legend(sheet, rows_left + 60, largest, step.shape[1])
    sheet.y = max(bottom, sheet.y) + 26
    for index in list(picked)[:1]:
        _draw_one_hot(sheet, step, index, colors[index], largest)
    sheet.paragraph(story.look_up(step))


def _draw_tokens(
    sheet: Sheet, step: Step, colors: dict[int, str]
) -> dict[int, list[tuple[float, float]]]:
    """Draw the tokens one below the other; returns where the threads of each id begin."""
    ends: dict[int, list[tuple[float, float]]] = {}
    width = 190
    for token in step.tokens[:TOKENS_SHOWN]:
        known = token.id is not None
        color = colors[token.id] if token.id is not None else MUTED
        sheet.box(
            MARGIN, sheet.y, width, 26, fill=tint(color), stroke=color, radius=6,
            dashed=not token.kept,
        )  # fmt: skip
        shown = clipped(token.token, 14, width - 60)
        sheet.text(MARGIN + 10, sheet.y + 18, shown, size=14, color=INK if known else MUTED)
        label = str(token.id) if known else "unknown"
        sheet.text(
            MARGIN + width - 10, sheet.y + 17, label, size=12, color=color, anchor="end", mono=True
        )
        if token.id is not None and token.kept:
            ends.setdefault(token.id, []).append((MARGIN + width + 2, sheet.y + 13))
        sheet.y += 32
    left_out = len(step.tokens) - TOKENS_SHOWN
    if left_out > 0:
        sheet.text(MARGIN, sheet.y + 12, f"and {left_out:,} more", size=12, color=MUTED)
        sheet.y += 24
    return ends


def _draw_gap(sheet: Sheet, left: float, width: float, rows: int) -> None:
    """Draw rows that were not picked as one band."""
    if rows <= 0:
        return
    sheet.box(left, sheet.y, width, 16, fill="#f2f4f7")
    words = f"{rows:,} row{'s' * (rows > 1)} not looked up"
    sheet.text(left + width / 2, sheet.y + 12, words, size=10.5, color=MUTED, anchor="middle")
    sheet.y += 22


def _draw_legend(sheet: Sheet, x: float, largest: float, dim: int) -> None:
    sheet.legend(x, sheet.y, largest)
    if dim > NUMBERS_SHOWN:
        words = f"the first {NUMBERS_SHOWN} of {dim} numbers"
        sheet.text(x + 200, sheet.y + 9, words, size=11, color=MUTED)


def _draw_one_hot(sheet: Sheet, step: Step, index: int, color: str, largest: float) -> None:
    """Draw that a one-hot vector times the table is the row."""
    rows = step.shape[0]
    first = min(max(0, index - ONE_HOT_SHOWN // 2), max(0, rows - ONE_HOT_SHOWN))
    x, y, cell = float(MARGIN), sheet.y, 20.0
    if first:
        sheet.text(x, y + 15, "…", color=MUTED)
        x += 18
    for place in range(first, min(first + ONE_HOT_SHOWN, rows)):
        ink, edge, fill = (color, color, tint(color)) if place == index else (MUTED, LINE, PAPER)
        sheet.box(x, y, cell, 22, fill=fill, stroke=edge)
        digit = "1" if place == index else "0"
        sheet.text(x + cell / 2, y + 15, digit, size=11, color=ink, anchor="middle", mono=True)
        x += cell
    if first + ONE_HOT_SHOWN < rows:
        sheet.text(x + 6, y + 15, "…", color=MUTED)
        x += 22
    sheet.text(x + 12, y + 16, "× W =", size=14, bold=True)
    sheet.strip(x + 70, y, step.rows[index][:NUMBERS_SHOWN], 320, 22, largest)
    sheet.y += 46


def _draw_outputs(sheet: Sheet, example: Example) -> None:
    """Draw what the head says of a text as bars, and what is right."""
    shown = sorted(example.candidates, key=lambda each: (-each.target, -each.prediction))
    if shown[0].kind == "number":
        _draw_numbers(sheet, example.candidates)
        return
    left, width = MARGIN + 190, 480
    for each in shown[:ROWS_SHOWN]:
        color = RIGHT if each.target else WRONG
        name = clipped(each.name, 14, 176)
        sheet.text(left - 12, sheet.y + 15, name, size=14, anchor="end", bold=bool(each.target))
        sheet.box(left, sheet.y, width, 20, fill="#f2f4f7", radius=4)
        sheet.box(left, sheet.y, max(2, width * each.prediction), 20, fill=color, radius=4)
        words = f"{each.prediction:.4f}" + ("   right: 1" if each.target else "   right: 0")
        sheet.text(left + width + 12, sheet.y + 15, words, size=12, color=color, mono=True)
        sheet.y += 28
    _draw_rest(sheet, len(shown) - ROWS_SHOWN, "labels")


def _draw_numbers(sheet: Sheet, candidates: Sequence[Candidate]) -> None:
    """Draw each number that was said beside the right one, on a line."""
    left, width = MARGIN + 190, 480
    for each in candidates[:ROWS_SHOWN]:
        low, high = sorted((each.prediction, each.target_in_units))
        pad = (high - low) * 0.4 or max(abs(high), 1.0)
        low, high = low - pad, high + pad
        y = sheet.y + 24
        sheet.text(left - 12, y + 5, f"number {each.id + 1}", size=14, anchor="end", bold=True)
        sheet.path(f"M{left} {y:.1f}h{width}", color=LINE, width=2)
        for value, words, color, shift in (
            (each.prediction, "said", WRONG, -12),
            (each.target_in_units, "right", RIGHT, 24),
        ):
            x = left + width * (value - low) / (high - low)
            sheet.box(x - 6, y - 6, 12, 12, fill=color, radius=6)
            shown = f"{words} {value:.5g}"
            sheet.text(x, y + shift, shown, size=12, color=color, anchor="middle", mono=True)
        sheet.y += 66
    _draw_rest(sheet, len(candidates) - ROWS_SHOWN, "numbers")


def _draw_answers(sheet: Sheet, step: Step) -> None:
    """Draw the words asked for at each place: a row a place, a column a word of the text or noise.

    A cell says the probability that was given, and is the darker the more wrong that is.
    """
    places = [place for place, token in enumerate(step.tokens) if token.kept][:TOKENS_SHOWN]
    columns = {place: number for number, place in enumerate(places)}
    noise = _noise_columns(step.examples)
    left, cell = (
        MARGIN + 150,
        min(40.0, (WIDTH - 2 * MARGIN - 190) / (len(places) + len(noise) + 1)),
    )
    noise_left = left + len(places) * cell + 22
    sheet.y += 74
    for place, number in columns.items():
        x = left + (number + 0.6) * cell
        name = clipped(step.tokens[place].token, 12, 90)
        sheet.text(x, sheet.y - 8, name, size=12, turn=-45, color=RIGHT)
    for number, name in enumerate(noise):
        x = noise_left + (number + 0.6) * cell
        sheet.text(x, sheet.y - 8, clipped(name, 12, 90), size=12, turn=-45, color=WRONG)
    for example in step.examples[:EXAMPLES_SHOWN]:
        centre = example.centre or 0
        name = clipped(step.tokens[centre].token, 14, 140)
        sheet.text(left - 12, sheet.y + 19, name, size=14, anchor="end", bold=True)
        inputs = set(example.inputs)
        if inputs == {centre} and centre in columns:
            x = left + columns[centre] * cell
            sheet.text(x + cell / 2, sheet.y + 18, "•", color=MUTED, anchor="middle")
        else:
            for place in inputs & columns.keys():
                x = left + columns[place] * cell
                sheet.box(x + 2, sheet.y + 2, cell - 4, 24, stroke=RIGHT, radius=4, dashed=True)
        drawn = 0
        for each in example.candidates:
            if each.target and each.place in columns:
                _draw_answer(sheet, left + columns[each.place] * cell, cell, each)
            elif not each.target and drawn < len(noise):
                _draw_answer(sheet, noise_left + drawn * cell, cell, each)
                drawn += 1
        sheet.y += 30
    sheet.y += 12
    _draw_rest(sheet, len(step.examples) - EXAMPLES_SHOWN, "places")
    more = max(sum(not each.target for each in e.candidates) for e in step.examples) - len(noise)
    own = all(set(each.inputs) == {each.centre} for each in step.examples)
    green = "stands in the window" if own else "stands between the dashed ones"
    key = f"Green: {green} (right: 1). Orange: drawn as noise (right: 0). A cell says the "
    key += "probability that was given; the darker, the more wrong it is."
    sheet.y += 6
    sheet.paragraph(key + (f" {more} more noise words are not drawn." if more > 0 else ""))


def _noise_columns(examples: Sequence[Example]) -> list[str]:
    """Head the columns of noise: by its words where all places share them, else by nothing."""
    names = [[each.name for each in e.candidates if not each.target] for e in examples]
    longest = max(map(len, names), default=0)
    shared = all(each == names[0] for each in names)
    return names[0][:NOISE_SHOWN] if shared else [""] * min(longest, NOISE_SHOWN)


def _draw_answer(sheet: Sheet, x: float, cell: float, answer: Candidate) -> None:
    error = abs(answer.target - answer.prediction)
    fill = tint(RIGHT if answer.target else WRONG, 0.12 + 0.88 * error)
    tip = f"{answer.name}: said {answer.prediction:.4f}, right {answer.target:g}, "
    tip += f"loss {answer.loss:.4f}"
    sheet.box(x + 2, sheet.y + 2, cell - 4, 24, fill=fill, radius=4, tip=tip)
    if cell >= 24:
        color = PAPER if error > 0.5 else INK
        said = f"{answer.prediction:.2f}".removeprefix("0")
        sheet.text(
            x + cell / 2, sheet.y + 18, said, size=10.5, color=color, anchor="middle", mono=True
        )


def _draw_changes(
    sheet: Sheet, name: str, changes: Sequence[Change], colors: dict[int, str]
) -> None:
    """Draw gradient, row before and row after, for each row of one parameter."""
    left, width, gap = MARGIN + 150, 204.0, 16
    shown = changes[:ROWS_SHOWN]
    steepest = largest_of(part for change in shown for part in (change.gradient, change.parts))
    largest = largest_of(part for change in shown for part in (change.before, change.after))
    sheet.y += 22
    sheet.text(MARGIN, sheet.y, name, size=14, bold=True, mono=True)
    for number, words in enumerate(("gradient", "before", "after")):
        x = left + number * (width + gap)
        sheet.text(x, sheet.y, words, size=12, color=MUTED)
    sheet.y += 10
    for change in shown:
        if len(change.parts) > 1:
            for number, part in enumerate(change.parts[:TOKENS_SHOWN], 1):
                label = f"look-up {number}"
                sheet.text(left - 12, sheet.y + 9, label, size=10.5, color=MUTED, anchor="end")
                sheet.strip(left, sheet.y, part[:NUMBERS_SHOWN], width, 10, steepest)
                sheet.text(
                    left + width + 4, sheet.y + 9,
                    "+" if number < len(change.parts) else "=", size=12, color=MUTED,
                )  # fmt: skip
                sheet.y += 13
        color = colors.get(change.row, INK) if change.row is not None else INK
        label = clipped(story.label_of(change), 13, 136)
        sheet.text(left - 12, sheet.y + 14, label, size=13, anchor="end", color=color, bold=True)
        for number, row in enumerate((change.gradient, change.before, change.after)):
            x = left + number * (width + gap)
            scale = largest if number else steepest
            sheet.strip(x, sheet.y, row.ravel()[:NUMBERS_SHOWN], width, 19, scale)
        moved = float(np.linalg.norm(change.after - change.before))
        x = left + 3 * (width + gap) - 8
        sheet.text(x, sheet.y + 14, f"moved {moved:.2g}", size=11, color=MUTED, mono=True)
        sheet.y += 25
    _draw_rest(sheet, len(changes) - ROWS_SHOWN, "rows")
    sheet.y += 4
    sheet.legend(left + 62, sheet.y, steepest)
    sheet.legend(left + width + gap + 62, sheet.y, largest)
    sheet.y += 22


def _draw_rest(sheet: Sheet, count: int, what: str) -> None:
    if count > 0:
        sheet.text(MARGIN + 150, sheet.y + 12, f"and {count:,} more {what}", size=12, color=MUTED)
        sheet.y += 24


def word_svg(word: Word) -> str:
    """Draw the story of a word."""
    sheet = Sheet()
    sheet.y += 16
    sheet.text(MARGIN, sheet.y, clipped(word.token, 30, WIDTH - 2 * MARGIN), size=30, bold=True)
    sheet.y += 30
    for sentence in (story.place(word), story.training(word), story.move(word)):
        sheet.paragraph(sentence, size=14, color=INK)
    sheet.heading(1, "Its row, at first and now")
    rows = [("now", word.now)]
    if word.start is not None:
        rows.insert(0, ("at first", word.start))
    left = MARGIN + 80
    for label, row in rows:
        largest = largest_of([row])
        sheet.text(left - 12, sheet.y + 17, label, size=13, anchor="end", color=MUTED)
        sheet.strip(left, sheet.y, row[:NUMBERS_SHOWN], WIDTH - MARGIN - left, 24, largest)
        sheet.y += 32
        _draw_legend(sheet, left + 70, largest, len(row))
        sheet.y += 26
    sheet.heading(2, "Its neighbours, at first and now")
    _draw_neighbors(sheet, word)
    return sheet.svg(f"The story of {terminal.visible(word.token)}")


def _draw_neighbors(sheet: Sheet, word: Word) -> None:
    """Draw both lists with bars for cosines, and threads between words that are in both."""
    top, half = sheet.y, (WIDTH - 2 * MARGIN - 120) / 2
    places: dict[int, float] = {}
    for column, (title, found) in enumerate(
        (("at first", word.neighbors_then), ("now", word.neighbors_now))
    ):
        sheet.y = top
        x = MARGIN + column * (half + 120)
        sheet.text(x, sheet.y, title, size=13, color=MUTED)
        sheet.y += 12
        for each in found:
            _draw_neighbor(sheet, x, half, each)
            middle = sheet.y + 12
            if column == 0:
                places[each.id] = middle
            elif each.id in places:
                start = MARGIN + half + 6
                course = f"M{start} {places[each.id]:.1f}C{start + 54} {places[each.id]:.1f} "
                sheet.path(f"{course}{x - 60} {middle:.1f} {x - 6} {middle:.1f}", color=ACCENT)
            sheet.y += 28
    sheet.y = top + 12 + 28 * max(len(word.neighbors_then), len(word.neighbors_now), 1)


def _draw_neighbor(sheet: Sheet, x: float, width: float, neighbor: Neighbor) -> None:
    bar = width - 230
    sheet.text(x, sheet.y + 17, clipped(neighbor.token, 14, 150), size=14)
    sheet.box(x + 160, sheet.y + 6, bar, 12, fill="#f2f4f7", radius=3)
    color = ACCENT if neighbor.cosine >= 0 else WRONG
    sheet.box(x + 160, sheet.y + 6, max(2, bar * abs(neighbor.cosine)), 12, fill=color, radius=3)
    shown = f"{neighbor.cosine:.4f}"
    sheet.text(x + width, sheet.y + 17, shown, size=12, color=MUTED, anchor="end", mono=True)


def step_html(step: Step) -> str:
    """Make a page of one step: the picture, and below it all the numbers of the rows."""
    tables = [_numbers_table(name, changes) for name, changes in story.by_parameter(step)]
    return _page(step.text, step_svg(step), "".join(tables))


def word_html(word: Word) -> str:
    """Make a page of the story of a word."""
    rows = [] if word.start is None else [("", "at first", word.start)]
    table = _table("row", [*rows, (str(word.id), "now", word.now)])
    return _page(word.token, word_svg(word), table)


def _numbers_table(name: str, changes: Sequence[Change]) -> str:
    rows: list[tuple[str, str, Any]] = []
    for change in changes:
        index = "" if change.row is None else str(change.row)
        label = story.label_of(change)
        if len(change.parts) > 1:
            rows += [("", f"{label}, look-up {n}", part) for n, part in enumerate(change.parts, 1)]
        rows.append((index, f"{label}, gradient", change.gradient.ravel()))
        rows.append((index, f"{label}, before", change.before.ravel()))
        rows.append((index, f"{label}, after", change.after.ravel()))
    return _table(name, rows)


def _table(title: str, rows: Sequence[tuple[str, str, NDArray[Any]]]) -> str:
    lines = "".join(
        f"<tr><td>{index}</td><th scope=row>{escaped(label)}</th><td class=n>"
        + " ".join(f"{value:.6g}" for value in row)
        + "</td></tr>\n"
        for index, label, row in rows
    )
    summary = f"<summary>All numbers of {escaped(title)}</summary>"
    return f"<details>{summary}<div><table>{lines}</table></div></details>\n"


def _page(title: str, svg: str, rest: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{STYLE}</style>\n"
        f"<main>\n{svg}{rest}</main>\n</html>\n"
    )


STYLE = f"""
body {{ margin: 0; background: #eef0f4; color: {INK}; font: 14px/1.5 {SANS}; }}
main {{ max-width: {WIDTH}px; margin: 2rem auto; background: {PAPER}; border-radius: 12px;
  box-shadow: 0 1px 8px #1c233322; overflow: hidden; padding-bottom: 1.5rem; }}
svg {{ display: block; width: 100%; height: auto; }}
details {{ margin: .4rem {MARGIN}px; }}
summary {{ cursor: pointer; font-weight: 600; color: {ACCENT}; }}
details div {{ overflow: auto; max-height: 30rem; }}
table {{ border-collapse: collapse; font-size: 12px; white-space: nowrap; }}
th, td {{ text-align: left; padding: 2px 8px; border-bottom: 1px solid {LINE}; font-weight: 400; }}
th {{ position: sticky; left: 0; background: {PAPER}; }}
.n {{ font-family: {MONO}; }}
"""
