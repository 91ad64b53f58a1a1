"""The sources of a text as one stream of blocks."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from embedcli.config import TextSettings
from embedcli.errors import ConfigError
from embedcli.text.lines import Block, newlines, transcoded
from embedcli.text.records import READERS, Input, columnar_kind, kind_of
from embedcli.text.sources import (
    STDIN,
    Chunks,
    Kind,
    Opened,
    Source,
    find_sources,
    open_source,
    require_text,
)

# Bytes of text a block holds at most; a longer line is cut. Characters, which become more ids than
# words do, come in blocks of a quarter of that.
BLOCK = 1 << 20
UTF_8 = ("utf-8", "utf-8-sig")
_HEAD = 1 << 16  # bytes by which a file's kind and line ends are told
# Python counts these as text encodings, but no file is written in them.
_OF_NO_FILE = {"idna", "punycode", "unicode-escape", "raw-unicode-escape"}


class Corpus:
    """The text of some sources: a stream of blocks, and a fingerprint once that is read."""

    def __init__(
        self,
        places: Sequence[str | Path | Source],
        settings: TextSettings,
        *,
        labelled: bool = False,
        by_name: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Find the sources; raises CorpusError or, for an unknown encoding, ConfigError.

        Columns that the settings name are read from all files, or, `by_name`, from those whose
        names say that they have columns. `progress` is called between blocks with the bytes read
        and those of all sources, as they are stored; with 0 for the latter where it is not known.
        """
        self.sources = find_sources(places)
        self._settings = settings
        self._labelled = labelled
        self._by_name = by_name
        self._progress = progress
        self.digests: list[tuple[int, str]] = []  # size and SHA-256 of each file that was read
        try:
            codec = codecs.lookup(settings.encoding)
            known = codec._is_text_encoding and codec.name not in _OF_NO_FILE
        except (LookupError, ValueError):
            known = False
        if not known:
            raise ConfigError(
                f"encoding: found {settings.encoding!r}; expected the name of a text encoding",
                hint="such as utf-8, latin-1, cp1252, utf-16, shift_jis, gb18030",
            )
        self._encoding = codec.name

    @property
    def name(self) -> str:
        """The names of the files, or of the first of many."""
        names = ["standard input" if each.path == STDIN else each.path for each in self.sources]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return ", ".join(names[:3]) + more

    def blocks(self) -> Iterator[Block]:
        """Read the sources in turn; raises CorpusError for what cannot be read or decoded."""
        settings = self._settings
        size = BLOCK // 4 if settings.tokenizer == "char" else BLOCK
        self.digests.clear()
        paths, total = [Path(source.path) for source in self.sources], 0
        if self._progress is not None and all(map(Path.is_file, paths)):
            total = sum(path.stat().st_size for path in paths)
        for source in self.sources:
            with open_source(source, settings.max_expansion) as (opened, content):
                kind: Kind = "plain"
                if not source.start:
                    kind, content = self._kind(source, opened, content)
                file = Input(opened.name, content, settings, self._labelled, opened)
                before = self.size
                for number, block in enumerate(READERS[kind](file, size)):
                    if self._progress is not None and number:
                        self._progress(before + opened.size, total)
                    yield block
                self.digests.append((opened.size, opened.finish()))

    def has_lines(self, source: Source) -> bool:
        """Return whether a file is plain UTF-8 with newlines, so that any lines can be read alone.

        Raises CorpusError where it cannot be read.
        """
        with open_source(source, self._settings.max_expansion) as (opened, content):
            kind, _ = self._kind(source, opened, content)
            plain = kind == "plain" and self._encoding in UTF_8 and not opened.compressed
            return plain and b"\n" in content.peek(_HEAD)

    def _kind(self, source: Source, opened: Opened, content: Chunks) -> tuple[Kind, Chunks]:
        """Return the kind of a file and its content, as UTF-8 with newlines if it is text."""
        settings, named = self._settings, source.kind
        kind = columnar_kind(named, content.peek(_HEAD), settings)
        if kind is None:
            content = self._as_text(opened.name, content)
            kind = named if self._by_name else kind_of(named, content, settings)
        return kind, content

    def _as_text(self, name: str, content: Chunks) -> Chunks:
        """Return the content of a file as UTF-8 with newlines; raises CorpusError if it is none."""
        require_text(name, content.peek(_HEAD), self._encoding)
        if self._encoding not in UTF_8:
            content = Chunks(transcoded(name, content, self._encoding, self._settings.errors))
        head = content.peek(_HEAD)
        return Chunks(newlines(content)) if b"\r" in head and b"\n" not in head else content

    @property
    def size(self) -> int:
        """Bytes of the files as they are stored, once all are read."""
        return sum(size for size, _ in self.digests)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the files' bytes as they are stored, in their order, once all are read."""
        return fingerprint_of(self.digests)


def fingerprint_of(digests: Sequence[tuple[int, str]]) -> str:
    """Return one SHA-256 of the sizes and digests of several files, in their order."""
    return sha256("".join(f"{size} {digest}\n" for size, digest in digests).encode()).hexdigest()
