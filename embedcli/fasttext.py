"""fastText's models applied to text: tokens to input rows, their mean to labels.

    line ──blanks──▶ tokens and </s> ──▶ rows of words, n-grams of characters and of words
                                                                       │ mean
    labels ◀── softmax | hierarchical softmax | sigmoids ◀── output rows · (B, D)

Each distinct token is composed once and remembered; a text is the sum of its tokens' sums and of
the rows of its word n-grams. For few labels rows are replaced by their products with the output
rows, (C,) instead of (D,), as a product of a sum is the sum of the products.

Sources: Joulin et al. 2017, "Bag of tricks for efficient text classification"; fastText
`Dictionary::getLine`, `Model::computeHidden`, `loss.cc`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from embedcli import metrics
from embedcli.autodiff import ops
from embedcli.config import TextSettings
from embedcli.errors import CorpusError, FormatError, StoreError, VocabularyError
from embedcli.formats.base import require_finite, shown
from embedcli.formats.fasttext_bin import (
    END_OF_LINE,
    HIERARCHICAL,
    ONE_VS_ALL,
    PREFIX,
    SOFTMAX,
    SUPERVISED,
    FastText,
)
from embedcli.storage.arrays import sum_rows
from embedcli.table import lengths
from embedcli.text.corpus import Corpus
from embedcli.text.labels import ClassNames, ClassTargets, LabelKind, parse_labels
from embedcli.text.lines import Row
from embedcli.text.ngrams import hash_texts, word_ngrams
from embedcli.text.numbering import PADDING, GrowingArray, Numbering, Strings, first_places
from embedcli.text.vocabulary import Coverage, Oov

SMOOTHING = 1e-5  # fastText adds it to a probability before it takes the logarithm
_TOKENS_AT_ONCE = 1 << 16
_REMEMBERED = 1 << 24  # numbers of remembered tokens; beyond that all are forgotten
_SAMPLE = 1 << 10  # words that tell how long tokens are
_TOKEN_COST = 64  # numbers to whose memory the rest of a token compares
_SCORES_AT_ONCE = 1 << 20
_DEEPEST = 1000  # nodes above a leaf; label counts of real text give fewer than 100
_FEW_LABELS = 16  # for which rows are multiplied sooner than summed, and a tree is not searched
_NEVER = 10**15  # count of a node without children yet, as fastText's
_WORD, _UNKNOWN, _COMPOSED, _LABEL = range(4)  # kinds of tokens
_SETTINGS = TextSettings(tokenizer="whitespace", normalize=False, fold_case=False, cache=False)
_BLANK = ord(" ")
_BLANKS = bytes.maketrans(b"\0\t\v\f\r", b" " * 5)
# `Numbering` pads tokens with a byte that UTF-8 does not have; other text must not end in it.
_PAD, _ESCAPED = b"\xff", b"\xff\xfe"
# What follows the end of a line that is written out in a text.
_AFTER_END = re.compile(rb"(?<![^\s\0])</s>(?![^\s\0])[^\n]*")
# A context without threads, which cost more than products of so few rows.
_one_thread = partial(ThreadpoolController().limit, limits=1, user_api="blas")


class Pooled(NamedTuple):
    """Texts as the means of their input rows, or as the products of these with the output rows."""

    vectors: NDArray[np.float32]  # (B, D), or (B, C) if `multiplied`
    multiplied: bool = False

    def take(self, indices: NDArray[np.int64]) -> Pooled:
        """Return some of the texts."""
        return self._replace(vectors=self.vectors[indices])


class PooledLines(NamedTuple):
    """Some lines as one vector each, and how many rows each is the mean of: (B,)."""

    texts: Pooled
    words: NDArray[np.int64]


class TextParts(NamedTuple):
    """A line as a sum: its tokens, its word n-grams, and the vector that each adds."""

    tokens: list[str]
    ngrams: list[str]
    rows: NDArray[np.float32]  # (n, D) of the tokens, then of the n-grams
    texts: Pooled  # their sum, (1, D)


class FastTextPredictor:
    """A supervised model of fastText's, ready for texts; as `prediction.Predictor`.

    Text is cut into tokens at blanks, tabs and zero bytes only, and every line ends with the token
    </s>. An unknown word has the rows of its n-grams (the default, if the model has such), is left
    out, is a vector of zeros, or an error, by `oov`. Raises StoreError for a model that is not
    supervised.
    """

    smoothing = SMOOTHING

    def __init__(
        self,
        model: FastText,
        kind: LabelKind | None = None,
        oov: Oov | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> None:
        if model.args.model != SUPERVISED or kind not in (None, "class"):
            raise StoreError(
                f"{model.path}: a fastText model of "
                f"{'labels' if model.args.model == SUPERVISED else 'words without labels'}; "
                f"expected one of {'numbers' if kind == 'number' else 'labels'}",
                "fasttext supervised, or embed train FILE --task classify",
            )
        if not model.labels:
            raise FormatError(f"{model.path}: a supervised model without labels")
        self.model = model
        self.label_kind: LabelKind = "class"
        self.multi_label = model.args.loss == ONE_VS_ALL
        self.coverage = Coverage()
        self.by_name = not columns
        names = [label.decode("utf-8", "replace") for label in model.labels]
        self._prefix = _common_prefix(names)
        self.labels = tuple(name.removeprefix(self._prefix) for name in names)
        self._settings = replace(_SETTINGS, **(columns or {}))
        self._oov = oov
        weights = model.output.T if len(names) <= _FEW_LABELS else None
        self._tokens = _Tokens(model, oov, self._prefix.encode(), weights)

    def read(self, places: Sequence[str | Path]) -> Iterator[PooledLines]:
        """Read text as fastText does, some lines at a time."""
        for ids, _ in _whole_lines(self._tokens, self._corpus(places)):
            yield self._tokens.pool(ids, self.coverage)

    def read_parts(self, places: Sequence[str | Path]) -> Iterator[TextParts | None]:
        """Read text line by line, each as the parts of its vector; None for one without any."""
        tokens = _Tokens(self.model, self._oov, self._prefix.encode())
        for ids, _ in _whole_lines(tokens, self._corpus(places)):
            for line in np.split(ids, np.flatnonzero(ids == 0)[:-1] + 1):
                yield tokens.parts(line, self.coverage)

    def _corpus(self, places: Sequence[str | Path]) -> Corpus:
        settings = replace(self._settings, label_column=None) if self.by_name else self._settings
        return Corpus(places, settings, by_name=self.by_name)

    def read_labelled(self, places: Sequence[str | Path], _: Path) -> tuple[Pooled, ClassTargets]:
        """Read text and its labels; raises CorpusError where none has a label."""
        corpus = Corpus(places, self._settings, labelled=True, by_name=self.by_name)
        names = ClassNames(self.labels)
        texts = [self._tokens.no_texts]
        labels: list[int] = []
        ends = [0]
        for ids, rows in _whole_lines(self._tokens, corpus):
            texts.append(self._tokens.pool(ids, self.coverage).texts)
            said = self._tokens.labels(ids)
            if rows is not None:
                said = [[cell.strip() for cell in row.labels] for row in rows]
            for of_line in said:
                numbers = parse_labels(names, of_line, lambda _: corpus.name)
                labels += dict.fromkeys(numbers.tolist())
                ends.append(len(labels))
        if not labels:
            raise CorpusError(f"{corpus.name}: no text has a label; expected at least one")
        found = np.array(labels, np.int32), np.array(ends)
        vectors = np.concatenate([each.vectors for each in texts])
        return self._tokens.no_texts._replace(vectors=vectors), ClassTargets(names.names, *found)

    @np.errstate(all="ignore")
    def outputs(self, texts: Pooled) -> NDArray[np.float32]:
        """Score each label, (B, C): products, or logarithms of probabilities of a tree's leaves."""
        products = texts.vectors  # (B, C)
        if not texts.multiplied:
            with _one_thread():
                products = products @ self.model.output.T
        return self._tree.leaves(products) if self.is_tree else products

    @np.errstate(all="ignore")
    def slope(self, label: int, texts: Pooled) -> NDArray[np.float32]:
        """Return the slope of a label's score along the vector of one text, (D,).

        But for a tree's, scores are linear in the vector: score = slope · vector.
        """
        output: NDArray[np.float32] = self.model.output  # (C, D)
        return self._tree.slope(label, texts.vectors[0], output) if self.is_tree else output[label]

    @np.errstate(all="ignore")
    def probabilities(self, outputs: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Turn scores into the probabilities that fastText prints, (B, C), but none above 1."""
        if self.model.args.loss == SOFTMAX:
            outputs = ops.log_softmax(np.asarray(outputs, np.float64))
        return self._shares(outputs)

    @np.errstate(all="ignore")
    def best(self, texts: Pooled, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the k most probable labels of each text, the best first, and their probabilities.

        Both are (B, k).
        """
        search = k == 1 and self.is_tree and len(self.labels) > _FEW_LABELS
        step = max(1, _SCORES_AT_ONCE // len(self.labels))
        labels, shares = [], []
        for start in range(0, len(texts.vectors), step):
            some = texts.take(np.arange(start, min(start + step, len(texts.vectors))))
            if search:
                best, scores = self._tree.best_leaves(some.vectors, self.model.output)  # (b, 1)
            else:
                outputs = self.outputs(some)  # (b, C)
                best = metrics.top_k(outputs, k)  # (b, k)
                scores = np.take_along_axis(outputs, best, axis=1)
                if self.model.args.loss == SOFTMAX:
                    outputs -= outputs.max(axis=1, keepdims=True)
                    total = np.exp(outputs, out=outputs).sum(axis=1, keepdims=True)  # (b, 1)
                    scores = scores - scores[:, :1] - np.log(total)
            labels.append(best)
            shares.append(self._shares(scores))
        return np.concatenate(labels), np.concatenate(shares)

    def _shares(self, scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the probabilities of scores that are logarithms or, of sigmoids, logits."""
        if self.is_tree:
            return np.minimum(np.exp(scores.astype(np.float64)), 1)
        if self.model.args.loss == SOFTMAX:
            return np.minimum(np.exp(scores.astype(np.float64)) + SMOOTHING, 1)
        # fastText looks sigmoids up in a table of 513 between -8 and 8.
        places = np.floor((np.clip(scores, -8, 8).astype(np.float64) + 8) * 32)
        found = 1 / (1 + np.exp(8 - places / 32))
        found = np.where(scores < -8, 0, np.where(scores > 8, 1, found))
        return np.minimum(found + SMOOTHING, 1)

    @property
    def is_tree(self) -> bool:
        """Whether labels are the leaves of a tree: then scores are logarithms of probabilities."""
        return self.model.args.loss == HIERARCHICAL

    @cached_property
    def _tree(self) -> _Tree:
        return _Tree(self.model)


def sentence_vectors(
    model: FastText, places: Sequence[str | Path], coverage: Coverage, oov: Oov | None = None
) -> Iterator[NDArray[np.float32]]:
    """Yield the vectors of lines as fastText's `get_sentence_vector`, some (B, D) at a time.

    That is the mean of the input rows of a supervised model, of word n-grams too, or else the mean
    of the unit vectors of words, without the end of the line.
    """
    tokens = _Tokens(model, oov, PREFIX.encode() if model.labels else b"")
    for ids, _ in _whole_lines(tokens, Corpus(places, _SETTINGS, by_name=True)):
        yield tokens.pool(ids, coverage).texts.vectors


def _whole_lines(
    tokens: _Tokens, corpus: Corpus
) -> Iterator[tuple[NDArray[np.int32], Sequence[Row] | None]]:
    """Yield the numbers of the tokens of some lines, and the rows of a file with columns."""
    rest = [np.zeros(0, np.int32)]  # of the line that goes on
    for block in corpus.blocks():
        # 1. Cut the text at blanks.
        data = block.data.translate(_BLANKS)
        if END_OF_LINE in data:
            data = _AFTER_END.sub(b"", data)
        if block.whole and not data.endswith(b"\n"):
            data += b"\n"
        # Blanks are added so that </s> is a token whatever is beside it.
        data = data.replace(_PAD, _ESCAPED).replace(b"\n", b" </s> ")
        text = np.frombuffer(b"".join([b" ", data, b" " * PADDING]), np.uint8)
        blank = text == _BLANK
        edges = np.flatnonzero(blank[1:] != blank[:-1]) + 1  # (2 · tokens,)
        strings = Strings(text, edges[0::2], edges[1::2] - edges[0::2])
        # 2. Yield the lines that end here, some at a time.
        if not any(map(len, rest)):
            tokens.forget_many()
        rest.append(tokens.number(strings))
        if not (rest[-1] == 0).any():
            continue
        ids = np.concatenate(rest)  # (n,)
        ends = np.flatnonzero(ids == 0) + 1  # (lines,)
        first = start = 0
        while first < len(ends):
            last = max(int(np.searchsorted(ends, start + _TOKENS_AT_ONCE, "right")), first + 1)
            rows = None if block.rows is None else block.rows[first:last]
            yield ids[start : ends[last - 1]], rows
            first, start = last, int(ends[last - 1])
        rest = [ids[start:]]


class _Tokens:
    """Distinct tokens that were met, and the sum of the input rows of each.

    A token is a word of the model, an unknown word, or a label. With `weights` (D, C) every row is
    replaced by its product with them: below, K is C then, else D.
    """

    def __init__(
        self,
        model: FastText,
        oov: Oov | None,
        prefix: bytes,
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        if oov == "compose" and not model.longest:
            raise VocabularyError(
                f"oov: found compose; {model.path} has no n-grams of characters",
                "--oov error, skip or zero",
            )
        self._model = model
        self._oov = oov or ("compose" if model.longest else "skip")
        self._prefix = prefix
        self._hashed = model.args.model == SUPERVISED and model.args.word_ngrams > 1
        self._weights = weights
        width = model.args.dim if weights is None else weights.shape[1]
        self.no_texts = Pooled(np.zeros((0, width), np.float32), weights is not None)
        self._forget()

    def _forget(self) -> None:
        self._numbering = Numbering.for_text(b"".join(self._model.words[:_SAMPLE]))
        self._sums = np.empty_like(self.no_texts.vectors)  # (n, K)
        self._rows = GrowingArray(np.int64)  # (n,) how many were summed
        self._kinds = GrowingArray(np.uint8)  # (n,)
        self._hashes = GrowingArray(np.uint32)  # (n,)
        self._names: list[bytes] = []
        self.number(Strings.of_lines(END_OF_LINE + b"\n"))

    def forget_many(self) -> None:
        """Forget the tokens if they are many; numbers are then given again."""
        if self._sums.size + _TOKEN_COST * len(self._names) > _REMEMBERED:
            self._forget()

    @np.errstate(all="ignore")
    def number(self, tokens: Strings) -> NDArray[np.int32]:
        """Return the numbers of tokens, (n,); new ones are composed. That of </s> is 0."""
        known = len(self._numbering)
        ids = self._numbering.number(tokens)
        new = tokens[first_places(ids, known)].listed()
        if new:
            self._add([token.replace(_ESCAPED, _PAD) for token in new])
        return ids

    def names(self, ids: NDArray[np.int32]) -> list[str]:
        """Return tokens as texts."""
        return [self._names[number].decode("utf-8", "replace") for number in ids.tolist()]

    def labels(self, ids: NDArray[np.int32]) -> list[list[str]]:
        """Return the labels among the tokens of each whole line, without their prefix."""
        lines = np.split(ids, np.flatnonzero(ids == 0)[:-1] + 1)
        tokens = (self.names(line[self._kinds.values[line] == _LABEL]) for line in lines)
        return [[each.removeprefix(self._prefix.decode()) for each in line] for line in tokens]

    @np.errstate(all="ignore")
    def pool(self, ids: NDArray[np.int32], coverage: Coverage) -> PooledLines:
        """Average the rows of whole lines, and count their words."""
        kinds = self._kinds.values[ids]  # (n,)
        offsets = np.append(0, np.flatnonzero(ids == 0) + 1)  # (B+1,)
        # 1. Sum the rows of each line's tokens.
        sums = sum_rows(self._sums, ids, offsets)  # (B, K)
        rows = np.diff(np.append(0, np.cumsum(self._rows.values[ids]))[offsets])  # (B,)
        # 2. Add those of its word n-grams.
        if self._hashed:
            is_word = kinds != _LABEL  # (n,)
            hashes = self._hashes.values[ids[is_word]]
            words = np.append(0, np.cumsum(is_word))[offsets]  # (B+1,)
            for owners, found in word_ngrams(hashes, words, self._model.args.word_ngrams):
                owners, buckets = self._model.rows_of_buckets(owners, found)
                ends = np.searchsorted(owners, np.arange(len(rows) + 1))
                with _one_thread():
                    sums += self._model.sum_input(buckets, ends, self._weights)
                rows += np.diff(ends)
        # 3. Count words.
        by_kind = np.bincount(kinds, minlength=_LABEL + 1).tolist()
        unknown = by_kind[_UNKNOWN] + by_kind[_COMPOSED]
        coverage.add(by_kind[_WORD] - len(rows) + unknown, unknown, by_kind[_COMPOSED])
        vectors = sums / np.maximum(rows, 1)[:, None].astype(np.float32)  # (B, K)
        require_finite(vectors, lambda _: f"{self._model.path}: the rows of a text")
        return PooledLines(self.no_texts._replace(vectors=vectors), rows)

    @np.errstate(all="ignore")
    def parts(self, line: NDArray[np.int32], coverage: Coverage) -> TextParts | None:
        """Return a whole line as the parts of its vector; None if it has no row."""
        pooled = self.pool(line, coverage)
        known = line[self._rows.values[line] > 0]  # (n,)
        words = line[self._kinds.values[line] != _LABEL]  # (w,)
        names, rows = [], [self._sums[known]]
        hashes, ends = self._hashes.values[words], np.array([0, len(words)])
        found = word_ngrams(hashes, ends, self._model.args.word_ngrams) if self._hashed else ()
        for length, (_, of_texts) in enumerate(found, 2):
            starts, buckets = self._model.rows_of_buckets(np.arange(len(of_texts)), of_texts)
            rows.append(self._model.sum_input(buckets, np.arange(len(buckets) + 1)))
            names += [" ".join(self.names(words[start : start + length])) for start in starts]
        if not pooled.words[0]:
            return None
        rows_of_all = np.concatenate(rows) / pooled.words[0]
        return TextParts(self.names(known), names, rows_of_all, pooled.texts)

    def _add(self, tokens: list[bytes]) -> None:
        model = self._model
        of = [model.ids.get(token, -1) for token in tokens]
        entries = np.array(of, np.int64)  # (n,)
        labels = entries >= len(model.words)  # (n,)
        if self._prefix:
            labels |= (entries < 0) & [token.startswith(self._prefix) for token in tokens]
        unknown = (entries < 0) & ~labels & [token != END_OF_LINE for token in tokens]
        if self._oov == "error" and unknown.any():
            token = tokens[int(unknown.argmax())]
            raise VocabularyError(f"{shown(token)} is not in the vocabulary")
        kinds = np.where(labels, _LABEL, np.where(unknown, _UNKNOWN, _WORD))
        composed = ~labels if self._oov == "compose" else (entries >= 0) & ~labels
        sums = np.zeros((len(tokens), model.args.dim), np.float32)  # (n, D)
        rows = np.zeros(len(tokens), np.int64)  # (n,)
        places = np.flatnonzero(composed)
        sums[places], rows[places] = model.sums([tokens[i] for i in places], entries[places])
        kinds[unknown & (rows > 0)] = _COMPOSED
        if model.args.model != SUPERVISED:  # a text is the mean of the unit vectors of words
            norms = lengths(sums)  # (n,)
            rows = (norms > 0).astype(np.int64)
            rows[[token == END_OF_LINE for token in tokens]] = 0
            sums *= (rows / np.where(norms > 0, norms, 1))[:, None].astype(np.float32)
        if self._oov == "zero":
            rows[unknown] = 1
        if self._weights is not None:
            with _one_thread():
                sums = sums @ self._weights  # (n, C)
        first = len(self._rows)
        if first + len(tokens) > len(self._sums):
            larger = np.empty((2 * (first + len(tokens)), sums.shape[1]), np.float32)
            larger[:first] = self._sums[:first]
            self._sums = larger
        self._sums[first : first + len(tokens)] = sums
        self._rows.extend(rows)
        self._kinds.extend(kinds)
        self._hashes.extend(hash_texts(tokens) if self._hashed else rows)
        self._names += tokens


class _Tree:
    """A Huffman tree of labels: leaves 0 to C-1, then inner nodes, the last of them the root.

    Inner node C + i has the output row i, whose sigmoid is the probability of its right child
    (fastText `HierarchicalSoftmaxLoss::buildTree`, `dfs`).
    """

    def __init__(self, model: FastText) -> None:
        self.leaf_count = leaves = len(model.labels)
        counts = [*model.label_counts.tolist(), *[_NEVER] * (leaves - 1)]
        self.children = np.zeros((max(leaves - 1, 0), 2), np.int64)  # (C-1, 2) left and right
        depth = np.zeros(2 * leaves - 1, np.int64)
        leaf, node = leaves - 1, leaves
        for parent in range(leaves, 2 * leaves - 1):
            for side in range(2):
                if leaf >= 0 and (node >= parent or counts[leaf] < counts[node]):
                    chosen, leaf = leaf, leaf - 1
                elif node < parent:
                    chosen, node = node, node + 1
                self.children[parent - leaves, side] = chosen
            counts[parent] = sum(counts[child] for child in self.children[parent - leaves])
        for parent in range(2 * leaves - 2, leaves - 1, -1):
            depth[self.children[parent - leaves]] = depth[parent] + 1
        if depth.max(initial=0) > _DEEPEST:
            raise FormatError(f"{model.path}: a tree of labels of {depth.max()} levels")
        inner = np.arange(leaves - 1)
        # The inner nodes of each level, from the root down.
        order = inner[np.argsort(depth[leaves:], kind="stable")]
        cuts = np.searchsorted(depth[leaves:][order], np.arange(1, depth.max(initial=0)))
        self.levels = np.split(order, cuts)

    def leaves(self, products: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logarithms of the leaves' probabilities, (B, C), from products (B, C)."""
        scores = np.zeros((len(products), 2 * self.leaf_count - 1), np.float32)
        for nodes in self.levels if self.leaf_count > 1 else ():
            left, right = _log_shares(products[:, nodes])  # (B, n)
            above = scores[:, nodes + self.leaf_count]
            scores[:, self.children[nodes, 0]] = above + left
            scores[:, self.children[nodes, 1]] = above + right
        return scores[:, : self.leaf_count]

    def slope(
        self, leaf: int, vector: NDArray[np.float32], output: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the slope of the logarithm of a leaf's probability along a text (D,): (D,)."""
        total = np.zeros_like(vector)
        node = leaf
        while node != 2 * self.leaf_count - 2:
            row, side = np.argwhere(self.children == node)[0].tolist()
            right = ops.sigmoid(output[row] @ vector)
            share = right if side else 1 - right
            # Of log(share + SMOOTHING), as `_log_shares` has it.
            total += (2 * side - 1) * right * (1 - right) / (share + SMOOTHING) * output[row]
            node = row + self.leaf_count
        return total

    def best_leaves(
        self, vectors: NDArray[np.float32], output: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the most probable leaf of each text (B, D) and its score, both (B, 1).

        Walks from the root to the more probable child first. Then the children of all nodes that
        are more probable than the leaf that was found are looked at, level by level.
        """
        # Nodes to open: of which text, and their scores.
        text = np.arange(len(vectors))
        found = np.full(len(vectors), 2 * self.leaf_count - 2)
        best = np.zeros(len(vectors), np.float32)
        nodes = [(text[:0], found[:0], best[:0])]
        while len(text):
            children, scores = self._open(text, found[text], best[text], vectors, output)
            likely = scores.argmax(axis=0)  # (n,)
            places = np.arange(len(text))
            nodes.append((text, children[1 - likely, places], scores[1 - likely, places]))
            found[text], best[text] = children[likely, places], scores[likely, places]
            text = text[found[text] >= self.leaf_count]
        text, node, score = (np.concatenate(each) for each in zip(*nodes, strict=True))
        while len(text):
            kept = score > best[text]
            text, node, score = text[kept], node[kept], score[kept]
            # Leaves are answers. One text may have several here: the best comes last.
            ended = np.flatnonzero(node < self.leaf_count)
            ended = ended[np.argsort(score[ended], kind="stable")]
            best[text[ended]], found[text[ended]] = score[ended], node[ended]
            inner = (node >= self.leaf_count) & (score > best[text])
            text = text[inner]
            children, scores = self._open(text, node[inner], score[inner], vectors, output)
            text, node, score = np.tile(text, 2), children.ravel(), scores.ravel()
        return found[:, None], best[:, None]

    def _open(
        self,
        text: NDArray[np.int64],
        node: NDArray[np.int64],
        score: NDArray[np.float32],
        vectors: NDArray[np.float32],
        output: NDArray[np.float32],
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the children of inner nodes (n,) and their scores, both (2, n)."""
        rows = node - self.leaf_count
        products = np.einsum("nd,nd->n", vectors[text], output[rows])  # (n,)
        return self.children[rows].T, score + np.stack(_log_shares(products))


def _log_shares(products: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the logarithms of the probabilities of the left and the right child."""
    right = ops.sigmoid(products)
    logs = np.log(np.stack([1 - right, right]) + np.float32(SMOOTHING))
    return logs[0], logs[1]


def _common_prefix(labels: Sequence[str]) -> str:
    """Return the prefix of labels in a text: fastText's own, or what all have up to a sign."""
    if all(label.startswith(PREFIX) for label in labels):
        return PREFIX
    least, most = min(labels), max(labels)
    same = next((i for i, letter in enumerate(least) if not most.startswith(letter, i)), len(least))
    common = least[:same]
    return common[: len(common) - len(re.split(r"[\W_]", common)[-1])]
