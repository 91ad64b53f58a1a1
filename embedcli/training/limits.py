"""Estimates of the memory and disk a run needs, compared with what is free before it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from embedcli.config import TrainSettings
from embedcli.errors import StoreError
from embedcli.model import SNAPSHOT_WORDS
from embedcli.nn.optimizers import make_optimizer
from embedcli.parallel import resolve_workers
from embedcli.storage import files
from embedcli.tasks import TASKS
from embedcli.tasks.task import Task
from embedcli.text.sources import STDIN, find_sources
from embedcli.training.gradients import most_rows

FLOAT = np.dtype(np.float32).itemsize
INT = np.dtype(np.int64).itemsize
# Bytes of ids for a byte of text, roughly: 4 for a word of five letters and a blank, or a letter.
IDS_PER_BYTE = {"word": 2 / 3, "whitespace": 2 / 3, "char": 2.0}
COMPRESSION = {".gz": 3, ".bz2": 4, ".xz": 4, ".zst": 3, ".parquet": 3, ".feather": 2}
# Memory of a worker that computes the gradients of a batch, as a multiple of these (2.7 measured).
COMPUTING = 3
# Memory for applying the summed rows of a single batch, as a multiple of these (4.9 measured, with
# Adam); and arrays of the size of the keys for summing the rows of several batches.
APPLYING = 5
KEY_ARRAYS = 6


def require_for_ids(folder: Path, sources: Sequence[str], settings: TrainSettings) -> None:
    """Raise StoreError where the disk has not enough space for the ids of the text, roughly."""
    size = 0.0
    for source in find_sources(sources):
        path = Path(source.path)
        if source.path != STDIN and path.is_file():
            size += path.stat().st_size * COMPRESSION.get(path.suffix.lower(), 1)
    copies = 2 if settings.phrases else 1  # the text apart, and joined
    needed = int(size * IDS_PER_BYTE[settings.tokenizer]) * copies
    files.require_space(folder, needed, "the ids of the text (roughly)")


def require_for_tables(
    folder: Path, words: int, settings: TrainSettings, memory: int | None, ngrams: int = 0
) -> None:
    """Raise StoreError, with values that would fit, where the tables do not fit memory or disk.

    `memory` is the number of bytes free, if known; `ngrams` is the number of rows of n-grams, if
    that is known. Memory holds the tables of weights, of the optimizer and of the best epoch, a
    copy of one table while it is moved to shared memory, and the snapshots. The disk holds a
    checkpoint, and the next checkpoint or the model.
    """
    rows = _rows(settings, words, ngrams)
    merged = _merged_rows(settings, words, ngrams)
    snapshots = settings.snapshots * min(words, SNAPSHOT_WORDS) / 2  # rows of half the size
    for where, free, bytes_per_dim in (
        ("of memory", memory, int((rows + merged + words + ngrams + snapshots) * FLOAT)),
        (f"on the disk of {folder}", files.free_space(folder), int(2 * (rows + snapshots) * FLOAT)),
    ):
        needed = bytes_per_dim * settings.dim
        if free is not None and needed > free:
            dim = free // bytes_per_dim
            hint = f"--max-vocab {free * words // needed} would fit"
            if settings.word_ngrams:
                least = free * (words + ngrams) // needed - words
                hint = f"--buckets {least} would fit" if least > 0 else "leave out --word-ngrams"
            raise StoreError(
                f"{_describe(words, settings, ngrams)}: the run needs {files.readable(needed)} "
                f"{where}; {files.readable(free)} are free",
                hint + (f", or --dim {dim}" if dim else ""),
            )


def require_for_gradients(task: Task, settings: TrainSettings, memory: int | None) -> None:
    """Raise StoreError, with values that would fit, where gradients do not fit beside the tables.

    `memory` is the number of bytes that were free before the task made its tables.
    """
    words, ngrams = len(task.parameters["table"]), sum(map(len, task.buckets.values()))
    if task.composition is not None:
        ngrams = len(task.parameters["parts"]) - words
    rows = _rows(settings, words, ngrams) + _merged_rows(settings, words, ngrams) + words + ngrams
    tables = rows * FLOAT * settings.dim
    growth = settings.group_growth
    needed = _bytes_for_group(task, settings, math.ceil(settings.group * growth))
    if memory is None or tables + needed <= memory:
        return
    fitting = [
        group
        for group in range(1, settings.group)
        if tables + _bytes_for_group(task, settings, math.ceil(group * growth)) <= memory
    ]
    raise StoreError(
        f"{_describe(words, settings, ngrams)}: the run needs {files.readable(tables + needed)} of "
        f"memory, {files.readable(needed)} of it for the gradients of {settings.group} batches; "
        f"{files.readable(memory)} are free",
        f"--group {fitting[-1]} would fit" if fitting else "take a smaller --batch-size",
    )


def gradient_bytes(task: Task, group: int) -> int:
    """Return the bytes of the gradients of a group, with as many rows a batch as there can be."""
    most = most_rows(task.differentiated, task.most_rows)
    size = 0
    for name, tensor in task.differentiated.items():
        if name in most:
            row = tensor.shape[1] * tensor.dtype.itemsize
            key, curvature, count = INT, FLOAT, INT
            size += most[name] * (row + key + curvature) + count
        else:
            size += tensor.data.nbytes + INT
    size *= min(group, task.batches)
    if task.composition is not None:  # sums by word
        words = min(len(task.parameters["table"]), min(group, task.batches) * most["table"])
        size += words * (task.parameters["table"].shape[1] * FLOAT + FLOAT + INT)
    return size


def _bytes_for_group(task: Task, settings: TrainSettings, group: int) -> int:
    """Return the bytes of a group's gradients and of the work on them."""
    batches = min(group, task.batches)
    workers = min(resolve_workers(settings.workers), batches)
    applying = max(
        batches * rows * KEY_ARRAYS * INT
        if batches > 1
        else rows * task.parameters[name].shape[1] * APPLYING * FLOAT
        for name, rows in most_rows(task.differentiated, task.most_rows).items()
    )
    computing = workers * COMPUTING * gradient_bytes(task, 1)
    return gradient_bytes(task, group) + max(computing, applying)


def _rows(settings: TrainSettings, words: int, ngrams: int) -> int:
    """Return how many rows a run keeps: of weights, of the optimizer and of the best epoch."""
    slots, copies = len(make_optimizer(settings).slots), 1 + (settings.patience is not None)
    composed = words if settings.max_n else 0  # rows that are not trained themselves
    return _trained_rows(settings, words, ngrams) * (copies + slots) + composed * copies


def _merged_rows(settings: TrainSettings, words: int, ngrams: int) -> int:
    """Return how many rows shards keep: what all have in common, and what they changed."""
    copies = 2 * (1 + len(make_optimizer(settings).slots)) if settings.shards > 1 else 0
    return _trained_rows(settings, words, ngrams) * copies


def _trained_rows(settings: TrainSettings, words: int, ngrams: int) -> int:
    # A bias has but one number a word.
    wide = [name for name in TASKS[settings.task].tables if not name.endswith("bias")]
    return len(wide) * words + ngrams


def _describe(words: int, settings: TrainSettings, ngrams: int) -> str:
    rows = f"{words:,} words and {ngrams:,} n-grams" if ngrams else f"{words:,} words"
    return f"{rows} × {settings.dim:,} numbers, {settings.optimizer}"
