"""Captions: the sentences of an explanation, on the terminal and beside the figures.

`say` is the catalogue of the language that they are in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedcli.explanation import Change, Context, Pair, PartOf, Step, Word
    from embedcli.messages import Catalogue
    from embedcli.tasks.task import Candidate, Example

    Draws = tuple[Candidate, int]

LOOK_UPS_SHOWN = 3  # of a row; a longer sum is shown alone
SIMILAR_SHOWN = 12
_LEAST_REST = 1e-4  # of a cosine, that is told


def title(step: Step, say: Catalogue) -> str:
    """Return what is explained."""
    rows, dim = step.shape
    return say("step.title", task=step.task, rows=rows, dim=dim)


def look_up(step: Step, say: Catalogue) -> str:
    """Return why the look-up is a product with a one-hot vector."""
    rows, dim = step.shape
    return say("step.one_hot", rows=rows, dim=dim, difference=step.one_hot_difference)


def answer(step: Step, say: Catalogue) -> str:
    """Return where the right answer comes from."""
    return " ".join(map(say.say, step.describe_target))


def ngrams(step: Step, say: Catalogue) -> str:
    """Return how the n-grams of a text get their rows."""
    sentences = [say("step.ngrams", buckets=step.settings.buckets)]
    unmet = sum(each.row is None for each in step.ngrams)
    if unmet:
        sentences.append(say("step.ngrams_not_met", count=unmet))
    return " ".join(sentences)


def loss(step: Step, say: Catalogue) -> str:
    """Return what the loss is made of."""
    formula = say.say(step.loss_formula)
    if step.loss == step.total:
        return say("step.loss_sum", loss=step.loss, formula=formula)
    return say(
        "step.loss_mean", loss=step.loss, total=step.total, count=step.count, formula=formula
    )


def update(step: Step, say: Catalogue) -> str:
    """Return what the optimizer does."""
    name, schedule = step.optimizer["name"], step.settings.schedule
    sentences = [say("step.taken", number=step.number, optimizer=name, rate=step.rate)]
    constants = ", ".join(
        f"{name} {value:g}" for name, value in step.optimizer.items() if name != "name" and value
    )
    if constants:
        sentences.append(say("step.constants", constants=constants))
    if schedule != "constant":
        sentences.append(say("step.schedule", schedule=schedule))
    if any(change.state_before for change in step.changes):
        sentences.append(say("step.state"))
    return " ".join([*sentences, say("step.in_a_copy")])


def unchanged(step: Step, say: Catalogue) -> str:
    """Return how many rows do not change."""
    changed = Counter(change.parameter for change in step.changes)
    tables = ", ".join(
        say("step.rows_of", count=count, rows=count + changed[name], table=name)
        for name, count in step.unchanged.items()
    )
    return say("step.unchanged", tables=tables)


def label_of(change: Change) -> str:
    """Return the name of a row, which is its word, or of a whole parameter, its shape."""
    return change.name if change.row is not None else " × ".join(map(str, change.gradient.shape))


def asks_counts(step: Step) -> bool:
    """Return whether a step asks how often words stand near each other, as GloVe's does."""
    return any(each.kind == "count" for example in step.examples for each in example.candidates)


def answers(example: Example) -> tuple[list[Draws], list[Draws]]:
    """Return the candidates whose target is 1, and the others.

    A negative sample that was drawn several times is one candidate, with the sum of its weights
    and losses, and the number of its draws.
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


def history(word: Word, say: Catalogue) -> list[str]:
    """Return where and how often a word occurs, how often it was trained, how far it moved."""
    if word.solved:
        return [_place(word, say), say("word.solved")]
    if word.id is None:
        rest = 1 - sum(each.weight for each in word.similar)
        return [say("word.composed", words=word.words, count=len(word.similar), rest=rest)]
    return [_place(word, say), _training(word, say), _move(word, say)]


def parts(label: str, of: Sequence[PartOf], say: Catalogue) -> str:
    """Return a label, as of a word, and its parts in a line."""
    return f"{label} " + ", ".join(part_cell(part, say) for part in of)


def similar(word: Word, say: Catalogue) -> list[str]:
    """Return the words spelt like a word of the largest weights, with these and their rows."""
    shown = [f"{each.token} → {each.id} ({each.weight:.1%})" for each in word.similar]
    if len(shown) > SIMILAR_SHOWN:
        shown[SIMILAR_SHOWN:] = [say("table.more_answers", count=len(shown) - SIMILAR_SHOWN)]
    return shown


def part_cell(part: PartOf, say: Catalogue) -> str:
    """Return a part of a word, with its row, and how many share that."""
    shown = f"{part.text} → {part.row}"
    return shown if part.share == 1 else say("table.shared_row", part=shown, count=part.share)


def _place(word: Word, say: Catalogue) -> str:
    place = {"ordinal": (word.id or 0) + 1, "words": word.words, "id": word.id}
    if word.first_line is None:
        sentence = say("word.place", **place)
    else:
        sentence = say("word.place_in_line", line=word.first_line, **place)
    if word.count is None or word.share is None:
        return f"{sentence} {say('word.count_unknown')}"
    if word.share >= 0.001:
        share = say("word.share", share=word.share)
    elif word.share:
        share = say("word.share_small", words=1 / word.share)
    else:
        share = say("word.share_none")
    return f"{sentence} {say('word.count', count=word.count, share=share, rank=word.rank)}"


def _training(word: Word, say: Catalogue) -> str:
    if word.trained:
        return say("word.steps", count=word.trained)
    return say("word.frozen" if word.frozen else "word.untrained")


def _move(word: Word, say: Catalogue) -> str:
    if word.moved is None or word.turned is None or word.usually_moved is None:
        return say("word.start_unknown")
    if word.moved == 0:
        return say("word.unmoved")
    moved, cosine, median = word.moved, word.turned, word.usually_moved
    if median == 0:
        return say("word.moved_alone", moved=moved, cosine=cosine)
    key = "word.moved_little" if moved / median < 0.5 else "word.moved"
    return say(key, moved=moved, cosine=cosine, median=median)


def pair(of: Pair, say: Catalogue) -> Iterator[str]:
    """Return what the cosine of two words is made of, and what that does not say."""
    first, second = of.words
    yield say(
        "two_words.cosine", first=first, second=second, cosine=of.cosine, contexts=of.contexts
    )
    yield say("two_words.parts", toward=of.toward, away=of.away, opposed=of.opposed)
    if abs(of.rest) >= _LEAST_REST:
        yield say("two_words.rest", rest=of.rest)
    yield say("two_words.is_not")


def contexts(of: Pair) -> list[tuple[str, Sequence[Context]]]:
    """Return the title of each kind of context words, as a key, and the words."""
    kinds = {
        "two_words.toward": of.drawn_to,
        "two_words.away": of.kept_from,
        "two_words.opposed": of.opposing,
    }
    return [(key, found) for key, found in kinds.items() if found]


def share(part: float, whole: float) -> str:
    """Return a part as a share of the whole; nothing where the whole is 0."""
    return f"{part / whole:+.2%}" if whole else ""
