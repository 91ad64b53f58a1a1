"""The model folder: a bundle that is saved whole or not at all, and opened in constant time.

    table.npy        (V, D) float32, C order     vocab.txt     one word a line; the line is its id
    counts.npy       (V,) int64, or (0,)         config.yaml   the settings as resolved
    trained.npy      (V,) int64                  log.jsonl     loss and metrics of every epoch
    first_lines.npy  (V,) int64                  labels.json   labels of a classifier, in order
                                                 phrases.txt   pairs joined in the text, if any
    snapshots.npy, snapshot_shares.npy           rows at moments of the training, if they were kept
    head.NAME.npy    head or output table        manifest.json see `storage.bundle`; and the shape,
    optimizer.PARAMETER.SLOT.npy                   the corpus, how the initial rows were made, and
    buckets.NAME.npy (G,) int64, where head.NAME     the shapes of tables of n-grams (`tables`)
                     has rows of hashed n-grams

A quantized model has, instead of table.npy, `table.NAME.npy` for each array of its rows (see
`quantize`), and the manifest names their kind (`quantized`). Its trained and first_lines are empty,
and word models have no head, so that they cannot be trained further.

Where words are composed of parts, table.npy holds the composed vectors; and beside it

    head.parts.npy     (R, D) float32, the rows of the parts; the first V are the words' own
    parts.buckets.npy  (B,) int32, ascending: the buckets of the words' n-grams
    parts.rows.npy     (B,) int32, the row of each; buckets that share a row are there as a sum

with "parts" in the manifest, which says how words are cut: {"min_n", "max_n", "buckets", "unit"}.
A model that is quantized or pruned needs no rows of parts to compose unknown words, and has none.

A folder of format 1 can be read. It holds the arrays of the head, with the labels, in `head.npz`,
and all others in `state.npz`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedcli.composer import Parts, SubwordComposer
from embedcli.config import TrainSettings, read_yaml, schema, to_yaml
from embedcli.errors import StoreError
from embedcli.quantize import QUANTIZERS, Int8Rows, ProductRows
from embedcli.storage import files
from embedcli.storage.arrays import RowSource, map_npz, npy_header, require_array
from embedcli.storage.bundle import (
    MANIFEST,
    Bundle,
    File,
    Member,
    as_json,
    json_bytes,
    open_bundle,
    require_types,
    require_whole,
    write_bundle,
)
from embedcli.table import EmbeddingTable, Index
from embedcli.text.phrases import PHRASES, Phrases
from embedcli.text.subwords import Subwords
from embedcli.text.vocabulary import Vocabulary

_REQUIRED = ("vocab.txt", "counts.npy", "config.yaml", "log.jsonl")
SNAPSHOT_WORDS = 20_000  # whose rows a snapshot holds, at most: as many as a map draws
_REQUIRED_BY_FORMAT = {1: ("head.npz", "state.npz"), 2: ("trained.npy", "first_lines.npy")}
_BLOCK = 1 << 24
_MAX_LOG = 1 << 26


@dataclass(frozen=True, kw_only=True)
class Model:
    """A trained table and what else is kept of its training."""

    table: EmbeddingTable
    settings: TrainSettings
    head: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    trained: NDArray[np.int64]  # (V,) how many steps changed each word's row
    first_lines: NDArray[np.int64]  # (V,) line of the corpus where a word first appears, from 1
    optimizer: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # by PARAMETER.SLOT
    # By the name of a table of the head: the bucket of the n-grams that each row belongs to, (G,).
    buckets: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    phrases: Phrases | None = None  # that were joined in the text
    log: Sequence[Mapping[str, Any]] = ()
    corpus: str = ""  # fingerprint of the text
    start: Mapping[str, Any] = field(default_factory=dict)  # how the initial rows were made
    environment: Mapping[str, str] = field(default_factory=dict)  # what it was computed with
    parts: Parts | None = None  # of which words are composed; head["parts"] has their rows, if any
    snapshots: NDArray[np.float16] | None = None  # (S, W, D) rows of the most frequent words
    snapshot_shares: NDArray[np.float32] | None = None  # (S,) of the steps done before each
    bundle: Bundle | None = None  # the folder it was loaded from

    @property
    def digest(self) -> str:
        """SHA-256 of table.npy; equal for two runs that learnt the same table."""
        return _digest(self.bundle.files) if self.bundle else ""

    @property
    def is_quantized(self) -> bool:
        """Whether rows are stored in few bytes."""
        return isinstance(self.table.vectors, Int8Rows | ProductRows)


def save_model(folder: Path, model: Model) -> str:
    """Write a model folder and keep the one before; returns the SHA-256 of table.npy, or codes.

    The caller holds the `files.Lock` of the folder. Raises StoreError where `folder` holds
    something other than a model, or cannot be written.
    """
    require_model_or_nothing(folder)
    table, counts = model.table, model.table.vocabulary.counts
    arrays = {
        "counts": np.empty(0, "<i8") if counts is None else np.asarray(counts, "<i8"),
        "trained": model.trained,
        "first_lines": model.first_lines,
        **{f"head.{name}": array for name, array in model.head.items()},
        **({} if model.parts is None else model.parts.arrays()),
        **{f"optimizer.{name}": array for name, array in model.optimizer.items()},
        **{f"buckets.{name}": array for name, array in model.buckets.items()},
    }
    facts: dict[str, Any] = {"shape": table.vectors.shape, "corpus": model.corpus}
    facts["start"] = dict(model.start)
    size = 0
    members: dict[str, Member] = {}
    if isinstance(table.vectors, Int8Rows | ProductRows):
        facts["quantized"] = table.vectors.kind
        arrays |= {f"table.{name}": array for name, array in table.vectors.arrays().items()}
    else:
        blocks = (np.ascontiguousarray(block, "<f4").data for _, block in table.blocks(_BLOCK))
        members["table.npy"] = chain([npy_header(table.vectors.shape, "<f4")], blocks)
        size += 4 * len(table) * table.dim
    if model.snapshots is not None and model.snapshot_shares is not None:
        arrays |= {"snapshots": model.snapshots, "snapshot_shares": model.snapshot_shares}
    words = table.vocabulary.to_bytes()
    size += len(words) + sum(array.nbytes for array in arrays.values())
    files.require_space(folder, size, "the model")
    members |= {
        "vocab.txt": words,
        "config.yaml": to_yaml(model.settings).encode(),
        "log.jsonl": b"".join(json_bytes(entry) + b"\n" for entry in model.log),
        **{f"{name}.npy": array for name, array in arrays.items()},
    }
    if model.phrases is not None:
        members[PHRASES] = model.phrases.to_bytes()
    if model.labels:
        members["labels.json"] = json_bytes(model.labels)
    if model.environment:
        facts["environment"] = dict(model.environment)
    if model.buckets:
        facts["tables"] = {name: model.head[name].shape for name in model.buckets}
    if model.parts is not None:
        facts["parts"] = model.parts.subwords._asdict()
    return _digest(write_bundle(folder, "model", members, facts, keep_previous=True))


def load_model(folder: Path) -> Model:
    """Open a model folder; arrays are memory-mapped and digests are not checked.

    Raises StoreError for a folder that is missing, not a model, damaged or of a newer format.
    """
    bundle = _open(folder)
    table = _table_of(bundle)
    arrays = bundle.arrays() if bundle.format > 1 else _arrays_of_format_1(bundle)
    labels: tuple[str, ...] = ()
    if "labels.json" in bundle.files or "head.labels" in arrays:
        with bundle.damage("labels.json" if bundle.format > 1 else "head.npz"):
            array = arrays.pop("head.labels", None)
            data = array.tobytes() if array is not None else bundle.path("labels.json").read_bytes()
            found = json.loads(data)
            if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
                raise ValueError(f"found {as_json(found)}; expected a list of texts")
            labels = tuple(found)
    head, optimizer, buckets = {}, {}, {}
    for name, array in list(arrays.items()):
        part, _, rest = name.partition(".")
        with bundle.damage(_file_of(name, bundle)):
            if part == "head":
                require_array(array, None, "<f4")
                head[rest] = array
            elif part == "optimizer":
                optimizer[rest] = array
            elif part == "buckets":
                buckets[rest] = array
            elif name in ("trained", "first_lines"):
                if "quantized" in bundle.facts and not array.size:
                    arrays[name] = array = np.zeros(len(table), "<i8")
                require_array(array, (len(table),), "<i8")
            elif name == "snapshots":
                rows = (len(array), min(len(table), SNAPSHOT_WORDS), table.dim)
                require_array(array, rows, "<f2")
            elif name == "snapshot_shares":
                require_array(array, (len(arrays["snapshots"]),), "<f4")
    for name in ("counts", "trained", "first_lines"):
        with bundle.damage(_file_of(name, bundle)):
            counts = table.vocabulary.counts if name == "counts" else arrays[name]
            if counts is not None and counts.min(initial=0) < 0:
                raise ValueError("a count below 0")
    settings = _settings_of(bundle)
    if settings.phrases:
        with bundle.damage(PHRASES):
            bundle.path(PHRASES)
    for name, array in buckets.items():
        with bundle.damage(f"buckets.{name}.npy"):
            require_array(array, (len(head[name]),), "<i8")
            if array.min(initial=0) < 0 or array.max(initial=0) >= settings.buckets:
                raise ValueError(f"found {array.min()} to {array.max()} of {settings.buckets}")
    with bundle.damage("log.jsonl"):
        if bundle.files["log.jsonl"].bytes > _MAX_LOG:
            raise ValueError("too large")
        lines = bundle.path("log.jsonl").read_text(encoding="utf-8").split("\n")
        log = [json.loads(line) for line in lines if line]
        require_log(log)
    return Model(
        table=table,
        settings=settings,
        head=head,
        labels=labels,
        trained=arrays["trained"],
        first_lines=arrays["first_lines"],
        optimizer=optimizer,
        buckets=buckets,
        phrases=table.phrases,
        log=log,
        corpus=bundle.facts["corpus"],
        start=bundle.facts["start"],
        environment=_environment_of(bundle),
        parts=_parts_of(bundle) if "parts" in bundle.facts else None,
        snapshots=arrays.get("snapshots"),
        snapshot_shares=arrays.get("snapshot_shares"),
        bundle=bundle,
    )


def load_table(folder: Path) -> EmbeddingTable:
    """Open the table of a model folder alone, in constant time; raises as `load_model`."""
    return _table_of(_open(folder))


def load_settings(folder: Path) -> TrainSettings:
    """Read the settings of a model folder alone, in constant time; raises as `load_model`."""
    return _settings_of(_open(folder))


def verify_model(folder: Path) -> Model:
    """Compare every file of a model folder with its digest and open it; raises as `load_model`."""
    _open(folder).verify()
    return load_model(folder)


def is_model(folder: Path) -> bool:
    """Return whether a folder has the manifest of a model."""
    try:
        _open(folder)
    except StoreError:
        return False
    return True


def require_model_or_nothing(folder: Path) -> None:
    """Raise StoreError where `folder`, or what keeps its previous generation, is not a model."""
    for path in (folder, files.previous(folder)):
        with files.storing(path):
            with suppress(FileNotFoundError, NotADirectoryError):
                path.stat()  # raises for a link to itself, for which `exists` returns False
            empty = not path.exists() or (path.is_dir() and not any(path.iterdir()))
        if not empty and not (path / MANIFEST).is_file():
            raise StoreError(
                f"{path}: not a model folder, and not empty; it is left as it is",
                "choose another --out",
            )


def require_log(log: Sequence[Any]) -> None:
    """Raise ValueError unless each entry of a log holds what was measured at an epoch."""
    for entry in log:
        if not isinstance(entry, dict) or "epoch" not in entry:
            raise ValueError(f"found {as_json(entry)}; expected what was measured at an epoch")
        require_whole(entry["epoch"])
        require_whole(entry.get("steps", 0))
        require_curve(entry.get("curve", ()))


def require_curve(curve: Any) -> None:
    """Raise ValueError unless a curve holds the mean losses of the parts of an epoch."""
    if not isinstance(curve, list | tuple) or not all(type(each) is float for each in curve):
        raise ValueError(f"curve: found {as_json(curve)}; expected numbers")


def _open(folder: Path) -> Bundle:
    """Open the bundle of a model folder, with its facts and the names of its files checked."""
    folder = files.current_path(folder)
    if not (folder / MANIFEST).is_file():
        what = f"not a model folder (it has no {MANIFEST})" if folder.exists() else "no such model"
        raise StoreError(f"{folder}: {what}", "embed train makes one; --model names it")
    hint = f"the model before it may be in {files.previous(folder)}"
    bundle = open_bundle(folder, "model", hint)
    with bundle.damage(MANIFEST):
        require_types(bundle.facts, {"shape": list, "corpus": str, "start": dict})
        if len([require_whole(length) for length in bundle.facts["shape"]]) != 2:
            raise ValueError(f"shape: found {as_json(bundle.facts['shape'])}; expected two numbers")
        quantized = bundle.facts.get("quantized")
        if quantized is not None and quantized not in (*QUANTIZERS,):
            known = ", ".join(QUANTIZERS)
            raise ValueError(f"quantized: found {as_json(quantized)}; expected {known}")
        table = "table.npy" if quantized is None else "table.codes.npy"
        for name in (table, *_REQUIRED, *_REQUIRED_BY_FORMAT[bundle.format]):
            bundle.path(name)
    return bundle


def _table_of(bundle: Bundle) -> EmbeddingTable:
    counts = bundle.array("counts")
    words, dim = bundle.facts["shape"]
    vectors: RowSource
    if "quantized" in bundle.facts:
        with bundle.damage("table.codes.npy"):
            names = [name for name in bundle.files if name.startswith("table.")]
            stored = {name[6:-4]: bundle.array(name.removesuffix(".npy")) for name in names}
            vectors = QUANTIZERS[bundle.facts["quantized"]].from_arrays(stored, (words, dim))
    else:
        array = bundle.array("table")
        with bundle.damage("table.npy"):
            require_array(array, (words, dim), "<f4")
            if not array.flags.c_contiguous:
                raise ValueError("in Fortran order; expected C order")
        vectors = array
    with bundle.damage("counts.npy"):
        require_array(counts, (words,) if counts.size else (0,), "<i8")
    with bundle.damage("vocab.txt"):
        known = counts if len(counts) else None
        # Of vectors that came from a file it is not known how their text was cut.
        converted = bundle.facts["start"].get("from") == "file"
        spelling = None if converted else partial(_settings_of, bundle)
        vocabulary = Vocabulary.open(bundle.path("vocab.txt"), known)

    def composer() -> SubwordComposer:
        return SubwordComposer(vocabulary, vectors, _parts_of(bundle))

    composes = composer if "parts" in bundle.facts else None

    def read_phrases() -> Phrases:
        with bundle.damage(PHRASES):
            return Phrases.read(bundle.path(PHRASES))

    phrases = read_phrases if PHRASES in bundle.files else None

    def index() -> Index:
        from embedcli.indexing import open_index

        return open_index(bundle.folder, _digest(bundle.files), (words, dim))

    return EmbeddingTable(vocabulary, vectors, spelling, composes, phrases, index)


def _parts_of(bundle: Bundle) -> Parts:
    """Read which parts the words of a model are composed of; raises StoreError."""
    with bundle.damage(MANIFEST):
        require_types(bundle.facts, {"parts": dict})
        found, specs = bundle.facts["parts"], schema(TrainSettings)
        require_types(found, {"min_n": int, "max_n": int, "buckets": int, "unit": str}, "parts: ")
        for name in ("min_n", "max_n", "buckets"):
            specs[name].check(found[name])
        specs["ngram_unit"].check(found["unit"])
        subwords = Subwords(*(found[name] for name in Subwords._fields))
    buckets, rows = bundle.array("parts.buckets"), bundle.array("parts.rows")
    with bundle.damage("parts.buckets.npy"):
        require_array(buckets, (len(buckets),), "<i4")
        if (np.diff(buckets) <= 0).any():
            raise ValueError("buckets that are not in ascending order")
    with bundle.damage("parts.rows.npy"):
        require_array(rows, (len(buckets),), "<i4")
        if rows.min(initial=0) < 0:
            raise ValueError("a row below 0")
    if "head.parts.npy" not in bundle.files and not len(buckets):
        return Parts(subwords, buckets, rows)  # unknown words are composed of the known
    vectors = bundle.array("head.parts")
    with bundle.damage("head.parts.npy"):
        words, dim = bundle.facts["shape"]
        require_array(vectors, (len(vectors), dim), "<f4")
        if len(vectors) < max(words, rows.max(initial=-1) + 1):
            raise ValueError(f"found {len(vectors)} rows; the words and parts.rows.npy need more")
    return Parts(subwords, buckets, rows)


def _digest(written: Mapping[str, File]) -> str:
    """Return the digest of the rows, or of a quantized model's codes."""
    return written["table.npy" if "table.npy" in written else "table.codes.npy"].sha256


