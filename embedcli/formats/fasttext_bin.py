"""fastText's `.bin`: words, their rows and the rows of their character n-grams.

A word's vector is the mean of its own row and those of its n-grams (Bojanowski et al. 2017,
"Enriching word vectors with subword information"; fastText `FastText::getWordVector`,
`Dictionary::computeSubwords`, `Dictionary::load`, `DenseMatrix::load`, `QMatrix::load`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import FormatError
from embedcli.formats.base import Collector, Options, Read, mappable
from embedcli.text.ngrams import character_ngrams

T = TypeVar("T", bound=np.generic)

_MAGIC = 793712314
_VERSIONS = (11, 12)
_ARGS = struct.Struct(
    "<12id"
)  # dim ws epoch minCount neg wordNgrams loss model bucket minn maxn ..
_SIZES = struct.Struct("<3iq")  # words and labels, words, labels, tokens
_ENTRY = struct.Struct("<qb")  # count, type
_TWO_SIZES = struct.Struct("<2q")
_INT = struct.Struct("<i")
_QUANTIZER = struct.Struct("<4i")  # dimensions, parts, width of a part, of the last
_SUPERVISED = 3
_CENTROIDS = 256  # of a product quantizer
_END_OF_LINE = b"</s>"
_BLOCK = 2048  # words
_NGRAMS_AT_ONCE = 1 << 15
# Bytes that begin no character in UTF-8; words in other encodings may hold some in a row.
_LONGEST_CHARACTER = 40
_LONG_CHARACTER = re.compile(rb"[\x80-\xbf]{%d}" % _LONGEST_CHARACTER)
# Numbers that may be summed for each byte of a file. A word of ten letters with n-grams of 3 to 6
# has some 40 n-grams, counted from 1, so that published models need 5 to 50.
_WORK_OF_A_BYTE = 1000
_LEAST_WORK = 1 << 24  # of a small file
_NUMBERS_OF_A_HASH = 50  # to which the work of hashing an n-gram compares
_MOST_DIMENSIONS = 1 << 20


@dataclass(frozen=True)
class _Subwords:
    """The rows of the n-grams of words in a model."""

    words: int  # rows before those of the n-grams
    bucket: int
    shortest: int
    longest: int
    kept: NDArray[np.int32] | None  # of a pruned model: (P, 2) buckets and their rows
    whole: bytes | None  # the one word that has no n-grams

    def bracketed(self, tokens: Sequence[bytes]) -> list[bytes]:
        """Return the texts whose n-grams are taken."""
        return [b"" if token == self.whole else b"<" + token + b">" for token in tokens]

    def rows(
        self, tokens: Sequence[bytes]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield, for each length of n-grams, the token of each, in order, and its row, (G,)."""
        ngrams = (
            (found.owners, (found.hashes % np.uint32(self.bucket)).astype(np.int64))
            for found in character_ngrams(self.bracketed(tokens), self.shortest, self.longest)
        )
        if self.kept is None:
            for owners, buckets in ngrams:
                yield owners, buckets + self.words
            return
        order = np.argsort(self.kept[:, 0], kind="stable")  # (P,)
        for owners, buckets in ngrams:
            places = np.searchsorted(self.kept[order, 0], buckets)  # (G,)
            places = order[np.minimum(places, len(order) - 1)] if len(order) else places
            found = np.isin(buckets, self.kept[:, 0])
            yield owners[found], self.kept[places[found], 1].astype(np.int64) + self.words

    def work(self, tokens: Sequence[bytes]) -> float:
        """Return how many n-grams tokens have at most: as if each of their bytes was a character.

        Raises ValueError for a token with a character of more bytes than any encoding has.
        """
        for token in tokens:
            if _LONG_CHARACTER.search(token):
                raise ValueError(f"a character of over {_LONGEST_CHARACTER} bytes")
        sizes = np.array([len(text) for text in self.bracketed(tokens)], float)  # (N,)
        most = np.minimum(sizes, self.longest)  # n-grams of 1 to `most` characters
        return float((most * sizes - most * (most - 1) / 2).sum())

    def rows_needed(self) -> int:
        """Return how many rows the words and their n-grams can reach."""
        if not self.longest:
            return self.words
        return self.words + (
            self.bucket if self.kept is None else int(self.kept[:, 1].max(initial=-1)) + 1
        )


class _Cursor:
    """A place in the bytes of a file."""

    def __init__(self, path: Path, file: Path) -> None:
        self.path = path  # for errors
        self.bytes = np.memmap(file, np.uint8, "r").view(np.ndarray)
        self.place = 0

    def take(self, form: struct.Struct) -> tuple[int, ...]:
        """Read numbers."""
        return form.unpack(self.array(np.uint8, form.size).tobytes())

    def flag(self) -> bool:
        """Read one byte that says yes or no."""
        return bool(self.array(np.uint8, 1)[0])

    def array(self, dtype: type[T], *shape: int) -> NDArray[T]:
        """Map an array; raises FormatError where the file ends before it does."""
        size = np.dtype(dtype).itemsize
        for length in shape:
            size *= length
        beyond = max(shape) > len(self.bytes) or size > len(self.bytes) - self.place
        if min(shape) < 0 or beyond:
            raise FormatError(
                f"{self.path}: byte {self.place}: {shape} numbers, beyond the end of the file",
                "the file may be cut off",
            )
        found = self.bytes[self.place : self.place + size].view(dtype).reshape(shape)
        self.place += size
        return found


