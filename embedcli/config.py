"""The schema of settings: flags, YAML keys, defaults and the reference page come from it.

A setting is a field of a frozen dataclass. The annotation gives the types and words it takes; the
metadata gives its default for each task, its range, its help, and the other settings it needs to
have an effect. Nothing about a setting is written anywhere else. Later sources override earlier
ones: the defaults of the task, the settings of the model that is updated, the file or preset given
as `--config`, and flags.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from embedcli.errors import ConfigError

Auto = Literal["auto"]
Task = Literal["skipgram", "cbow", "glove", "svd", "classify", "regress"]
DEFAULT_TASK = "skipgram"
WORDS = ("skipgram", "cbow")  # tasks that learn from words around a word
COUNTS = ("glove", "svd")  # tasks that learn from co-occurrence counts
TEXTS = ("classify", "regress")  # tasks that learn from labelled texts
TRAINED = (*WORDS, "glove", *TEXTS)  # tasks that learn step by step
UPDATED = (*WORDS, *TEXTS)  # tasks whose models can be trained further on other text
SEVERAL = range(2, 10_001)  # shards
EngineName = Literal["local", "ray"]  # of training.engines
OF_SHARDS = ("shards", "round", "change_dtype")  # settings
# The rate of the own rows of words that are composed of n-grams, times that of other parts.
OWN_RATE = 0.5
# The share of the curvature that damps what differs from word to word in the gradient of parts. One
# epoch of 40 MB of Wikipedia, WordSim-353, MEN and syntactic analogies: .478, .564, .472 with all
# of it; .526, .580, .481 with half; .502, .562, .483 with .3.
PARTS_DAMPING = 0.5
# How files with columns are read; no part of what a model is.
COLUMNS = ("input_format", "text_column", "label_column", "delimiter", "header")
GROUPS = ("Task", "Run", "Optimizer", "Vocabulary", "Text", "Head", "Labels", "Validation", "Start")
S = TypeVar("S", bound="Settings")

MAX_FILE_SIZE = 64 * 1024  # bytes; PyYAML takes seconds for megabytes of brackets
LARGEST = sys.float_info.max
INTEGER = re.compile(r"[-+]?[0-9]+(_[0-9]+)*")
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
NULLS = ("none", "null", "~")
SIZE, SIZE_IN_WORDS = r"[1-9][0-9]{0,8}[kmg]?", "a size (512m, 2g)"


class ByTask:
    """A default that depends on the task; a task that is not named has that of the first."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def of(self, task: str) -> Any:
        """Return the default of a task."""
        return self.values.get(task, next(iter(self.values.values())))


def setting(default: Any, help: str, within: str = "", **details: Any) -> Any:  # noqa: A002
    """Declare a setting; `default` is a value or a `ByTask`, the rest are fields of `Spec`."""
    return dataclasses.field(default=default, metadata={"help": help, "within": within, **details})


task_setting = functools.partial(setting, group="Task")
word_setting = functools.partial(task_setting, only={"task": WORDS})
count_setting = functools.partial(task_setting, only={"task": COUNTS})
glove_setting = functools.partial(task_setting, only={"task": ("glove",)})
svd_setting = functools.partial(task_setting, only={"task": ("svd",)})
text_setting = functools.partial(setting, group="Text")
phrase_setting = functools.partial(text_setting, needs=("phrases",))
vocabulary_setting = functools.partial(setting, group="Vocabulary")
label_setting = functools.partial(setting, group="Labels")
head_setting = functools.partial(setting, group="Head", only={"task": TEXTS})
valid_setting = functools.partial(setting, group="Validation", only={"task": TEXTS})
optimizer_setting = functools.partial(setting, group="Optimizer", only={"task": TRAINED})
sgd_setting = functools.partial(setting, group="Optimizer", only={"optimizer": ("sgd",)})
run_setting = functools.partial(setting, group="Run", only={"task": TRAINED})
shard_setting = functools.partial(setting, group="Run", only={"task": UPDATED, "shards": SEVERAL})
start_setting = functools.partial(setting, group="Start")


