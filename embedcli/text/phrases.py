"""Phrases: pairs of tokens that stand together more often than chance, joined to one token.

A phrase of more than two words is found in a further pass over the joined text: `new_york times`.

Source: Mikolov et al. 2013, "Distributed representations of words and phrases", §4; word2phrase.c;
Bouma 2009, "Normalized (pointwise) mutual information in collocation extraction".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.config import TextSettings
from embedcli.errors import VocabularyError
from embedcli.storage.files import read_text
from embedcli.text.spool import PIECE, Spool

PHRASES = "phrases.txt"  # the file of a model folder that lists them
MARK = "_"  # between the words of a phrase
THRESHOLDS = {"mikolov": 100.0, "npmi": 0.5}  # where `phrase_threshold` is not set
MOST_PASSES = 100  # of a list that is read

# Distinct pairs counted at once (16 bytes each): more than that, and the rarest are dropped.
MOST_PAIRS = 1 << 23


class Pair(NamedTuple):
    """Two tokens that are joined; the numbers are 0 where they are not known."""

    first: str
    second: str
    together: int = 0  # how often they stood together
    score: float = 0.0


@dataclass(frozen=True)
class Phrases:
    """The pairs that are joined in each pass over a text, those of the best score first."""

    passes: tuple[tuple[Pair, ...], ...]
    dropped: int = 0  # pairs that were forgotten while they were counted

    @cached_property
    def _pairs(self) -> list[set[tuple[str, str]]]:
        return [{(pair.first, pair.second) for pair in pairs} for pairs in self.passes]

    def join(self, tokens: Sequence[str]) -> list[str]:
        """Return the tokens of a line, with those that form a phrase joined from left to right.

        >>> found = Phrases(((Pair("new", "york"),), (Pair("new_york", "times"),)))
        >>> found.join(["the", "new", "york", "times"])
        ['the', 'new_york_times']
        """
        joined = list(tokens)
        for pairs in self._pairs:
            before, joined = joined, []
            place = 0
            while place < len(before):
                if tuple(before[place : place + 2]) in pairs:
                    joined.append(MARK.join(before[place : place + 2]))
                    place += 2
                else:
                    joined.append(before[place])
                    place += 1
        return joined

    def to_bytes(self) -> bytes:
        """Return the list as `read` reads it: `new york`, count and score; passes apart."""
        parts = (
            "".join(f"{pair[0]} {pair[1]}\t{pair.together}\t{pair.score:.6g}\n" for pair in pairs)
            for pairs in self.passes
        )
        return "\n".join(parts).encode()

    def as_array(self) -> NDArray[np.uint8]:
        """Return the bytes of the list, (n,)."""
        return np.frombuffer(self.to_bytes(), np.uint8)

    def digest(self) -> str:
        """Return the SHA-256 of what is joined."""
        from hashlib import sha256

        return sha256(self.to_bytes()).hexdigest()

    @classmethod
    def read(cls, path: Path, dropped: int = 0) -> Phrases:
        """Read a list: two tokens a line, maybe count and score; a blank line begins a pass.

        Raises VocabularyError.
        """
        text = read_text(path, VocabularyError, "a list of phrases", "two words a line")
        return cls.parse(text, str(path), dropped)

    @classmethod
    def parse(cls, text: str, name: str = "phrases", dropped: int = 0) -> Phrases:
        """Read a list from text, which errors call by a name; otherwise as `read`."""
        passes: list[list[Pair]] = [[]]
        for number, line in enumerate(text.split("\n")[: -1 if text.endswith("\n") else None], 1):
            words, *numbers = line.split("\t")
            if not line:
                passes.append([])
                if len(passes) > MOST_PASSES:
                    raise VocabularyError(f"{name}: found over {MOST_PASSES} passes")
                continue
            try:
                first, second = words.split(" ")
                count, score = (int(numbers[0]), float(numbers[1])) if numbers else (0, 0.0)
                if not first or not second or len(numbers) not in (0, 2):
                    raise ValueError
            except (ValueError, IndexError):
                raise VocabularyError(
                    f"{name}:{number}: found {line[:60]!r}; expected two words with a blank "
                    "between, or these, a tab, a count, a tab and a score",
                    "a longer phrase takes another pass, after an empty line: new_york times",
                ) from None
            passes[-1].append(Pair(first, second, count, score))
        return cls(tuple(map(tuple, passes)), dropped)


class Counted(NamedTuple):
    """Pairs of ids as numbers `first << 32 | second`, ascending, with their counts: (P,) each."""

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]


def count_pairs(spool: Spool, frequent: NDArray[np.bool_]) -> tuple[Counted, int]:
    """Count the pairs of `frequent` words (V,) that stand side by side in the lines of a text.

    Returns with them how many pairs were dropped: where there are more than `MOST_PAIRS`, those
    that were met once so far, then twice, and so on, as in word2phrase.c.
    """
    total = Counted(np.zeros(0, np.int64), np.zeros(0, np.int64))
    new: list[Counted] = []
    dropped, rarest = 0, 0
    carried = np.zeros(0, np.int32)  # the last token, if its line goes on
    for piece, piece_ends in spool.pieces():
        ids, ends = np.concatenate([carried, piece]), piece_ends + len(carried)
        carried = ids[len(ids) if len(ends) and ends[-1] == len(ids) else -1 :]
        pair = _inside(ids, ends) & frequent[ids[:-1]] & frequent[ids[1:]]  # (n-1,)
        keys = ids[:-1][pair].astype(np.int64) << 32 | ids[1:][pair]
        new.append(Counted(*np.unique(keys, return_counts=True)))
        # Merging as many as there are keeps the work in proportion to the text.
        if sum(len(each.keys) for each in new) >= max(len(total.keys), PIECE):
            total, new = _merged([total, *new]), []
            while len(total.keys) > MOST_PAIRS:
                rarest += 1
                kept = total.counts > rarest
                dropped += int(np.count_nonzero(~kept))
                total = Counted(total.keys[kept], total.counts[kept])
    return _merged([total, *new]), dropped


def _merged(parts: Sequence[Counted]) -> Counted:
    keys = np.concatenate([part.keys for part in parts])  # (P,)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.concatenate([part.counts for part in parts])[order]
    if not len(keys):
        return Counted(keys, counts)
    return Counted(keys[starts], np.add.reduceat(counts, starts))


def scores(
    kind: str,
    together: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    tokens: int,
    discount: int,
) -> NDArray[np.float64]:
    """Return the scores of pairs (P,) from their counts and those of their words.

    "mikolov" is (n_ab - discount) · N / (n_a · n_b); "npmi" log(n_ab · N / (n_a · n_b)) /
    -log(n_ab / N), from -1 to 1.

    >>> together, first, second = np.array([[9], [10], [12]])
    >>> scores("mikolov", together, first, second, tokens=1200, discount=5).tolist()
    [40.0]
    """
    product = first.astype(np.float64) * second
    if kind == "mikolov":
        return (together - discount) * tokens / product
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.log(together * tokens / product) / -np.log(together / tokens)
    return np.nan_to_num(found, nan=1.0, posinf=1.0)  # where there is no other pair


def best_pairs(
    spool: Spool, lines: bytes, settings: TextSettings
) -> tuple[NDArray[np.int64], list[Pair], int]:
    """Return the pairs of a text that are phrases: their keys, themselves, and the pairs dropped.

    The words of the text are the `lines`.
    """
    from embedcli.text.numbering import Strings
    from embedcli.text.tokenizer import LONGEST  # slow to import, and not needed to join

    words, least = Strings.of_lines(lines), settings.phrase_min_count
    counts = np.zeros(len(words), np.int64)  # (V,)
    for ids, _ in spool.pieces():
        counts += np.bincount(ids, minlength=len(words))
    tokens = int(counts.sum())
    found, dropped = count_pairs(spool, counts >= least)
    often = found.counts >= least
    keys, together = found.keys[often], found.counts[often]
    first, second = keys >> 32, keys & 0xFFFFFFFF
    score = scores(settings.phrase_score, together, counts[first], counts[second], tokens, least)
    threshold = settings.phrase_threshold
    if threshold is None:
        threshold = THRESHOLDS[settings.phrase_score]
    kept = np.flatnonzero(score > threshold)
    kept = kept[np.argsort(-score[kept], kind="stable")]
    named = [words[side[kept]].lines().decode().split("\n") for side in (first, second)]
    shown = [float(f"{each:.6g}") for each in score[kept].tolist()]  # as the list has them
    numbers = together[kept].tolist(), shown
    pairs = [Pair(*each) for each in zip(named[0], named[1], *numbers, strict=False)]
    short = [
        place for place, pair in enumerate(pairs) if len(pair.first) + len(pair.second) < LONGEST
    ]
    return keys[kept[short]], [pairs[place] for place in short], dropped


def joined_pieces(
    spool: Spool, keys: NDArray[np.int64], joined: NDArray[np.int32], words: int
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
    """Yield ids and line ends of a text with pairs (P,) replaced by their `joined` ids (P,).

    Pairs are joined from left to right; a token is part of one pair at most. All ids are below
    `words`.
    """
    order = np.argsort(keys)
    keys, joined = keys[order], joined[order]
    first, second = np.zeros(words, bool), np.zeros(words, bool)  # (V,) words of some pair
    first[keys >> 32], second[keys & 0xFFFFFFFF] = True, True
    carried = np.zeros(0, np.int32)  # a token that may form a pair with the next one
    for piece, piece_ends in spool.pieces():
        ids = np.concatenate([carried, piece])  # (n,)
        ends = piece_ends + len(carried)  # (lines,)
        # 1. Find the pairs of the list: of few pairs both words are in it.
        maybe = np.flatnonzero(first[ids[:-1]] & second[ids[1:]] & _inside(ids, ends))
        pairs = ids[maybe].astype(np.int64) << 32 | ids[maybe + 1]
        ranks = np.searchsorted(keys, pairs).clip(max=len(keys) - 1)
        found = keys[ranks] == pairs
        places, ranks = maybe[found], ranks[found]
        # 2. In a row of overlapping pairs every other one is joined, from the first.
        index = np.arange(len(places))
        start = np.maximum.accumulate(np.where(np.diff(places, prepend=-2) != 1, index, 0))
        alternate = (index - start) % 2 == 0
        taken, ranks = places[alternate], ranks[alternate]
        # 3. The joined token takes the place of the first.
        ids[taken] = joined[ranks]
        left = len(ids)
        if (not len(ends) or ends[-1] < left) and (not len(taken) or taken[-1] < left - 2):
            left -= 1
        carried = ids[left:].copy()
        stays = np.ones(len(ids), bool)
        stays[taken + 1] = False
        yield ids[:left][stays[:left]], ends - taken.searchsorted(ends - 1)


def _inside(ids: NDArray[np.int32], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which ids (n,) stand in a line with the next one, (n-1,)."""
    inside = np.ones(len(ids) - 1, bool)
    inside[ends[(ends > 0) & (ends < len(ids))] - 1] = False
    return inside
