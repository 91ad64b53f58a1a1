"""fastText's `.bin`, written by hand here after fastText's `save` functions."""

import gzip
import struct

import numpy as np
import pytest

from embedcli import formats
from embedcli.errors import FormatError
from embedcli.formats.base import Options
from embedcli.storage import arrays

WORDS = ["</s>", "a", "naïve", "हिन्दी", "word"]
COUNTS = [9, 7, 5, 3, 1]
DIM, BUCKET, MINN, MAXN = 3, 11, 1, 3
SKIPGRAM, SUPERVISED = 2, 3


def args(dim=DIM, model=SKIPGRAM, bucket=BUCKET, minn=MINN, maxn=MAXN):
    return struct.pack("<12id", dim, 5, 5, 1, 5, 1, 2, model, bucket, minn, maxn, 100, 1e-4)


def dictionary(words=WORDS, labels=(), pruned=None, new=True):
    head = struct.pack("<3iq", len(words) + len(labels), len(words), len(labels), 99)
    if new:
        head += struct.pack("<q", -1 if pruned is None else len(pruned))
    entries = [(word, 0) for word in words] + [(label, 1) for label in labels]
    for place, (word, kind) in enumerate(entries):
        data = word if isinstance(word, bytes) else word.encode()
        head += data + b"\0" + struct.pack("<qb", 9 - 2 * place, kind)
    for pair in pruned or []:
        head += struct.pack("<2i", *pair)
    return head


def dense(rows):
    return struct.pack("<2q", *rows.shape) + rows.astype("<f4").tobytes()


def model(rows, version=12, **changes):
    dictionary_keys = {"words", "labels", "pruned"}
    mine = {key: value for key, value in changes.items() if key in dictionary_keys}
    rest = {key: value for key, value in changes.items() if key not in dictionary_keys}
    return (
        struct.pack("<2i", 793712314, version)
        + args(**rest)
        + dictionary(**mine)
        + b"\0"
        + dense(rows)
    )


def old_model(rows):
    return args() + dictionary(new=False) + dense(rows)


def fnv(data):
    value = 2166136261
    for byte in data:
        value = ((value ^ (byte if byte < 128 else byte - 256)) * 16777619) % 2**32
    return value


def ngrams(word, minn, maxn):
    """Character n-grams by the book: of the characters of <word>, without lone brackets."""
    text = f"<{word}>"
    for start in range(len(text)):
        for length in range(minn, maxn + 1):
            gram = text[start : start + length]
            lone = length == 1 and start in (0, len(text) - 1)
            if len(gram) == length and not lone:
                yield fnv(gram.encode()) % BUCKET


def vector(rows, place, word, kept=None, whole=("</s>",), minn=MINN, maxn=MAXN):
    buckets = [] if word in whole else list(ngrams(word, minn, maxn))
    if kept is not None:
        buckets = [dict(kept)[bucket] for bucket in buckets if bucket in dict(kept)]
    ids = [place] + [len(WORDS) + bucket for bucket in buckets]
    return np.mean([rows[each] for each in ids], axis=0)


def read(tmp_path, data, **options):
    (tmp_path / "model.bin").write_bytes(data)
    assert formats.sniff(tmp_path / "model.bin") == "fasttext-bin"
    return formats.read(tmp_path / "model.bin", Options(**options))


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(len(WORDS) + BUCKET, DIM)).astype(np.float32)


def test_vectors_are_means_of_word_and_ngrams(tmp_path, rows):
    found = read(tmp_path, model(rows))
    assert found.table.vocabulary.tokens(slice(None)) == WORDS
    assert found.table.vocabulary.counts.tolist() == COUNTS
    expected = [vector(rows, place, word) for place, word in enumerate(WORDS)]
    np.testing.assert_allclose(found.table.vectors, expected, rtol=1e-5)


def test_a_model_without_version_gives_ngrams_to_the_end_of_line_too(tmp_path, rows):
    found = read(tmp_path, old_model(rows))
    expected = [vector(rows, place, word, whole=()) for place, word in enumerate(WORDS)]
    np.testing.assert_allclose(found.table.vectors, expected, rtol=1e-5)


def test_labels_are_not_words_and_old_supervised_models_have_no_ngrams(tmp_path, rows):
    data = model(rows, version=11, model=SUPERVISED, labels=["__label__x"])
    found = read(tmp_path, data)
    assert found.table.vocabulary.tokens(slice(None)) == WORDS
    np.testing.assert_array_equal(found.table.vectors, rows[: len(WORDS)])


def test_a_pruned_model(tmp_path, rows):
    kept = [(7, 0), (2, 1), (5, 2)]
    found = read(tmp_path, model(rows[: len(WORDS) + 3], pruned=kept))
    expected = [vector(rows, place, word, kept) for place, word in enumerate(WORDS)]
    np.testing.assert_allclose(found.table.vectors, expected, rtol=1e-5)
    found = read(tmp_path, model(rows[: len(WORDS)], pruned=[]))
    np.testing.assert_array_equal(found.table.vectors, rows[: len(WORDS)])


