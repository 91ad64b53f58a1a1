"""Captions: the sentences of an explanation, on the terminal and beside the figures."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedcli.explanation import Change, Step, Word
    from embedcli.tasks.task import Candidate, Example

    Draws = tuple[Candidate, int]


def title(step: Step) -> str:
    """Return what is explained."""
    rows, dim = step.shape
    return f"One step of learning: {step.task}, on a table of {rows:,} words × {dim} numbers"


def look_up(step: Step) -> str:
    """Return why the look-up is a product with a one-hot vector."""
    rows, dim = step.shape
    return (
        f"An id picks its row of the table W ({rows:,} × {dim}). A one-hot vector, 1 at the id and "
        f"0 elsewhere, times W is the same row (largest difference here: "
        f"{step.one_hot_difference:g}): {rows:,} × {dim} products, all but {dim} of them with 0."
    )


def loss(step: Step) -> str:
    """Return what the loss is made of."""
    if step.loss == step.total:
        return f"Loss {step.loss:.4f}, the sum of all parts: {step.loss_formula}."
    return f"Loss {step.total:.4f} / {step.count:g} = {step.loss:.4f}: {step.loss_formula}."


def backward() -> str:
    """Return which rows get a gradient."""
    return (
        "The chain rule goes back from the loss to every row that was looked up, and to no other. "
        "A row that was looked up several times gets the sum."
    )


def update(step: Step) -> str:
    """Return what the optimizer does."""
    constants = ", ".join(
        f"{name} {value:g}" for name, value in step.optimizer.items() if name != "name" and value
    )
    state = "" if not any(c.state_before for c in step.changes) else ", with its state as saved"
    with_constants = f" ({constants})" if constants else ""
    schedule = step.settings.schedule
    ended = "" if schedule == "constant" else f", where the {schedule} schedule began"
    return (
        f"Step {step.number:,} of {step.optimizer['name']}{with_constants} at rate {step.rate:g}"
        f"{ended}{state}. It is taken in a copy: the model stays as it is."
    )


def unchanged(step: Step) -> str:
    """Return how many rows do not change."""
    parts = [
        f"{count:,} of {step.shape[0]:,} rows of {name}" for name, count in step.unchanged.items()
    ]
    return f"Rows without a gradient do not change: {' and '.join(parts)}."


def label_of(change: Change) -> str:
    """Return the name of a row, which is its word, or of a whole parameter, its shape."""
    return change.name if change.row is not None else " × ".join(map(str, change.gradient.shape))


def answers(example: Example) -> tuple[list[Draws], list[Draws]]:
    """Return the candidates whose target is 1, and the others.

    A noise word that was drawn several times is one candidate, with the sum of its weights and
    losses, and the number of its draws.
    """
    positive = [(each, 1) for each in example.candidates if each.target]
    negative: dict[int, Draws] = {}
    for each in example.candidates:
        if not each.target:
            first, times = negative.get(each.id, (replace(each, weight=0.0, loss=0.0), 0))
            weight, loss = first.weight + each.weight, first.loss + each.loss
            negative[each.id] = replace(first, weight=weight, loss=loss), times + 1
    return positive, list(negative.values())


def by_parameter(step: Step) -> list[tuple[str, list[Change]]]:
    """Return the changes of each parameter, those of the text's own words first."""
    own = {token.id for token in step.tokens}
    groups = groupby(step.changes, lambda change: change.parameter)
    return [(name, sorted(group, key=lambda c: c.row not in own)) for name, group in groups]


def place(word: Word) -> str:
    """Return where and how often a word occurs in the corpus."""
    ordinal = f"Word {word.id + 1:,} of {word.words:,} to appear (id {word.id})"
    line = "" if word.first_line is None else f", first in line {word.first_line:,}"
    if word.count is None or word.share is None:
        return f"{ordinal}{line}. How often it occurs is not known."
    return (
        f"{ordinal}{line}. It occurs {_times(word.count)} in the corpus, {_share(word.share)}: "
        f"number {word.rank:,} by count."
    )


def training(word: Word) -> str:
    """Return in how many steps a word was trained; where in none, why."""
    if word.trained:
        steps = "one step" if word.trained == 1 else f"{word.trained:,} steps"
        return f"Its row had a gradient in {steps} of training."
    why = "the settings freeze it" if word.frozen else "no step used it"
    return f"Its row was never trained: {why}."


def move(word: Word) -> str:
    """Return how far the row is from its initial values."""
    if word.moved is None or word.turned is None or word.usually_moved is None:
        return "Its initial values are not known: they came from given vectors."
    if word.moved == 0:
        return "Its row still has its initial values, so that its neighbours are chance."
    compared = _compared(word.moved, word.usually_moved)
    return (
        f"Its row moved by {word.moved:.4f} from its initial values (cosine {word.turned:.3f}); "
        f"{compared}."
    )


def _compared(moved: float, usual: float) -> str:
    if usual == 0:
        return "most rows did not move"
    ratio = moved / usual
    if ratio < 0.5:
        return f"little: the median row moved by {usual:.4f}"
    return f"the median row moved by {usual:.4f}"


def _share(share: float) -> str:
    if share >= 0.001:
        return f"{share:.1%} of its words"
    return f"one word in {1 / share:,.0f}" if share else "none of its words"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