class Spec(NamedTuple):
    """What the schema knows about one setting: its annotation, and what `setting` was given."""

    name: str
    kinds: tuple[type, ...]  # of the annotation: the types it allows, the words, and None
    choices: tuple[str, ...]
    optional: bool
    default: Any
    help: str
    group: str
    # The range of numbers, as messages say it: "from 0 to 1", "above 0". Factors of weights go up
    # to 1e+18, as the product of two of them still fits a float32.
    within: str = ""
    pattern: str | None = None  # which the whole text must match
    form: str | None = None  # the pattern in words
    formerly: str | None = None  # an old name, still accepted in files
    # It has an effect only where each of these settings has one of the values,
    only: Mapping[str, tuple[str, ...] | range] = types.MappingProxyType({})
    needs: tuple[str, ...] = ()  # and where one of these settings is set

    @property
    def flag(self) -> str:
        """The flag of this setting: its name with dashes."""
        return "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        """Whether the setting is either on or off."""
        return self.kinds == (bool,) and not self.choices and not self.optional

    def default_of(self, task: str) -> Any:
        """Return the default for a task."""
        return self.default.of(task) if isinstance(self.default, ByTask) else self.default

    def allowed(self) -> str:
        """Describe the values that this setting takes."""
        number = f" {self.within}" if self.within else ""
        words = {bool: "true or false", int: f"a whole number{number}", float: f"a number{number}"}
        ways = [words.get(kind, self.form or "text") for kind in self.kinds]
        return in_words([*ways, *self.choices, *(["none"] if self.optional else [])])

    def misplaced(self, values: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return an error and a hint if this setting has no effect beside others, else None.

        Settings that are not among `values` are taken to be right.
        """
        for other, allowed in self.only.items():
            if other in values and values[other] not in allowed:
                choice = f"{other} {_in_words(allowed)}"
                return (
                    f"{self.name}: has no effect with {other} {values[other]}; it belongs to "
                    f"{choice}",
                    f"leave it out, or choose {choice}",
                )
        if self.needs and self.needs[0] in values and not any(values[name] for name in self.needs):
            needed = in_words(self.needs)
            return f"{self.name}: has no effect without {needed}", f"leave it out, or give {needed}"
        return None

    def conditions(self) -> list[str]:
        """Return what the setting needs to have an effect, in words."""
        needs = [in_words(self.needs)] if self.needs else []
        return [f"{name} {_in_words(values)}" for name, values in self.only.items()] + needs

    def parse(self, text: str) -> Any:
        """Read a value as a flag or a plain YAML scalar spells it; raises ConfigError."""
        if self.optional and text.lower() in NULLS:
            return None
        if text in self.choices:
            return text
        for kind in self.kinds:
            value = _READERS[kind](text)
            if value is not None:
                return self.check(value)
        raise self._refuse(repr(text))

    def check(self, value: Any) -> Any:
        """Return a value with the type of this setting; raises ConfigError if it is not allowed."""
        if (value is None and self.optional) or (
            isinstance(value, str)
            and (
                value in self.choices
                or (str in self.kinds and (not self.pattern or re.fullmatch(self.pattern, value)))
            )
        ):
            return value
        if isinstance(value, bool):
            if bool in self.kinds:
                return value
        elif isinstance(value, int) and int in self.kinds:
            return self._inside(value)
        elif isinstance(value, int | float) and float in self.kinds and abs(value) <= LARGEST:
            return self._inside(float(value))
        raise self._refuse(repr(value))

    def _inside(self, value: float) -> float:
        """Return a number; raises ConfigError outside the range."""
        for word, limit in re.findall(r"(from|above|to) ([-+.e\d]+)", self.within):
            if not _LIMITS[word](value, float(limit)):
                raise self._refuse(repr(value))
        return value

    def _refuse(self, found: str) -> ConfigError:
        shown = found if len(found) <= 80 else found[:77] + "..."
        return ConfigError(f"{self.name}: found {shown}; expected {self.allowed()}")


def in_words(names: Iterable[str]) -> str:
    """Join names for a sentence.

    >>> in_words(["a", "b", "c"])
    'a, b or c'
    """
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def _in_words(allowed: tuple[str, ...] | range) -> str:
    return f"from {allowed.start}" if isinstance(allowed, range) else in_words(allowed)


