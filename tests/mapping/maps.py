"""Models for the tests of maps: a Hindi one whose rows are set, and one of hostile words."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedcli import model as models
from embedcli.config import TrainSettings
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary

HINDI = ["राजा", "रानी", "आदमी", "औरत", "राजकुमार", "राज्य", "नदी", "पानी", "दिन", "रात"]
ENGLISH = ["king", "queen", "man", "woman", "he", "she", "river", "water", "day", "night"]
HOSTILE = [
    "</script><script>alert(1)</script>", "<!--<script>", "<img src=x onerror=alert(1)>",
    "gnp\u202eexe", "\x1b[31mred", "tab\there", "line\u2028separator", "x" * 10_000, "👩\u200d👧",
    "e\u0301\u0323" * 40, "${title}", "$policy", "\\u003c", "'\"&amp;",
    "شکریہ", "東京", "\u2066hidden\u2069",
]  # fmt: skip


def save(folder: Path, words: list[str], rows: np.ndarray) -> EmbeddingTable:
    """Save a model whose words are the more frequent the earlier they come."""
    table = EmbeddingTable(Vocabulary(words, np.arange(len(words), 0, -1) * 3), rows)
    models.save_model(
        folder,
        models.Model(
            table=table,
            settings=TrainSettings(dim=rows.shape[1]),
            trained=np.arange(len(words), dtype=np.int64),
            first_lines=np.ones(len(words), np.int64),
        ),
    )
    return table


def hindi(folder: Path, number: int = 400, dim: int = 12) -> EmbeddingTable:
    """Save a model in which राजा is near रानी, and woman - man is an axis of its own."""
    rng = np.random.default_rng(0)
    words = [*HINDI, *ENGLISH]
    words += [f"शब्द{i}" if i % 2 else f"word{i}" for i in range(number - len(words))]
    rows = rng.normal(0, 1, (number, dim)).astype(np.float32)
    rows[1] = rows[0] + rng.normal(0, 0.2, dim)
    for one, two in ((2, 3), (12, 13), (14, 15)):
        rows[two] = rows[one]
        rows[one, 0], rows[two, 0] = -4, 4
    return save(folder, words, rows)


def hostile(folder: Path) -> EmbeddingTable:
    """Save a model of hostile words and some others."""
    words = [*HOSTILE, *(f"w{i}" for i in range(40))]
    return save(folder, words, np.random.default_rng(1).normal(0, 1, (len(words), 6)).astype("f4"))


def pair(folder: Path) -> None:
    """Save two Hindi models: in `two`, turned, नदी is elsewhere, and a word of its own is there."""
    table = hindi(folder / "one")
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(0, 1, (table.dim, table.dim)))
    rows = np.asarray(table.vectors)
    turned = (rows @ rotation).astype(np.float32)
    turned[6] = 2 * turned[5] + turned[7]
    save(folder / "two", [*table.vocabulary, "only"], np.vstack([turned, turned[:1]]))
