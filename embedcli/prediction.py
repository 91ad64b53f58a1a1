"""A trained model applied to text: labels with probabilities, numbers, vectors of whole texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from embedcli import fasttext, formats, metrics
from embedcli.autodiff import ops
from embedcli.autodiff.tensor import Array, Tensor
from embedcli.config import TextSettings
from embedcli.errors import CorpusError, StoreError, VocabularyError
from embedcli.fasttext import FastTextPredictor
from embedcli.formats.base import Options
from embedcli.formats.fasttext_bin import FastText, open_model
from embedcli.model import Model, load_model
from embedcli.storage.arrays import sum_rows
from embedcli.table import EmbeddingTable
from embedcli.tasks import TASKS
from embedcli.tasks.supervised import NGRAMS, Network, Supervised
from embedcli.text.encode import encode, token_lines
from embedcli.text.labels import ClassTargets, LabelKind, NumberTargets
from embedcli.text.texts import Texts
from embedcli.text.vocabulary import Coverage, Oov
from embedcli.text.word_ngrams import WordNgrams
from embedcli.training.update import require_head
from embedcli.views import notebook

SIF = 1e-3  # of Arora et al. 2017, who found 1e-4 to 1e-3 to do equally well

_TEXTS_AT_ONCE = 256


@notebook.shown
class Results(NamedTuple):
    """What a model returns for text, line by line, and how many words it knew so far."""

    lines: Iterator[Any]
    coverage: Coverage


class Lines(NamedTuple):
    """Some lines of text as ids.

    A word outside the vocabulary is left out, has the id V, or a higher one if it has a vector.
    """

    texts: Texts
    words: NDArray[np.int64]  # (B,) of each line, also those left out; 0 is a blank line


@notebook.shown
class Label(NamedTuple):
    """A predicted label and its probability."""

    name: str
    probability: float


def read_lines(
    places: Sequence[str | Path],
    settings: TextSettings,
    table: EmbeddingTable,
    coverage: Coverage,
    oov: Oov = "skip",
    *,
    by_name: bool = True,
    spell: Callable[[str], str] | None = None,
) -> Iterator[Lines]:
    """Yield text as ids, a few lines at a time, and count known and unknown words in `coverage`.

    A word outside the vocabulary is looked up again as `spell` spells it, which is counted too. An
    unknown word is an error, is left out, has the id V, or has a vector composed of its parts, by
    `oov`; one without known parts is then left out. Raises CorpusError for text that cannot be
    read, VocabularyError for a word that is an error.
    """
    vocabulary = table.vocabulary
    if spell is not None:
        coverage.respelled = 0
    parts: list[NDArray[np.int32]] = []
    composed: list[NDArray[np.float32]] = []
    known, words = [0], [0]  # of each line; the last one is still being read
    for tokens, ended in token_lines(
        places, settings, coverage, by_name=by_name, phrases=table.phrases
    ):
        ids = vocabulary.ids_of(tokens, unknown=len(vocabulary))  # (N,)
        for place in np.flatnonzero(ids == len(vocabulary)).tolist():
            index = None if spell is None else vocabulary.get(spell(tokens[place]))
            if index is not None:
                ids[place] = index
                coverage.respelled = (coverage.respelled or 0) + 1
            elif oov == "error":
                raise vocabulary.unknown(tokens[place])
        missing = int(np.count_nonzero(ids == len(vocabulary)))
        vectors = _compose(table, tokens, ids, oov, sum(map(len, composed)))
        if len(vectors):
            composed.append(vectors)
        coverage.add(len(ids), missing, len(vectors))
        if oov in ("skip", "compose"):
            ids = ids[ids != len(vocabulary)]
        parts.append(ids)
        known[-1] += len(ids)
        words[-1] += len(tokens)
        if not ended:
            continue
        if len(known) == _TEXTS_AT_ONCE:
            yield _lines(parts, known, words, composed, table.dim)
            parts, known, words, composed = [], [], [], []
        known.append(0)
        words.append(0)
    if len(known) > 1:
        yield _lines(parts, known[:-1], words[:-1], composed, table.dim)


def _compose(
    table: EmbeddingTable, words: Sequence[str], ids: NDArray[np.int32], oov: Oov, before: int = 0
) -> NDArray[np.float32]:
    """Compose vectors for words that have the id V, by `oov`, and return them: (E, D).

    The ids of these words become those of the vectors, from V + 1 + `before` on, in place.
    """
    missing = np.flatnonzero(ids == len(table))  # (M,)
    if oov != "compose" or table.composer is None or not len(missing):
        return np.zeros((0, table.dim), np.float32)
    vectors, found = table.composer.compose([words[place] for place in missing.tolist()])
    vectors = vectors[found]  # (E, D)
    ids[missing[found]] += 1 + before + np.arange(len(vectors), dtype=np.int32)
    return vectors


def _lines(
    parts: list[NDArray[np.int32]],
    known: list[int],
    words: list[int],
    composed: list[NDArray[np.float32]],
    dim: int,
) -> Lines:
    offsets = np.concatenate([[0], np.cumsum(known)])  # (B+1,)
    vectors = np.concatenate([np.zeros((0, dim), np.float32), *composed])  # (E, D)
    return Lines(Texts(np.concatenate(parts), offsets, vectors), np.array(words))


class TextModel(Protocol):
    """A supervised model, ready for texts; `coverage` counts known and unknown words.

    `texts` are what `read` and `read_labelled` return: of any type that has `take`.
    """

    label_kind: LabelKind
    labels: tuple[str, ...]  # (C,)
    multi_label: bool
    coverage: Coverage
    smoothing: float  # what was added to every probability

    def read(self, places: Sequence[str | Path]) -> Iterator[tuple[Any, NDArray[np.int64]]]:
        """Yield some lines as texts, and how many words each has: (B,)."""

    def read_labelled(self, places: Sequence[str | Path], folder: Path) -> tuple[Any, Any]:
        """Return all lines as texts, and their targets; `folder` is for temporary files."""

    def outputs(self, texts: Any) -> Array:
        """Return scores of labels (B, C), or numbers in the targets' own units (B, R)."""

    def probabilities(self, outputs: Array) -> NDArray[np.float64]:
        """Turn scores into probabilities, (B, C)."""

    def best(self, texts: Any, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the k most probable labels and their probabilities, (B, k) each."""


def text_model(
    model: Model | FastText,
    kind: LabelKind | None = None,
    oov: Oov | None = None,
    columns: Mapping[str, Any] | None = None,
) -> TextModel:
    """Make a model ready for texts; the arguments are as in `Predictor`."""
    if isinstance(model, FastText):
        return FastTextPredictor(model, kind, oov, columns)
    return Predictor(model, kind, oov, columns)


def sentence_vectors(
    path: Path, places: Sequence[str | Path], coverage: Coverage, oov: Oov | None = None
) -> Iterator[NDArray[np.float32]] | None:
    """Return the vectors of lines by a fastText model, as `fasttext.sentence_vectors`.

    Returns None for a path of anything else.
    """
    if not path.is_file() or formats.sniff(path) != "fasttext-bin":
        return None
    return fasttext.sentence_vectors(open_model(path, Options()), places, coverage, oov)


def open_text_model(path: Path) -> Model | FastText:
    """Open a model folder, or a fastText model; raises StoreError or FormatError."""
    if path.is_file() and formats.sniff(path) == "fasttext-bin":
        return open_model(path, Options())
    return load_model(path)


class Predictor:
    """A model of a supervised task, ready for texts; `coverage` counts known and unknown words.

    `oov` says how to handle a word that the model does not have. `columns` are settings of files
    with columns (`text_column`, ...) that apply to any file; those of the model apply to files
    whose names say that they have columns. Raises StoreError for a model of a task without labels,
    or of another `kind` of labels.
    """

    smoothing = 0.0

    def __init__(
        self,
        model: Model,
        kind: LabelKind | None = None,
        oov: Oov | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.settings = replace(model.settings, **(columns or {}))
        self.by_name = not columns
        self.oov = model.table.policy(oov, "skip")
        self.coverage = Coverage()
        task = TASKS[model.settings.task]
        if not issubclass(task, Supervised) or kind not in (None, task.label_kind):
            expected = [
                name
                for name, each in TASKS.items()
                if (each.label_kind != "none" if kind is None else each.label_kind == kind)
            ]
            raise StoreError(
                f"the model was trained for {model.settings.task}; "
                f"expected {' or '.join(expected)}",
                f"embed train FILE --task {expected[0]}",
            )
        require_head(model)
        self.label_kind = task.label_kind
        self.labels = model.labels
        self.multi_label = model.settings.multi_label is True
        self.task = task
        ngrams = None
        if model.settings.word_ngrams:
            vocabulary, buckets = model.table.vocabulary, model.buckets[NGRAMS]
            ngrams = WordNgrams.of(model.settings, vocabulary, buckets)
        self.network = Network(model.settings, ngrams)
        # Rows that are decoded or composed are copied for each batch.
        self._mapped = isinstance(model.table.vectors, np.ndarray)
        self.parameters: Mapping[str, Tensor] = {
            "table": Tensor(model.table.vectors if self._mapped else np.zeros((0, 0), np.float32)),
            **{name: Tensor(array) for name, array in model.head.items()},
        }

    def read(self, places: Sequence[str | Path]) -> Iterator[Lines]:
        """Read text as the model's was read, a few lines at a time."""
        settings = self.settings
        if self.by_name:
            settings = replace(settings, label_column=None)  # labels are not needed
        table, coverage = self.model.table, self.coverage
        return read_lines(places, settings, table, coverage, self.oov, by_name=self.by_name)

    def read_labelled(
        self, places: Sequence[str | Path], folder: Path
    ) -> tuple[Texts, ClassTargets | NumberTargets]:
        """Read text and its targets as the model's were read, with every label of the text.

        Raises CorpusError for text without targets.
        """
        table = self.model.table
        vocabulary = table.vocabulary
        # Every word is kept, to tell which are unknown.
        settings = replace(self.settings, min_count=1, max_vocab=None, stop_words=None, cache=False)
        kind = self.label_kind
        corpus = encode(
            places,
            settings,
            folder=folder,
            labels=kind,
            phrases=self.model.phrases,
            by_name=self.by_name,
        )
        if corpus.targets is None:
            raise CorpusError(f"{corpus.name}: found no targets of texts")
        self.coverage.too_long += corpus.too_long
        unknown = None if self.oov == "error" else len(vocabulary)
        words = corpus.vocabulary.tokens(slice(None))
        numbers = vocabulary.ids_of(words, unknown)  # (W,)
        composed = _compose(table, words, numbers, self.oov)  # (E, D)
        ids = numbers[corpus.ids]  # (N,)
        unknown_ids, composed_ids = ids >= len(vocabulary), ids > len(vocabulary)  # (N,)
        self.coverage.add(len(ids), int(unknown_ids.sum()), int(composed_ids.sum()))
        kept = (ids != len(vocabulary)) | (self.oov == "zero")  # (N,)
        before = np.concatenate([[0], np.cumsum(kept)])  # (N+1,)
        return Texts(ids[kept], before[corpus.offsets], composed), corpus.targets

    @np.errstate(all="ignore")  # of a model whose numbers are not finite
    def outputs(self, texts: Texts) -> Array:
        """Apply the network: logits (B, C), or numbers in the targets' own units (B, R)."""
        parameters, network = self.parameters, self.network
        if self.oov in ("zero", "compose") or not self._mapped:
            # Give the words numbers of their own, and copy their vectors: zeros for the id V.
            table = self.model.table
            words = np.unique(np.append(texts.ids, len(table)))  # (U,)
            rows = _rows_of(table, words, texts.composed)  # (U, D)
            texts = Texts(np.searchsorted(words, texts.ids), texts.offsets)
            parameters = {**parameters, "table": Tensor(rows)}
            if network.ngrams is not None:
                network = replace(network, ngrams=network.ngrams.of_words(words))
        return self.task.in_units(network.outputs(parameters, texts), self.parameters)

    def probabilities(self, outputs: Array) -> NDArray[np.float64]:
        """Turn logits into probabilities, (B, C)."""
        return probabilities(outputs, self.multi_label)

    def best(self, texts: Texts, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the k most probable labels and their probabilities, (B, k) each.

        Labels are ranked by logits, which differ where probabilities are rounded to 1 or 0.
        """
        logits = self.outputs(texts)  # (B, C)
        best = metrics.top_k(logits, k)  # (B, k)
        return best, np.take_along_axis(self.probabilities(logits), best, axis=1)


@np.errstate(all="ignore")
def probabilities(logits: Array, multi_label: bool) -> NDArray[np.float64]:
    """Turn logits (B, C) into probabilities: each by itself, or such that a row sums to 1."""
    x = np.asarray(logits, np.float64)
    return ops.sigmoid(x) if multi_label else np.exp(ops.log_softmax(x))


def predict_labels(
    predictor: TextModel, places: Sequence[str | Path], k: int = 1, threshold: float = 0.0
) -> Iterator[tuple[Label, ...]]:
    """Yield the k most probable labels of each line, of at least a probability of `threshold`.

    The most probable comes first. A line without anything that the model reads has none; one
    without a known word gets what the model predicts for any text.
    """
    names = predictor.labels
    least = min(threshold + predictor.smoothing, 1)
    for texts, words in predictor.read(places):
        best, shares = predictor.best(texts, k)  # (B, k)
        if k == 1:  # the usual case, in half the time
            ones = zip(best[:, 0].tolist(), shares[:, 0].tolist(), words.tolist(), strict=True)
            for each, share, count in ones:
                yield (Label(names[each], share),) if count and share >= least else ()
            continue
        lines = zip(best.tolist(), shares.tolist(), words.tolist(), strict=True)
        for labels, probabilities, count in lines:
            found = zip(labels, probabilities, strict=True) if count else ()
            yield tuple([Label(names[each], share) for each, share in found if share >= least])


def predict_numbers(
    predictor: TextModel, places: Sequence[str | Path], k: int = 1, threshold: float = 0.0
) -> Iterator[tuple[float, ...]]:
    """Yield the numbers of each line; a blank line has none."""
    del k, threshold  # which are for labels
    for texts, words in predictor.read(places):
        for row, count in zip(predictor.outputs(texts), words, strict=True):
            yield tuple(map(float, row)) if count else ()


# How texts are predicted by the kind of labels of the model's task.
PREDICTIONS: dict[LabelKind, Callable[..., Iterator[tuple[Label, ...] | tuple[float, ...]]]] = {
    "class": predict_labels,
    "number": predict_numbers,
}


def sif_weights(counts: NDArray[np.integer], a: float = SIF) -> NDArray[np.float32]:
    """Return weights a / (a + share of the corpus) of words, (V,): frequent words weigh little.

    Source: Arora, Liang & Ma 2017, "A simple but tough-to-beat baseline for sentence embeddings",
    Algorithm 1.
    """
    shares = counts / max(int(counts.sum()), 1)  # (V,)
    return np.asarray(a / (a + shares), np.float32)


@np.errstate(all="ignore")
def text_vectors(
    table: EmbeddingTable, texts: Texts, weights: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Average the vectors of each text's words, (B, D), weighted by `weights` (V,) if given.

    As in the source of `sif_weights` the weighted sum is divided by the number of words; those with
    the id V count there, and are zeros. Composed words weigh 1, as a word does that the corpus does
    not have. A text without a vector is all zeros.
    """
    words, ids = np.unique(texts.ids, return_inverse=True)  # (U,), (N,)
    rows = _rows_of(table, words, texts.composed)  # (U, D)
    if weights is not None:
        known = words < len(table)  # (U,)
        rows[known] *= weights[words[known], None]
    sums = sum_rows(rows, ids, texts.offsets)  # (B, D)
    sums /= np.maximum(texts.lengths, 1)[:, None]
    return sums


def _rows_of(
    table: EmbeddingTable, ids: NDArray[Any], composed: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Return the vectors of ids (N, D): zeros for the id V, those of `composed` for higher ones."""
    rows = np.zeros((len(ids), table.dim), np.float32)  # (N, D)
    known, higher = ids < len(table), ids > len(table)  # (N,)
    rows[known] = table.rows(ids[known])
    if composed is not None:
        rows[higher] = composed[ids[higher] - len(table) - 1]
    return rows


@np.errstate(all="ignore")
def without_common_component(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Remove from text vectors (B, D) the component that they share: the first singular direction.

    Source: as `sif_weights`; it needs all the texts that will be compared.
    """
    if not len(vectors):
        return vectors
    values, directions = np.linalg.eigh(np.asarray(vectors.T @ vectors, np.float64))
    first = directions[:, values.argmax()].astype(np.float32)  # (D,)
    return np.asarray(vectors - np.outer(vectors @ first, first))


def vectors_of_lines(
    table: EmbeddingTable,
    places: Sequence[str | Path],
    coverage: Coverage,
    sif: float | None = None,
    remove_common: bool = False,
    oov: Oov | None = None,
    fold_case: bool | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Yield the means of the vectors of each line's words, some lines (B, D) at a time.

    `sif` is the constant of `sif_weights`; `remove_common` subtracts the component that all lines
    share, for which they are read to the end first; `oov` is as in `read_lines`, or composes where
    the table can and leaves out words where it cannot; `fold_case` as in
    `EmbeddingTable.text_settings`. Raises VocabularyError if the table has no counts, or for a
    word that is an error.
    """
    weights = None
    if sif is not None:
        if table.vocabulary.counts is None:
            raise VocabularyError("the table has no counts to weight words by", "leave out --sif")
        weights = sif_weights(table.vocabulary.counts, sif)
    settings, again = table.text_settings(fold_case)
    spell = table.tokenizer.spelt if again else None
    oov = table.policy(oov, "skip")
    read = read_lines(places, settings, table, coverage, oov, spell=spell)
    blocks = (text_vectors(table, lines.texts, weights) for lines in read)
    if not remove_common:
        yield from blocks
        return
    nothing = np.zeros((0, table.dim), np.float32)
    yield without_common_component(np.concatenate([nothing, *blocks]))  # (L, D)
