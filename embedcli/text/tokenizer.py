"""Text to tokens: what a word is, in any script.

A text is cut twice. First its UTF-8 bytes are cut at the ASCII characters no token can hold, which
one `bytes.translate` makes blanks, and lower-cases ASCII on the way. Most pieces are then tokens
already; the others (with a character beyond ASCII, or an apostrophe) go through a pattern: that of
all scripts, or a faster one for Latin letters, which finds the same.

What a `word` is, with the word F1 on held-out Universal Dependencies text behind each choice:

- Letters and digits with their marks. ZWJ and ZWNJ belong to the word between letters and after a
  mark (a final virama), and are dropped elsewhere; soft hyphens are dropped.
- Apostrophes (' and ’, which are one), full stops and underscores stay between two letters or
  digits: don't, u.s, example.org, new_york. Full stops gain .007 in English, and glue words
  together where a blank is missing after a sentence. Not before Hangul, where an apostrophe
  closes a quotation (Korean +.008).
- Commas and colons stay between digits: 1,000.50 and 12:30 (English +.005).
- A Romance elision is a word of its own: l'eau is l' and eau, as qu'il and d'un (French +.07).
- Hyphens split: keeping them gains .014 in French and loses .006 in German and .003 in English.
- Scripts written without spaces give grapheme clusters, or words by the `segmenter`.

Case is folded by Unicode lower-casing, without knowing the language: I becomes i in Turkish too,
İ becomes i, and ß stays.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain

import numpy as np
import regex
from numpy.typing import NDArray

from embedcli.config import TextSettings
from embedcli.text.numbering import PADDING
from embedcli.text.segmenters import Segmenter, segmenter_named

# Kana's prolonged sound marks and the Japanese closing mark are shared between scripts.
_SPACELESS = (
    r"[[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ーｰ〆]"
    r"&&[\p{L}\p{Nl}\p{No}]]"
)
_FIRST_SPACELESS = "\u0e00"  # Thai; letters alone, all before it, are one word
_LETTER = rf"[\p{{L}}\p{{N}}--{_SPACELESS}]"
_LETTERS = rf"[{_LETTER}\p{{M}}]"
_RUN = (
    rf"{_LETTER}{_LETTERS}*+"
    rf"(?:(?:(?<=\p{{M}})[\u200c\u200d]|[\u200c\u200d]+(?={_LETTERS})){_LETTERS}*+)*+"
)


def _word(run: str, letter: str, number: str, before: str, apostrophe: str) -> str:
    """Return the pattern of a word: an elision, or runs of letters and what joins them.

    An elision has none of the characters `before` before it, nor behind a joiner.
    """
    inner = rf"{apostrophe}|[._]|(?<={number})[,:](?={number})"
    elided = r"[cdjlmnst]|qu|jusqu|lorsqu|presqu|puisqu|quoiqu"
    elision = rf"(?<!{before})(?<!{before}['’._])(?i:{elided})['’](?={letter})"
    return rf"{elision}|{run}(?:(?:{inner}){run})*+"


_WORD = _word(_RUN, _LETTER, r"\p{N}", r"[\p{L}\p{M}\p{N}]", r"['’](?!\p{Hangul})")
# Latin letters, and punctuation: there `re`, which is faster, tells letters and digits.
_LATIN = re.compile(r"[\0-\u02ff\u2010-\u206f]*")
_LATIN_WORD = re.compile(_word(r"[^\W_]++", r"[^\W_]", "[0-9²³¹¼½¾]", r"[^\W_]", "['’]"))
# Burmese has vowel signs that do not extend a cluster; they stay with their consonant here.
_SPACELESS_CLUSTER = rf"(?={_SPACELESS})\X\p{{M}}*+"
_SPACELESS_RUN = rf"(?P<run>{_SPACELESS}(?:{_SPACELESS}|\p{{M}}|[\u200c\u200d])*+)"
_CLUSTER = regex.compile(r"\X")
_INVISIBLE = regex.compile(r"[\p{Cc}\p{Cf}]+")

_BLANK = ord(" ")
_NEWLINE = ord("\n")
_APOSTROPHE = ord("'")
_JOINERS = b"'._,:"
# Byte classes for the joiners' neighbours.
_WORDLIKE, _DIGITLIKE = 1, 2

# Characters of the longest token; longer ones (encoded data, sequences of genes) are left out.
LONGEST = 1000

# No UTF-8 text holds this byte, so it can stand for the end of a line among the pieces.
LINE_END = b"\xff"


class Tokenizer:
    """Cuts text into tokens, as `settings` say; safe to pickle and to share between processes."""

    def __init__(self, settings: TextSettings) -> None:
        self.kind = settings.tokenizer
        self.normalize = settings.normalize
        self.fold_case = settings.fold_case
        self.segmenter = settings.segmenter
        self._prepare()

    def _prepare(self) -> None:
        self._segment: Segmenter | None = (
            None if self.segmenter is None else segmenter_named(self.segmenter)
        )
        self._table = _byte_table(self.kind, self.fold_case)
        cuts: dict[str, Callable[[str], list[str]]] = {
            "word": self._words,
            "whitespace": str.split,
            "char": _clusters,
        }
        self._cut = cuts[self.kind]

    @cached_property
    def _pattern(self) -> regex.Pattern[str]:
        """What a word is, compiled when the first piece wants it: that takes some milliseconds."""
        spaceless = _SPACELESS_CLUSTER if self._segment is None else _SPACELESS_RUN
        return regex.compile(f"{_WORD}|{spaceless}", regex.V1)

    def __getstate__(self) -> dict[str, object]:
        return {
            name: getattr(self, name) for name in ("kind", "normalize", "fold_case", "segmenter")
        }

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def tokenize(self, line: str) -> list[str]:
        """Return the tokens of one line of text.

        >>> Tokenizer(TextSettings()).tokenize("Nice to see l'eau, don't you?")
        ['nice', 'to', 'see', "l'", 'eau', "don't", 'you']
        """
        text = line.replace("\n", " ").encode("utf-8", "replace")
        return list(chain.from_iterable(self.tokens_of(self.pieces(text))))

    def spelt(self, token: str) -> str:
        """Spell a token that others cut as those of this tokenizer are spelt.

        >>> Tokenizer(TextSettings()).spelt("New_York’s")
        "new_york's"
        """
        if self.normalize:
            token = unicodedata.normalize("NFC", token)
            if self.kind == "word":
                token = token.replace("\u00ad", "").replace("’", "'")
        return self._fold(token)

    def prepared(self, text: bytes) -> NDArray[np.uint8]:
        """Turn UTF-8 bytes into pieces with blanks between, before and, `PADDING` of them, after.

        No token goes on from one piece to the next. A line's end becomes the piece `LINE_END`.
        """
        text = text.translate(self._table).replace(LINE_END, b" \xff ")
        prepared = np.full(1 + len(text) + PADDING, _BLANK, np.uint8)  # (bytes,)
        prepared[1 : 1 + len(text)] = np.frombuffer(text, np.uint8)
        if self.kind == "word":
            _settle_joiners(prepared)
        return prepared

    def pieces(self, text: bytes) -> list[bytes]:
        """Return the pieces of UTF-8 bytes one by one."""
        return self.prepared(text).tobytes().split()

    def unfinished(self, pieces: bytes) -> NDArray[np.int64]:
        """Return the places of those pieces, each ended by a newline, that are not one token."""
        text = np.frombuffer(pieces, np.uint8)
        ends = np.flatnonzero(text == _NEWLINE)  # (pieces,)
        if self.kind == "char":
            return np.arange(len(ends))
        unfinished = np.diff(ends, prepend=-1) > LONGEST  # (pieces,)
        special = np.flatnonzero((text >= 128) | (text == _APOSTROPHE))
        unfinished[np.searchsorted(ends, special)] = True
        return np.flatnonzero(unfinished)

    def tokens_of(self, pieces: Sequence[bytes]) -> list[list[str]]:
        """Return the tokens of each of some pieces: none, one or more."""
        if not pieces:
            return []
        text = b"\n".join(pieces).decode("utf-8")
        if self.normalize:
            text = unicodedata.normalize("NFC", text)
            if self.kind == "word":
                text = text.replace("\u00ad", "").replace("’", "'")
        cut = "\n".join([" ".join(self._tokens_in(piece)) for piece in text.split("\n")])
        return [tokens.split() for tokens in self._fold(cut).split("\n")]

    def _tokens_in(self, piece: str) -> list[str]:
        tokens = self._cut(piece)
        if len(piece) > LONGEST:
            tokens = [token for token in tokens if len(token) <= LONGEST]
        return tokens

    def _words(self, piece: str) -> list[str]:
        if piece.isalpha() and max(piece) < _FIRST_SPACELESS:
            return [piece]
        if _LATIN.fullmatch(piece):
            return _LATIN_WORD.findall(piece)
        if self._segment is None:
            return self._pattern.findall(piece)
        words: list[str] = []
        for match in self._pattern.finditer(piece):
            words += [match[0]] if match["run"] is None else self._segment(match["run"])
        return words

    def _fold(self, token: str) -> str:
        if not self.fold_case:
            return token
        # İ lower-cases to i and a combining dot, which no other spelling of the word has.
        token = token.lower().replace("i̇", "i")
        return unicodedata.normalize("NFC", token) if self.normalize else token


def _clusters(text: str) -> list[str]:
    """Grapheme clusters of what stands between blanks, without invisible controls."""
    return [
        cluster
        for piece in text.split()
        for cluster in (piece if piece.isascii() else _CLUSTER.findall(piece))
        if not _INVISIBLE.fullmatch(cluster)
    ]


def _byte_table(kind: str, fold_case: bool) -> bytes:
    """Return the translation of bytes (256,): blank, lower case, `LINE_END` or as it is.

    Of a word the joiners become the control characters of their places in `_JOINERS`.
    """
    table = bytearray(range(256))
    for byte in range(128):
        if kind == "word" and byte in _JOINERS:
            table[byte] = _JOINERS.index(byte)
        elif chr(byte).isspace() or (kind == "word" and not chr(byte).isalnum()):
            table[byte] = _BLANK
        elif fold_case:
            table[byte] = ord(chr(byte).lower())
    table[_NEWLINE] = LINE_END[0]
    return bytes(table)


def _neighbour_classes() -> NDArray[np.uint8]:
    """Return what a byte may be beside a joiner: bits for word-like and digit-like.

    Bytes beyond ASCII may be either; the pattern decides there.
    """
    classes = np.zeros(256, np.uint8)  # (256,)
    for byte in range(256):
        if byte >= 128 or chr(byte).isalnum():
            classes[byte] |= _WORDLIKE
        if byte >= 128 or chr(byte).isdigit():
            classes[byte] |= _DIGITLIKE
    classes[LINE_END[0]] = 0
    return classes


_NEIGHBOUR = _neighbour_classes()


def _settlements() -> NDArray[np.uint8]:
    """Return what becomes of each joiner by what both its neighbours may be: (joiners · 4,)."""
    settled = np.full((len(_JOINERS), 4), _BLANK, np.uint8)  # (joiners, classes)
    for place, joiner in enumerate(_JOINERS):
        needed = _DIGITLIKE if joiner in b",:" else _WORDLIKE
        for both in range(4):
            if both & needed:
                settled[place, both] = joiner
    return settled.ravel()


_SETTLED = _settlements()


def _settle_joiners(text: NDArray[np.uint8]) -> None:
    """Spell apostrophes, stops and so on again that stand inside a word; blank out the others."""
    places = np.flatnonzero(text < len(_JOINERS))
    both = _NEIGHBOUR.take(text.take(places - 1, mode="clip"))  # (places,)
    both &= _NEIGHBOUR.take(text.take(places + 1, mode="clip"))
    text[places] = _SETTLED.take(4 * text[places] + both)
