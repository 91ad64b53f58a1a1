"""What the rest of the program asks of a task; a new one inherits from `Task`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import Array, Gradient, Tensor
from embedcli.config import TrainSettings
from embedcli.errors import ConfigError
from embedcli.messages import Message
from embedcli.nn.composition import Composition
from embedcli.nn.losses import Total
from embedcli.text.encode import EncodedCorpus
from embedcli.text.labels import ClassTargets, LabelKind, NumberTargets
from embedcli.text.vocabulary import Vocabulary

Targets = ClassTargets | NumberTargets | None
Arrays = Mapping[str, Array]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of a batch: what is differentiated, and what is reported (total / count)."""

    value: float
    total: float
    count: float


class Validation(NamedTuple):
    """How good the weights are: `score` decides (higher is better), `metrics` are reported."""

    score: float
    metrics: dict[str, float]


class Gradients(Protocol):
    """Where a task puts the gradients of a batch; see `training.gradients`."""

    def rows(self, name: str, ids: Array) -> RowGrad:
        """Return the gradient of a table for rows of ids (N,), to be filled."""

    def put(self, name: str, gradient: Gradient) -> None:
        """Take the gradient of a parameter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Something that is scored, with the target of its score.

    For words and labels `score` is a logit, `prediction` its probability and `target` 1 or 0; for
    numbers `score` and `target` are standard scores, `prediction` and `target_in_units` are in the
    units of the text's numbers. For counts `score` and `target` are logarithms of the other two.
    """

    kind: Literal["context", "centre", "noise", "count", "label", "number"]
    id: int  # of the word, or the index of the label or number
    name: str = ""
    place: int | None = None  # position in the text, for a word that occurs in it
    bias: float = 0.0  # fixed part of the score of a context word, a centre or a negative sample
    target: float
    weight: float
    score: float
    prediction: float
    target_in_units: float
    loss: float  # weighted; those of all candidates add up to the total


def candidates(
    kind: Literal["context", "centre", "noise", "count", "label", "number"], **fields: Array
) -> list[Candidate]:
    """Return candidates of a kind, given each of their other fields as an array (n,)."""
    rows = zip(*(array.tolist() for array in fields.values()), strict=True)
    return [Candidate(kind=kind, **dict(zip(fields, row, strict=True))) for row in rows]


@dataclass(frozen=True, slots=True)
class Example:
    """One question that a batch asks: the positions of its input words, and the candidates."""

    centre: int | None  # position of the word in the middle; None: the question is about the text
    inputs: Sequence[int]
    candidates: Sequence[Candidate]
    title: str = ""  # the question in words


@dataclass(frozen=True, slots=True)
class Ngram:
    """An n-gram of a text's words, and its row."""

    words: str
    bucket: int
    row: int | None  # of the table of n-grams; None: not met in training
    vector: Array  # (D,) zeros where there is no row