def _read_integer(text: str) -> int | None:
    # int() alone would take the digits of any script, and any number of them.
    return int(text) if INTEGER.fullmatch(text) and len(text) <= 20 else None


def _read_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


_READERS: dict[type, Callable[[str], Any]] = {
    bool: lambda text: BOOLEANS.get(text.lower()),
    int: _read_integer,
    float: _read_number,
    str: lambda text: text,
}
_SCHEMAS: dict[type, Mapping[str, Spec]] = {}
_LIMITS = {"from": operator.ge, "above": operator.gt, "to": operator.le}  # words of `Spec.within`


class Settings:
    """Base class of settings: fills in the task's defaults and checks every value.

    Raises ConfigError for a value that is not allowed. Whether a setting has an effect is checked
    by `resolve`, for the values that were given.
    """

    def __post_init__(self) -> None:
        for name, spec in schema(type(self)).items():
            value = getattr(self, name)
            is_auto = value == "auto" and "auto" in spec.choices
            if isinstance(spec.default, ByTask) and (value is spec.default or is_auto):
                value = spec.default_of(getattr(self, "task", ""))
            object.__setattr__(self, name, spec.check(value))

    def has_effect(self, name: str) -> bool:
        """Return whether a setting has an effect beside the others."""
        return schema(type(self))[name].misplaced(vars(self)) is None


@dataclass(frozen=True, kw_only=True)
class TextSettings(Settings):
    """How bytes become tokens and tokens become ids."""

    encoding: str = text_setting("utf-8", "Encoding of the text.")
    errors: Literal["strict", "replace", "skip"] = text_setting(
        "strict", "How to handle undecodable bytes: as an error, as U+FFFD, or by leaving them out."
    )
    input_format: Literal["auto", "plain", "csv", "tsv", "jsonl", "parquet", "arrow"] = (
        text_setting(
            "auto",
            "What the files are, whatever their names; auto: as they are named, or by content.",
        )
    )
    max_expansion: int = text_setting(
        200,
        "Largest size a compressed file may expand to, as a multiple of its own size.",
        "from 1",
    )
    tokenizer: Literal["word", "whitespace", "char"] = text_setting(
        "word", "Unicode words, text between blanks, or grapheme clusters."
    )
    segmenter: str | None = text_setting(
        None,
        "Library that splits scripts written without spaces into words: icu.",
        only={"tokenizer": ("word",)},
    )
    normalize: bool = text_setting(True, "Compose characters first (Unicode NFC).")
    fold_case: bool = text_setting(True, "Fold upper and lower case together.")
    min_count: int | Auto = vocabulary_setting(
        "auto", "Leave out words that occur fewer times than this.", "from 1"
    )
    max_vocab: int | None = vocabulary_setting(
        None, "Keep at most this many words, by count.", "from 1"
    )
    phrases: bool = text_setting(
        False, "Join words that stand together more often than chance (new_york)."
    )
    phrase_score: Literal["mikolov", "npmi"] = phrase_setting(
        "mikolov",
        "Score of two words as a phrase: counts as in word2phrase, or normalized information.",
    )
    phrase_threshold: float | None = phrase_setting(
        None,
        "Score above which words are a phrase; none: 100 for mikolov, 0.5 for npmi.",
        "from -1 to 1e+18",
    )
    phrase_min_count: int = phrase_setting(
        5,
        "Fewest times that a phrase and its words occur; mikolov subtracts it from the former.",
        "from 1",
    )
    phrase_passes: int = phrase_setting(
        2, "Passes that join two words each: phrases have up to 2, 4, 8, ... words.", "from 1 to 10"
    )
    stop_words: str | None = vocabulary_setting(None, "File of words to leave out, one per line.")
    label_prefix: str | None = label_setting(
        "__label__", "Prefix of a label in a line; none: lines have no labels."
    )
    text_column: str | None = label_setting(
        None, "Column, or key (JSON lines), of the text; makes any file one with columns."
    )
    label_column: str | None = label_setting(
        None, "Column or key of the label, or of the numbers to learn.", only={"task": TEXTS}
    )
    delimiter: str | None = label_setting(
        None,
        "Character between the columns of CSV; none: a comma, or what the first line tells.",
        pattern=r'[^"\r\n\0]|tab|\\t',
        form="one character, tab",
    )
    header: bool = label_setting(
        True,
        "Whether the first line of CSV and TSV names the columns; else their numbers do, from 1.",
    )
    cache: bool = text_setting(True, "Reuse the ids of an unchanged corpus.")
    workers: int | Auto = setting(
        "auto", "Processes to use; the table is the same for any number.", "from 1", group="Run"
    )


