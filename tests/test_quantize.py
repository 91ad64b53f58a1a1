import hashlib
import json

import numpy as np
import pytest

import embedcli
from embedcli import quantize
from embedcli.cli import main
from embedcli.errors import FormatError, StoreError, VocabularyError
from embedcli.formats import FORMATS
from embedcli.formats.base import Options
from embedcli.model import load_model
from embedcli.quantize import Int8Rows, ProductRows
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary

from .tasks.corpora import labelled_lines

QUANTIZERS = [("int8", 0.9999, 1), ("product", 0.98, 2), ("product", 0.75, 5)]


def rows_of(count=400, dim=11, seed=1):
    rng = np.random.default_rng(seed)
    clusters = rng.normal(size=(20, dim))
    rows = clusters[rng.integers(0, 20, count)] + 0.3 * rng.normal(size=(count, dim))
    return (rows * rng.gamma(3, 1, size=(count, 1))).astype(np.float32)


@pytest.fixture
def vectors(tmp_path):
    rows = rows_of()
    rows[7] = 0
    counts = np.random.default_rng(2).permutation(len(rows)) + 1
    table = EmbeddingTable(Vocabulary([f"w{i}" for i in range(len(rows))], counts), rows)
    FORMATS["word2vec"].write(tmp_path / "vectors.txt", table)
    return table


def cosines(one, two):
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return (one * two).sum(axis=1)[norms > 0] / norms[norms > 0]


@pytest.mark.parametrize(("kind", "least", "part"), QUANTIZERS)
def test_quantized_rows_are_near_the_full_ones(kind, least, part):
    rows = rows_of()
    rows[3] = 0
    coded = quantize.QUANTIZERS[kind].of(rows, part)
    assert coded.shape == rows.shape
    assert cosines(coded[:], rows).mean() > least
    np.testing.assert_allclose(coded[3], 0, atol=1e-5)
    np.testing.assert_array_equal(coded[np.array([5, 9])], coded[:][[5, 9]])
    norms = np.linalg.norm(coded[:], axis=1)
    np.testing.assert_allclose(norms, np.linalg.norm(rows, axis=1), rtol=0.2, atol=0.2)


def test_int8_rounds_to_a_half_step():
    rows = rows_of()
    coded = Int8Rows.of(rows)
    steps = np.abs(rows).max(axis=1, keepdims=True) / 127
    assert (np.abs(coded[:] - rows) <= 0.5001 * steps).all()


@pytest.mark.parametrize("count", [1, 5, 256, 257])
def test_few_rows_are_kept_exactly(count):
    rows = rows_of(count)
    coded = ProductRows.of(rows, 2)[:]
    if count <= 256:
        np.testing.assert_allclose(coded, rows, rtol=1e-4, atol=1e-5)
    assert np.isfinite(coded).all()


def test_equal_points_leave_no_cluster_empty_of_meaning():
    rows = np.repeat(rows_of(3), 200, axis=0)
    np.testing.assert_allclose(ProductRows.of(rows, 3)[:], rows, rtol=1e-3, atol=1e-4)


def converted(tmp_path, name, *flags):
    code = main(["convert", str(tmp_path / "vectors.txt"), str(tmp_path / name), *flags, "-q"])
    assert code == 0
    return tmp_path / name


@pytest.mark.parametrize("kind", ["int8", "product"])
def test_commands_read_a_quantized_folder(kind, vectors, tmp_path, capsys):
    folder = converted(tmp_path, "small", "--to", "quantized", "--quantizer", kind)
    table = embedcli.load(folder)
    assert table.vocabulary.counts.tolist() == vectors.vocabulary.counts.tolist()
    for word in ("w1", "w399"):
        near = embedcli.neighbors(word, table, k=20)[0].neighbors
        full = embedcli.neighbors(word, vectors, k=20)[0].neighbors
        assert len({each.token for each in near} & {each.token for each in full}) >= 12
    capsys.readouterr()
    for argv in (
        ["lookup", "w1"],
        ["similarity", "w1", "w2"],
        ["analogy", "w1", "w2", "w3"],
        ["odd", "w1", "w2", "w3"],
        ["vectors", "w1 w2"],
        ["info", "--verify"],
        ["show-table", "--rows", "0:3"],
        ["convert", str(folder), str(tmp_path / "full.txt")],
    ):
        model = [] if argv[0] == "convert" else ["--model", str(folder)]
        assert main([*argv, *model]) == 0, argv
    assert f"400 × 11 {kind}" in capsys.readouterr().out
    full = embedcli.load(tmp_path / "full.txt").vectors[:]
    np.testing.assert_allclose(full, table.vectors[:], rtol=1e-6)


def test_the_same_bytes_each_time(vectors, tmp_path):
    digests = []
    for name in ("one", "two"):
        folder = converted(tmp_path, name, "--to", "quantized", "--quantizer", "product")
        files = sorted(folder.glob("*.npy"))
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
    assert digests[0] == digests[1]


