"""`embed tune` beside fastText's autotune: precision at 1 of what each finds in the same time.

    python bench/tune.py SST2=train.txt:test.txt TREC=... --seconds 300 \\
        --peer-python PEERS/bin/python

A tenth of the training texts is held out; both search on the others for so many seconds, measured
on the held-out texts, with two threads or workers, and train on the others with what they found.
The test texts are read only then. The texts are tokenized beforehand, as in classify.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import machine
from classify import Set, _labelled, _written

AUTOTUNE = """
import json, sys, fasttext
fit, held, test, seconds = sys.argv[1:]
model = fasttext.train_supervised(
    fit, autotuneValidationFile=held, autotuneDuration=int(seconds), thread=2, verbose=0
)
args = model.f.getArgs()
names = ("lr", "epoch", "dim", "wordNgrams", "minn", "maxn")
print(json.dumps([model.test(test)[1], {name: getattr(args, name) for name in names}]))
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", metavar="NAME=TRAIN:TEST")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with fastText")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args(argv)
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for given in args.sets:
            name, _, files = given.partition("=")
            train, test = (_labelled(Path(file)) for file in files.split(":"))
            made = _written(name, train, test, Path(scratch))
            for seed in range(args.seeds):
                began = time.perf_counter()
                ours, settings, trials = embed(made, args.seconds, seed, Path(scratch))
                middle = time.perf_counter()
                theirs, found = fasttext(made, args.seconds, args.peer_python)
                seconds = [middle - began, time.perf_counter() - middle]
                results.append([name, seed, ours, theirs, trials, seconds, settings, found])
                print(
                    f"| {name} | {ours:.4f} | {theirs:.4f} | {trials} | {seconds[0]:.0f} | "
                    f"{seconds[1]:.0f} | {settings} | {found} |",
                    flush=True,
                )
    report = {"machine": machine.describe(), "seconds": args.seconds, "results": results}
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    print(", ".join(f"{value}" for value in report["machine"].values()))
    print(
        "| set | embed | fastText | trials of embed | embed s | fastText s | embed's | fastText's |"
    )


def embed(
    made: Set, seconds: int, seed: int, scratch: Path
) -> tuple[float, dict[str, object], int]:
    """Search, train with the best, and return its precision, the settings, and the trials."""
    from embedcli import evaluation
    from embedcli.model import load_model

    out = scratch / f"{made.name}-{seed}"
    run = [sys.executable, "-m", "embedcli"]
    search = ["tune", str(made.fit), "--valid", str(made.held), "--metric", "precision@1"]
    more = ["--task", "classify", "--time", f"{seconds}s", "--seed", str(seed), "--out", str(out)]
    done = subprocess.run(
        [*run, *search, *more, "--format", "json", "--quiet"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found = json.loads(done.stdout)
    train = ["train", str(made.fit), "--config", str(out / "best.yaml"), "--no-cache", "--quiet"]
    model = out / "model"
    subprocess.run([*run, *train, "--out", str(model)], check=True, stdout=subprocess.DEVNULL)
    measured = evaluation.classification(load_model(model), [made.test]).precision_at[1]
    return measured, found["best"], len(found["trials"])


def fasttext(made: Set, seconds: int, python: str) -> tuple[float, dict[str, float]]:
    """Return the precision of what autotune trained, and its settings."""
    files = [str(file) for file in (made.fit, made.held, made.test)]
    done = subprocess.run(
        [python, "-c", AUTOTUNE, *files, str(seconds)],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # its progress
        text=True,
    )
    precision, settings = json.loads(done.stdout.splitlines()[-1])
    return float(precision), settings


if __name__ == "__main__":
    main()