WEIGHTING = "What a pair counts: 1 / its distance, or 1."
MEMORY = "Memory of all processes while they count, at most; the rest is sorted on disk."


@dataclass(frozen=True, kw_only=True)
class CountSettings(TextSettings):
    """How words that stand near each other are counted."""

    window: int = task_setting(10, "Largest distance between two words of a pair.", "from 1 to 100")
    weighting: Literal["harmonic", "plain"] = task_setting("harmonic", WEIGHTING)
    memory: str = setting("1g", MEMORY, group="Run", pattern=SIZE, form=SIZE_IN_WORDS)


@dataclass(frozen=True, kw_only=True)
class TrainSettings(TextSettings):
    """Everything that decides a training run.

    >>> TrainSettings().batch_size, TrainSettings(task="classify").batch_size
    (2048, 128)
    """

    task: Task = task_setting(DEFAULT_TASK, "What the table is trained for.")
    dim: int = task_setting(100, "Length of a vector.", "from 1 to 100000")
    window: int = task_setting(
        ByTask(skipgram=5, glove=10, svd=5),
        "Largest distance between a word and its context words.",
        "from 1 to 100",
        only={"task": (*WORDS, *COUNTS)},
    )
    weighting: Literal["harmonic", "plain"] = count_setting("harmonic", WEIGHTING)
    memory: str = setting(
        "1g", MEMORY, group="Run", pattern=SIZE, form=SIZE_IN_WORDS, only={"task": COUNTS}
    )
    x_max: float = glove_setting(
        100.0,
        "Count from which a pair has full weight; rarer pairs have less.",
        "above 0, up to 1e+18",
    )
    alpha: float = glove_setting(
        0.75, "Power of count / x_max that is the weight of a rarer pair.", "from 0 to 1"
    )
    sum_tables: bool = glove_setting(
        True, "Save the sum of a word's vector and its context vector; else the former alone."
    )
    shift: float = svd_setting(
        1.0,
        "The PMI is reduced by the logarithm of this (negative samples of skip-gram).",
        "from 1 to 1000",
    )
    context_power: float = svd_setting(
        0.75, "Counts of context words are raised to this power (smoothing).", "from 0 to 1"
    )
    singular_power: float = svd_setting(
        0.5, "Power of the singular values that the vectors are multiplied with.", "from 0 to 1"
    )
    negatives: int = word_setting(
        5, "Negative samples per context word: the weight of negative examples.", "from 1 to 1000"
    )
    noise_power: float = word_setting(
        0.75, "Negative samples are drawn by count to this power.", "from 0 to 1"
    )
    subsample: float | Auto | None = word_setting(
        "auto",
        "Drop words more frequent than this share at random (-sample of word2vec).",
        "from 0 to 1",
    )
    max_n: int = word_setting(
        0,
        "Longest character n-gram that is a part of a word; 0: words have no parts.",
        "from 0 to 50",
    )
    min_n: int = word_setting(
        3, "Shortest character n-gram that is a part of a word.", "from 1 to 50", needs=("max_n",)
    )
    ngram_unit: Literal["grapheme", "codepoint"] = word_setting(
        "grapheme",
        "What n counts: characters with their marks, or code points as in fastText.",
        needs=("max_n",),
    )
    # A multiple of 16 is fastest.
    tile: int = word_setting(
        128, "Consecutive centre words that share their negative samples.", "from 1 to 10000"
    )
    # More learn better and take longer.
    tile_negatives: int = word_setting(
        ByTask(skipgram=48, cbow=24),
        "Negative samples drawn for each tile.",
        "from 1 to 10000",
        formerly="tile_noise",
    )
    pool: Literal["mean", "sum", "max", "flatten"] = head_setting(
        "mean", "How the vectors of a text become one."
    )
    length: int | None = head_setting(
        None,
        "Number of tokens to which a text is cut or padded (needed by flatten).",
        "from 1 to 1e+06",
    )
    pad_side: Literal["left", "right"] = head_setting(
        "right", "Side on which a text is padded or cut.", needs=("length",)
    )
    # Up to two words help most; the end of a text counts as a word.
    word_ngrams: int | None = head_setting(
        None,
        "Longest n-gram of words that has a vector beside the words' own.",
        "from 2 to 5",
        only={"task": TEXTS, "pool": ("mean", "sum")},
    )
    # As in fastText, whose files have room for all of them; here only those that occur have rows.
    buckets: int = task_setting(
        2_000_000,
        "Number of hashes of n-grams; those that share one have one vector.",
        "from 1 to 1e+07",
        needs=("word_ngrams", "max_n"),
    )
    hidden: int | None = head_setting(None, "Units of a hidden layer.", "from 1 to 100000")
    dropout: float = head_setting(0.0, "Share of pooled units to drop.", "from 0 to 0.99")
    multi_label: bool | Auto = head_setting(
        "auto", "Whether a text may have several labels.", only={"task": ("classify",)}
    )
    class_weights: str | None = head_setting(
        None, "Weights of the classes: balanced, or label=weight,...", only={"task": ("classify",)}
    )
    # word2vec: small random rows, as in word2vec.c; uniform: ±.05, as in Keras.
    init: Literal["uniform", "word2vec", "normal", "zeros"] = task_setting(
        ByTask(skipgram="word2vec", classify="uniform", regress="uniform"),
        "Initial values of the rows.",
        only={"task": TRAINED},
    )
    init_scale: float = task_setting(
        0.05,
        "Half-width (uniform) or standard deviation (normal) of the initial values.",
        "from 0 to 1e+18",
        only={"init": ("uniform", "normal")},
    )
    # damped_sgd is stable in large batches, however frequent the words; adagrad keeps a large rate
    # for rare words, which tell labels apart.
    optimizer: Literal["sgd", "rmsprop", "adagrad", "adam", "damped_sgd"] = optimizer_setting(
        ByTask(skipgram="damped_sgd", glove="adagrad", classify="adagrad", regress="adagrad"),
        "Rule that turns gradients into steps.",
    )
    # CBOW takes a larger rate than skip-gram, as the words of a window share one gradient.
    lr: float | Auto = optimizer_setting(
        ByTask(skipgram=0.1, cbow=0.3, glove=0.1, classify="auto", regress=0.06),
        "Learning rate; auto chooses it by the number of labels.",
        "above 0, up to 1e+18",
    )
    schedule: Literal["constant", "linear", "cosine"] = optimizer_setting(
        ByTask(skipgram="linear", glove="constant", classify="linear"),
        "How the learning rate falls over the run: not at all, or to zero.",
    )
    warmup: float = optimizer_setting(
        0.0, "Share of the run over which the learning rate first rises.", "from 0 to 1"
    )
    momentum: float = sgd_setting(0.0, "Momentum of sgd.", "from 0 to 1")
    nesterov: bool = sgd_setting(False, "Nesterov momentum.", needs=("momentum",))
    weight_decay: float = optimizer_setting(
        0.0,
        "Share of a weight that a step subtracts from it, times the learning rate.",
        "from 0 to 1e+18",
    )
    clip_norm: float | None = optimizer_setting(
        None, "Largest norm of the gradient of a step.", "above 0"
    )
    epochs: int = run_setting(
        ByTask(skipgram=5, glove=15, classify=3, regress=4), "Passes over the corpus.", "from 1"
    )
    batch_size: int = run_setting(
        ByTask(skipgram=2048, glove=16_384, classify=128, regress=128),
        "Examples (texts, centre words, or pairs of rare words) per batch.",
        "from 1",
    )
    group: int = run_setting(
        ByTask(skipgram=12, glove=4, classify=1, regress=1),
        "Batches whose gradients make one step; as many workers can share it.",
        "from 1 to 1024",
    )
    group_growth: float = run_setting(
        1.0, "How many times as many batches a group has at the end of the run.", "from 1 to 16"
    )
    shards: int = setting(
        1,
        "Stretches of the text that are trained apart, on as many machines, and merged by rounds.",
        "from 1 to 10000",
        group="Run",
        only={"task": UPDATED},
    )
    round: str = shard_setting(
        "auto",
        "Words of each shard in the last and longest round; auto: at most 1M, and enough rounds.",
        pattern=r"[1-9][0-9]{0,11}|[1-9][0-9]{0,8}[kKmM]|auto",
        form="a number of words (200000, 200k, 1M), auto",
    )
    change_dtype: Literal["float32", "float16"] = shard_setting(
        "float32", "Numbers in which shards exchange changes of weights; float16 is half the bytes."
    )
    seed: int = setting(0, "Seed of all random numbers.", "from 0", group="Run")
    resample: bool = setting(
        False,
        "Train on a bootstrap of the text: as many lines, drawn with replacement by the seed.",
        group="Run",
    )
    valid: str | None = valid_setting(None, "File to validate on after each epoch.")
    valid_share: float = valid_setting(
        0.0, "Share of the corpus kept for validation.", "from 0 to 0.9"
    )
    patience: int | None = valid_setting(
        None,
        "Stop after this many epochs without a better validation.",
        "from 1",
        needs=("valid", "valid_share"),
    )
    snapshots: int = run_setting(
        0,
        "Snapshots of the most frequent words to keep, for the film of `embed map`.",
        "from 0 to 100",
    )
    update: str | None = start_setting(
        None,
        "Model to train further on new text; its ids and settings stay.",
        only={"task": UPDATED},
    )
    vectors: str | None = start_setting(
        None, "File of vectors, the initial values of the words it holds.", only={"task": TRAINED}
    )
    freeze: Literal["none", "found", "all"] = start_setting(
        "none",
        "Rows that are not trained: none, those found in --vectors, or all.",
        only={"task": UPDATED},
    )
    checkpoint_every: str = run_setting(
        "5m",
        "How often to save the state of the run, so that it can be resumed.",
        pattern=r"[1-9][0-9]{0,8}[smh]?|off",
        form="seconds (30s), minutes (5m), hours (1h), a number of steps (1000), or off",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_n and self.min_n > self.max_n:
            raise ConfigError(
                f"min_n: found {self.min_n}; expected at most max_n, which is {self.max_n}",
                f"--min-n {self.max_n}",
            )


def bytes_of(size: str) -> int:
    """Return the bytes of a size.

    >>> bytes_of("512m")
    536870912
    """
    factor = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}.get(size[-1])
    return int(size) if factor is None else int(size[:-1]) * factor


