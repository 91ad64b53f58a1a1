"""Scores of a table or model: word similarity, analogies, labels, numbers."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice, permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli import metrics
from embedcli.errors import CorpusError
from embedcli.formats.fasttext_bin import FastText
from embedcli.model import Model
from embedcli.prediction import text_model
from embedcli.storage.files import read_text
from embedcli.table import COMPOSED, UNKNOWN, EmbeddingTable, Found, compare
from embedcli.tasks.classify import THRESHOLD
from embedcli.tasks.regress import MEAN
from embedcli.text.labels import LabelKind
from embedcli.text.tokenizer import Tokenizer
from embedcli.text.vocabulary import Oov
from embedcli.views import notebook

_DECIMAL_COMMA = re.compile(r"(?<![^\s;\"'])[-+]?\d+,\d+(?![^\s;\"'])")
_MOST_PAIRS = 500  # of a relation: N pairs make N² questions
_TEXTS_AT_ONCE = 1 << 12  # whose scores of all labels are held
_CANDIDATES = 5  # of which the first that is not a word of the question is the answer


class Pair(NamedTuple):
    """Two words and how similar people found them."""

    first: str
    second: str
    score: float


class Question(NamedTuple):
    """An analogy question: a is to b as c is to one of the answers."""

    a: str
    b: str
    c: str
    answers: tuple[str, ...]


class _Measured:
    """A record of what was measured; notebooks show it as tables."""

    def _repr_html_(self) -> str:
        from embedcli.views import blocks, records

        return blocks.html_of(records.evaluation(self))


@dataclass(frozen=True)
class Similarity(_Measured):
    """Correlation of cosines with people's scores, over the pairs that were used."""

    spearman: float
    pearson: float
    used: int
    skipped: int
    known_words: int  # of all pairs, repeated ones too
    unknown_words: int
    composed_words: int = 0  # of the unknown ones: they have a vector


@notebook.shown
@dataclass(frozen=True)
class Section:
    """Analogy questions of one kind: answered correctly, answered, and skipped."""

    name: str
    right: int
    used: int
    skipped: int  # for an unknown word

    @property
    def accuracy(self) -> float:
        """Share of the answered questions that was answered correctly; NaN of none."""
        return self.right / self.used if self.used else float("nan")

    @property
    def is_syntactic(self) -> bool:
        """Whether the questions are about grammar, by the names of the usual data sets.

        Those of questions-words.txt begin with `gram`, the files of the Bigger Analogy Test Set
        with I (inflection) or D (derivation) and two digits.
        """
        return re.match(r"gram|[ID]\d\d\b", self.name) is not None


@dataclass(frozen=True)
class Analogies(_Measured):
    """Sections in the order of the file, and their totals."""

    sections: tuple[Section, ...]
    known_words: int  # of all questions, repeated ones too
    unknown_words: int
    composed_words: int = 0  # of the unknown ones: they have a vector

    @property
    def semantic(self) -> Section:
        """Total of the sections about meaning."""
        return _total("semantic", [each for each in self.sections if not each.is_syntactic])

    @property
    def syntactic(self) -> Section:
        """Total of the sections about grammar."""
        return _total("syntactic", [each for each in self.sections if each.is_syntactic])

    @property
    def total(self) -> Section:
        """Total of all sections."""
        return _total("total", self.sections)


@dataclass(frozen=True)
class Classification(_Measured):
    """Scores of predicted labels, over the texts that have a label.

    Labels that the model has not learnt count as missed. Precision and recall at k are those of
    fastText's `test`: of all predicted labels, k a text, and of all true labels, the share that is
    correct.
    """

    texts: int
    known_words: int
    unknown_words: int
    names: tuple[str, ...]  # (C,) the model's labels, then other labels of the texts
    accuracy: float  # of the most probable label; of a text's set of labels if it may have several
    micro_f1: float
    macro_f1: float
    labels: metrics.LabelScores  # (C,)
    precision_at: Mapping[int, float]
    recall_at: Mapping[int, float]
    confusion: NDArray[np.int64] | None  # (C, C), row the truth; None if texts have several labels
    baseline_label: str  # the most frequent label of the texts
    baseline: float  # share of the texts that have it
    composed_words: int = 0  # of the unknown ones: they have a vector
    too_long_words: int = 0  # left out of the texts for their length