@pytest.mark.parametrize("with_norms", [False, True])
def test_a_quantized_model(tmp_path, with_norms):
    rng = np.random.default_rng(1)
    count, width, last = len(WORDS), 2, 1  # three dimensions in parts of two and one
    codes = rng.integers(0, 256, (count, 2)).astype(np.uint8)
    first = rng.normal(size=(256, width)).astype("<f4")
    second = rng.normal(size=(256, last)).astype("<f4")
    norm_codes = rng.integers(0, 256, count).astype(np.uint8)
    norms = rng.normal(size=256).astype("<f4")
    data = struct.pack("<2i", 793712314, 12) + args(maxn=0) + dictionary() + b"\1"
    data += struct.pack("<?2qi", with_norms, count, DIM, codes.size) + codes.tobytes()
    data += struct.pack("<4i", DIM, 2, width, last) + first.tobytes() + second.tobytes()
    if with_norms:
        data += norm_codes.tobytes() + struct.pack("<4i", 1, 1, 1, 1) + norms.tobytes()
    expected = np.hstack([first[codes[:, 0]], second[codes[:, 1]]])
    if with_norms:
        expected = expected * norms[norm_codes, None]
    np.testing.assert_allclose(read(tmp_path, data).table.vectors, expected, rtol=1e-6)
    for place in range(60, len(data), 97):
        with pytest.raises(FormatError):
            read(tmp_path, data[:place])


def test_bytes_that_are_not_utf8_are_hashed_as_they_are(tmp_path, rows):
    words = [b"caf\xe9", b"\x80\x80", b"", "ok"]
    matrix = rows[: len(words) + BUCKET]
    with pytest.raises(FormatError, match="word 0: byte 3"):
        read(tmp_path, model(matrix, words=words))
    found = read(tmp_path, model(matrix, words=words), encoding="latin-1")
    assert found.table.vocabulary.tokens(slice(None)) == ["café", "\x80\x80", "ok"]
    assert found.skipped == {"empty": 1}
    assert found.table.vocabulary.counts is None
    # A character is a byte and the continuation bytes after it, here those of the bracket.
    ids = [1, len(words) + fnv(b"<\x80\x80>") % BUCKET]
    np.testing.assert_allclose(found.table["\x80\x80"], matrix[ids].mean(axis=0), rtol=1e-5)


def test_a_compressed_model(tmp_path, rows):
    (tmp_path / "model.bin.gz").write_bytes(gzip.compress(model(rows)))
    found = formats.read(tmp_path / "model.bin.gz")
    expected = [vector(rows, place, word) for place, word in enumerate(WORDS)]
    np.testing.assert_allclose(found.table.vectors, expected, rtol=1e-5)


def test_ngrams_are_summed_in_parts(tmp_path, rows, monkeypatch):
    whole = read(tmp_path, model(rows)).table.vectors
    monkeypatch.setattr(arrays, "_ROWS_AT_ONCE", 2)
    np.testing.assert_allclose(read(tmp_path, model(rows)).table.vectors, whole, rtol=1e-6)


BROKEN = {
    "a future version": lambda rows: model(rows, version=13),
    "no dimensions": lambda rows: model(rows, dim=0),
    "other dimensions": lambda rows: model(rows, dim=4),
    "buckets beyond the matrix": lambda rows: model(rows, bucket=1 << 30),
    "too few rows": lambda rows: model(rows[:3]),
    "pruned rows beyond": lambda rows: model(rows, pruned=[(1, 1 << 30)]),
    "pruned rows below": lambda rows: model(rows, pruned=[(1, -1)]),
    "words and labels mixed": lambda rows: model(rows, words=[], labels=["x"]).replace(
        struct.pack("<3iq", 1, 0, 1, 99), struct.pack("<3iq", 1, 1, 0, 99)
    ),
    "2^31 words": lambda rows: model(rows).replace(
        struct.pack("<3i", 5, 5, 0), struct.pack("<3i", 2**31 - 1, 2**31 - 1, 0)
    ),
    "2^63 rows": lambda rows: model(rows).replace(
        struct.pack("<2q", *rows.shape), struct.pack("<2q", 2**63 - 1, 2**63 - 1)
    ),
    "no rows of 2^62": lambda rows: model(rows, words=[]).replace(
        struct.pack("<2q", *rows.shape), struct.pack("<2q", 0, 2**62)
    ),
    "rows below 0": lambda rows: model(rows).replace(
        struct.pack("<2q", *rows.shape), struct.pack("<2q", -1, -3)
    ),
    "NaN": lambda rows: model(rows * np.float32(np.nan)),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_model_is_one_error(tmp_path, rows, broken):
    with pytest.raises(FormatError):
        read(tmp_path, broken(rows))


def test_a_model_cut_anywhere_is_one_error(tmp_path, rows):
    data = model(rows)
    for length in range(64, len(data) - 1, 7):
        with pytest.raises(FormatError):
            read(tmp_path, data[:length])