def tokens_of(amount: str) -> int:
    """Return a number of tokens.

    >>> tokens_of("200k"), tokens_of("1M")
    (200000, 1000000)
    """
    factor = {"k": 1000, "m": 1_000_000}.get(amount[-1].lower())
    return int(amount) if factor is None else int(amount[:-1]) * factor


class Interval(NamedTuple):
    """How often something is done: after so many seconds or steps; both infinite: never."""

    seconds: float = math.inf
    steps: float = math.inf


def interval(text: str) -> Interval:
    """Read an interval as `checkpoint_every` spells it.

    >>> interval("5m"), interval("1000")
    (Interval(seconds=300, steps=inf), Interval(seconds=inf, steps=1000))
    """
    if text == "off":
        return Interval()
    if text.isdigit():
        return Interval(steps=int(text))
    return Interval(seconds=int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]])


def schema(settings: type[Settings]) -> Mapping[str, Spec]:
    """Return every setting of a class by name, in the order of the class.

    >>> schema(TextSettings)["min_count"].allowed()
    'a whole number from 1 or auto'
    """
    if settings not in _SCHEMAS:
        hints = typing.get_type_hints(settings)
        fields = dataclasses.fields(settings)  # type: ignore[arg-type]
        _SCHEMAS[settings] = {field.name: _spec(field, hints[field.name]) for field in fields}
    return _SCHEMAS[settings]


