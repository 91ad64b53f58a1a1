"""The functions a Python user calls, and the command line too.

Each checks its arguments, calls the module that does the work, and returns its records. They are
importable from `embedcli` itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from embedcli.errors import ConfigError, FormatError
from embedcli.table import (
    Analogy,
    Answers,
    Comparison,
    EmbeddingTable,
    Found,
    Method,
    Metric,
    Neighbors,
    OddOneOut,
    Questions,
)
from embedcli.text.vocabulary import Coverage, Oov
from embedcli.views import notebook

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from embedcli import explanation, mapping
    from embedcli.comparison import TableComparison
    from embedcli.config import EngineName, TrainSettings
    from embedcli.cooccurrences import Cooccurrences
    from embedcli.description import Description
    from embedcli.ensemble import Ensemble, StableNeighbors
    from embedcli.evaluation import Analogies, Classification, Regression, Similarity
    from embedcli.formats.base import Options, Read
    from embedcli.indexing import Indexed
    from embedcli.mapping import Map, MapPair
    from embedcli.prediction import Results
    from embedcli.reproduction import Reproduction
    from embedcli.text.tokenized import OovId, Tokenized
    from embedcli.text.vocabulary import Vocabulary
    from embedcli.training.run import Report, Trained
    from embedcli.tuning import Trial, Tuned

Evaluation = Literal["similarity", "analogy", "classify", "regress"]
Source = str | Path
Sources = Source | Sequence[Source]
Model = str | Path | EmbeddingTable
Models = Model | Sequence[Model]

DATA = Path(__file__).parent / "data"


def train(
    sources: Sources | None = None,
    out: Source = "embeddings",
    *,
    texts: Iterable[Any] | None = None,
    config: Source | None = None,
    resume: bool = False,
    engine: EngineName = "local",
    address: str | None = None,
    mixed: bool = False,
    report: Report | None = None,
    stop: Callable[[], bool] | None = None,
    **settings: Any,
) -> Trained:
    """Train a table on text and save it as the model folder `out`.

    `sources` are files, folders, globs, addresses of fsspec or "-"; without, the sample text that
    comes with the package, and its preset where no `config` is given. `config` is the name of a
    preset or a YAML file; `settings` are fields of `TrainSettings`.

    `texts` takes the place of `sources`: any iterable, such as a generator or a column of pandas or
    polars, of strings, of lists of tokens, or of tuples `(text, label)`. It is read once, into a
    temporary file, and gives the same bytes as a file of these lines. Tokens are kept as they are:
    the tokenizer is "whitespace", without folding, unless `settings` say otherwise. A text that is
    None or NaN is empty.

    `resume` continues the run that was stopped before it wrote `out`: its text and settings are
    read from its checkpoint; those given must be the same, and `texts` are needed again. The
    setting `update` names a model to continue, whose settings take the place of the preset.
    `report` is called while a long text is read, with what the run starts from, and after each
    group of batches; if `stop` then returns true, a checkpoint is kept and `Stopped` is raised.
    With several `shards` it gets a `Round` before each `Step`, and from a cluster a `Notice` where
    a machine joins, is lost or is left out.

    `engine` says who trains the `shards`: this machine, one after the other, or with "ray" the
    machines of the Ray cluster at `address` ("auto" by default), which read the text too, each some
    parts of it. The table is the same; machines that would give other bytes are refused unless
    `mixed`.

    Raises ConfigError, CorpusError, StoreError or TrainingError; after the last, the last good
    state has been saved.
    """
    from embedcli.config import TrainSettings, explicit
    from embedcli.training import run
    from embedcli.training.engines import EngineChoice

    if texts is not None:
        from tempfile import TemporaryDirectory

        from embedcli.text.iterables import TOKEN_SETTINGS, write_texts

        if sources is not None:
            raise ConfigError("texts: found sources too; expected one of them")
        with TemporaryDirectory(prefix="embed-") as folder:
            path, tokens = write_texts(texts, Path(folder))
            given = explicit(TrainSettings, config=config, given=settings)
            kept = {} if not tokens or "tokenizer" in given else TOKEN_SETTINGS
            return train(
                path,
                out,
                config=config,
                resume=resume,
                engine=engine,
                address=address,
                mixed=mixed,
                report=report,
                stop=stop,
                **{**kept, **settings},
            )
    say, asked = report or (lambda _: None), stop or (lambda: False)
    trained_by = EngineChoice(engine, address, mixed)
    if resume:
        places = None if sources is None else _places(sources)
        given = explicit(TrainSettings, config=config, given=settings)
        return run.resume(places, Path(out), given, say, asked, trained_by)
    places, chosen = _resolved(sources, config, settings)
    return run.start(places, Path(out), chosen, say, asked, trained_by)


def train_replicas(
    sources: Sources | None = None,
    out: Source = "embeddings",
    replicas: int | None = None,
    *,
    config: Source | None = None,
    resume: bool = False,
    report: Report | None = None,
    stop: Callable[[], bool] | None = None,
    **settings: Any,
) -> list[Trained]:
    """Train several models of one text, with successive seeds, in the folders `out`/1, `out`/2, ...

    The text is read once; with the setting `resample` each model is trained on another bootstrap of
    its lines. All else is as in `train`. `resume` continues what was stopped, or adds replicas up
    to the number given; without a number there are as many as before. Raises as `train`, and
    StoreError where `out` is not empty.
    """
    from embedcli.config import TrainSettings, explicit
    from embedcli.training import replicas as several

    say, asked = report or (lambda _: None), stop or (lambda: False)
    if resume:
        places = None if sources is None else _places(sources)
        given = explicit(TrainSettings, config=config, given=settings)
        return several.resume(places, Path(out), given, replicas, say, asked)
    if not replicas or replicas < 1:
        raise ConfigError(f"replicas: found {replicas}; expected a whole number from 1")
    places, chosen = _resolved(sources, config, settings)
    return several.start(places, Path(out), chosen, replicas, say, asked)


def _resolved(
    sources: Sources | None, config: Source | None, settings: Mapping[str, Any]
) -> tuple[list[Source], TrainSettings]:
    """Return the text of a training, the sample where there is none, and its settings."""
    from embedcli.config import COLUMNS, TrainSettings, explicit, presets, read_yaml, schema
    from embedcli.config import resolve as resolve_settings
    from embedcli.text.sources import find_sources
    from embedcli.training import update

    given = explicit(TrainSettings, config=config, given=settings)
    base: Mapping[str, Any] | None = None
    if given.get("update") is not None:
        if sources is None:
            raise ConfigError("update: found no text to go on with", "embed train TEXT --update …")
        base = update.inherited_settings(
            Path(schema(TrainSettings)["update"].check(given["update"]))
        )
        if all(source.kind == "plain" for source in find_sources(_places(sources))):
            base = {name: value for name, value in base.items() if name not in COLUMNS}
    if sources is None:
        sources = sample(config, settings)
        if config is None and sources.name == "sample.txt":
            base = dict(read_yaml(presets()["sample"], TrainSettings))
            if given.get("task", base["task"]) != base["task"]:
                del base["lr"]  # of its own task
    chosen = resolve_settings(TrainSettings, config=config, given=settings, base=base)
    return _places(sources), chosen


def tune(
    sources: Sources,
    out: Source = "tuning",
    *,
    metric: str | None = None,
    time: str | None = None,
    trials: int | None = None,
    space: Source | None = None,
    dim: int | Literal["auto"] | None = None,
    config: Source | None = None,
    resume: bool = False,
    report: Callable[[Trial, Trial | None], None] | None = None,
    **settings: Any,
) -> Tuned:
    """Search for settings of a task by many short trainings; the best are in `out/best.yaml`.

    Trials are compared by `metric` on the texts of the setting `valid`, or on a `valid_share` of
    the corpus (.1 by default): "accuracy" (the default for labels), "f1" (macro; micro of several
    labels), "f1:LABEL", "precision@K", "loss", for numbers also "mse", "mae" and "r2", and for
    words "similarity:FILE", Spearman's correlation with the pairs of a file. The search lasts
    `time` ("90s", "5m", "1h"), or so many `trials`; by default 5 minutes. `space` is a file of
    settings with the values to try, by default that of the task; `dim="auto"` tries lengths of
    vectors alone. `settings` are those of every trial. `resume` goes on with a search that was
    stopped. `report` is called after each trial, with the best so far.

    Raises ConfigError, CorpusError, StoreError or TrainingError.
    """
    from embedcli import tuning
    from embedcli.config import TrainSettings, explicit, interval
    from embedcli.config import resolve as resolve_settings

    given = {**settings, **({"dim": dim} if isinstance(dim, int) else {})}
    chosen = resolve_settings(TrainSettings, config=config, given=given)
    if chosen.shards > 1:
        raise ConfigError(
            f"shards: found {chosen.shards}; trials of a search are trained without shards",
            "leave out shards, and give them to embed train",
        )
    of_texts = chosen.has_effect("valid_share")
    if of_texts and chosen.valid is None and not chosen.valid_share:
        chosen = replace(chosen, valid_share=0.1)
    if time is not None and not re.fullmatch(r"[1-9][0-9]{0,8}[smh]", time):
        raise ConfigError(f"time: found {time!r}; expected seconds, minutes or hours", "--time 5m")
    if time is None and trials is None:
        time = "5m"
    metric = metric or ("accuracy" if chosen.task == "classify" else "loss")
    kept = explicit(TrainSettings, config=config, given=given)
    left_out = ("valid", "valid_share", "workers", "cache", "seed", "task")
    path = None if space is None else Path(space)
    searched = tuning.DIMS if dim == "auto" else tuning.read_space(chosen, path)
    searched = tuple(each for each in searched if each.name not in given)
    if not searched:
        raise ConfigError(
            "space: every setting to search is given",
            "leave one out, or name others in --space FILE",
        )
    search = tuning.Search(
        settings=chosen,
        given={name: value for name, value in kept.items() if name not in left_out},
        space=searched,
        metric=metric,
        seconds=math.inf if time is None else interval(time).seconds,
        trials=1 << 30 if trials is None else trials,
        seed=chosen.seed,
    )
    say = report or (lambda *_: None)
    return tuning.tune(_places(sources), Path(out), search, resume=resume, report=say)


def reproduce(
    model: Source = "embeddings", sources: Sources | None = None, *, report: Report | None = None
) -> Reproduction:
    """Train a model again from its own settings and compare every file; the model stays.

    `sources` are the text it was trained on; without, the sample of its task. Their fingerprint is
    compared first, and another text is not trained on. `report` is as in `train`. Raises
    ConfigError for a model that began with another model or with vectors, StoreError for a damaged
    one, CorpusError for text that cannot be read twice.
    """
    from embedcli import reproduction
    from embedcli.tasks import TASKS

    return reproduction.reproduce(
        Path(model),
        None if sources is None else _places(sources),
        lambda task: DATA / TASKS[task].sample,
        report or (lambda _: None),
    )


def sample(config: Source | None = None, settings: Mapping[str, Any] | None = None) -> Path:
    """Return the path of the text that comes with the package for a task: tales, or reviews."""
    from embedcli.config import TrainSettings, explicit, schema
    from embedcli.tasks import TASKS

    task = schema(TrainSettings)["task"]
    given = explicit(TrainSettings, config=config, given=settings)
    return DATA / TASKS[task.check(given.get("task", task.default))].sample


def load(path: Source = "embeddings") -> EmbeddingTable:
    """Open a table, memory-mapped: a model folder, or a file of vectors in any known format.

    Raises StoreError or FormatError.

    >>> load("embeddings")["king"].shape  # doctest: +SKIP
    (100,)
    """
    place = Path(path)
    if is_model(place):
        from embedcli.model import load_table

        return load_table(place)
    from embedcli import formats

    return formats.open_table(place)


def is_model(place: Path) -> bool:
    """Whether a place is a model folder; so is one that is not there, to say how to make one."""
    return (place / "manifest.json").is_file() or not place.exists()


def tokenize(
    sources: Sources,
    *,
    vocabulary: Vocabulary | None = None,
    oov: OovId = "error",
    phrases: Source | None = None,
    **settings: Any,
) -> Tokenized:
    r"""Split text into tokens and number them by first appearance, or by a given vocabulary.

    `sources` are files, folders, globs or "-"; `settings` are fields of `TextSettings`. An unknown
    word of a given vocabulary raises VocabularyError, is skipped, or gets -1, by `oov`. `phrases`
    is a list of pairs of words to join, such as the `phrases.txt` of a model.

    >>> from tempfile import NamedTemporaryFile
    >>> with NamedTemporaryFile("w", suffix=".txt") as file:
    ...     _ = file.write("Hope to see you soon\nNice to see you again\n")
    ...     file.flush()
    ...     [line.ids for line in tokenize(file.name)]
    [[0, 1, 2, 3, 4], [5, 1, 2, 3, 6]]
    """
    from embedcli.config import TextSettings, resolve
    from embedcli.text.phrases import Phrases
    from embedcli.text.tokenized import Tokenized

    joined = None if phrases is None else Phrases.read(Path(phrases))
    chosen = resolve(TextSettings, given=settings)
    return Tokenized(_places(sources), chosen, vocabulary, oov, joined)


def count(
    sources: Sources,
    out: Source | None = None,
    *,
    progress: Callable[[str, int, int], None] | None = None,
    **settings: Any,
) -> Cooccurrences:
    r"""Count how often words stand near each other, or open the counts saved at `sources`.

    `settings` are fields of `CountSettings`. With `out` the counts are saved there, as
    `cooccurrences` describes. `progress` is called with what is being done ("read", "count"), how
    much of it is done, and how much there is. Raises ConfigError, CorpusError or StoreError.

    >>> from tempfile import NamedTemporaryFile
    >>> with NamedTemporaryFile("w", suffix=".txt") as file:
    ...     _ = file.write("Hope to see you soon\nNice to see you again\n")
    ...     file.flush()
    ...     counts = count(file.name, cache=False)
    >>> counts.pair("see", "you").count
    2.0
    """
    from embedcli import cooccurrences
    from embedcli.config import CountSettings, resolve

    if isinstance(sources, str | Path) and cooccurrences.holds_counts(Path(sources)):
        for name in settings:
            raise ConfigError(f"{name}: {sources} is counted already", "leave it out")
        if out is not None:
            raise ConfigError(f"out: {sources} is counted already", "leave it out")
        return cooccurrences.load_counts(Path(sources))
    chosen = resolve(CountSettings, given=settings)
    return cooccurrences.count(
        _places(sources), None if out is None else Path(out), chosen, progress
    )


def lookup(words: Iterable[str], model: Model = "embeddings", *, oov: Oov | None = None) -> Found:
    """Look up words: `EmbeddingTable.lookup` of a table, or of the one at a path."""
    return _table(model).lookup(words, oov)


def neighbors(
    words: str | Sequence[str] = (),
    model: Model = "embeddings",
    *,
    k: int = 10,
    metric: Metric = "cosine",
    plus: Sequence[str] = (),
    minus: Sequence[str] = (),
    exclude: Sequence[str] = (),
    oov: Oov | None = None,
    approximate: bool = False,
) -> Answers[Neighbors]:
    """Find the k words nearest to each of `words`: `EmbeddingTable.neighbors`."""
    return _table(model).neighbors(
        words, k, metric, plus=plus, minus=minus, exclude=exclude, oov=oov, approximate=approximate
    )


def neighbors_of(
    vectors: Source | ArrayLike,
    model: Model = "embeddings",
    *,
    k: int = 10,
    metric: Metric = "cosine",
    exclude: Sequence[str] = (),
    approximate: bool = False,
) -> Answers[Neighbors]:
    """Find the k words nearest to vectors: `EmbeddingTable.neighbors_of`.

    `vectors` are an array, (Q, D) or (D,), or a file: `.npy`, or lines of numbers with blanks
    between, which may begin with a name. Raises FormatError or VocabularyError.
    """
    from embedcli.formats.queries import read_queries

    table = _table(model)
    if isinstance(vectors, str | Path):
        labels, rows = read_queries(Path(vectors), table.dim)
        return table.neighbors_of(rows, labels, k, metric, exclude=exclude, approximate=approximate)
    return table.neighbors_of(vectors, None, k, metric, exclude=exclude, approximate=approximate)


def index(
    model: Source = "embeddings",
    *,
    connectivity: int = 16,
    expansion: int = 128,
    workers: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Indexed:
    """Build the index of a model folder, for `approximate` searches, in the folder `MODEL.index`.

    Each word is linked to `connectivity` others, the best of `expansion` candidates; as many are
    scored in a search. Larger numbers find more of the nearest words and take longer. `workers`
    add words, by default one for each core; one gives the same bytes every time. `report` is called
    with the number of words that were added, and of all. Training the model again makes the index
    stale: a search then raises StoreError.

    Raises ConfigError, StoreError, or FormatError for vectors that are not a model folder.
    """
    from embedcli.indexing import build_index
    from embedcli.model import load_model
    from embedcli.parallel import cores

    workers = cores() if workers is None else workers
    limits = {
        "connectivity": (connectivity, 2, 512),
        "expansion": (expansion, 1, 65_536),
        "workers": (workers, 1, 1024),
    }
    for name, (value, least, most) in limits.items():
        if not least <= value <= most:
            raise ConfigError(f"{name}: found {value}; expected {least} to {most}")
    place = Path(model)
    if not is_model(place):
        raise FormatError(
            f"{place}: is not a model folder, which an index belongs to",
            f"embed convert {place} MODEL, then embed index MODEL",
        )
    opened = load_model(place)
    say = report or (lambda *_: None)
    return build_index(place, opened.table, opened.digest, connectivity, expansion, workers, say)


def stable_neighbors(
    words: str | Sequence[str],
    models: Models,
    *,
    k: int = 10,
    metric: Metric = "cosine",
    plus: Sequence[str] = (),
    minus: Sequence[str] = (),
    exclude: Sequence[str] = (),
    oov: Oov | None = None,
) -> Answers[StableNeighbors]:
    """Find the words nearest to each of `words` in several models: `Ensemble.neighbors`.

    `models` are several models, or a folder of them, as `train_replicas` makes. Each neighbour has
    the mean of its scores, their range, and in how many models it is among the k nearest.
    """
    return load_ensemble(models).neighbors(
        words, k, metric, plus=plus, minus=minus, exclude=exclude, oov=oov
    )


def load_ensemble(models: Models) -> Ensemble:
    """Open several models, or all of a folder of models; raises StoreError or FormatError."""
    from embedcli.ensemble import Ensemble

    return Ensemble(_tables(models))


def analogy(
    words: Questions,
    model: Model = "embeddings",
    *,
    k: int = 10,
    method: Method = "3cosadd",
    oov: Oov | None = None,
    approximate: bool = False,
) -> Answers[Analogy]:
    """Find words D so that A is to B as C is to D: `EmbeddingTable.analogy`."""
    return _table(model).analogy(words, k, method, oov=oov, approximate=approximate)


def similarity(
    words: Questions,
    model: Model = "embeddings",
    *,
    metric: Metric = "cosine",
    oov: Oov | None = None,
) -> Answers[Comparison]:
    """Compare the two words of each pair: `EmbeddingTable.similarity`."""
    return _table(model).similarity(words, metric, oov=oov)


def odd(
    words: Questions, model: Model = "embeddings", *, oov: Oov | None = None
) -> Answers[OddOneOut]:
    """Find the word that fits least to the others: `EmbeddingTable.odd`."""
    return _table(model).odd(words, oov=oov)


def predict(
    sources: Sources,
    model: Source = "embeddings",
    *,
    k: int = 1,
    threshold: float = 0.0,
    oov: Oov | None = None,
    **columns: Any,
) -> Results:
    """Predict the k most probable labels of each line of text, or the numbers of a regression.

    A line's labels are `Label`s with a probability of at least `threshold`, the most probable
    first; a blank line has none. A word that the model does not have raises VocabularyError, is
    left out, counts with a vector of zeros, or with one composed of its parts, by `oov`: the last
    where the model has parts, else it is left out. `columns` are the settings `text_column`,
    `label_column`, `delimiter` and `header`, for other files than those the model was trained on.
    Raises StoreError for a model without labels.
    """
    from embedcli.prediction import PREDICTIONS, Results, open_text_model, text_model

    predictor = text_model(open_text_model(Path(model)), oov=oov, columns=columns)
    lines = PREDICTIONS[predictor.label_kind](predictor, _places(sources), k, threshold)
    return Results(lines, predictor.coverage)


def explain_predictions(
    sources: Sources,
    model: Source = "embeddings",
    *,
    k: int = 1,
    threshold: float = 0.0,
    oov: Oov | None = None,
    **columns: Any,
) -> Results:
    """Say what the prediction of each line of text is made of: a contribution of every word.

    The lines are tuples of `Attribution`s, of the labels or numbers that `predict` returns. The
    arguments are those of `predict`. Raises StoreError for a model without labels.
    """
    from embedcli.attribution import explain_lines
    from embedcli.prediction import Results, open_text_model, text_model

    predictor = text_model(open_text_model(Path(model)), oov=oov, columns=columns)
    lines = explain_lines(predictor, _places(sources), k, threshold)
    return Results(lines, predictor.coverage)


def vectors(
    sources: Sources,
    model: Model = "embeddings",
    *,
    sif: float | None = None,
    remove_common: bool = False,
    fold_case: bool | None = None,
    oov: Oov | None = None,
) -> Results:
    """Average the vectors of each line's words, (D,), weighted by `sif / (sif + share)` if given.

    `remove_common` removes the component that all lines share (Arora et al. 2017), for which they
    are read to the end first. `fold_case` says whether the text is folded; without, it is as in
    the text that a model was trained on, and for other vectors each word is looked up as it stands,
    or else folded. `oov` is as in `predict`. The path of a fastText model, without other arguments,
    gives what its `get_sentence_vector` does. Raises VocabularyError where the table has no counts
    to weight by.
    """
    from embedcli.prediction import Results, sentence_vectors, vectors_of_lines

    coverage, places = Coverage(), _places(sources)
    blocks = None
    if not (isinstance(model, EmbeddingTable) or sif or remove_common or fold_case is not None):
        blocks = sentence_vectors(Path(model), places, coverage, oov)
    if blocks is None:
        table = _table(model)
        blocks = vectors_of_lines(table, places, coverage, sif, remove_common, oov, fold_case)
    return Results((row for block in blocks for row in block), coverage)


def evaluate(
    path: Source,
    model: Source = "embeddings",
    *,
    task: Evaluation | None = None,
    ks: Sequence[int] = (1,),
    fold_case: bool = True,
    oov: Oov | None = None,
    **columns: Any,
) -> Similarity | Analogies | Classification | Regression:
    """Evaluate a table on word pairs or analogy questions, a model on labelled text.

    Without a `task` the content of the file decides between pairs and questions. An unknown word
    raises VocabularyError, is left out with its pair or question, counts as zeros, or has a vector
    composed of its parts, by `oov`: the last where the table has parts, else it is left out.
    `columns` are as in `predict`, for labelled text. Raises CorpusError for a file that holds
    something else.
    """
    from embedcli import evaluation
    from embedcli.prediction import open_text_model
    from embedcli.tasks import TASKS

    for k in ks:
        if k < 1:
            raise ConfigError(f"k: found {k}; expected a whole number from 1")
    if task is not None and task not in get_args(Evaluation):
        expected = ", ".join(get_args(Evaluation))
        raise ConfigError(f"task: found {task!r}; expected one of {expected}")
    place = Path(path)
    if task in TASKS:
        kind = TASKS[task].label_kind
        return evaluation.LABELLED[kind](open_text_model(Path(model)), [place], ks, oov, columns)
    for name in columns:
        raise ConfigError(
            f"{name}: only labelled text has columns", "evaluate it with --task classify or regress"
        )
    table = load(model)
    if task == "analogy" or (task is None and evaluation.holds_questions(place)):
        return evaluation.analogies(table, evaluation.read_questions(place), fold_case, oov)
    return evaluation.similarity(table, evaluation.read_pairs(place), fold_case, oov)


def compare(
    a: Models,
    b: Models,
    show: Sequence[str] = (),
    *,
    words: int | None = 20_000,
    min_count: int = 1,
    k: int = 10,
    center: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> TableComparison:
    """Compare two tables on their common words: which moved, and what is only in one.

    Several models on a side, or a folder of models, are its replicas: a word's change is then
    compared with the change between the replicas of one side. The record is a sequence of words,
    the most moved first; `show` are words to ask for by name. `words` limits the words that are
    compared to the most frequent (None: all), `min_count` to those with such a count in every
    table; `k` neighbours are compared; `center` subtracts the mean vector first. See
    `comparison.compare_tables`. Raises StoreError, FormatError or VocabularyError.
    """
    from embedcli.comparison import compare_tables

    sides = _tables(a), _tables(b)
    names = _name(a, "a"), _name(b, "b")
    say = progress or (lambda *_: None)
    return compare_tables(
        sides, names, show, words=words, min_count=min_count, k=k, center=center, progress=say
    )


def explain(
    text: str,
    model: Source = "embeddings",
    *,
    labels: Sequence[str] = (),
    seed: int | None = None,
    oov: Literal["error", "skip"] = "skip",
) -> explanation.Step:
    """Compute one training step on a text, in a copy of the model, and return all its parts.

    `labels` are the right ones, or numbers, for a supervised model; `seed` draws other windows and
    negative samples; an unknown word is an error or left out, by `oov`. Raises StoreError,
    VocabularyError or ConfigError.
    """
    from embedcli.explanation import explain_step
    from embedcli.model import load_model

    return explain_step(load_model(Path(model)), text, labels, seed, oov)


def explain_word(word: str, model: Source = "embeddings") -> explanation.Word:
    """Return how training changed the row of a word; raises StoreError or VocabularyError."""
    from embedcli.explanation import explain_word as explain
    from embedcli.model import load_model

    opened = load_model(Path(model))
    return explain(opened, opened.table.lookup([word]).tokens[0])


def explain_pair(
    first: str, second: str, model: Source = "embeddings", *, k: int = 10
) -> explanation.Pair:
    """Split the cosine of two words among the context words of the output table.

    `k` words of each kind are listed. See `explanation.explain_pair`. Raises VocabularyError, and
    StoreError for a model without an output table.
    """
    from embedcli.explanation import explain_pair as explain
    from embedcli.model import load_model

    return explain(load_model(Path(model)), (first, second), k)


def map_words(
    model: Model = "embeddings",
    *,
    words: int = 20_000,
    layout: Literal["auto", "pca", "tsne"] = "auto",
    colors: Source | None = None,
    report: Callable[[str, int, int, str], None] | None = None,
) -> Map:
    """Map the `words` most frequent words of a table: places in a plane, and exact neighbours.

    `layout` is "tsne", "pca", or "auto": t-SNE, but PCA for fewer than 30 words; vectors of one or
    two numbers are drawn as they are. `colors` is a TSV of values to colour words by. `report` is
    told what is being done, how much of it is done, the total, and the unit. In a notebook the
    record is a picture. See `mapping.map_words`. Raises ConfigError, CorpusError, VocabularyError,
    StoreError or FormatError.
    """
    from embedcli import mapping

    source = _source(model, "table")
    return mapping.map_words(
        source.table,
        source.name,
        words=words,
        layout=layout,
        model=source.model,
        colors=None if colors is None else Path(colors),
        report=report or (lambda *_: None),
    )


def map_pair(
    a: Models,
    b: Models,
    *,
    words: int = 20_000,
    layout: Literal["auto", "pca", "tsne"] = "auto",
    colors: Source | None = None,
    report: Callable[[str, int, int, str], None] | None = None,
) -> MapPair:
    """Map the words that two tables have in common beside each other, and compare them.

    The `words` most frequent are drawn, and compared as `compare` does: by how far they moved, and
    how many neighbours they share. Several models on a side, or a folder of models, are its
    replicas; the first of them is drawn. All else is as in `map_words`, and so are the errors.
    """
    from embedcli import mapping
    from embedcli.comparison import compare_tables

    mapping.check_words(words)
    say = report or (lambda *_: None)
    sides = [
        [_source(model, name) for model in _models(models)] for models, name in ((a, "a"), (b, "b"))
    ]
    one, two = (side[0] for side in sides)
    if one.name == two.name:
        one, two = one._replace(name=_name(a, "a")), two._replace(name=_name(b, "b"))
    comparison = compare_tables(
        ([each.table for each in sides[0]], [each.table for each in sides[1]]),
        (one.name, two.name),
        words=words,
        progress=lambda done, total: say("compare", done, total, "searches"),
    )
    chosen = None if colors is None else Path(colors)
    return mapping.map_pair((one, two), comparison, layout=layout, colors=chosen, report=say)


def convert(
    source: Model, target: Source, to: str | None = None, *, options: Options | None = None
) -> Read:
    """Write vectors in another format; returns what was read, and how much was left out.

    `source` is a model folder, a file of vectors in any known format, or a table. `to` is the name
    of a format; without, the name of `target` decides. Raises FormatError or StoreError.

    >>> convert("embeddings", "vectors.txt.gz", "word2vec")  # doctest: +SKIP
    """
    from embedcli import formats

    table = source if isinstance(source, EmbeddingTable) else Path(source)
    return formats.convert(table, Path(target), to, options)


def from_gensim(vectors: Any) -> EmbeddingTable:
    """Return the table of gensim's `KeyedVectors`, or of a model that has them as `wv`.

    The vectors, (V, D) float32, are shared and not copied. Counts are taken over if there are any.
    Raises FormatError for anything else, and VocabularyError for keys that are no words.

    >>> from_gensim(gensim.models.KeyedVectors.load("vectors.kv"))  # doctest: +SKIP
    EmbeddingTable(76673 words × 100)
    """
    import numpy as np

    from embedcli.text.vocabulary import Vocabulary

    keyed = getattr(vectors, "wv", vectors)
    try:
        words, rows, others = keyed.index_to_key, keyed.vectors, keyed.expandos
    except AttributeError:
        raise FormatError(
            f"found {type(vectors).__name__}; expected gensim's KeyedVectors"
        ) from None
    if not all(isinstance(word, str) for word in words):
        raise FormatError("found keys that are no text; expected words")
    counts = others.get("count")
    vocabulary = Vocabulary(words, None if counts is None else np.asarray(counts, np.int64))
    return EmbeddingTable(vocabulary, np.asarray(rows, np.float32))


def describe(path: Source = "embeddings", *, verify: bool = False) -> Description:
    """Describe a model folder or a file of vectors.

    `verify` compares every file of a folder with its digest first. Raises StoreError or
    FormatError.
    """
    from embedcli import description

    place = Path(path)
    if is_model(place):
        return description.of_model(place, verify=verify)
    return description.of_file(place)


@notebook.shown
class Cache(NamedTuple):
    """The cached ids of corpora: their folder, how many corpora, their bytes, and bytes freed."""

    folder: str
    entries: int
    bytes: int
    freed: int = 0


def cache() -> Cache:
    """Describe the cache of corpora that were read before."""
    from embedcli.text import cache as kept

    entries = kept.entries()
    return Cache(str(kept.cache_folder()), len(entries), sum(entry.size for entry in entries))


def clear_cache() -> Cache:
    """Remove the cached ids of corpora."""
    from embedcli.text.cache import clear

    freed = clear()
    return cache()._replace(freed=freed)


def _places(sources: Sources) -> list[Source]:
    return [sources] if isinstance(sources, str | Path) else list(sources)


def _table(model: Model) -> EmbeddingTable:
    return model if isinstance(model, EmbeddingTable) else load(model)


def _tables(models: Models) -> list[EmbeddingTable]:
    return [_table(model) for model in _models(models)]


def _models(models: Models) -> list[Model]:
    """Return one model, several, or all of a folder of models."""
    if isinstance(models, EmbeddingTable):
        return [models]
    if isinstance(models, str | Path):
        return [*models_in(Path(models))] or [models]
    return [each for model in models for each in _models(model)]


def _source(model: Model, name: str) -> mapping.Source:
    """Open what is drawn; `name` is that of a table in memory."""
    from embedcli import mapping
    from embedcli.model import load_model

    if isinstance(model, EmbeddingTable):
        return mapping.Source(model, name)
    trained = load_model(Path(model)) if is_model(Path(model)) else None
    table = load(model) if trained is None else trained.table
    return mapping.Source(table, Path(model).name or str(model), trained)


def models_in(folder: Path) -> list[Path]:
    """Return the model folders within a folder that is none itself, as --replicas makes them."""
    if (folder / "manifest.json").is_file() or not folder.is_dir():
        return []
    found = [path.parent for path in folder.glob("[!.]*/manifest.json")]
    found = [path for path in found if path.suffix not in (".previous", ".index")]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def _name(models: Models, otherwise: str) -> str:
    return str(models) if isinstance(models, str | Path) else otherwise
