"""One block of text to ids: the part of encoding that workers share."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain, islice, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.config import TextSettings
from embedcli.parallel import keep_freed_memory, map_in_order, resolve_workers, trim_heap
from embedcli.text.corpus import BLOCK
from embedcli.text.labels import split_labels
from embedcli.text.lines import Block, valid_utf8
from embedcli.text.numbering import GrowingArray, Numbering, Strings, first_places
from embedcli.text.tokenizer import LINE_END, LONGEST, Tokenizer

# Bytes of pieces and words remembered from one block to the next; beyond that all are forgotten.
_MOST_REMEMBERED = 1 << 22
# Blocks between two calls of `trim_heap`: without it a process grows by a tenth of the text.
_TRIM_EVERY = 32
# Fewer blocks, less than 4 MB, are encoded sooner than workers are started.
_FEW_BLOCKS = 4
# Bytes of shared memory in which a block, or its ids, go to and from a worker.
_SLOT = 8 * BLOCK
# Codes of pieces that are not one word: the end of a line, no word, and from -3 down several words.
_LINE_END, _NO_WORD, _SEVERAL = -1, -2, -3
_BLANK = ord(" ")


class BlockIds(NamedTuple):
    """The words of a block as codes.

    A code is the number of a word, by first appearance, among those the encoder remembers. A word
    that is spelt in two ways may have two codes.
    """

    restarted: bool  # whether the encoder forgot the words of all earlier blocks
    new_words: bytes  # each ended by a newline; their codes follow those of earlier blocks
    first_lines: NDArray[np.int64]  # (new words,) line of the block, from 0, where each first is
    codes: NDArray[np.int32]  # (n,)
    line_ends: NDArray[np.int64]  # (lines,) words up to the end of each line that ends here
    labels: list[str]  # of all lines, in order
    label_lines: NDArray[np.int64]  # (labels,) line of the block of each
    too_long: int  # words left out because they have more than `LONGEST` characters


class BlockEncoder:
    """Turns blocks into `BlockIds` or into tokens, as `settings` say.

    Labels (words of plain text that begin with `label_prefix`) are not words of the text.
    """

    def __init__(self, settings: TextSettings) -> None:
        self._settings = settings
        self._tokenizer = Tokenizer(settings)
        self._pieces: _PieceCodes | None = None
        self._encoded = 0  # blocks
        self._words: list[str] = []  # by their codes, for `lines`

    def encode(self, block: Block) -> BlockIds:
        """Encode one block; raises CorpusError for undecodable bytes."""
        text, labels, label_lines = self._text(block)
        pieces = self._pieces
        restarted = pieces is None or pieces.size > _MOST_REMEMBERED
        if pieces is None or restarted:
            pieces = self._pieces = _PieceCodes(self._tokenizer, text)
        known = pieces.words
        codes, new_words, too_long = pieces.encode(text)
        # The codes of words are separated from those of line ends.
        others = np.flatnonzero(codes < 0)
        ends = codes[others] == _LINE_END  # (others,)
        self._encoded += 1
        if self._encoded % _TRIM_EVERY == 0:
            trim_heap()
        return BlockIds(
            restarted=restarted,
            new_words=new_words,
            first_lines=np.searchsorted(others[ends], first_places(codes, known)),
            codes=codes[codes >= 0],
            line_ends=(others - np.arange(len(others)))[ends],
            labels=labels,
            label_lines=label_lines,
            too_long=too_long,
        )

    def lines(self, block: Block) -> tuple[list[list[str]], int]:
        """Return the tokens of a block's lines, and how many words were too long.

        The last line is the part of one that goes on in the next block, or empty.
        """
        found = self.encode(block)
        if found.restarted:
            self._words.clear()
        self._words += found.new_words.decode().split("\n")[:-1]
        tokens = [self._words[code] for code in found.codes.tolist()]
        ends = [0, *found.line_ends.tolist(), len(tokens)]
        return [tokens[start:end] for start, end in pairwise(ends)], found.too_long

    def _text(self, block: Block) -> tuple[bytes, list[str], NDArray[np.int64]]:
        """Return the block's text, valid UTF-8 that ends with its last line, and its labels."""
        text = valid_utf8(block, self._settings.errors)
        if block.whole and not text.endswith(b"\n"):
            text += b"\n"
        prefix = None if block.rows is not None else self._settings.label_prefix
        return split_labels(text, prefix)


def encode_blocks(
    blocks: Iterator[Block], settings: TextSettings
) -> Iterator[tuple[Block, BlockIds, int]]:
    """Yield each block, without its text, its ids, and the number of the worker that encoded it.

    Raises CorpusError for undecodable text, WorkerError for a worker that died.
    """
    keep_freed_memory(4 * BLOCK)  # the size of a block's arrays
    encoder, workers = BlockEncoder(settings), resolve_workers(settings.workers)
    first = list(islice(blocks, _FEW_BLOCKS))
    if workers == 1 or len(first) < _FEW_BLOCKS:
        for block in chain(first, blocks):
            yield block._replace(data=b""), encoder.encode(block), 0
        return
    given: deque[Block] = deque()  # what the workers do not need, and do not send back

    def items() -> Iterator[Block]:
        for block in chain(first, blocks):
            given.append(block._replace(data=b""))
            yield block if block.rows is None else block._replace(rows=())

    for found, worker in map_in_order(encoder.encode, items(), workers, _SLOT):
        yield given.popleft(), found, worker


