"""Labels of texts: one of several (softmax), or any of them (a sigmoid each)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli import metrics
from embedcli.autodiff import ops
from embedcli.autodiff.tensor import Array, Tensor
from embedcli.config import TrainSettings
from embedcli.errors import ConfigError, CorpusError
from embedcli.messages import Message
from embedcli.nn.losses import LOSSES
from embedcli.tasks.supervised import NGRAMS, Network, Supervised
from embedcli.tasks.task import Arrays, Candidate, Shapes, Validation, candidates
from embedcli.text.encode import EncodedCorpus
from embedcli.text.labels import ClassTargets
from embedcli.text.texts import Texts

CLASS_WEIGHTS = "target.weights"
THRESHOLD = 0.5  # probability from which on a text is said to have one of several labels


class Classify(Supervised[ClassTargets]):
    """The task: predict the label, or labels, of a text.

    `valid` is a corpus encoded with the vocabulary of `corpus`; `weights` are parameters to go on
    from. Raises CorpusError where there is nothing to tell apart, ConfigError for class weights of
    unknown labels.
    """

    label_kind = "class"
    label_form = "__label__NAME"
    sample = "reviews.txt"
    fixed = (CLASS_WEIGHTS,)
    of_this_text = (CLASS_WEIGHTS,)
    answer_from = ("task.classify",)
    loss_formula = Message("task.loss_of_label")
    baseline_text = "the most frequent label is right for {:.1%} of the texts"

    def _start(
        self, corpus: EncodedCorpus, valid: EncodedCorpus | None, weights: Arrays | None
    ) -> Arrays:
        parameters, settings = super()._start(corpus, valid, weights), self.settings
        self.labels = self._targets.names
        self.multi_label = multi_label(self._targets, settings)
        if len(self.labels) < 2:
            raise CorpusError(
                f"{corpus.name}: found one label only; expected two or more to tell apart"
            )
        self.loss_name = "sigmoid" if self.multi_label else "softmax"
        lr = settings.lr if settings.lr != "auto" else lr_for(len(self.labels))
        self.resolved = {"multi_label": self.multi_label, "lr": lr}
        if weights is not None:
            return weights
        counts = self._counts()
        weighed = class_weights(settings.class_weights, self.labels, counts)
        bias = parameters["output.bias"]
        bias[:] = _initial_bias(counts, len(self._indices), weighed, self.multi_label)
        return {**parameters, **({} if weighed is None else {CLASS_WEIGHTS: weighed})}

    def comparable(self, texts: Texts, targets: ClassTargets) -> tuple[Texts, ClassTargets]:
        """Return texts with their labels numbered as those learnt from."""
        return texts, targets.numbered_as(self._targets.names)

    def validate(self) -> Validation | None:
        """Measure loss and metrics on the texts set aside; the smaller loss is better."""
        if self._valid is None:
            return None
        logits, predicted, truth = self._predicted(*self._valid)  # (B, C)
        known = truth.any(axis=1)  # (B,) no loss can be given to a label never learnt
        targets = truth if self.multi_label else truth.argmax(axis=1)
        loss = LOSSES[self.loss_name](Tensor(logits[known]), targets[known], self.label_weights())
        mean = loss.total.item() / max(loss.count, 1)
        found = {"valid_loss": mean}
        texts, labels = max(len(truth), 1), len(self._valid[1].ids)
        if self.multi_label:
            right = int(metrics.hits_at_k(logits, truth, 1).sum())
            found["precision_at_1"], found["recall_at_1"] = right / texts, right / max(labels, 1)
            hits = int((predicted & truth).sum())
            found["f1"] = metrics.f1(hits, int(predicted.sum()), labels)  # micro
        else:
            found["accuracy"] = int((predicted & truth).sum()) / texts
            best = logits[known].argmax(axis=1)
            matrix = metrics.confusion_matrix(targets[known], best, len(self.labels))
            found["f1"] = metrics.scores_of_confusion(matrix).macro_f1
        return Validation(-mean, found)

    def measured(self, metric: str, found: Validation) -> float:
        """Return accuracy, f1, f1:LABEL or precision@K."""
        assert self._valid is not None
        if metric == "f1":
            return found.metrics["f1"]
        logits, predicted, truth = self._predicted(*self._valid)  # (B, C)
        kind, _, of = re.sub("@", ":", metric, count=1).partition(":")
        if metric == "accuracy":
            return float((predicted == truth).all(axis=1).mean())
        if kind == "precision" and of.isdecimal() and int(of) > 0:
            k = min(int(of), len(self.labels))
            return float(metrics.hits_at_k(logits, truth, k).sum() / (k * max(len(truth), 1)))
        if kind == "f1" and of in self.labels:
            column = self.labels.index(of)
            right = int((predicted & truth)[:, column].sum())
            return metrics.f1(right, int(predicted[:, column].sum()), int(truth[:, column].sum()))
        raise ConfigError(
            f"metric: found {metric!r}; expected accuracy, f1, f1:LABEL, precision@K or loss",
            f"the labels are {', '.join(self.labels[:10])}",
        )

    def _predicted(self, texts: Texts, targets: ClassTargets) -> tuple[Array, Array, Array]:
        """Return the logits of texts, which labels they predict, and the right ones: (B, C)."""
        logits = self.network.outputs(self.parameters, texts)  # (B, C)
        predicted = logits >= np.log(THRESHOLD / (1 - THRESHOLD))  # (B, C)
        if not self.multi_label:
            predicted = np.arange(len(self.labels)) == logits.argmax(axis=1)[:, None]
        return logits, predicted, targets.multi_hot()

    def baseline(self) -> float:
        """Share of the texts learnt from that have the most frequent label."""
        return float(self._counts().max() / len(self._indices))

    @property
    def label_counts(self) -> Mapping[str, int]:
        """How many of the texts learnt from have each label."""
        return dict(zip(self.labels, self._counts().tolist(), strict=True))

    def _counts(self) -> NDArray[np.int64]:
        """Count the texts learnt from that have each label, (C,)."""
        return np.bincount(self._targets.take(self._indices).ids, minlength=len(self.labels))

    def targets(self, indices: Array) -> Array:
        """Return the label of each text, (B,), or which of several it has, (B, C)."""
        if self.multi_label:
            return self._targets.take(indices).multi_hot()  # (B, C)
        return np.asarray(self._targets.ids[self._targets.offsets[indices]])  # (B,)

    def label_weights(self) -> Array | None:
        """Return the weights of the labels, (C,), if they differ."""
        weighed = self.parameters.get(CLASS_WEIGHTS)
        return None if weighed is None else weighed.data

    def candidates(self, outputs: Array, target: Any) -> list[Candidate]:
        """Return the score of each label with its probability and its share of the loss."""
        weights = self.label_weights()  # (C,)
        weights = np.ones_like(outputs) if weights is None else weights
        if self.multi_label:
            targets = target.astype(np.float32)  # (C,)
            probabilities = ops.sigmoid(outputs)  # (C,)
            losses = ops.sigmoid_losses(outputs, targets)[0] * weights  # (C,)
        else:
            targets = (np.arange(len(outputs)) == target).astype(np.float32)  # (C,)
            log_probabilities = ops.log_softmax(outputs)  # (C,)
            probabilities = np.exp(log_probabilities)  # (C,)
            losses = -weights * targets * log_probabilities  # (C,)
        return candidates(
            "label",
            id=np.arange(len(outputs)),
            target=targets,
            weight=weights,
            score=outputs,
            prediction=probabilities,
            target_in_units=targets,
            loss=losses,
        )

    @classmethod
    def head_shapes(
        cls, settings: TrainSettings, words: int, labels: Sequence[str], head: Arrays
    ) -> Shapes:
        """Return the shapes of the network's head, and of the class weights if there are any."""
        weights = {CLASS_WEIGHTS: (len(labels),)} if CLASS_WEIGHTS in head else {}
        return Network(settings).head_shapes(len(labels), len(head.get(NGRAMS, ()))) | weights

    @classmethod
    def parse_answer(
        cls, answer: Sequence[str], labels: Sequence[str], head: Arrays
    ) -> ClassTargets:
        """Read the right labels of a text."""
        known = f"the labels are {', '.join(labels[:10])}{', …' if len(labels) > 10 else ''}"
        if not answer:
            raise ConfigError("label: none given; expected the right one for this text", known)
        for label in answer:
            if label not in labels:
                raise ConfigError(f"label: {label!r} is no label of this model", known)
        ids = np.array([labels.index(label) for label in dict.fromkeys(answer)], np.int32)  # (n,)
        return ClassTargets(tuple(labels), ids, np.array([0, len(ids)]))


