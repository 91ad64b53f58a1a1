# ruff: noqa: ARG002 - every rule takes the same arguments, whether it needs them or not
"""Rules that turn gradients into steps, in place; and how the rate changes over a run.

An optimizer works on plain arrays: the weights, and the state arrays that `Optimizer.slots` names,
of the same shape and zeros at first, which the caller makes (they may be shared memory). Formulas
and constants are those of Keras 3 (keras/src/optimizers) where a rule names no other source; weight
decay is Keras's too: decoupled, `w -= lr · decay · w` before the step (Loshchilov & Hutter 2019,
Algorithm 2). In a row step it falls on the rows of the gradient alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from embedcli.autodiff.rows import RowGrad, put_rows
from embedcli.autodiff.tensor import Array, Gradient
from embedcli.config import PARTS_DAMPING, TrainSettings

State = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """A rule: a name, its state arrays, and `update`, used by the dense and by the row step."""

    weight_decay: float = 0.0
    # Whether its state arrays are sums, so that what shards added to them can be added.
    sums: ClassVar[bool] = True

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the state arrays that the rule keeps for each weight."""
        return ()

    def state_like(self, weights: Array) -> dict[str, Array]:
        """Make the state arrays of some weights, as they are before the first step."""
        return {name: np.zeros_like(weights) for name in self.slots}

    def update(self, weights: Array, state: State, gradient: Array, lr: float, t: int) -> None:
        """Change weights and state in place; `t` counts steps from 1."""
        raise NotImplementedError

    def step_dense(self, weights: Array, state: State, gradient: Array, lr: float, t: int) -> None:
        """Take a step with a gradient of the weights' shape."""
        if self.weight_decay:
            weights *= 1 - lr * self.weight_decay
        self.update(weights, state, gradient, lr, t)

    def step_rows(self, weights: Array, state: State, gradient: RowGrad, lr: float, t: int) -> None:
        """Take a step with a coalesced gradient of any rows; the others stay as they are."""
        ids = gradient.ids
        rows = np.take(weights, ids, axis=0)  # (N, D)
        slots = {name: np.take(array, ids, axis=0) for name, array in state.items()}
        self.step_dense(rows, slots, gradient.rows, lr, t)
        put_rows(weights, ids, rows)
        for name, array in slots.items():
            put_rows(state[name], ids, array)

    def for_parts(self, gradient: RowGrad, mean: Array) -> RowGrad:
        """Return the gradient to apply to parts, given that of their words or its sums by part.

        `mean` (D,) is the sum of the gradients of all words, divided by that of their curvature.
        """
        del mean
        return gradient


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent: v = µv - lr·g, w += v; Nesterov: w += µv - lr·g.

    The row step differs with momentum: the velocity of a row without a gradient rests, and the
    row with it. Source: keras/src/optimizers/sgd.py.
    """

    momentum: float = 0.0
    nesterov: bool = False

    @property
    def slots(self) -> tuple[str, ...]:
        """The velocity, if there is momentum."""
        return ("velocity",) if self.momentum else ()

    def update(self, weights: Array, state: State, gradient: Array, lr: float, t: int) -> None:
        """Change weights and velocity in place."""
        step = gradient * -lr
        if not self.momentum:
            weights += step
            return
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity += step
        if self.nesterov:
            step += self.momentum * velocity
            weights += step
        else:
            weights += velocity


@dataclass(frozen=True, kw_only=True)
class RMSprop(Optimizer):
    """v = ρv + (1-ρ)g², w -= lr·g / √(v+ε); ρ .9, ε 1e-7.

    The row step differs: v of a row without a gradient does not decay. Source:
    keras/src/optimizers/rmsprop.py; Tieleman & Hinton 2012.
    """

    rho: float = 0.9
    epsilon: float = 1e-7
    slots = ("square",)  # the mean of squares
    sums: ClassVar[bool] = False

    def update(self, weights: Array, state: State, gradient: Array, lr: float, t: int) -> None:
        """Change weights and mean square in place."""
        square = state["square"]
        square *= self.rho
        square += (1 - self.rho) * gradient * gradient
        weights -= lr * gradient / np.sqrt(square + self.epsilon)


@dataclass(frozen=True, kw_only=True)
class Adagrad(Optimizer):
    """a += g², w -= lr·g / (√a + ε); a starts from 0, ε 1e-10.

    The row step is the dense step: without a gradient nothing moves (but for weight decay).
    Keras lets a start from .1, which drowns the gradients of rare words: one of them is divided
    by its text's length and by the batch's size. So formula and constants here are PyTorch's.
    Source: torch/optim/adagrad.py; Duchi et al. 2011.
    """

    epsilon: float = 1e-10
    slots = ("square",)  # the sum of squares

    def update(self, weights: Array, state: State, gradient: Array, lr: float, t: int) -> None:
        """Change weights and sum of squares in place."""
        square = state["square"]
        square += gradient * gradient
        scale = np.sqrt(square)
        scale += self.epsilon
        step = np.divide(gradient, scale, out=scale)
        step *= lr
        weights -= step


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """m = β₁m + (1-β₁)g, v = β₂v + (1-β₂)g², w -= lr·√(1-β₂ᵗ)/(1-β₁ᵗ) · m / (√v + ε).

    β₁ .9, β₂ .999, ε 1e-7. The row step is "lazy": m and v of a row without a gradient do not
    decay and the row rests, while t counts all steps. Source: keras/src/optimizers/adam.py;
    Kingma & Ba 2015, end of §2; torch.optim.SparseAdam for the row step.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    slots = ("mean", "square")  # the two moments
    sums: ClassVar[bool] = False

    def update(self, weights: Array, state: State, gradient: Array, lr: float, t: int) -> None:
        """Change weights and moments in place."""
        mean, square = state["mean"], state["square"]
        mean *= self.beta_1
        mean += (1 - self.beta_1) * gradient
        square *= self.beta_2
        square += (1 - self.beta_2) * gradient * gradient
        rate = lr * math.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        weights -= rate * mean / (np.sqrt(square) + self.epsilon)