class _PieceCodes:
    """The pieces that an encoder has seen, and the codes of their words.

    Most pieces are one word. A piece of several words has a code from `_SEVERAL` down, which says
    where its words are listed.
    """

    def __init__(self, tokenizer: Tokenizer, sample: bytes) -> None:
        self.words = 0  # that have codes
        self.size = 0  # in bytes, of all pieces and words
        self._tokenizer = tokenizer
        self._pieces = Numbering.for_text(sample)
        self._codes = GrowingArray(np.int32)  # (pieces,)
        self._several = GrowingArray(np.int32)  # codes of the words of the pieces of several
        self._offsets = GrowingArray(np.int64)  # where in that the words of each such piece begin
        self._tokens = Numbering.for_text(sample)  # of pieces that had to be cut
        self._token_codes = GrowingArray(np.int32)  # (tokens,)
        self._too_long: dict[int, int] = {}  # how many words too long are in a piece
        self._pieces.number(Strings.of_lines(LINE_END + b"\n"))
        self._codes.extend(np.array([_LINE_END]))
        self._offsets.extend(np.zeros(1))

    def encode(self, text: bytes) -> tuple[NDArray[np.int32], bytes, int]:
        """Return the codes (n,) of a text, its new words, and how many words were too long."""
        # 1. Cut the text at blanks, and number the pieces.
        prepared = self._tokenizer.prepared(text)  # (bytes,)
        known = len(self._pieces)
        blank = prepared == _BLANK
        edges = np.flatnonzero(blank[1:] != blank[:-1]) + 1  # (2 · pieces,)
        pieces = Strings(prepared, edges[0::2], edges[1::2] - edges[0::2])
        numbers = self._pieces.number(pieces)  # (pieces,)
        # 2. Cut the pieces that are new into words.
        new_words = self._add(pieces[first_places(numbers, known)], known)
        codes = self._codes.values.take(numbers, mode="clip")  # (pieces,)
        too_long = 0
        if self._too_long:
            too_long = sum(self._too_long.get(number, 0) for number in numbers.tolist())
        # 3. Put the words of pieces of several in their places: the first in that of the piece.
        places = np.flatnonzero(codes <= _SEVERAL)
        if len(places):
            which = _SEVERAL - codes[places]
            starts = self._offsets.values[which]
            more = self._offsets.values[which + 1] - starts - 1  # words after the first
            codes[places] = self._several.values[starts]
            within = np.arange(more.sum()) - np.repeat(np.cumsum(more) - more, more)
            others = self._several.values[np.repeat(starts, more) + 1 + within]
            codes = np.insert(codes, np.repeat(places + 1, more), others)
        return codes, new_words, too_long

    def _add(self, pieces: Strings, number: int) -> bytes:
        """Cut new pieces, numbered from `number`, into words; returns the new words, one a line."""
        # 1. Most pieces are words as they are. The tokenizer cuts the others into tokens.
        lines = pieces.lines()
        unfinished = self._tokenizer.unfinished(lines)  # (unfinished pieces,)
        finished = np.delete(np.arange(len(pieces)), unfinished)
        cut = self._tokenizer.tokens_of(pieces[unfinished].listed())
        for place in np.flatnonzero(pieces.sizes[unfinished] > LONGEST):
            kept = [token for token in cut[place] if len(token) <= LONGEST]
            if len(kept) < len(cut[place]):
                self._too_long[number + int(unfinished[place])] = len(cut[place]) - len(kept)
                cut[place] = kept
        sizes = np.fromiter(map(len, cut), np.int64, len(cut))  # (unfinished pieces,)
        # 2. Several pieces may have a token in common, so tokens are numbered by themselves.
        strings = Strings.of_lines("\n".join([*chain.from_iterable(cut), ""]).encode())
        known = len(self._tokens)
        tokens = self._tokens.number(strings)  # (all tokens,)
        first = first_places(tokens, known)  # (new tokens,)
        new_tokens = strings[first].lines()
        # 3. Finished pieces and new tokens are the new words, in the order of the pieces.
        owners = np.concatenate([finished, np.repeat(unfinished, sizes)[first]])  # (new words,)
        order = np.argsort(owners, kind="stable")
        codes = np.empty(len(order), np.int32)  # (new words,)
        codes[order] = np.arange(self.words, self.words + len(order))
        self.words += len(order)
        self._token_codes.extend(codes[len(finished) :])
        # 4. A piece has the code of its word, if it is one, or tells where its words are listed.
        token_codes = self._token_codes.values[tokens]  # (all tokens,)
        cut_codes = np.full(len(sizes), _NO_WORD, np.int32)  # (unfinished pieces,)
        cut_codes[sizes == 1] = token_codes[np.repeat(sizes == 1, sizes)]
        several = np.flatnonzero(sizes > 1)
        listed = len(self._offsets) - 1
        cut_codes[several] = _SEVERAL - np.arange(listed, listed + len(several))
        self._offsets.extend(len(self._several) + np.cumsum(sizes[several]))
        self._several.extend(token_codes[np.repeat(sizes > 1, sizes)])
        piece_codes = np.empty(len(pieces), np.int32)  # (pieces,)
        piece_codes[finished] = codes[: len(finished)]
        piece_codes[unfinished] = cut_codes
        self._codes.extend(piece_codes)
        self.size += len(lines) + len(new_tokens)
        words = Strings.of_lines(lines, new_tokens)
        return words[np.concatenate([finished, np.arange(len(pieces), len(words))])[order]].lines()