class Task:
    """What is learnt: which examples a corpus gives, and the loss over them.

    A batch is a pure function of the settings' seed, the epoch and its index, so that any process
    can make any batch and a run can go on from any point.
    """

    label_kind: ClassVar[LabelKind] = "none"  # what each line of the corpus is read with
    tables: tuple[str, ...] = ("table",)  # parameters of a row a word, or a row an n-gram
    fixed: ClassVar[tuple[str, ...]] = ()  # parameters that are kept but not trained
    of_this_text: ClassVar[tuple[str, ...]] = ()  # parameters that an update computes anew
    sample: ClassVar[str] = "sample.txt"  # text of the package to train on where none is named
    answer_from: ClassVar[tuple[str, ...]]  # for `embed explain`: messages about the right answer
    loss_formula: ClassVar[Message]
    solved: ClassVar[bool] = False  # whether it is computed when it is made, and not trained
    update_refusal: ClassVar[str] = ""  # why a model cannot be trained further on other text
    baseline_text: ClassVar[str] = ""  # what `baseline` is, in words, with a place for the number

    settings: TrainSettings
    parameters: dict[str, Tensor]  # trained or kept; "table" is the (V, D) table
    batches: int  # of an epoch, the same in each
    most_rows: Mapping[str, int]  # the most that a batch looks up, by table
    resolved: Mapping[str, Any] = {}  # values of the task's settings that were `auto`
    buckets: Mapping[str, Array] = {}  # (G,) int64 by table: which hashes have the rows of n-grams
    # Of which "parts" the rows of "table" are composed, which are then not trained themselves.
    composition: Composition | None

    def __init__(
        self,
        corpus: Any,
        settings: TrainSettings,
        valid: EncodedCorpus | None = None,
        weights: Arrays | None = None,
        buckets: Arrays | None = None,
        composition: Composition | None = None,
    ) -> None:
        """Make the task of what `source` returned, and a corpus to validate on.

        `weights` are all parameters to go on from; without, they are drawn. `buckets` are those of
        a model to go on from; without weights, rows for new n-grams come after theirs.
        `composition` is given where `composed_of` returned one.
        """
        self.settings = settings
        self.buckets = buckets or {}
        self.composition = composition
        fixed = self.fixed if composition is None else (*self.fixed, "table")
        self.parameters = {
            name: Tensor(array, name not in fixed)
            for name, array in self._start(corpus, valid, weights).items()
        }

    def _start(self, corpus: Any, valid: EncodedCorpus | None, weights: Arrays | None) -> Arrays:
        """Find the examples of the corpus, in `batches`; return the parameters to start from."""
        raise NotImplementedError

    @classmethod
    def source(
        cls,
        corpus: EncodedCorpus,
        settings: TrainSettings,
        folder: Path,
        progress: Callable[[int, int], None] | None = None,
    ) -> Any:
        """Return what the examples are made of: the corpus, or what is computed of it.

        What is written to `folder` is needed as long as the task. `progress` is called with how
        much of the corpus is done, in tokens, and how much there is.
        """
        return corpus

    @classmethod
    def finished(cls, settings: TrainSettings, parameters: Arrays) -> Arrays:
        """Return the arrays of a model, "table" among them, given the parameters."""
        return parameters

    @classmethod
    def composed_of(cls, vocabulary: Vocabulary, settings: TrainSettings) -> Composition | None:
        """Return the parts of which words are composed; None where they have none."""
        return None

    @property
    def lr(self) -> float:
        """The learning rate, chosen if the setting is `auto`."""
        return float(self.resolved.get("lr", self.settings.lr))

    @property
    def label_counts(self) -> Mapping[str, int]:
        """How many texts have each label, if there are labels."""
        return {}

    @property
    def differentiated(self) -> Mapping[str, Tensor]:
        """The parameters that a batch has gradients of."""
        return {
            name: tensor
            for name, tensor in self.parameters.items()
            if name == "table" or (tensor.requires_grad and name != "parts")
        }

    def looked_up(self, epoch: int, indices: range) -> Array:
        """Return the ids of the words that batches look up in a composed table, ascending (U,)."""
        raise NotImplementedError

    def batch(self, epoch: int, index: int) -> Any:
        """Make a batch; both count from 0."""
        raise NotImplementedError

    def words(self, batch: Any) -> int:
        """Count the corpus tokens of a batch."""
        raise NotImplementedError

    def loss(self, batch: Any) -> Total:
        """Put a batch's loss on the tape."""
        raise NotImplementedError

    def gradients(self, batch: Any, out: Gradients) -> Loss:
        """Compute a batch's loss and gradients: forward, and back along the tape."""
        found = self.loss(batch)
        mean = found.mean
        mean.backward()
        for name, tensor in self.parameters.items():
            if tensor.grad is not None:
                out.put(name, tensor.grad)
                tensor.grad = None
        return Loss(mean.item(), found.total.item(), found.count)

    def baseline(self) -> float | None:
        """Return what predicting always the same would reach, where that is known."""
        return None

    def validate(self) -> Validation | None:
        """Measure the weights on the validation examples, if there are any."""
        return None

    def measure(self, metric: str) -> float:
        """Return a metric of the validation examples, negated where less is better.

        Raises ConfigError for one that the task does not have.
        """
        raise ConfigError(f"metric: {self.settings.task} has no {metric!r}")

    def go_on_from(self, head: Arrays) -> None:
        """Prepare to update a model with this head; raises CorpusError where that cannot be."""

    @classmethod
    def head_shapes(
        cls, settings: TrainSettings, words: int, labels: Sequence[str], head: Arrays
    ) -> Shapes:
        """Return the shapes of all parameters but the table in a model of this task.

        `head` holds the arrays that were found, of which some are optional.
        """
        raise NotImplementedError

    @classmethod
    def parse_answer(cls, answer: Sequence[str], labels: Sequence[str], head: Arrays) -> Targets:
        """Read what is right for a text, as told to `embed explain`; raises ConfigError."""
        if answer:
            name = cls.__name__.lower()
            raise ConfigError(f"label: a {name} model makes its own; expected none")
        return None

    def examples(self, batch: Any, words: int) -> tuple[Array, list[Example]]:
        """Return what a batch of one text of so many words asks.

        The first result holds the positions of the words that are read, (n,).
        """
        raise NotImplementedError

    def ngrams(self, words: Sequence[str]) -> list[Ngram]:
        """Return the n-grams of the one text, whose words are given."""
        return []

    def dropout_mask(self) -> Array | None:
        """Return what dropout multiplies the units of the first batch with, for `embed explain`."""
        return None

    def describe_target(self, settings: TrainSettings) -> list[Message]:
        """Say where the right answer comes from, for `embed explain`."""
        return [Message(key, asdict(settings)) for key in self.answer_from]
