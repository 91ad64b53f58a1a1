"""Text to tokens: what a word is, in any script.

Text is cut in two steps. First its UTF-8 bytes are cut at the ASCII characters that no token can
contain: one `bytes.translate` replaces them by blanks, and lower-cases ASCII. Most pieces are
tokens then. The others, which have a character beyond ASCII or an apostrophe, are cut by a pattern:
one for all scripts, or a faster one for Latin letters, which finds the same tokens.

What a `word` is, with the word F1 on held-out Universal Dependencies text behind each choice:

- Letters and digits with their marks. ZWJ and ZWNJ belong to the word between letters and after a
  mark (a final virama), and are dropped elsewhere; soft hyphens are dropped.
- Punctuation inside words is that of Unicode (UAX #29), but for colons and semicolons:
  - Apostrophes (', ’ and ‘, which are one), full stops and underscores stay between two letters or
    digits: don't, o'zbek, u.s, example.org, new_york. Full stops gain .007 in English, and join
    two words where the blank after a sentence is missing. Not before Hangul, where an apostrophe
    closes a quotation (Korean +.008).
  - Commas and colons stay between digits, also those of other scripts: 1,000.50, 12:30, ١٢٣٫٤٥
    (English +.005).
  - Middle dots, Hebrew geresh and gershayim, and the Armenian marks of stress, exclamation and
    question stay between letters: cel·la, צה״ל (also with a straight quotation mark), ինչո՞ւ.
- Emoji are words, one each: with its skin tone, joined to others, or a flag. The selectors of
  emoji and text style are dropped, so ❤ and ❤️ are one. Signs such as © and → are no words.
- The signs of hashtags and mentions are no part of a word: #nlp is nlp, @ada is ada.
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
from functools import cached_property, partial
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
_LETTER = rf"[\p{{L}}\p{{N}}&&[^{_SPACELESS}]]"
_LETTERS = rf"[{_LETTER}\p{{M}}]"
_RUN = (
    rf"{_LETTER}{_LETTERS}*+"
    rf"(?:(?:(?<=\p{{M}})[\u200c\u200d]|[\u200c\u200d]+(?={_LETTERS})){_LETTERS}*+)*+"
)


# What joins letters or digits, digits, and letters; in Hebrew a quotation mark may be gershayim.
# Where it is written as such, other regular expressions than Python's understand the pattern too.
_JOINS_ANY = r"[._\u2024\u203f\u2040\u2054\ufe33\ufe34\ufe4d-\ufe4f\ufe52\uff0e\uff3f]"
_JOINS_DIGITS = r"[,:\u0589\u060c\u066b\u066c\u2044\ufe10\ufe13\ufe50\ufe55\uff0c\uff1a]"
_GERSHAYIM = r"(?<=[\u05d0-\u05ea])\"(?=[\u05d0-\u05ea])"
_MIDDLE_DOTS = r"[·\u0387\u055a-\u055c\u055e\u055f\u05f3\u05f4\u2027]"
_JOINS_LETTERS = rf"(?:{_MIDDLE_DOTS}|{_GERSHAYIM})"
_APOSTROPHES = "'’‘"


def _word(
    run: str,
    letter: str,
    number: str,
    alphabetic: str,
    before: str,
    unquoted: str = "",
    joins_letters: str = _JOINS_LETTERS,
) -> str:
    """Return the pattern of a word: an elision, or runs of letters and what joins them.

    `alphabetic` is a letter that is no digit or mark; an apostrophe or middle dot comes `unquoted`.
    An elision does not follow one of the characters `before`, nor a joiner after one.
    """
    inner = (
        rf"[{_APOSTROPHES}]{unquoted}|{_JOINS_ANY}|(?<={number}){_JOINS_DIGITS}(?={number})"
        rf"|(?<!{number}){joins_letters}(?={alphabetic}){unquoted}"
    )
    elided = r"[cdjlmnst]|qu|jusqu|lorsqu|presqu|puisqu|quoiqu"
    joined = rf"(?<!{before}[{_APOSTROPHES}])(?<!{before}{_JOINS_ANY})(?<!{before}{joins_letters})"
    elision = rf"(?<!{before}){joined}(?i:{elided})[{_APOSTROPHES}](?={letter})"
    return rf"{elision}|{run}(?:(?:{inner}){run})*+"


_word_of_any_script = partial(
    _word,
    _RUN,
    _LETTER,
    number=r"\p{N}",
    alphabetic=rf"[{_LETTER}&&[^\p{{N}}]]",
    before=r"[\p{L}\p{M}\p{N}]",
    unquoted=r"(?!\p{Hangul})",
)
_WORD = _word_of_any_script()
# Latin letters and punctuation: for these `re`, which is faster, knows letters and digits.
_LATIN = re.compile(r"[\0-\u02ff\u2010-\u206f]*")
_LATIN_WORD = re.compile(
    _word(
        r"[^\W_]++",
        r"[^\W_]",
        number="[0-9²³¹¼½¾]",
        alphabetic="[^\\W_0-9²³¹¼½¾]",
        before=r"[^\W_]",
    )
)
# An emoji: a pictograph, keycap or flag with its modifier, and those joined to it by ZWJ. Signs
# that are usually text, as © and →, are emoji only with a selector (U+FE0F).
_PICTOGRAPH = (
    r"(?:\p{Emoji_Presentation}|[\p{Emoji}&&[\u2600-\U0010ffff]]"
    r"|[\p{Emoji}&&[^\p{N}]]\ufe0f)(?:\p{Emoji_Modifier}|[\ufe0e\ufe0f]\u20e3?|"
    r"[\U000e0020-\U000e007e]++\U000e007f)*+"
)
_EMOJI = rf"\p{{Regional_Indicator}}{{2}}|{_PICTOGRAPH}(?:\u200d{_PICTOGRAPH})*+"
# Burmese has vowel signs that do not extend a cluster; they stay with their consonant here.
_SPACELESS_CLUSTER = rf"(?={_SPACELESS})\X\p{{M}}*+"
_SPACELESS_RUN = rf"(?P<run>{_SPACELESS}(?:{_SPACELESS}|\p{{M}}|[\u200c\u200d])*+)"
# A pair of flags' letters is taken first: \X looks back to the first of a row of them.
CLUSTER = regex.compile(r"\p{Regional_Indicator}{2}|\X")
# The pattern of a word for Oniguruma, whose clusters end after a Burmese or Khmer virama, and for
# text in which gershayim are spelt; and that of selectors of style, which are dropped before.
PORTABLE_WORD = (
    f"{_word_of_any_script(joins_letters=_MIDDLE_DOTS)}"
    rf"|(?={_SPACELESS})\X(?:(?<=[\u1039\u17d2])\X|\p{{M}})*+|{_EMOJI}"
)
_SURE_EMOJI = r"[\p{Emoji_Presentation}[\p{Emoji}&&[\u2600-\U0010ffff]]]"
PORTABLE_STYLE = rf"(?<={_SURE_EMOJI}|{_SURE_EMOJI}\p{{Emoji_Modifier}})[\ufe0e\ufe0f]"
# Marks after these are dropped: text with more in a row is not "stream-safe" (UAX #15), and the
# time to compose it grows with the square of their number.
_MARKS = regex.compile(r"(\p{M}{30})\p{M}++")
_INVISIBLE = regex.compile(r"[\p{Cc}\p{Cf}]+")

_BLANK = ord(" ")
_NEWLINE = ord("\n")
_APOSTROPHE = ord("'")
_JOINERS = b"'._,:\""
# Classes of the bytes beside a joiner.
_WORDLIKE, _DIGITLIKE, _BEYOND_ASCII = 1, 2, 4
_NEEDED = dict.fromkeys(b"'._", _WORDLIKE) | {
    ord(","): _DIGITLIKE,
    ord(":"): _DIGITLIKE,
    ord('"'): _BEYOND_ASCII,
}
_ONE_SPELLING = str.maketrans("’‘", "''", "\u00ad")
_STYLE = regex.compile(r"(?<=\p{Extended_Pictographic}\p{Emoji_Modifier}?)[\ufe0e\ufe0f]")

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
        return regex.compile(f"{_WORD}|{spaceless}|{_EMOJI}", regex.V1)

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
        return self._finished(self._composed(token))

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
        return [tokens.split() for tokens in self._finished(cut).split("\n")]

    def _composed(self, text: str) -> str:
        """Return text with one spelling of what is canonically the same, to be cut."""
        if not self.normalize:
            return text
        text = unicodedata.normalize("NFC", _MARKS.sub(r"\1", text))
        return text.translate(_ONE_SPELLING) if self.kind == "word" else text

    def _finished(self, tokens: str) -> str:
        """Return tokens as they are spelt: case folded, and without choices of style."""
        if self.normalize and self.kind == "word":
            tokens = tokens.replace('"', "״")  # which is in Hebrew words only
            if "\ufe0f" in tokens or "\ufe0e" in tokens:
                tokens = _STYLE.sub("", tokens)
        if self._settings.fold_case:
            # İ lower-cases to i and a combining dot, which no other spelling of the word has.
            tokens = tokens.lower().replace("i̇", "i")
            if self.normalize:
                tokens = unicodedata.normalize("NFC", tokens)
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


def _clusters(text: str) -> list[str]:
    """Return the grapheme clusters of a text, without blanks and invisible controls."""
    return [
        cluster
        for piece in text.split()
        for cluster in (piece if piece.isascii() else CLUSTER.findall(piece))
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
        if byte >= 128:
            classes[byte] |= _BEYOND_ASCII
    becomes = np.full((len(_JOINERS), 8), _BLANK, np.uint8)  # (joiners, classes)
    for place, joiner in enumerate(_JOINERS):
        becomes[place, np.arange(8) & _NEEDED[joiner] > 0] = joiner
    return classes, becomes.ravel()


_NEIGHBOURS, _BECOMES = _joiner_tables()


def _place_joiners(text: NDArray[np.uint8]) -> None:
    """Restore apostrophes, full stops and so on inside words, and make the others blanks."""
    places = np.flatnonzero(text < len(_JOINERS))
    shared = _NEIGHBOURS.take(text.take(places - 1, mode="clip"))  # (places,)
    shared &= _NEIGHBOURS.take(text.take(places + 1, mode="clip"))
    text[places] = _BECOMES.take(8 * text[places] + shared)
