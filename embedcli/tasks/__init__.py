"""What is learnt: the tasks, by name."""

from embedcli.tasks.task import Loss, Task, Validation

__all__ = ["Loss", "Task", "Validation"]
