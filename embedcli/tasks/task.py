"""What the training loop asks of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from embedcli.autodiff.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of a batch: what is differentiated, and what is reported (total / count)."""

    value: Tensor  # one number
    total: float
    count: float


class Validation(NamedTuple):
    """How good the weights are: `score` decides (higher is better), `metrics` are reported."""

    score: float
    metrics: dict[str, float]


class Task(Protocol):
    """What is learnt: which examples a corpus gives, and the loss over them.

    A batch is a pure function of the settings' seed, the epoch and its number, so any process
    can make any batch and a run can go on from anywhere.
    """

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """What is trained or kept with it; "table" is the (V, D) table, the others are the head."""

    @property
    def tables(self) -> Mapping[str, int]:
        """Parameters whose gradient is a RowGrad, and the most distinct rows a batch can meet."""

    @property
    def resolved(self) -> Mapping[str, Any]:
        """What the task's settings that were `auto` turned out to be."""

    @property
    def batches(self) -> int:
        """Batches of an epoch, the same in each."""

    def batch(self, epoch: int, index: int) -> Any:
        """Make a batch; both count from 0."""

    def loss(self, batch: Any) -> Loss:
        """Put a batch's loss on the tape."""

    def words(self, batch: Any) -> int:
        """Count the corpus tokens a batch consumes."""

    def baseline(self) -> float | None:
        """Return what learning nothing would reach, where that is known."""

    def validate(self) -> Validation | None:
        """Measure the weights on the validation examples, if there are any."""
