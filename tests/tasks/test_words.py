"""Words and their neighbours: what batches hold, what is learnt, and that both are repeatable."""

import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.autodiff.ops import sigmoid
from embedcli.config import TrainSettings, resolve
from embedcli.errors import CorpusError
from embedcli.storage.arrays import drop_pages
from embedcli.tasks.words import (
    Streams,
    chance_scores,
    draw_negatives,
    in_reach,
    keep_chances,
    reach,
    sampling_table,
)
from embedcli.training.gradients import LocalGradients
from tests.tasks.corpora import COMMON, TOPICS, make_task, trained

SMALL = {"tile": 8, "tile_negatives": 4, "batch_size": 20, "window": 3, "optimizer": "damped_sgd"}


def planted_lines(count, seed):
    """Lines of one topic each, with common words among its own."""
    draw = random.Random(seed)
    lines = []
    for _ in range(count):
        words = draw.choices(TOPICS[draw.choice(sorted(TOPICS))], k=6) + draw.choices(COMMON, k=4)
        draw.shuffle(words)
        lines.append(" ".join(words))
    return lines


def sorted_pairs(batch):
    """All pairs (centre's place, other word's place) of a batch."""
    tiles = batch.tiles
    *places, column = np.nonzero(tiles.context_weights)
    centres = np.ravel_multi_index(places, tiles.negative_weights.shape)
    others = centres - places[-1] + column - tiles.halo
    return sorted(zip(centres.tolist(), others.tolist(), strict=True))


@pytest.fixture
def task(tmp_path):
    return make_task(tmp_path, planted_lines(60, 1), task="skipgram", **SMALL)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=4))
def test_reach_is_a_band_without_the_word_itself(reaches):
    left, right = np.array(reaches).T.reshape(2, 2, 2)
    near = in_reach(left, right, 5)
    assert near.shape == (2, 2, 12)
    for tile, row, column in np.ndindex(near.shape):
        away = column - 5 - row
        wanted = away != 0 and -left[tile, row] <= away <= right[tile, row]
        assert near[tile, row, column] == wanted


def test_reach_far_beyond_a_tile():
    left = right = np.full((1, 16), 100)
    assert in_reach(left, right, 100).sum() == 16 * 200
    assert in_reach(left * 0, right * 0, 100).sum() == 0


def test_windows_end_with_the_line_and_are_even_in_size():
    rng = np.random.default_rng(0)
    cuts = np.array([3, 3, 10, 5000])
    left, right = reach(cuts, 9000, 4, 9008, rng)
    places = np.arange(9000)
    line = np.searchsorted(cuts, places, side="right")
    for away in (left, -right):
        other = places - away[:9000]
        np.testing.assert_array_equal(np.searchsorted(cuts, other, side="right"), line)
    assert left[9000:].sum() == right[9000:].sum() == 0
    sizes = np.bincount(left[100:4900])
    assert sizes[0] == 0
    assert (abs(sizes[1:] - 1200) < 150).all()


def test_an_epoch_holds_every_token_once_in_its_line(tmp_path):
    lines = planted_lines(30, 2)
    task = make_task(tmp_path, lines, task="skipgram", **SMALL | {"batch_size": 15})
    batches = [task.batch(0, index) for index in range(task.batches)]
    assert [batch.tokens for batch in batches] == [15] * 20
    words = np.concatenate([batch.tiles.centres[: batch.tokens] for batch in batches])
    first = list(dict.fromkeys(" ".join(lines).split()))
    assert [first[each] for each in words] == " ".join(lines).split()
    for index, batch in enumerate(batches):
        for centre, context in sorted_pairs(batch):
            places = 15 * index + centre, 15 * index + context
            assert places[0] // 10 == places[1] // 10  # a line has ten words
            assert 0 < abs(centre - context) <= 3


def test_words_of_the_smallest_batches_have_neighbours(tmp_path):
    task = make_task(tmp_path, planted_lines(10, 2), task="skipgram", **SMALL | {"batch_size": 1})
    batches = [task.batch(0, index) for index in range(task.batches)]
    assert [(batch.tokens, batch.asked) for batch in batches] == [(2, 2)] * 50


