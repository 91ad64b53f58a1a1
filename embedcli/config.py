"""The one schema of settings: flags, YAML keys, printed defaults and the reference page.

A setting is a field of a frozen dataclass. Its annotation says which types and words it takes,
its metadata what is said and checked of it; nothing about a setting is written anywhere else.
Values come from, the later the stronger: the defaults here, the preset of the task
(`configs/TASK.yaml`) or the settings of the model that is updated, a file given as `--config`, and
flags.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from embedcli.errors import ConfigError

Auto = Literal["auto"]
GROUPS = (
    "Task",
    "Run",
    "Optimizer",
    "Vocabulary",
    "Text",
    "Head",
    "Labels",
    "Validation",
    "Start",
)
S = TypeVar("S", bound="Settings")

# A settings file is a page of lines; YAML's own reader is slow on megabytes of brackets.
LARGEST_FILE = 64 * 1024
# Of a rate, and of what else weights are multiplied by: two of them are still a float32.
LARGEST_NUMBER = 1e18
INTEGER = re.compile(r"[-+]?[0-9]+(_[0-9]+)*")
TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
NOTHING = ("none", "null", "~")


def setting(
    default: Any,
    help: str,  # noqa: A002 - the field's own word, as in typer and argparse
    *,
    group: str,
    unit: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    exclusive_minimum: bool = False,
    pattern: str | None = None,
    form: str | None = None,
    formerly: str | None = None,
) -> Any:
    """Declare one setting: its default and what is said and checked of it.

    Text must match `pattern` as a whole; `form` says so in words. `formerly` is an old name of the
    setting, which files that hold settings may still use.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "group": group,
            "unit": unit,
            "minimum": minimum,
            "maximum": maximum,
            "exclusive_minimum": exclusive_minimum,
            "pattern": pattern,
            "form": form,
            "formerly": formerly,
        },
    )


