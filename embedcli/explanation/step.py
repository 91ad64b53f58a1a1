"""One step of learning on one text: training's own code, with all its intermediate results."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import Gradient
from embedcli.config import OWN_RATE, TrainSettings
from embedcli.errors import ConfigError, VocabularyError
from embedcli.messages import Message
from embedcli.model import Model
from embedcli.nn.optimizers import Optimizer, make_optimizer
from embedcli.table import EmbeddingTable
from embedcli.tasks import TASKS
from embedcli.tasks.supervised import NGRAMS
from embedcli.tasks.task import Example, Ngram, Targets, Task
from embedcli.text.encode import EncodedCorpus
from embedcli.text.labels import split_labels
from embedcli.text.vocabulary import Vocabulary
from embedcli.training.gradients import LocalGradients, settled
from embedcli.training.update import require_head

Rows = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token of the text; `id` is None for one that is not in the vocabulary."""

    token: str
    id: int | None
    count: int | None  # in the corpus
    kept: bool  # False: unknown, or beyond the length that is read


@dataclass(frozen=True, kw_only=True)
class Change:
    """A row of a table, or a whole parameter of the head, before and after the step.

    Arrays are (D,) for a row, and of the parameter's shape where `row` is None; `parts` holds
    the gradient of each look-up, (times, D). They add up to `gradient`, unless it was clipped.
    """

    parameter: str
    row: int | None
    name: str  # the word of a row, otherwise empty
    curvature: float  # what an optimizer may damp by; see RowGrad
    parts: Rows
    gradient: Rows  # as the optimizer gets it: summed, and clipped where the settings say so
    before: Rows
    after: Rows
    state_before: Mapping[str, Rows]  # the optimizer's, by slot
    state_after: Mapping[str, Rows]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A parameter before the step: the rows of a table that the text reads, or the whole of it."""

    ids: NDArray[np.int64] | None  # of the rows, (U,); None: the whole parameter
    rows: Rows  # (U, D), or of the parameter's shape
    state: Mapping[str, Rows]  # the optimizer's, by slot, of the same shape
    trained: NDArray[np.bool_]  # which rows the step may change, (U,) or (1,)


@dataclass(frozen=True, kw_only=True)
class PartOf:
    """A row of which a word's vector is composed."""

    text: str  # the word itself, or an n-gram of it
    row: int  # of the parts; n-grams that occur in the same words share one
    share: int  # n-grams, and words, that share the row, which is the sum of their vectors


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A word of the text, and its parts: its vector is the mean of theirs."""

    token: str
    id: int
    parts: Sequence[PartOf]


@dataclass(frozen=True, kw_only=True)
class Step:
    """Everything that one step of learning on a text reads, computes and changes."""

    task: str
    describe_target: Sequence[Message]  # where the right answer comes from
    loss_formula: Message
    text: str
    settings: TrainSettings
    shape: tuple[int, int]  # (V, D) of the table
    tokens: Sequence[Token]
    rows: Mapping[int, Rows]  # rows (D,) that were looked up, by id
    ngrams: Sequence[Ngram]  # of the text, if they have rows
    one_hot_difference: float  # largest |one-hot × W - the row looked up|
    examples: Sequence[Example]
    loss: float  # what is differentiated
    total: float  # the sum that training reports, divided by `count`
    count: float
    optimizer: Mapping[str, Any]  # its name and constants
    rate: float
    number: int  # the t of the optimizer's formula: steps taken so far, and this one
    changes: Sequence[Change]
    unchanged: Mapping[str, int]  # rows that stay as they are, by table
    weights: Mapping[str, Weights]  # all that the step reads of the parameters
    dropout: Rows | None  # what dropout multiplied the pooled units with
    folder: str | None  # where the model's arrays are .npy files
    composed: Sequence[Composed] = ()  # the words whose vectors are composed of parts

    def _repr_svg_(self) -> str:
        from embedcli.views import explain_svg

        return explain_svg.svg(self)


@np.errstate(all="ignore")  # of a model whose numbers are not finite
def explain_step(
    model: Model,
    text: str,
    answer: Sequence[str] = (),
    seed: int | None = None,
    oov: Literal["error", "skip"] = "skip",
) -> Step:
    """Take one step of the model's task on a text, in a copy of the rows that it changes.

    `answer` holds the labels or numbers that are right for the text (classify, regress); `seed`
    draws other windows and negative samples than the model's own; an unknown word is an error or
    left out as in training, by `oov`. Raises VocabularyError for such an error and where no word
    is known, ConfigError where the answer is missing or is not one.
    """
    require_head(model)
    kind = TASKS[model.settings.task]
    if kind.solved:
        raise ConfigError(
            f"{model.settings.task} computes its table at once: there is no step of learning to "
            "show",
            "embed explain --word WORD shows what became of a word",
        )
    # 1. Read the text as a corpus of one line, of which no word is left out.
    settings = dataclasses.replace(
        model.settings,
        seed=model.settings.seed if seed is None else seed,
        subsample=None,
        valid=None,
        valid_share=0.0,
    )
    vocabulary = model.table.vocabulary
    content, labels, _ = split_labels(text.encode("utf-8", "replace"), settings.label_prefix)
    if kind.label_kind != "none":
        answer = answer or labels
    tokens = model.table.tokens(content.decode("utf-8"), settings)
    every = vocabulary.ids_of(tokens, unknown=None if oov == "error" else -1)  # (N,)
    known = np.flatnonzero(every >= 0)  # (n,)
    ids = every[known]  # (n,)
    if not len(tokens):
        raise VocabularyError("the text has no word; expected one that the table knows")
    if not len(ids):
        raise vocabulary.unknown(tokens[0])
    answers = kind.parse_answer(answer, model.labels, model.head)
    if len(ids) == 1 and answers is None:
        raise VocabularyError(
            f"{tokens[known[0]]!r} stands alone; expected two or more words that the table knows, "
            "as the right answers are its neighbours"
        )
    # 2. Compute loss and gradients as training does.
    weights = {"table": model.table.vectors[:], **model.head}
    corpus = _corpus(ids, vocabulary, answers)
    with TemporaryDirectory(prefix="embed-") as folder:
        source = kind.source(corpus, settings, Path(folder))
        task = kind(source, settings, weights=weights, buckets=model.buckets)
    trainable = {name: each for name, each in task.parameters.items() if each.requires_grad}
    found = LocalGradients(trainable)
    loss = task.gradients(task.batch(0, 0), found)
    kept, examples = task.examples(task.batch(0, 0), len(ids))
    # 3. Take the step, in copies of the rows that change.
    ngrams = task.ngrams([tokens[each] for each in known[kept]])
    step = _Stepper(make_optimizer(settings), task, model, ids[kept], ngrams)
    changes = [
        change
        for name, gradient in settled(found.by_name, settings, _frozen(model)).items()
        for change in step.changes(name, found.by_name[name], gradient)
    ]
    changed = Counter(change.parameter for change in changes)
    rows_of = {
        name: gradient.shape[0]
        for name, gradient in found.by_name.items()
        if isinstance(gradient, RowGrad)
    }
    if model.parts is not None:
        rows_of["parts"] = len(model.head["parts"])
    # 4. Describe it all by positions in the text, and by words.
    asked = [each.id for example in examples for each in example.candidates]
    met = [each.row for each in ngrams if each.row is not None]
    outer = [*ids[kept], *asked]
    read = {"table": ids[kept], "output": outer, NGRAMS: met}
    read |= {"bias": ids[kept], "output_bias": outer}
    counts, picked = vocabulary.counts, np.unique(ids[kept])
    read_places = set(known[kept].tolist())
    composed = [
        Composed(token=vocabulary.token(each), id=each, parts=parts_of(model, each))
        for each in (picked.tolist() if model.parts is not None else ())
    ]
    read["parts"] = [part.row for word in composed for part in word.parts]
    return Step(
        task=settings.task,
        describe_target=task.describe_target(model.settings),
        loss_formula=task.loss_formula,
        text=text,
        settings=dataclasses.replace(model.settings, seed=settings.seed),
        shape=(len(model.table), model.table.dim),
        tokens=[
            Token(
                token=token,
                id=int(each) if each >= 0 else None,
                count=None if counts is None or each < 0 else int(counts[each]),
                kept=place in read_places,
            )
            for place, (token, each) in enumerate(zip(tokens, every, strict=True))
        ],
        rows=dict(zip(picked.tolist(), task.parameters["table"].data[picked], strict=True)),
        ngrams=ngrams,
        one_hot_difference=one_hot_difference(model.table, picked),
        examples=[_in_text(example, known, tokens, model) for example in examples],
        loss=loss.value,
        total=loss.total,
        count=loss.count,
        optimizer={"name": settings.optimizer, **dataclasses.asdict(step.optimizer)},
        rate=task.lr,
        number=step.number,
        changes=changes,
        unchanged={name: rows - changed[name] for name, rows in rows_of.items()},
        weights={
            name: step.weights(name, read.get(name), name in trainable) for name in task.parameters
        },
        dropout=task.dropout_mask(),
        folder=str(model.bundle.folder) if model.bundle and model.bundle.format > 1 else None,
        composed=composed,
    )


def parts_of(model: Model, index: int) -> list[PartOf]:
    """Return the parts of a word that a model composes."""
    table, parts = model.table, model.parts
    if parts is None or table.composer is None or "parts" not in model.head:
        return []
    sizes = parts.sizes(len(table))  # (R,)
    return [
        PartOf(text=part.text, row=part.row, share=int(sizes[part.row]))
        for part in table.composer.parts(table.vocabulary.token(index))
    ]


def one_hot_difference(table: EmbeddingTable, ids: NDArray[Any]) -> float:
    """Multiply one-hot vectors of ids (n,) with the whole table; largest difference from its rows.

    The table is gone through block by block, so that no (n, V) matrix nor copy is made.
    """
    product = np.zeros((len(ids), table.dim), np.float32)  # (n, D)
    for start, block in table.blocks():
        one_hot = (ids[:, None] == np.arange(start, start + len(block))).astype(np.float32)
        product += one_hot @ block  # (n, B) @ (B, D)
    return float(np.abs(product - table.rows(ids)).max())


class _Stepper:
    """Takes the optimizer's step on copies of the rows that have a gradient."""

    def __init__(
        self,
        optimizer: Optimizer,
        task: Task,
        model: Model,
        ids: NDArray[Any],
        ngrams: Sequence[Ngram],
    ) -> None:
        self.optimizer = optimizer
        self.rate = task.lr
        self.number = (model.log[-1].get("steps", 0) if model.log else 0) + 1
        self._model = model
        self._weights = {name: tensor.data for name, tensor in task.parameters.items()}
        # How often the text has each row of the tables whose rows are pooled by counts.
        self._times = {"table": Counter(ids.tolist()), NGRAMS: Counter(n.row for n in ngrams)}
        self._ngrams = {n.row: n.words for n in ngrams if n.row is not None}

    def changes(self, name: str, raw: Gradient, gradient: Gradient) -> Iterator[Change]:
        """Yield what changes of a parameter, in the order of its rows."""
        weights = self._weights[name]
        if self._model.parts is not None and name == "table":
            if isinstance(gradient, RowGrad) and isinstance(raw, RowGrad):
                yield from self._composed(raw, gradient)
        elif isinstance(gradient, RowGrad) and isinstance(raw, RowGrad):
            yield from self._rows(name, weights, raw, gradient)
        elif not isinstance(gradient, RowGrad):
            yield self._dense(name, np.array(weights), raw, gradient)

    def weights(self, name: str, ids: Any, trainable: bool) -> Weights:
        """Return what the step reads of a parameter: the rows of ids, or the whole of it."""
        whole = self._weights[name]
        if ids is None:
            rows, trained = np.array(whole), np.array([trainable])
        else:
            ids = np.unique(np.asarray(ids, np.int64))  # (U,)
            frozen = _frozen(self._model).get(name)
            rows = whole[ids]  # (U, D)
            trained = np.full(len(ids), trainable) if frozen is None else ~frozen[ids]
        state = self._state(name, rows, slice(None) if ids is None else ids) if trainable else {}
        return Weights(ids=ids, rows=rows, state=state, trained=trained)

    def _composed(self, raw: RowGrad, gradient: RowGrad) -> Iterator[Change]:
        """Yield what changes of words whose vectors are composed, and of their parts."""
        trained = gradient.take(gradient.curvature > 0)
        mean = trained.rows.sum(axis=0) / trained.curvature.sum()  # (D,)
        taken = self.optimizer.for_parts(trained, mean)
        words = [parts_of(self._model, each) for each in trained.ids.tolist()]
        # 1. Give the gradient of each word to each of its n-grams, in their rows' sums.
        owners = np.repeat(np.arange(len(words)), [len(parts) for parts in words])  # (G,)
        every = [part for parts in words for part in parts]
        shares = np.array([part.share for part in every], np.float32)  # (G,)
        own = np.array([part.row < len(self._model.table) for part in every])  # (G,)
        of_parts = RowGrad(
            np.array([part.row for part in every]),
            taken.rows[owners] * np.where(own, np.float32(OWN_RATE), np.float32(1))[:, None],
            self._model.head["parts"].shape,
            taken.curvature[owners] / shares,
        )
        named: dict[int, list[str]] = {}
        for part in every:
            named.setdefault(part.row, []).append(part.text)
        names = {row: " ".join(dict.fromkeys(texts)) for row, texts in named.items()}
        weights = self._model.head["parts"]
        steps = list(self._rows("parts", weights, of_parts, of_parts.coalesce(), names))
        # 2. A word's vector moves by the mean of how its n-grams move.
        moves = {each.row: each.after - each.before for each in steps}
        tokens = self._model.table.vocabulary.tokens(trained.ids)
        for place, parts in enumerate(words):
            move = sum(moves[part.row] / part.share for part in parts if part.row in moves)
            row = int(trained.ids[place])
            before = self._model.table.rows([row])[0]  # (D,)
            yield Change(
                parameter="table",
                row=row,
                name=tokens[place],
                parts=self._parts("table", raw, row),
                gradient=trained.rows[place],
                curvature=float(trained.curvature[place]),
                before=before,
                after=(before + move / len(parts)).astype(np.float32),
                state_before={},
                state_after={},
            )
        yield from steps

    def _rows(
        self,
        name: str,
        weights: Rows,
        raw: RowGrad,
        gradient: RowGrad,
        names: Mapping[int, str] | None = None,
    ) -> Iterator[Change]:
        ids = gradient.ids  # (U,)
        local = RowGrad(
            np.arange(len(ids)), gradient.rows, (len(ids), weights.shape[1]), gradient.curvature
        )
        before = weights[ids]  # (U, D)
        state_before = self._state(name, before, ids)
        after = before.copy()  # (U, D)
        state_after = {slot: array.copy() for slot, array in state_before.items()}
        self.optimizer.step_rows(after, state_after, local, self.rate, self.number)
        if name == NGRAMS:
            names = self._ngrams
        elif names is None:
            tokens = self._model.table.vocabulary.tokens(ids)
            names = dict(zip(ids.tolist(), tokens, strict=True))
        # A row that only pads a batch has a gradient of zeros and stays.
        for place, row in enumerate(ids.tolist()):
            if gradient.rows[place].any() or (after[place] != before[place]).any():
                yield Change(
                    parameter=name,
                    row=row,
                    name=names[row],
                    parts=self._parts(name, raw, row),
                    gradient=gradient.rows[place],
                    curvature=float(gradient.curvature[place]),
                    before=before[place],
                    after=after[place],
                    state_before={slot: array[place] for slot, array in state_before.items()},
                    state_after={slot: array[place] for slot, array in state_after.items()},
                )

    def _dense(self, name: str, weights: Rows, raw: Any, gradient: Rows) -> Change:
        before = self._state(name, weights, slice(None))
        after = {slot: array.copy() for slot, array in before.items()}
        stepped = weights.copy()
        self.optimizer.step_dense(stepped, after, gradient, self.rate, self.number)
        return Change(
            parameter=name,
            row=None,
            name="",
            parts=raw[None],  # (1, ...)
            gradient=gradient,
            curvature=1.0,
            before=weights,
            after=stepped,
            state_before=before,
            state_after=after,
        )

    def _state(self, name: str, weights: Rows, rows: Any) -> dict[str, Rows]:
        """Copy the saved state of some rows, or make it new where none was saved."""
        state = self.optimizer.state_like(weights)
        for slot, array in state.items():
            saved = self._model.optimizer.get(f"{name}.{slot}")
            if saved is not None:
                array[...] = saved[rows]
        return state

    def _parts(self, name: str, raw: RowGrad, row: int) -> Rows:
        """Return the gradient of each look-up of a row, (times, D).

        Pooling by counts looks a word up once for all its places; each of them has its share.
        """
        parts = raw.rows[raw.ids == row]  # (times, D)
        times = self._times[name][row] if name in self._times else 1
        if len(parts) == 1 and times > 1:
            return np.repeat(parts / times, times, axis=0)  # (times, D)
        used: Rows = parts[parts.any(axis=1)]
        return used


