"""Folders of sentence-transformers and model2vec, tokenizer.json, and matrices of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import embedcli
from embedcli import formats
from embedcli.config import TextSettings
from embedcli.errors import FormatError
from embedcli.formats.base import Options
from embedcli.formats.tokenizer_json import tokenizer_json
from embedcli.table import EmbeddingTable
from embedcli.text.tokenizer import Tokenizer
from embedcli.text.vocabulary import Vocabulary

KINDS = ["static-embedding", "model2vec"]
TEXT = """Hope to see you SOON, don’t you? U.S. l'eau L’Eau qu'il new_york café cafe\u0301
आपसे मिलने की उम्मीद है। हिन्दी नमस्ते\u200c क्\u200dष
ΟΔΟΣ Σ ΣΑΣ ὈΔΥΣΣΕΎΣ İstanbul Straße STRASSE É\u0327
❤️ ❤ 👍🏽 👨‍👩‍👧 🇩🇪🇫🇷🇮 1️⃣ ☎️ ⚠️ © →
צה״ל צה"ל ל"ל o‘zbek cel·la ինչո՞ւ 1,000.50 12:30 ١٢٣٫٤٥ _x_ ok'
soft\u00adhyphen ก็ไทย မြန်မာ ကမ္ဘာ ភាសាខ្មែរ ນ້ຳ 我喜欢 カード 한국'어 a\u200bb c\x1cd e\x85f ▁king
"""


def make(words: list[str], dim: int = 3, spelling: TextSettings | None = None) -> EmbeddingTable:
    rows = np.random.default_rng(1).normal(size=(len(words), dim)).astype(np.float32)
    counts = np.arange(len(words), 0, -1)
    return EmbeddingTable(
        Vocabulary(words, counts), rows, None if spelling is None else lambda: spelling
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_written_and_read_back(tmp_path: Path, kind: str) -> None:
    table = make(["the", "naïve", "▁x", "▁", "a b"])
    formats.convert(table, tmp_path / "out", kind)
    assert formats.sniff(tmp_path / "out") == kind
    found = embedcli.load(tmp_path / "out")
    assert list(found.vocabulary) == list(table.vocabulary)
    assert found.vectors.tolist() == table.vectors.tolist()
    assert found.vocabulary.counts is not None
    assert found.vocabulary.counts.tolist() == [5, 4, 3, 2, 1]
    config = {"model2vec": "config.json"}.get(kind, "config_sentence_transformers.json")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.safetensors", "tokenizer.json", "modules.json", config,
    }  # fmt: skip
    # Once more over itself, but over nothing else.
    formats.convert(make(["other"]), tmp_path / "out", kind)
    assert list(embedcli.load(tmp_path / "out").vocabulary) == ["other"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()
    for place in ("mine", "mine/file"):
        with pytest.raises(FormatError, match="is there already"):
            formats.convert(table, tmp_path / place, kind)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_a_word_that_stands_for_the_mark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be written there"):
        formats.convert(make(["a", "\ue000"]), tmp_path / "out", "model2vec")


@pytest.mark.parametrize("settings", [{"tokenizer": "char"}, {"segmenter": "icu"}])
def test_a_tokenizer_that_the_file_cannot_hold_is_an_error(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    table = make(["a"], spelling=TextSettings(**settings))
    with pytest.raises(FormatError, match=r"cannot cut text as the tokenizer '(char|icu)' does"):
        formats.convert(table, tmp_path / "out", "static-embedding")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tokenizer", ["word", "whitespace"])
@pytest.mark.parametrize("fold_case", [True, False])
def test_the_tokenizer_cuts_as_ours(tokenizer: Any, fold_case: bool, tmp_path: Path) -> None:
    library = pytest.importorskip("tokenizers", reason="needs pip install 'embedcli[peers]'")
    settings = TextSettings(tokenizer=tokenizer, fold_case=fold_case)
    ours = [Tokenizer(settings).tokenize(line) for line in TEXT.split("\n")]
    words = list(dict.fromkeys(word for line in ours for word in line))
    for vocabulary in (words, words[::2]):
        made = library.Tokenizer.from_str(tokenizer_json(settings, vocabulary, tmp_path).decode())
        for line, expected in zip(TEXT.split("\n"), ours, strict=True):
            found = [vocabulary[index] for index in made.encode(line).ids]
            assert found == [word for word in expected if word in vocabulary], line


@pytest.mark.parametrize(
    ("words", "fold_case"), [(["the", "straße"], True), (["The", "the"], False)]
)
def test_text_is_folded_for_words_that_are(
    tmp_path: Path, words: list[str], fold_case: bool
) -> None:
    formats.convert(make(words), tmp_path / "out", "model2vec")
    steps = json.loads((tmp_path / "out/tokenizer.json").read_bytes())["normalizer"]["normalizers"]
    assert ("Lowercase" in {step["type"] for step in steps}) is fold_case


@pytest.mark.parametrize("kind", KINDS)
def test_both_libraries_give_the_vectors_that_embed_prints(tmp_path: Path, kind: str) -> None:
    transformers = pytest.importorskip("sentence_transformers", reason="needs 'embedcli[peers]'")
    model2vec = pytest.importorskip("model2vec", reason="needs 'embedcli[peers]'")
    (tmp_path / "text.txt").write_text(TEXT + "unknown zzz\n", encoding="utf-8")
    embedcli.train(tmp_path / "text.txt", tmp_path / "m", dim=8, epochs=1, min_count=1)
    embedcli.convert(tmp_path / "m", tmp_path / "out", kind)
    lines = [*TEXT.split("\n")[:-1], "unknown zzz", "", "The qqq Hope"]
    (tmp_path / "text.txt").write_text("\n".join(lines), encoding="utf-8", newline="")
    expected = np.stack(list(embedcli.vectors(tmp_path / "text.txt", tmp_path / "m").lines))
    model = transformers.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    np.testing.assert_allclose(model.encode(lines), expected, atol=1e-6)
    static = model2vec.StaticModel.from_pretrained(tmp_path / "out")
    np.testing.assert_allclose(static.encode(lines), expected, atol=1e-6)
    # What the libraries save is read.
    static.save_pretrained(tmp_path / "saved")
    model.save(str(tmp_path / "saved too"))
    for name in ("saved", "saved too"):
        table = embedcli.load(tmp_path / name)
        np.testing.assert_array_equal(table.vectors, embedcli.load(tmp_path / "m").vectors)
        assert list(table.vocabulary) == list(embedcli.load(tmp_path / "m").vocabulary)


def folder(path: Path, tensors: dict[str, Any], model: dict[str, Any], **more: Any) -> Path:
    """Write a folder of model2vec."""
    path.mkdir()
    save_file(tensors, path / "model.safetensors")
    (path / "tokenizer.json").write_text(json.dumps({"model": model, **more}))
    (path / "config.json").write_text("{}")
    return path


ROWS = np.arange(8, dtype=np.float32).reshape(4, 2)
WORDPIECE = {"type": "WordPiece", "vocab": {"[UNK]": 0, "a": 2, "##b": 1, "c": 3}}


def test_tokens_of_others_are_read_by_id(tmp_path: Path) -> None:
    table = embedcli.load(folder(tmp_path / "m", {"embeddings": ROWS}, WORDPIECE))
    assert list(table.vocabulary) == ["[UNK]", "##b", "a", "c"]
    assert table["a"].tolist() == [4, 5]
    unigram = {"type": "Unigram", "vocab": [["<unk>", 0.0], ["▁a", -1.5], ["b", -2.0]]}
    added = [{"id": 3, "content": "[MASK]"}]
    place = folder(tmp_path / "u", {"embeddings": ROWS}, unigram, added_tokens=added)
    assert list(embedcli.load(place).vocabulary) == ["<unk>", "▁a", "b", "[MASK]"]


def test_rows_without_a_word_of_one_line_are_left_out_and_counted(tmp_path: Path) -> None:
    model = {"type": "BPE", "vocab": {"a": 0, "\n": 1, "b": 3}, "merges": [["a", "b"]]}
    found = formats.read(folder(tmp_path / "m", {"embeddings": ROWS}, model))
    assert list(found.table.vocabulary) == ["a", "b"]
    assert found.table.vectors.tolist() == [[0, 1], [6, 7]]
    assert found.skipped == {"rows without a token of one line": 2}


def test_shared_and_weighted_rows_are_unfolded(tmp_path: Path) -> None:
    tensors = {
        "embeddings": ROWS[:2],
        "mapping": np.array([1, 0, 1, 1]),
        "weights": np.array([1, 2, 0.5, 1]),
    }
    table = embedcli.load(folder(tmp_path / "m", tensors, WORDPIECE))
    assert table.vectors.tolist() == [[2, 3], [0, 2], [1, 1.5], [2, 3]]


@pytest.mark.parametrize(
    "tensors",
    [
        {"embeddings": ROWS[:3]},
        {"embeddings": ROWS, "mapping": np.array([0, 1, 2, 4])},
        {"embeddings": ROWS, "mapping": np.array([0, 1, 2, -1])},
        {"embeddings": ROWS, "mapping": np.array([], np.int64)},
        {"embeddings": ROWS, "mapping": np.array([[0]])},
        {"embeddings": ROWS, "weights": np.ones(3)},
        {"embeddings": ROWS, "weights": np.ones((4, 1))},
        {"other": ROWS[0]},
    ],
)
def test_a_matrix_that_does_not_fit_is_one_error(tmp_path: Path, tensors: Any) -> None:
    with pytest.raises(FormatError):
        embedcli.load(folder(tmp_path / "m", tensors, WORDPIECE))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{}", b'{"model": {"vocab": 3}}', b'{"model": {"vocab": {"a": "b"}}}',
        b'{"model": {"vocab": [[]]}}', b'{"model": {"vocab": {}}}', b"[" * 100_000, b"\xff",
        b'{"model": {"vocab": {"a": 9223372036854775808}}}', b'{"model": {"vocab": {"a": -1}}}',
        b'{"model": {"vocab": {"a": 0}}, "added_tokens": [1]}',
    ],
)  # fmt: skip
def test_a_damaged_tokenizer_is_one_error(tmp_path: Path, content: bytes) -> None:
    place = folder(tmp_path / "m", {"embeddings": ROWS}, WORDPIECE)
    (place / "tokenizer.json").write_bytes(content)
    with pytest.raises(FormatError):
        embedcli.load(place)


@pytest.mark.parametrize(
    "name",
    [
        "embedding.weight", "embeddings", "emb.weight", "model.embed_tokens.weight", "wte.weight",
        "bert.embeddings.word_embeddings.weight", "transformer.wte.weight", "shared.weight",
    ],
)  # fmt: skip
def test_the_embedding_layer_of_others_is_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file({name: ROWS, "encoder.layer.0.weight": ROWS[:2], "norm": ROWS[0]}, path)
    (tmp_path / "words.txt").write_text("a\nb\nc\nd\n")
    table = formats.read(path, Options(vocab=tmp_path / "words.txt")).table
    assert table["d"].tolist() == [6, 7]
    (tmp_path / "any.json").write_text(json.dumps({"model": WORDPIECE}))
    table = formats.read(path, Options(vocab=tmp_path / "any.json")).table
    assert table["c"].tolist() == [6, 7]


def test_two_embedding_layers_are_one_error_that_names_them(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a.embedding.weight": ROWS, "b.embedding.weight": ROWS}, path)
    with pytest.raises(FormatError, match=r"2 matrices .*a\.embedding\.weight"):
        formats.read(path)


def test_vocab_is_for_matrices_without_words(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS)
    (tmp_path / "words.txt").write_text("a\nb\nc\nd\n")
    options = Options(vocab=tmp_path / "words.txt")
    assert list(formats.read(tmp_path / "a.npy", options).table.vocabulary) == ["a", "b", "c", "d"]
    formats.convert(make(["a"]), tmp_path / "a.vec")
    with pytest.raises(FormatError, match="holds its words"):
        formats.read(tmp_path / "a.vec", options)


def test_gensim_and_back() -> None:
    pytest.importorskip("gensim", reason="needs pip install 'embedcli[peers]'")
    table = make(["king", "queen", "राजा"])
    keyed = table.to_gensim()
    assert keyed.index_to_key == ["king", "queen", "राजा"]
    assert keyed["queen"].tolist() == table["queen"].tolist()
    assert keyed.get_vecattr("king", "count") == 3
    again = embedcli.from_gensim(keyed)
    assert again.vectors.tolist() == table.vectors.tolist()
    assert again.vocabulary.counts is not None
    assert again.vocabulary.counts.tolist() == [3, 2, 1]


def test_what_is_not_of_gensim_is_one_error() -> None:
    with pytest.raises(FormatError, match="found dict; expected gensim's KeyedVectors"):
        embedcli.from_gensim({})
