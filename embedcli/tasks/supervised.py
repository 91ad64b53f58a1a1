"""What classify and regress share: texts with targets, and the network from words to outputs.

    ids ──gather──▶ rows ──pool──▶ a vector a text ──[hidden, relu]──dropout──▶ outputs

Mean and sum pool by a matrix product: row b of the count matrix (B, U) says how often each of
the batch's U distinct words stands in text b. A word is then looked up once a batch, and its
gradient comes summed. Where nothing but the output layer follows, and it has fewer outputs than
the table has columns, words are scored before they are pooled: (A E) W = A (E W).

Source: Joulin et al. 2017, "Bag of tricks for efficient text classification".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from embedcli.autodiff import ops
from embedcli.autodiff.tensor import Array, Tensor, no_grad
from embedcli.config import TrainSettings
from embedcli.errors import ConfigError
from embedcli.nn.initializers import first_rows, glorot
from embedcli.nn.layers import Dense, Dropout, cut, make_pool

CONSTANT = "target."  # begins the names of parameters that are kept but not trained

# Second number of a random stream's key, the first being the seed.
_HEAD, _ORDER, _DROPOUT, _SPLIT = 11, 12, 13, 14

# Count matrices up to so many cells (64 MB) pool by a product, longer batches word by word.
_MAX_CELLS = 1 << 24

_TEXTS_AT_ONCE = 256  # when a network is applied without training


@dataclass(frozen=True)
class Texts:
    """Texts as ids (N,) and offsets (B+1,): text b is ids[offsets[b]:offsets[b+1]]."""

    ids: Array
    offsets: Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Words of each text, (B,)."""
        return np.diff(self.offsets)

    def take(self, numbers: Array) -> Texts:
        """Copy some of the texts, in the order of their numbers."""
        firsts = self.offsets[numbers]  # (B,)
        lengths = self.offsets[numbers + 1] - firsts  # (B,)
        offsets = np.concatenate([[0], np.cumsum(lengths)])  # (B+1,)
        places = np.repeat(firsts - offsets[:-1], lengths)  # (N,)
        places += np.arange(offsets[-1])
        return Texts(np.take(self.ids, places), offsets)

    def parts(self, size: int = _TEXTS_AT_ONCE) -> Iterator[Texts]:
        """Go through the texts, `size` at a time."""
        for start in range(0, len(self), size):
            offsets = self.offsets[start : start + size + 1]
            yield Texts(self.ids[offsets[0] : offsets[-1]], offsets - offsets[0])


class Inputs(NamedTuple):
    """What the network reads of a batch: the ids to look up, and how to pool their rows."""

    ids: Array  # distinct words (U,) with a count matrix, otherwise every word (N,)
    counts: Array | None  # (B, U) float32: how often a word stands in a text, or what share it is
    offsets: Array  # (B+1,)


@dataclass(frozen=True)
class Network:
    """From words to outputs, as the settings say; the parameters are kept apart."""

    settings: TrainSettings

    def __post_init__(self) -> None:
        if self.settings.pool == "flatten" and self.settings.length is None:
            raise ConfigError("pool flatten needs a length", "--length 20")

    def make_table(self, size: int) -> Array:
        """Make the first rows of a table of `size` words, (V, D)."""
        of = self.settings
        return first_rows(of.init, of.seed, range(size), of.dim, of.init_scale)

    def head_shapes(self, outputs: int) -> dict[str, tuple[int, ...]]:
        """Say the shapes of the head's weights."""
        of = self.settings
        width = of.dim * of.length if of.pool == "flatten" and of.length else of.dim
        shapes: dict[str, tuple[int, ...]] = {}
        if of.hidden:
            shapes |= {"hidden.weight": (width, of.hidden), "hidden.bias": (of.hidden,)}
            width = of.hidden
        return shapes | {"output.weight": (width, outputs), "output.bias": (outputs,)}

    def make_head(self, outputs: int) -> dict[str, Array]:
        """Make the head's first weights.

        A hidden layer starts as Keras's Dense (Glorot & Bengio 2010), the output layer from zeros
        as fastText's, unless that would leave a table of zeros without a gradient.
        """
        rng = np.random.default_rng((self.settings.seed, _HEAD))
        drawn = {"hidden.weight"}
        if self.settings.init == "zeros":
            drawn.add("output.weight")
        return {
            name: glorot(rng, *shape) if name in drawn else np.zeros(shape, np.float32)
            for name, shape in self.head_shapes(outputs).items()
        }

    def inputs(self, texts: Texts, size: int) -> Inputs:
        """Make ready a batch of texts for a table of `size` rows."""
        ids, offsets = texts.ids, texts.offsets
        if self.settings.length is not None:
            ids, offsets = cut(ids, offsets, self.settings.length, self.settings.pad_side)
        if self.settings.pool in ("mean", "sum"):
            words, places = _distinct(ids, size)
            if len(words) * len(texts) <= _MAX_CELLS:
                counts = _count_matrix(places, len(words), offsets, self.settings.pool == "mean")
                return Inputs(words, counts, offsets)
        return Inputs(ids, None, offsets)

    def apply(
        self, parameters: Mapping[str, Tensor], inputs: Inputs, rng: Generator | None = None
    ) -> Tensor:
        """Put the outputs (B, C) of a batch on the tape; in training `rng` says what to drop."""
        output = Dense(parameters["output.weight"], parameters["output.bias"])
        rows = ops.gather(parameters["table"], inputs.ids)  # (U, D)
        if inputs.counts is not None and self._scores_first(output):
            scores: Tensor = inputs.counts @ (rows @ output.weight)  # (B, C)
            return scores + output.bias
        pooled = self._pool(rows, inputs)  # (B, D)
        if self.settings.hidden:
            hidden = Dense(parameters["hidden.weight"], parameters["hidden.bias"])
            pooled = ops.relu(hidden(pooled))  # (B, H)
        return output(Dropout(self.settings.dropout)(pooled, rng))

    def outputs(self, parameters: Mapping[str, Tensor], texts: Texts) -> NDArray[np.float32]:
        """Apply to any number of texts without training: (B, C)."""
        size = len(parameters["table"])
        with no_grad():
            parts = [self.apply(parameters, self.inputs(part, size)).data for part in texts.parts()]
        width = parameters["output.bias"].shape[0]
        return np.concatenate([np.zeros((0, width), np.float32), *parts])  # (B, C)

    def _scores_first(self, output: Dense) -> bool:
        dim, outputs = output.weight.shape
        return not self.settings.hidden and not self.settings.dropout and outputs <= dim

    def _pool(self, rows: Tensor, inputs: Inputs) -> Tensor:
        if inputs.counts is not None:
            pooled: Tensor = inputs.counts @ rows  # (B, D)
            return pooled
        of = self.settings
        return make_pool(of.pool, of.length, of.pad_side)(rows, inputs.offsets)