def _environment_of(bundle: Bundle) -> dict[str, str]:
    found = bundle.facts.get("environment", {})
    with bundle.damage(MANIFEST):
        require_types({"environment": found}, {"environment": dict})
        require_types(found, dict.fromkeys(found, str), "environment: ")
    return dict(found)


def _settings_of(bundle: Bundle) -> TrainSettings:
    with bundle.damage("config.yaml"):
        settings = TrainSettings(**read_yaml(bundle.path("config.yaml"), TrainSettings))
        dim = bundle.facts["shape"][1]
        if settings.dim != dim:
            raise ValueError(f"dim {settings.dim}; the vectors have {dim} numbers")
        return settings


def _arrays_of_format_1(bundle: Bundle) -> dict[str, NDArray[Any]]:
    with bundle.damage("head.npz"):
        head = map_npz(bundle.path("head.npz"))
        if "labels" not in head:
            raise KeyError("labels")
    with bundle.damage("state.npz"):
        state = map_npz(bundle.path("state.npz"))
        for name in ("trained", "first_lines"):
            if name not in state:
                raise KeyError(name)
    named = {name.replace("/", "."): array for name, array in state.items()}
    return {f"head.{name}": array for name, array in head.items()} | named


def _file_of(name: str, bundle: Bundle) -> str:
    """Return the name of the file that holds an array."""
    if bundle.format > 1 or name == "counts":
        return f"{name}.npy"
    return "head.npz" if name.startswith("head.") else "state.npz"
