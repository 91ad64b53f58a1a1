from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.autodiff.check import check_gradient
from embedcli.autodiff.tensor import Tensor
from embedcli.config import TrainSettings
from embedcli.errors import ConfigError
from embedcli.tasks import supervised
from embedcli.tasks.supervised import Inputs, Network, split
from embedcli.text.ngrams import hash_texts
from embedcli.text.texts import Texts
from embedcli.text.vocabulary import Vocabulary
from embedcli.text.word_ngrams import WordNgrams

TEXTS = [[4, 1, 4], [], [2], [0, 1, 2, 3, 4, 1]]


def texts_of(lines):
    ids = np.array([each for line in lines for each in line], np.int32)
    return Texts(ids, np.cumsum([0, *map(len, lines)]))


def network_of(**settings):
    return Network(TrainSettings(task="classify", dim=3, init_scale=1.0, **settings))


def tensors_of(network, rows, outputs):
    rng = np.random.default_rng(5)
    arrays = network.initial_weights(rows, outputs)
    return {
        name: Tensor(rng.normal(size=array.shape), requires_grad=True)
        for name, array in arrays.items()
    }


def pooled_by_hand(table, line, pool, length=None, side="right"):
    if length is not None:
        line = line[:length] if side == "right" else line[max(0, len(line) - length) :]
    rows = [table[each] for each in line]
    if pool == "flatten":
        blank = [np.zeros(3)] * (length - len(rows))
        return np.concatenate(rows + blank if side == "right" else blank + rows)
    if not rows:
        return np.zeros(3)
    return {"mean": np.mean, "sum": np.sum, "max": np.max}[pool](rows, axis=0)


@pytest.mark.parametrize("outputs", [2, 5])  # fewer than the table has columns, and more
@pytest.mark.parametrize("hidden", [None, 4])
@pytest.mark.parametrize(
    ("pool", "length", "side"),
    [
        ("mean", None, "right"),
        ("mean", 2, "left"),
        ("sum", None, "right"),
        ("sum", 4, "right"),
        ("max", None, "right"),
        ("max", 2, "right"),
        ("flatten", 4, "right"),
        ("flatten", 4, "left"),
    ],
)
def test_outputs_are_those_worked_out_text_by_text(pool, length, side, hidden, outputs):
    network = network_of(pool=pool, length=length, pad_side=side, hidden=hidden)
    given = tensors_of(network, 5, outputs)
    p = {name: tensor.data for name, tensor in given.items()}
    expected = []
    for line in TEXTS:
        vector = pooled_by_hand(p["table"], line, pool, length, side)
        if hidden:
            vector = np.maximum(vector @ p["hidden.weight"] + p["hidden.bias"], 0)
        expected.append(vector @ p["output.weight"] + p["output.bias"])
    np.testing.assert_allclose(network.outputs(given, texts_of(TEXTS)), expected, rtol=1e-5)


@pytest.mark.parametrize("pool", ["mean", "sum"])
@pytest.mark.parametrize("hidden", [None, 4])
def test_gradients_of_the_counted_way_are_central_differences(pool, hidden):
    network = network_of(pool=pool, hidden=hidden)
    tensors = tensors_of(network, 5, 2)
    inputs = network.inputs(texts_of(TEXTS), 5)
    names = list(tensors)

    def outputs(*values):
        return network.apply(dict(zip(names, values, strict=True)), inputs)

    check_gradient(outputs, [tensors[name].data for name in names])


@pytest.mark.parametrize("pool", ["mean", "sum"])
def test_a_batch_too_large_for_a_count_matrix_is_pooled_word_by_word(pool, monkeypatch):
    network = network_of(pool=pool)
    tensors = tensors_of(network, 5, 2)
    counted = network.inputs(texts_of(TEXTS), 5)
    monkeypatch.setattr(supervised, "_MAX_CELLS", 3)
    plain = network.inputs(texts_of(TEXTS), 5)
    assert counted.counts is not None and plain.counts is None
    one, other = (network.apply(tensors, inputs) for inputs in (counted, plain))
    np.testing.assert_allclose(one.data, other.data, rtol=1e-5)
    grads = []
    for result in (one, other):
        tensors["table"].grad = None
        result.sum().backward()
        grads.append(tensors["table"].grad.dense())
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-5)


