"""tokenizer.json of Hugging Face `tokenizers`, which cuts text as `embed` does.

A word outside the vocabulary has to be left out. A BPE model without merges does that: a piece that
is in the vocabulary is one token (`ignore_merges`); another is cut into characters, and those that
are not in the vocabulary are dropped. Each piece gets a mark before it, so no character is.

Source: huggingface/tokenizers, tokenizers/src/models/bpe/model.rs; and for the patterns doc/RE of
Oniguruma.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from embedcli.config import TextSettings
from embedcli.errors import MALFORMED_DATA_ERRORS, FormatError, describe_malformed
from embedcli.text.tokenizer import PORTABLE_STYLE, PORTABLE_WORD

_MARK = "▁"  # before each word
OTHER_MARK = "\ue000"  # in the place of that character in words and text
_BLANKS = r"[\t-\r\x1c-\x20\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
_LARGEST = 256 << 20  # bytes of a tokenizer.json that is read


def tokenizer_json(settings: TextSettings, words: Iterable[str], path: Path) -> bytes:
    """Return the tokenizer that cuts text as `settings` say, with the ids of `words`, as JSON.

    Raises FormatError for grapheme clusters, which are of other versions of Unicode there, and for
    a segmenter, which such a file cannot name. What else differs from `text.tokenizer`: labels are
    words, and signs such as © with a selector of emoji style are unknown.
    """
    if settings.segmenter is not None or settings.tokenizer == "char":
        name = settings.segmenter or settings.tokenizer
        raise FormatError(
            f"{path}: a tokenizer.json cannot cut text as the tokenizer {name!r} does",
            "train with --tokenizer word or whitespace, or write another format",
        )
    replaced = [(_MARK, OTHER_MARK)]
    steps: list[dict[str, Any]] = []
    if settings.normalize:
        steps.append({"type": "NFC"})
        if settings.tokenizer == "word":
            replaced += [
                ("[’‘]", "'"),
                ("\\u00ad", ""),
                (r"(?<=[\u05d0-\u05ea])\"(?=[\u05d0-\u05ea])", "״"),
                (PORTABLE_STYLE, ""),
            ]
    steps += [_replacement(*each) for each in replaced]
    if settings.fold_case:
        # A final sigma is told by its neighbours, and İ folds to an i without a dot above.
        steps.append(_replacement(r"(?<=[\p{L}\p{M}'])Σ(?![\p{M}']*\p{L})", "ς"))
        steps.append({"type": "Lowercase"})
        steps.append(_replacement("i\u0307", "i"))
        if settings.normalize:
            steps.append({"type": "NFC"})
    if settings.tokenizer == "word":
        cut = _removing(PORTABLE_WORD, invert=True)
    else:
        cut = _removing(_BLANKS)
    mark = {"type": "Metaspace", "replacement": _MARK, "prepend_scheme": "always", "split": False}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": {"type": "Sequence", "normalizers": steps},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [cut, mark]},
            "post_processor": None,
            "decoder": None,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": True,
                "vocab": {
                    _MARK + word.replace(_MARK, OTHER_MARK): index
                    for index, word in enumerate(words)
                },
                "merges": [],
            },
        },
        ensure_ascii=False,
    ).encode()


def _replacement(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": _regex(pattern), "content": content}


def _removing(pattern: str, *, invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": _regex(pattern), "behavior": "Removed", "invert": invert}


def _regex(pattern: str) -> dict[str, str]:
    r"""Return a pattern as Oniguruma has it, which has no escapes of the form \\U0010ffff."""
    escape = re.compile(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})")
    return {"Regex": escape.sub(lambda match: chr(int(match[1] or match[2], 16)), pattern)}


def read_words(path: Path) -> dict[int, str]:
    """Return the tokens of a tokenizer.json by id; raises FormatError."""
    try:
        if path.stat().st_size > _LARGEST:
            raise FormatError(f"{path}: over {_LARGEST >> 20} MB; expected a tokenizer.json")
        content = json.loads(path.read_bytes())
        model = content["model"]
        vocab = model["vocab"]
        if isinstance(vocab, Mapping):
            words = {int(index): str(word) for word, index in vocab.items()}
        else:  # Unigram: tokens with their scores
            words = {index: str(entry[0]) for index, entry in enumerate(vocab)}
        for added in content.get("added_tokens") or ():
            words[int(added["id"])] = str(added["content"])
        if model.get("ignore_merges") and not model.get("merges"):
            words = {
                index: word.removeprefix(_MARK).replace(OTHER_MARK, _MARK)
                for index, word in words.items()
            }
    except (OSError, *MALFORMED_DATA_ERRORS) as error:
        raise FormatError(f"{path}: no tokenizer.json: {describe_malformed(error)}") from error
    return words
