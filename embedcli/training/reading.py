"""A text read by the machines of a Ray cluster, each some parts of it.

The process that gives the command deals out the parts and merges their words; the ids stay in the
object store of the machine that made them, until replicas fetch them. Parts are tasks, which Ray
does again where a machine is lost, or what it held is needed later.
"""

from __future__ import annotations

import os
import re
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from embedcli.config import TrainSettings
from embedcli.errors import ConfigError, CorpusError, EmbedError, WorkerError
from embedcli.tasks import TASKS
from embedcli.text.corpus import Corpus, fingerprint_of
from embedcli.text.encode import EncodedCorpus, PlacedPart, encoded, ids_without_gaps
from embedcli.text.parts import (
    Codes,
    Listing,
    Part,
    assemble,
    digests,
    list_parts,
    merge,
    read_part,
    versions,
)
from embedcli.text.sources import Source
from embedcli.text.words import Known
from embedcli.training.engines import Notice, Tell

CONNECT = 10.0  # seconds in which a cluster must answer
WAIT = 120.0  # seconds after which what a machine reads counts as lost,
SLOWEST = 1e6  # and bytes a second at which it reads, at least
PARTS_A_CORE = 4
SMALLEST = 4 << 20  # bytes of a part, about


class LostError(Exception):
    """A machine did not answer, or what it made is gone."""


class Node(NamedTuple):
    """A machine of the cluster that has cores."""

    id: str
    name: str
    cores: int


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect this process to a cluster, unless it is; raises ConfigError where there is none."""
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")  # of some 40 s each
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        place = re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d{1,5})", address)
        if place:
            socket.create_connection((place[1], int(place[2])), CONNECT).close()
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"engine: no Ray cluster at {address!r} ({error})",
            "ray start --head, on this machine; then --address auto",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def nodes(ray: Any) -> list[Node]:
    """Return the machines of the cluster that have cores."""
    return [
        Node(node["NodeID"], f"{node['NodeManagerHostname']} ({node['NodeID'][:6]})", cores)
        for node in ray.nodes()
        if node["Alive"] and (cores := int(node["Resources"].get("CPU", 0)))
    ]


def on(node: Node, *, only: bool) -> Any:
    """Return where Ray shall do something: on one machine `only`, or elsewhere if that is lost."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node.id, soft=not only)


def result(ray: Any, ref: Any, limit: float) -> Any:
    """Return a result.

    Raises LostError if it is lost, or the machine lacks what it takes, such as memory or this
    package; an EmbedError of the machine is raised as it is.
    """
    errors = ray.exceptions
    try:
        return ray.get(ref, timeout=limit)
    except errors.GetTimeoutError as error:
        raise LostError(f"waited {limit:.0f} s") from error
    except errors.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, WorkerError):
            raise LostError(str(cause)) from error
        if isinstance(cause, (errors.RayError, OSError, MemoryError)):
            raise LostError(_first_line(cause)) from error
        if isinstance(cause, EmbedError):
            raise cause from None
        raise
    except errors.RayError as error:
        raise LostError(_first_line(error)) from error


def _first_line(error: BaseException) -> str:
    """Return what an error says, without the traceback that Ray's have."""
    return (str(error) or type(error).__name__).splitlines()[0]


def read(
    places: Sequence[str],
    settings: TrainSettings,
    known: Known | None,
    folder: Path,
    progress: Callable[[int, int], None],
    tell: Tell,
) -> EncodedCorpus | None:
    """Have the machines of the cluster read a text.

    The result is that of `encode`, but for the ids of a text without labels, which stay where they
    are. None if no machine has the text. Raises CorpusError as `encode`, and where machines have
    other files than others; WorkerError where parts are lost again and again.
    """
    import ray

    labels = TASKS[settings.task].label_kind
    readers, listing = _listed(ray, places, settings, tell)
    if listing is None:
        return None
    files: list[list[Source]] = []  # the parts of each
    for source in listing.parts:
        files[len(files) :] = [] if source.start else [[]]
        files[-1].append(source)
    # 1. Hash the files that are cut, each by one machine.
    task = ray.remote(digests)
    hashed = {}
    for number, parts in enumerate(files):
        if len(parts) > 1:
            place = on(readers[number % len(readers)], only=False)
            hashed[number] = task.options(num_cpus=0, scheduling_strategy=place).remote(parts)
    # 2. Read all parts, and merge their words and labels.
    reading = _Reading(ray, listing, readers, settings, progress)
    try:
        text, codes = merge(reading.parts(), labels, known)
        fingerprint = fingerprint_of(
            [
                (listing.files[parts[0].path][0], reading.digest(parts, hashed.get(number)))
                for number, parts in enumerate(files)
            ]
        )
        # 3. Labels are checked here, so that the ids of their texts are needed here too.
        if labels != "none":
            limit = WAIT + reading.total / SLOWEST
            fetched = (result(ray, ref, limit) for ref in reading.ids)
            folder.mkdir()
            ids, targets = assemble(zip(fetched, codes, strict=True), labels, folder)
            text = text._replace(ids=ids, targets=targets)
    except LostError as error:
        raise WorkerError(f"engine: the text could not be read ({error})") from error
    name = Corpus([parts[0] for parts in files], settings).name
    text = text._replace(name=name, size=reading.total, fingerprint=fingerprint)
    corpus, kept = encoded(text, settings, folder)
    # 4. Tell where the ids are, and what they become.
    new = ids_without_gaps(kept)
    placed = tuple(
        PlacedPart(
            ids=ref,
            codes=ray.put(Codes(new[own.words], own.labels)),
            digest=part.digest,
            name=source.path,
            stored=listing.files[source.path],
        )
        for ref, own, part, source in zip(
            reading.ids, codes, reading.read, listing.parts, strict=True
        )
    )
    return corpus._replace(parts=placed)


