"""One block of text to ids: the part of encoding that workers share."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedcli.config import TextSettings
from embedcli.parallel import keep_freed_memory, map_in_order, resolve_workers, trim_heap
from embedcli.text.corpus import BLOCK
from embedcli.text.growing import Growing
from embedcli.text.lines import Block, valid_utf8
from embedcli.text.numbering import Numbering, Strings, first_places
from embedcli.text.tokenizer import LINE_END, Tokenizer

# Bytes of pieces and words remembered from one block to the next; with more all are forgotten.
_MOST_REMEMBERED = 1 << 22
# Blocks after which a process gives back memory: else it grows by a tenth of the text.
_TRIM_EVERY = 32
# Fewer blocks, less than 4 MB, are encoded sooner than workers are started.
_FEW_BLOCKS = 4
# Bytes in which a block, or what it is encoded to, goes to and from a worker.
_SLOT = 8 * BLOCK
# Codes that are not of words: the end of a line, a piece without a word, and from there down those
# of several words.
_END, _NOTHING, _SEVERAL = -1, -2, -3
_BLANK, _NEWLINE = ord(" "), ord("\n")


class BlockIds(NamedTuple):
    """A block's words as codes.

    The first codes are of the words this encoder met in blocks before; the next are of the `fresh`
    words, in the order of first appearance. A word that is spelt in two ways may have two codes.
    """

    anew: bool  # whether the encoder has forgotten the words of all blocks before
    fresh: bytes  # each ended by a newline
    first_lines: NDArray[np.int64]  # (fresh words,) line of the block, from 0, that first has each
    codes: NDArray[np.int32]  # (n,)
    line_ends: NDArray[np.int64]  # (lines,) words up to the end of each line that ends here
    labels: list[str]  # of its lines, in their order
    label_lines: NDArray[np.int64]  # (labels,) line of the block of each


class BlockEncoder:
    """Turns blocks into `BlockIds`, as `settings` say; `labelled` lines bear fastText's labels."""

    def __init__(self, settings: TextSettings, *, labelled: bool) -> None:
        self._tokenizer = Tokenizer(settings)
        self._errors = settings.errors
        self._label = _label_pattern(settings.label_prefix) if labelled else None
        self._memory: _Memory | None = None
        self._encoded = 0  # blocks
        self._met: dict[bytes, list[str]] = {LINE_END: []}  # tokens of pieces
        self._met_size = 0  # in bytes, of those pieces

    def encode(self, block: Block) -> BlockIds:
        """Encode one block; raises CorpusError for bytes that are not UTF-8."""
        data = self._text(block)
        labels: list[str] = []
        label_lines = np.empty(0, np.int64)
        if self._label is not None and block.rows is None:
            data, labels, label_lines = _without_labels(data, self._label)
        memory = self._memory
        if memory is None or memory.is_full():
            memory = _Memory(self._tokenizer, data)
        anew, self._memory = memory is not self._memory, memory
        remembered = memory.words
        codes, fresh = memory.encode(self._tokenizer.prepared(data))
        words = codes >= 0  # (n,)
        others = np.flatnonzero(~words)
        ends = codes[others] == _END  # (others,)
        self._encoded += 1
        if self._encoded % _TRIM_EVERY == 0:
            trim_heap()
        return BlockIds(
            anew=anew,
            fresh=fresh,
            first_lines=np.searchsorted(others[ends], first_places(codes, remembered)),
            codes=codes[words],
            line_ends=(others - np.arange(len(others)))[ends],
            labels=labels,
            label_lines=label_lines,
        )

    def lines(self, block: Block) -> list[list[str]]:
        """Return the tokens of a block's lines; the last is the part of a line that goes on."""
        pieces = self._tokenizer.pieces(self._text(block))
        if self._met_size > _MOST_REMEMBERED:
            self._met, self._met_size = {LINE_END: []}, 0
        new = list({piece: None for piece in pieces if piece not in self._met})
        self._met.update(zip(new, self._tokenizer.tokens_of(new), strict=True))
        self._met_size += sum(map(len, new))
        lines: list[list[str]] = [[]]
        for piece in pieces:
            lines[-1] += self._met[piece]
            if piece == LINE_END:
                lines.append([])
        return lines

    def _text(self, block: Block) -> bytes:
        """Return the block's bytes, valid UTF-8, with a newline after its last line."""
        data = valid_utf8(block, self._errors)
        return data + b"\n" if block.whole and not data.endswith(b"\n") else data


def encode_blocks(
    blocks: Iterator[Block], encoder: BlockEncoder, settings: TextSettings
) -> Iterator[tuple[Block, BlockIds, int]]:
    """Yield each block, without its text, its ids, and the number of the worker that encoded it.

    Raises CorpusError for text that cannot be decoded, WorkerError for a worker that died.
    """
    keep_freed_memory(4 * BLOCK)  # the size of a block's arrays
    workers = resolve_workers(settings.workers)
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


