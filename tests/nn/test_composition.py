"""Words composed of parts, against a plain loop over n-grams that share no rows."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.autodiff.rows import RowGrad
from embedcli.config import OWN_RATE
from embedcli.nn.composition import Composition
from embedcli.nn.optimizers import SGD
from embedcli.training.composed import ComposedWords

DIM = 3
BAGS = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=8)


def composition_of(bags):
    """The composition of words whose n-grams are in these buckets."""
    owners = [word for word, bag in enumerate(bags) for _ in bag]
    buckets = [bucket for bag in bags for bucket in bag]
    return Composition.of(np.array(owners, np.int64), np.array(buckets, np.int64), len(bags))


def vectors_of_buckets(composition, parts):
    """The vector of each bucket by itself: its row holds the sum of several, each the same."""
    each = parts / composition.sizes[:, None]
    return dict(zip(composition.buckets.tolist(), each[composition.bucket_rows], strict=True))


def plain(bags, own, vectors, word):
    """The mean of a word's own vector and those of its buckets."""
    return np.mean([own[word], *(vectors[bucket] for bucket in bags[word])], axis=0)


@given(BAGS)
def test_a_vector_is_the_mean_of_the_word_and_its_ngrams(bags):
    composition = composition_of(bags)
    parts = np.random.default_rng(0).normal(size=(len(composition.sizes), DIM)).astype(np.float32)
    vectors = vectors_of_buckets(composition, parts)
    own = parts[: len(bags)] / composition.sizes[: len(bags), None]
    words = np.arange(0, len(bags), 2)
    expected = [plain(bags, own, vectors, word) for word in words]
    np.testing.assert_allclose(composition.compose(parts, words), expected, rtol=1e-4, atol=1e-5)


@given(BAGS)
def test_ngrams_share_a_row_where_they_occur_in_the_same_words(bags):
    composition = composition_of(bags)
    where = {
        bucket: Counter(word for word, bag in enumerate(bags) for each in bag if each == bucket)
        for bucket in composition.buckets.tolist()
    }
    assert set(where) == {bucket for bag in bags for bucket in bag}
    rows = dict(zip(where, composition.bucket_rows.tolist(), strict=True))
    for one in where:
        for two in where:
            assert (rows[one] == rows[two]) == (where[one] == where[two])
        words = list(where[one].elements())
        assert (rows[one] < len(bags)) == (len(words) == 1)
        if len(words) == 1:
            assert rows[one] == words[0]
    assert composition.sizes.sum() == len(bags) + len(where)


@given(BAGS, st.integers(1, 3))
def test_a_step_is_that_of_every_ngram_by_itself(bags, shares):
    """Each part gets the gradient of its words, own rows half, and the curvature of all of them."""
    composition = composition_of(bags)
    draw = np.random.default_rng(1)
    parts = draw.normal(size=(len(composition.sizes), DIM)).astype(np.float32)
    gradient = draw.normal(size=(len(bags), DIM)).astype(np.float32)
    curvature = draw.uniform(1, 2, len(bags)).astype(np.float32)
    # 1. Every n-gram by itself.
    vectors = vectors_of_buckets(composition, parts)
    own = parts[: len(bags)] / composition.sizes[: len(bags), None]
    sums = {bucket: np.zeros(DIM) for bucket in vectors}
    damping = dict.fromkeys(vectors, 0.0)
    rows = dict(zip(composition.buckets.tolist(), composition.bucket_rows.tolist(), strict=True))
    for word, bag in enumerate(bags):
        for bucket in bag:
            only = rows[bucket] < len(bags)
            sums[bucket] += gradient[word] * (OWN_RATE if only else 1)
            damping[bucket] += curvature[word]
    moved = {bucket: vectors[bucket] - sums[bucket] / (1 + damping[bucket]) for bucket in vectors}
    moved_own = own - OWN_RATE * gradient / (1 + curvature)[:, None]
    # 2. Rows that some share, in any number of shares.
    table = np.zeros((len(bags), DIM), np.float32)
    group = ComposedWords(composition, table, parts, len(bags), shares, SGD())
    group.begin(np.arange(len(bags)))
    for share in range(shares):
        group.compose(group.share(share))
    expected = [plain(bags, own, vectors, word) for word in range(len(bags))]
    np.testing.assert_allclose(table, expected, rtol=1e-4, atol=1e-5)
    group.take(RowGrad(np.arange(len(bags)), gradient, table.shape, curvature, coalesced=True))
    for share in range(shares):
        for found in group.gradients(share):
            parts[found.ids] -= found.rows / (1 + found.curvature)[:, None]
    # 3. The vectors are the same.
    expected = [plain(bags, moved_own, moved, word) for word in range(len(bags))]
    words = np.arange(len(bags))
    np.testing.assert_allclose(composition.compose(parts, words), expected, rtol=1e-3, atol=1e-4)


def test_words_without_a_gradient_change_no_part():
    composition = composition_of([[1, 2], [2, 3], [3]])
    parts = np.ones((len(composition.sizes), DIM), np.float32)
    group = ComposedWords(composition, np.zeros((3, DIM), np.float32), parts, 3, 1, SGD())
    group.begin(np.array([0, 2]))
    assert list(group.gradients(0)) == []
    one = RowGrad(np.array([2]), np.ones((1, DIM), np.float32), (3, DIM), np.ones(1, np.float32))
    group.take(one)
    changed = np.concatenate([each.ids for each in group.gradients(0)])
    assert sorted(changed) == [2, composition.bucket_rows[2]]
    group.begin(np.array([0]))
    assert list(group.gradients(0)) == []


def test_own_rows_settle_such_that_vectors_are_those_of_a_table():
    composition = composition_of([[1, 2], [2, 3], [3]])
    parts = np.random.default_rng(0).normal(size=(len(composition.sizes), DIM)).astype(np.float32)
    before, table = parts.copy(), np.arange(9, dtype=np.float32).reshape(3, DIM)
    composition.settle(table, parts, np.array([0, 2]))
    found = composition.compose(parts, np.arange(3))
    np.testing.assert_allclose(found[[0, 2]], table[[0, 2]], atol=1e-5)
    assert (parts[[1, 3, 4]] == before[[1, 3, 4]]).all()


@pytest.mark.parametrize("bags", [[[]], [[], []]])
def test_words_without_ngrams_are_their_own_rows(bags):
    composition = composition_of(bags)
    parts = np.arange(DIM * len(bags), dtype=np.float32).reshape(-1, DIM)
    assert (composition.compose(parts, np.arange(len(bags))) == parts).all()