@dataclass(frozen=True)
class Regression(_Measured):
    """Errors of predicted numbers, and that of always predicting the mean of the training text."""

    texts: int
    known_words: int
    unknown_words: int
    mse: float
    mae: float
    r2: float
    baseline_mse: float
    composed_words: int = 0  # of the unknown ones: they have a vector
    too_long_words: int = 0  # left out of the texts for their length


def read_pairs(path: Path) -> list[Pair]:
    """Read word pairs with scores, one a line: two words, then a number, by tabs, commas or blanks.

    Other columns may stand between and after; comments (#), blank lines and a header are left
    out. Raises CorpusError for a line that holds something else.
    """
    pairs: list[Pair] = []
    for place, (number, line) in enumerate(_lines_of(path)):
        cells = _cells(line)
        score = next((cell for cell in cells[2:] if _is_number(cell)), None)
        if score is not None:
            pairs.append(Pair(cells[0], cells[1], float(score)))
            continue
        comma = _DECIMAL_COMMA.search(line)
        if comma:
            raise CorpusError(
                f"{path}:{number}: found the decimal comma of {comma[0]}; expected a decimal point"
            )
        if place or len(cells) < 3:
            raise CorpusError(
                f"{path}:{number}: found {line.strip()[:60]!r}; expected two words and a number",
                _hint(cells),
            )
    if not pairs:
        raise CorpusError(
            f"{path}: found no word pairs; expected two words and a number a line", _hint([])
        )
    return pairs


def holds_questions(path: Path) -> bool:
    """Whether a file begins with analogy questions; raises CorpusError."""
    # One line alone might be a header.
    lines = [line for _, line in islice(_lines_of(path), 2)]
    return any(line.startswith(":") for line in lines) or (
        bool(lines) and all(_is_question(line) for line in lines)
    )


def _is_question(line: str) -> bool:
    """Whether a line is four words, or the two cells of a pair."""
    cells = _cells(line)
    sizes = (2, 4) if "\t" in line else (4,)
    return len(cells) in sizes and not any(map(_is_number, cells))


def _hint(cells: Sequence[str]) -> str:
    """Return which task a line is for."""
    if len(cells) == 4 and not any(map(_is_number, cells)):
        return "questions of four words are for --task analogy"
    if any(map(_is_number, cells[2:])):
        return "pairs with a score are for --task similarity"
    return "labelled text is for --task classify or regress"


@np.errstate(all="ignore")  # of vectors that are not finite
def similarity(
    table: EmbeddingTable, pairs: Sequence[Pair], fold_case: bool = True, oov: Oov | None = None
) -> Similarity:
    """Correlate the cosines of word pairs with people's scores.

    With `fold_case` words are compared without case; of several spellings the first in the table
    counts, as in gensim's `evaluate_word_pairs`, with which the numbers agree. A pair with an
    unknown word raises VocabularyError, is skipped, has the cosine 0 (gensim's `dummy4unknown`),
    or is compared by vectors composed of the words' parts, by `oov`; see `EmbeddingTable.policy`.
    """
    oov = table.policy(oov, "skip")
    words = [word for pair in pairs for word in (pair.first, pair.second)]
    found = _find(table, words, fold_case, oov)
    known = (found.ids != UNKNOWN).reshape(-1, 2).all(axis=1)  # (N,)
    if oov == "error" and not known.all():
        raise table.vocabulary.unknown(words[int((found.ids < 0).argmax())])
    vectors = found.vectors  # (2·N, D)
    cosines = np.where(known, compare(vectors[::2], vectors[1::2]), 0)  # (N,)
    used = known | (oov == "zero")  # (N,)
    scores = np.array([pair.score for pair in pairs])  # (N,)
    return Similarity(
        spearman=metrics.spearman(scores[used], cosines[used]),
        pearson=metrics.pearson(scores[used], cosines[used]),
        used=int(used.sum()),
        skipped=int((~used).sum()),
        known_words=found.known,
        unknown_words=found.unknown,
        composed_words=found.composed,
    )


