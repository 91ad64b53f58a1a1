"""What skip-gram and CBOW share: a corpus as tiles of consecutive words, and negative samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.random import Generator

from embedcli.autodiff import ops
from embedcli.autodiff.tensor import Array, Tensor
from embedcli.config import TrainSettings
from embedcli.errors import CorpusError
from embedcli.messages import Message
from embedcli.nn.composition import Composition
from embedcli.nn.initializers import initial_rows, initial_table
from embedcli.nn.losses import Total
from embedcli.nn.sampling import (
    Objective,
    Tiles,
    chunk_count,
    negative_sampling_gradients,
    negative_sampling_loss,
)
from embedcli.storage.arrays import drop_pages
from embedcli.tasks.task import Arrays, Candidate, Gradients, Loss, Shapes, Task, candidates
from embedcli.text.encode import EncodedCorpus
from embedcli.text.subwords import Subwords
from embedcli.text.vocabulary import Vocabulary
from embedcli.text.words import LARGE_CORPUS_TOKENS

LARGE_CORPUS_SUBSAMPLE = 1e-4
OUTPUT_BIAS = "output_bias"
PARTS_SCALE = 45
BAND = 8  # centres scored at once with all words around any of them: 16 take more time
MANY_BATCHES = 256  # a small corpus is cut into so many,
FEW_TOKENS = 64  # but not into batches of fewer tokens
DROP_PAGES_EVERY = 8  # batches
MEASURED_EVERY = 16  # tiles of a large batch


class WordBatch(NamedTuple):
    """A stretch of the corpus, in tiles that a task has weighed.

    The centres are consecutive words, the words around them the same words and a halo of `window`
    positions on both sides. In reach of a centre are those in the same line and in a window that
    is drawn anew for it. At the end the stretch is filled up with centres that reach nothing.
    """

    tokens: int  # of the corpus, before frequent words were subsampled
    asked: float  # number of positive examples
    tiles: Tiles


class WordTask(Task):
    """A task over words and their neighbours; its subclasses say what is scored with what.

    "table" starts as the settings say, "output" from zeros as in word2vec.c; or both go on from
    `weights`. With `max_n` the rows of "table" are composed of "parts", which then start so.
    "output_bias" (V, 1) is what `chance_scores` returns, and is not trained; weights of version
    0.2 have none. Raises CorpusError where no line has two words.
    """

    tables = ("table", "output")
    fixed = (OUTPUT_BIAS,)
    of_this_text = (OUTPUT_BIAS,)
    loss_formula = Message("task.loss_of_pairs")
    objective: ClassVar[Objective]

    def _start(
        self, corpus: EncodedCorpus, valid: EncodedCorpus | None, weights: Arrays | None
    ) -> Arrays:
        settings, size = self.settings, len(corpus.vocabulary)
        self._stream = WordStream(corpus, settings)
        self.batches = self._stream.batches
        self.most_rows = dict.fromkeys(self.tables, self._stream.most_rows)
        self.resolved = {"subsample": self._stream.subsample}
        if weights is not None:
            none = np.zeros((size, 1), np.float32)
            return {**weights, OUTPUT_BIAS: weights.get(OUTPUT_BIAS, none)}
        counts = np.asarray(corpus.vocabulary.counts)  # (V,)
        output = np.zeros((size, settings.dim), np.float32)
        biases = chance_scores(counts, self._stream.subsample, settings)  # (V,)
        start = {"output": output, OUTPUT_BIAS: biases[:, None]}
        if self.composition is None:
            return {"table": initial_table(settings, size), **start}
        parts = initial_parts(settings, self.composition.sizes)  # (R, D)
        return {"table": np.zeros_like(output), **start, "parts": parts}

    @classmethod
    def composed_of(cls, vocabulary: Vocabulary, settings: TrainSettings) -> Composition | None:
        """Return the character n-grams of words; None where `max_n` is 0."""
        if not settings.max_n:
            return None
        words = vocabulary.tokens(slice(None))
        return Composition.of(*Subwords.of(settings).hashed(words), len(words))

    def looked_up(self, epoch: int, indices: range) -> Array:
        """Return the ids of the words that batches look up in the table, ascending (U,)."""
        return self._stream.words(epoch, indices)

    def batch(self, epoch: int, index: int) -> WordBatch:
        """Make a batch."""
        tokens, tiles = self._stream.tiles(epoch, index)
        return WordBatch(tokens, *self.weigh(tiles))

    def weigh(self, tiles: Tiles) -> tuple[float, Tiles]:
        """Count the positive examples, and weigh them and the negative samples.

        As given, a word in reach weighs 1, and a negative sample as much as there are in reach.
        """
        raise NotImplementedError

    def loss(self, batch: WordBatch) -> Total:
        """Put the loss on the tape: the plain version of `gradients`."""
        table, output, bias = (self.parameters[name] for name in (*self.tables, OUTPUT_BIAS))
        loss = negative_sampling_loss(self.objective, table, output, bias, batch.tiles)
        return Total(loss, batch.asked)

    def gradients(self, batch: WordBatch, out: Gradients) -> Loss:
        """Compute the sum of a batch's losses and its gradients, by the fused kernel.

        Of a large batch the loss is an estimate, from some of the tiles; the gradients are exact.
        """
        every = MEASURED_EVERY if len(batch.tiles.negatives) >= MEASURED_EVERY else 1
        table, output, bias = (self.parameters[name].data for name in (*self.tables, OUTPUT_BIAS))
        total = negative_sampling_gradients(
            self.objective,
            table,
            output,
            bias,
            batch.tiles,
            lambda inner, outer: (out.rows("table", inner), out.rows("output", outer)),
            every,
        )
        return Loss(total, total, batch.asked)

    def words(self, batch: WordBatch) -> int:
        """Count the corpus tokens of a batch."""
        return batch.tokens

    def go_on_from(self, head: Arrays) -> None:
        """Go on without biases where a model of version 0.2 was trained without them."""
        if not np.any(head.get(OUTPUT_BIAS, 0)):
            self.parameters[OUTPUT_BIAS].data[:] = 0

    @classmethod
    def head_shapes(
        cls, settings: TrainSettings, words: int, labels: Sequence[str], head: Arrays
    ) -> Shapes:
        """Return the shapes of the output table and its bias, and of the parts of words."""
        shapes: Shapes = {"output": (words, settings.dim)}
        if OUTPUT_BIAS in head:
            shapes[OUTPUT_BIAS] = (words, 1)
        if settings.max_n:
            shapes["parts"] = (len(head["parts"]) if "parts" in head else words, settings.dim)
        return shapes

    # What follows is for `embed explain`.

    def scores(self, batch: WordBatch) -> tuple[Array, Array]:
        """Score a batch's words and negative samples."""
        names = (*self.tables, OUTPUT_BIAS)
        table, output, bias = (Tensor(self.parameters[name].data) for name in names)
        positive, negative = self.objective.scores(table, output, bias, batch.tiles)
        return positive.data, negative.data

    @staticmethod
    def around(tiles: Tiles, place: int) -> tuple[tuple[Any, ...], Array, Array]:
        """Return a centre's tile, band and row; positions and columns of those around it, (m,)."""
        at = np.unravel_index(place, tiles.negative_weights.shape)  # g, b, S
        columns = np.flatnonzero(tiles.context_weights[at])  # (m,)
        return at, place - at[-1] + columns - tiles.halo, columns

    def samples(self, tiles: Tiles, negative: Array, at: tuple[Any, ...]) -> list[Candidate]:
        """Return the negative samples that a centre shares with its neighbours."""
        ids = tiles.negatives[at[0]]  # (K,)
        weights = np.repeat(tiles.negative_weights[at], len(ids))  # (K,)
        return self.scored("noise", ids, negative[at], weights)

    def scored(
        self,
        kind: Literal["context", "centre", "noise"],
        ids: Array,
        scores: Array,
        weights: Array,
        **places: Array,
    ) -> list[Candidate]:
        """Return scored words: ids, logits and weights are (n,) each, and so is `place`."""
        targets = np.full(len(ids), float(kind != "noise"))  # (n,)
        losses, _ = ops.sigmoid_losses(scores, targets.astype(scores.dtype))  # (n,)
        return candidates(
            kind,
            id=ids,
            **places,
            bias=self.parameters[OUTPUT_BIAS].data[ids, 0],
            target=targets,
            weight=weights,
            score=scores,
            prediction=ops.sigmoid(scores),
            target_in_units=targets,
            loss=losses * weights,
        )

    def describe_target(self, settings: TrainSettings) -> list[Message]:
        """Say where the right answer comes from, what is scored, and that no word is left out."""
        biased = [Message("task.bias")] if self.parameters[OUTPUT_BIAS].data.any() else []
        kept = [Message("task.kept")] if settings.subsample else []
        return [*super().describe_target(settings), *biased, *kept]


