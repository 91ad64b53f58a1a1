"""What a Python user calls, and the command line too: train, load, look up, convert."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import ConfigError, FormatError, VocabularyError
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Coverage, Oov

if TYPE_CHECKING:
    from embedcli import explanation
    from embedcli.config import TextSettings, TrainSettings
    from embedcli.evaluation import Analogies, Classification, Regression, Similarity
    from embedcli.formats.base import Options, Read
    from embedcli.text.tokenizer import Tokenizer
    from embedcli.text.vocabulary import Vocabulary
    from embedcli.training.loop import Step
    from embedcli.training.run import Prepared, Trained

Judgement = Literal["similarity", "analogy", "classify", "regress"]
OovId = Literal["error", "skip", "unknown"]
Source = str | Path

DATA = Path(__file__).parent / "data"
FORMAT_OF_SUFFIX = {
    "": "model",
    ".npy": "npy",
    ".txt": "word2vec",
    ".vec": "fasttext",
    ".bin": "word2vec-binary",
    ".safetensors": "safetensors",
    ".tsv": "projector",
}


def train(
    sources: Source | Sequence[Source] | None = None,
    out: str | Path = "embeddings",
    *,
    config: str | Path | None = None,
    resume: bool = False,
    report: Callable[[Prepared | Step], None] | None = None,
    stop: Callable[[], bool] | None = None,
    **settings: Any,
) -> Trained:
    """Train a table on text and save it as the model folder `out`.

    `sources` are files, folders, globs or "-"; none: the `sample` that comes with the package, with
    the preset of that name where no `config` is given. `config` is a preset's name or a YAML file;
    `settings` are those of `config.TrainSettings`.
    `resume` goes on with the run that was stopped before it wrote `out`: its text and settings are
    taken from its checkpoint; those given must be the same. The setting `update` names a model to
    go on with, whose settings take the place of the preset. `report` is called with what the run
    starts from and after each group of batches; then, if `stop` returns true, the run is kept and
    `run.Stopped` raised.

    Raises ConfigError, CorpusError, StoreError or TrainingError; after the last, the last good
    state is what is saved.
    """
    from embedcli.config import TrainSettings, explicit, schema
    from embedcli.config import resolve as resolve_settings
    from embedcli.training import run, update

    say = report or (lambda _: None)
    asked = stop or (lambda: False)
    name = None if config is None else str(config)
    given = explicit(TrainSettings, config=name, given=settings)
    if resume:
        places = None if sources is None else _places(sources)
        return run.resume(places, Path(out), given, say, asked)
    base = None
    if given.get("update") is not None:
        if sources is None:
            raise ConfigError("update: found no text to go on with", "embed train TEXT --update …")
        base = update.settings_of(Path(schema(TrainSettings)["update"].check(given["update"])))
    if sources is None:
        sources = sample(name, settings)
        if name is None and sources.name == "sample.txt":
            name = "sample"
    chosen = resolve_settings(TrainSettings, config=name, given=settings, base=base)
    return run.start(_places(sources), Path(out), chosen, say, asked)


def sample(config: str | None = None, settings: Mapping[str, Any] | None = None) -> Path:
    """Find the text that comes with the package for a task: tales, or for `classify` reviews."""
    from embedcli.config import TrainSettings, explicit

    task = explicit(TrainSettings, config=config, given=settings).get("task")
    return DATA / ("reviews.txt" if task == "classify" else "sample.txt")


def _places(sources: Source | Sequence[Source]) -> list[Source]:
    return [sources] if isinstance(sources, str | Path) else list(sources)


def load(path: str | Path = "embeddings") -> EmbeddingTable:
    """Open a table, memory-mapped: a model folder, or a file of vectors in any known format.

    Raises StoreError or FormatError.

    >>> load("embeddings")["king"].shape  # doctest: +SKIP
    (100,)
    """
    place = Path(path)
    if place.exists() and not _is_model(place):
        from embedcli import formats

        return formats.open_table(place)
    from embedcli import store

    return store.load_table(place)


def _is_model(place: Path) -> bool:
    return (place / "manifest.json").is_file()


@dataclass(frozen=True)
class Found:
    """Words looked up: as they are spelt in the vocabulary, and their ids, (N,) int64.

    An id is -1 for a word that is not there; `missed` counts those, the skipped ones too.
    """

    words: Sequence[str]
    ids: NDArray[np.int64]
    missed: int


def find(
    table: EmbeddingTable,
    words: Iterable[str],
    *,
    oov: Oov = "error",
    spelt_as: str | Path | None = None,
) -> Found:
    """Find the ids of words, each as it stands, or else as the model at `spelt_as` spells it.

    A word in neither spelling raises VocabularyError, is skipped, or gets id -1, by `oov`.
    """
    asked = list(words)
    ids = table.vocabulary.ids_of(asked, unknown=-1)  # (N,)
    unknown = np.flatnonzero(ids < 0)  # (U,)
    if spelt_as is not None and len(unknown):
        tokenizer = tokenizer_of(spelt_as)
        for place in unknown:
            asked[place] = _respelt(table, asked[place], tokenizer)
        ids = table.vocabulary.ids_of(asked, unknown=-1)  # (N,)
    missed = np.flatnonzero(ids < 0)  # (M,)
    if oov == "error" and len(missed):
        raise table.vocabulary.unknown(asked[missed[0]])
    if oov == "skip":
        asked = [word for word, each in zip(asked, ids, strict=True) if each >= 0]
        ids = ids[ids >= 0]  # (N - M,)
    return Found(asked, ids.astype(np.int64), len(missed))


def _respelt(table: EmbeddingTable, word: str, tokenizer: Tokenizer) -> str:
    tokens = tokenizer.tokenize(word)
    return tokens[0] if len(tokens) == 1 and tokens[0] in table.vocabulary else word


def find_ids(table: EmbeddingTable, ids: Iterable[int]) -> Found:
    """Find the words of ids; raises VocabularyError for one outside the table."""
    wanted = np.array(list(ids), np.int64)  # (N,)
    for each in wanted[(wanted < 0) | (wanted >= len(table))][:1]:
        raise VocabularyError(f"index {each}: not in the table; expected 0 to {len(table) - 1}")
    return Found(table.vocabulary.tokens(wanted), wanted, 0)


def vectors_of(table: EmbeddingTable, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Read the rows of ids, zeros for -1, (N, D)."""
    rows = table.rows(np.maximum(ids, 0))  # (N, D)
    rows[ids < 0] = 0
    return rows


