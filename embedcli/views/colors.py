"""Colours: of numbers by their value, of right and wrong, and the console that shows them."""

from __future__ import annotations

import colorsys
import math
import os
import sys
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

INK, PAPER = "#1c2333", "#ffffff"  # of text, and of the page, in the light theme
COLD, WARM = "#2166ac", "#c8501e"  # of numbers below and above zero
RIGHT, WRONG = "#12805c", "#b4540a"
WORD_COLORS = (
    "#3b4cca", "#c2410c", "#0f766e", "#9d2f77", "#5b7a10", "#6d3fc0", "#b45309", "#0369a1",
)  # fmt: skip
NEUTRAL = "#5f6673"  # of zero on a terminal, be it dark or light: white text is legible on it
DARK_PAGE, MOST_CONTRAST = "#171b24", 13.0  # of the dark theme
LEVELS = 8  # shades on each side of zero

TERMINAL = {
    "": "", "heading": "bold", "muted": "dim", "right": "green", "wrong": "dark_orange",
}  # fmt: skip
HTML = {
    "heading": "font-weight:600", "muted": "opacity:.7", "right": f"color:{RIGHT}",
    "wrong": f"color:{WRONG}",
}  # fmt: skip


def wanted() -> bool:
    """Return whether colours are wanted; see https://no-color.org."""
    return not os.environ.get("NO_COLOR")


def console(file: TextIO | None = None) -> Console:
    """Return a console of rich on standard output, or on another terminal.

    It reads no markup from text and highlights nothing; without colours it writes no escapes.
    """
    from rich.console import Console

    from embedcli.views.terminal import columns_of_page

    return Console(
        file=file or sys.stdout,
        color_system="auto" if wanted() else None,
        width=columns_of_page() if file is None else None,
        markup=False,
        emoji=False,
        highlight=False,
    )


def shades(row: Any, largest: float) -> Any:
    """Round numbers (D,) to shades from -LEVELS to LEVELS; what is not a number is 0."""
    import numpy as np

    scaled = np.nan_to_num(np.asarray(row, np.float64) / (largest or 1), posinf=1, neginf=-1)
    return np.rint(np.clip(scaled, -1, 1) * LEVELS).astype(np.int64)


def largest_of(rows: Iterable[Any]) -> float:
    """Return the largest absolute value of the finite numbers in some rows; 1 where all are 0."""
    import numpy as np

    sizes = (np.abs(row[np.isfinite(row)]) for row in map(np.asarray, rows))
    return max((float(size.max(initial=0)) for size in sizes), default=0) or 1.0


def mix(color: str, other: str, share: float) -> str:
    """Return a mix of two colours that holds `share` of the first.

    >>> mix("#000000", "#ffffff", 0.5)
    '#808080'
    """
    share = share if math.isfinite(share) else 1  # of what is not a number
    channels = ((int(each[i : i + 2], 16) for each in (color, other)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(two + (one - two) * share):02x}" for one, two in channels)


def tint(color: str, share: float = 0.08) -> str:
    """Return a mix of a colour with white."""
    return mix(color, "#ffffff", share)


@cache
def dark(color: str) -> str:
    """Return the colour that stands for one of the light theme in the dark theme.

    Hue and saturation stay; the lightness is chosen so that the contrast with the dark page is that
    of the colour with white, up to `MOST_CONTRAST`. So what is legible on white is legible there.

    >>> dark("#ffffff"), dark("#000000")
    ('#171b24', '#e0e0e0')
    """
    if color == PAPER:
        return DARK_PAGE
    hue, _, saturation = colorsys.rgb_to_hls(*_channels(color))
    wanted = min(contrast(color, PAPER), MOST_CONTRAST)
    low, high = 0.0, 1.0  # lightness
    for _ in range(12):
        middle = (low + high) / 2
        found = "#" + "".join(
            f"{round(255 * x):02x}" for x in colorsys.hls_to_rgb(hue, middle, saturation)
        )
        if _luminance(found) > _luminance(DARK_PAGE) and contrast(found, DARK_PAGE) > wanted:
            high = middle
        else:
            low = middle
    return found


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21 (WCAG 2.2, "contrast ratio").

    >>> round(contrast("#000000", "#ffffff"), 1)
    21.0
    """
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def ink_on(color: str) -> str:
    """Return the colour of text that stands out most on another colour: ink or paper."""
    return max((INK, PAPER), key=lambda ink: contrast(ink, color))


def _channels(color: str) -> tuple[float, float, float]:
    """Return red, green and blue, from 0 to 1."""
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def _luminance(color: str) -> float:
    linear = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in _channels(color))
    red, green, blue = linear
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def heat_style(shade: int) -> str:
    """Return rich's style of a number's cell: white on blue, grey or orange."""
    strong = mix(WARM if shade > 0 else COLD, NEUTRAL, abs(shade) / LEVELS)
    return f"#ffffff on {strong}"


def heat_css(shade: int) -> str:
    """Return the CSS of a number's cell: on blue, white or orange."""
    cell = tint(WARM if shade > 0 else COLD, abs(shade) / LEVELS)
    return f"background:{cell};color:{ink_on(cell)}"


def veil_css(shade: int) -> str:
    """Return the CSS of text on a transparent blue or orange, for light and for dark pages."""
    alpha = round(190 * abs(shade) / LEVELS)
    return f"background:{WARM if shade > 0 else COLD}{alpha:02x}"
