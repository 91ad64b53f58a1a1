"""Initial rows taken from vectors of a file (`--vectors`)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.config import TrainSettings
from embedcli.errors import ConfigError
from embedcli.text.tokenizer import Tokenizer
from embedcli.text.vocabulary import Vocabulary

ABSENT, SAME_SPELLING, OTHER_SPELLING = range(3)


class Coverage(NamedTuple):
    """How many words of a vocabulary a file of vectors has."""

    words: int  # V
    found: int
    respelt: int  # of those found, only in another spelling

    @classmethod
    def of(cls, found: NDArray[np.uint8]) -> Coverage:
        """Count what `copy_vectors` returned."""
        counts = np.bincount(found, minlength=3)  # (3,)
        return cls(len(found), len(found) - int(counts[ABSENT]), int(counts[OTHER_SPELLING]))


def copy_vectors(
    path: Path,
    rows: NDArray[np.float32],
    vocabulary: Vocabulary,
    settings: TrainSettings,
    known: int = 0,
) -> NDArray[np.uint8]:
    """Copy the vectors of a file to the rows (V, D) of its words, except the first `known` rows.

    Returns for each word, (V,), whether the file has it: `ABSENT`, `SAME_SPELLING`, or
    `OTHER_SPELLING` where it has only a word that the tokenizer would spell so (King for king). Of
    several such words the first is taken, in most files the most frequent. Raises FormatError, and
    ConfigError for vectors of another length.
    """
    from embedcli import formats  # slow to import, and most runs do not need it

    given = formats.open_table(path)
    if given.dim != settings.dim:
        raise ConfigError(
            f"vectors: found vectors of {given.dim} numbers; expected {settings.dim} (dim)",
            f"--dim {given.dim}",
        )
    # 1. Words that the file has in the same spelling.
    tokens = vocabulary.tokens(slice(None))
    places = given.vocabulary.ids_of(tokens, unknown=-1)  # (V,)
    found = np.where(places >= 0, SAME_SPELLING, ABSENT).astype(np.uint8)  # (V,)
    # 2. Of the others, those that the tokenizer makes of a word of the file.
    missing = {tokens[id_]: id_ for id_ in np.flatnonzero(places < 0).tolist()}
    tokenizer = Tokenizer(settings)
    for place, word in enumerate(given.vocabulary if missing else ()):
        id_ = missing.get(tokenizer.spelt(word))
        if id_ is not None and found[id_] == ABSENT:
            places[id_], found[id_] = place, OTHER_SPELLING
    new = known + np.flatnonzero(found[known:])  # (N,)
    rows[new] = given.rows(places[new])
    return found