def counts_of(table: EmbeddingTable, ids: NDArray[np.int64]) -> list[int | None]:
    """Read how often the words of ids stood in the corpus; None where that is not known."""
    counts = table.vocabulary.counts
    if counts is None:
        return [None] * len(ids)
    return [int(counts[each]) if each >= 0 else None for each in ids]


def order(table: EmbeddingTable, by: Literal["id", "count", "norm", "token"]) -> NDArray[np.int64]:
    """Order the ids, (V,): as they are, or by count or norm from the largest, or by spelling."""
    if by == "id":
        return np.arange(len(table))  # (V,)
    if by == "token":
        tokens = table.vocabulary.tokens(slice(None))
        return np.array(sorted(range(len(table)), key=tokens.__getitem__), np.int64)  # (V,)
    keys = table.norms() if by == "norm" else table.vocabulary.counts  # (V,)
    if keys is None:
        raise VocabularyError("the table has no counts", "--sort id, norm or token")
    return np.argsort(-keys, kind="stable")  # (V,)


@dataclass(frozen=True)
class Description:
    """What there is to say of a model folder, or of a file of vectors (then `settings` is None)."""

    path: Path
    format: str  # one of `formats.FORMATS`, as found from the content
    words: int  # V
    dim: int  # D
    norms: tuple[float, float, float]  # smallest, mean, largest
    files: Mapping[str, int]  # name → bytes
    settings: TrainSettings | None = None
    digest: str | None = None  # SHA-256 of table.npy
    corpus: str | None = None  # SHA-256 of the text's bytes
    version: str | None = None  # of the `embed` that wrote it
    untrained: int | None = None  # words that no step of the training met
    labels: Sequence[str] = ()
    log: Sequence[Mapping[str, Any]] = ()