class Spec(NamedTuple):
    """What is known of one setting: its types, words, range, default and help."""

    name: str
    kinds: tuple[type, ...]
    choices: tuple[str, ...]
    optional: bool
    default: Any
    help: str
    group: str
    unit: str | None
    minimum: float | None
    maximum: float | None
    exclusive_minimum: bool
    pattern: str | None
    form: str | None
    formerly: str | None

    @property
    def flag(self) -> str:
        """The flag of this setting: its name with dashes."""
        return "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        """Whether the setting is on or off and nothing else."""
        return self.kinds == (bool,) and not self.choices and not self.optional

    def allowed(self) -> str:
        """Say in words what this setting takes."""
        ways = [_kind_in_words(kind, self) for kind in self.kinds]
        ways += self.choices
        if self.optional:
            ways.append("none")
        return ways[0] if len(ways) == 1 else ", ".join(ways[:-1]) + " or " + ways[-1]

    def parse(self, text: str) -> Any:
        """Read a value as a flag or a plain YAML scalar spells it; raises ConfigError."""
        if self.optional and text.lower() in NOTHING:
            return None
        if text in self.choices:
            return text
        for kind in self.kinds:
            value = _READERS[kind](text)
            if value is not None:
                return self.check(value)
        raise self._refuse(repr(text))

    def check(self, value: Any) -> Any:
        """Return the value as this setting holds it; raises ConfigError where it may not."""
        if (value is None and self.optional) or (
            isinstance(value, str) and (value in self.choices or self._is_text(value))
        ):
            return value
        if isinstance(value, bool):
            if bool in self.kinds:
                return value
        elif isinstance(value, int) and int in self.kinds:
            return self._within(value)
        elif isinstance(value, int | float) and float in self.kinds and math.isfinite(value):
            return self._within(float(value))
        raise self._refuse(repr(value))

    def _is_text(self, value: str) -> bool:
        return str in self.kinds and (
            self.pattern is None or re.fullmatch(self.pattern, value) is not None
        )

    def _within(self, value: float) -> float:
        low, high = self.minimum, self.maximum
        too_low = low is not None and (value <= low if self.exclusive_minimum else value < low)
        if too_low or (high is not None and value > high):
            raise self._refuse(repr(value))
        return value

    def _refuse(self, found: str) -> ConfigError:
        shown = found if len(found) <= 80 else found[:77] + "..."
        return ConfigError(f"{self.name}: found {shown}; expected {self.allowed()}")


def _kind_in_words(kind: type, spec: Spec) -> str:
    if kind is bool:
        return "true or false"
    if kind is str:
        return spec.form or "text"
    noun = "a whole number" if kind is int else "a number"
    if spec.unit:
        noun += f" of {spec.unit}"
    low = None if spec.minimum is None else f"{spec.minimum:g}"
    high = None if spec.maximum is None else f"{spec.maximum:g}"
    if low is None:
        return noun if high is None else f"{noun} up to {high}"
    if spec.exclusive_minimum:
        return f"{noun} above {low}" if high is None else f"{noun} above {low}, up to {high}"
    return f"{noun} from {low}" if high is None else f"{noun} from {low} to {high}"


def _read_integer(text: str) -> int | None:
    # int() alone would take any script's digits, and an unbounded string of them.
    return int(text) if INTEGER.fullmatch(text) and len(text) <= 20 else None


def _read_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


_READERS: dict[type, Callable[[str], Any]] = {
    bool: lambda text: TRUTH.get(text.lower()),
    int: _read_integer,
    float: _read_number,
    str: lambda text: text,
}


_SCHEMAS: dict[type, Mapping[str, Spec]] = {}


class Settings:
    """Base of the settings: every value is checked when one is made; raises ConfigError."""

    def __post_init__(self) -> None:
        for name, spec in schema(type(self)).items():
            object.__setattr__(self, name, spec.check(getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class TextSettings(Settings):
    """How bytes become tokens and tokens become ids."""

    encoding: str = setting("utf-8", "Encoding of the text.", group="Text")
    errors: Literal["strict", "replace", "skip"] = setting(
        "strict", "What to do with bytes that are not of that encoding.", group="Text"
    )
    max_expansion: int = setting(
        200,
        "Largest size a compressed file may expand to, as a multiple of its own size.",
        group="Text",
        minimum=1,
    )
    tokenizer: Literal["word", "whitespace", "char"] = setting(
        "word", "Words (Unicode), what stands between blanks, or grapheme clusters.", group="Text"
    )
    segmenter: str | None = setting(
        None, "Library that splits scripts written without spaces into words: icu.", group="Text"
    )
    normalize: bool = setting(True, "Compose characters first (Unicode NFC).", group="Text")
    fold_case: bool = setting(True, "Fold upper and lower case together.", group="Text")
    min_count: int | Auto = setting(
        "auto", "Leave out words seen fewer times than this.", group="Vocabulary", minimum=1
    )
    max_vocab: int | None = setting(
        None, "Keep at most this many words, by count.", group="Vocabulary", minimum=1
    )
    stop_words: str | None = setting(
        None, "File of words to leave out, one a line.", group="Vocabulary"
    )
    label_prefix: str = setting("__label__", "What marks a label in a line.", group="Labels")
    text_column: str | None = setting(
        None, "Column (CSV, TSV) or key (JSON lines) of the text.", group="Labels"
    )
    label_column: str | None = setting(
        None, "Column or key of the label, or of the numbers to learn.", group="Labels"
    )
    cache: bool = setting(True, "Reuse the ids of an unchanged corpus.", group="Text")
    workers: int | Auto = setting(
        "auto", "Processes to use; the table is the same for any number.", group="Run", minimum=1
    )


@dataclass(frozen=True, kw_only=True)
class TrainSettings(TextSettings):
    """Everything that decides a training run."""

    task: Literal["skipgram", "cbow", "classify", "regress"] = setting(
        "skipgram", "What the table is learnt for.", group="Task"
    )
    dim: int = setting(100, "Length of a vector.", group="Task", minimum=1, maximum=100_000)
    window: int = setting(
        5, "Words on either side that count as context.", group="Task", minimum=1, maximum=100
    )
    negatives: int = setting(
        5, "Noise words weighed against each context word.", group="Task", minimum=1, maximum=1000
    )
    noise_power: float = setting(
        0.75, "Noise words are drawn by count to this power.", group="Task", minimum=0, maximum=1
    )
    subsample: float | Auto | None = setting(
        "auto",
        "Thin out words more frequent than this share (word2vec's -sample).",
        group="Task",
        minimum=0,
        maximum=1,
    )
    tile: int = setting(
        32,
        "Neighbouring centres that share their noise words.",
        group="Task",
        minimum=1,
        maximum=10_000,
    )
    tile_negatives: int = setting(
        32,
        "Negative samples drawn for each tile.",
        group="Task",
        minimum=1,
        maximum=10_000,
        formerly="tile_noise",
    )
    pool: Literal["mean", "sum", "max", "flatten"] = setting(
        "mean", "How the vectors of a text become one.", group="Head"
    )
    length: int | None = setting(
        None,
        "Tokens a text is cut or padded to (needed by flatten).",
        group="Head",
        minimum=1,
        maximum=1_000_000,
    )
    pad_side: Literal["left", "right"] = setting(
        "right", "Side on which a text is padded or cut.", group="Head"
    )
    hidden: int | None = setting(
        None, "Units of a hidden layer.", group="Head", minimum=1, maximum=100_000
    )
    dropout: float = setting(
        0.0, "Share of pooled units to drop.", group="Head", minimum=0, maximum=0.99
    )
    multi_label: bool | Auto = setting(
        "auto", "Whether a text may bear several labels.", group="Head"
    )
    class_weights: str | None = setting(
        None, "Weights of the classes: balanced, or label=weight,...", group="Head"
    )
    init: Literal["uniform", "word2vec", "normal", "zeros"] = setting(
        "uniform", "How the rows start.", group="Task"
    )
    init_scale: float = setting(
        0.05,
        "Half-width (uniform) or deviation (normal) of the first numbers.",
        group="Task",
        minimum=0,
        maximum=LARGEST_NUMBER,
    )
    optimizer: Literal["sgd", "rmsprop", "adagrad", "adam", "damped_sgd"] = setting(
        "adam", "Rule that turns gradients into steps.", group="Optimizer"
    )
    lr: float = setting(
        0.001,
        "Learning rate.",
        group="Optimizer",
        minimum=0,
        maximum=LARGEST_NUMBER,
        exclusive_minimum=True,
    )
    schedule: Literal["constant", "linear", "cosine"] = setting(
        "constant", "How the rate goes down over the run.", group="Optimizer"
    )
    warmup: float = setting(
        0.0,
        "Share of the run over which the rate rises first.",
        group="Optimizer",
        minimum=0,
        maximum=1,
    )
    momentum: float = setting(0.0, "Momentum of sgd.", group="Optimizer", minimum=0, maximum=1)
    nesterov: bool = setting(False, "Nesterov's momentum.", group="Optimizer")
    weight_decay: float = setting(
        0.0,
        "Share of a weight taken off a step.",
        group="Optimizer",
        minimum=0,
        maximum=LARGEST_NUMBER,
    )
    clip_norm: float | None = setting(
        None,
        "Largest norm a step's gradient may have.",
        group="Optimizer",
        minimum=0,
        exclusive_minimum=True,
    )
    epochs: int = setting(5, "Passes over the corpus.", group="Run", minimum=1)
    batch_size: int = setting(
        32, "Examples (texts, or centre words) of a batch.", group="Run", minimum=1
    )
    group: int = setting(
        1,
        "Batches computed from the same weights; sets how many workers can share.",
        group="Run",
        minimum=1,
        maximum=1024,
    )
    seed: int = setting(0, "Seed of every random draw.", group="Run", minimum=0)
    valid: str | None = setting(None, "File to validate on after each epoch.", group="Validation")
    valid_share: float = setting(
        0.0, "Share of the corpus kept for validation.", group="Validation", minimum=0, maximum=0.9
    )
    patience: int | None = setting(
        None,
        "Stop after this many epochs without a better validation.",
        group="Validation",
        minimum=1,
    )
    update: str | None = setting(
        None, "Model to go on training, on new text: its ids and settings stay.", group="Start"
    )
    vectors: str | None = setting(None, "File of vectors that words start from.", group="Start")
    freeze: Literal["none", "found", "all"] = setting(
        "none", "Rows that are not trained.", group="Start"
    )
    checkpoint_every: str = setting(
        "5m",
        "Keep the run's state this often, to go on from.",
        group="Run",
        pattern=r"[1-9][0-9]{0,8}[smh]?|off",
        form="seconds (30s), minutes (5m), hours (1h), a number of steps (1000), or off",
    )


class Interval(NamedTuple):
    """How often something is done: after so many seconds or steps; both without end: never."""

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
    """Every setting of a class by name, in the order of the class.

    >>> schema(TextSettings)["min_count"].allowed()
    'a whole number from 1 or auto'
    """
    if settings not in _SCHEMAS:
        hints = typing.get_type_hints(settings)
        fields = dataclasses.fields(settings)  # type: ignore[arg-type]
        _SCHEMAS[settings] = {field.name: _spec(field, hints[field.name]) for field in fields}
    return _SCHEMAS[settings]


def _spec(field: dataclasses.Field[Any], hint: Any) -> Spec:
    kinds: list[type] = []
    choices: list[str] = []
    for part in typing.get_args(hint) if _is_union(hint) else (hint,):
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


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def resolve(
    settings: type[S],
    *,
    config: str | None = None,
    given: Mapping[str, Any] | None = None,
    base: Mapping[str, Any] | None = None,
) -> S:
    """Put the settings together: defaults, the task's preset, `config`, what was `given`.

    `config` is the name of a preset or the path of a YAML file. Those of an earlier model, as
    `base`, take the place of the preset. Raises ConfigError.

    >>> resolve(TextSettings, given={"min_count": 2}).min_count
    2
    """
    chosen = explicit(settings, config=config, given=given)
    return settings(**{**(base or _preset_of_task(chosen, settings)), **chosen})


def explicit(
    settings: type[Settings],
    *,
    config: str | None = None,
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the settings that `config` names or that were `given`; raises ConfigError."""
    given = {} if given is None else given
    known = schema(settings)
    for name in given:
        if name not in known:
            raise ConfigError(f"{name}: no such setting", nearest_setting(name, settings))
    chosen = {} if config is None else _read_config(config, settings)
    return {**chosen, **given}


