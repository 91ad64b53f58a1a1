"""What skip-gram and CBOW share: a corpus as tiles of neighbouring words, and noise words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.random import Generator

from embedcli.autodiff.sampling import Piece, Tiles, pieces_of, sampled_loss
from embedcli.autodiff.tensor import Array, Tensor
from embedcli.config import TrainSettings
from embedcli.errors import CorpusError
from embedcli.nn.initializers import first_rows
from embedcli.storage.files import let_go
from embedcli.tasks.task import Loss, Validation
from embedcli.text.encode import EncodedCorpus
from embedcli.text.words import LARGE_CORPUS_TOKENS

LARGE_CORPUS_SUBSAMPLE = 1e-4
BAND = 8  # centres scored at once with all words around any of them: 16 take more time
MANY_BATCHES = 256  # a small corpus is cut into so many,
FEW_TOKENS = 64  # but not into batches of fewer tokens
LET_GO_EVERY = 8  # batches
MEASURED_EVERY = 16  # tiles of a large batch


class WordBatch(NamedTuple):
    """A stretch of the corpus, in tiles, that a task has weighed.

    The centres are words that follow each other, those around them the same words and a halo of
    `window` places on both sides. In reach of a centre are those in the same line and in a window
    that is drawn anew for it. At the end the stretch is filled up with centres that reach nothing.
    """

    tokens: int  # of the corpus, before frequent words were thinned out
    asked: float  # how many right words there are
    tiles: Tiles


class WordTask:
    """A task over words and their neighbours; what is scored with what is its subclass's.

    "table" starts as the settings say, "output" from zeros as in word2vec.c; or both go on from
    `weights`. Raises CorpusError where no word stands beside another.
    """

    kind: ClassVar[type[Piece]]

    def __init__(
        self,
        corpus: EncodedCorpus,
        settings: TrainSettings,
        valid: EncodedCorpus | None = None,
        weights: Mapping[str, Array] | None = None,
    ) -> None:
        del valid  # there are no labels to compare with
        self.settings = settings
        self._stream = WordStream(corpus, settings)
        if weights is None:
            weights = _first_weights(len(corpus.vocabulary), settings)
        self._parameters = {name: Tensor(array, True) for name, array in weights.items()}

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The table (V, D), and that of the output layer (V, D)."""
        return self._parameters

    @property
    def tables(self) -> Mapping[str, int]:
        """Both, and the most rows a batch can meet."""
        return dict.fromkeys(self._parameters, self._stream.most_rows)

    @property
    def resolved(self) -> Mapping[str, Any]:
        """The share from which words are thinned out."""
        return {"subsample": self._stream.subsample}

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return self._stream.batches

    def batch(self, epoch: int, index: int) -> WordBatch:
        """Make a batch."""
        tokens, tiles = self._stream.tiles(epoch, index)
        return WordBatch(tokens, *self.weighed(tiles))

    def weighed(self, tiles: Tiles) -> tuple[float, Tiles]:
        """Count the right words, and weigh them and the noise words.

        As given, a word in reach weighs 1, and a noise word as much as there are in reach.
        """
        raise NotImplementedError

    def scores(self, batch: WordBatch) -> Piece:
        """Score a batch's right words and noise words."""
        table, output = (tensor.data for tensor in self._parameters.values())
        return self.kind.of(table, output, batch.tiles)

    def loss(self, batch: WordBatch) -> Loss:
        """Put the loss on the tape.

        Of a large batch the number is an estimate, from some of the tiles; not so the gradient.
        """
        every = MEASURED_EVERY if len(batch.tiles.noise) >= MEASURED_EVERY else 1
        table, output = self._parameters.values()
        value = sampled_loss(self.kind, table, output, batch.tiles, every=every)
        return Loss(value, value.item(), batch.asked)

    def words(self, batch: WordBatch) -> int:
        """Count the corpus tokens of a batch."""
        return batch.tokens

    def baseline(self) -> None:
        """There is no answer to say always."""

    def validate(self) -> Validation | None:
        """There is nothing to compare with."""
        return None