NGRAMS = WordNgrams.of(
    TrainSettings(task="classify", word_ngrams=3, buckets=1000),
    Vocabulary("abcde"),
    np.zeros(0, int),
)


def spelled_ngrams(words, longest):
    """The buckets of all n-grams of words, the end of the text among them."""
    whole = [*words, "</s>"]
    lengths = range(2, longest + 1)
    parts = [whole[i : i + n] for n in lengths for i in range(len(whole) - n + 1)]
    found = []
    for part in parts:
        first, *others = hash_texts([word.encode() for word in part]).view(np.int32).tolist()
        for other in others:
            first = (first * 116049371 + other) % 2**64
        found.append(first % 2**64 % 1000)
    return found


def test_buckets_are_those_of_the_texts_words_and_end():
    found = NGRAMS.of_texts(texts_of(TEXTS))
    for line, start, end in zip(TEXTS, found.offsets, found.offsets[1:], strict=False):
        words = ["abcde"[each] for each in line]
        assert found.ids[start:end].tolist() == spelled_ngrams(words, 3)


def test_rows_are_added_for_new_buckets_after_those_there_are():
    first = NGRAMS.with_rows_for([texts_of(TEXTS[2:3])])
    then = first.with_rows_for([texts_of(TEXTS[:2]), texts_of(TEXTS[2:])])
    assert len(first.buckets) == 1
    assert then.buckets[:1].tolist() == first.buckets.tolist()
    assert (np.diff(then.buckets[1:]) > 0).all()
    assert set(then.buckets) == set(NGRAMS.of_texts(texts_of(TEXTS)).ids)
    assert then.row_of[then.buckets].tolist() == list(range(len(then.buckets)))


@pytest.mark.parametrize("cells", [1 << 24, 0])
@pytest.mark.parametrize("outputs", [2, 5])
@pytest.mark.parametrize(
    "settings", [{"pool": "mean"}, {"pool": "sum", "length": 4}, {"hidden": 4}]
)
def test_ngrams_are_pooled_with_the_words(settings, outputs, cells, monkeypatch):
    monkeypatch.setattr(supervised, "_MAX_CELLS", cells)
    plain = network_of(word_ngrams=3, buckets=1000, **settings)
    network = replace(plain, ngrams=NGRAMS.with_rows_for([texts_of(TEXTS[:1])]))
    given = tensors_of(network, 5, outputs)
    p = {name: tensor.data for name, tensor in given.items()}
    expected = []
    for line in TEXTS:
        line = line[: settings.get("length", len(line))]
        met = dict(zip(network.ngrams.buckets.tolist(), p["ngrams"], strict=True))
        buckets = spelled_ngrams(["abcde"[each] for each in line], 3)
        rows = [p["table"][each] for each in line]
        rows += [met.get(each, np.zeros(3)) for each in buckets]
        pool = np.sum if settings.get("pool") == "sum" else np.mean
        vector = pool(rows, axis=0) if rows else np.zeros(3)
        if network.settings.hidden:
            vector = np.maximum(vector @ p["hidden.weight"] + p["hidden.bias"], 0)
        expected.append(vector @ p["output.weight"] + p["output.bias"])
    np.testing.assert_allclose(network.outputs(given, texts_of(TEXTS)), expected, rtol=1e-5)
    inputs, names = network.inputs(texts_of(TEXTS), 5), list(given)

    def outputs_of(*values):
        return network.apply(dict(zip(names, values, strict=True)), inputs)

    check_gradient(outputs_of, [given[name].data for name in names])