def read_questions(path: Path) -> dict[str, list[Question]]:
    """Read analogy questions by section: lines of four words, `: name` before each section.

    Lines of two cells with a tab between are pairs of one relation, as in the Bigger Analogy Test
    Set: each is asked with each other, and of several words with slashes between in the second
    cell the first is asked with and any is right. Their section has the name of the file. Raises
    CorpusError for a line that holds something else.
    """
    sections: dict[str, list[Question]] = {}
    relations: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    name = ""
    for number, line in _lines_of(path):
        words = line.split()
        pair = line.strip().split("\t")
        if words[0].startswith(":"):
            name = " ".join(words).lstrip(": ")
            sections.setdefault(name, [])
        elif len(pair) == 2 and not _is_number(pair[1]):
            first, second = (cell.strip() for cell in pair)
            answers = tuple(filter(None, second.split("/"))) or (second,)
            pairs = relations.setdefault(name or path.stem, [])
            pairs.append((first, answers))
            if len(pairs) > _MOST_PAIRS:
                raise CorpusError(
                    f"{path}:{number}: found over {_MOST_PAIRS} pairs of one relation; expected "
                    "fewer, as each is asked with each other"
                )
        elif len(words) == 4:
            a, b, c, d = words
            sections.setdefault(name, []).append(Question(a, b, c, (d,)))
        else:
            raise CorpusError(
                f"{path}:{number}: found {line.strip()[:60]!r}; expected four words, or : SECTION",
                _hint(_cells(line)),
            )
    for relation, pairs in relations.items():
        sections.setdefault(relation, []).extend(
            Question(a, b[0], c, answers) for (a, b), (c, answers) in permutations(pairs, 2)
        )
    if not any(sections.values()):
        raise CorpusError(f"{path}: found no questions; expected lines of four words")
    return sections


@np.errstate(all="ignore")
def analogies(
    table: EmbeddingTable,
    sections: Mapping[str, Sequence[Question]],
    fold_case: bool = True,
    oov: Oov | None = None,
) -> Analogies:
    """Answer "a is to b as c is to ?" with the word whose vector is nearest to b - a + c.

    Vectors are of unit length (3CosAdd), the words of the question are no answers, and case is
    treated as in `similarity`; so the numbers are those of gensim's `evaluate_word_analogies`. A
    question with an unknown word raises VocabularyError, is skipped, is answered wrongly, or has
    a vector composed of the word's parts, by `oov` (see `EmbeddingTable.policy`); one of several
    answers must be in the vocabulary.
    """
    oov = table.policy(oov, "skip")
    # 1. Find the ids of all words: a, b and c of each question, and its possible answers.
    questions = [question for each in sections.values() for question in each]
    most = max((len(question.answers) for question in questions), default=1)
    words = [
        word
        for a, b, c, answers in questions
        for word in (a, b, c, *answers, *[answers[0]] * (most - len(answers)))
    ]
    found = _find(table, words, fold_case, oov)
    ids = found.ids.reshape(-1, 3 + most)
    needed = np.concatenate([ids[:, :3], ids[:, 3:].max(axis=1, keepdims=True)], axis=1)  # (N, 4)
    if oov == "error" and (needed < 0).any():
        place, column = np.argwhere(needed < 0)[0]
        raise table.vocabulary.unknown(words[place * (3 + most) + column])
    # 2. Answer the questions of each section.
    known = (ids[:, :3] != UNKNOWN).all(axis=1) & (ids[:, 3:] >= 0).any(axis=1)  # (N,)
    spelled = np.array(found.tokens, object).reshape(ids.shape)  # (N, 3 + M)
    scored, start = [], 0
    for name, asked in sections.items():
        places = start + np.flatnonzero(known[start : start + len(asked)])  # (K,)
        start += len(asked)
        abc = replace(
            found, ids=ids[places, :3].reshape(-1), spelled=spelled[places, :3].reshape(-1).tolist()
        )
        answers = _answers(abc, fold_case)  # (K,)
        right = int((answers[:, None] == ids[places, 3:]).any(axis=1)[answers >= 0].sum())
        used = len(asked if oov == "zero" else places)
        scored.append(Section(name, right, used, len(asked) - used))
    composed = int((needed == COMPOSED).sum())
    return Analogies(tuple(scored), int((needed >= 0).sum()), int((needed < 0).sum()), composed)


