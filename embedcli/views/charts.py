"""Charts of records as SVG: rows of a table, norms, loss curves, a confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from embedcli.views.colors import PAPER, RIGHT, WORD_COLORS, WRONG, ink_on, largest_of, mix, tint
from embedcli.views.records import measured_series
from embedcli.views.terminal import visible

if TYPE_CHECKING:
    from embedcli.description import Description
    from embedcli.evaluation import Classification
    from embedcli.table import Found

ROWS_SHOWN = 200  # of a table
NUMBERS_SHOWN = 300  # of a row
LABELS_SHOWN = 40  # of a confusion matrix
BARS = "▁▂▃▄▅▆▇█"
SPARKS = 32  # characters of a sparkline
_LEFT, _HEIGHT = 92, 260  # pixels left of a chart's area, and of its height
_TICKS = 5


def sparkline(values: Sequence[float], columns: int = SPARKS) -> str:
    """Return numbers as bars of text, each the mean of as many numbers.

    >>> sparkline([1, 2, 3, 4, 8])
    '▁▂▃▄█'
    """
    size = max(1, -(-len(values) // columns))
    means = [
        sum(part) / len(part)
        for part in (values[start : start + size] for start in range(0, len(values), size))
    ]
    finite = [mean for mean in means if math.isfinite(mean)]
    low, high = min(finite, default=0), max(finite, default=0)
    scale = (len(BARS) - 1) / ((high - low) or 1)
    return "".join(
        BARS[round((mean - low) * scale)] if math.isfinite(mean) else " " for mean in means
    )


def heatmap(found: Found) -> str:
    """Return rows of a table as cells coloured by value, with their words and counts."""
    rows = found[:ROWS_SHOWN]
    shown = [row.vector[:NUMBERS_SHOWN] for row in rows]
    largest = largest_of(shown)
    dim = found.table.dim
    title = f"{len(found.table):,} words × {dim} numbers"
    canvas = _titled(title)
    left = MARGIN + min(180.0, max((text_width(row.token, 13) for row in rows), default=0) + 30)
    width = WIDTH - MARGIN - left
    height = 22.0 if len(rows) <= 40 else 12.0
    for row, vector in zip(rows, shown, strict=True):
        middle = canvas.y + height / 2 + 4
        size = min(13.0, height)
        word = clipped(row.token, size, left - MARGIN - 12)
        canvas.text(left - 10, middle, word, size=size, anchor="end")
        canvas.heatmap_row(left, canvas.y, vector, width, height - 2, largest)
        canvas.y += height
    canvas.y += 10
    canvas.legend(left + 60, canvas.y, largest)
    canvas.y += 24
    _rest(canvas, len(found) - len(rows), "rows")
    _rest(canvas, dim - NUMBERS_SHOWN, "numbers of each row")
    return canvas.svg(title)


def norms(of: Description) -> str:
    """Return how many words have vectors of which length, as a histogram."""
    title = f"Lengths of {of.words:,} vectors"
    low, mean, high = of.norms
    canvas = _titled(title, f"{visible(str(of.path))}: {low:.4g} to {high:.4g}, mean {mean:.4g}")
    edges, counts = of.histogram
    top = max(counts) * 1.1
    x_of, y_of = _axes(canvas, (edges[0], edges[-1]), (0, top), "length of a vector", "words")
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        if count:
            x, y = x_of(left), y_of(count)
            tip = f"{left:.4g} to {right:.4g}: {count:,} words"
            width = max(x_of(right) - x - 1, 1)
            canvas.box(x, y, width, max(y_of(0) - y, 1), fill=ACCENT, tip=tip)
    if math.isfinite(mean):
        x = x_of(mean)
        canvas.path(f"M{x:.1f} {y_of(0):.1f}V{y_of(top):.1f}", color=WRONG, width=1.5)
        canvas.text(x + 5, y_of(top) + 11, "mean", size=11, color=WRONG)
    return canvas.svg(title)


def curves(log: Sequence[Mapping[str, Any]], name: str = "") -> str:
    """Return what was measured in the epochs as lines: losses, then other metrics."""
    title = "Loss by epoch"
    canvas = _titled(title, visible(name))
    series = {
        key: finite
        for key, points in measured_series(log).items()
        if (finite := [point for point in points if math.isfinite(point[1])])
    }
    epochs = [epoch for points in series.values() for epoch, _ in points]
    losses = {key: points for key, points in series.items() if key.endswith("loss")}
    others = {key: points for key, points in series.items() if key not in losses}
    for number, (group, label) in enumerate(((losses, "loss"), (others, "metric"))):
        if group:
            canvas.y += 18 * number
            _lines(canvas, group, (min(epochs), max(epochs)), label)
    if not series:
        canvas.text(MARGIN, canvas.y, "nothing was measured", color=MUTED)
        canvas.y += 20
    return canvas.svg(title)


def search(
    points: Sequence[tuple[int, float]], line: Sequence[tuple[int, float]], metric: str, by: str
) -> str:
    """Return the scores of trials as points (x, score), and a line through others."""
    title = f"{metric} by {by}"
    canvas = _titled(title)
    values = [score for _, score in points]
    places = [x for x, _ in points]
    pad = (max(values) - min(values)) * 0.06 or abs(max(values)) * 0.1 or 1
    ends = (min(places), max(places)), (min(values) - pad, max(values) + pad)
    x_of, y_of = _axes(canvas, *ends, by, metric, right=20, whole=True)
    steps = [(x_of(x), y_of(score)) for x, score in line]
    canvas.path("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in steps), color=ACCENT, width=2)
    for x, score in points:
        tip = f"{by} {x}: {score:.4f}"
        canvas.box(x_of(x) - 3, y_of(score) - 3, 6, 6, fill=WORD_COLORS[0], radius=3, tip=tip)
    return canvas.svg(title)


def confusion(of: Classification, name: str = "") -> str:
    """Return the confusion matrix: a row for each true label, a column for each predicted one.

    Raises ValueError where there is none, as texts may have several labels.
    """
    if of.confusion is None:
        raise ValueError("no confusion matrix")
    title = f"{of.texts:,} texts, accuracy {of.accuracy:.4f}"
    canvas = _titled(title, visible(name))
    names = of.names[:LABELS_SHOWN]
    matrix = of.confusion[: len(names), : len(names)].tolist()
    left = MARGIN + 30 + min(200.0, max(text_width(each, 13) for each in names) + 16)
    cell = max(14.0, min(64.0, (WIDTH - MARGIN - left) / len(names)))
    high = min(cell, 40.0)
    canvas.text(left, canvas.y + 4, "predicted →", size=12, color=MUTED)
    canvas.y += 14 + min(140.0, max(text_width(each, 12) for each in names) * 0.75 + 14)
    for column, each in enumerate(names):
        x = left + (column + 0.5) * cell
        canvas.text(x, canvas.y - 8, clipped(each, 12, 170), size=12, turn=-45)
    canvas.text(MARGIN + 8, canvas.y + high, "true ↓", size=12, color=MUTED, turn=-90)
    for row, (each, counts) in enumerate(zip(names, matrix, strict=True)):
        y, total = canvas.y, max(sum(counts), 1)
        word = clipped(each, 13, left - MARGIN - 40)
        canvas.text(left - 10, y + high / 2 + 4, word, anchor="end")
        for column, count in enumerate(counts):
            share = count / total
            fill = tint(RIGHT if row == column else WRONG, share) if count else PAPER
            x, tip = left + column * cell, f"{each} → {names[column]}: {count:,} ({share:.1%})"
            canvas.box(x, y, cell - 1, high - 1, fill=fill, stroke=LINE, tip=tip)
            label = f"{count:,}"
            if count and text_width(label, 12) < cell - 2:
                middle = x + (cell - 1) / 2
                canvas.text(
                    middle, y + high / 2 + 4, label, size=12, color=ink_on(fill), anchor="middle"
                )
        canvas.y += high
    canvas.y += 18
    _rest(canvas, len(of.names) - len(names), "labels")
    return canvas.svg(title)


def _titled(title: str, more: str = "") -> Canvas:
    canvas = Canvas()
    canvas.y += 8
    canvas.text(MARGIN, canvas.y, clipped(title, 20, WIDTH - 2 * MARGIN), size=20, bold=True)
    canvas.y += 26
    if more:
        canvas.text(MARGIN, canvas.y, clipped(more, 13, WIDTH - 2 * MARGIN), color=MUTED)
        canvas.y += 22
    return canvas


def _rest(canvas: Canvas, count: int, what: str) -> None:
    if count > 0:
        canvas.text(MARGIN, canvas.y + 4, f"{count:,} more {what} not shown", color=MUTED, size=12)
        canvas.y += 20


def _lines(
    canvas: Canvas,
    series: Mapping[str, Sequence[tuple[float, float]]],
    epochs: tuple[float, float],
    label: str,
) -> None:
    """Draw a line for each series, with its name and last value beside its end."""
    values = [value for points in series.values() for _, value in points]
    low, high = min(values), max(values)
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 1
    x_of, y_of = _axes(
        canvas, epochs, (low - pad, high + pad), "epoch", label, right=170, whole=True
    )
    ends: list[float] = []
    for number, (name, points) in enumerate(series.items()):
        color = WORD_COLORS[number % len(WORD_COLORS)]
        places = [(x_of(epoch), y_of(value)) for epoch, value in points]
        canvas.path("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places), color=color, width=2)
        for (epoch, value), (x, y) in zip(points, places, strict=True):
            tip = f"epoch {epoch:.4g}: {name} {value:.4f}"
            canvas.box(x - 3, y - 3, 6, 6, fill=color, radius=3, tip=tip)
        y = places[-1][1] + 4
        while any(abs(y - other) < 14 for other in ends):
            y += 14
        ends.append(y)
        words = f"{name} {points[-1][1]:.4f}"
        canvas.text(places[-1][0] + 10, y, clipped(words, 12, 165), size=12, color=color)


def _axes(
    canvas: Canvas,
    xs: tuple[float, float],
    ys: tuple[float, float],
    x_label: str,
    y_label: str,
    *,
    right: float = 0,
    whole: bool = False,
) -> Any:
    """Draw the axes of a chart; return functions from its numbers to pixels, x and y."""
    left, width, top = _LEFT, WIDTH - _LEFT - MARGIN - right, canvas.y + 10
    (x_low, x_high), (y_low, y_high) = xs, ys
    x_size, y_size = (x_high - x_low) or 1, (y_high - y_low) or 1

    def x_of(value: float) -> float:
        return left + width * ((value - x_low) / x_size if x_high > x_low else 0.5)

    def y_of(value: float) -> float:
        return top + _HEIGHT * (1 - (value - y_low) / y_size)

    for tick in _ticks(y_low, y_high):
        y = y_of(tick)
        canvas.path(f"M{left} {y:.1f}h{width:.1f}", color=LINE)
        canvas.text(left - 8, y + 4, f"{tick:,.6g}", size=11, color=MUTED, anchor="end")
    bottom = top + _HEIGHT
    for tick in _ticks(x_low, x_high, whole=whole):
        label = f"{tick:,.6g}"
        canvas.text(x_of(tick), bottom + 18, label, size=11, color=MUTED, anchor="middle")
    canvas.path(f"M{left} {top:.1f}V{bottom:.1f}h{width:.1f}", color=mix(MUTED, PAPER, 0.6))
    canvas.text(left + width / 2, bottom + 38, x_label, size=12, color=MUTED, anchor="middle")
    turned = top + _HEIGHT / 2
    canvas.text(MARGIN - 8, turned, y_label, size=12, color=MUTED, anchor="middle", turn=-90)
    canvas.y = bottom + 48
    return x_of, y_of


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return some round numbers between two.

    >>> _ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if high <= low:
        return [low]
    rough = (high - low) / _TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough * 0.999)
    step = max(step, 1) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]
