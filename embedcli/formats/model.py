"""The model folder, as one format of vectors among others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedcli.config import TrainSettings
from embedcli.formats.base import Options, Read, write_blocks
from embedcli.model import Model, load_table, save_model
from embedcli.storage.files import Lock, current_path
from embedcli.table import EmbeddingTable


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001 - every format is asked alike
    """Whether the path is a folder with a manifest."""
    return (current_path(path) / "manifest.json").is_file()


def read(path: Path, options: Options) -> Read:  # noqa: ARG001
    """Map the table of a model; raises StoreError."""
    return Read(load_table(path))


def write(path: Path, table: EmbeddingTable) -> None:
    """Write a model whose words were not trained here; raises FormatError, StoreError."""
    for _ in write_blocks(table, path):
        pass  # raises for what cannot be written
    nowhere = np.zeros(len(table), np.int64)  # (V,)
    settings = TrainSettings(dim=table.dim)
    model = Model(
        table=table, settings=settings, trained=nowhere, first_lines=nowhere, start={"from": "file"}
    )
    with Lock(path):
        save_model(path, model)
