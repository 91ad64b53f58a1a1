"""A bootstrap of a corpus: lines drawn with replacement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedcli.text.encode import EncodedCorpus
from embedcli.text.spool import Spool, take_lines

_STREAM = 21  # second number of the random stream's key, the first being the seed
_DRAWS = 1 << 20  # lines drawn at once
_BLOCK = 1 << 20  # tokens or lines that are copied at once


def line_counts(lines: int, seed: int) -> NDArray[np.uint16]:
    """Return how often each of so many lines is drawn, (L,): as many draws as there are lines."""
    counts = np.zeros(lines, np.uint16)  # (L,)
    rng = np.random.default_rng((seed, _STREAM))
    for start in range(0, lines, _DRAWS):
        np.add.at(counts, rng.integers(lines, size=min(_DRAWS, lines - start)), 1)
    return counts


def resample(corpus: EncodedCorpus, seed: int, folder: Path) -> EncodedCorpus:
    """Draw as many lines as a corpus has, with replacement, and write them to files in `folder`.

    The lines stay in their order; one that is drawn twice stands twice in a row. Words and labels
    keep their ids, those that are not drawn too; counts are those of the lines drawn. The draw
    depends on the seed and the number of lines alone.

    Source: Efron 1979, "Bootstrap methods"; Antoniak & Mimno 2018, "Evaluating the stability of
    embedding-based word similarities", §4.
    """
    counts = line_counts(corpus.lines, seed)  # (L,)
    words = len(corpus.vocabulary)
    change = np.zeros(words, np.int64)  # (V,) of the words' counts
    with Spool(folder, "resampled", np.int32) as spool:
        for lines in _blocks(corpus.offsets):
            drawn = np.repeat(lines, counts[lines])
            ids, offsets = take_lines(corpus.ids, corpus.offsets, drawn)
            spool.add(ids, offsets[1:])
            every = corpus.ids[corpus.offsets[lines[0]] : corpus.offsets[lines[-1] + 1]]
            change += np.bincount(ids, minlength=words) - np.bincount(every, minlength=words)
    targets = corpus.targets
    if targets is not None:
        targets = targets.take(np.repeat(np.arange(corpus.lines), counts))  # (L,)
    before = corpus.vocabulary.counts
    return corpus._replace(
        ids=spool.numbers(),
        offsets=spool.offsets(),
        vocabulary=corpus.vocabulary.with_counts(change if before is None else before + change),
        targets=targets,
    )


def _blocks(offsets: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the lines in blocks of some tokens, or of one longer line."""
    lines, start = len(offsets) - 1, 0
    while start < lines:
        end = int(np.searchsorted(offsets, offsets[start] + _BLOCK, side="right")) - 1
        end = min(max(end, start + 1), start + _BLOCK, lines)
        yield np.arange(start, end)
        start = end