class WordStream:
    """The corpus as batches of tiles.

    Batch i of an epoch is made of the i-th stretch of tokens, of fixed length; its random numbers
    depend on seed, epoch and i alone. A line that crosses the end of a stretch is cut there.
    """

    def __init__(self, corpus: EncodedCorpus, settings: TrainSettings) -> None:
        _require_pairs(corpus)
        self._ids, self._offsets = corpus.ids, corpus.offsets
        self._read = 0  # batches, by this process
        self._settings = settings
        self._streams = Streams()
        counts = np.asarray(corpus.vocabulary.counts)  # (V,)
        tokens = len(self._ids)
        subsample = settings.subsample
        if subsample == "auto":
            subsample = LARGE_CORPUS_SUBSAMPLE if tokens >= LARGE_CORPUS_TOKENS else None
        self.subsample: float | None = subsample
        chances = keep_chances(counts, self.subsample)  # (V,)
        expected = float(chances @ counts) / counts.sum()
        self._chances = chances.astype(np.float32) if self.subsample else None
        self._words = len(counts)
        self._negatives = sampling_table(counts, settings.noise_power)
        length = max(2, round(settings.batch_size / expected))  # a word alone has no neighbours
        batches = max(-(-tokens // length), min(MANY_BATCHES, -(-tokens // FEW_TOKENS)))
        self._length: int = -(-tokens // batches)
        self.batches: int = -(-tokens // self._length)
        self._band = max(n for n in range(1, BAND + 1) if settings.tile % n == 0)

    @property
    def most_rows(self) -> int:
        """Return the most rows of a table that a batch looks up: its words, and as samples."""
        of = self._settings
        size = self._padded(self._length)
        tiles = size // of.tile
        halos = 2 * of.window * chunk_count(tiles, of.tile, of.dim)
        most: int = size + halos + tiles * of.tile_negatives
        return most

    def tiles(self, epoch: int, index: int) -> tuple[int, Tiles]:
        """Make a batch: its number of tokens, and its tiles as `WordTask.weigh` takes them."""
        settings = self._settings
        window, tile = settings.window, settings.tile
        # 1. Read the stretch, and thin out its frequent words.
        rng = self._streams.at(settings.seed, epoch, index)
        start, tokens, kept = self._thinned(index, rng)
        # 2. Draw a window for each centre, which ends where its line does.
        first, last = np.searchsorted(self._offsets, (start + 1, start + len(tokens)))
        cuts = np.searchsorted(kept, np.asarray(self._offsets[first:last]) - start)
        size = self._padded(len(kept))
        shape = (size // tile, tile // self._band, self._band)  # g, b, S
        left, right = reach(cuts, len(kept), window, size, rng)  # (n,)
        # 3. Lay the words out in tiles, and draw the negative samples of each.
        words = np.zeros(size + 2 * window, np.int32)  # (n + 2w,)
        words[window : window + len(kept)] = tokens[kept]
        near = in_reach(left.reshape(shape), right.reshape(shape), window)  # (g, b, S, S + 2w)
        negatives = draw_negatives(self._negatives, len(near), settings.tile_negatives, rng)
        pairs = (left + right).reshape(shape).astype(np.float32)
        self._read += 1
        if self._read % DROP_PAGES_EVERY == 0:
            drop_pages(self._ids)
            drop_pages(self._offsets)
        return len(tokens), Tiles(words, near, negatives, pairs)

    def _thinned(self, index: int, rng: Generator) -> tuple[int, Array, Array]:
        """Return where a stretch starts, its tokens (L,), and the indices of those kept, (n,)."""
        start = index * self._length
        tokens = np.array(self._ids[start : start + self._length])  # (L,)
        kept = np.arange(len(tokens))  # (n,)
        if self._chances is not None:
            chances = np.take(self._chances, tokens)  # (L,)
            kept = np.flatnonzero(rng.random(len(tokens), np.float32) < chances)  # (n,)
        return start, tokens, kept

    def words(self, epoch: int, indices: range) -> Array:
        """Return the ids of the words of some batches, ascending (U,)."""
        there = np.zeros(self._words, bool)  # (V,)
        for index in indices:
            _, tokens, kept = self._thinned(
                index, self._streams.at(self._settings.seed, epoch, index)
            )
            there[tokens[kept]] = True
        return np.flatnonzero(there)

    def _padded(self, size: int) -> int:
        tile = self._settings.tile
        return max(-(-size // tile), 1) * tile


def initial_parts(settings: TrainSettings, sizes: Array) -> Array:
    """Return the initial rows of parts, each as long as a sum of `sizes` (R,): (R, D) float32.

    Where the setting says `word2vec`, vectors are 90 times as long as there, even from ±45 / D: the
    mean of some twenty parts is then twice as long as in `uniform`.
    """
    name, scale = settings.init, settings.init_scale
    if name == "word2vec":
        name, scale = "uniform", PARTS_SCALE / settings.dim
    rows = initial_rows(name, settings.seed, range(len(sizes)), settings.dim, scale)
    rows *= np.sqrt(sizes)[:, None]
    return rows


class Streams:
    """A generator that restarts for each key, on random numbers of the key's own.

    Making a new generator for each batch takes eight times as long, as by then its code has left
    the processor's cache. Philox has a stream for every key (Salmon et al. 2011, "Parallel random
    numbers: as easy as 1, 2, 3").
    """

    def __init__(self) -> None:
        self._bits = np.random.Philox()
        self._start = self._bits.state
        self._generator = Generator(self._bits)

    def __reduce__(self) -> tuple[type[Streams], tuple[()]]:
        return Streams, ()  # arrays that another process gets may be read-only

    def at(self, seed: int, epoch: int, index: int) -> Generator:
        """Return the generator at the start of a key's numbers; the next call resets it."""
        key = self._start["state"]["key"]  # (2,) uint64
        key[0], key[1] = seed % (1 << 64), epoch << 32 | index
        self._bits.state = self._start
        return self._generator


def reach(cuts: Array, words: int, window: int, size: int, rng: Generator) -> tuple[Array, Array]:
    """Draw a window for each of so many words, cut at `cuts`: (size,) int64 to left and right.

    Windows are uniform in 1..window, as in word2vec.c. Words beyond `words` reach nothing.
    """
    bounds = np.concatenate(([0], cuts, [words]))
    lengths = np.diff(bounds)
    places = np.arange(words)
    reduced = rng.integers(1, window, words, np.int64, endpoint=True)  # (n,)
    left, right = np.zeros(size, np.int64), np.zeros(size, np.int64)  # (N,)
    np.minimum(places - np.repeat(bounds[:-1], lengths), reduced, out=left[:words])
    np.minimum(np.repeat(bounds[1:], lengths) - 1 - places, reduced, out=right[:words])
    return left, right


def in_reach(left: Array, right: Array, window: int) -> Array:
    """Mark the words in reach of each centre: (..., S) twice give (..., S, S + 2w) float32.

    Word j around a band is j - window positions from its first centre.
    """
    band = left.shape[-1]
    centres = np.arange(band)
    before = np.arange(-window, band + window) - centres[:, None]  # (S, S + 2w)
    # One comparison for both sides: a negative distance wraps to a large one.
    distance = before.astype(np.int16) + left.astype(np.int16)[..., None]  # (..., S, S + 2w)
    near = distance.view(np.uint16) <= (left + right).astype(np.uint16)[..., None]
    near[..., centres, centres + window] = False
    return near.astype(np.float32)


def keep_chances(counts: Array, subsample: float | None) -> Array:
    """Return the probability that a word is kept when frequent ones are subsampled, (V,).

    It is √(t/f) + t/f for a word of share f, at most 1 (word2vec.c, TrainModelThread).
    """
    if not subsample:
        return np.ones(len(counts))
    ratio = subsample * counts.sum() / np.maximum(counts, 1)  # (V,)
    return np.asarray(np.minimum(np.sqrt(ratio) + ratio, 1))


def sampling_table(counts: Array, power: float) -> Array:
    """Return ids in proportion to count to a power, (M,) int32, to draw negative samples from.

    Mikolov et al. 2013 (negative sampling), §2.2; word2vec.c, InitUnigramTable.
    """
    size = max(1 << 20, 16 * len(counts))
    ends = np.cumsum(np.asarray(counts, np.float64) ** power)  # (V,)
    ends = np.round(ends * (size / ends[-1])).astype(np.int64)
    words = np.arange(len(counts), dtype=np.int32)
    return np.repeat(words, np.diff(ends, prepend=0))  # (M,)


def chance_scores(counts: Array, subsample: float | None, settings: TrainSettings) -> Array:
    """Return the logit of each word standing near one that says nothing about it, (V,) float32.

    That is log(P / kQ), where P is its share of the words that are kept, Q its share of the
    negative samples and k how many of these there are for each pair. The loss is least where the
    score is this and the pointwise mutual information of both words (Levy & Goldberg 2014, "Neural
    word embedding as implicit matrix factorization", §3.1). With it as a fixed bias, vectors do not
    have to learn by one common direction how frequent words are.
    """
    counts = np.maximum(counts, 1).astype(np.float64)
    kept = counts * keep_chances(counts, subsample)  # (V,)
    drawn = counts**settings.noise_power  # (V,)
    odds = (kept / kept.sum()) / (settings.negatives * drawn / drawn.sum())
    return np.asarray(np.log(odds), np.float32)


def draw_negatives(table: Array, tiles: int, size: int, rng: Generator) -> Array:
    """Draw the negative samples of so many tiles from a sampling table (M,): (g, K) int32.

    The k-th comes from the k-th of K equal stretches: a tile then holds a frequent word as often
    as it should, give or take one, where independent draws would miss it or hold it many times.
    Each word is as likely as before (stratified sampling; Cochran 1977, chapter 5).
    """
    places = (np.arange(size) + rng.random((tiles, size))) * (len(table) / size)  # (g, K)
    return np.take(table, places.astype(np.int64), mode="clip")


def _require_pairs(corpus: EncodedCorpus, block: int = 1 << 20) -> None:
    """Raise CorpusError unless some line has two words."""
    offsets = corpus.offsets
    if corpus.parts:
        return  # the machines that hold the ids will tell
    if len(corpus.vocabulary) >= 2:
        for start in range(0, len(offsets), block):
            if np.diff(offsets[start : start + block + 1]).max(initial=0) > 1:
                return
        found = "no line of several words"
    else:
        found = f"{len(corpus.vocabulary) or 'no'} usable word"
    raise no_pairs(corpus, found)


def no_pairs(corpus: EncodedCorpus, found: str = "no line of several words") -> CorpusError:
    """Return the error for a corpus in which no word has another beside it."""
    return CorpusError(
        f"{corpus.name}: found {found}; expected lines of several words",
        "Is min_count too high? --min-count 1 keeps all words." if corpus.min_count > 1 else None,
    )
