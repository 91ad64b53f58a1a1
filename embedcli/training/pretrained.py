"""Rows that start from vectors others trained."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.config import TrainSettings
from embedcli.errors import ConfigError
from embedcli.text.tokenizer import Tokenizer
from embedcli.text.vocabulary import Vocabulary

ABSENT, AS_IT_STANDS, RESPELT = range(3)


class Coverage(NamedTuple):
    """How many words of a vocabulary a file of vectors has, how many of these spelt otherwise."""

    words: int  # V
    found: int
    respelt: int

    @classmethod
    def of(cls, found: NDArray[np.uint8]) -> Coverage:
        """Count what `start_from` returned."""
        counts = np.bincount(found, minlength=RESPELT + 1)  # (3,)
        return cls(len(found), len(found) - int(counts[ABSENT]), int(counts[RESPELT]))


def start_from(
    path: Path,
    rows: NDArray[np.float32],
    vocabulary: Vocabulary,
    settings: TrainSettings,
    known: int = 0,
) -> NDArray[np.uint8]:
    """Put the vectors of a file into the rows (V, D) of its words, save the first `known` rows.

    Returns for each word, (V,), whether the file has it: `ABSENT`, `AS_IT_STANDS`, or `RESPELT`,
    where only another spelling of it is there, which the tokenizer would have spelt so (King for
    king). Of several the first counts, the most frequent in most files. Raises FormatError, and
    ConfigError for vectors of another length.
    """
    from embedcli import formats  # not needed by most runs, and slow to import

    given = formats.open_table(path)
    if given.dim != settings.dim:
        raise ConfigError(
            f"vectors: found vectors of {given.dim} numbers; expected {settings.dim} (dim)",
            f"--dim {given.dim}",
        )
    tokens = vocabulary.tokens(slice(None))
    places = given.vocabulary.ids_of(tokens, unknown=-1)  # (V,)
    found = np.where(places >= 0, AS_IT_STANDS, ABSENT).astype(np.uint8)  # (V,)
    missing = {tokens[number]: number for number in np.flatnonzero(places < 0).tolist()}
    for number, place in _other_spellings(missing, given.vocabulary, Tokenizer(settings)).items():
        places[number], found[number] = place, RESPELT
    new = known + np.flatnonzero(found[known:])  # (N,)
    rows[new] = given.rows(places[new])
    return found


def _other_spellings(
    missing: dict[str, int], given: Vocabulary, tokenizer: Tokenizer
) -> dict[int, int]:
    """Find words by the way the tokenizer would spell those given: their ids, by number."""
    places: dict[int, int] = {}
    if missing:
        for place, word in enumerate(given):
            number = missing.get(tokenizer.spelt(word))
            if number is not None:
                places.setdefault(number, place)
    return places