def _listed(
    ray: Any, places: Sequence[str], settings: TrainSettings, tell: Tell
) -> tuple[list[Node], Listing | None]:
    """Have each machine list the files of a text; return those that have them, and the list."""
    machines = nodes(ray)
    cores = sum(machine.cores for machine in machines)
    task = ray.remote(list_parts)
    asked = [
        task.options(num_cpus=0, scheduling_strategy=on(machine, only=True)).remote(
            places, settings, PARTS_A_CORE * cores, SMALLEST
        )
        for machine in machines
    ]
    found: list[tuple[Node, Listing]] = []
    for machine, ref in zip(machines, asked, strict=True):
        try:
            listing = result(ray, ref, WAIT)
        except (CorpusError, LostError) as error:
            tell(Notice(f"{machine.name} reads no text: {error}"))
            continue
        if listing.versions == versions(settings):
            found.append((machine, listing))
        else:
            others = ", ".join(f"{key} {value}" for key, value in listing.versions.items())
            tell(Notice(f"{machine.name} reads no text: has {others}, whose words may differ"))
    for machine, listing in found[1:]:
        _require_same(*found[0], machine, listing)
    return [machine for machine, _ in found], found[0][1] if found else None


def _require_same(first: Node, one: Listing, second: Node, other: Listing) -> None:
    """Raise CorpusError, naming machine and file, unless two machines have the same files."""
    expected = "expected the same files on all machines"
    for path in [*one.files, *other.files]:
        if path not in one.files or path not in other.files:
            has, lacks = (first, second) if path in one.files else (second, first)
            raise CorpusError(f"{path}: is on {has.name}, but not on {lacks.name}; {expected}")
        sizes = one.files[path][0], other.files[path][0]
        if sizes[0] != sizes[1]:
            raise CorpusError(
                f"{path}: has {sizes[0]:,} bytes on {first.name}, {sizes[1]:,} on {second.name}; "
                f"{expected}"
            )
    for part in {*one.parts} ^ {*other.parts}:
        raise CorpusError(f"{part.path}: differs on {first.name} and {second.name}; {expected}")


class _Read(NamedTuple):
    """A part that was read: the machine, and the SHA-256 of the bytes."""

    machine: str
    digest: str


class _Reading:
    """The parts of a text while they are read, in their order: their `ids`, and those `read`."""

    def __init__(
        self,
        ray: Any,
        listing: Listing,
        readers: Sequence[Node],
        settings: TrainSettings,
        progress: Callable[[int, int], None],
    ) -> None:
        self._ray, self._listing, self._settings = ray, listing, settings
        # A machine reads as many parts at once as it has cores.
        slots = zip_longest(*([reader] * reader.cores for reader in readers))
        self._free = deque(reader for each in slots for reader in each if reader is not None)
        self._progress = progress
        self.total = sum(listing.files[part.path][0] for part in listing.parts if not part.start)
        self.ids: list[Any] = []
        self.read: list[_Read] = []
        self._hashed = 0  # of those read

    def parts(self) -> Iterator[tuple[Source, Part]]:
        """Yield the parts, in their order, once they are read; raises LostError."""
        ray, sources, settings = self._ray, self._listing.parts, self._settings
        labels = TASKS[settings.task].label_kind
        task = ray.remote(read_part)
        busy: dict[Any, tuple[int, Node]] = {}
        found: dict[int, Part] = {}
        done = 0
        for number, source in enumerate(sources):
            while number not in found:
                while self._free and len(self.ids) < len(sources):
                    reader = self._free.popleft()
                    ref, ids = task.options(
                        num_cpus=0,  # so that it can be done again while replicas have all
                        num_returns=2,
                        scheduling_strategy=on(reader, only=False),
                    ).remote(sources[len(self.ids)], settings, labels, versions(settings))
                    busy[ref] = len(self.ids), reader
                    self.ids.append(ids)
                largest = max(self._size(sources[each]) for each, _ in busy.values())
                limit = WAIT + largest / SLOWEST
                ready, _ = ray.wait([*busy], num_returns=1, timeout=limit)
                if not ready:
                    names = ", ".join({reader.name for _, reader in busy.values()})
                    raise LostError(f"waited {limit:.0f} s for {names}")
                each, reader = busy.pop(ready[0])
                found[each] = result(ray, ready[0], limit)
                self._free.append(reader)
                done += self._size(sources[each])
                self._progress(done, self.total)
            part = found.pop(number)
            self.read.append(_Read(part.machine, part.digest))
            yield source, part

    def digest(self, parts: Sequence[Source], hashed: Any) -> str:
        """Return the SHA-256 of the next file; raises CorpusError if machines read others.

        `hashed` is the result of `digests` for a file of several parts.
        """
        own = self.read[self._hashed : self._hashed + len(parts)]
        self._hashed += len(parts)
        if hashed is None:
            return own[0].digest
        limit = WAIT + self._listing.files[parts[0].path][0] / SLOWEST
        whole, expected, machine = result(self._ray, hashed, limit)
        for part, found, digest in zip(parts, own, expected, strict=True):
            if found.digest != digest:
                raise CorpusError(
                    f"{part.path}: bytes {part.start:,} to {part.end:,} differ on {machine} and "
                    f"{found.machine}; expected the same file on all machines"
                )
        return str(whole)

    def _size(self, part: Source) -> int:
        return (part.end or self._listing.files[part.path][0]) - part.start