@np.errstate(all="ignore")  # of a model whose numbers are not finite
def classification(
    model: Model | FastText,
    places: Sequence[str | Path],
    ks: Sequence[int] = (1,),
    oov: Oov | None = None,
    columns: Mapping[str, Any] | None = None,
) -> Classification:
    """Compare the labels of labelled text with those that a model predicts.

    Words that the model does not have are handled by `oov`; `columns` are as in `Predictor`. Raises
    StoreError for a model of another task, CorpusError for text without labels, VocabularyError for
    a word that is an error.
    """
    # 1. Read texts and labels; labels that the model does not know are numbered after its own.
    predictor = text_model(model, "class", oov, columns)
    with TemporaryDirectory() as folder:
        read, targets = predictor.read_labelled(places, Path(folder))
        names = tuple(dict.fromkeys([*predictor.labels, *targets.names]))
        labelled = np.flatnonzero(targets.given)  # (B,)
        texts, targets = read.take(labelled), targets.numbered_as(names).take(labelled)
    # 2. Score some texts at a time; ranks go by logits, as probabilities are rounded to 1 or 0.
    number, size = len(labelled), len(names)
    right, predicted, support = np.zeros((3, size), np.int64)  # (C,) each
    confusion = None if predictor.multi_label else np.zeros((size, size), np.int64)  # (C, C)
    hits, exact = dict.fromkeys(ks, 0), 0
    for start in range(0, number, _TEXTS_AT_ONCE):
        some = np.arange(start, min(start + _TEXTS_AT_ONCE, number))
        truth = targets.take(some).multi_hot()  # (B, C)
        logits = np.full(truth.shape, -np.inf)  # (B, C)
        logits[:, : len(predictor.labels)] = predictor.outputs(texts.take(some))
        best = metrics.top_k(logits, 1)  # (B, 1)
        if confusion is None:
            chosen = predictor.probabilities(logits) >= THRESHOLD  # (B, C)
        else:
            chosen = np.arange(size) == best  # (B, C)
            confusion += metrics.confusion_matrix(truth.argmax(axis=1), best[:, 0], size)
        right += (chosen & truth).sum(axis=0)
        predicted += chosen.sum(axis=0)
        support += truth.sum(axis=0)
        exact += int((chosen == truth).all(axis=1).sum())
        for k in ks:
            hits[k] += int(metrics.hits_at_k(logits, truth, k).sum())
    # 3. Make scores of the counts.
    labels = metrics.label_scores(right, predicted, support)
    total, most = int(support.sum()), int(support.argmax())
    return Classification(
        texts=number,
        known_words=predictor.coverage.known,
        unknown_words=predictor.coverage.unknown,
        names=names,
        accuracy=exact / number,
        micro_f1=metrics.f1(int(right.sum()), int(predicted.sum()), total),
        macro_f1=labels.macro_f1,
        labels=labels,
        precision_at={k: hits[k] / (number * min(k, size)) for k in ks},
        recall_at={k: hits[k] / total for k in ks},
        confusion=confusion,
        baseline_label=names[most],
        baseline=float(support[most] / number),
        composed_words=predictor.coverage.composed,
        too_long_words=predictor.coverage.too_long,
    )


