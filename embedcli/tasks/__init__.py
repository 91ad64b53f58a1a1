"""What is learnt: the tasks, by name."""

from __future__ import annotations

from collections.abc import Callable

from embedcli.tasks.classify import Classify
from embedcli.tasks.regress import Regress
from embedcli.tasks.task import Loss, Task, Validation

# A task is made from (corpus, settings, corpus to validate on or None).
TASKS: dict[str, Callable[..., Task]] = {
    "classify": Classify,
    "regress": Regress,
}

__all__ = ["TASKS", "Loss", "Task", "Validation"]
