"""Folders of sentence-transformers (StaticEmbedding) and model2vec: a matrix and a tokenizer.json.

Both average the rows of a text's words, as `embed vectors` does. They differ in the name of the
matrix in `model.safetensors`, and in the file of settings.

Source: sentence_transformers/sentence_transformer/modules/static_embedding.py, and
model2vec/persistence/persistence.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedcli.errors import FormatError
from embedcli.formats import safetensors
from embedcli.formats.base import Options, Read
from embedcli.formats.tokenizer_json import tokenizer_json
from embedcli.storage import files
from embedcli.table import EmbeddingTable

_NAMES = ("tokenizer.json", "model.safetensors")


def sniff(path: Path, head: bytes, config: str, **_: object) -> bool:  # noqa: ARG001
    """Whether a folder has the settings of that library, a tokenizer and a matrix."""
    return path.is_dir() and (path / config).is_file() and _folder_of(path) is not None


def _folder_of(path: Path) -> Path | None:
    """Return where the matrix and the tokenizer lie: in the folder, or in that of its module."""
    for folder in (path, path / "0_StaticEmbedding"):
        if all((folder / name).is_file() for name in _NAMES):
            return folder
    return None


def read(path: Path, options: Options, **_: object) -> Read:
    """Read the words of the tokenizer and their rows; raises FormatError."""
    folder = _folder_of(path)
    if folder is None:
        raise FormatError(f"{path}: found no {' and '.join(_NAMES)}")
    return safetensors.read(folder / "model.safetensors", options)


def write(path: Path, table: EmbeddingTable, config: str, matrix: str) -> None:
    """Write a folder that the library loads; raises FormatError, StoreError.

    A folder that is there is replaced if it holds such a model.
    """
    if path.exists() and not (path.is_dir() and (_folder_of(path) or not any(path.iterdir()))):
        raise FormatError(f"{path}: is there already; expected a new folder")
    settings, again = table.text_settings()
    if again:
        # Whose words they are is not known: text is folded if the words are.
        words = table.vocabulary.to_bytes()
        settings = replace(settings, fold_case=words.decode().lower().encode() == words)
    facts: dict[str, Any] = {"model_type": "SentenceTransformer", "similarity_fn_name": "cosine"}
    if config == "config.json":
        facts = {
            "model_type": "model2vec",
            "architectures": ["StaticModel"],
            "normalize": False,
            "max_length": None,
            "embedding_dtype": "float32",
        }
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"}
    ]
    with files.new_folder(path, keep_previous=False) as folder:
        safetensors.write(folder / "model.safetensors", table, matrix, words=False)
        (folder / "tokenizer.json").write_bytes(tokenizer_json(settings, table.vocabulary, path))
        for name, content in ((config, facts), ("modules.json", modules)):
            (folder / name).write_text(json.dumps(content, indent=2) + "\n")
