"""Labels of texts: one of several (softmax), or any of them (a sigmoid each)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from embedcli import metrics
from embedcli.autodiff.tensor import Array, Tensor
from embedcli.config import TrainSettings
from embedcli.errors import ConfigError, CorpusError
from embedcli.nn.losses import Total, sigmoid_loss, softmax_loss
from embedcli.tasks.supervised import Examples, Inputs, Network, Texts, split
from embedcli.tasks.task import Loss, Validation
from embedcli.text.encode import EncodedCorpus
from embedcli.text.labels import ClassTargets


@dataclass(frozen=True)
class Batch:
    """Texts made ready, and what they should be called."""

    inputs: Inputs
    targets: Array  # labels (B,), or which labels a text bears (B, C)
    words: int
    dropout: Generator


@dataclass(frozen=True)
class Labelled:
    """Texts and the labels each bears, as ids (n,) and offsets (B+1,); -1 is no known label."""

    texts: Texts
    labels: Array
    offsets: Array

    def __len__(self) -> int:
        return len(self.texts)

    def borne(self, classes: int) -> NDArray[np.bool_]:
        """Which labels a text bears, (B, C)."""
        borne = np.zeros((len(self), classes), bool)  # (B, C)
        owners = np.repeat(np.arange(len(self)), np.diff(self.offsets))  # (n,)
        known = self.labels >= 0
        borne[owners[known], self.labels[known]] = True
        return borne

    def take(self, numbers: Array) -> Labelled:
        """Copy some of the texts, in the order of their numbers."""
        labels = Texts(self.labels, self.offsets).take(numbers)
        return Labelled(self.texts.take(numbers), labels.ids, labels.offsets)


class Classify:
    """The task: which label, or labels, does a text bear?

    `valid` is a corpus encoded with the vocabulary of `corpus`. Raises CorpusError where there is
    nothing to tell apart, ConfigError for class weights of unknown labels.
    """

    def __init__(
        self, corpus: EncodedCorpus, settings: TrainSettings, valid: EncodedCorpus | None = None
    ) -> None:
        targets = _targets(corpus)
        self.settings = settings
        self.labels = targets.names
        self._all = Labelled(Texts(corpus.ids, corpus.offsets), targets.ids, targets.offsets)
        numbers = _usable(self._all, self.labels)
        numbers, kept = split(numbers, settings)
        self.several = _several(self._all, settings)
        self._valid = self._all.take(kept) if len(kept) else None
        if valid is not None:
            self._valid = labelled(valid, self.labels)
        self._examples = Examples(self._all.texts, numbers, settings)
        self._weights = class_weights(settings.class_weights, self.labels, self._label_counts())
        self.network = Network(settings)
        table = self.network.make_table(len(corpus.vocabulary))  # (V, D)
        arrays = {"table": table, **self.network.make_head(len(self.labels))}
        self.parameters = {name: Tensor(array, True) for name, array in arrays.items()}

    @property
    def tables(self) -> Mapping[str, int]:
        """The one table, and the most rows of it a batch can meet."""
        return {"table": min(len(self.parameters["table"]), self._examples.most_words())}

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return self._examples.batches

    def batch(self, epoch: int, index: int) -> Batch:
        """Make a batch of texts and their labels."""
        numbers = self._examples.batch(epoch, index)
        part = self._all.take(numbers)
        inputs = self.network.inputs(part.texts, len(self.parameters["table"]))
        return Batch(
            inputs, self._wanted(part), len(part.texts.ids), self._examples.dropout(epoch, index)
        )

    def loss(self, batch: Batch) -> Loss:
        """Put the mean loss of a batch on the tape."""
        logits = self.network.apply(self.parameters, batch.inputs, batch.dropout)  # (B, C)
        found = self._loss(logits, batch.targets)
        return Loss(found.mean, found.total.item(), found.count)

    def words(self, batch: Batch) -> int:
        """Count the tokens of a batch's texts."""
        return batch.words

    def validate(self) -> Validation | None:
        """Measure loss and metrics on the texts kept for it; the loss decides."""
        if self._valid is None:
            return None
        logits = self.network.outputs(self.parameters, self._valid.texts)  # (B, C)
        borne = self._valid.borne(len(self.labels))  # (B, C)
        seen = borne.any(axis=1)
        found = self._loss(
            Tensor(logits[seen]), self._wanted(self._valid.take(np.flatnonzero(seen)))
        )
        loss = found.total.item() / max(found.count, 1)
        return Validation(-loss, {"loss": loss, **scores(logits, borne, self.several)})

    def baseline(self) -> float:
        """How often the most frequent label is right on the texts learnt from."""
        return float(self._label_counts().max() / len(self._examples.numbers))

    def _label_counts(self) -> NDArray[np.int64]:
        part = self._all.take(self._examples.numbers)
        return np.bincount(part.labels, minlength=len(self.labels))  # (C,)

    def _wanted(self, part: Labelled) -> Array:
        if self.several:
            return part.borne(len(self.labels))  # (B, C)
        return part.labels[part.offsets[:-1]]  # (B,)

    def _loss(self, logits: Tensor, targets: Array) -> Total:
        if self.several:
            return sigmoid_loss(logits, targets, self._weights)
        return softmax_loss(logits, targets, self._weights)