def test_prune_keeps_the_longest_or_the_most_frequent(vectors, tmp_path, capsys):
    norms = np.linalg.norm(vectors.vectors, axis=1)
    kept = embedcli.load(converted(tmp_path, "long.npy", "--prune", "50"))
    longest = np.sort(np.argsort(-norms, kind="stable")[:50])
    assert kept.vocabulary.tokens(slice(None)) == [f"w{i}" for i in longest]
    np.testing.assert_allclose(kept.vectors[:], vectors.vectors[longest], rtol=1e-6)
    options = Options(prune=30, prune_by="count")
    embedcli.convert(tmp_path / "vectors.txt", tmp_path / "often.txt", options=options)
    often = embedcli.load(tmp_path / "often.txt").vocabulary
    assert often.counts.tolist() == sorted(often.counts.tolist(), key=lambda n: -n) or (
        often.counts.min() == len(vectors) - 29
    )
    (tmp_path / "vectors.vocab").unlink()
    with pytest.raises(VocabularyError, match="no counts"):
        embedcli.convert(tmp_path / "vectors.txt", tmp_path / "x.txt", options=options)
    assert (
        main(["convert", str(tmp_path / "vectors.txt"), str(tmp_path / "y.txt"), "--prune", "9"])
        == 0
    )
    assert "391 rows left out: words beyond 9" in capsys.readouterr().err


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    text = folder / "train.txt"
    text.write_text("".join(f"{line}\n" for line in labelled_lines(300, 1)))
    chosen = {"task": "classify", "dim": 6, "epochs": 5, "workers": 1, "cache": False}
    embedcli.train(text, folder / "model", word_ngrams=2, buckets=300, **chosen)
    return folder


@pytest.mark.parametrize("kind", ["int8", "product"])
def test_a_quantized_classifier_predicts(kind, classifier, tmp_path):
    text = classifier / "train.txt"
    options = Options(quantizer=kind)
    embedcli.convert(classifier / "model", tmp_path / "small", "quantized", options=options)
    small, full = load_model(tmp_path / "small"), load_model(classifier / "model")
    assert small.is_quantized and not full.is_quantized
    assert small.labels == full.labels and not small.optimizer
    ours, theirs = (
        embedcli.evaluate(text, folder, task="classify").accuracy
        for folder in (tmp_path / "small", classifier / "model")
    )
    assert ours > theirs - 0.03
    embedcli.explain("wave ship", tmp_path / "small", labels=["sea"])


def test_a_pruned_classifier_stays_one(classifier, tmp_path):
    options = Options(prune=10)
    embedcli.convert(classifier / "model", tmp_path / "few", "model", options=options)
    model = load_model(tmp_path / "few")
    assert len(model.table) == 10 and len(model.trained) == 10 and model.labels
    found = embedcli.evaluate(classifier / "train.txt", tmp_path / "few", task="classify")
    assert found.accuracy > 0.5 and found.unknown_words
    embedcli.convert(classifier / "model", tmp_path / "few.bin", "fasttext-bin", options=options)
    again = embedcli.evaluate(classifier / "train.txt", tmp_path / "few.bin", task="classify")
    assert again.names == found.names


def test_a_pruned_model_has_no_snapshots_of_other_words(tmp_path):
    text = tmp_path / "train.txt"
    text.write_text("".join(f"{line}\n" for line in labelled_lines(60, 1)))
    chosen = {"task": "classify", "dim": 4, "epochs": 1, "cache": False, "min_count": 1}
    embedcli.train(text, tmp_path / "m", snapshots=1, **chosen)
    embedcli.convert(tmp_path / "m", tmp_path / "few", "model", options=Options(prune=3))
    assert load_model(tmp_path / "m").snapshots is not None
    assert load_model(tmp_path / "few").snapshots is None


@pytest.mark.parametrize(
    "argv",
    [("--prune", "0"), ("--to", "quantized", "--quantizer", "product", "--part-size", "0")],
)
def test_no_words_and_no_numbers_are_an_error(argv, vectors, tmp_path, capsys):
    assert main(["convert", str(tmp_path / "vectors.txt"), str(tmp_path / "few"), *argv]) == 1
    assert "found 0; expected a whole number from 1" in capsys.readouterr().err
    assert not (tmp_path / "few").exists()


def test_a_part_has_at_most_as_many_numbers_as_a_vector(vectors, tmp_path):
    options = Options(quantizer="product", part_size=10**15)
    embedcli.convert(tmp_path / "vectors.txt", tmp_path / "few", "quantized", options=options)
    assert embedcli.load(tmp_path / "few")["w1"].shape == (11,)


DAMAGE = {
    "an unknown kind": ({"quantized": "int4"}, {}),
    "a kind that is no text": ({"quantized": [1]}, {}),
    "codes of another type": ({}, {"table.codes": np.zeros((400, 11), np.uint8)}),
    "codes of another shape": ({}, {"table.codes": np.zeros((400, 12), np.int8)}),
    "scales of another shape": ({}, {"table.scales": np.zeros(399, np.float32)}),
    "another kind's arrays": ({"quantized": "product"}, {}),
}


@pytest.mark.parametrize(("facts", "arrays"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_folder_is_one_error(facts, arrays, vectors, tmp_path):
    folder = converted(tmp_path, "small", "--to", "quantized")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= facts
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        manifest["files"][f"{name}.npy"]["bytes"] = (folder / f"{name}.npy").stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError):
        embedcli.load(folder)


def test_numbers_that_are_not_finite_are_not_quantized(tmp_path):
    rows = rows_of()
    rows[5, 3] = np.nan
    np.save(tmp_path / "v.npy", rows)
    (tmp_path / "v.vocab.txt").write_text("".join(f"w{i}\n" for i in range(len(rows))))
    with pytest.raises(FormatError, match="w5"):
        embedcli.convert(tmp_path / "v.npy", tmp_path / "small", "quantized")


def test_a_quantized_model_of_parts_says_what_it_lacks(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the king rules the land\nthe queen rules the sea\n" * 5)
    embedcli.train(text, tmp_path / "full", config="subword", dim=4, epochs=1, cache=False)
    embedcli.convert(tmp_path / "full", tmp_path / "small", "quantized")
    with pytest.raises(StoreError, match="holds vectors alone"):
        embedcli.explain("the king", tmp_path / "small")
    with pytest.raises(StoreError, match="has no output table") as caught:
        embedcli.explain_pair("king", "queen", tmp_path / "small")
    assert "quantized models" in caught.value.hint
