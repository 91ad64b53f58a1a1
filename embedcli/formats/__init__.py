"""Vectors to and from files: `FORMATS`, told apart by their content.

A new format is a module with `sniff`, `read` and `write`, and a line in `FORMATS`. The modules are
imported when they are used, so that a help text that lists the formats costs nothing.
"""

from __future__ import annotations

import codecs
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedcli.errors import FormatError

if TYPE_CHECKING:
    from embedcli.formats.base import Options, Read
    from embedcli.table import EmbeddingTable


@dataclass(frozen=True)
class Format:
    """One way to keep vectors in files, and the module of this package that knows it.

    `help` describes the files, `suffix` is that of their names where they are the usual format of
    such names. `refused` is a pattern of words that the format cannot hold.
    """

    module: str
    help: str
    suffix: str | None = None
    keeps_counts: bool = False
    compressed: bool = False  # by the end of the name that is written
    takes_vocab: bool = False  # whether words may be in a file that the options name
    refused: str | None = None
    keywords: Mapping[str, Any] = field(default_factory=dict)  # of the module's functions

    def sniff(self, path: Path, head: bytes) -> bool:
        """Whether a file is of this format, by its first bytes, decompressed."""
        return bool(self._call("sniff", path, head))

    def read(self, path: Path, options: Options) -> Read:
        """Read a table; raises FormatError or StoreError."""
        found: Read = self._call("read", path, options)
        return found

    def write(self, path: Path, table: EmbeddingTable, options: Options | None = None) -> int:
        """Write a table and return how many words were left out.

        A word that the format cannot hold raises FormatError, or is left out if the option
        `errors` is "skip". Counts that the format has no place for are written beside it. Raises
        StoreError too.
        """
        from embedcli.formats import base
        from embedcli.text.compression import COMPRESSIONS

        if path.suffix in COMPRESSIONS and not self.compressed:
            raise FormatError(
                f"{path}: the format is not written compressed", f"{base.uncompressed_name(path)}"
            )
        skip = options is not None and options.errors == "skip"
        kept = self._writable(path, table, skip)
        left_out = len(table) - len(kept)
        if left_out:
            table = base.selected(table, kept)
        self._call("write", path, table)
        if not self.keeps_counts:
            base.write_counts(path, table.vocabulary)
        return left_out

    def _writable(self, path: Path, table: EmbeddingTable, skip: bool) -> list[int]:
        """Return the ids of the words that the format can hold."""
        if self.refused is None:
            return list(range(len(table)))
        refused = re.compile(self.refused)
        kept: list[int] = []
        for index, word in enumerate(table.vocabulary):
            # A byte order mark at the start of a file is removed when it is read.
            marked = not kept and word.startswith("\ufeff")
            if not (marked or refused.search(word)):
                kept.append(index)
            elif not skip:
                raise FormatError(
                    f"{path}: the word {word!r} (id {index}) cannot be written there",
                    "--errors skip leaves such words out; safetensors and the model folder hold "
                    "any word",
                )
        return kept

    def _call(self, name: str, *arguments: Any) -> Any:
        module = importlib.import_module(f"embedcli.formats.{self.module}")
        return getattr(module, name)(*arguments, **self.keywords)