def multi_label(targets: ClassTargets, settings: TrainSettings) -> bool:
    """Return whether a text may have several labels: as set, or if any has."""
    several = np.diff(targets.offsets) > 1  # (B,)
    found = bool(several.any())
    if found and settings.multi_label is False:
        line = int(np.argmax(several)) + 1
        raise CorpusError(
            f"text {line} has several labels; expected one", "--multi-label auto allows several"
        )
    return found if settings.multi_label == "auto" else settings.multi_label


def lr_for(labels: int) -> float:
    """Return the learning rate for a number of labels.

    Chosen on a fifth of the training texts of eight sets with 2 to 735 labels, and of subsets with
    8 to 250 of these labels: a label with few texts is learnt in few steps, which must be larger.
    """
    return 0.08 if labels <= 10 else 0.12 if labels <= 30 else 0.2


def class_weights(setting: str | None, names: Sequence[str], counts: Array) -> Array | None:
    """Return the weights of the classes, (C,) float32, or None if all weigh the same.

    `balanced` weighs a class by the inverse of its share, n / (C · n_c), as scikit-learn's
    `compute_class_weight`; `label=weight,...` gives weights, 1 to labels not named.
    """
    if setting is None:
        return None
    if setting == "balanced":
        shares = np.maximum(counts, 1) * len(names) / counts.sum()
        return np.asarray(1 / shares, np.float32)  # (C,)
    weights = np.ones(len(names), np.float32)  # (C,)
    for part in setting.split(","):
        name, _, number = part.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = -1.0
        if not 0 <= weight < np.inf:
            raise ConfigError(
                f"class_weights: found {part.strip()!r}; expected label=weight, a number from 0",
                "--class-weights balanced",
            )
        name = name.strip()
        if name not in names:
            raise ConfigError(
                f"class_weights: {name!r} is no label of the corpus; expected one of "
                f"{', '.join(names[:10])}",
                "--class-weights balanced",
            )
        weights[names.index(name)] = weight
    return weights


def _initial_bias(counts: Array, texts: int, weights: Array | None, multi_label: bool) -> Array:
    """Return outputs that predict how often each label occurs, (C,), before anything is learnt.

    Class weights count as repeated texts do: they weigh the shares of one label a text, and
    cancel out where each label is decided by itself.
    """
    shares = counts / texts  # (C,)
    if weights is not None and not multi_label:
        weighed = counts * weights
        shares = weighed / (weighed.sum() or 1)
    shares = np.clip(shares, 1e-6, 1 - 1e-6)
    return np.log(shares) - (np.log1p(-shares) if multi_label else 0)