@np.errstate(all="ignore")
def regression(
    model: Model,
    places: Sequence[str | Path],
    ks: Sequence[int] = (1,),
    oov: Oov | None = None,
    columns: Mapping[str, Any] | None = None,
) -> Regression:
    """Compare the numbers of text with those that a model predicts; raises as `classification`."""
    del ks  # which are for labels
    predictor = text_model(model, "number", oov, columns)
    with TemporaryDirectory() as folder:
        texts, targets = predictor.read_labelled(places, Path(folder))
        known = np.flatnonzero(targets.given)
        truth = targets.take(known).values  # (B, R)
    mean = np.broadcast_to(model.head[MEAN], truth.shape)  # (B, R)
    return Regression(
        texts=len(known),
        known_words=predictor.coverage.known,
        unknown_words=predictor.coverage.unknown,
        baseline_mse=metrics.mean_squared_error(truth, mean),
        composed_words=predictor.coverage.composed,
        too_long_words=predictor.coverage.too_long,
        **metrics.errors(truth, predictor.outputs(texts.take(known))),
    )


# How a model is evaluated on labelled text, by the kind of labels of its task.
LABELLED: dict[LabelKind, Callable[..., Classification | Regression]] = {
    "class": classification,
    "number": regression,
}


def _answers(found: Found, fold_case: bool) -> NDArray[np.int64]:
    """Find the id nearest to b - a + c, no word of the question, for Q·3 words: (Q,)."""
    signs = np.array([-1, 1, 1], np.float32)
    table, words = found.table, found.tokens
    vocabulary = table.vocabulary
    answers = np.full(len(found) // 3, -1)  # (Q,)
    for question, near in enumerate(table.analogies(found, signs, _CANDIDATES, "3cosadd").ids):
        asked = {_folded(word, fold_case) for word in words[3 * question : 3 * question + 3]}
        fitting = (
            each
            for each in near
            if each >= 0 and _folded(vocabulary.token(int(each)), fold_case) not in asked
        )
        answers[question] = next(fitting, -1)
    return answers


def _find(table: EmbeddingTable, words: Sequence[str], fold_case: bool, oov: Oov) -> Found:
    """Find words, without case if `fold_case`; unknown ones stay, and are composed by `oov`.

    The first token of the table that is spelled so is taken, as in gensim; where there is none,
    the first that is spelled as the table's tokenizer spells the word.
    """
    tokenizer = Tokenizer(replace(table.settings, fold_case=fold_case))
    spellings = {
        word: [_folded(word, fold_case), _folded(tokenizer.spelt(word), fold_case)]
        for word in words
    }
    wanted = set(chain.from_iterable(spellings.values()))
    found: dict[str, int] = {}
    for index, token in enumerate(table.vocabulary):
        spelling = _folded(token, fold_case)
        if spelling in wanted:
            found.setdefault(spelling, index)
    names = {
        word: table.vocabulary.token(index) if index is not None else respelled
        for word, (as_it_stands, respelled) in spellings.items()
        for index in [found.get(as_it_stands, found.get(respelled))]
    }
    spelled = [names[word] for word in words]
    return table.lookup(
        spelled, "compose" if oov == "compose" else "zero", respell=False, otherwise="zero"
    )


def _folded(word: str, fold_case: bool) -> str:
    return word.lower() if fold_case else word


def _lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 file, numbered from 1, without comments and blank lines."""
    text = read_text(path, CorpusError, "a file to evaluate on", "text")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.startswith("#"):
            yield number, line


def _cells(line: str) -> list[str]:
    """Split a line by tabs, or else semicolons or commas (with quotation marks), or else blanks."""
    mark = next((mark for mark in "\t;," if mark in line), None)
    cells = line.split(mark)
    if mark in (";", ",") and '"' in line:
        with suppress(csv.Error):  # a line with a carriage return inside, or very long cells
            cells = next(csv.reader([line], delimiter=mark))
    return [cell.strip() for cell in cells]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _total(name: str, sections: Sequence[Section]) -> Section:
    """Add up sections."""
    return Section(
        name,
        sum(each.right for each in sections),
        sum(each.used for each in sections),
        sum(each.skipped for each in sections),
    )
