"""Labels of texts: one of several (softmax), or any of them (a sigmoid each)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli import metrics
from embedcli.autodiff.tensor import Array, Tensor
from embedcli.config import TrainSettings
from embedcli.errors import ConfigError, CorpusError
from embedcli.nn.losses import Total, sigmoid_loss, softmax_loss
from embedcli.tasks.supervised import CONSTANT, Batch, Supervised, Texts, split
from embedcli.tasks.task import Loss, Validation
from embedcli.text.encode import EncodedCorpus
from embedcli.text.labels import ClassTargets

CLASS_WEIGHTS = f"{CONSTANT}weights"
THRESHOLD = 0.5  # from this probability on, a text is said to bear one of several labels


@dataclass(frozen=True)
class Labelled:
    """Texts and the labels each bears, as ids (n,) and offsets (B+1,); -1 is an unknown label."""

    texts: Texts
    labels: Array
    offsets: Array

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, numbers: Array) -> Labelled:
        """Copy some of the texts, in the order of their numbers."""
        labels = Texts(self.labels, self.offsets).take(numbers)
        return Labelled(self.texts.take(numbers), labels.ids, labels.offsets)

    def bears(self, classes: int) -> NDArray[np.bool_]:
        """Which of the known labels each text bears, (B, C)."""
        return borne(self.labels, self.offsets, classes)


class Classify(Supervised):
    """The task of saying which label, or labels, a text bears.

    `valid` is a corpus encoded with the vocabulary of `corpus`; `weights` are parameters to go on
    from. Raises CorpusError where there is nothing to tell apart, ConfigError for class weights of
    unknown labels.
    """

    def __init__(
        self,
        corpus: EncodedCorpus,
        settings: TrainSettings,
        valid: EncodedCorpus | None = None,
        weights: Mapping[str, Array] | None = None,
    ) -> None:
        self.labels = targets_of(corpus).names
        everything = labelled(corpus, self.labels)
        self._labels = Texts(everything.labels, everything.offsets)
        self.several = several_labels(everything, settings)
        kept, numbers = split(_usable(everything, len(self.labels)), settings)
        super().__init__(
            everything.texts, numbers, len(corpus.vocabulary), len(self.labels), settings, weights
        )
        self._valid = everything.take(kept) if len(kept) else None
        if valid is not None:
            self._valid = labelled(valid, self.labels)
        if weights is None:
            counts = self._counts()
            weighed = class_weights(settings.class_weights, self.labels, counts)
            if weighed is not None:
                self.parameters[CLASS_WEIGHTS] = Tensor(weighed)
            bias = self.parameters["output.bias"].data
            bias[:] = _first_bias(counts / len(numbers), self.several)

    @property
    def resolved(self) -> Mapping[str, Any]:
        """What `multi_label` turned out to be."""
        return {"multi_label": self.several}

    def loss(self, batch: Batch) -> Loss:
        """Put the mean loss of a batch on the tape."""
        logits = self.network.apply(self.parameters, batch.inputs, batch.dropout)  # (B, C)
        found = self._loss(logits, batch.targets)
        return Loss(found.mean, found.total.item(), found.count)

    def validate(self) -> Validation | None:
        """Measure loss and metrics on the texts kept for it; the smaller loss is better."""
        if self._valid is None:
            return None
        logits = self.network.outputs(self.parameters, self._valid.texts)  # (B, C)
        bears = self._valid.bears(len(self.labels))  # (B, C)
        known = bears.any(axis=1)  # (B,) no loss can be given to a label never learnt
        wanted = bears if self.several else bears.argmax(axis=1)
        found = self._loss(Tensor(logits[known]), wanted[known])
        loss = found.total.item() / max(found.count, 1)
        return Validation(-loss, {"valid_loss": loss, **scores(logits, self._valid, self.several)})

    def baseline(self) -> float:
        """Share of the texts learnt from that bear the most frequent label."""
        return float(self._counts().max() / len(self._numbers))

    def _counts(self) -> NDArray[np.int64]:
        """How many of the texts learnt from bear each label, (C,)."""
        return np.bincount(self._labels.take(self._numbers).ids, minlength=len(self.labels))

    def _targets(self, numbers: Array) -> Array:
        if self.several:
            labels = self._labels.take(numbers)
            return borne(labels.ids, labels.offsets, len(self.labels))  # (B, C)
        return np.take(self._labels.ids, self._labels.offsets[numbers])  # (B,)

    def _loss(self, logits: Tensor, targets: Array) -> Total:
        weighed = self.parameters.get(CLASS_WEIGHTS)
        weights = None if weighed is None else weighed.data  # (C,)
        if self.several:
            return sigmoid_loss(logits, targets, weights)
        return softmax_loss(logits, targets, weights)


def targets_of(corpus: EncodedCorpus) -> ClassTargets:
    """Return the labels of a corpus; raises CorpusError where it was encoded without."""
    if not isinstance(corpus.targets, ClassTargets):
        raise CorpusError("found no labels; expected __label__NAME, or a column", "--label-column")
    return corpus.targets


def labelled(corpus: EncodedCorpus, names: Sequence[str]) -> Labelled:
    """Read the texts and labels of a corpus, its labels numbered as in `names`."""
    targets = targets_of(corpus)
    number = {name: place for place, name in enumerate(names)}
    renumbered = np.array([number.get(name, -1) for name in targets.names], np.int64)  # (C',)
    ids = np.asarray(targets.ids)  # (n,)
    labels = renumbered[ids] if len(ids) else ids.astype(np.int64)
    return Labelled(Texts(corpus.ids, corpus.offsets), labels, targets.offsets)


def borne(labels: Array, offsets: Array, classes: int) -> NDArray[np.bool_]:
    """Tell which labels each text bears, (B, C), from ids (n,) and offsets (B+1,)."""
    bears = np.zeros((len(offsets) - 1, classes), bool)  # (B, C)
    owners = np.repeat(np.arange(len(bears)), np.diff(offsets))  # (n,)
    known = labels >= 0
    bears[owners[known], labels[known]] = True
    return bears


def several_labels(examples: Labelled, settings: TrainSettings) -> bool:
    """Whether a text may bear several labels: as set, or if any does."""
    found = bool((np.diff(examples.offsets) > 1).any())
    if found and settings.multi_label is False:
        line = int(np.argmax(np.diff(examples.offsets) > 1)) + 1
        raise CorpusError(f"text {line} bears several labels; expected one", "--multi-label")
    return found if settings.multi_label == "auto" else settings.multi_label


def class_weights(wanted: str | None, names: Sequence[str], counts: Array) -> Array | None:
    """Return the weights of the classes, (C,) float32, or None if all weigh the same.

    `balanced` weighs a class by the inverse of its share, n / (C · n_c), as scikit-learn's
    `compute_class_weight`; `label=weight,...` gives weights, 1 to labels not named.
    """
    if wanted is None:
        return None
    if wanted == "balanced":
        shares = np.maximum(counts, 1) * len(names) / counts.sum()
        return np.asarray(1 / shares, np.float32)  # (C,)
    weights = np.ones(len(names), np.float32)  # (C,)
    for part in wanted.split(","):
        name, _, number = part.rpartition("=")
        weights[_place(name.strip(), names)] = _weight(number, part)
    return weights


def scores(logits: Array, examples: Labelled, several: bool) -> dict[str, float]:
    """Measure outputs (B, C): accuracy and macro F1, or P@1, R@1 and micro F1 of several labels."""
    classes = logits.shape[1]
    bears = examples.bears(classes)  # (B, C)
    if several:
        right = int(metrics.hits_at_k(logits, bears, 1).sum())
        said = logits >= np.log(THRESHOLD / (1 - THRESHOLD))
        return {
            "precision_at_1": right / max(len(bears), 1),
            "recall_at_1": right / max(len(examples.labels), 1),
            "f1": metrics.f1(int((said & bears).sum()), int(said.sum()), len(examples.labels)),
        }
    called, known = logits.argmax(axis=1), bears.any(axis=1)
    right = int(bears[np.arange(len(bears)), called].sum())
    matrix = metrics.confusion_matrix(bears.argmax(axis=1)[known], called[known], classes)
    return {
        "accuracy": right / max(len(bears), 1),
        "f1": metrics.scores_of_confusion(matrix).macro_f1,
    }


def _usable(examples: Labelled, classes: int) -> NDArray[np.int64]:
    """Return the numbers of the texts with words and a label; there must be two labels."""
    usable = np.flatnonzero((examples.texts.lengths > 0) & (np.diff(examples.offsets) > 0))
    if not len(usable):
        raise CorpusError(
            "found no text that has both a label and a word; expected __label__NAME and words",
            "--label-prefix, or --text-column and --label-column, say where they are",
        )
    if classes < 2:
        raise CorpusError("found one label only; expected two or more to tell apart")
    return usable


def _first_bias(shares: Array, several: bool) -> Array:
    """Make outputs that say how often each label is borne, (C,), before anything is learnt."""
    shares = np.clip(shares, 1e-6, 1 - 1e-6)
    return np.log(shares) - (np.log1p(-shares) if several else 0)


def _place(name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise ConfigError(
            f"class_weights: {name!r} is no label of the corpus; expected one of "
            f"{', '.join(names[:10])}",
            "--class-weights balanced",
        )
    return names.index(name)


def _weight(number: str, part: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < np.inf:
        raise ConfigError(
            f"class_weights: found {part.strip()!r}; expected label=weight, a number from 0",
            "--class-weights balanced",
        )
    return weight