# In the order in which they are tried.
FORMATS: dict[str, Format] = {
    "model": Format("model", "model folder of embed", "", keeps_counts=True),
    "npy": Format(
        "npy",
        "NumPy array NAME.npy with the words in NAME.vocab.txt",
        ".npy",
        takes_vocab=True,
        refused=r"\r\Z",
    ),
    "static-embedding": Format(
        "static_embedding",
        "folder of sentence-transformers (StaticEmbedding)",
        keeps_counts=True,
        refused="\ue000",
        keywords={"config": "config_sentence_transformers.json", "matrix": "embedding.weight"},
    ),
    "model2vec": Format(
        "static_embedding",
        "folder of model2vec",
        keeps_counts=True,
        refused="\ue000",
        keywords={"config": "config.json", "matrix": "embeddings"},
    ),
    "parquet": Format(
        "parquet",
        "Parquet: columns `token`, `count` and `vector`, a list of float32",
        ".parquet",
        keeps_counts=True,
    ),
    "safetensors": Format(
        "safetensors",
        "safetensors: matrix `embedding` and words as lines, tensor `vocabulary`",
        ".safetensors",
        takes_vocab=True,
    ),
    "fasttext-bin": Format(
        "fasttext_bin",
        "fastText .bin: words with their full vectors, or a classifier",
        keeps_counts=True,
        refused="[\\0 \t\r\v\f]",
    ),
    "word2vec-binary": Format(
        "word2vec_binary", "word2vec binary, as word2vec.c and gensim write it", ".bin", refused=" "
    ),
    "projector": Format(
        "projector",
        "TensorFlow Embedding Projector: NAME.tsv and NAME.metadata.tsv",
        ".tsv",
        keeps_counts=True,
        refused="[\t\r]",
    ),
    "fasttext": Format(
        "lines",
        "fastText .vec: word2vec text with a blank before each newline",
        ".vec",
        compressed=True,
        refused="[ \t\r\v\f]",
        keywords={"counted": True, "end": b" \n"},
    ),
    "word2vec": Format(
        "lines",
        "word2vec text: a header, then a word and its numbers a line",
        ".txt",
        compressed=True,
        refused="[ \t\r\v\f]",
        keywords={"counted": True},
    ),
    "glove": Format(
        "lines",
        "GloVe text: a word and its numbers a line, no header",
        compressed=True,
        refused="[\t\r\v\f]",
        keywords={"counted": False},
    ),
}
QUANTIZED = "quantized"  # a model folder with rows in few bytes; it is read as any other
WRITTEN = (*FORMATS, QUANTIZED)
FORMAT_OF_SUFFIX = {each.suffix: name for name, each in FORMATS.items() if each.suffix is not None}

_PICKLE = "a Python pickle, which can run any program: it is never opened"

# Other files that are given where vectors are expected, by their first bytes.
_STRANGERS = {
    b"\x80\x02": _PICKLE,
    b"\x80\x03": _PICKLE,
    b"\x80\x04": _PICKLE,
    b"\x80\x05": _PICKLE,
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"\x89HDF": "an HDF5 file",
    b"FiFu": "a finalfusion file; finalfusion's own tools write word2vec binary from it",
}


def sniff(path: Path) -> str:
    """Return the format of a file or folder by its content; raises FormatError, StoreError."""
    from embedcli.formats.base import read_head
    from embedcli.text.sources import guess_utf16, identify

    if path.is_dir() or FORMATS["model"].sniff(path, b""):
        if (path / "vectors.tsv").is_file():
            return "projector"
        folders = ("static-embedding", "model2vec")
        return next((name for name in folders if FORMATS[name].sniff(path, b"")), "model")
    head = read_head(path)
    for magic, what in _STRANGERS.items():
        if head.startswith(magic):
            pickled = what == _PICKLE
            hint = "in gensim, save_word2vec_format writes a file that is read" if pickled else None
            raise FormatError(f"{path}: {what}", hint)
    found = next((name for name, each in FORMATS.items() if each.sniff(path, head)), None)
    # An archive of lines of vectors holds such lines.
    if (found is None or FORMATS[found].module == "lines") and (other := identify(head)):
        raise FormatError(f"{path}: is {other[0]}; expected vectors", other[1])
    if found is not None:
        return found
    unknown = f"{path}: not a known format of vectors"
    if not head:
        raise FormatError(f"{unknown}, but an empty file", "was its download cut off?")
    utf16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    if head.startswith(utf16) or guess_utf16(head, surely=True):
        raise FormatError(f"{unknown}, but text in UTF-16", f"iconv -f UTF-16 -t UTF-8 {path}")
    raise FormatError(unknown, f"embed reads {', '.join(FORMATS)}")


