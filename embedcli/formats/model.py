"""The model folder, as one format of vectors among others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedcli.composer import Parts
from embedcli.config import TrainSettings
from embedcli.formats.base import Options, Read, selected, write_blocks
from embedcli.model import Model, load_table, save_model
from embedcli.quantize import QUANTIZERS
from embedcli.storage.files import Lock, current_path
from embedcli.table import EmbeddingTable
from embedcli.tasks import TASKS


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
    write_model(path, of_table(table))


def write_model(path: Path, model: Model) -> None:
    """Write a model folder; raises StoreError."""
    with Lock(path):
        save_model(path, model)


def of_table(table: EmbeddingTable) -> Model:
    """Return the model of words that were not trained here."""
    nowhere = np.zeros(len(table), np.int64)  # (V,)
    return Model(
        table=table,
        settings=TrainSettings(dim=table.dim),
        trained=nowhere,
        first_lines=nowhere,
        start={"from": "file"},
    )


def pruned(model: Model, ids: NDArray[np.int64]) -> Model:
    """Return a model of some words, by ascending id; what is only for training is left out."""
    table = model.table
    kept = selected(table, ids.tolist())
    table = table.like(kept.vocabulary, kept.vectors)
    small = replace(
        model,
        table=table,
        trained=model.trained[ids],
        first_lines=model.first_lines[ids],
        optimizer={},
        snapshots=None,
        snapshot_shares=None,
        bundle=None,
    )
    if _has_labels(model):
        return small
    return replace(small, head={}, buckets={}, environment={}, parts=_no_parts(model))


def quantized(model: Model, options: Options) -> Model:
    """Return a model with rows in few bytes, as `options` say; word models lose their head."""
    table = model.table
    for _ in write_blocks(table, Path("the model")):
        pass  # raises for numbers that are not finite
    part_size = min(options.part_size, table.dim)
    rows = QUANTIZERS[options.quantizer].of(table.vectors, part_size)
    nothing = np.zeros(0, np.int64)
    return replace(
        model,
        table=table.like(table.vocabulary, rows),
        head=model.head if _has_labels(model) else {},
        parts=_no_parts(model),
        trained=nothing,
        first_lines=nothing,
        optimizer={},
        bundle=None,
    )


def _no_parts(model: Model) -> Parts | None:
    """Return the parts of a model without rows: unknown words are composed of known ones."""
    nothing = np.zeros(0, np.int32)
    return model.parts and replace(model.parts, buckets=nothing, rows=nothing)


def _has_labels(model: Model) -> bool:
    return TASKS[model.settings.task].label_kind != "none"
