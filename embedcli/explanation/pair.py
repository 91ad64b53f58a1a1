"""Two words: which context words make them similar, by the output table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.errors import StoreError
from embedcli.model import Model

_CONTEXTS = 10  # of each kind that are listed
_BLOCK = 1 << 14  # rows of the output table at once
_SMALLEST = 1e-10  # eigenvalue, as a share of the largest, of a direction that counts


class Context(NamedTuple):
    """A context word, and its part of the cosine of two words."""

    token: str
    part: float  # the parts of all context words and the rest add up to the cosine
    scores: tuple[float, float]  # of the context word with each of the two, as in training: logits


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two words, and the parts of their cosine; see `explain_pair`."""

    words: tuple[str, str]
    cosine: float
    contexts: int  # words of the output table
    toward: float  # sum of the parts of words that both are drawn to,
    away: float  # that both are kept away from,
    opposed: float  # and that draw one and not the other (negative)
    rest: float  # outside of what the output table spans
    drawn_to: Sequence[Context]  # the largest parts of each kind, the largest first
    kept_from: Sequence[Context]
    opposing: Sequence[Context]

    def _repr_svg_(self) -> str:
        from embedcli.views import explain_svg

        return explain_svg.svg(self)


@np.errstate(all="ignore")  # of a model whose numbers are not finite
def explain_pair(model: Model, words: tuple[str, str], k: int = _CONTEXTS) -> Pair:
    """Split the cosine of two words among the context words of the output table, k of each kind.

    For unit vectors u and v, rows c of the output table (V, D), and G = Σ c cᵀ,

        u · v = Σ x_c y_c,   where x_c = (G^-½ c) · u and y_c = (G^-½ c) · v

    exactly, if the rows span all D dimensions; `rest` is what lies outside of them. The vectors
    G^-½ c are the canonical tight frame of the output table (Daubechies 1992, "Ten lectures on
    wavelets", §3.2; for a basis, Löwdin 1950): the rows freed from what they share with others. x_c
    and y_c are both positive for a word that both vectors are drawn to, both negative for one that
    they are kept away from.

    Raises VocabularyError for an unknown word, StoreError for a model without an output table.
    """
    # 1. The two vectors, and the output table.
    if "output" not in model.head:
        raise StoreError(
            f"the model has no output table (task {model.settings.task}); expected one that was "
            "trained for skipgram or cbow",
            "quantized models and converted vectors have none either",
        )
    found = model.table.lookup(words, "error")
    rows = found.vectors.astype(np.float64)  # (2, D)
    norms = np.linalg.norm(rows, axis=1)  # (2,)
    both = rows / np.where(norms > 0, norms, 1)[:, None]  # (2, D)
    output, bias = model.head["output"], model.head.get("output_bias", 0)
    starts = range(0, len(output), _BLOCK)
    # 2. G and its inverse root, of the directions that the rows span.
    gram = np.zeros((output.shape[1],) * 2)  # (D, D)
    for start in starts:
        block = output[start : start + _BLOCK].astype(np.float64)  # (B, D)
        gram += block.T @ block
    values, directions = np.linalg.eigh(gram)  # (D,), (D, D)
    spanned = values > _SMALLEST * max(float(values[-1]), 0)  # (D,)
    root = directions[:, spanned] / np.sqrt(values[spanned]) @ directions[:, spanned].T  # (D, D)
    # 3. The parts of all context words, and their scores.
    turned = (both @ root).T  # (D, 2)
    sides, logits = np.empty((len(output), 2)), np.empty((len(output), 2))  # (V, 2)
    for start in starts:
        block = output[start : start + _BLOCK].astype(np.float64)  # (B, D)
        sides[start : start + _BLOCK] = block @ turned
        logits[start : start + _BLOCK] = block @ rows.T
    logits += bias  # (V, 1); models of version 0.2 have none
    parts = sides[:, 0] * sides[:, 1]  # (V,)
    cosine = float(both[0] @ both[1])
    # 4. Three kinds of words, and the largest parts of each.
    positive = sides > 0  # (V, 2)
    drawn = np.count_nonzero(positive, axis=1)  # (V,)
    kinds = (drawn == 2, drawn == 0, drawn == 1)  # to both, to none, to one

    def largest(kind: NDArray[np.bool_]) -> list[Context]:
        places = np.flatnonzero(kind)
        order = places[np.argsort(-np.abs(parts[places]), kind="stable")[:k]]
        tokens = model.table.vocabulary.tokens(order)
        numbers = zip(parts[order].tolist(), logits[order].tolist(), strict=True)
        return [
            Context(token, part, (one, two))
            for token, (part, (one, two)) in zip(tokens, numbers, strict=True)
            if part
        ]

    toward, away, opposed = (float(parts[kind].sum()) for kind in kinds)
    return Pair(
        words=(found.tokens[0], found.tokens[1]),
        cosine=cosine,
        contexts=len(output),
        toward=toward,
        away=away,
        opposed=opposed,
        rest=cosine - toward - away - opposed,
        drawn_to=largest(kinds[0]),
        kept_from=largest(kinds[1]),
        opposing=largest(kinds[2]),
    )