def read(path: Path, options: Options | None = None) -> Read:
    """Read vectors from a file or folder in any format; raises FormatError, StoreError.

    Counts that a format has no place for are read from the file that `convert` writes beside it.
    """
    from embedcli.formats import base

    path = path / "vectors.tsv" if (path / "vectors.tsv").is_file() else path
    name, options = sniff(path), options or base.Options()
    if options.vocab is not None and not FORMATS[name].takes_vocab:
        raise FormatError(f"{path}: {name} holds its words; expected no vocab", "leave out --vocab")
    found = FORMATS[name].read(path, options)
    vocabulary = found.table.vocabulary
    if not FORMATS[name].keeps_counts and vocabulary.counts is None:
        vocabulary.counts = base.read_counts(path, vocabulary)
    if vocabulary.counts is not None and name != "model" and vocabulary.counts.min(initial=0) < 0:
        raise FormatError(f"{path}: found a count below 0")
    return found


def open_table(path: Path) -> EmbeddingTable:
    """Open vectors in any format, memory-mapped where the format allows; raises as `read`."""
    return read(path).table


def convert(
    source: Path | EmbeddingTable,
    target: Path,
    to: str | None = None,
    options: Options | None = None,
) -> Read:
    """Write vectors to `target` in the format named `to`; returns what was read of `source`.

    Without `to` the name of `target` decides. Words that are left out because the format cannot
    hold them are counted among those skipped. Memory grows with the words only, not with the
    numbers. Raises FormatError, StoreError.
    """
    from embedcli.formats.base import Options, PassingTable, Read

    to = to or format_of_name(target)
    if to not in WRITTEN:
        expected = ", ".join(WRITTEN)
        raise FormatError(f"{to!r} is not a format that is written; expected one of {expected}")
    options = options or Options()
    for name in ("prune", "part_size"):
        number = getattr(options, name)
        if number is not None and number < 1:
            raise FormatError(f"{name}: found {number}; expected a whole number from 1")
    if not isinstance(source, Path):
        found = Read(source)
    elif source.exists() and target.exists() and target.samefile(source):
        raise FormatError(f"{target}: that is what is read; expected another place to write to")
    else:
        found = read(source, options)
    kind = sniff(source) if isinstance(source, Path) else None
    if kind == to == "fasttext-bin" and isinstance(source, Path) and options.prune is None:
        from embedcli.formats import fasttext_bin

        fasttext_bin.write_dense(target, fasttext_bin.open_model(source, options))
        return found
    pruned: Mapping[str, int] = {}
    if options.prune is not None or to in (QUANTIZED, "fasttext-bin"):
        # These keep what else a model has.
        import numpy as np

        from embedcli.formats import fasttext_bin, model
        from embedcli.model import load_model

        made = (
            load_model(source)
            if kind == "model" and isinstance(source, Path)
            else model.of_table(found.table)
        )
        if options.prune is not None:
            # Of words of equal length or count the first are kept.
            ids = np.sort(found.table.sorted(options.prune_by).ids[: options.prune])
            pruned = {f"words beyond {options.prune:,}": len(found.table) - len(ids)}
            made = model.pruned(made, ids)
        found = Read(made.table, {**found.skipped, **pruned})
        if to == QUANTIZED:
            made = model.quantized(made, options)
        if to == QUANTIZED or (to == "model" and kind == "model"):
            model.write_model(target, made)
            return Read(made.table, found.skipped)
        if to == "fasttext-bin" and (made.labels or "parts" in made.head):
            write = fasttext_bin.write_classifier if made.labels else fasttext_bin.write_subwords
            write(target, made)
            return found
    left_out = FORMATS[to].write(target, PassingTable(found.table, options), options)
    skipped = {f"words that {to} cannot hold": left_out} if left_out else {}
    return Read(found.table, {**found.skipped, **skipped})


def format_of_name(path: Path) -> str:
    """Return the format that a name stands for; raises FormatError where it stands for none."""
    from embedcli.formats.base import uncompressed_name

    suffix = uncompressed_name(path).suffix.lower()
    if suffix not in FORMAT_OF_SUFFIX:
        known = ", ".join(suffix or "a folder" for suffix in FORMAT_OF_SUFFIX)
        raise FormatError(f"{path}: the name tells no format; expected {known}", "--to FORMAT")
    return FORMAT_OF_SUFFIX[suffix]