def describe(path: str | Path = "embeddings", *, verify: bool = False) -> Description:
    """Describe a model folder or a file of vectors.

    `verify` compares every file of a folder with its digest first. Raises StoreError or
    FormatError.
    """
    place = Path(path)
    if place.exists() and not _is_model(place):
        from embedcli import formats

        found, table = formats.sniff(place), load(place)
        sizes = {each.name: each.stat().st_size for each in _files(place)}
        return Description(place, found, len(table), table.dim, _norms(table), sizes)
    from embedcli import store

    if verify:
        store.verify(place)
    model = store.load(place)
    manifest = model.manifest
    return Description(
        path=place,
        format="model",
        words=len(model.table),
        dim=model.table.dim,
        norms=_norms(model.table),
        files={name: size for name, (size, _) in manifest.files.items()} if manifest else {},
        settings=model.settings,
        digest=manifest.digest if manifest else None,
        corpus=model.corpus,
        version=manifest.embed if manifest else None,
        untrained=int(np.count_nonzero(model.trained == 0)),
        labels=model.labels,
        log=model.log,
    )


def _files(place: Path) -> list[Path]:
    return sorted(place.iterdir()) if place.is_dir() else [place]


def _norms(table: EmbeddingTable) -> tuple[float, float, float]:
    norms = table.norms()  # (V,)
    return float(norms.min()), float(norms.mean()), float(norms.max())


class Line(NamedTuple):
    """Tokens of a line and their ids; `ended` is false where a very long line goes on."""

    tokens: Sequence[str]
    ids: Sequence[int]
    ended: bool


def tokenize(
    sources: Source | Sequence[Source],
    *,
    vocabulary: Vocabulary | None = None,
    oov: OovId = "error",
    **settings: Any,
) -> Tokenized:
    r"""Cut text into tokens and number them by first appearance, or by a given vocabulary.

    `sources` are files, folders, globs or "-"; `settings` those of `config.TextSettings`. A word
    outside a given vocabulary raises VocabularyError, is skipped, or gets -1, by `oov`.

    >>> from tempfile import NamedTemporaryFile
    >>> with NamedTemporaryFile("w", suffix=".txt") as file:
    ...     _ = file.write("Hope to see you soon\nNice to see you again\n")
    ...     file.flush()
    ...     [line.ids for line in tokenize(file.name)]
    [[0, 1, 2, 3, 4], [5, 1, 2, 3, 6]]
    """
    from embedcli.config import TextSettings, resolve

    return Tokenized(_places(sources), resolve(TextSettings, given=settings), vocabulary, oov)