def sniff(path: Path, head: bytes) -> bool:  # noqa: ARG001 - every format is asked alike
    """Whether the file begins with fastText's number, or with the settings of an older one."""
    if len(head) < 8 + _ARGS.size:
        return False
    if struct.unpack_from("<i", head)[0] == _MAGIC:
        return True
    dim, ws, epoch, least, neg, grams, loss, model, bucket, minn, maxn, _, t = _ARGS.unpack_from(
        head
    )
    likely: bool = (
        0 < dim <= _MOST_DIMENSIONS and 0 < ws < 1000 and 0 < epoch < 100_000 and least >= 0
    )
    known = 1 <= loss <= 4 and 1 <= model <= 3 and neg >= 0 and grams >= 0 and bucket >= 0
    return likely and known and 0 <= minn <= maxn < 1000 and 0 <= t < 1


def read(path: Path, options: Options) -> Read:
    """Read the words of a model and their full vectors, of a quantized model too.

    Raises FormatError.
    """
    with mappable(path, options) as file:
        cursor = _Cursor(path, file)
    new = struct.unpack("<i", cursor.bytes[:4].tobytes())[0] == _MAGIC
    version = cursor.take(struct.Struct("<2i"))[1] if new else 0
    if new and version not in _VERSIONS:
        raise FormatError(f"{path}: fastText version {version}; versions {_VERSIONS} are read")
    args = cursor.take(_ARGS)
    dim, model, bucket, shortest, longest = args[0], args[7], args[8], args[9], args[10]
    if not 0 < dim <= _MOST_DIMENSIONS or bucket < 0:
        raise FormatError(f"{path}: vectors of {dim} numbers and {bucket} buckets")
    if version == 11 and model == _SUPERVISED:
        longest = 0  # those models have none, whatever they say
    tokens, counts, kept = _dictionary(cursor, new=new)
    matrix = _matrix(cursor, quantized=new and cursor.flag())
    # Models older than the versions gave n-grams to the end of a line too.
    subwords = _Subwords(
        words=len(tokens),
        bucket=bucket,
        shortest=shortest,
        longest=longest if bucket else 0,
        kept=kept,
        whole=_END_OF_LINE if new else None,
    )
    if matrix.shape[1] != dim or matrix.shape[0] < subwords.rows_needed():
        raise FormatError(f"{path}: a matrix of {matrix.shape} for {len(tokens)} words of {dim}")
    # The n-grams of a word grow with its length times the longest n-gram: without a bound a file
    # of a few kilobytes could ask for gigabytes and minutes. Numbers are summed for each n-gram.
    blocks = [tokens[start : start + _BLOCK] for start in range(0, len(tokens), _BLOCK)]
    try:
        work = sum(map(subwords.work, blocks)) * (dim + _NUMBERS_OF_A_HASH)
    except ValueError as error:
        raise FormatError(f"{path}: found a word with {error}; expected text") from None
    if work > max(_LEAST_WORK, _WORK_OF_A_BYTE * len(cursor.bytes)):
        raise FormatError(
            f"{path}: n-grams of up to {longest} characters of {len(tokens):,} words, {work:.2g} "
            f"numbers to sum; expected at most {_WORK_OF_A_BYTE:,} for each of the file's "
            f"{len(cursor.bytes):,} bytes",
            "words of thousands of letters, or maxn, are not those of a real model",
        )
    collector = Collector(path, dim, options)
    for number, block in enumerate(blocks):
        start = number * _BLOCK
        with np.errstate(all="ignore"):  # the collector refuses what is not finite
            rows = _vectors(block, start, matrix, subwords)  # (N, D)
        collector.add(
            block,
            rows,
            lambda place: f"{path}: word {start + place}",  # noqa: B023 - called at once
        )
        if options.progress is not None:
            options.progress(4 * dim * (start + len(block)), 4 * dim * len(tokens))
    found = collector.finish()
    if not found.skipped:
        found.table.vocabulary.counts = counts
    return found


