"""fastText's `.bin` and `.ftz`: a dictionary, the rows of words and n-grams, the output rows.

    magic 793712314, version 11 or 12              int32 each; files older than these have neither
    12 settings, t                                 int32 each, in the order of `Args`; double
    entries, words, labels, tokens, pruned         3 × int32, 2 × int64; older files: not the last
    each entry: a word, a zero byte, count, type   int64, int8: words (0) come before labels (1)
    each pruned n-gram: bucket, row                int32 each
    quantized, input matrix; quantized, output matrix     the flags are one byte each
    a dense matrix: rows, columns, numbers         2 × int64, float32 by rows
    a quantized one: see `_matrix`

A word's vector is the mean of its own row and those of its n-grams (Bojanowski et al. 2017,
"Enriching word vectors with subword information"; fastText `FastText::getWordVector`,
`Dictionary::computeSubwords`, `Dictionary::load`, `DenseMatrix::load`, `QMatrix::load`). The file
stays memory-mapped, and a vector is composed when it is asked for.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import FormatError
from embedcli.formats.base import (
    Collector,
    Options,
    Read,
    Rows,
    mappable,
    require_finite,
    write_blocks,
)
from embedcli.model import Model
from embedcli.quantize import CENTROIDS, ProductRows
from embedcli.storage.arrays import sum_rows
from embedcli.storage.files import atomic_write
from embedcli.table import EmbeddingTable, Part
from embedcli.text.ngrams import character_ngrams
from embedcli.text.vocabulary import Vocabulary

T = TypeVar("T", bound=np.generic)

_MAGIC = 793712314
_VERSIONS = (11, 12)
_ARGS = struct.Struct("<12id")
_SIZES = struct.Struct("<3iq")  # entries, words, labels, tokens
_LONG = struct.Struct("<q")
_TWO_SIZES = struct.Struct("<2q")
_INT = struct.Struct("<i")
_QUANTIZER = struct.Struct("<4i")  # dimensions, parts, width of a part, of the last
_ENTRY = struct.Struct("<qb")  # count, type
_ENTRY_END = 10  # bytes after a word: zero, count, type
CBOW, SKIPGRAM, SUPERVISED = 1, 2, 3
HIERARCHICAL, NEGATIVE_SAMPLING, SOFTMAX, ONE_VS_ALL = 1, 2, 3, 4
END_OF_LINE = b"</s>"
PREFIX = "__label__"
REFUSED = r"[\0 \t\n\r\v\f]"  # what no word or label contains
_BLOCK = 2048  # words
_PRODUCTS_AT_ONCE = 1 << 10  # rows that are multiplied while they are in the cache
_ENDS = 1 << 20  # of buckets
_ENTRY_BYTES = 1 << 22  # of entries that are read at once; the longest entry
# Bytes that begin no character in UTF-8; words in other encodings may hold some in a row.
_LONGEST_CHARACTER = 40
_LONG_CHARACTER = re.compile(rb"[\x80-\xbf]{%d}" % _LONGEST_CHARACTER)
# Numbers that may be summed for each byte of a file. A word of ten letters with n-grams of 3 to 6
# has some 40 n-grams, counted from 1, so that published models need 5 to 50.
_WORK_OF_A_BYTE = 1000
_LEAST_WORK = 1 << 24  # of a small file
_NUMBERS_OF_A_HASH = 50  # to which the work of hashing an n-gram compares
_MOST_DIMENSIONS = 1 << 20
_MOST_WORD_NGRAMS = 100  # the longest, in words
_LONGEST_WORD = 1000  # bytes of a word outside the dictionary that is given a vector
# Numbers of the output rows for each byte of the file: of quantized ones there are four.
_OUTPUT_OF_A_BYTE = 16


class Args(NamedTuple):
    """The settings of a model, in the order of the file."""

    dim: int
    window: int
    epochs: int
    min_count: int
    negatives: int
    word_ngrams: int
    loss: int
    model: int
    bucket: int
    min_n: int
    max_n: int
    lr_update_rate: int
    subsample: float


@dataclass(frozen=True)
class FastText:
    """A model that was opened: its dictionary in memory, its matrices mapped."""

    path: Path
    args: Args
    words: list[bytes]
    counts: NDArray[np.int64]  # (V,)
    labels: list[bytes]
    label_counts: NDArray[np.int64]  # (C,)
    input: NDArray[np.float32] | ProductRows  # (V + buckets, D)
    longest: int  # characters of an n-gram; 0: there are none
    kept: NDArray[np.int32] | None  # of a pruned model: (P, 2) buckets and their rows, by bucket
    whole: bytes | None  # the one word that has no n-grams
    cursor: _Cursor  # at the output matrix

    @cached_property
    def ids(self) -> dict[bytes, int]:
        """The number of each word; labels come after the words."""
        entries = [*self.words, *self.labels]
        # Of an entry that is repeated fastText finds the first.
        return dict(zip(reversed(entries), range(len(entries) - 1, -1, -1), strict=True))

    @cached_property
    def output(self) -> NDArray[np.float32]:
        """The rows that outputs are scored with, (C, D); raises FormatError."""
        rows = len(self.labels) if self.args.model == SUPERVISED else len(self.words)
        place = self.cursor.place
        found = _matrix(self.cursor, quantized=self.cursor.flag())
        self.cursor.place = place
        if found.shape != (rows, self.args.dim):
            raise FormatError(
                f"{self.path}: an output matrix of {found.shape}; expected {rows, self.args.dim}"
            )
        if rows * self.args.dim > max(_LEAST_WORK, _OUTPUT_OF_A_BYTE * len(self.cursor.bytes)):
            raise FormatError(f"{self.path}: an output matrix of {found.shape} in few bytes")
        whole = found if isinstance(found, np.ndarray) else found[:]
        require_finite(whole, lambda row: f"{self.path}: output row {row}")
        return whole

    @cached_property
    def _kept_ends(self) -> NDArray[np.bool_]:
        """Whether a kept bucket ends in these bits: most others are told apart without a search."""
        found = np.zeros(_ENDS, bool)
        if self.kept is not None:
            found[self.kept[:, 0] % _ENDS] = True
        return found

    def settings(self) -> dict[str, Any]:
        """Return the settings by the names of `Args`, the model and loss in fastText's words."""
        kinds, losses = ("cbow", "skipgram", "supervised"), ("hs", "ns", "softmax", "ova")
        return {
            **self.args._asdict(),
            "model": kinds[self.args.model - 1],
            "loss": losses[self.args.loss - 1],
            "ngrams_kept": None if self.kept is None else len(self.kept),
        }

    @np.errstate(all="ignore")  # the caller refuses what is not finite
    def sums(
        self, tokens: Sequence[bytes], ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Sum a word's own row, if its id is not -1, and those of its n-grams: (N, D).

        Returns how many rows were summed too, (N,).
        """
        known = np.flatnonzero(ids >= 0)
        sums = np.zeros((len(tokens), self.args.dim), np.float32)  # (N, D)
        sums[known] = self.input[ids[known]]
        counts = (ids >= 0).astype(np.int64)  # (N,)
        if not self.longest:
            return sums, counts
        marked = [
            b"<" + token + b">" if token not in (b"", self.whole) else b"" for token in tokens
        ]
        for found in character_ngrams(marked, self.args.min_n, self.longest):
            owners, rows = self.rows_of_buckets(found.owners, found.hashes)
            offsets = np.searchsorted(owners, np.arange(len(tokens) + 1))
            counts += np.diff(offsets)
            sums += self.sum_input(rows, offsets)
        return sums, counts

    def sum_input(
        self,
        ids: NDArray[np.int64],
        offsets: NDArray[np.int64],
        weights: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Sum input rows: those of `ids[offsets[b]:offsets[b + 1]]` for each b, (B, D).

        With weights (D, C) sums the products of the rows with them, (B, C).
        """
        if isinstance(self.input, ProductRows):  # each row is decoded once
            distinct, ids = np.unique(ids, return_inverse=True)
            rows = self.input[distinct]
            return sum_rows(rows if weights is None else rows @ weights, ids, offsets)
        if weights is None:
            return sum_rows(self.input, ids, offsets)
        products = np.empty((len(ids), weights.shape[1]), np.float32)  # (G, C)
        for start in range(0, len(ids), _PRODUCTS_AT_ONCE):
            some = slice(start, start + _PRODUCTS_AT_ONCE)
            np.matmul(self.input[ids[some]], weights, out=products[some])
        return sum_rows(products, np.arange(len(ids)), offsets)

    def rows_of_buckets(
        self, owners: NDArray[np.int64], hashes: NDArray[np.unsignedinteger[Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of hashed n-grams and whose they are, (G,); pruned ones are left out."""
        if not self.args.bucket:
            return owners[:0], owners[:0]
        buckets = (hashes % hashes.dtype.type(self.args.bucket)).astype(np.int64)  # (G,)
        if self.kept is None:
            return owners, buckets + len(self.words)
        if not len(self.kept):
            return owners[:0], owners[:0]
        likely = np.flatnonzero(self._kept_ends[buckets % _ENDS])
        owners, buckets = owners[likely], buckets[likely]
        places = np.searchsorted(self.kept[:, 0], buckets)  # (G,)
        places = np.minimum(places, len(self.kept) - 1)
        found = self.kept[places, 0] == buckets
        return owners[found], self.kept[places[found], 1].astype(np.int64) + len(self.words)

    def vectors(
        self, tokens: Sequence[bytes], ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the vectors of words, (N, D), and whether each has any row, (N,); else zeros."""
        sums, counts = self.sums(tokens, ids)
        sums /= np.maximum(counts, 1)[:, None]
        return sums, counts > 0


class WordParts:
    """Vectors of any words, composed of the rows of their n-grams; a `table.Composer`."""

    def __init__(self, model: FastText, options: Options) -> None:
        self._model = model
        self._options = options

    def compose(self, words: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the mean of the rows of each word's parts, (N, D), and whether it has any, (N,).

        A word of over 1,000 bytes has none. Raises FormatError for a vector that is not finite.
        """
        tokens = [self._encoded(word) for word in words]
        rows, found = self._model.vectors(tokens, np.full(len(words), -1))
        require_finite(rows, lambda place: f"{self._model.path}: n-grams of {words[place]!r}")
        return rows, found

    def parts(self, word: str) -> list[Part]:
        """Return the row of a word, if it has one, and those of its n-grams, equally weighted."""
        model, token = self._model, self._encoded(word)
        texts, rows = [], []
        if (number := model.ids.get(token, -1)) in range(len(model.words)):
            texts, rows = [word], [number]
        marked = b"" if token == model.whole else b"<" + token + b">"
        for found in character_ngrams([marked], model.args.min_n, model.longest):
            for start, end, one in zip(found.starts, found.ends, found.hashes, strict=True):
                _, kept = model.rows_of_buckets(found.owners[:1], np.array([one]))
                rows += kept.tolist()
                texts += [marked[start:end].decode(self._options.encoding, "replace")] * len(kept)
        return [Part(text, row, 1 / len(rows)) for text, row in zip(texts, rows, strict=True)]

    def _encoded(self, word: str) -> bytes:
        token = word.encode(self._options.encoding, "replace")
        return token if len(token) <= _LONGEST_WORD else b""


class ComposedRows:
    """The vectors of a model's words, (V, D), composed when they are asked for.

    The first slice composes all, in memory up to 256 MiB, then in a temporary file. `kept` are
    the numbers of the words, of which some may be left out. Raises FormatError for a vector that
    is not finite.
    """

    def __init__(self, model: FastText, kept: NDArray[np.int64], options: Options) -> None:
        self._model = model
        self._kept = kept
        self._options = options
        self.shape = (len(kept), model.args.dim)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, ids: Any) -> NDArray[np.float32]:
        if isinstance(ids, slice):
            return self._all[ids]
        numbers = self._kept[ids]  # (N,)
        tokens = [self._model.words[number] for number in numbers.tolist()]
        rows, _ = self._model.vectors(tokens, numbers)  # (N, D)
        require_finite(rows, lambda place: f"{self._model.path}: word {numbers[place]}")
        return rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float32]:
        return np.array(self._all, dtype, copy=copy)

    @cached_property
    def _all(self) -> NDArray[np.float32]:
        rows = Rows(self.shape[1])
        for start in range(0, len(self), _BLOCK):
            block = self[np.arange(start, min(start + _BLOCK, len(self)))]
            rows.add(block)
            if self._options.progress is not None:
                row = 4 * self.shape[1]
                self._options.progress(row * (start + len(block)), row * len(self))
        return rows.finish()


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
    of = Args(*_ARGS.unpack_from(head))
    likely: bool = 0 < of.dim <= _MOST_DIMENSIONS and 0 < of.window < 1000
    likely = likely and 0 < of.epochs < 100_000 and of.min_count >= 0 and of.negatives >= 0
    known = 1 <= of.loss <= 4 and 1 <= of.model <= 3 and of.word_ngrams >= 0 and of.bucket >= 0
    return likely and known and 0 <= of.min_n <= of.max_n < 1000 and 0 <= of.subsample < 1


def open_model(path: Path, options: Options) -> FastText:
    """Read the dictionary of a model and map its matrices; raises FormatError."""
    with mappable(path, options) as file:
        cursor = _Cursor(path, file)
    new = struct.unpack("<i", cursor.bytes[:4].tobytes())[0] == _MAGIC
    version = cursor.take(struct.Struct("<2i"))[1] if new else 0
    if new and version not in _VERSIONS:
        raise FormatError(f"{path}: fastText version {version}; versions {_VERSIONS} are read")
    # 1. The settings.
    args = Args(*cursor.take(_ARGS))
    if not 0 < args.dim <= _MOST_DIMENSIONS or args.bucket < 0:
        raise FormatError(f"{path}: vectors of {args.dim} numbers and {args.bucket} buckets")
    if args.model not in (CBOW, SKIPGRAM, SUPERVISED) or not 1 <= args.loss <= ONE_VS_ALL:
        raise FormatError(
            f"{path}: found model {args.model} with loss {args.loss}; expected 1-3, 1-4"
        )
    if args.word_ngrams > _MOST_WORD_NGRAMS:
        raise FormatError(
            f"{path}: n-grams of {args.word_ngrams} words; expected at most {_MOST_WORD_NGRAMS}"
        )
    # Supervised models of older versions have no n-grams of characters, whatever they say.
    longest = args.max_n if args.bucket and (version != 11 or args.model != SUPERVISED) else 0
    # 2. The dictionary.
    size, words, labels, _ = cursor.take(_SIZES)
    pruned = cursor.take(_LONG)[0] if new else -1
    if not 0 <= words <= size or size != words + labels:
        raise FormatError(f"{path}: {size} entries, {words} words, {labels} labels")
    entries, counts = _entries(cursor, size, words)
    kept = None
    if pruned >= 0:
        kept = cursor.array(np.int32, pruned, 2)  # (P, 2)
        if pruned and kept.min() < 0:
            raise FormatError(f"{path}: a pruned model with rows below 0")
        kept = kept[np.argsort(kept[:, 0], kind="stable")]
    # 3. The rows.
    matrix = _matrix(cursor, quantized=new and cursor.flag())
    rows = words
    if longest or (args.word_ngrams > 1 and args.bucket):
        rows += args.bucket if kept is None else int(kept[:, 1].max(initial=-1)) + 1
    if matrix.shape[1] != args.dim or matrix.shape[0] < rows:
        raise FormatError(f"{path}: a matrix of {matrix.shape} for {words} words of {args.dim}")
    return FastText(
        path=path,
        args=args,
        words=entries[:words],
        counts=counts[:words],
        labels=entries[words:],
        label_counts=counts[words:],
        input=matrix,
        longest=longest,
        kept=kept,
        # Models older than the versions gave n-grams to the end of a line too.
        whole=END_OF_LINE if new else None,
        cursor=cursor,
    )


def read(path: Path, options: Options) -> Read:
    """Open the words of a model and their full vectors, of a quantized model too.

    Vectors are composed when they are asked for. Raises FormatError.
    """
    model = open_model(path, options)
    _require_little_work(model)
    collector = Collector(path, model.args.dim, options)
    kept = collector.add_words(model.words, lambda place: f"{path}: word {place}")
    if not collector.words:
        raise FormatError(f"{path}: holds no vectors")
    counts = model.counts if len(kept) == len(model.words) else None
    rows = ComposedRows(model, kept, options)
    rows[np.arange(min(_BLOCK, len(kept)))]  # damage is most often everywhere
    composer = (lambda: WordParts(model, options)) if model.longest else None
    table = EmbeddingTable(Vocabulary(collector.words, counts), rows, composer=composer)
    return Read(table, collector.skipped)


def _require_little_work(model: FastText) -> None:
    """Raise FormatError where the n-grams of a model's words would take too long.

    The n-grams of a word grow with its length times the longest n-gram: without a bound a file of
    a few kilobytes could ask for gigabytes and minutes. Numbers are summed for each n-gram.
    """
    sizes = np.array([len(word) + 2 for word in model.words if word != model.whole], float)
    most = np.minimum(sizes, model.longest)  # n-grams of 1 to `most` bytes
    numbers = model.args.dim + _NUMBERS_OF_A_HASH
    work = float((most * sizes - most * (most - 1) / 2).sum()) * numbers
    for start in range(0, len(model.words), _BLOCK):
        if _LONG_CHARACTER.search(b"\n".join(model.words[start : start + _BLOCK])):
            raise FormatError(
                f"{model.path}: found a word with a character of over {_LONGEST_CHARACTER} bytes; "
                "expected text"
            )
    size = len(model.cursor.bytes)
    if work > max(_LEAST_WORK, _WORK_OF_A_BYTE * size):
        raise FormatError(
            f"{model.path}: n-grams of up to {model.longest} characters of {len(model.words):,} "
            f"words, {work:.2g} numbers to sum; expected at most {_WORK_OF_A_BYTE:,} for each of "
            f"the file's {size:,} bytes",
            "words of thousands of letters, or maxn, are not those of a real model",
        )


def _entries(cursor: _Cursor, size: int, words: int) -> tuple[list[bytes], NDArray[np.int64]]:
    """Read the words and labels of a dictionary, and their counts, (size,)."""
    if size * _ENTRY_END > len(cursor.bytes) - cursor.place:
        raise FormatError(f"{cursor.path}: {size} entries, beyond the end of the file")
    entries: list[bytes] = []
    counts = np.empty(size, np.int64)  # (size,)
    while len(entries) < size:
        block = cursor.bytes[cursor.place : cursor.place + _ENTRY_BYTES]
        # After the last entry are the rows, which may be full of zeros.
        zeros = np.flatnonzero(block == 0)[: _ENTRY_END * (size - len(entries))]
        zeros = zeros[zeros + _ENTRY_END <= len(block)]  # of entries that are whole
        if not len(zeros):
            raise FormatError(f"{cursor.path}: byte {cursor.place}: a word without an end")
        # The word after a zero at i ends at the first zero from i + 10 on.
        following = np.searchsorted(zeros, zeros + _ENTRY_END).tolist()
        chain: list[int] = []
        place = 0
        while place < len(zeros) and len(entries) + len(chain) < size:
            chain.append(place)
            place = following[place]
        ends = zeros[chain]  # (n,)
        starts = np.concatenate([[0], ends[:-1] + _ENTRY_END])
        rest = block[ends[:, None] + np.arange(1, _ENTRY_END)]  # (n, 9)
        is_label = np.arange(len(entries), len(entries) + len(ends)) >= words  # (n,)
        if ((rest[:, 8] != 0) != is_label).any():
            raise FormatError(f"{cursor.path}: byte {cursor.place}: words and labels are mixed")
        counts[len(entries) : len(entries) + len(ends)] = (
            np.ascontiguousarray(rest[:, :8]).view("<i8").ravel()
        )
        data = block[: ends[-1]].tobytes()
        entries += map(data.__getitem__, map(slice, starts.tolist(), ends.tolist()))
        cursor.place += int(ends[-1]) + _ENTRY_END
    return entries, counts


def _matrix(cursor: _Cursor, *, quantized: bool) -> NDArray[np.float32] | ProductRows:
    """Map a matrix: dense rows, or codes with their centroids and perhaps norms."""
    if not quantized:
        return cursor.array(np.float32, *cursor.take(_TWO_SIZES))
    with_norms = cursor.flag()
    rows, dim = cursor.take(_TWO_SIZES)
    codes = cursor.array(np.uint8, *cursor.take(_INT))
    centroids = _quantizer(cursor, dim)
    if rows < 0 or codes.size != rows * len(centroids):
        raise FormatError(f"{cursor.path}: {codes.size} codes for {rows} rows")
    codes = codes.reshape(rows, -1)  # (rows, M)
    if not with_norms:
        return ProductRows(codes, centroids, dim)
    norm_codes = cursor.array(np.uint8, rows)  # (rows,)
    return ProductRows(codes, centroids, dim, norm_codes, _quantizer(cursor, 1)[0, :, 0])


def _quantizer(cursor: _Cursor, dim: int) -> NDArray[np.float32]:
    """Read the centroids of each part, (M, 256, width); the last part may be narrower."""
    found, parts, width, last = cursor.take(_QUANTIZER)
    if found != dim or not 0 < last <= width or (parts - 1) * width + last != dim:
        raise FormatError(f"{cursor.path}: byte {cursor.place}: a quantizer that fits no rows")
    whole = cursor.array(np.float32, parts - 1, CENTROIDS, width)
    centroids = np.zeros((parts, CENTROIDS, width), np.float32)  # (M, 256, width)
    centroids[:-1] = whole
    centroids[-1, :, :last] = cursor.array(np.float32, CENTROIDS, last)
    return centroids


def write(path: Path, table: EmbeddingTable) -> None:
    """Write words and vectors as a skip-gram model without n-grams; raises FormatError, StoreError.

    Counts that are not known are written as 1, and the output rows are zeros.
    """
    vocabulary, dim = table.vocabulary, table.dim
    args = Args(dim, 5, 5, 1, 5, 1, NEGATIVE_SAMPLING, SKIPGRAM, 0, 0, 0, 100, 1e-4)
    with atomic_write(path) as out:
        _write_head(out, args, map(str.encode, vocabulary), _counts(vocabulary))
        out.write(_TWO_SIZES.pack(len(table), dim))
        for _, _, rows in write_blocks(table, path):
            out.write(rows.astype("<f4").data)
        out.write(b"\0" + _TWO_SIZES.pack(len(table), dim))
        _write_rows(out, np.zeros(dim, "<f4"), len(table))


def write_classifier(path: Path, model: Model) -> None:
    """Write a classifier as a supervised model; raises FormatError, StoreError.

    fastText has no bias: input rows have one more number, which is 1, and the label's bias stands
    in the output rows there, as the mean of ones is 1. fastText ends a line with the word </s>,
    which is not in the dictionary and so has no row.
    """
    of, head = model.settings, model.head
    for setting, found, needed in (
        ("pool", of.pool, "mean"),
        ("hidden", of.hidden, None),
        ("length", of.length, None),
    ):
        if (found or None) != needed:
            raise FormatError(
                f"{path}: fastText has no {setting} {found}; expected {setting} {needed or 'none'}",
                "a classifier of fastText's is the mean of rows and one layer of weights; "
                "--to word2vec writes the vectors alone",
            )
    labels = [f"{PREFIX}{label}" for label in model.labels]
    for label in labels:
        if re.search(REFUSED, label):
            raise FormatError(f"{path}: the label {label!r} cannot be written: it is several words")
    output = np.concatenate([head["output.weight"].T, head["output.bias"][:, None]], axis=1)
    size, dim = len(model.table), model.table.dim + 1
    buckets = of.buckets if of.word_ngrams else 0
    loss = ONE_VS_ALL if of.multi_label else SOFTMAX
    grams = of.word_ngrams or 1
    args = Args(dim, 5, of.epochs, 1, 5, grams, loss, SUPERVISED, buckets, 0, 0, 100, 1e-4)
    with atomic_write(path) as out:
        words = model.table.vocabulary
        counts, names = _counts(words), [label.encode() for label in labels]
        _write_head(out, args, map(str.encode, words), counts, names, [1] * len(labels))
        out.write(_TWO_SIZES.pack(size + buckets, dim))
        for _, _, rows in write_blocks(model.table, path):
            out.write(np.insert(rows, dim - 1, 1, axis=1).astype("<f4").data)
        empty = np.zeros(dim, "<f4")  # the row of a bucket that was not met
        empty[-1] = 1
        if buckets:
            places = model.buckets["ngrams"]
            order = np.argsort(places)
            ngrams = (np.append(head["ngrams"][row], 1) for row in order.tolist())
            _write_buckets(out, buckets, places[order], ngrams, empty)
        out.write(b"\0" + _TWO_SIZES.pack(*output.shape) + output.astype("<f4").tobytes())


def write_subwords(path: Path, model: Model) -> None:
    """Write words that are composed of n-grams as a skip-gram or CBOW model; raises StoreError.

    fastText gives known words the same vectors. It cuts n-grams by code points; where that differs
    from grapheme clusters, the word's own row is adjusted. The rows of buckets that no word has are
    zeros. Unknown words have other vectors than here, as there they are the means of their n-grams.
    """
    of, head, parts, words = model.settings, model.head, model.parts, model.table.vocabulary
    assert parts is not None
    dim, cut = model.table.dim, parts.subwords._replace(unit="codepoint")
    kind = CBOW if of.task == "cbow" else SKIPGRAM
    args = Args(
        dim, of.window, of.epochs, 1, of.negatives, 1, NEGATIVE_SAMPLING, kind, cut.buckets,
        cut.min_n, cut.max_n, 100, 1e-4,
    )  # fmt: skip
    sizes = parts.sizes(len(words))  # (R,)
    with atomic_write(path) as out:
        _write_head(out, args, map(str.encode, words), _counts(words))
        out.write(_TWO_SIZES.pack(len(words) + cut.buckets, dim))
        for _, tokens, vectors in write_blocks(model.table, path):
            owners, buckets = cut.hashed(tokens)  # (G,)
            has_ngrams = np.array([token.encode() != END_OF_LINE for token in tokens])[owners]
            owners, buckets = owners[has_ngrams], buckets[has_ngrams]
            order = np.argsort(owners, kind="stable")
            offsets = np.searchsorted(owners[order], np.arange(len(tokens) + 1))
            places = parts.find(buckets[order])  # (G,)
            rows = head["parts"][places] / sizes[places, None]  # (G, D)
            rows[places < 0] = 0
            own = vectors * (1 + np.diff(offsets))[:, None]
            own -= sum_rows(rows, np.arange(len(rows)), offsets)
            out.write(own.astype("<f4").data)
        each = (head["parts"][row] / sizes[row] for row in parts.rows.tolist())
        _write_buckets(out, cut.buckets, parts.buckets, each, np.zeros(dim, "<f4"))
        out.write(b"\0" + _TWO_SIZES.pack(len(words), dim) + head["output"].astype("<f4").tobytes())


def write_dense(path: Path, model: FastText) -> None:
    """Write a model with dense matrices, as it was before it was quantized.

    Raises FormatError for a pruned one, which fastText reads only if it is quantized; StoreError.
    """
    if model.kept is not None:
        raise FormatError(f"{model.path}: a pruned model, which fastText has only quantized")
    with atomic_write(path) as out:
        _write_head(out, model.args, model.words, model.counts, model.labels, model.label_counts)
        for number, matrix in enumerate((model.input, model.output)):
            out.write(b"\0" * number + _TWO_SIZES.pack(*matrix.shape))
            for start in range(0, len(matrix), _BLOCK):
                out.write(matrix[start : start + _BLOCK].astype("<f4").data)


def _write_head(
    out: BinaryIO,
    args: Args,
    words: Iterable[bytes],
    counts: NDArray[np.int64],
    labels: Sequence[bytes] = (),
    label_counts: Iterable[int] = (),
) -> None:
    """Write all that stands before the first matrix, and that it is dense."""
    size = len(counts)
    out.write(struct.pack("<2i", _MAGIC, _VERSIONS[-1]) + _ARGS.pack(*args))
    out.write(_SIZES.pack(size + len(labels), size, len(labels), int(counts.sum())))
    out.write(_LONG.pack(-1))
    for word, count in zip(words, counts.tolist(), strict=True):
        out.write(word + b"\0" + _ENTRY.pack(count, 0))
    for label, count in zip(labels, label_counts, strict=True):
        out.write(label + b"\0" + _ENTRY.pack(count, 1))
    out.write(b"\0")


def _counts(vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Return the counts of words, (V,): 1 where they are not known."""
    counts = vocabulary.counts
    return np.ones(len(vocabulary), np.int64) if counts is None else counts


def _write_buckets(
    out: BinaryIO,
    count: int,
    buckets: NDArray[Any],
    rows: Iterable[NDArray[np.float32]],
    empty: NDArray[np.float32],
) -> None:
    """Write the rows of so many buckets: of some, ascending (B,), theirs, of the others `empty`."""
    last = 0
    for bucket, row in zip(buckets.tolist(), rows, strict=True):
        _write_rows(out, empty, bucket - last)
        out.write(row.astype("<f4").data)
        last = bucket + 1
    _write_rows(out, empty, count - last)


def _write_rows(out: BinaryIO, row: NDArray[np.float32], count: int) -> None:
    """Write the same row `count` times."""
    step = max(1, _ENTRY_BYTES // row.nbytes)
    for start in range(0, count, step):
        out.write(row.tobytes() * min(step, count - start))
