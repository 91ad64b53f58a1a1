"""What a batch of each task asks, and what is right: read off the batch and its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from embedcli.autodiff import ops
from embedcli.autodiff.sampling import Piece, Tiles
from embedcli.autodiff.tensor import Array, no_grad
from embedcli.nn.layers import cut
from embedcli.tasks.cbow import CBOW
from embedcli.tasks.classify import CLASS_WEIGHTS, Classify
from embedcli.tasks.regress import Regress, numbers_of
from embedcli.tasks.skipgram import SkipGram
from embedcli.tasks.supervised import Batch, Supervised
from embedcli.tasks.words import WordBatch

Kind = Literal["context", "centre", "noise", "label", "number"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that is scored, and what would be right.

    For words and labels `score` is a logit, `said` its probability and `wanted` 1 or 0; for
    numbers `score` and `wanted` are standard scores, and `said` and `right` in the target's units.
    """

    kind: Kind
    id: int  # of the word, or the place of the label or number
    place: int | None  # in the text, for a word that stands in it
    wanted: float
    weight: float
    score: float
    said: float
    right: float
    loss: float  # weighted; those of all candidates add up to the total
    name: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """One question: the places whose rows are the input, and the candidates for an answer."""

    centre: int | None  # place of the word in the middle; None: the question is about the text
    inputs: Sequence[int]
    candidates: Sequence[Candidate]


def examples_of(task: Any, batch: Any, words: int) -> tuple[Array, list[Example]]:
    """Read off a batch of one text of so many words: the places kept, (n,), and what is asked."""
    with no_grad():
        return READERS[type(task)](task, batch, words)


def _of_classify(task: Classify, batch: Batch, words: int) -> tuple[Array, list[Example]]:
    logits = task.network.apply(task.parameters, batch.inputs, batch.dropout).data[0]  # (C,)
    weights = np.ones_like(logits)  # (C,)
    if CLASS_WEIGHTS in task.parameters:
        weights = task.parameters[CLASS_WEIGHTS].data  # (C,)
    if task.several:
        wanted = batch.targets[0].astype(np.float32)  # (C,)
        said = ops.sigmoid(logits).data  # (C,)
        losses = _decision_losses(logits, wanted, weights)  # (C,)
    else:
        wanted = np.zeros_like(logits)  # (C,)
        wanted[batch.targets[0]] = 1
        log_said = ops.log_softmax(logits).data  # (C,)
        said, losses = np.exp(log_said), -weights * wanted * log_said  # (C,)
    rows = zip(wanted, weights, logits, said, wanted, losses, strict=True)
    return _about_text(task, words, "label", rows)


def _of_regress(task: Regress, batch: Batch, words: int) -> tuple[Array, list[Example]]:
    scores = task.network.apply(task.parameters, batch.inputs, batch.dropout).data[0]  # (R,)
    wanted = batch.targets[0]  # (R,)
    said, right = (numbers_of(each, task.parameters) for each in (scores, wanted))  # (R,)
    losses = [ops.squared_error(*pair).item() for pair in zip(scores, wanted, strict=True)]
    rows = zip(wanted, np.ones_like(wanted), scores, said, right, losses, strict=True)
    return _about_text(task, words, "number", rows)


def _about_text(
    task: Supervised, words: int, kind: Kind, rows: Iterable[tuple[float, ...]]
) -> tuple[Array, list[Example]]:
    """Make the one example of a supervised task: all places that were kept, and the outputs."""
    kept, of = np.arange(words), task.settings  # (N,)
    if of.length is not None:
        kept, _ = cut(kept, np.array([0, words]), of.length, of.pad_side)  # (n,)
    candidates = []
    for number, row in enumerate(rows):
        wanted, weight, score, said, right, loss = map(float, row)
        candidates.append(Candidate(kind, number, None, wanted, weight, score, said, right, loss))
    return kept, [Example(None, kept.tolist(), candidates)]


def _decision_losses(logits: Array, wanted: Array, weights: Array) -> Array:
    """Weigh each yes-or-no decision by itself: logits, labels and weights (M,) to losses (M,)."""
    columns = np.stack([logits, wanted, weights], axis=1)[..., None]  # (M, 3, 1)
    return np.array([ops.sigmoid_cross_entropy(*each).item() for each in columns])  # (M,)


def _of_skipgram(task: SkipGram, batch: WordBatch, words: int) -> tuple[Array, list[Example]]:
    """Ask at each word which words stand around it."""
    scores = task.scores(batch)
    asked = []
    for place in range(min(words, batch.tokens)):
        at, around = _around(batch.tiles, place)
        right = [
            _word(
                "context",
                batch.tiles.centres[there],
                there,
                1.0,
                scores.right[at][column],
                scores.right_weights[at][column],
            )
            for there, column in around
        ]
        asked.append(Example(place, [place], right + _noise(batch.tiles, scores, at)))
    return np.arange(len(asked)), asked


def _of_cbow(task: CBOW, batch: WordBatch, words: int) -> tuple[Array, list[Example]]:
    """Ask at each place which word stands there, given those around it."""
    scores = task.scores(batch)
    asked = []
    for place in range(min(words, batch.tokens)):
        at, around = _around(batch.tiles, place)
        score, weight = scores.right[at], scores.right_weights[at]
        right = _word("centre", batch.tiles.centres[place], place, 1.0, score, weight)
        inputs = [there for there, _ in around]
        asked.append(Example(place, inputs, [right, *_noise(batch.tiles, scores, at)]))
    return np.arange(len(asked)), asked


def _around(tiles: Tiles, place: int) -> tuple[tuple[Any, ...], list[tuple[int, int]]]:
    """Find a centre's tile, band and place in it, and the places and columns of those around."""
    at = np.unravel_index(place, tiles.noise_weights.shape)  # g, b, S
    columns = np.flatnonzero(tiles.near[at])  # (m,)
    places = place - at[-1] + columns - tiles.halo  # (m,)
    return at, list(zip(places.tolist(), columns.tolist(), strict=True))


def _noise(tiles: Tiles, scores: Piece, at: tuple[Any, ...]) -> list[Candidate]:
    """Read the noise words that a place shares with its neighbours."""
    weight = scores.far_weights[at][0]
    scored = zip(tiles.noise[at[0]], scores.far[at], strict=True)
    return [_word("noise", each, None, 0.0, score, weight) for each, score in scored]


def _word(
    kind: Kind, index: Any, place: int | None, wanted: float, score: Any, weight: Any
) -> Candidate:
    logit = np.reshape(score, 1)  # (1,)
    said = ops.sigmoid(logit).item()
    loss = ops.sigmoid_cross_entropy(logit, wanted, weight).item()
    return Candidate(
        kind, int(index), place, wanted, float(weight), float(score), said, wanted, loss
    )


READERS: dict[type, Callable[[Any, Any, int], tuple[Array, list[Example]]]] = {
    SkipGram: _of_skipgram,
    CBOW: _of_cbow,
    Classify: _of_classify,
    Regress: _of_regress,
}