def require_same(
    names: Iterable[str], given: Mapping[str, Any], kept: Settings, whose: str, hint: str
) -> None:
    """Raise ConfigError, with a hint, where settings of those names are given otherwise."""
    differing = [name for name in names if getattr(kept, name) != given[name]]
    if differing:
        found = ", ".join(f"{name} {given[name]!r}" for name in differing)
        known = ", ".join(f"{name} {getattr(kept, name)!r}" for name in differing)
        raise ConfigError(f"found {found}; {whose} has {known}", hint)


def _preset_of_task(values: Mapping[str, Any], settings: type[S]) -> dict[str, Any]:
    task = schema(settings).get("task")
    if task is None:
        return {}
    path = presets().get(task.check(values.get("task", task.default)))
    return {} if path is None else read_yaml(path, settings)


def _read_config(name: str, settings: type[S]) -> dict[str, Any]:
    if name in presets():
        return read_yaml(presets()[name], settings)
    if not Path(name).is_file():
        names = ", ".join(presets())
        hint = nearest(name, presets()) or f"The presets are: {names}. Or name a YAML file."
        what = "not a file" if Path(name).exists() else "no such file or preset"
        raise ConfigError(f"{name}: {what}", hint)
    return read_yaml(Path(name), settings)


def presets() -> dict[str, Path]:
    """Find the presets by name: `configs/` of the repository, shipped beside the package."""
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