class Batch(NamedTuple):
    """Texts made ready, and what should come out for them."""

    inputs: Inputs
    targets: Array  # labels (B,), which labels a text bears (B, C), or numbers (B, R)
    words: int
    dropout: Generator | None  # that says what to drop


class Supervised:
    """Texts dealt into batches, in another order each epoch; the parameters of the network.

    A task of this kind adds what should come out, the loss, and the validation.
    """

    def __init__(
        self,
        texts: Texts,
        numbers: Array,
        rows: int,
        outputs: int,
        settings: TrainSettings,
        weights: Mapping[str, Array] | None = None,
    ) -> None:
        """Take the texts to learn from by their numbers; the table has `rows` rows.

        `weights` are all the parameters to go on from; without, they are made new.
        """
        self.settings = settings
        self.network = Network(settings)
        if weights is None:
            weights = {"table": self.network.make_table(rows), **self.network.make_head(outputs)}
        self.parameters = {
            name: Tensor(array, requires_grad=not name.startswith(CONSTANT))
            for name, array in weights.items()
        }
        self._texts = texts
        self._numbers = numbers
        self._epoch = -1
        self._order = numbers

    @cached_property
    def tables(self) -> Mapping[str, int]:
        """The one table, and the most rows of it a batch can meet."""
        lengths = np.sort(self._texts.lengths[self._numbers])
        longest = int(lengths[-self.settings.batch_size :].sum())
        return {"table": min(len(self.parameters["table"]), longest)}

    @property
    def resolved(self) -> Mapping[str, Any]:
        """What the settings that were `auto` turned out to be."""
        return {}

    @property
    def batches(self) -> int:
        """Batches of an epoch; the last one may be smaller."""
        return -(-len(self._numbers) // self.settings.batch_size)

    def batch(self, epoch: int, index: int) -> Batch:
        """Make a batch: a function of seed, epoch and index alone."""
        numbers = self._batch_numbers(epoch, index)  # (B,)
        texts = self._texts.take(numbers)
        return Batch(
            self.network.inputs(texts, len(self.parameters["table"])),
            self._targets(numbers),
            len(texts.ids),
            self._generator(epoch, index) if self.settings.dropout else None,
        )

    def words(self, batch: Batch) -> int:
        """Count the tokens of a batch's texts."""
        return batch.words

    def _batch_numbers(self, epoch: int, index: int) -> Array:
        if epoch != self._epoch:  # an epoch's order is drawn once
            rng = np.random.default_rng((self.settings.seed, _ORDER, epoch))
            self._order, self._epoch = rng.permutation(self._numbers), epoch
        start = index * self.settings.batch_size
        return self._order[start : start + self.settings.batch_size]  # (B,)

    def _generator(self, epoch: int, index: int) -> Generator:
        return np.random.default_rng((self.settings.seed, _DROPOUT, epoch, index))

    def _targets(self, numbers: Array) -> Array:
        raise NotImplementedError


def split(numbers: Array, settings: TrainSettings) -> tuple[Array, Array]:
    """Keep a random share of the texts for validation: their numbers, and those to learn from."""
    kept = int(len(numbers) * settings.valid_share)
    order = np.random.default_rng((settings.seed, _SPLIT)).permutation(numbers)
    return np.sort(order[:kept]), np.sort(order[kept:])


def _distinct(ids: Array, size: int) -> tuple[Array, Array]:
    """List the distinct ids of (N,), ascending (U,), and the place of each id among them (N,)."""
    met = np.zeros(size, bool)  # (V,)
    met[ids] = True
    words = np.flatnonzero(met)  # (U,)
    place = np.empty(size, np.int64)  # (V,) written and read at the words alone
    place[words] = np.arange(len(words))
    return words, place[ids]


def _count_matrix(places: Array, columns: int, offsets: Array, share: bool) -> Array:
    """Count words (N,) by column in each text, or their share of the text: (B, U) float32."""
    lengths = np.diff(offsets)  # (B,)
    counts = np.zeros((len(lengths), columns), np.float32)  # (B, U)
    cells = places + np.repeat(np.arange(len(lengths)) * columns, lengths)  # (N,)
    weights = 1 / np.maximum(lengths, 1) if share else np.ones(len(lengths))  # (B,)
    np.add.at(counts.reshape(-1), cells, np.repeat(weights.astype(np.float32), lengths))
    return counts
