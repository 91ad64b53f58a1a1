"""Make the models of this folder and their answers with fastText's own package.

    python -m venv peers && peers/bin/pip install fasttext 'numpy<2'
    peers/bin/python tests/formats/fasttext_models/make.py

The text is made of the words below, so that nobody's text is in the repository.
"""

import json
import tempfile
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
TOPICS = {
    "sea": "wave ship harbour salt tide sail gull foam",
    "farm": "hay hen barn plough field मुर्गी खेत गाँव",
    "sky": "cloud star moon wind étoile lune nuage ciel",
}
COMMON = "the a and of in is over under"
LINES = [
    "the wave and the ship in a harbour",
    "खेत of the hen",
    "a star over the plough",
    "",
    "   \t ",
    "harbours of starry waves",  # unknown words
    "xyzzy",
    "the tide </s> of the hen",  # an end of the line inside it
    "__label__sea __label__nowhere moon",
    "no\u00a0break \x0b vertical\ttab zero\x00byte",
]
ALL = 3  # lines for which every label is kept
WORDS = ["the", "wave", "</s>", "harbours", "खेतों", "x"]


def text(labels, lines, seed):
    """Return labelled lines; with many labels each has words of its own."""
    random = Random(seed)
    rows = []
    for _ in range(lines):
        # Some labels are far more frequent than others, so that the tree is deep.
        number = min(int(random.expovariate(6 / labels)), labels - 1)
        topic = [*TOPICS][number % len(TOPICS)]
        name = topic if labels == len(TOPICS) else f"{topic}{number}"
        words = random.choices([*TOPICS[topic].split(), f"{topic}{number}"], k=4)
        words += random.choices(COMMON.split(), k=4)
        random.shuffle(words)
        rows.append(f"__label__{name} {' '.join(words)}\n")
    return "".join(rows)


SUPERVISED = {  # labels, settings, and how it is quantized
    "softmax.bin": (3, {"dim": 4, "wordNgrams": 3, "minn": 2, "maxn": 3, "bucket": 60}, None),
    "hs.bin": (45, {"dim": 3, "loss": "hs"}, None),
    "ns.bin": (3, {"dim": 3, "loss": "ns"}, None),
    "ova.bin": (3, {"dim": 3, "loss": "ova", "wordNgrams": 2, "bucket": 20}, None),
    "plain.ftz": (3, {"dim": 3, "wordNgrams": 2, "bucket": 250}, {}),
    "pruned.ftz": (
        45,
        {"dim": 5, "loss": "hs", "wordNgrams": 2, "minn": 2, "maxn": 3, "bucket": 400},
        {"qnorm": True, "cutoff": 300},
    ),
    "wide.ftz": (3, {"dim": 7, "minn": 3, "maxn": 4, "bucket": 300}, {"qnorm": True, "dsub": 3}),
}
UNSUPERVISED = {
    "skipgram.bin": {"model": "skipgram", "minn": 3, "maxn": 5, "bucket": 50},
    "cbow.bin": {"model": "cbow", "minn": 1, "maxn": 2, "bucket": 40},
    "words.bin": {"model": "skipgram", "minn": 0, "maxn": 0},
}


def main():
    """Train, save and ask."""
    import fasttext

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (labels, settings, quantized) in SUPERVISED.items():
            corpus = Path(folder) / "text.txt"
            corpus.write_text(text(labels, 400, seed=labels), encoding="utf-8")
            model = fasttext.train_supervised(
                str(corpus), epoch=8, lr=0.8, thread=1, seed=1, verbose=0, **settings
            )
            if quantized is not None:
                model.quantize(input=str(corpus), **quantized)
            model.save_model(str(HERE / name))
            found[name] = answers(fasttext.load_model(str(HERE / name)), labelled=True)
        for name, settings in UNSUPERVISED.items():
            corpus = Path(folder) / "text.txt"
            lines = text(3, 400, seed=1).splitlines(keepends=True)
            corpus.write_text("".join(line.split(" ", 1)[1] for line in lines), encoding="utf-8")
            model = fasttext.train_unsupervised(
                str(corpus), dim=3, epoch=2, minCount=1, thread=1, verbose=0, **settings
            )
            model.save_model(str(HERE / name))
            found[name] = answers(fasttext.load_model(str(HERE / name)), labelled=False)
    data = json.dumps({"lines": LINES, "words": WORDS, "models": found}, ensure_ascii=False)
    (HERE / "answers.json").write_text(data + "\n", "utf-8")


def answers(model, labelled):
    """Return what a model says of the lines and words."""
    found = {
        "sentences": [numbers(model.get_sentence_vector(line)) for line in LINES],
        "words": [numbers(model.get_word_vector(word)) for word in WORDS],
    }
    if labelled:
        for name, k, threshold in (("first", 1, 0.0), ("likely", 3, 0.2), ("all", -1, 0.0)):
            lines = LINES[:ALL] if name == "all" else LINES
            labels, shares = model.predict(lines, k=k, threshold=threshold)
            found[name] = [
                [[str(label), round(float(share), 8)] for label, share in zip(*line, strict=True)]
                for line in zip(labels, shares, strict=True)
            ]
    else:
        found["neighbors"] = [
            [word, round(score, 6)] for score, word in model.get_nearest_neighbors("waves", k=5)
        ]
    return found


def numbers(vector):
    """Return the numbers of a vector, as many digits as float32 has."""
    return [float(f"{number:.8g}") for number in vector]


if __name__ == "__main__":
    main()
