"""Writes model folders of format 1, as embed 0.1 did: the arrays in head.npz and state.npz."""

import hashlib
import json
from pathlib import Path

import numpy as np

from embedcli.config import to_yaml
from embedcli.model import Model


def write_format_1(folder: Path, model: Model) -> None:
    """Write a model folder of format 1."""
    folder.mkdir()
    counts = model.table.vocabulary.counts
    np.save(folder / "table.npy", np.array(model.table.vectors))
    (folder / "vocab.txt").write_bytes(model.table.vocabulary.to_bytes())
    np.save(folder / "counts.npy", np.empty(0, np.int64) if counts is None else counts)
    (folder / "config.yaml").write_text(to_yaml(model.settings))
    labels = np.frombuffer(json.dumps(model.labels).encode(), np.uint8)
    np.savez(folder / "head.npz", **model.head, labels=labels)
    slots = {name.rpartition(".")[::2]: array for name, array in model.optimizer.items()}
    state = {f"optimizer.{name}/{slot}": array for (name, slot), array in slots.items()}
    state |= {"trained": model.trained, "first_lines": model.first_lines}
    np.savez(folder / "state.npz", **state)
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in model.log))
    files = {}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        files[path.name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    body = {
        "format": 1,
        "embed": "0.1.0",
        "shape": list(model.table.vectors.shape),
        "corpus": model.corpus,
        "start": dict(model.start),
        "files": files,
    }
    text = json.dumps(body, ensure_ascii=False, sort_keys=True, indent=1)
    body["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n")
