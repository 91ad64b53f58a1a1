"""Shapes on a page of SVG: text, boxes, paths, and rows of numbers as coloured cells.

Every text is escaped; nothing is loaded and no script runs. Colours are those of the light theme;
where the reader prefers a dark one, each is replaced by `colors.dark` of it.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli.views import terminal
from embedcli.views.colors import COLD, INK, LEVELS, PAPER, WARM, dark, ink_on, shades, tint
from embedcli.views.terminal import escaped

WIDTH = 960
MARGIN = 40
MUTED, LINE = "#667085", "#d7dce5"
ACCENT = "#3b4cca"
LEGEND = 90  # pixels of a legend's width
LEGIBLE = 16  # pixels of height from which a cell has room for its number
SANS = "'Noto Sans', 'Segoe UI', 'Helvetica Neue', Arial, 'Noto Sans Devanagari', sans-serif"
MONO = "'DejaVu Sans Mono', Consolas, Menlo, monospace"


class Canvas:
    """Shapes on a page, from the top down; `y` is the top of the next one."""

    def __init__(self, top: float = MARGIN, width: float = WIDTH) -> None:
        self.y = top
        self.width = width
        self._shapes: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 13,
        color: str = INK,
        anchor: str = "start",
        bold: bool = False,
        mono: bool = False,
        turn: float = 0,
    ) -> None:
        """Write one line."""
        style = f' font-family="{MONO}"' if mono else ""
        style += ' font-weight="600"' if bold else ""
        style += f' text-anchor="{anchor}"' if anchor != "start" else ""
        style += f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
        self._shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{color}"{style}>'
            f"{escaped(words)}</text>"
        )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = "none",
        stroke: str = "none",
        radius: float = 0,
        dashed: bool = False,
        tip: str = "",
    ) -> None:
        """Draw a rectangle; `tip` shows under the pointer."""
        style = f' rx="{radius:g}"' if radius else ""
        style += f' stroke="{stroke}"' if stroke != "none" else ""
        style += ' stroke-dasharray="4 3"' if dashed else ""
        shape = f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        title = f"<title>{escaped(tip)}</title>" if tip else ""
        self._shapes.append(f'{shape} fill="{fill}"{style}>{title}</rect>')

    def path(self, course: str, *, color: str = LINE, width: float = 1, fill: str = "none") -> None:
        """Draw a line along an SVG path."""
        stroke = f' stroke="{color}" stroke-width="{width:g}"' if width else ""
        self._shapes.append(f'<path d="{course}" fill="{fill}"{stroke}/>')

    def heading(self, number: int, words: str, *, x: float = MARGIN) -> None:
        """Draw the numbered title of a part."""
        self.y += 34
        self.box(x, self.y - 17, 24, 24, fill=ACCENT, radius=12)
        self.text(x + 12, self.y, str(number), size=13, color=PAPER, anchor="middle", bold=True)
        self.text(x + 36, self.y + 1, words, size=17, bold=True)
        self.y += 26

    def paragraph(self, words: str, *, size: float = 13, color: str = MUTED) -> None:
        """Write lines as wide as the page."""
        line = ""
        for word in words.split():
            if line and text_width(f"{line} {word}", size) > self.width - 2 * MARGIN:
                self._line(line, size, color)
                line = ""
            line = f"{line} {word}" if line else word
        self._line(line, size, color)
        self.y += 4

    def _line(self, words: str, size: float, color: str) -> None:
        self.text(MARGIN, self.y, words, size=size, color=color)
        self.y += size * 1.45

    def heatmap_row(
        self, x: float, y: float, row: NDArray[Any], width: float, height: float, largest: float
    ) -> None:
        """Draw numbers as cells from blue (-largest) through white to orange (largest)."""
        cell = width / max(len(row), 1)
        shade_of = shades(row, largest)
        self.box(x, y, width, height, fill="#f7f8fa")
        for shade in sorted(set(shade_of.tolist()) - {0}):
            places = np.flatnonzero(shade_of == shade)
            course = "".join(
                f"M{x + place * cell:.1f} {y:.1f}h{cell:.2f}v{height:g}h-{cell:.2f}z"
                for place in places.tolist()
            )
            color = WARM if shade > 0 else COLD
            self.path(course, width=0, fill=tint(color, abs(shade) / LEVELS))
        self.box(x, y, width, height, stroke=LINE)
        labels = [f"{value:.3g}" for value in row.tolist()]
        if height < LEGIBLE or cell < 6.5 * max(map(len, labels), default=0):
            return
        for place, (label, shade) in enumerate(zip(labels, shade_of.tolist(), strict=True)):
            color = ink_on(tint(WARM if shade > 0 else COLD, abs(shade) / LEVELS))
            middle = x + (place + 0.5) * cell
            self.text(middle, y + height / 2 + 4, label, size=10.5, color=color, anchor="middle")

    def legend(self, x: float, y: float, largest: float) -> None:
        """Draw the scale of colours, 90 pixels wide, with its ends on both sides."""
        self.text(x - 6, y + 9, f"-{largest:.3g}", size=11, color=MUTED, anchor="end", mono=True)
        scale = np.linspace(-largest, largest, 2 * LEVELS + 1)
        self.heatmap_row(x, y, scale, LEGEND, 10, largest)
        self.text(x + LEGEND + 6, y + 9, f"{largest:.3g}", size=11, color=MUTED, mono=True)

    def svg(self, title: str) -> str:
        """Return the picture."""
        width, height = math.ceil(self.width), math.ceil(self.y + MARGIN / 2)
        page = f'<rect width="{width}" height="{height}" fill="{PAPER}"/>'
        shapes = "\n".join([page, *self._shapes])
        used = sorted(set(re.findall(r' (fill|stroke)="(#[0-9a-f]{6})"', shapes)))
        rules = "".join(f'[{name}="{color}"]{{{name}:{dark(color)}}}' for name, color in used)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="{SANS}" role="img">\n'
            f"<title>{escaped(title)}</title>\n"
            f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>\n{shapes}\n</svg>\n"
        )


def text_width(words: str, size: float) -> float:
    """Return about how wide a text is, in pixels."""
    return terminal.width(terminal.visible(words)) * size * 0.5


def clipped(words: str, size: float, width: float) -> str:
    """Return a text cut to a width in pixels."""
    columns = max(2, int(width / (size * 0.56)))
    shown = terminal.visible(words)
    return shown if terminal.width(shown) <= columns else terminal.fit(shown, columns).rstrip()
