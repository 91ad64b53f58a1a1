"""Colours: of numbers by their value, of right and wrong, and the console that shows them."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

COLD, WARM = "#2166ac", "#c8501e"  # of numbers below and above zero
RIGHT, WRONG = "#12805c", "#b4540a"
NEUTRAL = "#5f6673"  # of zero on a terminal, be it dark or light: white text is legible on it
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


def heat_style(shade: int) -> str:
    """Return rich's style of a number's cell: white on blue, grey or orange."""
    strong = mix(WARM if shade > 0 else COLD, NEUTRAL, abs(shade) / LEVELS)
    return f"#ffffff on {strong}"


def heat_css(shade: int) -> str:
    """Return the CSS of a number's cell: on blue, white or orange."""
    ink = "#ffffff" if abs(shade) > LEVELS * 0.6 else "#1c2333"
    return f"background:{tint(WARM if shade > 0 else COLD, abs(shade) / LEVELS)};color:{ink}"
