"""Negative sampling: the losses as defined, pair by pair, however the tiles are cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.autodiff import sampling
from embedcli.autodiff.check import check_gradient
from embedcli.autodiff.rows import laid_by
from embedcli.autodiff.sampling import (
    CBOWPiece,
    SkipGramPiece,
    Tiles,
    onto_words,
    overlapping,
    sampled_loss,
)
from embedcli.autodiff.tensor import Tensor

WORDS, DIM = 12, 3
SHAPES = st.tuples(*[st.integers(1, 4)] * 3, st.integers(0, 9), st.integers(1, 3))
KINDS = pytest.mark.parametrize("kind", [SkipGramPiece, CBOWPiece])


def made_tiles(shape, seed):
    tiles, bands, band, halo, noise = shape
    rng = np.random.default_rng(seed)
    return Tiles(
        words=rng.integers(0, WORDS, tiles * bands * band + 2 * halo),
        near=rng.integers(0, 3, (tiles, bands, band, band + 2 * halo)) / 2 * in_band(band, halo),
        noise=rng.integers(0, WORDS, (tiles, noise)),
        noise_weights=rng.integers(0, 3, (tiles, bands, band)) / 4,
    )


def in_band(band, halo):
    """Where the words at most `halo` places away stand, (S, S + 2w)."""
    away = np.arange(-halo, band + halo) - np.arange(band)[:, None]
    return abs(away) <= halo


def made_tables(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [Tensor(rng.normal(size=(WORDS, DIM)).astype(dtype), True) for _ in range(2)]


def questions(kind, tiles):
    """Yield (id, weight) of what each hidden vector is made of, of right and of noise words."""
    _, bands, band, around = tiles.near.shape
    for place in np.ndindex(tiles.noise_weights.shape):
        first = (place[0] * bands + place[1]) * band
        centre = (tiles.words[first + place[2] + tiles.halo], 1.0)
        beside = list(zip(tiles.words[first : first + around], tiles.near[place], strict=True))
        noise = [(word, tiles.noise_weights[place]) for word in tiles.noise[place[0]]]
        if kind is SkipGramPiece:
            yield [centre], beside, noise
        elif tiles.noise_weights[place]:
            yield beside, [centre], noise


def hidden_vector(tables, inputs):
    return sum(weight * tables[0].data[word] for word, weight in inputs)


def loss_by_pairs(kind, tables, tiles):
    output, total = tables[1].data, 0.0
    for inputs, right, noise in questions(kind, tiles):
        hidden = hidden_vector(tables, inputs)
        total += sum(weight * np.log1p(np.exp(-hidden @ output[word])) for word, weight in right)
        total += sum(weight * np.log1p(np.exp(hidden @ output[word])) for word, weight in noise)
    return total


def gradients(kind, tables, tiles, scale=1.0):
    loss = sampled_loss(kind, *tables, tiles)
    loss.backward(np.array(scale, loss.dtype))
    found = [tensor.grad for tensor in tables]
    for tensor in tables:
        tensor.grad = None
    return found


@KINDS
@given(SHAPES, st.integers(0, 2**32 - 1))
def test_the_loss_is_that_of_all_pairs(kind, shape, seed):
    tables, tiles = made_tables(seed), made_tiles(shape, seed)
    expected = loss_by_pairs(kind, tables, tiles)
    assert sampled_loss(kind, *tables, tiles).item() == pytest.approx(expected, rel=1e-9)


@KINDS
@pytest.mark.parametrize("shape", [(2, 2, 2, 1, 2), (1, 1, 3, 5, 1), (3, 1, 4, 2, 3)])
def test_gradients(kind, shape):
    tiles = made_tiles(shape, 3)
    tables = [tensor.data for tensor in made_tables(4)]
    check_gradient(lambda table, output: sampled_loss(kind, table, output, tiles), tables)


@KINDS
@pytest.mark.parametrize("piece", [1, 2 * 6 * DIM, 3 * 6 * DIM])
def test_pieces_make_no_difference(kind, piece, monkeypatch):
    tables, tiles = made_tables(1), made_tiles((5, 3, 2, 4, 2), 1)
    whole, loss = gradients(kind, tables, tiles), sampled_loss(kind, *tables, tiles).item()
    monkeypatch.setattr(sampling, "PIECE", piece)
    assert len(list(tiles.pieces(DIM))) == -(-5 // max(piece // (6 * DIM), 1))
    assert sampled_loss(kind, *tables, tiles).item() == pytest.approx(loss)
    for found, expected in zip(gradients(kind, tables, tiles), whole, strict=True):
        np.testing.assert_allclose(found.dense(), expected.dense(), atol=1e-12)
        one, other = found.coalesce(), expected.coalesce()
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_allclose(one.met, other.met, rtol=1e-12)


@KINDS
def test_an_estimate_is_the_loss_of_some_tiles(kind, monkeypatch):
    tables, tiles = made_tables(2), made_tiles((7, 2, 2, 1, 2), 2)
    apart = [
        Tiles(tiles.words[4 * n : 4 * n + 6], *(a[n : n + 1] for a in tiles[1:])) for n in range(7)
    ]
    losses = [sampled_loss(kind, *tables, each).item() for each in apart]
    for piece in (sampling.PIECE, 2 * 4 * DIM):
        monkeypatch.setattr(sampling, "PIECE", piece)
        for every in (1, 2, 3, 10):
            found = sampled_loss(kind, *tables, tiles, every=every).item()
            some = losses[::every]
            assert found == pytest.approx(sum(some) * 7 / len(some))


@KINDS
def test_rows_meet_the_squared_lengths_of_their_partners(kind):
    tables, tiles = made_tables(5), made_tiles((2, 2, 3, 4, 2), 5)
    expected = np.zeros((2, WORDS))
    for inputs, right, noise in questions(kind, tiles):
        hidden = hidden_vector(tables, inputs)
        for word, weight in right + noise:
            expected[1, word] += weight * (hidden @ hidden)
            for source, share in inputs:
                length = np.square(tables[1].data[word]).sum()
                expected[0, source] += share**2 * weight * length
    for gradient, met in zip(gradients(kind, tables, tiles), expected, strict=True):
        found = gradient.coalesce()
        np.testing.assert_allclose(found.met, met[found.ids])


@KINDS
def test_what_comes_after_scales_the_gradients(kind):
    tables, tiles = made_tables(6), made_tiles((2, 1, 2, 1, 2), 6)
    for once, twice in zip(
        gradients(kind, tables, tiles), gradients(kind, tables, tiles, 2.0), strict=True
    ):
        np.testing.assert_allclose(2 * once.rows, twice.rows)
        np.testing.assert_array_equal(once.met, twice.met)


@KINDS
def test_rows_are_made_where_they_are_wanted(kind):
    tables, tiles = made_tables(7, np.float32), made_tiles((2, 2, 2, 1, 2), 7)
    tiles = Tiles(*(each.astype(np.float32) if each.dtype == float else each for each in tiles))
    room = {id(tensor.data): np.full((40, DIM), np.nan, np.float32) for tensor in tables}
    expected = [each.rows for each in gradients(kind, tables, tiles)]
    with laid_by(lambda table, count: room[id(table)][:count]):
        found = gradients(kind, tables, tiles)
    for tensor, gradient, rows in zip(tables, found, expected, strict=True):
        assert gradient.rows.dtype == np.float32
        assert gradient.rows.base is room[id(tensor.data)]
        assert gradient.rows.tobytes() == rows.tobytes()


@pytest.mark.parametrize("kind", [SkipGramPiece, CBOWPiece])
@pytest.mark.parametrize("hurt", [0, 1])
def test_numbers_that_are_none_show_in_what_was_met(kind, hurt):
    for bad in (np.nan, np.inf, 1e30):
        tables, tiles = made_tables(8, np.float32), made_tiles((2, 2, 2, 1, 2), 8)
        tables[hurt].data[tiles.centres[1 - hurt]] = bad
        with np.errstate(all="ignore"):
            found = gradients(kind, tables, tiles)
            sound = [bool(np.isfinite(np.vdot(each.met, each.met))) for each in found]
            rows = [bool(np.isfinite(np.vdot(each.rows, each.rows))) for each in found]
        assert all(rows) or not all(sound)


@given(SHAPES, st.integers(0, 2**32 - 1))
def test_the_way_back_to_words_is_the_transposed_product(shape, seed):
    tiles = made_tiles(shape, seed)
    rng = np.random.default_rng(seed)
    words, vectors = rng.normal(size=(len(tiles.words), 2)), rng.normal(size=tiles.near.shape[:3])
    cut = overlapping(words, tiles)
    assert np.shares_memory(cut, words)
    rows = np.full((len(words), 1), np.nan)
    onto_words(tiles.near, vectors[..., None], rows)
    expected = np.zeros(len(words))
    band, around = tiles.near.shape[2:]
    for number, place in enumerate(np.ndindex(tiles.near.shape[:2])):
        beside = slice(number * band, number * band + around)
        np.testing.assert_array_equal(cut[place], words[beside])
        expected[beside] += vectors[place] @ tiles.near[place]
    np.testing.assert_allclose(rows[:, 0], expected, atol=1e-12)
