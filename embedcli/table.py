"""A vocabulary and its vectors: look-up, similarity and exact nearest neighbours.

Every question to a table is a method of `EmbeddingTable` and returns frozen records, whose fields
have the names that `--format json` prints. `EmbeddingTable.lookup` is where words become ids: the
rule of spelling and the policies for unknown words are there and nowhere else.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedcli.config import TextSettings
from embedcli.errors import ConfigError, FormatError, StoreError, VocabularyError
from embedcli.storage.arrays import RowSource
from embedcli.text.vocabulary import Oov, Vocabulary
from embedcli.views import notebook

if TYPE_CHECKING:
    from embedcli.text.phrases import Phrases
    from embedcli.text.tokenizer import Tokenizer

Metric = Literal["cosine", "dot", "euclidean"]
Method = Literal["3cosadd", "3cosmul"]
Order = Literal["id", "count", "norm", "token"]
Questions = Sequence[str] | Sequence[Sequence[str]]  # the words of one question, or of several

Record = TypeVar("Record")
Score = Callable[[NDArray[np.float32], slice], NDArray[np.float32]]

_BLOCK_BYTES = 1 << 21  # of the table at a time: it and its scores stay in the cache
_ROWS_AT_ONCE = 1000  # read while records of rows are iterated, so that many take no memory
_QUERIES = 256  # scored at a time
_FEW_QUERIES = 64
_MUL_EPSILON = 1e-6  # of 3CosMul; Levy and Goldberg 2014 use .001, gensim 1e-6
UNKNOWN, COMPOSED = -1, -2  # ids of `Found` for words that are not in the vocabulary
# Lengths whose squares and products float32 holds with full precision.
_SHORTEST, _LONGEST = 1e-15, 1e15


@dataclass(frozen=True, eq=False)
class Row:
    """A row of a table: the index is None and the vector zeros for an unknown word."""

    index: int | None
    token: str
    count: int | None  # in the corpus; None where it is not known
    vector: NDArray[np.float32]  # (D,)
    composed: bool = False  # of parts: the word is not in the vocabulary, but has a vector

    def _repr_html_(self) -> str:
        from embedcli.views import blocks, records

        return blocks.html_of(records.row(self))


class Part(NamedTuple):
    """One of the rows that a word's vector is composed of, weighted by `weight`."""

    text: str  # a character n-gram with marks `<` and `>`, the word itself, or another one
    row: int  # in the table of parts, or that of words
    weight: float


class Composer(Protocol):
    """Vectors of words outside the vocabulary, composed of those of n-grams or of other words."""

    def compose(self, words: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return a vector for each word, (N, D), and whether the word has a known part, (N,).

        The vector of a word without a known part is zeros.
        """

    def parts(self, word: str) -> Sequence[Part]:
        """Return the parts of a word, whether the vocabulary has it or not."""


class Index(Protocol):
    """Candidates for an approximate search."""

    def search(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Return the ids of k candidates or more for vectors (Q, D): (Q, c), -1 for none."""


@notebook.shown
class Neighbor(NamedTuple):
    """A word that a search found and its score."""

    token: str
    score: float


class Answer:
    """A record that answers a question; notebooks show it as a table."""

    def _repr_html_(self) -> str:
        from embedcli.views import blocks, records

        return blocks.html_of([records.answer(self)])


@dataclass(frozen=True)
class Neighbors(Answer):
    """The words nearest to a word, the nearest first; none where the word is unknown."""

    token: str
    neighbors: tuple[Neighbor, ...]


@dataclass(frozen=True)
class Analogy(Answer):
    """The words A, B and C, and the words D so that A is to B as C is to D, the best first."""

    tokens: tuple[str, ...]
    neighbors: tuple[Neighbor, ...]


@dataclass(frozen=True)
class Comparison(Answer):
    """Two words and their cosine, dot product or negative distance."""

    tokens: tuple[str, ...]
    score: float


@dataclass(frozen=True)
class OddOneOut(Answer):
    """The word that fits least to the others, and the cosine of each with the mean of all."""

    tokens: tuple[str, ...]
    odd: str
    fits: tuple[Neighbor, ...]  # the odd one first


@dataclass(frozen=True)
class Answers(Sequence[Record], Generic[Record]):
    """The records of several questions, and how many of their words the table has and has not."""

    records: tuple[Record, ...]
    known: int
    unknown: int
    composed: int = 0  # of the unknown: they have a vector all the same

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Record, ...]: ...
    def __getitem__(self, place: int | slice) -> Record | tuple[Record, ...]:
        return self.records[place]

    def __len__(self) -> int:
        return len(self.records)

    def _repr_html_(self) -> str:
        from embedcli.views import blocks, records

        return blocks.html_of(map(records.answer, self))