def _corpus(ids: NDArray[np.int32], vocabulary: Vocabulary, targets: Targets) -> EncodedCorpus:
    """Make a corpus of one line, with the vocabulary and the counts of the whole one."""
    return EncodedCorpus(
        ids=ids,
        offsets=np.array([0, len(ids)]),
        vocabulary=vocabulary,
        first_lines=np.empty(0, np.int64),
        fingerprint="",
        targets=targets,
        min_count=1,
    )


def _frozen(model: Model) -> dict[str, NDArray[np.bool_]]:
    """Return masks of the rows that the settings freeze; those of words `found` never trained."""
    if model.settings.freeze == "none":
        return {}
    if model.settings.freeze == "all":
        return {"table": np.ones(len(model.table), np.bool_)}
    return {"table": np.asarray(model.trained) == 0}


def _in_text(
    example: Example, known: NDArray[np.int64], tokens: Sequence[str], model: Model
) -> Example:
    """Turn positions among the known words into positions among all tokens, and add names."""

    def place(of: int | None) -> int | None:
        return None if of is None else int(known[of])

    def name(kind: str, number: int) -> str:
        if kind == "label":
            return model.labels[number]
        return "" if kind == "number" else model.table.vocabulary.token(number)

    inputs, centre = [int(known[each]) for each in example.inputs], place(example.centre)
    title = "" if centre is None else tokens[centre]  # the question in words
    if centre is not None and inputs != [centre]:
        title = f"{' '.join(tokens[each] for each in inputs)} → {title}"
    return Example(
        centre=centre,
        inputs=inputs,
        candidates=[
            dataclasses.replace(each, place=place(each.place), name=name(each.kind, each.id))
            for each in example.candidates
        ],
        title=title,
    )
