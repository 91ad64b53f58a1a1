"""Numbers of texts: one or more a text, by squared error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedcli import metrics
from embedcli.autodiff.tensor import Array, Tensor
from embedcli.config import TrainSettings
from embedcli.errors import ConfigError, CorpusError
from embedcli.messages import Message
from embedcli.tasks.ngrams import NGRAMS
from embedcli.tasks.supervised import CONSTANT, Network, Supervised, split
from embedcli.tasks.task import Candidate, Shapes, Validation, candidates
from embedcli.tasks.texts import Texts
from embedcli.text.encode import EncodedCorpus
from embedcli.text.labels import Numbers, NumberTargets, parse_labels

MEAN, SCALE = f"{CONSTANT}mean", f"{CONSTANT}scale"


@dataclass(frozen=True)
class RegressionTargets:
    """Texts and the numbers of each, (B, R)."""

    texts: Texts
    values: Array


class Regress(Supervised):
    """The task: predict the numbers of a text.

    The network learns standard scores: targets minus their mean, divided by their standard
    deviation (those of the texts learnt from; kept in the head as `target.mean` and
    `target.scale`). So one rate fits prices and shares alike, an untrained network predicts the
    mean, and a loss of 1 is that of the mean. `valid` is a corpus encoded with the vocabulary of
    `corpus`; `weights` are parameters to go on from. Raises CorpusError where there is nothing to
    learn from.
    """

    label_kind = "number"
    loss_name = "squared"
    answer_from = ("task.regress",)
    loss_formula = Message("task.loss_of_number")
    baseline_text = "the mean has a mean squared error of {:.4g}"

    def __init__(
        self,
        corpus: EncodedCorpus,
        settings: TrainSettings,
        valid: EncodedCorpus | None = None,
        weights: Mapping[str, Array] | None = None,
        buckets: Mapping[str, Array] | None = None,
    ) -> None:
        everything = regression_targets(corpus)
        kept, indices = split(_usable(everything, corpus.name), settings)
        width = everything.values.shape[1]
        super().__init__(
            everything.texts, indices, corpus.vocabulary, width, settings, weights, buckets
        )
        self._values = everything.values
        self._valid = None
        if len(kept):
            self._valid = RegressionTargets(everything.texts.take(kept), everything.values[kept])
        if valid is not None:
            self._valid = _of_width(regression_targets(valid), width)
        if weights is None:
            learnt = np.asarray(everything.values[indices], np.float64)  # (B, R)
            deviation = learnt.std(axis=0)  # (R,)
            scale = np.where(deviation > 0, deviation, 1)  # (R,)
            self.parameters[MEAN] = Tensor(learnt.mean(axis=0).astype(np.float32))
            self.parameters[SCALE] = Tensor(scale.astype(np.float32))

    def validate(self) -> Validation | None:
        """Measure errors on the texts set aside, in the targets' own units."""
        if self._valid is None:
            return None
        outputs = self.network.outputs(self.parameters, self._valid.texts)  # (B, R)
        found = errors(self._valid.values, self.in_units(outputs, self.parameters))
        return Validation(-found["mse"], found)

    def measure(self, metric: str) -> float:
        """Return r2, or loss, mse or mae (negated), of the validation texts."""
        found = self.validate()
        if found is None:
            raise ConfigError("metric: no text to measure on", "--valid-share 0.1, or --valid FILE")
        name = "mse" if metric == "loss" else metric
        if name not in found.metrics:
            raise ConfigError(f"metric: found {metric!r}; expected loss, mse, mae or r2")
        return found.metrics[name] * (1 if name == "r2" else -1)

    def baseline(self) -> float:
        """Mean squared error of always predicting the mean, on the texts learnt from."""
        return float(np.var(self._values[self._indices], axis=0, dtype=np.float64).mean())

    def targets(self, indices: Array) -> Array:
        """Return the standard scores of the texts' numbers, (B, R)."""
        mean, scale = self.parameters[MEAN].data, self.parameters[SCALE].data
        return (self._values[indices] - mean) / scale  # (B, R)

    def candidates(self, outputs: Array, target: Any) -> list[Candidate]:
        """Return each number with its share of the loss."""
        return candidates(
            "number",
            id=np.arange(len(outputs)),
            target=target,
            weight=np.ones(len(outputs)),
            score=outputs,
            prediction=self.in_units(outputs, self.parameters),
            target_in_units=self.in_units(target, self.parameters),
            loss=(outputs - target) ** 2,
        )

    @staticmethod
    def in_units(outputs: Array, parameters: Mapping[str, Tensor]) -> Array:
        """Turn standard scores (B, R) into the targets' units."""
        return np.asarray(outputs * parameters[SCALE].data + parameters[MEAN].data)

    def require_compatible(self, head: Mapping[str, Array]) -> None:
        """Raise CorpusError where the texts have another number of numbers than the model's."""
        found, expected = len(self.parameters[MEAN]), len(head.get(MEAN, ()))
        if found != expected:
            raise CorpusError(f"found {found} numbers a text; the model to update has {expected}")

    @classmethod
    def head_shapes(
        cls, settings: TrainSettings, words: int, labels: Sequence[str], head: Mapping[str, Array]
    ) -> Shapes:
        """Return the shapes of the network's head, and of the targets' mean and scale."""
        width = head[MEAN].size if MEAN in head else 0  # R
        shapes = Network(settings).head_shapes(width, len(head.get(NGRAMS, ())))
        return shapes | dict.fromkeys((MEAN, SCALE), (width,))

    @classmethod
    def parse_answer(
        cls, answer: Sequence[str], labels: Sequence[str], head: Mapping[str, Array]
    ) -> NumberTargets:
        """Read the right numbers of a text."""
        width = len(head[MEAN])
        if len(answer) != width:
            raise ConfigError(
                f"label: found {len(answer)} numbers; this model predicts {width} for a text",
                " ".join(["--label 1.5"] * width),
            )
        return NumberTargets(parse_labels(Numbers(), answer, lambda _: "label")[None])  # (1, R)


