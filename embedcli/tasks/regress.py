"""Numbers of texts: one or more a text, by squared error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from embedcli import metrics
from embedcli.autodiff.tensor import Array, Tensor
from embedcli.config import TrainSettings
from embedcli.errors import CorpusError
from embedcli.nn.losses import squared_loss
from embedcli.tasks.supervised import CONSTANT, Batch, Supervised, Texts, split
from embedcli.tasks.task import Loss, Validation
from embedcli.text.encode import EncodedCorpus
from embedcli.text.labels import NumberTargets

MEAN, SCALE = f"{CONSTANT}mean", f"{CONSTANT}scale"


@dataclass(frozen=True)
class Numbered:
    """Texts and the numbers of each, (B, R)."""

    texts: Texts
    values: Array


class Regress(Supervised):
    """The task of saying which numbers go with a text.

    The network learns standard scores: targets less their mean, by their deviation (those of the
    texts learnt from; kept in the head as `target.mean` and `target.scale`). So the rate fits
    prices and shares alike, a network that has learnt nothing says the mean, and a loss of 1 is
    that of the mean. `valid` is a corpus encoded with the vocabulary of `corpus`; `weights` are
    parameters to go on from. Raises CorpusError where there is nothing to learn from.
    """

    def __init__(
        self,
        corpus: EncodedCorpus,
        settings: TrainSettings,
        valid: EncodedCorpus | None = None,
        weights: Mapping[str, Array] | None = None,
    ) -> None:
        everything = numbered(corpus)
        kept, numbers = split(_usable(everything), settings)
        width = everything.values.shape[1]
        super().__init__(
            everything.texts, numbers, len(corpus.vocabulary), width, settings, weights
        )
        self._values = everything.values
        self._valid = None
        if len(kept):
            self._valid = Numbered(everything.texts.take(kept), everything.values[kept])
        if valid is not None:
            self._valid = _of_width(numbered(valid), width)
        if weights is None:
            learnt = np.asarray(everything.values[numbers], np.float64)  # (B, R)
            deviation = learnt.std(axis=0)  # (R,)
            scale = np.where(deviation > 0, deviation, 1)  # (R,)
            self.parameters[MEAN] = Tensor(learnt.mean(axis=0).astype(np.float32))
            self.parameters[SCALE] = Tensor(scale.astype(np.float32))

    def loss(self, batch: Batch) -> Loss:
        """Put the mean squared error of a batch's standard scores on the tape."""
        scores = self.network.apply(self.parameters, batch.inputs, batch.dropout)  # (B, R)
        found = squared_loss(scores, batch.targets)
        return Loss(found.mean, found.total.item(), found.count)

    def validate(self) -> Validation | None:
        """Measure errors on the texts kept for it, in the targets' own units."""
        if self._valid is None:
            return None
        said = numbers_of(self.network.outputs(self.parameters, self._valid.texts), self.parameters)
        return Validation(
            -metrics.mean_squared_error(self._valid.values, said),
            errors(self._valid.values, said),
        )

    def baseline(self) -> float:
        """Mean squared error of always saying the mean, on the texts learnt from."""
        return float(np.var(self._values[self._numbers], axis=0, dtype=np.float64).mean())

    def _targets(self, numbers: Array) -> Array:
        mean, scale = self.parameters[MEAN].data, self.parameters[SCALE].data
        return (self._values[numbers] - mean) / scale  # (B, R)


def numbers_of(scores: Array, parameters: Mapping[str, Tensor]) -> Array:
    """Turn the network's standard scores (B, R) into numbers of the targets' units."""
    return np.asarray(scores * parameters[SCALE].data + parameters[MEAN].data)


def errors(truth: Array, said: Array) -> dict[str, float]:
    """Measure numbers (B, R): mean squared and absolute error, and the variance explained."""
    return {
        "mse": metrics.mean_squared_error(truth, said),
        "mae": metrics.mean_absolute_error(truth, said),
        "r2": metrics.r2(truth, said),
    }


def numbered(corpus: EncodedCorpus) -> Numbered:
    """Read the texts and numbers of a corpus; raises CorpusError where it was encoded without."""
    if not isinstance(corpus.targets, NumberTargets):
        raise CorpusError(
            "found no numbers; expected __label__NUMBER, or a column", "--label-column"
        )
    return Numbered(Texts(corpus.ids, corpus.offsets), corpus.targets.values)


def _usable(examples: Numbered) -> Array:
    """Return which texts, by their place, have words and numbers."""
    usable = np.flatnonzero((examples.texts.lengths > 0) & np.isfinite(examples.values).all(axis=1))
    if not len(usable) or not examples.values.shape[1]:
        raise CorpusError(
            "found no text that has both a number and a word; expected __label__NUMBER and words",
            "--label-prefix, or --text-column and --label-column, say where they are",
        )
    return usable


def _of_width(examples: Numbered, width: int) -> Numbered:
    """Keep the texts that have numbers, which must be as many as were learnt."""
    if examples.values.shape[1] != width:
        raise CorpusError(
            f"found {examples.values.shape[1]} numbers a text to validate on; expected {width}"
        )
    known = np.flatnonzero(np.isfinite(examples.values).all(axis=1))
    return Numbered(examples.texts.take(known), examples.values[known])
