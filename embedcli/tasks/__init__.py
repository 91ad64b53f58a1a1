"""What is learnt: the tasks, by name."""

from __future__ import annotations

from collections.abc import Callable

from embedcli.tasks.cbow import CBOW
from embedcli.tasks.classify import Classify
from embedcli.tasks.regress import Regress
from embedcli.tasks.skipgram import SkipGram
from embedcli.tasks.task import Loss, Task, Validation

# A task is made from (corpus, settings, corpus to validate on or None).
TASKS: dict[str, Callable[..., Task]] = {
    "skipgram": SkipGram,
    "cbow": CBOW,
    "classify": Classify,
    "regress": Regress,
}

# Tables of a row a word that a task learns; what else it learns is small.
TABLES = {"skipgram": 2, "cbow": 2, "classify": 1, "regress": 1}

__all__ = ["TABLES", "TASKS", "Loss", "Task", "Validation"]
