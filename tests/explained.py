"""Small models of every task, pool and optimizer, to explain a step of."""

from __future__ import annotations

from pathlib import Path

from embedcli import api
from embedcli.model import Model, load_model

TALE = "hope to see you soon\nnice to see you again\nहम आपसे दोबारा मिलकर खुश हुए\n" * 3
REVIEWS = (
    "__label__good nice to see you again\n__label__bad what a dull film\n"
    "__label__good a film to see again and again\n__label__bad dull and long\n"
) * 3
NUMBERS = (
    "__label__1.5 __label__10 nice to see you again\n__label__-2 __label__30 what a dull film\n"
    "__label__0 __label__20 see it or see it not\n"
) * 3
SEVERAL = (
    "__label__warm __label__new nice to see you again\n__label__dull what a dull film\n"
    "__label__new see it or see it not\n"
) * 3
TEXTS = {"classify": REVIEWS, "regress": NUMBERS}
ASKED = "see it again, see you zzz"

CASES = {
    "classify-sgd": {"task": "classify", "optimizer": "sgd", "lr": 0.5},
    "classify-weights": {"task": "classify", "optimizer": "sgd", "class_weights": "good=3"},
    "classify-adam-hidden": {"task": "classify", "optimizer": "adam", "lr": 0.05, "hidden": 3},
    "classify-sum-momentum": {
        "task": "classify", "optimizer": "sgd", "momentum": 0.9, "pool": "sum", "lr": 0.1,
    },
    "classify-max": {"task": "classify", "optimizer": "adagrad", "pool": "max", "lr": 0.5},
    "classify-clipped": {"task": "classify", "optimizer": "sgd", "lr": 0.5, "clip_norm": 0.01},
    "classify-ngrams": {
        "task": "classify", "optimizer": "adagrad", "lr": 0.1, "word_ngrams": 3, "buckets": 7,
    },
    "regress-ngrams": {
        "task": "regress", "optimizer": "sgd", "lr": 0.1, "word_ngrams": 2, "pool": "sum",
    },
    "regress-sgd": {"task": "regress", "optimizer": "sgd", "lr": 0.1},
    "regress-flatten": {
        "task": "regress", "optimizer": "adagrad", "lr": 0.1, "pool": "flatten", "length": 4,
        "pad_side": "left",
    },
    "skipgram-sgd": {"task": "skipgram", "optimizer": "sgd", "lr": 0.02, "window": 2},
    "skipgram-damped": {"task": "skipgram", "lr": 0.3, "tile": 4, "tile_negatives": 3},
    "skipgram-adagrad": {"task": "skipgram", "optimizer": "adagrad", "lr": 0.1, "subsample": 0.01},
    "cbow-sgd": {"task": "cbow", "optimizer": "sgd", "lr": 0.05, "negatives": 2},
    "cbow-damped": {"task": "cbow", "lr": 0.3, "tile": 4, "tile_negatives": 3},
}  # fmt: skip
ANSWERS = {"classify": ["good"], "regress": ["0.5", "15"], "skipgram": [], "cbow": []}


def trained(folder: Path, text: str, **settings) -> Model:
    corpus = folder / "corpus.txt"
    corpus.write_text(text, encoding="utf-8")
    api.train(corpus, folder / "model", dim=4, epochs=3, batch_size=4, **settings)
    return load_model(folder / "model")
