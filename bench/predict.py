"""Labels by a fastText model, texts a second: `embed` beside fastText's own package.

    python bench/predict.py TREC=train.txt:test.txt --peer-python PEERS/bin/python --json out.json

fastText trains each model of `MODELS` on each set (dim 100 where nothing is said). The texts of the
test file, without labels and repeated to `--texts` lines, are then labelled in turn by fastText's
`predict` of one text at a time, by its `predict` of a list (the loop is C++ then), and by
`embedcli.predict` of a file of these lines, with what it costs to read the file. Loading the model
is not counted. Times are of the processor, so that other programs count less; all run with one
thread. Each figure is the median of the rounds; ratios are taken within a round. Labels must be
equal but where fastText's probabilities are.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine

import embedcli

MODELS: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "words": ({}, None),
    "word bigrams": ({"wordNgrams": 2, "bucket": 200_000}, None),
    "hierarchical softmax": ({"loss": "hs"}, None),
    "one-vs-all": ({"loss": "ova"}, None),
    "n-grams of 2-4 characters, hs, dim 16": (
        {"minn": 2, "maxn": 4, "dim": 16, "loss": "hs", "bucket": 200_000},
        None,
    ),
    "the same, quantized": (
        {"minn": 2, "maxn": 4, "dim": 16, "loss": "hs", "bucket": 200_000},
        {"qnorm": True, "cutoff": 50_000, "retrain": False},
    ),
}
TRAIN = """
import json, sys, fasttext
train, out, settings, quantized = sys.argv[1:]
model = fasttext.train_supervised(train, verbose=0, epoch=5, lr=.5, **json.loads(settings))
if json.loads(quantized) is not None:
    model.quantize(input=train, **json.loads(quantized))
model.save_model(out)
"""
PEER = """
import json, sys, time, fasttext
model = fasttext.load_model(sys.argv[1])
lines = open(sys.argv[2], encoding="utf-8").read().split("\\n")[:-1]
for _ in range(int(sys.argv[3])):
    sys.stdin.readline()
    start = time.process_time()
    for line in lines[: len(lines) // 4]:
        model.predict(line)
    single = 4 * (time.process_time() - start)
    start = time.process_time()
    labels, shares = model.predict(lines)
    print(json.dumps([single, time.process_time() - start]), flush=True)
found = [[label[0], float(share[0])] if label else None for label, share in zip(labels, shares)]
print(json.dumps(found), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("sets", nargs="+", metavar="NAME=TRAIN:TEST")
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--texts", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", help="Part of the names of those to run.", default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    print("| set | model | fastText, a text | fastText, a list | embed | embed / list |")
    print("|---|---|---|---|---|---|")
    for given in options.sets:
        name, _, paths = given.partition("=")
        train, test = map(Path, paths.split(":"))
        for model, (settings, quantized) in MODELS.items():
            if options.models in model:
                found = compare(train, test, settings, quantized, options)
                results.append({"set": name, "model": model, **found})
                rates = (f"{found[key]:,.0f}" for key in ("single", "list", "embed"))
                print(
                    f"| {name} | {model} | {' | '.join(rates)} | {found['ratio']:.2f} |", flush=True
                )
    if options.json:
        record = {"machine": machine.describe(), "texts": options.texts, "results": results}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


def compare(
    train: Path, test: Path, settings: dict[str, Any], quantized: Any, options: Any
) -> dict[str, float]:
    """Train one model and time it; returns texts a second."""
    with tempfile.TemporaryDirectory() as folder:
        model, text = Path(folder) / "model", Path(folder) / "text.txt"
        arguments = [str(train), str(model), json.dumps(settings), json.dumps(quantized)]
        subprocess.run([options.peer_python, "-c", TRAIN, *arguments], check=True)
        write_texts(test, text, options.texts)
        peer = subprocess.Popen(
            [options.peer_python, "-c", PEER, str(model), str(text), str(options.rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert peer.stdin and peer.stdout
        times = []
        for _ in range(options.rounds):
            print(file=peer.stdin, flush=True)
            single, listed = json.loads(peer.stdout.readline())
            lines = embedcli.predict(text, model).lines
            start = time.process_time()
            ours = list(lines)
            times.append((single, listed, time.process_time() - start))
        expected = json.loads(peer.stdout.readline())
        peer.wait()
        require_equal(ours, expected, settings.get("loss") == "ova")
    rates = {
        key: options.texts / statistics.median(column)
        for key, column in zip(("single", "list", "embed"), zip(*times, strict=True), strict=True)
    }
    return {**rates, "ratio": statistics.median(listed / mine for _, listed, mine in times)}


def write_texts(test: Path, text: Path, count: int) -> None:
    """Write the lines of a labelled file without their labels, over and over."""
    lines = []
    for line in test.read_text(encoding="utf-8").splitlines():
        words = (word for word in line.split(" ") if not word.startswith("__label__"))
        lines.append(" ".join(words))
    repeated = (lines[number % len(lines)] for number in range(count))
    text.write_text("".join(f"{line}\n" for line in repeated), encoding="utf-8")


def require_equal(ours: Sequence[Any], theirs: Sequence[Any], tied: bool) -> None:
    """Exit unless labels and probabilities are the same; labels may differ where many are equal."""
    for mine, their in zip(ours, theirs, strict=True):
        if (their is None) != (not mine):
            sys.exit(f"{mine} where fastText has {their}")
        if mine and abs(mine[0].probability - min(their[1], 1)) > 1e-5:
            sys.exit(f"{mine} where fastText has {their}")
        if mine and not tied and f"__label__{mine[0].name}" != their[0]:
            sys.exit(f"{mine} where fastText has {their}")


if __name__ == "__main__":
    main()
