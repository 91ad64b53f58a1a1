"""The one schema of settings: flags, YAML keys, printed defaults and the reference page."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

Auto = Literal["auto"]


def setting(
    default: Any,
    help: str,  # noqa: A002 - the field's own word, as in typer and argparse
    *,
    group: str,
    unit: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    exclusive_minimum: bool = False,
) -> Any:
    """Declare one setting: its default and what is said and checked of it."""
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "group": group,
            "unit": unit,
            "minimum": minimum,
            "maximum": maximum,
            "exclusive_minimum": exclusive_minimum,
        },
    )


@dataclass(frozen=True, kw_only=True)
class TextSettings:
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
        None, "Library that splits scripts written without spaces (jieba, ...).", group="Text"
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
        "auto", "Thin out words more frequent than this share (word2vec's -sample).",
        group="Task", minimum=0, maximum=1,
    )
    tile: int = setting(
        32, "Neighbouring centres that share their noise words.", group="Task", minimum=1
    )
    tile_noise: int = setting(
        32, "Noise words drawn for each tile.", group="Task", minimum=1
    )
    pool: Literal["mean", "sum", "max", "flatten"] = setting(
        "mean", "How the vectors of a text become one.", group="Head"
    )
    length: int | None = setting(
        None, "Tokens a text is cut or padded to (needed by flatten).", group="Head", minimum=1
    )
    pad_side: Literal["left", "right"] = setting(
        "right", "Side on which a text is padded or cut.", group="Head"
    )
    hidden: int | None = setting(None, "Units of a hidden layer.", group="Head", minimum=1)
    dropout: float = setting(0.0, "Share of pooled units to drop.", group="Head", minimum=0, maximum=0.99)
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
        0.05, "Half-width (uniform) or deviation (normal) of the first numbers.",
        group="Task", minimum=0,
    )
    optimizer: Literal["sgd", "rmsprop", "adagrad", "adam", "damped_sgd"] = setting(
        "adam", "Rule that turns gradients into steps.", group="Optimizer"
    )
    lr: float = setting(
        0.001, "Learning rate.", group="Optimizer", minimum=0, exclusive_minimum=True
    )
    schedule: Literal["constant", "linear", "cosine"] = setting(
        "constant", "How the rate goes down over the run.", group="Optimizer"
    )
    warmup: float = setting(
        0.0, "Share of the run over which the rate rises first.", group="Optimizer",
        minimum=0, maximum=1,
    )
    momentum: float = setting(0.0, "Momentum of sgd.", group="Optimizer", minimum=0, maximum=1)
    nesterov: bool = setting(False, "Nesterov's momentum.", group="Optimizer")
    weight_decay: float = setting(0.0, "Share of a weight taken off a step.", group="Optimizer", minimum=0)
    clip_norm: float | None = setting(
        None, "Largest norm a step's gradient may have.", group="Optimizer", minimum=0,
        exclusive_minimum=True,
    )
    epochs: int = setting(5, "Passes over the corpus.", group="Run", minimum=1)
    batch_size: int = setting(
        32, "Examples (texts, or centre words) of a batch.", group="Run", minimum=1
    )
    group: int = setting(
        1, "Batches computed from the same weights; sets how many workers can share.",
        group="Run", minimum=1, maximum=1024,
    )
    seed: int = setting(0, "Seed of every random draw.", group="Run", minimum=0)
    valid: str | None = setting(None, "File to validate on after each epoch.", group="Validation")
    valid_share: float = setting(
        0.0, "Share of the corpus kept for validation.", group="Validation", minimum=0, maximum=0.9
    )
    patience: int | None = setting(
        None, "Stop after this many epochs without a better validation.", group="Validation", minimum=1
    )
    vectors: str | None = setting(None, "File of vectors that words start from.", group="Start")
    freeze: Literal["none", "found", "all"] = setting(
        "none", "Rows that are not trained.", group="Start"
    )
    checkpoint_every: str = setting(
        "5m", "Save the run's state this often: 30s, 5m, or a number of steps; off.", group="Run"
    )