def test_a_batch_is_a_function_of_seed_epoch_and_index(task, tmp_path):
    again = make_task(tmp_path / "b", planted_lines(60, 1), task="skipgram", **SMALL)
    other = make_task(tmp_path / "c", planted_lines(60, 1), task="skipgram", seed=1, **SMALL)
    task.batch(0, 0)
    first = task.batch(1, 3).tiles
    for one, same in zip(first, again.batch(1, 3).tiles, strict=True):
        np.testing.assert_array_equal(one, same)
    for different in (other.batch(1, 3), task.batch(2, 3), task.batch(1, 4)):
        assert (first.negatives != different.tiles.negatives).any()


def test_a_stream_of_numbers_depends_on_its_key_alone():
    keys = [(0, 0, 0), (1 << 32, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (2**64 - 1, 3, 5)]
    streams, others = Streams(), Streams()
    drawn = [streams.at(*key).random(9).tolist() for key in keys]
    assert len({number for numbers in drawn for number in numbers}) == 9 * len(keys)
    for key, numbers in reversed(list(zip(keys, drawn, strict=True))):
        others.at(0, 7, 7).integers(0, 9, 3, np.int32)
        assert others.at(*key).random(9).tolist() == numbers


def test_frequent_words_are_thinned_out(tmp_path):
    lines = ["the " * 15 + f"w{n} the v{n}" for n in range(40)]
    task = make_task(tmp_path, lines, task="skipgram", subsample=0.01, **SMALL)
    counts = np.zeros(81)
    tokens = 0
    for epoch in range(20):
        for index in range(task.batches):
            batch = task.batch(epoch, index)
            tokens += batch.tokens
            kept = batch.tiles.centres[batch.tiles.negative_weights.reshape(-1) > 0]
            counts += np.bincount(kept, minlength=81)
    assert tokens == 20 * 720
    share = 0.01 / (640 / 720)
    assert counts[0] / (20 * 640) == pytest.approx(np.sqrt(share) + share, rel=0.15)
    assert task.resolved == {"subsample": 0.01}


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_a_batch_of_which_no_word_stays_changes_nothing(kind, tmp_path):
    task = make_task(tmp_path, planted_lines(10, 1), task=kind, subsample=1e-12, **SMALL)
    batch = task.batch(0, 0)
    found = LocalGradients(task.parameters)
    loss = task.gradients(batch, found)
    assert (loss.total, loss.count, task.words(batch)) == (0, 0, batch.tokens)
    assert not any(gradient.dense().any() for gradient in found.by_name.values())


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_there_is_room_for_all_rows_that_a_batch_meets(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("embedcli.nn.sampling.CHUNK", 2 * 8 * 16)  # two tiles
    lines = [f"w{n} v{n} u{n} t{n} s{n}" for n in range(200)]
    task = make_task(tmp_path, lines, task=kind, **SMALL | {"batch_size": 64})
    for index in range(task.batches):
        found = LocalGradients(task.parameters)
        task.gradients(task.batch(0, index), found)
        looked_up = [len(gradient.ids) for gradient in found.by_name.values()]
        assert max(looked_up) <= min(task.most_rows.values())
    full = 64 + 8 * 4 + 4 * 2 * 3  # centres, samples, and words on either side of each chunk
    assert set(task.most_rows.values()) == {full}


def test_chances_to_stay_and_noise_follow_word2vec():
    counts = np.array([1_000_000, 1000, 100, 1])
    share = counts / counts.sum()
    expected = np.minimum(1, np.sqrt(1e-4 / share) + 1e-4 / share)
    np.testing.assert_allclose(keep_chances(counts, 1e-4), expected)
    assert (keep_chances(counts, None) == 1).all()
    noise = sampling_table(counts, 0.75)
    held = np.bincount(noise, minlength=4) / len(noise)
    np.testing.assert_allclose(held, counts**0.75 / (counts**0.75).sum(), atol=1e-6)


def test_a_tile_holds_each_noise_word_as_often_as_it_should():
    counts = np.array([100, 300, 5, 1, 60, 2])
    shares = counts**0.75 / (counts**0.75).sum()
    drawn = draw_negatives(sampling_table(counts, 0.75), 3000, 48, np.random.default_rng(1))
    assert drawn.dtype == np.int32
    held = np.array([np.bincount(tile, minlength=6) for tile in drawn])
    assert (np.abs(held - 48 * shares) < 2).all()
    np.testing.assert_allclose(held.mean(0), 48 * shares, atol=0.03)
    assert (drawn[0] != drawn[1]).any()


def test_subsampling_is_for_large_corpora_unless_asked_for(tmp_path, monkeypatch):
    for large, expected in [(601, None), (600, 1e-4)]:
        monkeypatch.setattr("embedcli.tasks.words.LARGE_CORPUS_TOKENS", large)
        task = make_task(tmp_path / str(large), planted_lines(60, 1), task="skipgram", **SMALL)
        assert task.resolved == {"subsample": expected}


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
@pytest.mark.parametrize("tile", [2, 7, 8, 11, 12, 100])
def test_the_loss_is_that_of_the_pairs(kind, tile, tmp_path):
    settings = SMALL | {"task": kind, "tile": tile, "negatives": 3}
    task = make_task(tmp_path, planted_lines(10, 3), **settings)
    rng = np.random.default_rng(0)
    table, output, bias = (p.data for p in task.parameters.values())
    output[:] = rng.standard_normal(output.shape)
    bias[:] = rng.standard_normal(bias.shape)
    batch = task.batch(1, 1)
    ids = batch.tiles.centres
    contexts: dict[int, list[int]] = {}
    for centre, context in sorted_pairs(batch):
        contexts.setdefault(centre, []).append(context)
    assert {1, 2} <= set(map(len, contexts.values()))
    loss, count = 0.0, 0
    for centre, others in contexts.items():
        noise = batch.tiles.negatives[centre // tile]
        if kind == "skipgram":
            asked = [(table[ids[centre]], ids[each]) for each in others]
        else:
            asked = [(table[ids[others]].mean(0), ids[centre])]
        for row, right in asked:
            scores = np.float64(output) @ row + bias[:, 0]
            loss += np.log1p(np.exp(-scores[right]))
            loss += 3 / 4 * np.log1p(np.exp(scores[noise])).sum()
            count += 1
    found = task.gradients(batch, LocalGradients(task.parameters))
    assert found.count == count
    assert found.total == pytest.approx(loss, rel=1e-5)
    plain = task.loss(batch)
    assert (plain.count, plain.total.item()) == (count, pytest.approx(loss, rel=1e-5))


def test_curvature_is_the_squared_lengths_of_partners(tmp_path):
    task = make_task(tmp_path, planted_lines(10, 3), task="skipgram", negatives=3, **SMALL)
    table, output = (task.parameters[name].data for name in task.tables)
    output[:] = np.random.default_rng(0).standard_normal(output.shape)
    batch = task.batch(0, 0)
    made = LocalGradients(task.parameters)
    task.gradients(batch, made)
    ids = batch.tiles.centres
    curvature = {"table": np.zeros(len(table)), "output": np.zeros(len(table))}
    for centre, context in sorted_pairs(batch):
        curvature["table"][ids[centre]] += np.square(output[ids[context]]).sum()
        curvature["output"][ids[context]] += np.square(table[ids[centre]]).sum()
        for noise in batch.tiles.negatives[centre // 8]:
            curvature["table"][ids[centre]] += 3 / 4 * np.square(output[noise]).sum()
            curvature["output"][noise] += 3 / 4 * np.square(table[ids[centre]]).sum()
    for name, expected in curvature.items():
        found = made.by_name[name].coalesce()
        np.testing.assert_allclose(found.curvature, expected[found.ids], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_words_of_a_topic_come_together(kind, tmp_path):
    chosen = resolve(TrainSettings, given={"task": kind})
    preset = {name: getattr(chosen, name) for name in ("optimizer", "lr", "tile", "tile_negatives")}
    preset |= {"batch_size": chosen.batch_size, "group": chosen.group, "init": chosen.init}
    task = make_task(tmp_path, planted_lines(500, 4), task=kind, **preset)
    words = list(dict.fromkeys(" ".join(planted_lines(500, 4)).split()))
    rows = trained(task).parameters["table"]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    places = [[words.index(word) for word in topic] for topic in TOPICS.values()]
    within = np.mean([(rows[own] @ rows[own].T)[np.triu_indices(8, 1)] for own in places])
    between = np.mean([rows[a] @ rows[b].T for i, a in enumerate(places) for b in places[i + 1 :]])
    assert within - between > 0.2


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_frequent_words_in_large_batches_do_not_diverge(kind, tmp_path):
    lines = ["the the of the " + line for line in planted_lines(400, 5)]
    settings = {
        **SMALL,
        "batch_size": 4096,
        "tile": 128,
        "tile_negatives": 16,
        "group": 16,
        "lr": 0.5,
    }
    task = make_task(tmp_path, lines, task=kind, **settings)
    state = trained(task)
    assert all(np.abs(array).max() < 20 for array in state.parameters.values())
    assert state.log[-1]["loss"] < state.log[0]["loss"]


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_two_lines_train(kind, tmp_path):
    lines = ["Hope to see you soon", "Nice to see you again"]
    settings = {**SMALL, "epochs": 200, "batch_size": 1024, "tile": 128}
    state = trained(make_task(tmp_path, lines, task=kind, **settings))
    losses = [record["loss"] for record in state.log]  # each of other windows and samples
    assert np.mean(losses[-50:]) < np.mean(losses[:50]) * 0.95
    assert (state.trained > 100).all()


@pytest.mark.skipif(sys.platform != "linux", reason="where /proc tells what a mapping holds")
def test_pages_of_a_mapped_file_are_drop_pages(tmp_path):
    np.save(tmp_path / "ids.npy", np.arange(1 << 20, dtype=np.int32))
    ids = np.load(tmp_path / "ids.npy", mmap_mode="r")

    def held():
        areas = Path("/proc/self/smaps").read_text().split(str(tmp_path / "ids.npy"))[1]
        return int(re.search(r"Rss: +(\d+)", areas)[1])

    assert ids.sum() == (1 << 19) * ((1 << 20) - 1)
    assert held() > 4000
    drop_pages(ids[5:])
    assert held() == 0
    drop_pages(np.arange(3))
    assert ids[-1] == (1 << 20) - 1


def test_pages_of_the_corpus_are_dropped_now_and_then(task, monkeypatch):
    let = []
    monkeypatch.setattr("embedcli.tasks.words.drop_pages", let.append)
    for index in range(20):
        task.batch(0, index)
    assert len(let) == 2 * (20 // 8)  # its ids, and where its lines end


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["word word", "word"], "1 usable word"),
        (["one", "two", "three"], "no line of several words"),
    ],
)
def test_a_corpus_without_neighbours_is_an_error(lines, said, tmp_path):
    with pytest.raises(CorpusError, match=said):
        make_task(tmp_path, lines, task="skipgram")


def test_without_rows_that_say_anything_no_score_is_better(tmp_path):
    """The biases are where the loss over all pairs and samples is least, of each word alone."""
    counts, settings = np.array([500, 300, 150, 40, 10]), TrainSettings(negatives=3)
    scores = np.float64(chance_scores(counts, 1e-2, settings))
    kept = counts * keep_chances(counts, 1e-2)
    positive, negative = kept / kept.sum(), 3 * counts**0.75 / (counts**0.75).sum()
    np.testing.assert_allclose(positive * sigmoid(-scores), negative * sigmoid(scores), rtol=1e-6)


@pytest.mark.parametrize("head", [{}, {"output_bias": np.zeros((40, 1), np.float32)}])
def test_a_model_trained_without_biases_is_updated_without(head, task):
    assert task.parameters["output_bias"].data.all()
    task.go_on_from({"output_bias": np.ones((40, 1), np.float32)})
    assert task.parameters["output_bias"].data.all()
    task.go_on_from(head)
    assert not task.parameters["output_bias"].data.any()


def test_a_word_that_the_text_lacks_has_a_finite_bias():
    assert np.isfinite(chance_scores(np.array([0, 5]), None, TrainSettings())).all()
