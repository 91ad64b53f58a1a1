"""What classify and regress share: texts with targets, and the network from words to outputs.

    ids ──gather──▶ rows ──pool──▶ a vector a text ──[hidden, relu]──dropout──▶ outputs

With `word_ngrams` the n-grams of a text are pooled with its words, from rows of their own.

Mean and sum pool by a matrix product: row b of the count matrix (B, U) holds the count of each of
the batch's U distinct words in text b. A word is then looked up once a batch, and its gradient is
summed by the product. Where only the output layer follows, and it has fewer outputs than the table
has columns, words are scored before they are pooled: (A E) W = A (E W).

Source: Joulin et al. 2017, "Bag of tricks for efficient text classification".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from embedcli.autodiff import ops
from embedcli.autodiff.tensor import Array, Tensor
from embedcli.config import TrainSettings
from embedcli.errors import ConfigError, CorpusError
from embedcli.nn.initializers import glorot, initial_table
from embedcli.nn.layers import POOLS, Dense, Embedding
from embedcli.nn.losses import LOSSES, Total
from embedcli.tasks.task import Arrays, Candidate, Example, Ngram, Shapes, Task, Validation
from embedcli.text.encode import EncodedCorpus
from embedcli.text.labels import ClassTargets, NumberTargets
from embedcli.text.texts import Texts
from embedcli.text.word_ngrams import WordNgrams, ngram_texts

T = TypeVar("T", ClassTargets, NumberTargets)

NGRAMS = "ngrams"  # the parameter that has the rows of n-grams

# Second number of a random stream's key, the first being the seed.
_HEAD, _ORDER, _DROPOUT, _SPLIT = 11, 12, 13, 14

# Count matrices up to so many cells (64 MB) pool by a product, longer batches word by word.
_MAX_CELLS = 1 << 24

_COUNTED_AT_ONCE = 4096  # texts whose n-grams are counted together


class Inputs(NamedTuple):
    """What the network reads of a batch: the ids to look up, and how to pool their rows."""

    ids: Array  # distinct words (U,) with a count matrix, otherwise every word (N,)
    counts: Array | None  # (B, U) float32: how often a word occurs in a text, or its share
    offsets: Array  # (B+1,)
    scale: Array | None = None  # (B, 1) factor of the sum of a text's rows, where it has n-grams
    ngrams: Inputs | None = None  # of the other table


@dataclass(frozen=True)
class Network:
    """From words to outputs, as the settings say; the parameters are arguments."""

    settings: TrainSettings
    ngrams: WordNgrams | None = None

    def __post_init__(self) -> None:
        if self.settings.pool == "flatten" and self.settings.length is None:
            raise ConfigError("pool flatten needs a length", "--length 20")

    def head_shapes(self, outputs: int, ngrams: int = 0) -> Shapes:
        """Return the shapes of all parameters but the table, with so many rows of n-grams."""
        of = self.settings
        width = of.dim * of.length if of.pool == "flatten" and of.length else of.dim
        shapes: Shapes = {NGRAMS: (ngrams, of.dim)} if of.word_ngrams else {}
        if of.hidden:
            shapes |= {"hidden.weight": (width, of.hidden), "hidden.bias": (of.hidden,)}
            width = of.hidden
        return shapes | {"output.weight": (width, outputs), "output.bias": (outputs,)}

    def initial_weights(self, words: int, outputs: int) -> dict[str, Array]:
        """Draw a table of so many words, and the weights of the head; n-grams have rows of zeros.

        A hidden layer starts as Keras's Dense (Glorot & Bengio 2010), the output layer from zeros
        as fastText's, unless that would leave a table of zeros without a gradient.
        """
        of = self.settings
        rng = np.random.default_rng((of.seed, _HEAD))
        drawn = {"hidden.weight"}
        if of.init == "zeros":
            drawn.add("output.weight")
        return {"table": initial_table(of, words)} | {
            name: glorot(rng, *shape) if name in drawn else np.zeros(shape, np.float32)
            for name, shape in self.head_shapes(outputs, self._ngram_rows).items()
        }

    @property
    def _ngram_rows(self) -> int:
        return 0 if self.ngrams is None else len(self.ngrams.buckets)

    def read(self, texts: Texts) -> Texts:
        """Return the words of texts that are read: all, or as many as `length` says."""
        return texts.cut(self.settings.length, self.settings.pad_side)

    def inputs(self, texts: Texts, size: int) -> Inputs:
        """Return what `apply` needs of a batch of texts, for a table of `size` rows."""
        texts = self.read(texts)
        if self.settings.pool not in ("mean", "sum"):
            return Inputs(texts.ids, None, texts.offsets)
        # 1. Find the distinct rows of each table.
        parts, lengths = [(texts, *_distinct(texts.ids, size))], texts.lengths
        if self.ngrams is not None:
            rows, found = self.ngrams.rows(texts)
            parts.append((rows, *_distinct(rows.ids, self._ngram_rows)))
            lengths = lengths + found
        share = 1 / np.maximum(lengths, 1)[:, None]  # (B, 1)
        if self.settings.pool == "sum":
            share[:] = 1
        # 2. Count them, if there are not too many.
        few = sum(len(distinct) for _, distinct, _ in parts) * len(texts) <= _MAX_CELLS
        made = []
        for each, distinct, places in parts:
            if few:
                counts = _count_matrix(places, len(distinct), each.offsets, share)
                made.append(Inputs(distinct, counts, each.offsets))
            else:
                made.append(Inputs(each.ids, None, each.offsets))
        if len(made) == 1:
            return made[0]
        return made[0]._replace(scale=share.astype(np.float32), ngrams=made[1])

    def apply(
        self, parameters: Mapping[str, Tensor], inputs: Inputs, rng: Generator | None = None
    ) -> Tensor:
        """Put the outputs (B, C) of a batch on the tape; in training `rng` draws the dropout."""
        of = self.settings
        output = Dense(parameters["output.weight"], parameters["output.bias"])
        few = output.weight.shape[1] <= of.dim
        scored = inputs.counts is not None and few and not (of.hidden or of.dropout)
        # 1. Look up the rows of each table, and pool those of each text.
        pooled: Tensor | None = None
        for name, each in (("table", inputs), (NGRAMS, inputs.ngrams)):
            if each is None:
                continue
            rows = Embedding(parameters[name])(each.ids)  # (U, D), or (N, D)
            if scored:
                # The same in another order, which is cheaper: score rows, then pool the scores.
                part: Tensor = each.counts @ (rows @ output.weight)  # (B, C)
            elif each.counts is not None:
                part = each.counts @ rows  # (B, D)
            elif inputs.scale is not None:
                part = ops.segment_sum(rows, each.offsets) * inputs.scale  # (B, D)
            else:
                part = POOLS[of.pool](rows, each.offsets, of.length, of.pad_side)  # (B, D)
            pooled = part if pooled is None else pooled + part
        assert pooled is not None
        if scored:
            return pooled + output.bias
        # 2. Apply the head.
        if of.hidden:
            hidden = Dense(parameters["hidden.weight"], parameters["hidden.bias"])
            pooled = ops.relu(hidden(pooled))  # (B, H)
        if of.dropout and rng is not None:
            pooled = ops.dropout(pooled, of.dropout, rng)
        return output(pooled)

    def outputs(self, parameters: Mapping[str, Tensor], texts: Texts) -> NDArray[np.float32]:
        """Apply to any number of texts without training: (B, C)."""
        constants = {name: Tensor(tensor.data) for name, tensor in parameters.items()}
        size = len(parameters["table"])
        parts = [self.apply(constants, self.inputs(part, size)).data for part in texts.parts()]
        width = parameters["output.bias"].shape[0]
        return np.concatenate([np.zeros((0, width), np.float32), *parts])  # (B, C)


class Batch(NamedTuple):
    """The inputs of some texts, and the targets of their outputs."""

    inputs: Inputs
    targets: Array  # labels (B,), a mask of labels (B, C), or numbers (B, R)
    words: int
    dropout: Generator | None  # that draws which units to drop


class Supervised(Task, Generic[T]):
    """Texts dealt into batches, in another order each epoch; the parameters of the network.

    Its subclasses add what the outputs should be, which loss compares them, and the metrics of
    validation. Raises CorpusError where no text has both words and targets.
    """

    _targets: T
    loss_name: str  # one of LOSSES
    label_form: ClassVar[str]  # how a text says its target

    def _start(
        self, corpus: EncodedCorpus, valid: EncodedCorpus | None, weights: Arrays | None
    ) -> Arrays:
        settings = self.settings
        # 1. Set some of the texts aside.
        texts, targets = _examples(corpus)
        self._texts, self._targets = texts, targets
        usable = np.flatnonzero((texts.lengths > 0) & targets.given)
        if not len(usable):
            raise CorpusError(
                f"{corpus.name}: found no text with both a label and a word; expected "
                f"{self.label_form} and words",
                "--label-prefix, or --text-column and --label-column, say where they are",
            )
        held, indices = split(usable, settings)
        self._valid: tuple[Texts, T] | None = None
        if valid is not None:
            self._valid = self.comparable(*_examples(valid))
        elif len(held):
            self._valid = texts.take(held), targets.take(held)
        # 2. Make the network, with a row for each word and each n-gram.
        self.network = Network(settings)
        if settings.word_ngrams:
            known = self.buckets.get(NGRAMS, np.zeros(0, np.int64))
            ngrams = WordNgrams.of(settings, corpus.vocabulary, known)
            if weights is None:
                parts = np.array_split(indices, -(-len(indices) // _COUNTED_AT_ONCE))
                ngrams = ngrams.with_rows_for(self.network.read(texts.take(p)) for p in parts)
            self.network = Network(settings, ngrams)
            self.tables = ("table", NGRAMS)
            self.buckets = {NGRAMS: ngrams.buckets}
        if weights is None:
            weights = self.network.initial_weights(len(corpus.vocabulary), targets.width)
        # 3. Cut the texts into batches, of which the last may be smaller.
        self.batches = -(-len(indices) // settings.batch_size)
        longest = int(np.sort(texts.lengths[indices])[-settings.batch_size :].sum())
        most = {"table": longest, NGRAMS: longest * ((settings.word_ngrams or 1) - 1)}
        self.most_rows = {name: min(len(weights[name]), most[name]) for name in self.tables}
        self._indices = indices
        self._epoch = -1
        self._order = indices
        return weights

    def batch(self, epoch: int, index: int) -> Batch:
        """Make a batch."""
        of = self.settings
        if epoch != self._epoch:  # an epoch's order is drawn once
            rng = np.random.default_rng((of.seed, _ORDER, epoch))
            self._order, self._epoch = rng.permutation(self._indices), epoch
        indices = self._order[index * of.batch_size : (index + 1) * of.batch_size]  # (B,)
        texts = self._texts.take(indices)
        dropout = (of.seed, _DROPOUT, epoch, index) if of.dropout else None
        return Batch(
            self.network.inputs(texts, len(self.parameters["table"])),
            self.targets(indices),
            len(texts.ids),
            None if dropout is None else np.random.default_rng(dropout),
        )

    def comparable(self, texts: Texts, targets: T) -> tuple[Texts, T]:
        """Return texts to validate on, with targets that are told as those learnt from."""
        raise NotImplementedError

    def targets(self, indices: Array) -> Array:
        """Return what the outputs for some texts should be."""
        raise NotImplementedError

    def measure(self, metric: str) -> float:
        """Return a metric of the validation texts, negated where less is better; `loss` is one.

        Raises ConfigError for one that the task does not have.
        """
        found = self.validate()
        if found is None:
            raise ConfigError("metric: no text to measure on", "--valid-share 0.1, or --valid FILE")
        return found.score if metric == "loss" else self.measured(metric, found)

    def measured(self, metric: str, found: Validation) -> float:
        """Return a metric, given what `validate` found."""
        raise NotImplementedError

    def words(self, batch: Batch) -> int:
        """Count the tokens of a batch's texts."""
        return batch.words

    @staticmethod
    def in_units(outputs: Array, parameters: Mapping[str, Tensor]) -> Array:
        """Turn outputs of the network (B, C) into the units of what they predict."""
        return outputs

    def label_weights(self) -> Array | None:
        """Return the weights of the labels, (C,), if they differ."""
        return None

    def loss(self, batch: Batch) -> Total:
        """Put the loss of a batch on the tape."""
        outputs = self.network.apply(self.parameters, batch.inputs, batch.dropout)  # (B, C)
        return LOSSES[self.loss_name](outputs, batch.targets, self.label_weights())

    def examples(self, batch: Batch, words: int) -> tuple[Array, list[Example]]:
        """Ask for the outputs of the one text."""
        kept = self.network.read(Texts(np.arange(words), np.array([0, words]))).ids  # (n,)
        constants = {name: Tensor(tensor.data) for name, tensor in self.parameters.items()}
        outputs = self.network.apply(constants, batch.inputs, batch.dropout).data[0]  # (C,)
        candidates = self.candidates(outputs, batch.targets[0])
        return kept, [Example(None, kept.tolist(), candidates)]

    def ngrams(self, words: Sequence[str]) -> list[Ngram]:
        """Return the n-grams of the one text, the shorter ones first."""
        of = self.network.ngrams
        if of is None:
            return []
        texts = ngram_texts(words, of.longest)
        buckets = of.of_texts(self.network.read(self._texts)).ids.tolist()
        rows, table = of.row_of[buckets].tolist(), self.parameters[NGRAMS].data
        return [
            Ngram(
                text, bucket, *((None, np.zeros(table.shape[1])) if row < 0 else (row, table[row]))
            )
            for text, bucket, row in zip(texts, buckets, rows, strict=True)
        ]

    def dropout_mask(self) -> Array | None:
        """Return what dropout multiplies the units of the first text with, (H,) or (D,)."""
        rng = self.batch(0, 0).dropout
        if rng is None:
            return None
        units = np.ones((1, self.parameters["output.weight"].shape[0]), np.float32)  # (1, H)
        return np.asarray(ops.dropout(Tensor(units), self.settings.dropout, rng).data[0])

    def candidates(self, outputs: Array, target: Any) -> list[Candidate]:
        """Return each output (C,) of a text with its target."""
        raise NotImplementedError