def nearest(name: str, known: Mapping[str, Any]) -> str | None:
    """Hint at the known name that is spelt most like this one, if any is."""
    from difflib import get_close_matches

    found = get_close_matches(name.replace("-", "_"), known, n=1)
    return f"Did you mean {found[0]}?" if found else None


def nearest_setting(name: str, settings: type[Settings]) -> str | None:
    """Hint at the setting that `name` was an old name of, or that is spelt most like it."""
    renamed = former_names(settings).get(name.replace("-", "_"))
    return f"Did you mean {renamed}?" if renamed else nearest(name, schema(settings))


def read_yaml(path: Path, settings: type[Settings]) -> dict[str, Any]:
    """Read a settings file: one level of `key: value`, each key once, each value checked.

    A plain value is read as its setting's type wants it (so `1e-3` is a number and `1.5` not a
    whole one); a quoted value is text. Old names of settings are accepted. Raises ConfigError
    with the line.
    """
    known, former = schema(settings), former_names(settings)
    values: dict[str, Any] = {}
    for line, key, scalar in _pairs(path):
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


def _pairs(path: Path) -> list[tuple[int, str, Any]]:
    """Read (line, key, scalar event) of a file that is one flat mapping.

    YAML's events are enough and nothing is built from them, so neither aliases nor nesting can
    make a small file large.
    """
    import yaml

    pairs: list[tuple[int, str, Any]] = []
    key: Any = None
    depth = 0
    text = _read_small(path)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = 1 + (event.start_mark.line if event.start_mark else 0)
            if isinstance(event, yaml.MappingStartEvent) and depth == 0 and not pairs:
                depth = 1
            elif isinstance(event, yaml.MappingEndEvent):
                depth = 0
            elif isinstance(event, yaml.ScalarEvent) and depth == 1 and event.tag is None:
                if key is None:
                    key, key_line = event, line
                else:
                    pairs.append((key_line, key.value, event))
                    key = None
            elif isinstance(event, yaml.NodeEvent) and not _is_empty_document(event, depth):
                where = f"{path}:{line}: " + (f"{key.value}: " if key else "")
                raise ConfigError(f"{where}found {_node_in_words(event)}; expected key: value")
    except yaml.YAMLError as error:
        raise _yaml_trouble(path, text, error) from None
    return pairs


