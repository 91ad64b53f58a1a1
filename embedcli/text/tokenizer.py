"""Text to tokens: what a word is, in any script.

Text is cut in two steps. First its UTF-8 bytes are cut at the ASCII characters that no token can
contain: one `bytes.translate` replaces them by blanks, and lower-cases ASCII. Most pieces are
tokens then. The others, which have a character beyond ASCII or an apostrophe, are cut by a pattern:
one for all scripts, or a faster one for Latin letters, which finds the same tokens.

What a `word` is, with the word F1 on held-out Universal Dependencies text behind each choice:

- Letters and digits with their marks. ZWJ and ZWNJ belong to the word between letters and after a
  mark (a final virama), and are dropped elsewhere; soft hyphens are dropped.
- Apostrophes (' and ’, which are one), full stops and underscores stay between two letters or
  digits: don't, u.s, example.org, new_york. Full stops gain .007 in English, and join two words
  where the blank after a sentence is missing. Not before Hangul, where an apostrophe closes a
  quotation (Korean +.008).
- Commas and colons stay between digits: 1,000.50 and 12:30 (English +.005).
- A Romance elision is a word of its own: l'eau is l' and eau, as are qu'il and d'un (French +.07).
- Hyphens split words: keeping them gains .014 in French and loses .006 in German and .003 in
  English.
- Scripts written without spaces are cut into grapheme clusters, or into words by the `segmenter`.

Case is folded by Unicode lower-casing, without regard to the language: I becomes i in Turkish too,
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
from embedcli.text.segmenters import segmenter_named

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

    An elision does not follow one of the characters `before`, nor a joiner after one.
    """
    inner = rf"{apostrophe}|[._]|(?<={number})[,:](?={number})"
    elided = r"[cdjlmnst]|qu|jusqu|lorsqu|presqu|puisqu|quoiqu"
    elision = rf"(?<!{before})(?<!{before}['’._])(?i:{elided})['’](?={letter})"
    return rf"{elision}|{run}(?:(?:{inner}){run})*+"


_WORD = _word(_RUN, _LETTER, r"\p{N}", r"[\p{L}\p{M}\p{N}]", r"['’](?!\p{Hangul})")
# Latin letters and punctuation: for these `re`, which is faster, knows letters and digits.
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
# Classes of the bytes beside a joiner.
_WORDLIKE, _DIGITLIKE = 1, 2

# Characters of the longest token; longer ones (encoded data, gene sequences) are left out.
LONGEST = 1000

# The piece at the end of a line: a byte that no UTF-8 text contains.
LINE_END = b"\xff"


