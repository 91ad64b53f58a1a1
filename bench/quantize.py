"""Size and quality of quantized and pruned models beside the full ones, and fastText's `quantize`.

    python bench/quantize.py --vectors glove.bin --pairs wordsim353.tsv simlex999.tsv \\
        --labelled train.txt:test.txt --peer-python PEERS/bin/python --json out.json

Of vectors: bytes of the folder, Spearman's correlation on the pairs, and the share of 1,000 words'
true 10 neighbours that are found. Of classifiers: bytes and accuracy on the test texts. fastText
quantizes classifiers only; it is given the same `embed` classifier as a `.bin`, and two of its own,
of 100 dimensions as `embed`'s and of 50.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import machine
import numpy as np

import embedcli
from embedcli.formats.base import Options

VARIANTS: dict[str, dict[str, Any]] = {
    "int8": {},
    "product, parts of 2": {"quantizer": "product"},
    "product, parts of 4": {"quantizer": "product", "part_size": 4},
    "int8, half the words": {"prune": 0.5},
    "product, parts of 2, half the words": {"quantizer": "product", "prune": 0.5},
    "product, parts of 4, half the words": {"quantizer": "product", "part_size": 4, "prune": 0.5},
}
PEER = """
import json, sys, fasttext
model, train, test, out, more = sys.argv[1:]
if not model.endswith(".bin"):
    found = fasttext.train_supervised(train, epoch=10, lr=.5, dim=int(model), thread=1, verbose=0)
    found.save_model(out + ".bin")
else:
    found = fasttext.load_model(model)
full = found.test(test)[1]
found.quantize(input=train, **json.loads(more))
found.save_model(out)
print(json.dumps([full, found.test(test)[1]]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", nargs="*", type=Path, default=[])
    parser.add_argument("--pairs", nargs="*", type=Path, default=[])
    parser.add_argument("--labelled", nargs="*", default=[], metavar="TRAIN:TEST")
    parser.add_argument("--peer-python")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source in options.vectors:
            results += of_vectors(source, options.pairs, folder)
        for number, given in enumerate(options.labelled):
            train, test = map(Path, given.split(":"))
            results += of_classifier(train, test, folder / str(number), options.peer_python)
    if options.json:
        record = {"machine": machine.describe(), "results": results}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


def of_vectors(source: Path, pairs: list[Path], folder: Path) -> list[dict[str, Any]]:
    """Measure each variant of one table."""
    full = folder / f"{source.name}.full"
    embedcli.convert(source, full, "model")
    table = embedcli.load(full)
    asked = table.vocabulary.tokens(range(0, len(table), max(1, len(table) // 1000)))
    truth = embedcli.neighbors(asked, table, k=10)
    results = []
    for name, path in [("full", full), *variants(full, len(table), folder / source.name)]:
        small = embedcli.load(path)
        known = [each for each in truth if each.token in small]
        near = embedcli.neighbors([each.token for each in known], small, k=10)
        kept = [
            len({each.token for each in one.neighbors} & {each.token for each in two.neighbors})
            for one, two in zip(known, near, strict=True)
        ]
        scores = [embedcli.evaluate(each, path) for each in pairs]
        row: dict[str, Any] = {"vectors": source.name, "model": name, "bytes": size_of(path)}
        row |= {each.stem: found.spearman for each, found in zip(pairs, scores, strict=True)}
        row["neighbors_kept"] = float(np.mean(kept)) / 10
        results.append(row)
        print("| " + " | ".join(shown(value) for value in row.values()) + " |", flush=True)
    return results


def of_classifier(train: Path, test: Path, folder: Path, peer: str | None) -> list[dict[str, Any]]:
    """Measure each variant of a classifier, and what fastText makes of it."""
    folder.mkdir()
    full = folder / "full"
    # fastText splits at blanks and keeps upper case.
    as_it_is: dict[str, Any] = {"tokenizer": "whitespace", "normalize": False, "fold_case": False}
    embedcli.train(train, full, task="classify", cache=False, **as_it_is)
    words = len(embedcli.load(full))
    found = []
    for name, path in [("full", full), *variants(full, words, folder / "small")]:
        score = embedcli.evaluate(test, path, task="classify").accuracy
        found.append({"labelled": train.parent.name, "model": name, "bytes": size_of(path)})
        found[-1]["accuracy"] = score
    if peer:
        embedcli.convert(full, folder / "model.bin", "fasttext-bin")
        small = {"qnorm": True}
        for name, model, out, more in (
            ("embed's, by fastText quantize", str(folder / "model.bin"), "a.ftz", small),
            ("fastText's, by its quantize", "100", "b.ftz", small),
            ("fastText's, half the words", "100", "c.ftz", {**small, "cutoff": words // 2}),
            ("fastText's, dim 50, by its quantize", "50", "d.ftz", small),
        ):
            arguments = [model, str(train), str(test), str(folder / out), json.dumps(more)]
            done = subprocess.run(
                [peer, "-c", PEER, *arguments], check=True, capture_output=True, text=True
            )
            before, after = json.loads(done.stdout.splitlines()[-1])
            before_bytes = (folder / ("model.bin" if out == "a.ftz" else f"{out}.bin")).stat()
            row = {"labelled": train.parent.name, "model": f"{name}: before"}
            found.append({**row, "bytes": before_bytes.st_size, "accuracy": before})
            size = (folder / out).stat().st_size
            found.append({**row, "model": name, "bytes": size, "accuracy": after})
    for row in found:
        print("| " + " | ".join(shown(value) for value in row.values()) + " |", flush=True)
    return found


def variants(full: Path, words: int, start: Path) -> list[tuple[str, Path]]:
    """Write each variant of a model, and return their names and folders."""
    written = []
    for number, (name, chosen) in enumerate(VARIANTS.items()):
        prune = {"prune": int(words * chosen["prune"])} if "prune" in chosen else {}
        path = start.with_name(f"{start.name}.{number}")
        embedcli.convert(full, path, "quantized", options=Options(**{**chosen, **prune}))
        written.append((name, path))
    return written


def size_of(folder: Path) -> int:
    """Return the bytes of a model folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def shown(value: Any) -> str:
    """Return a cell of the table."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
