"""The model folder and the checkpoint: saved whole or not at all, opened in constant time.

table.npy      (V, D) float32, C order      vocab.txt     one word a line, the line is its id
counts.npy     (V,) int64, or (0,) unknown  config.yaml   the settings as resolved
head.npz       head, output table, labels   log.jsonl     loss and metrics of every epoch
state.npz      times each word was trained, its first line, the optimizer's rows
manifest.json  format and `embed` version, shape, size and SHA-256 of each file, corpus
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli import __version__
from embedcli.config import TrainSettings, read_yaml, to_yaml
from embedcli.errors import UNFIT, ConfigError, StoreError, VocabularyError
from embedcli.storage import files
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary

FORMAT = 1
CHECKPOINT = ".checkpoint"  # ends the name of the folder in which a run is kept

_FILES = (
    "table.npy",
    "vocab.txt",
    "counts.npy",
    "config.yaml",
    "head.npz",
    "state.npz",
    "log.jsonl",
)
_MAX_JSON = 1 << 24
_MAX_LOG = 1 << 28
_MOST = 1 << 53  # of what is counted, bytes and steps
_BLOCK = 1 << 24
KINDS: Mapping[type | UnionType, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "entries by name",
    dict | None: "entries by name, or null",
}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What manifest.json says of a model folder."""

    format: int
    embed: str  # version that wrote it
    shape: tuple[int, int]  # (V, D)
    corpus: str  # fingerprint of what was read
    start: dict[str, Any]  # how to make the first rows again
    files: dict[str, tuple[int, str]]  # name → bytes, SHA-256

    @property
    def digest(self) -> str:
        """SHA-256 of table.npy: two runs with this in common learnt the same table."""
        return self.files["table.npy"][1]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A trained table and all that a later step needs of its training."""

    table: EmbeddingTable
    settings: TrainSettings
    head: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    trained: NDArray[np.int64]  # (V,) times each word was trained
    first_lines: NDArray[np.int64]  # (V,) line of the corpus where a word first appears, from 1
    optimizer: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    log: Sequence[Mapping[str, Any]] = ()
    corpus: str = ""  # fingerprint
    start: Mapping[str, Any] = field(default_factory=dict)
    manifest: Manifest | None = None  # of the folder it was loaded from


def save(folder: Path, model: Model) -> Manifest:
    """Write a model folder and put it in place when it is whole; the one there before is kept.

    The caller holds the `files.Lock` of the folder. Raises StoreError where `folder` is something
    else than a model, or cannot be written.
    """
    require_model_or_nothing(folder)
    files.require_space(folder, _size(model), "the model")
    with files.new_folder(folder) as new:
        _write_table(new, model.table)
        (new / "config.yaml").write_text(to_yaml(model.settings), encoding="utf-8")
        labels = np.frombuffer(_json(model.labels), np.uint8)
        _write_npz(new / "head.npz", {**model.head, "labels": labels})
        optimizer = {f"optimizer.{name}": array for name, array in model.optimizer.items()}
        state = {"trained": model.trained, "first_lines": model.first_lines, **optimizer}
        _write_npz(new / "state.npz", state)
        (new / "log.jsonl").write_bytes(b"".join(_json(entry) + b"\n" for entry in model.log))
        manifest = _manifest(new, model)
        (new / "manifest.json").write_bytes(_dump(manifest))
    return manifest


def load(folder: Path) -> Model:
    """Open a model folder; arrays are memory-mapped, digests not checked (see `verify`).

    Raises StoreError for a folder that is missing, not a model, damaged or of a newer version.
    """
    folder = files.settled(folder)
    manifest = _read_manifest(folder)
    table = _open_table(folder, manifest)
    head = dict(_arrays(folder, "head.npz"))
    state = dict(_arrays(folder, "state.npz"))
    with _damage(folder, "head.npz"):
        labels = tuple(_texts(json.loads(head.pop("labels").tobytes())))
        for name, array in head.items():
            if array.dtype != np.dtype("<f4"):
                raise ValueError(f"{name}: found {array.dtype}; expected float32")
    with _damage(folder, "state.npz"):
        trained, first_lines = state.pop("trained"), state.pop("first_lines")
        if trained.shape != (len(table),) or first_lines.shape != (len(table),):
            raise ValueError(f"{len(table)} words, but {trained.shape} {first_lines.shape}")
        if {trained.dtype, first_lines.dtype} != {np.dtype("<i8")}:
            raise ValueError(f"{trained.dtype} and {first_lines.dtype}; expected int64")
        if min(trained.min(initial=0), first_lines.min(initial=0)) < 0:
            raise ValueError("a count below 0")
    with _damage(folder, "counts.npy"):
        counts = table.vocabulary.counts
        if counts is not None and counts.min(initial=0) < 0:
            raise ValueError("a count below 0")
    prefix = "optimizer."
    with _damage(folder, "log.jsonl"):
        if manifest.files["log.jsonl"][0] > _MAX_LOG:
            raise ValueError("too large")
        lines = (folder / "log.jsonl").read_text(encoding="utf-8").split("\n")
        log = [json.loads(line) for line in lines if line]
        require_log(log)
    return Model(
        table=table,
        settings=_read_settings(folder, table.dim),
        head=head,
        labels=labels,
        trained=trained,
        first_lines=first_lines,
        optimizer={name.removeprefix(prefix): array for name, array in state.items()},
        log=log,
        corpus=manifest.corpus,
        start=manifest.start,
        manifest=manifest,
    )


def load_table(folder: Path) -> EmbeddingTable:
    """Open the table of a model folder alone, in constant time; raises as `load`."""
    folder = files.settled(folder)
    return _open_table(folder, _read_manifest(folder))


def load_settings(folder: Path) -> TrainSettings:
    """Read the settings of a model folder alone, in constant time; raises as `load`."""
    folder = files.settled(folder)
    return _read_settings(folder, _read_manifest(folder).shape[1])


def verify(folder: Path) -> Manifest:
    """Compare every file of a model folder with its digest; StoreError names what differs."""
    folder = files.settled(folder)
    manifest = _read_manifest(folder)
    with _damage(folder, "manifest.json"):
        if (folder / "manifest.json").read_bytes() != _dump(manifest):
            raise ValueError("its own digest is another")
    for name, (_, digest) in manifest.files.items():
        with _damage(folder, name):
            if files.sha256(folder / name) != digest:
                raise ValueError("its SHA-256 is not the one in manifest.json")
    load(folder)
    return manifest


def is_model(folder: Path) -> bool:
    """Whether a folder has the manifest of a model."""
    try:
        _read_manifest(folder)
    except StoreError:
        return False
    return True


def require_model_or_nothing(folder: Path) -> None:
    """Raise StoreError where `folder`, or what keeps its previous generation, is not a model."""
    for place in (folder, files.previous(folder)):
        with files.storing(place):
            with suppress(FileNotFoundError, NotADirectoryError):
                place.stat()  # raises for a link to itself, which `exists` takes for nothing
            empty = not place.exists() or (place.is_dir() and not any(place.iterdir()))
        if not empty and not (place / "manifest.json").is_file():
            raise StoreError(
                f"{place}: not a model folder, and not empty; it is left as it is",
                "choose another --out",
            )


def checkpoint_folder(folder: Path) -> Path:
    """Where the checkpoint of the run that writes `folder` lies."""
    return files.beside(folder, CHECKPOINT)


def save_checkpoint(
    folder: Path, arrays: Mapping[str, NDArray[Any]], state: Mapping[str, Any]
) -> None:
    """Write a run's arrays and its small state (as JSON) into one file, whole or not at all.

    `folder` is that of the model; raises StoreError.
    """
    place = checkpoint_folder(folder)
    with files.storing(place):
        files.make_folder(place)
    header = json.dumps({"format": FORMAT, "arrays": [*arrays], "state": state}).encode()
    members = {"checkpoint": np.frombuffer(header, np.uint8), **arrays}
    with files.atomic_write(place / "state.npz") as out:
        files.write_npz(out, members)


def load_checkpoint(folder: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read the checkpoint of the run that writes `folder`: arrays, memory-mapped, and state.

    Raises StoreError where there is none, or it is damaged.
    """
    require_checkpoint(folder)
    place = checkpoint_folder(folder)
    with _damage(place, "state.npz"):
        arrays = files.map_npz(place / "state.npz", check=True)
        header = json.loads(arrays.pop("checkpoint").tobytes())
        _require_version(place, header["format"])
        state = header["state"]
        if not isinstance(state, dict) or [*arrays] != header["arrays"]:
            raise ValueError("arrays or a state that were not saved so")
    return arrays, state