def _dictionary(
    cursor: _Cursor, *, new: bool
) -> tuple[list[bytes], NDArray[np.int64], NDArray[np.int32] | None]:
    """Read the words, their counts, and which buckets a pruned model kept."""
    size, words, labels, _ = cursor.take(_SIZES)
    pruned = cursor.take(struct.Struct("<q"))[0] if new else -1
    left = len(cursor.bytes) - cursor.place
    if not 0 <= words <= size or size != words + labels or size * 10 > left:
        raise FormatError(f"{cursor.path}: {size} entries, {words} words, {labels} labels")
    tokens: list[bytes] = []
    counts = np.empty(words, np.int64)  # (V,)
    # Only as far as its entries can reach are the bytes copied, a block at a time.
    data, base = b"", cursor.place
    place = 0
    for entry in range(size):
        end = data.find(b"\0", place)
        if end < 0 or end + 1 + _ENTRY.size > len(data):
            base += place
            data = cursor.bytes[base : base + (1 << 22)].tobytes()
            place = 0
            end = data.find(b"\0")
            if end < 0 or end + 1 + _ENTRY.size > len(data):
                raise FormatError(f"{cursor.path}: byte {base}: a word without an end")
        count, kind = _ENTRY.unpack_from(data, end + 1)
        if (kind != 0) != (entry >= words):
            raise FormatError(f"{cursor.path}: byte {base + place}: words and labels are mixed")
        if entry < words:
            tokens.append(data[place:end])
            counts[entry] = count
        place = end + 1 + _ENTRY.size
    cursor.place = base + place
    return tokens, counts, _kept_buckets(cursor, pruned)


def _kept_buckets(cursor: _Cursor, pruned: int) -> NDArray[np.int32] | None:
    if pruned < 0:
        return None
    pairs = cursor.array(np.int32, pruned, 2)  # (P, 2)
    if pruned and pairs.min() < 0:
        raise FormatError(f"{cursor.path}: a pruned model with rows below 0")
    return pairs


@dataclass(frozen=True)
class _Dense:
    """Rows that are stored as float32, (rows, D)."""

    array: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def take(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read rows, (N, D)."""
        return self.array.take(ids, axis=0)


@dataclass(frozen=True)
class _Quantized:
    """Rows in M parts, each stored as one of 256 centroids (Jégou et al. 2011)."""

    shape: tuple[int, ...]  # (rows, D)
    codes: NDArray[np.uint8]  # (rows, M)
    centroids: NDArray[np.float32]  # (M, 256, width), the last part padded
    norms: NDArray[np.float32] | None  # (rows,)

    def take(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read rows, (N, D)."""
        parts = self.centroids[np.arange(self.codes.shape[1]), self.codes[ids]]  # (N, M, width)
        rows = parts.reshape(len(ids), -1)[:, : self.shape[1]]  # (N, D)
        return rows if self.norms is None else rows * self.norms[ids, None]


def _matrix(cursor: _Cursor, *, quantized: bool) -> _Dense | _Quantized:
    if not quantized:
        return _Dense(cursor.array(np.float32, *cursor.take(_TWO_SIZES)))
    with_norms = cursor.flag()
    rows, dim = cursor.take(_TWO_SIZES)
    codes = cursor.array(np.uint8, *cursor.take(_INT))
    centroids = _quantizer(cursor, dim)
    if rows < 0 or codes.size != rows * len(centroids):
        raise FormatError(f"{cursor.path}: {codes.size} codes for {rows} rows")
    norms = None
    if with_norms:
        norm_codes = cursor.array(np.uint8, rows)  # (rows,)
        norms = _quantizer(cursor, 1)[0, norm_codes, 0]  # (rows,)
    return _Quantized((rows, dim), codes.reshape(rows, -1), centroids, norms)


def _quantizer(cursor: _Cursor, dim: int) -> NDArray[np.float32]:
    """Read the centroids of each part, (M, 256, width); the last part may be narrower."""
    found, parts, width, last = cursor.take(_QUANTIZER)
    if found != dim or not 0 < last <= width or (parts - 1) * width + last != dim:
        raise FormatError(f"{cursor.path}: byte {cursor.place}: a quantizer that fits no rows")
    whole = cursor.array(np.float32, parts - 1, _CENTROIDS, width)
    centroids = np.zeros((parts, _CENTROIDS, width), np.float32)  # (M, 256, width)
    centroids[:-1] = whole
    centroids[-1, :, :last] = cursor.array(np.float32, _CENTROIDS, last)
    return centroids


def _vectors(
    tokens: Sequence[bytes], first: int, matrix: _Dense | _Quantized, subwords: _Subwords
) -> NDArray[np.float32]:
    """Return the mean of the own row and those of the n-grams for words from id `first`: (N, D)."""
    sums = matrix.take(first + np.arange(len(tokens)))  # (N, D)
    summed = np.ones(len(tokens), np.int64)  # (N,) rows
    for owners, ids in subwords.rows(tokens):
        summed += np.bincount(owners, minlength=len(tokens))
        # A word has few n-grams of one length, or a file of one long word would take memory.
        for start in range(0, len(ids), _NGRAMS_AT_ONCE):
            part = slice(start, start + _NGRAMS_AT_ONCE)
            words, places = np.unique(owners[part], return_index=True)  # (W,)
            sums[words] += np.add.reduceat(matrix.take(ids[part]), places, axis=0)
    sums /= summed[:, None]
    return sums