def test_a_count_matrix_worked_by_hand():
    inputs = network_of(pool="mean").inputs(texts_of(TEXTS), 9)
    assert inputs.ids.tolist() == [0, 1, 2, 3, 4]
    sixth = pytest.approx([1 / 6, 2 / 6, 1 / 6, 1 / 6, 1 / 6])
    assert inputs.counts[0].tolist() == pytest.approx([0, 1 / 3, 0, 0, 2 / 3])
    assert inputs.counts[1].tolist() == [0] * 5
    assert inputs.counts[2].tolist() == [0, 0, 1, 0, 0]
    assert inputs.counts[3].tolist() == sixth
    inputs = network_of(pool="sum").inputs(texts_of(TEXTS), 9)
    assert inputs.counts[:, 4].tolist() == [2, 0, 0, 1]


@given(st.lists(st.lists(st.integers(0, 8), max_size=5), min_size=1, max_size=8), st.data())
def test_texts_are_taken_in_the_order_asked_for(lines, data):
    wanted = data.draw(st.lists(st.integers(0, len(lines) - 1), max_size=8))
    part = texts_of(lines).take(np.array(wanted, np.int64))
    found = [part.ids[a:b].tolist() for a, b in zip(part.offsets, part.offsets[1:], strict=False)]
    assert found == [lines[each] for each in wanted]
    parts = list(texts_of(lines).parts(3))
    assert sum(map(len, parts)) == len(lines)
    assert all(each.offsets[[0, -1]].tolist() == [0, len(each.ids)] for each in parts)
    assert np.concatenate([each.ids for each in parts]).tolist() == texts_of(lines).ids.tolist()


def test_dropout_scales_what_is_left_in_training_alone():
    network = network_of(dropout=0.5, hidden=None)
    tensors = tensors_of(network, 5, 2)
    inputs = network.inputs(texts_of(TEXTS), 5)
    plain = network.apply(tensors, inputs).data
    rng = np.random.default_rng
    dropped = [network.apply(tensors, inputs, rng(seed)).data for seed in range(2000)]
    assert not np.allclose(dropped[0], dropped[1])
    np.testing.assert_allclose(np.mean(dropped, axis=0), plain, atol=0.2)
    np.testing.assert_array_equal(network.apply(tensors, inputs, rng(1)).data, dropped[1])


def test_the_head_starts_from_zeros_unless_the_table_does():
    head = network_of(hidden=4).initial_weights(3, 2)
    assert not head["output.weight"].any()
    assert 0 < np.abs(head["hidden.weight"]).max() <= (6 / 7) ** 0.5
    assert network_of(init="zeros").initial_weights(3, 2)["output.weight"].any()


def test_flatten_without_a_length_is_refused():
    with pytest.raises(ConfigError, match="flatten needs a length"):
        network_of(pool="flatten")


@given(st.integers(0, 40), st.floats(0, 0.9), st.integers(0, 5))
def test_validation_texts_are_a_share_that_is_not_learnt_from(count, share, seed):
    numbers = np.arange(count) * 3
    settings = TrainSettings(valid_share=share, seed=seed)
    kept, left = split(numbers, settings)
    assert len(kept) == int(count * share)
    assert sorted([*kept, *left]) == numbers.tolist()
    np.testing.assert_array_equal(kept, split(numbers, settings)[0])


def test_inputs_of_one_text_do_not_depend_on_its_batch():
    network = network_of(pool="mean", length=3, pad_side="left")
    tensors = tensors_of(network, 5, 2)
    together = network.outputs(tensors, texts_of(TEXTS))
    alone = [network.outputs(tensors, texts_of([line]))[0] for line in TEXTS]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    assert network.outputs(tensors, texts_of([])).shape == (0, 2)
    assert isinstance(network.inputs(texts_of([]), 5), Inputs)
