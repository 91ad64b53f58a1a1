"""Training that continues an earlier model on new text (`--update`).

Words keep their ids and labels their columns; new ones are appended. So each array of the model is
the leading block of the array of the new run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli.composer import Parts
from embedcli.config import TrainSettings, require_same, schema
from embedcli.errors import ConfigError, StoreError, describe_malformed
from embedcli.model import Model, load_settings, verify_model
from embedcli.nn.composition import Composition
from embedcli.nn.initializers import initial_rows
from embedcli.nn.optimizers import make_optimizer
from embedcli.storage.bundle import FORMAT, require_types
from embedcli.tasks import TASKS
from embedcli.tasks.supervised import NGRAMS
from embedcli.tasks.task import Task
from embedcli.text.phrases import Phrases
from embedcli.text.vocabulary import Vocabulary
from embedcli.text.words import Known
from embedcli.training.state import TrainState

# Settings that give the model's numbers their meaning.
MUST_MATCH_MODEL = (
    "task",
    "dim",
    "tokenizer",
    "normalize",
    "fold_case",
    "segmenter",
    "init",
    "init_scale",
    "pool",
    "length",
    "pad_side",
    "hidden",
    "multi_label",
    "min_n",
    "max_n",
    "ngram_unit",
    "word_ngrams",
    "buckets",
    "phrases",
    "phrase_score",
    "phrase_threshold",
    "phrase_min_count",
    "phrase_passes",
)
# Settings that an update does not inherit from the model.
NOT_INHERITED = ("update", "vectors", "freeze", "valid", "workers", "cache", "checkpoint_every")
# Entries of `Model.start`, and the settings whose values they are.
START = {"init": "init", "seed": "seed", "scale": "init_scale"}


@dataclass(frozen=True)
class Earlier:
    """What a run keeps of the model that it updates, beside its arrays."""

    known: Known
    start: Mapping[str, Any]  # how the model's initial rows were made
    corpus: str  # fingerprint of all the text it was trained on
    buckets: Mapping[str, NDArray[np.int64]]  # of its rows of n-grams, by table
    phrases: Phrases | None  # that are joined in its text

    @classmethod
    def of(cls, model: Model) -> Earlier:
        """Return what is kept of a model."""
        known = Known(model.table.vocabulary, np.asarray(model.first_lines), model.labels)
        return cls(known, dict(model.start), model.corpus, model.buckets, model.phrases)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of a checkpoint that hold it."""
        return {
            "earlier.words": np.frombuffer(self.known.vocabulary.to_bytes(), np.uint8),
            "earlier.counts": self.known.counts,
            "earlier.first_lines": self.known.first_lines,
            **{f"earlier.buckets.{name}": array for name, array in self.buckets.items()},
            **({} if self.phrases is None else {"earlier.phrases": self.phrases.as_array()}),
        }

    def facts(self) -> dict[str, Any]:
        """Return the rest of it, for JSON."""
        return {"labels": self.known.labels, "start": self.start, "corpus": self.corpus}

    @classmethod
    def restored(
        cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any], buckets: int
    ) -> Earlier:
        """Return what `arrays` and `facts` were made of; n-grams have so many buckets.

        Raises KeyError, ValueError, ConfigError or VocabularyError for anything else.
        """
        require_types(facts, {"labels": list, "start": dict, "corpus": str})
        require_start(facts["start"])
        words = arrays["earlier.words"].tobytes().decode("utf-8").split("\n")[:-1]
        counts, first_lines = arrays["earlier.counts"], arrays["earlier.first_lines"]
        for name, array in (("counts", counts), ("first_lines", first_lines)):
            if array.shape != (len(words),) or array.dtype != np.int64 or (array < 0).any():
                raise ValueError(f"earlier.{name}: expected {len(words)} whole numbers from 0")
        known = Known(Vocabulary(words, counts), first_lines, tuple(map(str, facts["labels"])))
        prefix = "earlier.buckets."
        rows = {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix)
        }
        for name, array in rows.items():
            whole = array.ndim == 1 and array.dtype == np.int64
            if not whole or array.min(initial=0) < 0 or array.max(initial=0) >= buckets:
                raise ValueError(f"{prefix}{name}: expected whole numbers below {buckets}")
        phrases = None
        if "earlier.phrases" in arrays:
            phrases = Phrases.parse(arrays["earlier.phrases"].tobytes().decode())
        return cls(known, dict(facts["start"]), facts["corpus"], rows, phrases)


