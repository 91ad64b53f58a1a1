from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from embedcli import model as models
from embedcli.cli import main
from embedcli.config import TrainSettings
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary

WORDS = ["the", "king", "queen", "man", "woman", "नमस्ते", "東京", "river"]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Embed = Callable[..., Outcome]


@pytest.fixture
def embed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Embed:
    """Run a command line in an empty folder; stdout and stderr apart."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("EMBED_MODEL", raising=False)

    def run(*argv: str) -> Outcome:
        code = main(argv)
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


def save_model(folder: Path, words: list[str], dim: int = 4) -> EmbeddingTable:
    """Save a model whose first row is 0 1 2 3, whose second is 4 5 6 7, and so on."""
    vectors = np.arange(len(words) * dim, dtype=np.float32).reshape(len(words), dim) / 8
    counts = np.arange(len(words), 0, -1)
    table = EmbeddingTable(Vocabulary(words, counts), vectors)
    ones = np.ones(len(words), np.int64)
    settings = TrainSettings(dim=dim)
    made = models.Model(table=table, settings=settings, trained=ones, first_lines=ones)
    models.save_model(folder, made)
    return table


@pytest.fixture
def model(tmp_path: Path) -> EmbeddingTable:
    """The model in `embeddings`, the default place."""
    return save_model(tmp_path / "embeddings", WORDS)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Put a text on standard input, its file descriptor included."""
    import os
    import sys

    saved = os.dup(0)
    opened = []

    def put(text: str) -> None:
        path = tmp_path / "stdin"
        path.write_text(text, encoding="utf-8", newline="")
        file = path.open(encoding="utf-8")
        opened.append(file)
        os.dup2(file.fileno(), 0)
        monkeypatch.setattr(sys, "stdin", file)

    yield put
    os.dup2(saved, 0)
    os.close(saved)
    for file in opened:
        file.close()