def require_checkpoint(folder: Path) -> None:
    """Raise StoreError where no run that writes `folder` is kept."""
    place = checkpoint_folder(folder)
    if not (place / "state.npz").exists():
        raise StoreError(f"{place}: no checkpoint", "start the training without --resume")


def has_checkpoint(folder: Path) -> bool:
    """Whether a run that writes `folder` is kept; what a dead process left of one is removed.

    The caller holds the `files.Lock` of the folder.
    """
    place = checkpoint_folder(folder) / "state.npz"
    if place.parent.is_dir():
        with files.storing(place):
            files.sweep(place)
            if not any(place.parent.iterdir()):
                place.parent.rmdir()
    return place.exists()


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of the run that wrote `folder`, if there is one."""
    place = checkpoint_folder(folder)
    with files.storing(place):
        (place / "state.npz").unlink(missing_ok=True)
        if place.is_dir():
            files.sweep(place / "state.npz")
            if not any(place.iterdir()):
                place.rmdir()


def _write_table(new: Path, table: EmbeddingTable) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": table.vectors.shape}
    with (new / "table.npy").open("wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        for _, block in table.blocks(_BLOCK):
            out.write(np.ascontiguousarray(block, "<f4").data)
    (new / "vocab.txt").write_bytes(table.vocabulary.to_bytes())
    counts = table.vocabulary.counts
    np.save(new / "counts.npy", np.empty(0, "<i8") if counts is None else counts.astype("<i8"))


def _write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with path.open("wb") as out:
        files.write_npz(out, arrays)


def _read_settings(folder: Path, dim: int) -> TrainSettings:
    with _damage(folder, "config.yaml"):
        settings = TrainSettings(**read_yaml(folder / "config.yaml", TrainSettings))
        if settings.dim != dim:
            raise ValueError(f"dim {settings.dim}; the vectors are of {dim} numbers")
        return settings


def _manifest(new: Path, model: Model) -> Manifest:
    return Manifest(
        format=FORMAT,
        embed=__version__,
        shape=(len(model.table), model.table.dim),
        corpus=model.corpus,
        start=dict(model.start),
        files={name: ((new / name).stat().st_size, files.sha256(new / name)) for name in _FILES},
    )


def _dump(manifest: Manifest) -> bytes:
    """Bytes of manifest.json, which end in the digest of what stands before."""
    body = dataclasses.asdict(manifest)
    body["files"] = {
        name: {"bytes": size, "sha256": digest} for name, (size, digest) in manifest.files.items()
    }
    body["sha256"] = hashlib.sha256(_json(body, sort_keys=True, indent=1)).hexdigest()
    return _json(body, indent=1) + b"\n"


def _json(value: Any, **how: Any) -> bytes:
    """Write JSON as UTF-8; names of files that are not text, as escapes."""
    try:
        return json.dumps(value, ensure_ascii=False, **how).encode()
    except UnicodeEncodeError:
        return json.dumps(value, **how).encode()


def _read_manifest(folder: Path) -> Manifest:
    """Read manifest.json and compare the size of every file with it."""
    path = folder / "manifest.json"
    if not path.is_file():
        what = (
            "not a model folder (it has no manifest.json)" if folder.exists() else "no such model"
        )
        raise StoreError(f"{folder}: {what}", "embed train makes one; --model names it")
    with _damage(folder, "manifest.json"):
        if files.regular_size(path, inside=folder) > _MAX_JSON:
            raise ValueError("too large")
        body = json.loads(path.read_bytes())
        _require_version(folder, body["format"])
        manifest = Manifest(
            format=body["format"],
            embed=str(body["embed"]),
            shape=(_whole(body["shape"][0]), _whole(body["shape"][1])),
            corpus=str(body["corpus"]),
            start=dict(body["start"]),
            files={
                name: (_whole(body["files"][name]["bytes"]), str(body["files"][name]["sha256"]))
                for name in _FILES
            },
        )
    for name, (size, _) in manifest.files.items():
        with _damage(folder, name):
            found = files.regular_size(folder / name, inside=folder)
            if found != size:
                raise ValueError(f"{found} bytes; expected {size}")
    return manifest


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError(f"found {value!r:.40}; expected a whole number")
    return value


def require_log(log: Sequence[Any]) -> None:
    """Raise ValueError for a log that is not of what was measured at each epoch."""
    for entry in log:
        if not isinstance(entry, dict) or "epoch" not in entry:
            raise ValueError(f"found {str(entry)[:40]!r}; expected what was measured at an epoch")
        _whole(entry["epoch"])
        _whole(entry.get("steps", 0))


def _texts(found: Any) -> list[str]:
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError(f"found {found!r:.40}; expected a list of texts")
    return found


def _open_table(folder: Path, manifest: Manifest) -> EmbeddingTable:
    with _damage(folder, "table.npy"):
        vectors = files.map_npy(folder / "table.npy")
        if vectors.shape != manifest.shape or vectors.dtype != np.dtype("<f4"):
            raise ValueError(f"{vectors.shape} {vectors.dtype}; expected {manifest.shape} float32")
        if not vectors.flags.c_contiguous:
            raise ValueError("in Fortran order; expected C order")
    with _damage(folder, "counts.npy"):
        counts = files.map_npy(folder / "counts.npy")
        if counts.shape not in ((0,), manifest.shape[:1]) or counts.dtype != np.dtype("<i8"):
            raise ValueError(f"{counts.shape} {counts.dtype}; expected ({len(vectors)},) int64")
    with _damage(folder, "vocab.txt"):
        known = counts if len(counts) else None
        return EmbeddingTable(Vocabulary.open(folder / "vocab.txt", known), vectors)


def _arrays(folder: Path, name: str) -> dict[str, NDArray[Any]]:
    with _damage(folder, name):
        return files.map_npz(folder / name)


def _require_version(folder: Path, found: Any) -> None:
    if _whole(found) > FORMAT:
        raise StoreError(
            f"{folder}: of format version {found}; this embed reads up to {FORMAT}",
            "update embed",
        )


@contextmanager
def _damage(folder: Path, name: str) -> Iterator[None]:
    """Turn what goes wrong while a file of the folder is read into one StoreError."""
    try:
        yield
    except OSError as error:
        raise _damaged(folder, name, error.strerror or str(error)) from error
    except UNFIT as error:
        raise _damaged(folder, name, in_words(error)) from error
    except (ConfigError, VocabularyError) as error:
        place = f"{folder / name}:"
        what = error.message.removeprefix(f"{place} ").replace(place, "line ", 1)
        raise _damaged(folder, name, what) from error


def in_words(error: Exception) -> str:
    """Say for people what one of `UNFIT` means.

    >>> in_words(KeyError("shape"))
    "the entry 'shape' is missing"
    """
    if isinstance(error, KeyError):
        return f"the entry {error} is missing"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON at line {error.lineno}: {error.msg}"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not {error.encoding.upper()}"
    if isinstance(error, TypeError | AttributeError | IndexError):
        return "an entry is of another kind than expected"
    return str(error)


def require_kinds(found: Mapping[str, Any], kinds: Mapping[str, type | UnionType]) -> None:
    """Raise KeyError or ValueError for an entry of JSON that is missing or of another kind."""
    for name, kind in kinds.items():
        if name not in found:
            raise KeyError(name)
        value = found[name]
        # True is no whole number here.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{name}: found {value!r:.40}; expected {KINDS[kind]}")


def _damaged(folder: Path, name: str, what: str) -> StoreError:
    hint = f"the model before it may be in {files.previous(folder)}"
    if folder.suffix == CHECKPOINT:
        hint = "remove the folder to start anew"
    return StoreError(f"{folder / name}: damaged: {what}", hint)


def _size(model: Model) -> int:
    arrays = [model.table.vectors, *model.head.values(), *model.optimizer.values()]
    # A word of eight bytes, its count, its first line, and the times it was trained.
    return sum(array.nbytes for array in arrays) + 32 * len(model.table)
