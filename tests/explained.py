"""Small models of every task, pool and optimizer, to explain a step of."""

from __future__ import annotations

from pathlib import Path

from embedcli import api
from embedcli.explanation import Step, explain_step
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
ANSWERS = {"classify": ["good"], "regress": ["0.5", "15"], "skipgram": [], "cbow": [], "glove": []}


MORE = {
    "several": {"task": "classify", "optimizer": "sgd", "lr": 0.5, "class_weights": "new=2"},
    "regress-flatten-right": {
        "task": "regress", "optimizer": "rmsprop", "lr": 0.01, "pool": "flatten", "length": 9,
        "pad_side": "right", "hidden": 3,
    },
    "dropout": {"task": "classify", "optimizer": "sgd", "hidden": 5, "dropout": 0.4, "lr": 0.3},
    "dropout-of-pooled": {"task": "classify", "optimizer": "sgd", "dropout": 0.4, "lr": 0.3},
    "nesterov-decay": {
        "task": "regress", "optimizer": "sgd", "momentum": 0.5, "nesterov": True, "lr": 0.1,
        "weight_decay": 0.3,
    },
    "words-decay-adam": {"task": "skipgram", "optimizer": "adam", "weight_decay": 0.3, "lr": 0.1},
    "cbow-clipped": {"task": "cbow", "optimizer": "rmsprop", "clip_norm": 0.02, "lr": 0.1},
    "classify-damped": {"task": "classify", "optimizer": "damped_sgd", "lr": 0.5},
    "frozen": {"task": "skipgram", "freeze": "all", "vectors": "given.txt"},
    "frozen-found": {"task": "classify", "freeze": "found", "vectors": "given.txt"},
}  # fmt: skip
EVERY = {**CASES, **MORE}
OF_PARTS_AND_COUNTS = {
    "subwords": {"task": "skipgram", "lr": 0.3, "min_n": 2, "max_n": 3},
    "subwords-adagrad": {"task": "skipgram", "optimizer": "adagrad", "max_n": 4, "lr": 0.1},
    "cbow-subwords": {"task": "cbow", "lr": 0.3, "max_n": 3, "tile": 4, "tile_negatives": 3},
    "glove": {"task": "glove"},
    "glove-own": {"task": "glove", "sum_tables": False, "optimizer": "damped_sgd", "lr": 0.3},
}


def explained_model(name: str, folder: Path) -> tuple[Model, list[str]]:
    """Train the model of a case; what is right for `ASKED` beside it."""
    settings = dict((EVERY | OF_PARTS_AND_COUNTS)[name])
    if "vectors" in settings:
        (folder / "given.txt").write_text("see 1 2 3 4\nfilm 4 3 2 1\n")
        settings["vectors"] = str(folder / "given.txt")
    if name == "several":
        return trained(folder, SEVERAL, **settings), ["warm", "new"]
    text = TEXTS.get(settings["task"], TALE)
    return trained(folder, text, **settings), ANSWERS[settings["task"]]


def explained_step(name: str, folder: Path) -> Step:
    """Train the model of a case, and explain a step of it."""
    model, answer = explained_model(name, folder)
    return explain_step(model, ASKED, answer)


def trained(folder: Path, text: str, **settings) -> Model:
    corpus = folder / "corpus.txt"
    corpus.write_text(text, encoding="utf-8")
    api.train(corpus, folder / "model", dim=4, epochs=3, batch_size=4, **settings)
    return load_model(folder / "model")
