from __future__ import annotations

import numpy as np
import pytest

from embedcli.mapping import layout
from embedcli.mapping.build import kept_neighbors


def neighbors_of(rows, k):
    """The k nearest of each row by Euclidean distance, (N, k)."""
    apart = ((rows[:, None] - rows) ** 2).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    return np.argsort(apart, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("spread, within", [(0.01, 0.01), (1, 0.01), (5, 0.05), (10, 0.12)])
def test_repulsion_is_that_of_all_pairs(spread, within):
    places = np.random.default_rng(0).normal(0, spread, (2, 2000))
    slopes, total = layout.repulsion(places)
    exact, sums = layout.repulsion_of_pairs(places)
    assert total == pytest.approx(sums, rel=0.01)
    assert np.linalg.norm(slopes - exact) < within * np.linalg.norm(exact)


def test_splines_add_up_and_have_the_slopes_they_say():
    t = np.linspace(0, 1, 11)
    weights, slopes = layout._splines(t)
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    np.testing.assert_allclose(slopes.sum(axis=0), 0, atol=1e-12)
    change = (layout._splines(t + 1e-6)[0] - layout._splines(t - 1e-6)[0]) / 2e-6
    np.testing.assert_allclose(slopes, change, atol=1e-6)


def test_principal_components_are_those_of_the_svd():
    rows = np.random.default_rng(0).normal(0, 1, (50, 6)).astype(np.float32) * np.arange(1, 7)
    places, shares = layout.principal_components(rows.astype(np.float32))
    _, sizes, axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(shares, sizes**2 / (sizes**2).sum(), rtol=1e-5)
    expected = (rows - rows.mean(axis=0)) @ axes[:2].T
    np.testing.assert_allclose(np.abs(places), np.abs(expected), rtol=1e-3, atol=1e-4)
    farthest = np.abs(places).argmax(axis=0)
    assert (places[farthest, [0, 1]] > 0).all()


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (5, 1), (3, 2)])
def test_principal_components_of_little_are_finite(shape):
    places, shares = layout.principal_components(np.ones(shape, np.float32))
    assert places.shape == (shape[0], 2)
    assert not places.any()
    assert not shares.any()


def test_huge_numbers_have_principal_components():
    rows = np.array([[1e30, 0, 0], [-1e30, 0, 0], [0, 1e29, 0]], np.float32)
    places, shares = layout.principal_components(rows)
    assert np.isfinite(places).all()
    assert shares[0] > 0.9


@pytest.fixture(scope="module")
def clusters():
    """Five groups of 60 rows in ten dimensions, and the group of each row."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(5), 60)
    return rng.normal(0, 10, (5, 10))[groups] + rng.normal(0, 1, (300, 10)), groups


def test_tsne_keeps_neighbors_together(clusters):
    rows, groups = clusters
    near = neighbors_of(rows, 15)
    principal, _ = layout.principal_components(rows)
    places = layout.tsne(near, layout.start_places(principal))
    assert np.isfinite(places).all()
    assert (groups[neighbors_of(places, 10)] == groups[:, None]).mean() > 0.99
    kept = kept_neighbors(places, near[:, :10]).mean()
    assert kept > 4
    assert kept > 1.5 * kept_neighbors(principal, near[:, :10]).mean()


def test_the_same_neighbors_give_the_same_bytes(clusters):
    rows, _ = clusters
    near = neighbors_of(rows, 15)
    start = layout.start_places(rows[:, :2])
    one, two = (layout.tsne(near, start, early=20, late=20) for _ in range(2))
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_few_words_are_laid_out(number):
    rows = np.random.default_rng(0).normal(0, 1, (number, 4))
    near = neighbors_of(rows, min(2, number - 1))
    places = layout.tsne(near, layout.start_places(rows[:, :2]))
    assert np.isfinite(places).all()
    assert len(np.unique(places, axis=0)) == number


def test_equal_words_are_laid_out_apart():
    near = np.array([[(i + 1) % 40, (i + 2) % 40] for i in range(40)])
    places = layout.tsne(near, layout.start_places(np.zeros((40, 2))))
    assert np.isfinite(places).all()
    assert len(np.unique(places, axis=0)) == 40


def test_groups_without_a_tie_stay_on_the_map():
    rng = np.random.default_rng(0)
    near = np.stack([rng.choice(np.arange(i - i % 4, i - i % 4 + 4), 3) for i in range(400)])
    places = layout.tsne(near, layout.start_places(rng.normal(0, 1, (400, 2))))
    assert np.hypot(*places.T).max() <= 20 + 0.8 * np.sqrt(400) + 1e-9


def test_a_word_without_neighbors_does_no_harm():
    near = np.array([[1], [0], [-1]])
    places = layout.tsne(near, layout.start_places(np.eye(3)[:, :2]))
    assert np.isfinite(places).all()


def test_progress_is_told():
    told = []
    layout.tsne(
        np.array([[1], [0]]), np.eye(2), early=2, late=3, report=lambda *said: told.append(said)
    )
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