def errors(truth: Array, predicted: Array) -> dict[str, float]:
    """Measure numbers (B, R): mean squared and absolute error, and the variance explained."""
    return {
        "mse": metrics.mean_squared_error(truth, predicted),
        "mae": metrics.mean_absolute_error(truth, predicted),
        "r2": metrics.r2(truth, predicted),
    }


def regression_targets(corpus: EncodedCorpus) -> RegressionTargets:
    """Return the texts and numbers of a corpus; raises CorpusError where it was encoded without."""
    if not isinstance(corpus.targets, NumberTargets):
        raise CorpusError(
            "found no numbers; expected __label__NUMBER, or a column", "--label-column"
        )
    return RegressionTargets(Texts(corpus.ids, corpus.offsets), corpus.targets.values)


def _usable(examples: RegressionTargets, name: str) -> Array:
    """Return the indices of the texts with words and numbers."""
    usable = np.flatnonzero((examples.texts.lengths > 0) & np.isfinite(examples.values).all(axis=1))
    if not len(usable) or not examples.values.shape[1]:
        raise CorpusError(
            f"{name}: found no text with both number and word; expected __label__NUMBER and words",
            "--label-prefix, or --text-column and --label-column, say where they are",
        )
    return usable


def _of_width(examples: RegressionTargets, width: int) -> RegressionTargets:
    """Keep the texts that have numbers, which must be as many as were learnt."""
    if examples.values.shape[1] != width:
        raise CorpusError(
            f"found {examples.values.shape[1]} numbers a text to validate on; expected {width}"
        )
    known = np.flatnonzero(np.isfinite(examples.values).all(axis=1))
    return RegressionTargets(examples.texts.take(known), examples.values[known])
