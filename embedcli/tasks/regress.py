"""Numbers of texts: one or more a text, by squared error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embedcli import metrics
from embedcli.autodiff.tensor import Array, Tensor
from embedcli.config import TrainSettings
from embedcli.errors import ConfigError, CorpusError
from embedcli.messages import Message
from embedcli.tasks.supervised import NGRAMS, Network, Supervised
from embedcli.tasks.task import Arrays, Candidate, Shapes, Validation, candidates
from embedcli.text.encode import EncodedCorpus
from embedcli.text.labels import Numbers, NumberTargets, parse_labels
from embedcli.text.texts import Texts

MEAN, SCALE = "target.mean", "target.scale"


class Regress(Supervised[NumberTargets]):
    """The task: predict the numbers of a text.

    The network learns standard scores: targets minus their mean, divided by their standard
    deviation (those of the texts learnt from; kept in the head as `target.mean` and
    `target.scale`). So one rate fits prices and shares alike, an untrained network predicts the
    mean, and a loss of 1 is that of the mean. `valid` is a corpus encoded with the vocabulary of
    `corpus`; `weights` are parameters to go on from. Raises CorpusError where there is nothing to
    learn from.
    """

    fixed = (MEAN, SCALE)
    label_kind = "number"
    label_form = "__label__NUMBER"
    loss_name = "squared"
    answer_from = ("task.regress",)
    loss_formula = Message("task.loss_of_number")
    baseline_text = "the mean has a mean squared error of {:.4g}"

    def _start(
        self, corpus: EncodedCorpus, valid: EncodedCorpus | None, weights: Arrays | None
    ) -> Arrays:
        parameters = super()._start(corpus, valid, weights)
        if weights is not None:
            return weights
        learnt = self._targets.take(self._indices).values.astype(np.float64)  # (B, R)
        deviation = learnt.std(axis=0)  # (R,)
        scale = np.where(deviation > 0, deviation, 1).astype(np.float32)  # (R,)
        return {**parameters, MEAN: learnt.mean(axis=0).astype(np.float32), SCALE: scale}

    def comparable(self, texts: Texts, targets: NumberTargets) -> tuple[Texts, NumberTargets]:
        """Return the texts that have numbers, which must be as many as were learnt."""
        if targets.width != self._targets.width:
            raise CorpusError(
                f"found {targets.width} numbers a text to validate on; "
                f"expected {self._targets.width}"
            )
        known = np.flatnonzero(targets.given)
        return texts.take(known), targets.take(known)

    def validate(self) -> Validation | None:
        """Measure errors on the texts set aside, in the targets' own units."""
        if self._valid is None:
            return None
        texts, targets = self._valid
        outputs = self.network.outputs(self.parameters, texts)  # (B, R)
        found = metrics.errors(targets.values, self.in_units(outputs, self.parameters))
        return Validation(-found["mse"], found)

    def measured(self, metric: str, found: Validation) -> float:
        """Return r2, or mse or mae, negated."""
        if metric not in found.metrics:
            raise ConfigError(f"metric: found {metric!r}; expected loss, mse, mae or r2")
        return found.metrics[metric] * (1 if metric == "r2" else -1)

    def baseline(self) -> float:
        """Mean squared error of always predicting the mean, on the texts learnt from."""
        return float(np.var(self._targets.values[self._indices], axis=0, dtype=np.float64).mean())

    def targets(self, indices: Array) -> Array:
        """Return the standard scores of the texts' numbers, (B, R)."""
        mean, scale = self.parameters[MEAN].data, self.parameters[SCALE].data
        return np.asarray((self._targets.values[indices] - mean) / scale)  # (B, R)

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

    def go_on_from(self, head: Arrays) -> None:
        """Raise CorpusError where the texts have another number of numbers than the model's."""
        found, expected = len(self.parameters[MEAN]), len(head.get(MEAN, ()))
        if found != expected:
            raise CorpusError(f"found {found} numbers a text; the model to update has {expected}")

    @classmethod
    def head_shapes(
        cls, settings: TrainSettings, words: int, labels: Sequence[str], head: Arrays
    ) -> Shapes:
        """Return the shapes of the network's head, and of the targets' mean and scale."""
        width = head[MEAN].size if MEAN in head else 0  # R
        shapes = Network(settings).head_shapes(width, len(head.get(NGRAMS, ())))
        return shapes | dict.fromkeys((MEAN, SCALE), (width,))

    @classmethod
    def parse_answer(
        cls, answer: Sequence[str], labels: Sequence[str], head: Arrays
    ) -> NumberTargets:
        """Read the right numbers of a text."""
        width = len(head[MEAN])
        if len(answer) != width:
            raise ConfigError(
                f"label: found {len(answer)} numbers; this model predicts {width} for a text",
                " ".join(["--label 1.5"] * width),
            )
        return NumberTargets(parse_labels(Numbers(), answer, lambda _: "label")[None])  # (1, R)