def _spec(field: dataclasses.Field[Any], hint: Any) -> Spec:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds: list[type] = []
    choices: list[str] = []
    for part in typing.get_args(hint) if is_union else (hint,):
        if typing.get_origin(part) is Literal:
            choices += typing.get_args(part)
        elif part is not type(None):
            kinds.append(part)
    return Spec(
        name=field.name,
        kinds=tuple(kinds),
        choices=tuple(choices),
        optional=type(None) in typing.get_args(hint),
        default=field.default,
        **field.metadata,
    )


def resolve(
    settings: type[S],
    *,
    config: str | Path | None = None,
    given: Mapping[str, Any] | None = None,
    base: Mapping[str, Any] | None = None,
) -> S:
    """Return the settings made of the task's defaults, `base`, `config` and what was `given`.

    `config` is the name of a preset or the path of a YAML file. `base` holds the settings of an
    earlier model, as does a `config` that is the file of a model folder: those of them that have no
    effect beside the others are left out. Raises ConfigError, also for any other setting that has
    no effect.

    >>> resolve(TextSettings, given={"min_count": 2}).min_count
    2
    """
    base = base or {}
    file = Path(config or "")
    if file.name == "config.yaml" and file.with_name("manifest.json").is_file():
        base, config = {**base, **read_yaml(file, settings)}, None  # of a model folder
    chosen = explicit(settings, config=config, given=given)
    merged = settings(**{**base, **chosen})
    for name in chosen:
        problem = schema(settings)[name].misplaced(vars(merged))
        if problem is not None:
            where = "" if name in (given or {}) else f"{config}: "
            raise ConfigError(where + problem[0], problem[1])
    kept = {name: value for name, value in base.items() if merged.has_effect(name)}
    return settings(**{**kept, **chosen})


