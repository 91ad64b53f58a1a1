"""What a run will take of memory and disk, compared with what is free before the work begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from embedcli.config import TrainSettings
from embedcli.errors import StoreError
from embedcli.nn.optimizers import make_optimizer
from embedcli.parallel import resolve_workers
from embedcli.storage import files
from embedcli.tasks import TASKS
from embedcli.tasks.task import Task
from embedcli.text.sources import STDIN, find_sources
from embedcli.training.gradients import most_rows

NUMBER = np.dtype(np.float32).itemsize
KEY = np.dtype(np.int64).itemsize  # a row's id and place, in one number
CURVATURE = NUMBER
SIZE = np.dtype(np.int64).itemsize  # how many rows a batch has
# Bytes of ids for a byte of text, roughly: 4 for a word of five letters and a blank, or a letter.
IDS_PER_BYTE = {"word": 2 / 3, "whitespace": 2 / 3, "char": 2.0}
COMPRESSION = {".gz": 3, ".bz2": 4, ".xz": 4, ".zst": 3}
# What a worker takes to compute the gradients of a batch, as a multiple of them, and to apply those
# of a batch alone, as a multiple of its summed rows (measured: 2.7 and, Adam's, 4.9). Those of
# several batches are summed some rows at a time, in the order of their keys: some arrays of these.
TAPE = 3
APPLYING = 5
KEYS = 6


def require_for_ids(folder: Path, sources: Sequence[str], settings: TrainSettings) -> None:
    """Raise StoreError where the ids of the text will hardly fit on the disk."""
    size = 0.0
    for source in find_sources(sources):
        path = Path(source.path)
        if source.path != STDIN and path.is_file():
            size += path.stat().st_size * COMPRESSION.get(path.suffix.lower(), 1)
    needed = int(size * IDS_PER_BYTE[settings.tokenizer])
    files.require_space(folder, needed, "the ids of the text (roughly)")


def require_for_tables(
    folder: Path, words: int, settings: TrainSettings, memory: int | None
) -> None:
    """Raise StoreError where the tables will not fit in memory or on the disk, saying what would.

    `memory` are the bytes of it that are free, if that is known. Tables: of weights, of the
    optimizer, of the best epoch, and a copy of one while it is put in place. Disk: a checkpoint,
    and the next one or the model.
    """
    kept = _kept_tables(settings)
    row = words * NUMBER  # bytes that each of the D columns takes in one table
    rooms = [
        ("of memory", memory, (kept + 1) * row),
        (f"on the disk of {folder}", files.free_space(folder), 2 * kept * row),
    ]
    for where, room, column in rooms:
        needed = column * settings.dim
        if room is not None and needed > room:
            dim, fitting = room // column, room * words // needed
            raise StoreError(
                f"{_size(words, settings)}: the run needs {files.readable(needed)} {where}; "
                f"{files.readable(room)} are free",
                f"--max-vocab {fitting} would fit" + (f", or --dim {dim}" if dim else ""),
            )


def require_for_gradients(task: Task, settings: TrainSettings, memory: int | None) -> None:
    """Raise StoreError where the gradients will not fit beside the tables, saying what would.

    `memory` are the bytes of it that were free before the task made its tables.
    """
    words = len(task.parameters["table"])
    tables = (_kept_tables(settings) + 1) * words * NUMBER * settings.dim
    needed = _for_gradients(task, settings, settings.group)
    if memory is None or tables + needed <= memory:
        return
    fitting = [
        group
        for group in range(1, settings.group)
        if tables + _for_gradients(task, settings, group) <= memory
    ]
    raise StoreError(
        f"{_size(words, settings)}: the run needs {files.readable(tables + needed)} of memory, "
        f"{files.readable(needed)} of it for the gradients of {settings.group} batches; "
        f"{files.readable(memory)} are free",
        f"--group {fitting[-1]} would fit" if fitting else "take a smaller --batch-size",
    )


def gradients(task: Task, group: int) -> int:
    """Bytes that the gradients of a group of batches take, if each meets all the rows it can."""
    batches = min(group, task.batches)
    most = most_rows(task.parameters, task.most_rows)
    size = 0
    for name, tensor in task.parameters.items():
        if name in most:
            size += most[name] * (tensor.shape[1] * tensor.dtype.itemsize + KEY + CURVATURE) + SIZE
        elif tensor.requires_grad:
            size += tensor.data.nbytes + SIZE
    return batches * size


def _for_gradients(task: Task, settings: TrainSettings, group: int) -> int:
    """Bytes of a group's gradients, and of the work on them."""
    batches = min(group, task.batches)
    workers = min(resolve_workers(settings.workers), batches)
    most = most_rows(task.parameters, task.most_rows)
    applying = max(
        batches * rows * KEYS * KEY
        if batches > 1
        else rows * task.parameters[name].shape[1] * APPLYING * NUMBER
        for name, rows in most.items()
    )
    work = max(workers * TAPE * gradients(task, 1), applying)
    return gradients(task, group) + work


def _kept_tables(settings: TrainSettings) -> int:
    """Count the tables of a row a word that a run keeps: weights, optimizer's, the best epoch's."""
    slots = len(make_optimizer(settings).slots)
    return len(TASKS[settings.task].tables) * (1 + slots + (settings.patience is not None))


def _size(words: int, settings: TrainSettings) -> str:
    return f"{words:,} words × {settings.dim:,} numbers, {settings.optimizer}"