class Tokenizer:
    """Cuts text into tokens, as `settings` say; safe to pickle and to share between processes."""

    def __init__(self, settings: TextSettings) -> None:
        self._settings = settings
        self.kind, self.normalize = settings.tokenizer, settings.normalize
        self._segment = None if settings.segmenter is None else segmenter_named(settings.segmenter)
        self._table = _byte_table(self.kind, settings.fold_case)
        cuts: dict[str, Callable[[str], list[str]]] = {
            "word": self._words,
            "whitespace": str.split,
            "char": _clusters,
        }
        self._cut = cuts[self.kind]

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[TextSettings]]:
        return Tokenizer, (self._settings,)

    @cached_property
    def _pattern(self) -> regex.Pattern[str]:
        """The pattern of a word, compiled when it is first needed: that takes milliseconds."""
        spaceless = _SPACELESS_CLUSTER if self._segment is None else _SPACELESS_RUN
        return regex.compile(f"{_WORD}|{spaceless}", regex.V1)

    def tokenize(self, line: str) -> list[str]:
        """Return the tokens of one line of text.

        >>> Tokenizer(TextSettings()).tokenize("Nice to see l'eau, don't you?")
        ['nice', 'to', 'see', "l'", 'eau', "don't", 'you']
        """
        text = line.replace("\n", " ").encode("utf-8", "replace")
        tokens = chain.from_iterable(self.tokens_of(self.pieces(text)))
        return [token for token in tokens if len(token) <= LONGEST]

    def spelt(self, token: str) -> str:
        """Return a token from elsewhere as this tokenizer spells it.

        >>> Tokenizer(TextSettings()).spelt("New_York’s")
        "new_york's"
        """
        return self._fold(self._composed(token))

    def prepared(self, text: bytes) -> NDArray[np.uint8]:
        """Return UTF-8 bytes as pieces, with one blank before and `PADDING` after them.

        No token is in two pieces. The end of a line becomes the piece `LINE_END`.
        """
        text = text.translate(self._table).replace(LINE_END, b" \xff ")
        prepared = np.full(1 + len(text) + PADDING, _BLANK, np.uint8)  # (bytes,)
        prepared[1 : 1 + len(text)] = np.frombuffer(text, np.uint8)
        if self.kind == "word":
            _place_joiners(prepared)
        return prepared

    def pieces(self, text: bytes) -> list[bytes]:
        """Return the pieces of UTF-8 bytes as a list."""
        return self.prepared(text).tobytes().split()

    def unfinished(self, pieces: bytes) -> NDArray[np.int64]:
        """Return which of some pieces, each ended by a newline, are not one token as they are."""
        text = np.frombuffer(pieces, np.uint8)
        ends = np.flatnonzero(text == _NEWLINE)  # (pieces,)
        if self.kind == "char":
            return np.arange(len(ends))
        unfinished = np.diff(ends, prepend=-1) > LONGEST  # (pieces,)
        special = np.flatnonzero((text >= 128) | (text == _APOSTROPHE))
        unfinished[np.searchsorted(ends, special)] = True
        return np.flatnonzero(unfinished)

    def tokens_of(self, pieces: Sequence[bytes]) -> list[list[str]]:
        """Return the tokens of each piece, with those longer than `LONGEST`."""
        if not pieces:
            return []
        text = self._composed(b"\n".join(pieces).decode("utf-8"))
        cut = "\n".join([" ".join(self._cut(piece)) for piece in text.split("\n")])
        return [tokens.split() for tokens in self._fold(cut).split("\n")]

    def _composed(self, text: str) -> str:
        """Return text with one spelling for what is canonically the same."""
        if not self.normalize:
            return text
        text = unicodedata.normalize("NFC", text)
        return text.replace("\u00ad", "").replace("’", "'") if self.kind == "word" else text

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

    def _fold(self, text: str) -> str:
        if not self._settings.fold_case:
            return text
        # İ lower-cases to i and a combining dot, which no other spelling of the word has.
        text = text.lower().replace("i̇", "i")
        return unicodedata.normalize("NFC", text) if self.normalize else text


def _clusters(text: str) -> list[str]:
    """Return the grapheme clusters of a text, without blanks and invisible controls."""
    return [
        cluster
        for piece in text.split()
        for cluster in (piece if piece.isascii() else _CLUSTER.findall(piece))
        if not _INVISIBLE.fullmatch(cluster)
    ]


def _byte_table(kind: str, fold_case: bool) -> bytes:
    """Return the translation of bytes (256,): to blank, lower case, `LINE_END`, or unchanged.

    The joiners of words become control characters, their places in `_JOINERS`.
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


def _joiner_tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the classes of bytes (256,), and what a joiner becomes between two of them.

    The latter, (joiners · classes,), goes by the bits that the classes of both neighbours share.
    Bytes beyond ASCII are of all classes: there the pattern decides.
    """
    classes = np.zeros(256, np.uint8)  # (256,)
    for byte in range(255):  # the last is `LINE_END`
        if byte >= 128 or chr(byte).isalnum():
            classes[byte] |= _WORDLIKE
        if byte >= 128 or chr(byte).isdigit():
            classes[byte] |= _DIGITLIKE
    becomes = np.full((len(_JOINERS), 4), _BLANK, np.uint8)  # (joiners, classes)
    for place, joiner in enumerate(_JOINERS):
        needed = _DIGITLIKE if joiner in b",:" else _WORDLIKE
        becomes[place, np.arange(4) & needed > 0] = joiner
    return classes, becomes.ravel()


_NEIGHBOURS, _BECOMES = _joiner_tables()


def _place_joiners(text: NDArray[np.uint8]) -> None:
    """Restore apostrophes, full stops and so on inside words, and make the others blanks."""
    places = np.flatnonzero(text < len(_JOINERS))
    shared = _NEIGHBOURS.take(text.take(places - 1, mode="clip"))  # (places,)
    shared &= _NEIGHBOURS.take(text.take(places + 1, mode="clip"))
    text[places] = _BECOMES.take(4 * text[places] + shared)