def explicit(
    settings: type[Settings],
    *,
    config: str | Path | None = None,
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the settings that `config` names or that were `given`; raises ConfigError."""
    given = given or {}
    for name in given:
        if name not in schema(settings):
            raise ConfigError(f"{name}: no such setting", nearest_setting(name, settings))
    if config is None:
        return dict(given)
    config = str(config)
    path = presets().get(config, Path(config))
    if not path.is_file():
        names = ", ".join(presets())
        hint = nearest(config, presets()) or f"The presets are: {names}. Or name a YAML file."
        what = "not a file" if path.exists() else "no such file or preset"
        raise ConfigError(f"{config}: {what}", hint)
    return {**read_yaml(path, settings), **given}


def require_same(
    names: Iterable[str], given: Mapping[str, Any], kept: Settings, whose: str, hint: str
) -> None:
    """Raise ConfigError if a named setting is given with another value than the kept one."""
    import json

    differing = [name for name in names if getattr(kept, name) != given[name]]
    if differing:
        found = ", ".join(f"{name} {json.dumps(given[name])}" for name in differing)
        known = ", ".join(f"{name} {json.dumps(getattr(kept, name))}" for name in differing)
        raise ConfigError(f"found {found}; {whose} has {known}", hint)


def presets() -> dict[str, Path]:
    """Return the presets by name: the files of `configs/`, which lies beside the package."""
    here = Path(__file__).resolve().parent
    folder = here / "configs" if (here / "configs").is_dir() else here.parent / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def former_names(settings: type[Settings]) -> dict[str, str]:
    """Return the old names of settings, each with the name that replaced it."""
    return {spec.formerly: name for name, spec in schema(settings).items() if spec.formerly}


def with_current_names(settings: type[Settings], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that were read from a file, with old names replaced."""
    former = former_names(settings)
    return {former.get(name, name): value for name, value in values.items()}


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return a hint at the known name that is spelt most like this one, or None."""
    from difflib import get_close_matches

    found = get_close_matches(name.replace("-", "_"), [*known], n=1)
    return f"Did you mean {found[0]}?" if found else None


def nearest_setting(name: str, settings: type[Settings]) -> str | None:
    """Return a hint at the setting that replaced `name`, or that is spelt most like it."""
    renamed = former_names(settings).get(name.replace("-", "_"))
    return f"Did you mean {renamed}?" if renamed else nearest(name, schema(settings))


def read_yaml(path: Path, settings: type[Settings]) -> dict[str, Any]:
    """Read a settings file: one level of `key: value`, each key once, each value checked.

    A plain value is read by the type of its setting (so `1e-3` is a number, and `1.5` is refused
    for a whole number); a quoted value is text. Old names of settings are accepted. Raises
    ConfigError with the line.
    """
    known, former = schema(settings), former_names(settings)
    values: dict[str, Any] = {}
    for line, key, scalar in read_pairs(path):
        where = f"{path}:{line}"
        name = key.replace("-", "_")
        name = former.get(name, name)
        if name not in known:
            raise ConfigError(f"{where}: {key}: no such setting", nearest(name, known))
        if name in values:
            raise ConfigError(f"{where}: {key}: given twice; expected each setting once")
        try:
            if scalar.style is None:
                values[name] = known[name].parse(scalar.value or "null")
            else:
                values[name] = known[name].check(scalar.value)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error.message}") from None
    return values


def read_pairs(path: Path) -> list[tuple[int, str, Any]]:
    """Read (line, key, scalar event) for each pair of a file that is one flat mapping.

    Only YAML's events are read and no objects are built, so neither aliases nor nesting can make a
    small file large.
    """
    import yaml

    pairs: list[tuple[int, str, Any]] = []
    key: Any = None
    depth = 0
    text = _read_small(path)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = 1 + (event.start_mark.line if event.start_mark else 0)
            tag = getattr(event, "tag", None)
            if isinstance(event, yaml.MappingStartEvent) and depth == 0 and not pairs:
                depth = 1
            elif isinstance(event, yaml.MappingEndEvent):
                depth = 0
            elif isinstance(event, yaml.ScalarEvent) and depth == 1 and tag is None:
                if key is None:
                    key, key_line = event, line
                else:
                    pairs.append((key_line, key.value, event))
                    key = None
            elif isinstance(event, yaml.NodeEvent):
                if depth == 0 and getattr(event, "value", None) == "" and tag is None:
                    continue  # an empty document
                found = f"the tag {tag}" if tag else _NODES[type(event).__name__]
                where = f"{path}:{line}: " + (f"{key.value}: " if key else "")
                raise ConfigError(f"{where}found {found}; expected key: value")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        raise ConfigError(
            f"{path}:{line + 1}: not YAML ({problem}); expected lines of key: value"
        ) from None
    return pairs


_NODES = {
    "AliasEvent": "an alias",
    "MappingStartEvent": "a mapping inside",
    "ScalarEvent": "text alone",
    "SequenceStartEvent": "a list",
}


def _read_small(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > MAX_FILE_SIZE:
        raise ConfigError(f"{path}: larger than {MAX_FILE_SIZE} bytes; expected a page of settings")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 at byte {error.start}") from None


def to_yaml(settings: Settings) -> str:
    """Write the settings that have an effect as YAML, which `read_yaml` reads to the same values.

    >>> print(to_yaml(TextSettings(max_vocab=9)).splitlines()[0])
    # Run
    """
    lines: list[str] = []
    for group, specs in groups(type(settings)).items():
        used = [spec for spec in specs if settings.has_effect(spec.name)]
        if used:
            lines.append(f"# {group}")
        lines += [f"{spec.name}: {_scalar(spec, getattr(settings, spec.name))}" for spec in used]
    return "\n".join(lines) + "\n"


def groups(settings: type[Settings]) -> dict[str, list[Spec]]:
    """Return the settings by group, in the order of `GROUPS`."""
    specs = schema(settings).values()
    grouped = {group: [spec for spec in specs if spec.group == group] for group in GROUPS}
    return {group: members for group, members in grouped.items() if members}


def _scalar(spec: Spec, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str) or value in spec.choices:
        return str(value)
    import yaml

    text: str = yaml.safe_dump(value, allow_unicode=True, width=math.inf, default_style='"')
    return text.rstrip("\n")