def _examples(corpus: EncodedCorpus) -> tuple[Texts, Any]:
    """Return the texts of a corpus, and their targets, of the kind that it was encoded with."""
    return Texts(corpus.ids, corpus.offsets), corpus.targets


def split(indices: Array, settings: TrainSettings) -> tuple[Array, Array]:
    """Set a random share of the texts aside for validation: their indices, and all others."""
    kept = int(len(indices) * settings.valid_share)
    order = np.random.default_rng((settings.seed, _SPLIT)).permutation(indices)
    return np.sort(order[:kept]), np.sort(order[kept:])


def _distinct(ids: Array, size: int) -> tuple[Array, Array]:
    """Return the distinct ids of (N,), ascending (U,), and the index of each id in them (N,)."""
    found = np.zeros(size, bool)  # (V,)
    found[ids] = True
    words = np.flatnonzero(found)  # (U,)
    index = np.empty(size, np.int64)  # (V,) only written and read at the words
    index[words] = np.arange(len(words))
    return words, index[ids]


def _count_matrix(places: Array, columns: int, offsets: Array, share: Array) -> Array:
    """Count ids (N,) by column in each text, times the text's share (B, 1): (B, U) float32."""
    lengths = np.diff(offsets)  # (B,)
    counts = np.zeros((len(lengths), columns), np.float32)  # (B, U)
    cells = places + np.repeat(np.arange(len(lengths)) * columns, lengths)  # (N,)
    weights = np.repeat(share[:, 0].astype(np.float32), lengths)  # (N,)
    np.add.at(counts.reshape(-1), cells, weights)
    return counts