@dataclass(frozen=True, kw_only=True)
class DampedSGD(Optimizer):
    """w -= lr / (1 + lr·damping·n) · g, where n is the row's `RowGrad.curvature`.

    The sum of a frequent word's gradients over a batch of thousands makes plain descent diverge;
    pairs applied one after the other would move the row less than their sum, as each sees the
    effect of those before. n bounds that: the tasks over words count each pair by the squared
    length of the row it was scored with, and the curvature of the loss along a row is at most
    n / 4. A step damped by the whole bound (damping .25) moves the row no further than its own
    minimum, but learns slowly, as the bound is rarely reached: .015 was stable in skip-gram at a
    rate of .1, and .025 to .05 learnt best. The dense step has no n: it is plain SGD's.
    """

    damping: float = 0.04

    def for_parts(self, gradient: RowGrad, mean: Array) -> RowGrad:
        """Return the gradient with less curvature, and less of what all words have in common.

        The parts of a word move together, so that a step along the mean is as long in a word as in
        each of its parts, and needs the damping by the curvature of all their words. The
        differences between words cancel in frequent parts, so that less damping is enough for them.
        """
        rows = gradient.rows - gradient.curvature[:, None] * ((1 - PARTS_DAMPING) * mean)
        curvature = gradient.curvature * np.float32(PARTS_DAMPING)
        return RowGrad(gradient.ids, rows, gradient.shape, curvature, coalesced=gradient.coalesced)

    def update(self, weights: Array, state: State, gradient: Array, lr: float, t: int) -> None:
        """Take the undamped step, in place."""
        weights -= lr * gradient

    def step_rows(self, weights: Array, state: State, gradient: RowGrad, lr: float, t: int) -> None:
        """Take a step with a coalesced gradient, each row damped by its curvature."""
        curvature = gradient.curvature.astype(weights.dtype, copy=False)  # (N,)
        rate = lr / (1 + (lr * self.damping) * curvature)  # (N,)
        rows = np.take(weights, gradient.ids, axis=0)  # (N, D)
        if self.weight_decay:
            rows *= 1 - lr * self.weight_decay
        rows -= gradient.rows * rate[:, None]
        put_rows(weights, gradient.ids, rows)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "adam": Adam,
    "damped_sgd": DampedSGD,
}


def make_optimizer(settings: TrainSettings) -> Optimizer:
    """Return the optimizer that the settings name, with its constants that are settings."""
    kind = OPTIMIZERS[settings.optimizer]
    names = {field.name for field in dataclasses.fields(kind)}
    shared = names & {field.name for field in dataclasses.fields(settings)}
    return kind(**{name: getattr(settings, name) for name in shared})


def clip_by_norm(gradients: Sequence[Gradient], limit: float) -> list[Gradient]:
    """Scale gradients so that their common norm is at most `limit`; RowGrads must be coalesced.

    Source: Pascanu et al. 2013, Algorithm 1.
    """
    square = 0.0
    for gradient in gradients:
        flat = (gradient.rows if isinstance(gradient, RowGrad) else gradient).reshape(-1)
        square += float(np.dot(flat, flat))
    norm = math.sqrt(square)
    if norm <= limit:
        return list(gradients)
    factor = limit / norm
    return [
        gradient.scaled(factor) if isinstance(gradient, RowGrad) else gradient * factor
        for gradient in gradients
    ]


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "linear": lambda progress: 1 - progress,
    "cosine": lambda progress: (1 + math.cos(math.pi * progress)) / 2,
}


def learning_rate(schedule: str, lr: float, progress: float, warmup: float = 0.0) -> float:
    """Return the learning rate at `progress`, the share of the run that is done, in [0, 1].

    It rises linearly over the first `warmup` share of the run, then follows the schedule: to zero
    at the end for linear and cosine (Loshchilov & Hutter 2017, without restarts).

    >>> [learning_rate("linear", 1.0, progress, warmup=0.5) for progress in (0.25, 0.5, 0.75, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return lr * progress / warmup
    return lr * SCHEDULES[schedule]((progress - warmup) / (1 - warmup) if warmup < 1 else 0.0)
