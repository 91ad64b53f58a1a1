"""Text as lines of tokens and ids, read when they are asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

from embedcli.config import TextSettings
from embedcli.text.encode import encode, token_lines
from embedcli.text.phrases import Phrases
from embedcli.text.tokenizer import Tokenizer
from embedcli.text.vocabulary import Coverage, Vocabulary
from embedcli.views import notebook

OovId = Literal["error", "skip", "unknown"]


@notebook.shown
class Line(NamedTuple):
    """Tokens of a line and their ids; `ended` is False where a very long line continues."""

    tokens: Sequence[str]
    ids: Sequence[int]
    ended: bool


class Tokenized:
    """Lines of text as tokens and ids, read as they are iterated, and then their vocabulary.

    `coverage` counts, in the lines read so far, the words that a given vocabulary has and has not,
    and those that are left out because they are too long.
    """

    def __init__(
        self,
        places: Sequence[str | Path],
        settings: TextSettings,
        vocabulary: Vocabulary | None,
        oov: OovId,
        phrases: Phrases | None = None,
    ) -> None:
        self._places = places
        self._settings = settings
        self._given = vocabulary
        self._oov = oov
        self._phrases = phrases
        self.coverage = Coverage()
        self._index: defaultdict[str, int] = defaultdict()
        self._index.default_factory = self._index.__len__

    def __iter__(self) -> Iterator[Line]:
        settings, vocabulary = self._settings, self._given
        if vocabulary is not None:
            for tokens, ended in self._token_lines():
                unknown = None if self._oov == "error" else -1
                ids = vocabulary.ids_of(tokens, unknown).tolist()
                self.coverage.add(len(ids), ids.count(-1))
                if self._oov == "skip":
                    tokens = [token for token, each in zip(tokens, ids, strict=True) if each >= 0]
                    ids = [each for each in ids if each >= 0]
                yield Line(tokens, ids, ended)
        elif settings.max_vocab or settings.stop_words or settings.min_count not in ("auto", 1):
            # Which words stay is known at the end of the text only: it is encoded first.
            with TemporaryDirectory(prefix="embed-") as folder:
                corpus = encode(self._places, settings, folder=Path(folder), phrases=self._phrases)
                self._given = corpus.vocabulary
                self.coverage.too_long = corpus.too_long
                words = corpus.vocabulary.tokens(slice(None))
                for start, stop in pairwise(corpus.offsets.tolist()):
                    ids = corpus.ids[start:stop].tolist()
                    yield Line([words[each] for each in ids], ids, True)
        else:
            for tokens, ended in self._token_lines():
                yield Line(tokens, [self._index[token] for token in tokens], ended)

    def _token_lines(self) -> Iterator[tuple[list[str], bool]]:
        return token_lines(self._places, self._settings, self.coverage, phrases=self._phrases)

    @property
    def unmatched(self) -> list[str]:
        """The words of a given vocabulary that no token can be, as their case or form is folded."""
        if not self._given:
            return []
        words = list(self._given)
        spelt = Tokenizer(self._settings).spelt("\n".join(words)).split("\n")
        return [word for word, folded in zip(words, spelt, strict=True) if word != folded]

    @property
    def vocabulary(self) -> Vocabulary:
        """The given vocabulary, or that of the lines read so far."""
        return Vocabulary(self._index) if self._given is None else self._given

    def _repr_html_(self) -> str:
        return notebook.pairs(vars(self.coverage))