def inherited_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of a model that a run which updates it inherits.

    Raises StoreError, and ConfigError for a model of a task that is not updated.
    """
    settings = asdict(load_settings(folder))
    if refusal := TASKS[settings["task"]].update_refusal:
        raise ConfigError(
            f"update: {refusal}",
            f"train anew on all the text; --vectors {folder} starts from the vectors of {folder}"
            if not TASKS[settings["task"]].solved
            else "train anew on all the text",
        )
    return {name: value for name, value in settings.items() if name not in NOT_INHERITED}


def load_to_update(folder: Path, settings: TrainSettings) -> Model:
    """Open a model to update, its digests checked.

    Raises StoreError for one that cannot be updated, ConfigError for settings other than the
    model's in `MUST_MATCH_MODEL`.
    """
    model = verify_model(folder)
    if model.bundle is not None and model.bundle.format < FORMAT:
        raise StoreError(
            f"{folder}: a model of format version {model.bundle.format}, which can be read but "
            f"not updated; --update needs version {FORMAT}",
            f"--vectors {folder} starts from its vectors alone",
        )
    if not model.head:
        raise StoreError(
            f"{folder}: its vectors came from a file, so there is no head to train further",
            f"--vectors {folder} starts from the vectors alone",
        )
    require_head(model)  # before the run makes arrays of these shapes
    require_same(
        MUST_MATCH_MODEL,
        asdict(settings),
        model.settings,
        f"the model to update, {folder},",
        "leave them out, or train anew without --update",
    )
    try:
        require_start(model.start)
    except (KeyError, ConfigError) as error:
        what = error.message if isinstance(error, ConfigError) else describe_malformed(error)
        raise StoreError(f"{folder}: damaged: how its initial rows were made: {what}") from error
    return model


def require_head(model: Model) -> None:
    """Raise StoreError unless the head has the shapes that settings, labels and table ask for."""
    found = {name: each.shape for name, each in model.head.items()}
    if not found.keys() - {"parts"}:
        raise StoreError(
            "the model holds vectors alone, without what was learnt beside them",
            "embed train makes a model that has it",
        )
    expected = TASKS[model.settings.task].head_shapes(
        model.settings, len(model.table), model.labels, model.head
    )
    if found != expected or model.buckets.keys() != ({NGRAMS} & expected.keys()):
        raise StoreError(
            f"damaged: the head is of {found}; expected {expected}",
            "embed info --verify says which file was changed",
        )


def require_start(start: Mapping[str, Any]) -> None:
    """Raise KeyError or ConfigError unless `start` says how initial rows were made."""
    for key, name in START.items():
        schema(TrainSettings)[name].check(start[key])


def updated_state(model: Model, task: Task, settings: TrainSettings) -> TrainState:
    """Return the state from which a run on new text continues a model.

    Rows of new words and columns of new labels start as those of a new model. Where the optimizer
    is another, its state starts anew. Class weights are those of the new text; the biases of words,
    where the model has any, those of all text.
    """
    parameters = {name: tensor.data for name, tensor in task.parameters.items()}
    task.go_on_from(model.head)
    # 1. The table: initial rows for new words, the model's rows for the others.
    table, start = parameters["table"], model.start
    composition, parts = task.composition, model.parts
    if composition is None:
        new = range(len(model.table), len(table))
        table[new.start :] = initial_rows(
            start["init"], start["seed"], new, table.shape[1], start["scale"]
        )
    for first, block in model.table.blocks():
        table[first : first + len(block)] = block
    if composition is not None and parts is not None:
        rows = _copy_parts(model, parts, composition, parameters["parts"])  # (R,)
    # 2. The head.
    for name, array in parameters.items():
        if name not in ("table", "parts", *task.of_this_text):
            _copy_leading_block(model.head.get(name), array, name)
    # 3. The optimizer's arrays. A setting may have given the optimizer one that it had not before.
    optimizer = make_optimizer(settings)
    same_optimizer = settings.optimizer == model.settings.optimizer
    slots = {}
    for name, tensor in task.parameters.items():
        if tensor.requires_grad:
            slots[name] = optimizer.state_like(tensor.data)
            for slot, array in slots[name].items() if same_optimizer else ():
                kept = f"{name}.{slot}"
                if name == "parts" and kept in model.optimizer:
                    known = rows >= 0  # (R,)
                    array[known] = model.optimizer[kept][rows[known]]
                elif kept in model.optimizer:
                    _copy_leading_block(model.optimizer[kept], array, kept)
    # 4. How often rows were trained, and the log.
    trained = np.zeros(len(table), np.int64)  # (V,)
    trained[: len(model.trained)] = model.trained
    state = TrainState(parameters, slots, trained, log=list(model.log))
    last = model.log[-1] if model.log else {}
    state.epochs_before = last.get("epoch", 0)
    if same_optimizer:
        state.steps_before = last.get("steps", 0)
    return state


def _copy_parts(
    model: Model, parts: Parts, composition: Composition, out: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Write the vectors of a model's parts to their rows (R, D); return their rows there, (R,).

    Rows of new n-grams stay as they are, and have -1 there. n-grams that shared a row may have
    several now, as new words have only some of them; those that share a row now did so before.
    """
    words = len(model.table)
    rows = np.full(len(composition.sizes), -1)  # (R,)
    rows[:words] = np.arange(words)
    there = np.isin(composition.buckets, parts.buckets, assume_unique=True)  # (B,)
    rows[composition.bucket_rows[there]] = parts.find(composition.buckets[there])
    known = rows >= 0  # (R,)
    shares = composition.sizes[known] / parts.sizes(words)[rows[known]]  # (N,)
    out[known] = model.head["parts"][rows[known]] * shares[:, None]
    return rows


def _copy_leading_block(old: NDArray[Any] | None, new: NDArray[Any], name: str) -> None:
    if old is None:
        raise StoreError(f"the model's {name}: damaged: it is missing; expected {new.shape}")
    if old.ndim != new.ndim or np.greater(old.shape, new.shape).any():
        raise StoreError(f"the model's {name}: damaged: found {old.shape}; expected {new.shape}")
    new[tuple(map(slice, old.shape))] = old
