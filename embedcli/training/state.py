"""What a run has reached: all that a checkpoint holds of it, and that an update begins with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from embedcli.autodiff.tensor import Array


@dataclass(slots=True)
class TrainState:
    """Everything a run needs to go on from a group's end: arrays, and its position in the run."""

    parameters: dict[str, Array]
    slots: dict[str, dict[str, Array]]  # the optimizer's, by parameter
    trained: Array  # (V,) int64, steps in which a row of the table had a gradient
    best: dict[str, Array] = field(default_factory=dict)  # weights of the best epoch
    epoch: int = 0  # epochs that are over
    group: int = 0  # steps of the running epoch that are over: groups, or rounds of shards
    loss: float = 0.0  # sum and count of the running epoch
    count: float = 0.0
    curve: list[float] = field(default_factory=list)  # mean losses of the epoch's parts
    part_loss: float = 0.0  # sum and count of the running part
    part_count: float = 0.0
    words: int = 0
    best_score: float = -math.inf
    best_epoch: int = 0
    finished: bool = False
    log: list[Mapping[str, Any]] = field(default_factory=list)
    epochs_before: int = 0  # of the runs that this one goes on from, on other text
    steps_before: int = 0

    def arrays(self) -> dict[str, Array]:
        """Return all arrays by name: `parameters.table`, `slots.table.square`, ...; no copies."""
        named = {f"parameters.{name}": array for name, array in self.parameters.items()}
        for name, slots in self.slots.items():
            named |= {f"slots.{name}.{slot}": array for slot, array in slots.items()}
        named |= {f"best.{name}": array for name, array in self.best.items()}
        return {**named, "trained": self.trained}

    def place(self) -> dict[str, Any]:
        """Return all else, as JSON knows it."""
        arrays = ("parameters", "slots", "trained", "best")
        names = [each.name for each in fields(self) if each.name not in arrays]
        return {name: getattr(self, name) for name in names}

    @classmethod
    def restored(cls, arrays: Mapping[str, Array], place: Mapping[str, Any]) -> TrainState:
        """Make the state again from what `arrays` and `place` returned."""
        state = cls({}, {}, arrays["trained"], **place)
        for name, array in arrays.items():
            kind, _, rest = name.partition(".")
            if kind == "parameters":
                state.parameters[rest] = array
            elif kind == "best":
                state.best[rest] = array
            elif kind == "slots":
                parameter, _, slot = rest.rpartition(".")
                state.slots.setdefault(parameter, {})[slot] = array
        return state
