"""Negative sampling: the losses as defined, pair by pair, however the tiles are cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.autodiff.check import check_gradient
from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import Tensor
from embedcli.nn import sampling
from embedcli.nn.sampling import (
    CBOW,
    SKIP_GRAM,
    Tiles,
    negative_sampling_gradients,
    negative_sampling_loss,
    sum_by_word,
)

WORDS, DIM = 12, 3
SHAPES = st.tuples(*[st.integers(1, 4)] * 3, st.integers(0, 9), st.integers(1, 3))
KINDS = pytest.mark.parametrize("kind", [SKIP_GRAM, CBOW], ids=["skipgram", "cbow"])


def made_tiles(shape, seed):
    tiles, bands, band, halo, noise = shape
    rng = np.random.default_rng(seed)
    return Tiles(
        words=rng.integers(0, WORDS, tiles * bands * band + 2 * halo),
        context_weights=rng.integers(0, 3, (tiles, bands, band, band + 2 * halo))
        / 2
        * in_band(band, halo),
        negatives=rng.integers(0, WORDS, (tiles, noise)),
        negative_weights=rng.integers(0, 3, (tiles, bands, band)) / 4,
    )


def in_band(band, halo):
    """Where the words at most `halo` places away stand, (S, S + 2w)."""
    away = np.arange(-halo, band + halo) - np.arange(band)[:, None]
    return abs(away) <= halo


def made_tables(seed, dtype=np.float64):
    """Make both tables, and the bias of the second, which is not trained."""
    rng = np.random.default_rng(seed)
    shapes = [(WORDS, DIM), (WORDS, DIM), (WORDS, 1)]
    arrays = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    return [Tensor(array, array.shape[1] == DIM) for array in arrays]


def questions(kind, tiles):
    """Yield (id, weight) of what each hidden vector is made of, of right and of noise words."""
    _, bands, band, around = tiles.context_weights.shape
    for place in np.ndindex(tiles.negative_weights.shape):
        first = (place[0] * bands + place[1]) * band
        centre = (tiles.words[first + place[2] + tiles.halo], 1.0)
        beside = list(
            zip(tiles.words[first : first + around], tiles.context_weights[place], strict=True)
        )
        noise = [(word, tiles.negative_weights[place]) for word in tiles.negatives[place[0]]]
        if kind is SKIP_GRAM:
            yield [centre], beside, noise
        elif tiles.negative_weights[place]:
            yield beside, [centre], noise


def hidden_vector(tables, inputs):
    return sum(weight * tables[0].data[word] for word, weight in inputs)


def loss_by_pairs(kind, tables, tiles):
    output, bias, total = tables[1].data, tables[2].data, 0.0
    for inputs, right, noise in questions(kind, tiles):
        hidden = hidden_vector(tables, inputs)
        for sign, words in ((-1, right), (1, noise)):
            for word, weight in words:
                score = hidden @ output[word] + bias[word, 0]
                total += weight * np.log1p(np.exp(sign * score))
    return total


def gradients(kind, tables, tiles, every=1):
    """What the kernel gives: the loss, and the gradients of both tables."""
    made = []

    def rows(*ids):
        for table, each in zip(tables[:2], ids, strict=True):
            shape = (len(each), DIM)
            empty = np.full(shape, np.nan, table.dtype), np.full(len(each), np.nan, table.dtype)
            made.append(RowGrad(each, empty[0], table.shape, empty[1]))
        return tuple(made)

    arrays = [table.data for table in tables]
    return negative_sampling_gradients(kind, *arrays, tiles, rows, every), *made


@KINDS
@given(SHAPES, st.integers(0, 2**32 - 1))
def test_the_loss_is_that_of_all_pairs(kind, shape, seed):
    tables, tiles = made_tables(seed), made_tiles(shape, seed)
    expected = loss_by_pairs(kind, tables, tiles)
    assert negative_sampling_loss(kind, *tables, tiles).item() == pytest.approx(expected, rel=1e-9)
    assert gradients(kind, tables, tiles)[0] == pytest.approx(expected, rel=1e-9)


@KINDS
@pytest.mark.parametrize("shape", [(2, 2, 2, 1, 2), (1, 1, 3, 5, 1), (3, 1, 4, 2, 3)])
def test_gradients_on_the_tape(kind, shape):
    tiles = made_tiles(shape, 3)
    *tables, bias = made_tables(4)
    check_gradient(
        lambda *inputs: negative_sampling_loss(kind, *inputs, bias, tiles),
        [tensor.data for tensor in tables],
    )


@KINDS
@given(SHAPES, st.integers(0, 2**32 - 1))
def test_the_kernel_is_its_plain_version(kind, shape, seed):
    tables, tiles = made_tables(seed), made_tiles(shape, seed)
    loss = negative_sampling_loss(kind, *tables, tiles)
    loss.backward()
    found, *made = gradients(kind, tables, tiles)
    assert found == pytest.approx(loss.item(), rel=1e-12)
    for tensor, gradient in zip(tables[:2], made, strict=True):
        np.testing.assert_allclose(gradient.dense(), tensor.grad.dense(), atol=1e-12)
    assert tables[2].grad is None


@KINDS
@pytest.mark.parametrize("chunk", [1, 2 * 6 * DIM, 3 * 6 * DIM])
def test_chunks_make_no_difference(kind, chunk, monkeypatch):
    tables, tiles = made_tables(1), made_tiles((5, 3, 2, 4, 2), 1)
    loss, *whole = gradients(kind, tables, tiles)
    monkeypatch.setattr(sampling, "CHUNK", chunk)
    assert len(list(tiles.chunks(DIM))) == -(-5 // max(chunk // (6 * DIM), 1))
    again, *parts = gradients(kind, tables, tiles)
    assert again == pytest.approx(loss)
    for found, expected in zip(parts, whole, strict=True):
        np.testing.assert_allclose(found.dense(), expected.dense(), atol=1e-12)
        one, other = found.coalesce(), expected.coalesce()
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_allclose(one.curvature, other.curvature, rtol=1e-12)


@KINDS
def test_an_estimate_is_the_loss_of_some_tiles(kind, monkeypatch):
    tables, tiles = made_tables(2), made_tiles((7, 2, 2, 1, 2), 2)
    apart = [
        Tiles(tiles.words[4 * n : 4 * n + 6], *(a[n : n + 1] for a in tiles[1:])) for n in range(7)
    ]
    losses = [gradients(kind, tables, each)[0] for each in apart]
    exact = gradients(kind, tables, tiles)
    for chunk in (sampling.CHUNK, 2 * 4 * DIM):
        monkeypatch.setattr(sampling, "CHUNK", chunk)
        for every in (1, 2, 3, 10):
            found, *made = gradients(kind, tables, tiles, every)
            some = losses[::every]
            assert found == pytest.approx(sum(some) * 7 / len(some))
            for gradient, expected in zip(made, exact[1:], strict=True):
                np.testing.assert_allclose(gradient.dense(), expected.dense(), atol=1e-12)


@KINDS
def test_curvature_is_the_squared_lengths_of_partners(kind):
    tables, tiles = made_tables(5), made_tiles((2, 2, 3, 4, 2), 5)
    expected = np.zeros((2, WORDS))
    for inputs, right, noise in questions(kind, tiles):
        hidden = hidden_vector(tables, inputs)
        for word, weight in right + noise:
            expected[1, word] += weight * (hidden @ hidden)
            for source, share in inputs:
                length = np.square(tables[1].data[word]).sum()
                expected[0, source] += share**2 * weight * length
    for gradient, curvature in zip(gradients(kind, tables, tiles)[1:], expected, strict=True):
        found = gradient.coalesce()
        np.testing.assert_allclose(found.curvature, curvature[found.ids])


@KINDS
def test_float32_stays_float32(kind):
    tables, tiles = made_tables(7, np.float32), made_tiles((2, 2, 2, 1, 2), 7)
    tiles = Tiles(*(each.astype(np.float32) if each.dtype == float else each for each in tiles))
    for gradient in gradients(kind, tables, tiles)[1:]:
        assert gradient.rows.dtype == gradient.curvature.dtype == np.float32


@KINDS
@pytest.mark.parametrize("hurt", [0, 1])
def test_numbers_that_are_not_finite_show_in_the_curvature(kind, hurt):
    for bad in (np.nan, np.inf, 1e30):
        tables, tiles = made_tables(8, np.float32), made_tiles((2, 2, 2, 1, 2), 8)
        tables[hurt].data[tiles.centres[1 - hurt]] = bad
        with np.errstate(all="ignore"):
            found = gradients(kind, tables, tiles)[1:]
            sound = [bool(np.isfinite(np.vdot(each.curvature, each.curvature))) for each in found]
            rows = [bool(np.isfinite(np.vdot(each.rows, each.rows))) for each in found]
        assert all(rows) or not all(sound)


@given(SHAPES, st.integers(0, 2**32 - 1))
def test_sums_by_word_are_the_transposed_product(shape, seed):
    tiles = made_tiles(shape, seed)
    rng = np.random.default_rng(seed)
    weights = tiles.context_weights
    words, vectors = rng.normal(size=(len(tiles.words), 2)), rng.normal(size=weights.shape[:3])
    cut = tiles.windows(words)
    assert np.shares_memory(cut, words)
    rows = np.full((len(words), 1), np.nan)
    sum_by_word(weights, vectors[..., None], rows)
    expected = np.zeros(len(words))
    band, around = weights.shape[2:]
    for number, place in enumerate(np.ndindex(weights.shape[:2])):
        beside = slice(number * band, number * band + around)
        np.testing.assert_array_equal(cut[place], words[beside])
        expected[beside] += vectors[place] @ weights[place]
    np.testing.assert_allclose(rows[:, 0], expected, atol=1e-12)