class WordStream:
    """The corpus as batches of tiles.

    Batch i of an epoch is made of the i-th stretch of tokens, of fixed length; its random numbers
    depend on seed, epoch and i alone. A line that reaches over the end of a stretch is cut there.
    """

    def __init__(self, corpus: EncodedCorpus, settings: TrainSettings) -> None:
        _require_pairs(corpus)
        self._ids, self._offsets = corpus.ids, corpus.offsets
        self._read = 0  # batches, by this process
        self._settings = settings
        self._streams = Streams()
        counts = np.asarray(corpus.vocabulary.counts)  # (V,)
        self.subsample = _subsample(settings, len(self._ids))
        chances = keep_chances(counts, self.subsample)  # (V,)
        expected = float(chances @ counts) / counts.sum()
        self._chances = chances.astype(np.float32) if self.subsample else None
        self._noise = noise_words(counts, settings.noise_power)
        length = max(2, round(settings.batch_size / expected))  # a word alone has no neighbours
        tokens = len(self._ids)
        batches = max(-(-tokens // length), min(MANY_BATCHES, -(-tokens // FEW_TOKENS)))
        self._length: int = -(-tokens // batches)
        self.batches: int = -(-tokens // self._length)
        self._band = max(n for n in range(1, BAND + 1) if settings.tile % n == 0)

    @property
    def most_rows(self) -> int:
        """Rows a batch can meet at most: its words, and as noise."""
        of = self._settings
        size = self._padded(self._length)
        tiles = size // of.tile
        halos = 2 * of.window * pieces_of(tiles, of.tile, of.dim)
        return size + halos + tiles * of.tile_negatives

    def tiles(self, epoch: int, index: int) -> tuple[int, Tiles]:
        """Make a batch: how many tokens it is, and its tiles as `WordTask.weighed` takes them."""
        settings = self._settings
        window, tile = settings.window, settings.tile
        rng = self._streams.at(settings.seed, epoch, index)
        start = index * self._length
        tokens = np.array(self._ids[start : start + self._length])  # (L,)
        kept = self._thinned(tokens, rng)  # (k,)
        cuts = np.searchsorted(kept, self._line_starts(start, len(tokens)))
        size = self._padded(len(kept))
        shape = (size // tile, tile // self._band, self._band)  # g, b, S
        left, right = reach(cuts, len(kept), window, size, rng)  # (n,)
        words = np.zeros(size + 2 * window, np.int32)  # (n + 2w,)
        words[window : window + len(kept)] = tokens[kept]
        near = in_reach(left.reshape(shape), right.reshape(shape), window)  # (g, b, S, S + 2w)
        noise = draw_noise(self._noise, len(near), settings.tile_negatives, rng)  # (g, K)
        self._read += 1
        if self._read % LET_GO_EVERY == 0:
            let_go(self._ids)
            let_go(self._offsets)
        pairs = (left + right).reshape(shape).astype(np.float32)
        return len(tokens), Tiles(words, near, noise, pairs)

    def _padded(self, size: int) -> int:
        tile = self._settings.tile
        return max(-(-size // tile), 1) * tile

    def _thinned(self, tokens: Array, rng: Generator) -> Array:
        """Choose the tokens that stay, by place: (n,) int64, rising."""
        if self._chances is None:
            return np.arange(len(tokens))
        chances = np.take(self._chances, tokens)  # (L,)
        return np.flatnonzero(rng.random(len(tokens), np.float32) < chances)

    def _line_starts(self, start: int, length: int) -> Array:
        """Return where lines start inside a stretch of the corpus, by place in it."""
        first, last = np.searchsorted(self._offsets, (start + 1, start + length))
        return np.asarray(self._offsets[first:last]) - start


class Streams:
    """A generator that starts anew for each key, on numbers of the key's own.

    To make a generator for each batch takes eight times as long as this, since by then its code has
    been driven out of the processor's cache. Philox has a stream for every key (Salmon et al. 2011,
    "Parallel random numbers: as easy as 1, 2, 3").
    """

    def __init__(self) -> None:
        self._bits = np.random.Philox()
        self._start = self._bits.state
        self._generator = Generator(self._bits)

    def at(self, seed: int, epoch: int, index: int) -> Generator:
        """Return the generator at the start of a key's numbers; the next call takes it away."""
        key = self._start["state"]["key"]  # (2,) uint64
        key[0], key[1] = seed % (1 << 64), epoch << 32 | index
        self._bits.state = self._start
        return self._generator


def reach(cuts: Array, words: int, window: int, size: int, rng: Generator) -> tuple[Array, Array]:
    """Draw a window for each of so many words, cut at `cuts`: (size,) int64 to left and right.

    Windows are even in 1..window, as word2vec.c draws them. Words beyond `words` reach nothing.
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

    Word j around a band stands j - window places from its first centre.
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
    """Return the chance of each word to stay when frequent ones are thinned out, (V,).

    It is √(t/f) + t/f for a word of share f, at most 1 (word2vec.c, TrainModelThread).
    """
    if not subsample:
        return np.ones(len(counts))
    ratio = subsample * counts.sum() / np.maximum(counts, 1)  # (V,)
    return np.asarray(np.minimum(np.sqrt(ratio) + ratio, 1))


def noise_words(counts: Array, power: float) -> Array:
    """Lay out words as often as noise should hold them: by count to a power, (M,) int32.

    Mikolov et al. 2013 (negative sampling), §2.2; word2vec.c, InitUnigramTable.
    """
    size = max(1 << 20, 16 * len(counts))
    ends = np.cumsum(np.asarray(counts, np.float64) ** power)  # (V,)
    ends = np.round(ends * (size / ends[-1])).astype(np.int64)
    words = np.arange(len(counts), dtype=np.int32)
    return np.repeat(words, np.diff(ends, prepend=0))  # (M,)


def draw_noise(words: Array, tiles: int, size: int, rng: Generator) -> Array:
    """Draw noise words for each of so many tiles from those laid out (M,): (G, K) int32.

    The k-th comes from the k-th of K equal stretches: a tile then holds a frequent word as often
    as it should, give or take one, where independent draws would miss it or hold it many times.
    Each word is as likely as before (stratified sampling; Cochran 1977, chapter 5).
    """
    places = (np.arange(size) + rng.random((tiles, size))) * (len(words) / size)  # (G, K)
    return np.take(words, places.astype(np.int64), mode="clip")


def _first_weights(size: int, of: TrainSettings) -> dict[str, Array]:
    """Make both tables, (V, D)."""
    table = first_rows(of.init, of.seed, range(size), of.dim, of.init_scale)
    return {"table": table, "output": np.zeros((size, of.dim), np.float32)}


def _subsample(settings: TrainSettings, tokens: int) -> float | None:
    if settings.subsample != "auto":
        return settings.subsample
    return LARGE_CORPUS_SUBSAMPLE if tokens >= LARGE_CORPUS_TOKENS else None


def _require_pairs(corpus: EncodedCorpus) -> None:
    found = "no line of several words"
    if len(corpus.vocabulary) < 2:
        found = f"{len(corpus.vocabulary) or 'no'} usable word"
    elif _longest_line(corpus.offsets) > 1:
        return
    raise CorpusError(
        f"corpus: found {found}; expected lines of several words",
        "Is min_count too high? --min-count 1 keeps all words." if corpus.min_count > 1 else None,
    )


def _longest_line(offsets: Array, block: int = 1 << 20) -> int:
    blocks = (offsets[start : start + block + 1] for start in range(0, len(offsets), block))
    return max(int(np.diff(each).max(initial=0)) for each in blocks)
