"""Corpora written for the tests, with what can be learnt of them planted."""

import random

from embedcli.config import TrainSettings
from embedcli.tasks import TASKS
from embedcli.text.encode import encode
from embedcli.training.loop import Training

TOPICS = {
    "sea": ["wave", "ship", "sail", "harbour", "tide", "anchor", "gull", "storm"],
    "farm": ["cow", "field", "plough", "barn", "harvest", "hay", "orchard", "hen"],
    "town": ["street", "tram", "market", "square", "lamp", "crowd", "office", "shop"],
}
COMMON = ["the", "a", "of", "in", "and", "is", "was", "with", "on", "by"]
PRESET = {"optimizer": "adagrad", "lr": 0.1, "schedule": "linear", "epochs": 6, "dim": 16}


def labelled_lines(count, seed, several=False):
    """Texts of one topic, or of one or two; a third of the words come from it."""
    draw = random.Random(seed)
    lines = []
    for _ in range(count):
        topics = draw.sample(sorted(TOPICS), draw.choice([1, 2]) if several else 1)
        words = draw.choices(
            [word for topic in topics for word in TOPICS[topic]], k=4 * len(topics)
        )
        words += draw.choices(COMMON, k=8)
        draw.shuffle(words)
        lines.append(" ".join([f"__label__{topic}" for topic in topics] + words))
    return lines


def ordered_lines(count, seed):
    """Texts of the same words, whose order alone says what they are."""
    draw = random.Random(seed)
    lines = []
    for _ in range(count):
        words = draw.choices(COMMON, k=8)
        label = draw.choice(["up", "down"])
        place = draw.randrange(8)
        words[place:place] = ["low", "high"] if label == "up" else ["high", "low"]
        lines.append(f"__label__{label} {' '.join(words)}")
    return lines


def numbered_lines(count, seed):
    """Texts with two numbers of unlike size, made of how many cheap and dear words there are."""
    draw = random.Random(seed)
    lines = []
    for _ in range(count):
        cheap, dear, rest = (draw.randrange(5) for _ in range(3))
        words = ["cheap"] * cheap + ["dear"] * dear + draw.choices(COMMON, k=rest + 1)
        draw.shuffle(words)
        numbers = f"__label__{1000 * (dear - cheap)} __label__{dear / 10}"
        lines.append(f"{numbers} {' '.join(words)}")
    return lines


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def make_task(path, lines, valid=None, weights=None, **settings):
    """Encode lines and make the task of the settings, with lines to validate on if given.

    It goes on from `weights` if there are any.
    """
    fixed = {"workers": 1, "cache": False, "batch_size": 32, "group": 1}
    chosen = TrainSettings(**{**fixed, **PRESET, **settings})
    kind = {"classify": "class", "regress": "number"}.get(chosen.task, "none")
    path.mkdir(parents=True, exist_ok=True)
    corpus = encode([write(path / "train.txt", lines)], chosen, folder=path, labels=kind)
    held = None
    if valid is not None:
        (path / "valid").mkdir()
        held = encode(
            [write(path / "valid.txt", valid)],
            chosen,
            folder=path / "valid",
            labels=kind,
            vocabulary=corpus.vocabulary,
        )
    return TASKS[chosen.task](corpus, chosen, held, weights)


def trained(task):
    """Train a task to its end; returns the state."""
    training = Training(task, task.settings)
    for _ in training.steps():
        pass
    return training.state