@dataclass(frozen=True, eq=False)
class Found(Sequence[Row]):
    """Rows of a table that were looked up; vectors are read when they are asked for.

    `ids` is int64 (N,): `UNKNOWN` for an unknown word that stays, `COMPOSED` for one whose vector
    is composed. `known` and `unknown` count the words that were asked for, those left out too.
    """

    table: EmbeddingTable
    ids: NDArray[np.int64]
    known: int
    unknown: int
    spelled: Sequence[str] | None = None  # the words of the ids; None: those of the vocabulary
    respelled: int | None = None  # of the known: found in another spelling than they stand in

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Found: ...
    def __getitem__(self, place: int | slice) -> Row | Found:
        if isinstance(place, slice):
            spelled = None if self.spelled is None else self.spelled[place]
            return replace(self, ids=self.ids[place], spelled=spelled)
        return next(iter(self[range(len(self))[place] :][:1]))

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Row]:
        counts = self.table.vocabulary.counts
        for first in range(0, len(self), _ROWS_AT_ONCE):
            part = self[first : first + _ROWS_AT_ONCE]
            for index, token, vector in zip(
                part.ids.tolist(), part.tokens, part.vectors, strict=True
            ):
                known = index >= 0
                count = int(counts[index]) if known and counts is not None else None
                yield Row(index if known else None, token, count, vector, index == COMPOSED)

    def _repr_html_(self) -> str:
        from embedcli.views import blocks, records

        return blocks.html_of([records.rows(self[: records.ROWS_IN_HTML])])

    @property
    def tokens(self) -> Sequence[str]:
        """The words, as they are spelled in the vocabulary."""
        return self.table.vocabulary.tokens(self.ids) if self.spelled is None else self.spelled

    @property
    def vectors(self) -> NDArray[np.float32]:
        """The vectors, (N, D): zeros for an unknown word that is not composed."""
        rows = np.zeros((len(self), self.table.dim), np.float32)  # (N, D)
        known = self.ids >= 0  # (N,)
        rows[known] = self.table.rows(self.ids[known])
        composed = np.flatnonzero(self.ids == COMPOSED)  # (C,)
        if len(composed) and self.table.composer is not None:
            words = [self.tokens[place] for place in composed.tolist()]
            rows[composed], _ = self.table.composer.compose(words)
        return rows

    @property
    def composed(self) -> int:
        """How many of the words have a vector that is composed of parts."""
        return int(np.count_nonzero(self.ids == COMPOSED))


