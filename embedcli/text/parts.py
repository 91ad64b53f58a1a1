"""A text in parts that several machines read, to the ids that one of them would give it.

A part is a file, or some lines of one. Each is read by itself, with words and labels numbered by
first appearance in it; merged in the order of the parts, they are numbered as in the whole text.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unicodedata import unidata_version

import numpy as np
import regex
from numpy.typing import NDArray

from embedcli import __version__
from embedcli.config import TextSettings
from embedcli.errors import CorpusError
from embedcli.text.cache import version_of
from embedcli.text.corpus import Corpus
from embedcli.text.encode import LineNumbers, ReadText, ids_spool, labels_spool, read_text
from embedcli.text.labels import ClassNames, LabelKind, label_codec, parse_labels
from embedcli.text.sources import READ, Source, find_sources, open_source, size_and_time
from embedcli.text.spool import Elsewhere, Spool
from embedcli.text.words import Known, Words, renumber

LARGEST = 128 << 20  # bytes of a part that a file is cut into, about
_LINE = 1 << 16  # bytes that are searched for the end of a line at once


class Part(NamedTuple):
    """What a part holds beside its ids."""

    machine: str  # that read it
    digest: str  # SHA-256 of its bytes
    words: bytes  # by first appearance, each ended by a newline
    counts: NDArray[np.int64]  # (v,)
    first_lines: NDArray[np.int64]  # (v,) line of the part, from 1
    labels: tuple[str, ...]  # by first appearance
    lines: LineNumbers
    too_long: int


class PartIds(NamedTuple):
    """The words and labels of a part, numbered by first appearance in it; numbers as they are."""

    machine: str  # that read it, for the last time
    digest: str
    ids: NDArray[np.int32]  # (n,)
    ends: NDArray[np.int64]  # (lines,)
    labels: NDArray[Any]  # (m,)
    label_ends: NDArray[np.int64]  # (lines,)


class Codes(NamedTuple):
    """The ids that the words and labels of a part have in the whole text; -1 is left out."""

    words: NDArray[np.int32]  # (v,)
    labels: NDArray[np.int32] | None  # None: numbers, which are taken as they are


class Listing(NamedTuple):
    """The files of a text as a machine sees them."""

    versions: dict[str, str]
    files: dict[str, tuple[int, int]]  # size, and time of the last change, by path
    parts: tuple[Source, ...]


def versions(settings: TextSettings) -> dict[str, str]:
    """Return the versions that decide what a word is."""
    found = {"embed": __version__, "regex": regex.__version__, "unicode": unidata_version}
    return {**found, "segmenter": version_of(settings.segmenter)}


def list_parts(places: Sequence[str], settings: TextSettings, parts: int, smallest: int) -> Listing:
    """Find the files of a text, and cut large ones at ends of lines, into so many `parts` in all.

    A part has about `smallest` bytes at least. Raises CorpusError where there is no file.
    """
    sources = find_sources(places)
    files = {}
    for source in sources:
        try:
            files[source.path] = size_and_time(source.path)
        except OSError as error:
            found = error.strerror or error
            raise CorpusError(f"{source.path}: {found}; expected a readable file") from error
    total = sum(files[source.path][0] for source in sources)
    length = min(max(total // parts, smallest), LARGEST)
    cut = [
        part for source in sources for part in _cut(source, files[source.path][0], length, settings)
    ]
    return Listing(versions(settings), files, tuple(cut))


def _cut(source: Source, size: int, length: int, settings: TextSettings) -> Iterator[Source]:
    """Yield a file in parts of about some length; whole if it is not plain text of lines."""
    if size < 2 * length or not Corpus([source], settings).has_lines(source):
        yield source
        return
    start = 0
    with open_source(source, settings.max_expansion) as (opened, _):
        while start < size:
            end = min(start + length, size)
            if end + length > size:
                end = size
            while end < size:
                data = opened.at(end, _LINE)
                place = data.find(b"\n")
                end += place + 1 if place >= 0 else len(data)
                if place >= 0 or not data:
                    break
            yield source._replace(start=start, end=end)
            start = end


def digests(parts: Sequence[Source]) -> tuple[str, list[str], str]:
    """Return the SHA-256 of a file, those of its parts, and the name of this machine."""
    whole, each = hashlib.sha256(), []
    for part in parts:
        with open_source(part, 1) as (opened, content):
            while data := content.read(READ):
                whole.update(data)
            each.append(opened.finish())
    return whole.hexdigest(), each, platform.node()


def read_part(
    source: Source, settings: TextSettings, labels: LabelKind, expected: dict[str, str]
) -> tuple[Part, PartIds]:
    """Read a part by this process.

    Raises CorpusError where it cannot be read, or this machine's `versions` are not those expected.
    """
    if versions(settings) != expected:
        raise CorpusError(f"{platform.node()}: has {versions(settings)}; expected {expected}")
    settings = replace(settings, workers=1)
    with TemporaryDirectory(prefix="embed-") as name:
        try:
            text = _read(source, settings, labels, Path(name))
        except CorpusError:
            if not source.start:
                raise
            with open_source(source._replace(start=0, end=source.start), 1) as (_, content):
                lines = sum(data.count(b"\n") for data in iter(lambda: content.read(READ), b""))
            # Once more, to tell the line of the file.
            text = _read(source._replace(line=1 + lines), settings, labels, Path(name))
        names = text.codec.names if isinstance(text.codec, ClassNames) else ()
        words = text.words
        part = Part(
            machine=platform.node(),
            digest=text.fingerprint,
            words=words.lines,
            counts=words.counts,
            first_lines=words.first_lines,
            labels=names,
            lines=text.lines,
            too_long=text.too_long,
        )
        ids = PartIds(
            part.machine,
            part.digest,
            np.array(text.ids.numbers()),
            text.ids.offsets()[1:] + 0,
            np.array(text.targets.numbers()),
            text.targets.offsets()[1:] + 0,
        )
    return part, ids


def _read(source: Source, settings: TextSettings, labels: LabelKind, folder: Path) -> ReadText:
    corpus = Corpus([source], settings, labelled=labels != "none")
    text = read_text(corpus, settings, folder, Words(), label_codec(labels))
    return text._replace(fingerprint=corpus.digests[0][1])


def merge(
    parts: Iterable[tuple[Source, Part]], labels: LabelKind, known: Known | None
) -> tuple[ReadText, list[Codes]]:
    """Merge what parts hold, in their order; return the text, whose ids lie elsewhere, and codes.

    The name, the size and the fingerprint of the text are left to the caller.
    """
    words = Words(known=known)
    codec = label_codec(labels, () if known is None else known.labels)
    lines, too_long, codes, began = LineNumbers(), 0, list[Codes](), 0
    for source, part in parts:
        if not source.start:
            began = lines.total
        ids = words.merge(part.words, part.counts, part.first_lines + lines.total)
        found = None
        if isinstance(codec, ClassNames):
            found = parse_labels(codec, part.labels, lambda _: "")
        codes.append(Codes(ids, found))
        lines.extend(part.lines, 1 + lines.total - began)
        too_long += part.too_long
    elsewhere = Elsewhere(words.read, lines.total)
    return ReadText(words, elsewhere, codec, elsewhere, lines, too_long, "", 0, ""), codes


def assemble(
    parts: Iterable[tuple[PartIds, Codes]], labels: LabelKind, folder: Path
) -> tuple[Spool, Spool]:
    """Write the ids and labels of a text, given in parts, to files in `folder`."""
    with ids_spool(folder) as ids, labels_spool(folder, label_codec(labels)) as targets:
        for part, codes in parts:
            ids.add(*renumber(part.ids, part.ends, codes.words, everything=False))
            found = part.labels if codes.labels is None else codes.labels[part.labels]
            targets.add(found, part.label_ends)
    return ids, targets
