"""Blocks encoded by several processes, in the order of the text."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import struct
import traceback
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, NoReturn

import numpy as np

from embedcli.config import TextSettings
from embedcli.errors import CorpusError, EmbedError
from embedcli.memory import keep_freed_memory
from embedcli.parallel import asked, fork_worker, shared_array
from embedcli.text.blocks import BlockEncoder, BlockIds
from embedcli.text.corpus import BLOCK, Block

# Fewer blocks, less than 4 MB, are sooner done by the process itself.
_FEW_BLOCKS = 4
# Blocks a worker is given ahead, each in a slot of its own, so that none waits for the parent.
_AHEAD = 3
# Bytes of a slot: a block, or what becomes of one. Pages are taken when touched.
_SLOT = 8 * BLOCK
_LENGTH = struct.Struct("<q")


def encode_blocks(
    blocks: Iterator[Block], encoder: BlockEncoder, settings: TextSettings
) -> Iterator[tuple[Block, BlockIds, int]]:
    """Yield each block in order, what it was encoded to, and the number of the encoder.

    The text of a block that a worker encoded is gone.

    Raises CorpusError for text that cannot be decoded, and for a worker that died.
    """
    size = asked(settings.workers)
    first = list(islice(blocks, _FEW_BLOCKS))
    if size == 1 or len(first) < _FEW_BLOCKS:
        for block in chain(first, blocks):
            yield block, encoder.encode(block), 0
        return
    workers: list[_Worker] = []
    try:
        for _ in range(size):
            workers.append(_Worker(encoder, workers))
        waiting: deque[tuple[Block, int]] = deque()
        for number, block in enumerate(chain(first, blocks)):
            if len(waiting) == _AHEAD * size:
                done, by = waiting.popleft()
                yield done, workers[by].take(), by
            workers[number % size].give(block)
            waiting.append((block._replace(data=b""), number % size))
        while waiting:
            done, by = waiting.popleft()
            yield done, workers[by].take(), by
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A forked process that encodes blocks, one after the other.

    Blocks and results lie in memory shared with the parent; a socket says how long they are.
    When either process dies the other sees the end of the socket, so that none is left alone.
    """

    def __init__(self, encoder: BlockEncoder, siblings: list[_Worker]) -> None:
        self._slots = shared_array((_AHEAD, _SLOT), np.uint8)  # (_AHEAD, _SLOT)
        self._given = self._taken = 0
        self._buried = False
        self._line, theirs = socket.socketpair()
        lines = [*(sibling._line for sibling in siblings), self._line]
        with theirs:
            self._pid = fork_worker(lambda: self._serve(encoder, theirs, lines))

    def give(self, block: Block) -> None:
        """Hand a block over; at most `_AHEAD` may be on their way."""
        if block.rows is not None:
            block = block._replace(rows=())  # the parent keeps them
        try:
            _send(self._line, self._slots[self._given % _AHEAD], block)
        except OSError:
            self._bury()
        self._given += 1

    def take(self) -> BlockIds:
        """Wait for the ids of the block given first."""
        try:
            result = _receive(self._line, self._slots[self._taken % _AHEAD])
        except (OSError, EOFError):
            self._bury()
        self._taken += 1
        if isinstance(result, BaseException):
            raise result
        found: BlockIds = result
        return found

    def end(self) -> None:
        """End the process; nothing of it is left."""
        self._line.close()
        if self._buried:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)  # it holds nothing that could be lost
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def _bury(self) -> NoReturn:
        _, status = os.waitpid(self._pid, 0)
        self._buried = True  # its number may be another's from now on
        how = f"by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "on its own"
        raise CorpusError(
            f"a worker that read the text ended {how}",
            hint="if memory ran out, take fewer --workers",
        )

    def _serve(
        self, encoder: BlockEncoder, line: socket.socket, parents: list[socket.socket]
    ) -> None:
        for end in parents:
            end.close()  # or the death of the parent would not be seen
        keep_freed_memory(4 * BLOCK)  # that of a block's arrays
        # Ends when the parent is gone, or needs no more.
        with contextlib.suppress(OSError, EOFError):
            while True:
                slot = self._slots[self._taken % _AHEAD]
                block = _receive(line, slot)
                _send(line, slot, _result(encoder, block))
                self._taken += 1


def _result(encoder: BlockEncoder, block: Block) -> BlockIds | Exception:
    try:
        return encoder.encode(block)
    except EmbedError as error:
        return error
    except Exception:
        return RuntimeError(f"in a worker:\n{traceback.format_exc()}")


def _send(line: socket.socket, slot: Any, content: object) -> None:
    """Put an object in a shared slot and say so; one too large for it goes through the socket."""
    data = pickle.dumps(content, protocol=5)
    if len(data) <= len(slot):
        slot[: len(data)] = np.frombuffer(data, np.uint8)
        line.sendall(_LENGTH.pack(len(data)))
    else:
        line.sendall(_LENGTH.pack(-len(data)) + data)


def _receive(line: socket.socket, slot: Any) -> Any:
    """Wait for an object from the other process; raises EOFError if that ended."""
    (length,) = _LENGTH.unpack(_exactly(line, _LENGTH.size))
    return pickle.loads(slot[:length] if length >= 0 else _exactly(line, -length))


def _exactly(line: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = line.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