@notebook.shown
class Nearest(NamedTuple):
    """What a search found: `ids` int64 and `scores` float32, both (Q, k), the best first.

    Where fewer than k rows could be found, the ids that are left are -1 and the scores NaN.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class Queries(NamedTuple):
    """Vectors to search with, (Q, D), and for each its name and the ids that must not be found."""

    labels: list[str]
    vectors: NDArray[np.float32]
    excluded: list[list[int]]
    missing: NDArray[np.bool_]  # (Q,) its word is unknown: it has no neighbours
    found: Found  # the words that were asked for


class EmbeddingTable:
    """A vocabulary of V words and their vectors (V, D): in memory, memory-mapped, or computed.

    `table["king"]` is the vector of a word, (D,) float32; raises VocabularyError for an unknown
    word. `spelling` returns the settings of the text that the words come from; without, they are
    not known, and the default settings are used. `composer` returns what composes vectors for
    unknown words, if they have parts that the table knows; it is called when it is needed.
    So is `phrases`, which returns the pairs of words that the text of the table joins, and `index`,
    which opens what approximate searches use.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        vectors: RowSource,
        spelling: Callable[[], TextSettings] | None = None,
        composer: Callable[[], Composer] | None = None,
        phrases: Callable[[], Phrases] | None = None,
        index: Callable[[], Index] | None = None,
    ) -> None:
        if len(vectors.shape) != 2 or len(vectors) != len(vocabulary):
            raise ValueError(f"{vectors.shape} vectors for {len(vocabulary)} words")
        self.vocabulary = vocabulary
        self.vectors = vectors
        self._spelling = spelling
        self._composer = composer
        self._phrases = phrases
        self._index = index

    def like(self, vocabulary: Vocabulary, vectors: RowSource) -> EmbeddingTable:
        """Return a table of other words and vectors, for which the same text and parts hold."""
        return EmbeddingTable(vocabulary, vectors, self._spelling, self._composer, self._phrases)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def __contains__(self, word: str) -> bool:
        return self.lookup([word], "skip").known == 1

    def __getitem__(self, word: str) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self.lookup([word]).vectors[0]  # (D,)
        return row

    def __repr__(self) -> str:
        return f"EmbeddingTable({len(self)} words × {self.dim})"

    def _repr_html_(self) -> str:
        from embedcli.views import blocks, records

        return blocks.html_of(records.table(self))

    @property
    def dim(self) -> int:
        """Length D of a vector."""
        return int(self.vectors.shape[1])

    @cached_property
    def settings(self) -> TextSettings:
        """How text is read and cut for this table."""
        return TextSettings() if self._spelling is None else self._spelling()

    @property
    def composes(self) -> bool:
        """Whether unknown words can have a vector, composed of their parts."""
        return self._composer is not None

    @cached_property
    def composer(self) -> Composer | None:
        """What composes vectors for unknown words, if the table has parts."""
        return None if self._composer is None else self._composer()

    def policy(self, oov: Oov | None, otherwise: Oov = "error") -> Oov:
        """Return what is done with unknown words where `oov` does not say: compose, if possible.

        Raises VocabularyError for "compose" where the table has no parts.
        """
        if oov == "compose" and not self.composes:
            raise VocabularyError(
                "oov: found compose; the table has no parts of words to compose vectors of",
                "--oov error, skip or zero; embed train TEXT --config subword makes such a table",
            )
        return oov or ("compose" if self.composes else otherwise)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer whose tokens the words are."""
        from embedcli.text.tokenizer import Tokenizer  # slow to import, and seldom needed

        return Tokenizer(self.settings)

    @cached_property
    def phrases(self) -> Phrases | None:
        """The pairs of words that are one word of the table, if its text was joined."""
        return None if self._phrases is None else self._phrases()

    @cached_property
    def index(self) -> Index:
        """The index of the table; raises StoreError where there is none that fits."""
        if self._index is None:
            raise StoreError(
                "approximate: only a model folder has an index",
                "embed convert FILE MODEL, then embed index MODEL",
            )
        return self._index()

    def tokens(self, text: str, settings: TextSettings | None = None) -> list[str]:
        """Cut a text as that of the table was, its phrases joined; `settings` may differ."""
        from embedcli.text.tokenizer import Tokenizer

        tokenizer = self.tokenizer if settings is None else Tokenizer(settings)
        tokens = tokenizer.tokenize(text)
        return tokens if self.phrases is None else self.phrases.join(tokens)

    def text_settings(self, fold_case: bool | None = None) -> tuple[TextSettings, bool]:
        """Return how text is cut, and whether a token that is unknown is folded and tried again.

        `fold_case` says whether case is folded before. Without, it is as in the text of the table;
        if that is not known, tokens keep their case, as the words may be in upper case or not.
        """
        if fold_case is None and self._spelling is None:
            return replace(self.settings, fold_case=False), True
        if fold_case is None:
            return self.settings, False
        return replace(self.settings, fold_case=fold_case), False

    def spell(self, word: str) -> str:
        """Return a word as the tokenizer spells it; as it stands where it is not one token."""
        tokens = self.tokens(word)
        return tokens[0] if len(tokens) == 1 else word

    def lookup(
        self,
        words: Iterable[str],
        oov: Oov | None = None,
        *,
        together: int = 1,
        respell: bool = True,
        otherwise: Oov = "error",
    ) -> Found:
        """Find words, each as it stands, or else, if `respell`, as `spell` spells it.

        `together` words in a row are one question. `oov` says what is done with an unknown word:

        - "error": raise VocabularyError, which names words with a similar spelling;
        - "skip": leave out the word with all words of its question;
        - "zero": keep it with the id `UNKNOWN` and a vector of zeros;
        - "compose": give it a vector composed of its parts, and the id `COMPOSED`; a word none of
          whose parts is known is treated as `otherwise` says. This is the default where the table
          can; elsewhere it is `otherwise`. Raises VocabularyError for a table without parts.
        """
        oov = self.policy(oov, otherwise)
        spelled = list(words)
        ids = self.vocabulary.ids_of(spelled, unknown=-1).astype(np.int64)  # (N,)
        respelled = 0
        for place in np.flatnonzero(ids < 0).tolist() if respell else ():
            other = self.spell(spelled[place])
            index = self.vocabulary.get(other)
            if index is not None:
                spelled[place], ids[place] = other, index
                respelled += 1
        missing = int(np.count_nonzero(ids < 0))
        known = len(ids) - missing
        if missing and oov == "compose" and self.composer is not None:
            places = np.flatnonzero(ids < 0)  # (M,)
            for place in places.tolist() if respell else ():
                spelled[place] = self.spell(spelled[place])
            _, has_parts = self.composer.compose([spelled[place] for place in places.tolist()])
            ids[places[has_parts]] = COMPOSED
            oov = otherwise
        unknown = ids == UNKNOWN  # (N,)
        if unknown.any() and oov == "error":
            raise self.vocabulary.unknown(spelled[int(unknown.argmax())])
        if unknown.any() and oov == "skip":
            kept = np.repeat(~unknown.reshape(-1, together).any(axis=1), together)  # (N,)
            spelled = [word for word, stays in zip(spelled, kept, strict=True) if stays]
            ids = ids[kept]
        return Found(self, ids, known, missing, spelled, respelled)

    def lookup_text(
        self, text: str, oov: Oov | None = None, fold_case: bool | None = None
    ) -> Found:
        """Find the tokens of a text; `oov` is as in `lookup`, `fold_case` as in `text_settings`."""
        settings, again = self.text_settings(fold_case)
        found = self.lookup(self.tokens(text, settings), oov, respell=again)
        return found if again else replace(found, respelled=None)

    def lookup_ids(self, ids: ArrayLike) -> Found:
        """Return the rows of ids; raises VocabularyError for one outside the table."""
        wanted = np.asarray(ids, np.int64)  # (N,)
        for each in wanted[(wanted < 0) | (wanted >= len(self))][:1]:
            raise VocabularyError(f"index {each}: not in the table; expected 0 to {len(self) - 1}")
        return Found(self, wanted, len(wanted), 0)

    def sorted(self, by: Order = "id") -> Found:
        """Return all rows by id, by count or norm from the largest, or by the words' characters.

        Raises VocabularyError for "count" where the table has no counts.
        """
        if by == "id":
            ids = np.arange(len(self))  # (V,)
        elif by == "token":
            tokens = self.vocabulary.tokens(slice(None))
            ids = np.array(sorted(range(len(self)), key=tokens.__getitem__), np.int64)  # (V,)
        else:
            keys = self.norms() if by == "norm" else self.vocabulary.counts  # (V,)
            if keys is None:
                raise VocabularyError("the table has no counts", "--sort id, norm or token")
            ids = np.argsort(-keys, kind="stable")  # (V,)
        return Found(self, ids, len(ids), 0)

    def rows(self, ids: ArrayLike) -> NDArray[np.float32]:
        """Return the vectors of ids: a copy, (N, D)."""
        return _in_float32(self.vectors[np.asarray(ids, np.int64)])  # (N, D)

    def blocks(self, size: int | None = None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the first id and the rows of each block of `size` bytes (2 MiB)."""
        step = max(1, (size or _BLOCK_BYTES) // (4 * max(1, self.dim)))
        for start in range(0, len(self.vectors), step):
            yield start, _in_float32(self.vectors[start : start + step])

    def to_gensim(self) -> Any:
        """Return gensim's `KeyedVectors` of the words, with a copy of the vectors, and counts.

        Raises FormatError where gensim is not installed.
        """
        try:
            keyed_vectors = importlib.import_module("gensim.models.keyedvectors")
        except ImportError:
            raise FormatError("gensim: is not installed", "pip install gensim") from None
        made = keyed_vectors.KeyedVectors(self.dim)
        made.add_vectors(list(self.vocabulary), _in_float32(self.vectors[:]))
        if self.vocabulary.counts is not None:
            made.expandos["count"] = np.array(self.vocabulary.counts)
        return made

    def norms(self) -> NDArray[np.float32]:
        """Return the Euclidean length of every vector, (V,)."""
        norms = np.empty(len(self), np.float32)  # (V,)
        for start, block in self.blocks():
            norms[start : start + len(block)] = lengths(block)
        return norms

    def neighbors(
        self,
        words: str | Sequence[str] = (),
        k: int = 10,
        metric: Metric = "cosine",
        *,
        plus: Sequence[str] = (),
        minus: Sequence[str] = (),
        exclude: Sequence[str] = (),
        oov: Oov | None = None,
        approximate: bool = False,
    ) -> Answers[Neighbors]:
        """Find the k words nearest to each of `words`, other than the word and those of `exclude`.

        With `plus` and `minus` the words nearest to the sum of the unit vectors of the word and of
        those in `plus`, less those in `minus`; none of these words is found. Without `words` that
        is one question. Scores are cosines, dot products or negative distances. `oov` is as in
        `lookup`; a word of zeros has no neighbours. `approximate` is as in `nearest`.
        """
        asked = self.queries(words, plus=plus, minus=minus, exclude=exclude, oov=oov)
        near = self.nearest(asked.vectors, k, metric, asked.excluded, approximate)
        near.ids[asked.missing] = -1
        return _answers(map(Neighbors, asked.labels, self._named(near)), asked.found)

    def queries(
        self,
        words: str | Sequence[str],
        *,
        plus: Sequence[str] = (),
        minus: Sequence[str] = (),
        exclude: Sequence[str] = (),
        oov: Oov | None = None,
    ) -> Queries:
        """Return what `neighbors` searches with: the arguments are those of `neighbors`."""
        asked = [words] if isinstance(words, str) else words
        found = self.lookup(asked, oov)
        banned = self.lookup(exclude, "error" if oov in (None, "error") else "skip").ids.tolist()
        labels, vectors = list(found.tokens), found.vectors
        excluded = [[each, *banned] for each in found.ids.tolist()]
        missing = found.ids == UNKNOWN  # (Q,)
        if plus or minus:
            # The word and all that is added are scaled to length 1, as in `analogy`.
            near, far = self.lookup(plus, oov), self.lookup(minus, oov)
            change = unit(near.vectors).sum(axis=0) - unit(far.vectors).sum(axis=0)  # (D,)
            if not asked:
                labels, vectors = [""], np.zeros((1, self.dim), np.float32)  # (1, D)
                excluded, missing = [banned], np.zeros(1, bool)
                found = replace(near, known=near.known + far.known,
                                unknown=near.unknown + far.unknown)  # fmt: skip
            vectors = unit(vectors) + change  # (Q, D)
            ids = [*near.ids.tolist(), *far.ids.tolist()]
            excluded = [[*each, *ids] for each in excluded]
            signs = "".join(f" + {token}" for token in near.tokens)
            signs += "".join(f" - {token}" for token in far.tokens)
            labels = [f"{label}{signs}".removeprefix(" + ").strip() for label in labels]
        return Queries(labels, vectors, excluded, missing, found)

    def neighbors_of(
        self,
        vectors: ArrayLike,
        labels: Sequence[str] | None = None,
        k: int = 10,
        metric: Metric = "cosine",
        *,
        exclude: Sequence[str] = (),
        approximate: bool = False,
    ) -> Answers[Neighbors]:
        """Find the k words nearest to vectors (Q, D) that may come from elsewhere.

        Each answer is named after its label, or "vector 1" and so on. `approximate` is as in
        `nearest`. Raises VocabularyError for vectors of another length.
        """
        wanted = np.atleast_2d(np.asarray(vectors, np.float32))  # (Q, D)
        labels = labels or [f"vector {number}" for number in range(1, len(wanted) + 1)]
        if wanted.shape != (len(labels), self.dim):
            raise VocabularyError(
                f"found vectors of {wanted.shape[-1]} numbers; those of the table have {self.dim}"
            )
        banned = self.lookup(exclude, "error").ids.tolist()
        near = self.nearest(wanted, k, metric, [banned] * len(wanted), approximate)
        return Answers(tuple(map(Neighbors, labels, self._named(near))), len(labels), 0)

    def scores(
        self, queries: NDArray[np.float32], ids: NDArray[np.int64], metric: Metric = "cosine"
    ) -> NDArray[np.float32]:
        """Score the rows of ids (N,) for query vectors (Q, D), as `nearest` does: (Q, N)."""
        wanted = unit(queries) if metric == "cosine" else queries
        with np.errstate(all="ignore"):  # rows may hold numbers that are not finite
            return _scores(self.rows(ids), wanted, metric)

    def analogy(
        self,
        words: Questions,
        k: int = 10,
        method: Method = "3cosadd",
        *,
        oov: Oov | None = None,
        signs: Sequence[int] = (-1, 1, 1),
        approximate: bool = False,
    ) -> Answers[Analogy]:
        """Find words D so that A is to B as C is to D, for one question A B C or several.

        `signs` says which words D should be close to (1) and far from (-1), so that questions of
        any length can be asked; the words themselves are no answers. `oov` is as in `lookup`; a
        question with a word of zeros has no answer.

        "3cosadd" is the cosine with the mean of the unit vectors, "3cosmul" the product of shifted
        cosines (Levy and Goldberg 2014, "Linguistic regularities"; gensim `most_similar[_cosmul]`).
        `approximate` is as in `nearest`, for "3cosadd" alone.
        """
        found = self._lookup_questions(words, len(signs), oov)
        near = self.analogies(found, np.array(signs, np.float32), k, method, approximate)
        near.ids[(found.ids == UNKNOWN).reshape(-1, len(signs)).any(axis=1)] = -1
        return _answers(map(Analogy, _grouped(found.tokens, len(signs)), self._named(near)), found)

    def similarity(
        self, words: Questions, metric: Metric = "cosine", *, oov: Oov | None = None
    ) -> Answers[Comparison]:
        """Compare the two words of one pair or of several; `oov` is as in `lookup`."""
        found = self._lookup_questions(words, 2, oov)
        vectors = found.vectors  # (2·Q, D)
        scores = compare(vectors[::2], vectors[1::2], metric).tolist()
        return _answers(map(Comparison, _grouped(found.tokens, 2), scores), found)

    def odd(self, words: Questions, *, oov: Oov | None = None) -> Answers[OddOneOut]:
        """Find the word that fits least to the others, for the words of one question or several.

        Words are ordered by the cosine with the mean of the unit vectors, as in gensim's
        `doesnt_match`. `oov` is as in `lookup`.
        """
        answers = []
        known = unknown = composed = 0
        for question in _questions(words):
            found = self.lookup(question, oov, together=len(question))
            known, unknown = known + found.known, unknown + found.unknown
            composed += found.composed
            if len(found):
                rows = unit(found.vectors)  # (N, D)
                cosines = rows @ unit(rows.mean(axis=0, keepdims=True))[0]  # (N,)
                fits = tuple(
                    Neighbor(found.tokens[place], float(cosines[place]))
                    for place in np.argsort(cosines, kind="stable").tolist()
                )
                answers.append(OddOneOut(tuple(found.tokens), fits[0].token, fits))
        return Answers(tuple(answers), known, unknown, composed)

    def nearest(
        self,
        queries: ArrayLike,
        k: int = 10,
        metric: Metric = "cosine",
        exclude: Sequence[Sequence[int]] | None = None,
        approximate: bool = False,
    ) -> Nearest:
        """Find the k rows nearest to each query vector, exactly.

        `queries` is (Q, D); `exclude` lists for each query the ids that must not be found. Scores
        are cosines, dot products or negative Euclidean distances; equal ones are ordered by id.
        The table is read in blocks, so that memory does not grow with V.

        `approximate` searches the index of the table for the largest cosines instead: that is
        faster, and misses some rows. Scores are exact. Raises ConfigError for another metric, and
        StoreError without an index that fits.
        """
        wanted = np.atleast_2d(np.asarray(queries, np.float32))  # (Q, D)
        if approximate and metric != "cosine":
            raise ConfigError(f"approximate: found metric {metric}; expected cosine")
        if metric == "cosine":
            wanted = unit(wanted)
        if approximate:
            return self._nearest_of_index(wanted, k, exclude or [[]] * len(wanted))
        return self._best(
            lambda block, part: _scores(block, wanted[part], metric), len(wanted), k, exclude
        )

    def analogies(
        self,
        found: Found,
        signs: NDArray[np.float32],
        k: int,
        method: Method,
        approximate: bool = False,
    ) -> Nearest:
        """Answer Q questions as `analogy` does, of Q·n words that were found; `signs` is (n,)."""
        exclude = found.ids.reshape(-1, len(signs)).tolist()
        words = unit(found.vectors).reshape(-1, len(signs), self.dim)  # (Q, n, D)
        if method == "3cosadd":
            means = np.einsum("n,qnd->qd", signs, words) / len(signs)  # (Q, D)
            return self.nearest(means, k, "cosine", exclude, approximate)
        if approximate:
            raise ConfigError(f"approximate: found method {method}; expected 3cosadd")

        def products(block: NDArray[np.float32], part: slice) -> NDArray[np.float32]:
            asked = words[part]  # (Q, n, D)
            cosines = _scores(block, asked.reshape(-1, self.dim), "cosine")  # (Q·n, B)
            shifted = ((1 + cosines) / 2).reshape(*asked.shape[:2], -1)  # (Q, n, B)
            far = shifted[:, signs < 0].prod(axis=1)  # (Q, B)
            near: NDArray[np.float32] = shifted[:, signs > 0].prod(axis=1)  # (Q, B)
            near /= far + np.float32(_MUL_EPSILON)
            return near

        return self._best(products, len(words), k, exclude)

    def _lookup_questions(self, words: Questions, size: int, oov: Oov | None) -> Found:
        """Find the words of questions of `size` words each; raises ValueError for another size."""
        questions = _questions(words)
        for question in questions:
            if len(question) != size:
                raise ValueError(f"found {list(question)}; expected {size} words in a question")
        return self.lookup(chain.from_iterable(questions), oov, together=size)

    def _named(self, near: Nearest) -> Iterator[tuple[Neighbor, ...]]:
        """Yield the words and scores that were found for each query."""
        for ids, scores in zip(*near, strict=True):  # (k,)
            there = ids >= 0  # (k,)
            tokens = self.vocabulary.tokens(ids[there])
            yield tuple(map(Neighbor, tokens, scores[there].tolist()))

    def _nearest_of_index(
        self, queries: NDArray[np.float32], k: int, exclude: Sequence[Sequence[int]]
    ) -> Nearest:
        """Keep the k best of the candidates that the index has for unit vectors (Q, D)."""
        k = min(k, len(self))
        near = Nearest(np.full((len(queries), k), -1), np.full((len(queries), k), np.nan, "<f4"))
        more = max(map(len, exclude), default=0)
        for start in range(0, len(queries), _QUERIES):
            part = slice(start, start + _QUERIES)
            found = self.index.search(queries[part], k + more)  # (Q, c)
            for place, ids in enumerate(found, start):
                ids = ids[(ids >= 0) & (ids < len(self)) & ~np.isin(ids, exclude[place])]  # (c,)
                scores = self.scores(queries[place : place + 1], ids)[0]  # (c,)
                best = np.lexsort((ids, -scores))[:k]
                near.ids[place, : len(best)] = ids[best]
                near.scores[place, : len(best)] = scores[best]
        return near

    def _best(
        self, score: Score, queries: int, k: int, exclude: Sequence[Sequence[int]] | None
    ) -> Nearest:
        """Keep the k best of the scores (Q, B) of every block."""
        k = min(k, len(self))
        ids = np.full((queries, k), -1, np.int64)  # (Q, k)
        best = np.full((queries, k), -np.inf, np.float32)  # (Q, k)
        if not k:
            return Nearest(ids, best)
        # Every (query, id) that must not be found, (P, 2).
        pairs = [(query, int(each)) for query, of in enumerate(exclude or []) for each in of]
        banned = np.array(pairs, np.int64).reshape(-1, 2)

        @np.errstate(all="ignore")  # rows may hold numbers that are not finite
        def search(part: slice) -> None:
            for start, block in self.blocks():
                scores = score(block, part)  # (Q, B)
                scores[np.isnan(scores)] = -np.inf
                places = banned - (part.start, start)  # (P, 2)
                inside = ((places >= 0) & (places < scores.shape)).all(axis=1)
                scores[tuple(places[inside].T)] = -np.inf
                _merge(ids[part], best[part], scores, start)

        # Products of few queries wait for memory, which more threads make little faster; and on a
        # busy machine the threads of BLAS wait for each other at every block: a search then took
        # seven times as long. Threads of Python share many queries out, and find the same numbers.
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        with threadpool_limits(1, user_api="blas"):
            if queries <= _FEW_QUERIES:
                search(slice(0, queries))
            else:
                from concurrent.futures import ThreadPoolExecutor

                from embedcli.parallel import cores

                size = min(_QUERIES, -(-queries // cores()))
                with ThreadPoolExecutor(cores()) as threads:
                    firsts = range(0, queries, size)
                    list(threads.map(search, [slice(each, each + size) for each in firsts]))
        found = np.isfinite(best)
        ids[~found], best[~found] = -1, np.nan
        return Nearest(ids, best)


def _questions(words: Questions) -> Sequence[Sequence[str]]:
    """Return the words of one question, or of several, as those of several."""
    return [words] if words and isinstance(words[0], str) else words  # type: ignore[list-item]


def _answers(records: Iterable[Record], found: Found) -> Answers[Record]:
    """Return the records that answer questions of the words that were found."""
    return Answers(tuple(records), found.known, found.unknown, found.composed)


def _grouped(words: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    """Yield the words of questions of `size` words each."""
    return zip(*[iter(words)] * size, strict=True)


@np.errstate(over="ignore")  # what float32 cannot hold becomes infinite
def _in_float32(rows: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(rows, np.float32)


@np.errstate(all="ignore")  # rows may hold numbers that are not finite
def compare(
    one: NDArray[np.float32], two: NDArray[np.float32], metric: Metric = "cosine"
) -> NDArray[np.float32]:
    """Compare each row (N, D) with the row at the same place in another array, (N,)."""
    if metric == "cosine":
        one, two = unit(one), unit(two)
    if metric == "euclidean":
        return 0 - lengths(one - two)  # not -0 for equal vectors
    products: NDArray[np.float32] = np.einsum("nd,nd->n", one, two)  # (N,)
    return products


@np.errstate(all="ignore")
def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows (N, D) to length 1; a row of zeros stays as it is."""
    norms = lengths(rows)  # (N,)
    norms[norms == 0] = 1
    scaled: NDArray[np.float32] = rows / norms[:, None]  # (N, D)
    extreme = _are_extreme(norms)
    if extreme.any():  # their lengths have few digits in float32, or are infinite there
        exact = rows[extreme].astype(np.float64)
        scaled[extreme] = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    return scaled


@np.errstate(all="ignore")
def lengths(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the Euclidean lengths of rows (N, D), (N,)."""
    found: NDArray[np.float32] = np.sqrt(np.einsum("nd,nd->n", rows, rows))  # (N,)
    extreme = ~((found > _SHORTEST) & (found < _LONGEST))
    if extreme.any():  # the squares of their numbers are beyond float32
        found[extreme] = np.linalg.norm(rows[extreme].astype(np.float64), axis=1)
    return found


def _are_extreme(norms: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether rows of these lengths (N,) cannot be multiplied in float32; zeros can."""
    usual: NDArray[np.bool_] = (norms > _SHORTEST) & (norms < _LONGEST) | (norms == 0)
    return ~usual


def _scores(
    block: NDArray[np.float32], queries: NDArray[np.float32], metric: Metric
) -> NDArray[np.float32]:
    """Score rows (B, D) for queries (Q, D), unit ones for the cosine: (Q, B)."""
    if metric == "euclidean":
        # In float64: the difference of squares would lose small distances in float32.
        rows, asked = block.astype(np.float64), queries.astype(np.float64)
        squares = (asked**2).sum(axis=1)[:, None] + (rows**2).sum(axis=1)  # (Q, B)
        distances = np.sqrt(np.maximum(squares - 2 * asked @ rows.T, 0))  # (Q, B)
        nearness: NDArray[np.float32] = (0 - distances).astype(np.float32)
        return nearness
    if metric == "cosine":
        norms = lengths(block)  # (B,)
        if _are_extreme(norms).any():
            block = unit(block)
            norms = (norms > 0).astype(np.float32)  # (B,)
        products: NDArray[np.float32] = queries @ block.T  # (Q, B)
        products /= np.where(norms > 0, norms, np.inf).astype(np.float32)
        return products
    return queries @ block.T  # (Q, B)


def _merge(
    ids: NDArray[np.int64], best: NDArray[np.float32], scores: NDArray[np.float32], start: int
) -> None:
    """Merge the scores (Q, B) of the rows from id `start` on into the k best, in place."""
    k = best.shape[1]
    for query in np.flatnonzero(scores.max(axis=1) > best[:, -1]):
        row = scores[query]
        near = _largest(row, np.flatnonzero(row > best[query, -1]), k)
        every = np.concatenate([ids[query], near + start])
        values = np.concatenate([best[query], row[near]])
        order = np.lexsort((every, -values))[:k]
        ids[query], best[query] = every[order], values[order]


def _largest(scores: NDArray[np.float32], places: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return those of `places` with the k largest scores (B,); the first of equal ones."""
    if len(places) <= k:
        return places
    values = scores[places]
    edge = np.partition(values, -k)[-k]
    above = places[values > edge]
    return np.concatenate([above, places[values == edge][: k - len(above)]])