def _is_empty_document(event: Any, depth: int) -> bool:
    return depth == 0 and getattr(event, "value", None) == "" and event.tag is None


def _node_in_words(event: Any) -> str:
    if getattr(event, "tag", None):
        return f"the tag {event.tag}"
    if type(event).__name__ == "ScalarEvent":
        return "text alone"
    return {
        "AliasEvent": "an alias",
        "SequenceStartEvent": "a list",
        "MappingStartEvent": "a mapping inside",
    }[type(event).__name__]


def _yaml_trouble(path: Path, text: str, error: Any) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    line = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
    return ConfigError(f"{path}:{line + 1}: not YAML ({problem}); expected lines of key: value")


def _read_small(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > LARGEST_FILE:
        raise ConfigError(f"{path}: larger than {LARGEST_FILE} bytes; expected a page of settings")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 at byte {error.start}") from None


def to_yaml(settings: Settings) -> str:
    """Write settings as YAML that `read_yaml` reads back to the same values.

    >>> print(to_yaml(TextSettings(max_vocab=9)).splitlines()[0])
    # Run
    """
    lines: list[str] = []
    for group, specs in groups(type(settings)).items():
        lines.append(f"# {group}")
        lines += [f"{spec.name}: {_scalar(spec, getattr(settings, spec.name))}" for spec in specs]
    return "\n".join(lines) + "\n"


def groups(settings: type[Settings]) -> dict[str, list[Spec]]:
    """Sort the settings by their groups, in the order of `GROUPS`."""
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