class _Memory:
    """The pieces that an encoder has met, and the codes of their words."""

    def __init__(self, tokenizer: Tokenizer, sample: bytes) -> None:
        self.words = 0  # that have codes
        self._tokenizer = tokenizer
        self._size = 0  # in bytes, of all pieces and words
        self._pieces = Numbering.for_text(sample)
        self._codes = Growing(np.int32)  # (pieces,) of the one word of each, or as said above
        self._several = Growing(np.int32)  # codes of the words of the pieces of several
        self._offsets = Growing(np.int64)  # where among them the words of each begin and end
        self._tokens = Numbering.for_text(sample)  # of pieces that had to be cut
        self._token_codes = Growing(np.int32)  # (tokens,)
        self._pieces.number(Strings.of_lines(LINE_END + b"\n"))
        self._codes.extend(np.array([_END]))
        self._offsets.extend(np.zeros(1))

    def is_full(self) -> bool:
        """Tell whether it is time to begin anew."""
        return self._size > _MOST_REMEMBERED

    def encode(self, text: NDArray[np.uint8]) -> tuple[NDArray[np.int32], bytes]:
        """Return the codes (n,) of a prepared text's words and so on, and the fresh words."""
        known = len(self._pieces)
        blank = text == _BLANK
        edges = np.flatnonzero(blank[1:] != blank[:-1]) + 1  # (2 · pieces,)
        pieces = Strings(text, edges[0::2], edges[1::2] - edges[0::2])
        numbers = self._pieces.number(pieces)  # (pieces,)
        fresh = self._cut(pieces[first_places(numbers, known)])
        codes = self._codes.values.take(numbers, mode="clip")  # (pieces,)
        return self._with_several(codes), fresh

    def _cut(self, pieces: Strings) -> bytes:
        """Cut new pieces into words and give codes to new words; returns those, a line each."""
        lines = pieces.lines()
        unfinished = self._tokenizer.unfinished(lines)  # (unfinished pieces,)
        finished = np.delete(np.arange(len(pieces)), unfinished)
        cut = self._tokenizer.tokens_of(pieces[unfinished].listed())
        sizes = np.fromiter(map(len, cut), np.int64, len(cut))  # (unfinished pieces,)
        tokens, first, new_tokens = self._numbered(chain.from_iterable(cut))
        # The new words are the finished pieces and the new tokens, in the order of the pieces.
        owners = np.concatenate([finished, np.repeat(unfinished, sizes)[first]])  # (new words,)
        order = np.argsort(owners, kind="stable")
        codes = np.empty(len(order), np.int32)  # (new words,)
        codes[order] = np.arange(self.words, self.words + len(order))
        self.words += len(order)
        self._token_codes.extend(codes[len(finished) :])
        of_pieces = np.empty(len(pieces), np.int32)  # (pieces,)
        of_pieces[finished] = codes[: len(finished)]
        of_pieces[unfinished] = self._codes_of(self._token_codes.values[tokens], sizes)
        self._codes.extend(of_pieces)
        self._size += len(lines) + len(new_tokens)
        words = Strings.of_lines(lines, new_tokens)
        return words[np.concatenate([finished, np.arange(len(pieces), len(words))])[order]].lines()

    def _numbered(
        self, tokens: Iterable[str]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], bytes]:
        """Return the numbers of tokens, where new ones first stand, and those, a line each."""
        strings = Strings.of_lines("\n".join([*tokens, ""]).encode())
        known = len(self._tokens)
        numbers = self._tokens.number(strings)
        first = first_places(numbers, known)
        return numbers, first, strings[first].lines()

    def _codes_of(self, codes: NDArray[np.int32], sizes: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the codes of pieces that have so many (pieces,) words with codes (words,)."""
        of_pieces = np.full(len(sizes), _NOTHING, np.int32)  # (pieces,)
        of_pieces[sizes == 1] = codes[np.repeat(sizes == 1, sizes)]
        several = np.flatnonzero(sizes > 1)
        before = len(self._offsets) - 1
        of_pieces[several] = _SEVERAL - np.arange(before, before + len(several))
        self._offsets.extend(len(self._several) + np.cumsum(sizes[several]))
        self._several.extend(codes[np.repeat(sizes > 1, sizes)])
        return of_pieces

    def _with_several(self, codes: NDArray[np.int32]) -> NDArray[np.int32]:
        """Put the words of pieces of several in their places: (n,)."""
        places = np.flatnonzero(codes <= _SEVERAL)
        if not len(places):
            return codes
        which = _SEVERAL - codes[places]
        starts = self._offsets.values[which]
        more = self._offsets.values[which + 1] - starts - 1  # words after the first
        codes[places] = self._several.values[starts]
        within = np.arange(more.sum()) - np.repeat(np.cumsum(more) - more, more)
        others = self._several.values[np.repeat(starts, more) + 1 + within]
        return np.insert(codes, np.repeat(places + 1, more), others)


def _label_pattern(prefix: str) -> re.Pattern[bytes]:
    """Find what follows the prefix at the start of a word.

    It is asked for after the prefix that nothing stands before it: a pattern that begins with
    letters is looked for several times faster.
    """
    begin = re.escape(prefix.encode())
    return re.compile(begin + rb"(?<!\S" + begin + rb")(\S*)")


def _without_labels(
    data: bytes, label: re.Pattern[bytes]
) -> tuple[bytes, list[str], NDArray[np.int64]]:
    """Return the text with a blank for each label, the labels, and the line of each: (labels,)."""
    parts = label.split(data)
    texts, labels = parts[0::2], parts[1::2]
    text = b" ".join(texts)
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))  # (labels + 1,)
    blanks = np.cumsum(sizes[:-1] + 1) - 1  # (labels,)
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == _NEWLINE)  # (lines,)
    return text, [each.decode("utf-8") for each in labels], np.searchsorted(ends, blanks)