class Tokenized:
    """Lines of text as tokens and ids, read as they are asked for; then, their vocabulary."""

    def __init__(
        self,
        places: Sequence[Source],
        settings: TextSettings,
        vocabulary: Vocabulary | None,
        oov: OovId,
    ) -> None:
        self._places = places
        self._settings = settings
        self._given = vocabulary
        self._oov = oov
        self.coverage = Coverage()  # of the lines read so far, by a given vocabulary
        self._index: defaultdict[str, int] = defaultdict()
        self._index.default_factory = self._index.__len__

    def __iter__(self) -> Iterator[Line]:
        selects = self._settings.max_vocab or self._settings.stop_words
        if self._given is not None:
            yield from self._numbered_by(self._given)
        elif selects or self._settings.min_count not in ("auto", 1):
            yield from self._selected()
        else:
            for tokens, ended in self._lines():
                yield Line(tokens, [self._index[token] for token in tokens], ended)

    def _lines(self) -> Iterator[tuple[list[str], bool]]:
        from embedcli.text.encode import token_lines

        return token_lines(self._places, self._settings)

    def _numbered_by(self, vocabulary: Vocabulary) -> Iterator[Line]:
        for tokens, ended in self._lines():
            ids = vocabulary.ids_of(tokens, unknown=None if self._oov == "error" else -1).tolist()
            self.coverage.add(len(ids), ids.count(-1))
            if self._oov == "skip":
                kept = [(token, each) for token, each in zip(tokens, ids, strict=True) if each >= 0]
                tokens, ids = [token for token, _ in kept], [each for _, each in kept]
            yield Line(tokens, ids, ended)

    def _selected(self) -> Iterator[Line]:
        """Go twice through the text: which words stay is known only at its end."""
        from embedcli.text.encode import encode

        with TemporaryDirectory(prefix="embed-") as folder:
            corpus = encode(self._places, self._settings, folder=Path(folder))
            self._given = corpus.vocabulary
            tokens = corpus.vocabulary.tokens(slice(None))
            for start, stop in pairwise(corpus.offsets.tolist()):
                ids = corpus.ids[start:stop].tolist()
                yield Line([tokens[each] for each in ids], ids, True)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary that was given, or that of the lines read so far."""
        from embedcli.text.vocabulary import Vocabulary

        return Vocabulary(self._index) if self._given is None else self._given


class Applied(NamedTuple):
    """What a model says of text, line by line, and how many words it knew so far."""

    lines: Iterator[Any]
    coverage: Coverage


def predict(
    sources: Source | Sequence[Source],
    model: str | Path = "embeddings",
    *,
    k: int = 1,
    threshold: float = 0.0,
    oov: Oov = "skip",
) -> Applied:
    """Say of each line of text the k most probable labels, or the numbers of a regression.

    A line's labels are `predict.Label`s of at least a probability of `threshold`, the most
    probable first; a blank line has none. A word that the model does not have raises
    VocabularyError, is left out, or counts with a vector of zeros, by `oov`. Raises StoreError for
    a model without labels.
    """
    from embedcli import store
    from embedcli.prediction import Predictor, predict_labels, predict_numbers

    opened = store.load(Path(model))
    places = _places(sources)
    if opened.settings.task == "regress":
        predictor = Predictor(opened, "regress", oov)
        return Applied(predict_numbers(predictor, places), predictor.coverage)
    predictor = Predictor(opened, "classify", oov)
    return Applied(predict_labels(predictor, places, k, threshold), predictor.coverage)


def text_vectors(
    sources: Source | Sequence[Source],
    model: str | Path = "embeddings",
    *,
    sif: float | None = None,
    remove_common: bool = False,
    oov: Oov = "skip",
) -> Applied:
    """Average the vectors of each line's words, (D,), weighed by `sif / (sif + share)` if given.

    `remove_common` takes away what all the lines share (Arora et al. 2017), for which they are
    read to the end first; `oov` is as in `predict`. Raises VocabularyError where the table has no
    counts to weigh by.
    """
    from embedcli.prediction import vectors_of_lines

    table, coverage = load(model), Coverage()
    texts = _places(sources), settings_of(model)
    blocks = vectors_of_lines(table, *texts, coverage, sif, remove_common, oov)
    return Applied((row for block in blocks for row in block), coverage)


def evaluate(
    path: str | Path,
    model: str | Path = "embeddings",
    *,
    task: Judgement | None = None,
    ks: Sequence[int] = (1,),
    fold_case: bool = True,
    oov: Oov = "skip",
) -> Similarity | Analogies | Classification | Regression:
    """Measure a table by word pairs or analogy questions, a model by labelled text.

    Without a `task` the file tells whether it holds pairs or questions. A word that is not there
    raises VocabularyError, is left out with its pair or question, or counts as zeros, by `oov`.
    Raises CorpusError for a file that holds something else.
    """
    from embedcli import evaluation as judge
    from embedcli import store

    place = Path(path)
    if task == "classify":
        return judge.classification(store.load(Path(model)), [place], ks, oov)
    if task == "regress":
        return judge.regression(store.load(Path(model)), [place], oov)
    table = load(model)
    if task == "analogy" or (task is None and judge.holds_questions(place)):
        return judge.analogies(table, judge.read_questions(place), fold_case, oov)
    return judge.similarity(table, judge.read_pairs(place), fold_case, oov)


class Cache(NamedTuple):
    """The ids of corpora read before: where they lie, how many, their bytes, and those freed."""

    folder: str
    entries: int
    bytes: int
    freed: int = 0


def cache() -> Cache:
    """Say what is kept of corpora that were read before."""
    from embedcli.text import cache as kept

    entries = kept.entries()
    return Cache(str(kept.cache_folder()), len(entries), sum(entry.size for entry in entries))


def clear_cache() -> Cache:
    """Remove the ids of corpora that were read before."""
    from embedcli.text.cache import clear

    freed = clear()
    return cache()._replace(freed=freed)


def settings_of(path: str | Path) -> TextSettings:
    """Return the settings a model was trained with; the defaults for a file of vectors."""
    from embedcli.config import TextSettings

    if Path(path).exists() and not _is_model(Path(path)):
        return TextSettings()
    from embedcli import store

    return store.load_settings(Path(path))


def tokenizer_of(path: str | Path) -> Tokenizer:
    """Make the tokenizer with which a model was trained; the default one for a file of vectors."""
    from embedcli.text.tokenizer import Tokenizer

    return Tokenizer(settings_of(path))


def convert(
    source: str | Path,
    target: str | Path,
    to: str | None = None,
    *,
    options: Options | None = None,
) -> Read:
    """Write vectors in another format and return what was read, with what was left out.

    `to` is the name of a format; none: the one that the name of `target` tells. Raises FormatError
    or StoreError.

    >>> convert("embeddings", "vectors.txt.gz", "word2vec")  # doctest: +SKIP
    """
    from embedcli import formats

    return formats.convert(Path(source), Path(target), to or _format_of(Path(target)), options)


def _format_of(target: Path) -> str:
    """Tell a format by the name of a file that is to be written."""
    name = target.name.lower()
    for ending in (".gz", ".bz2", ".xz", ".zst"):
        name = name.removesuffix(ending)
    suffix = Path(name).suffix
    if suffix not in FORMAT_OF_SUFFIX:
        known = ", ".join(suffix or "a folder" for suffix in FORMAT_OF_SUFFIX)
        raise FormatError(f"{target}: the name tells no format; expected {known}", "--to FORMAT")
    return FORMAT_OF_SUFFIX[suffix]


def explain(
    text: str,
    model: str | Path = "embeddings",
    *,
    labels: Sequence[str] = (),
    seed: int | None = None,
    oov: Literal["error", "skip"] = "skip",
) -> explanation.Step:
    """Take one step of learning on a text, in a copy, and lay open all that it met.

    `labels` are the right ones, or numbers, for a supervised model; `seed` draws other windows and
    noise words; a word that the model does not have is an error or left out, by `oov`. Raises
    StoreError, VocabularyError or ConfigError.
    """
    from embedcli import store
    from embedcli.explanation import explain_step

    return explain_step(store.load(Path(model)), text, labels, seed, oov)


def explain_word(word: str, model: str | Path = "embeddings") -> explanation.Word:
    """Tell what became of a word in training; raises StoreError or VocabularyError."""
    from embedcli import store
    from embedcli.explanation import explain_word as tell

    opened = store.load(Path(model))
    return tell(opened, find(opened.table, [word], spelt_as=model).words[0])
