"""One input: some files and what is done with them, and what must hold of it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from unittest import mock

import numpy as np

from embedcli import evaluation, formats
from embedcli.cli import main
from embedcli.config import TextSettings, TrainSettings, resolve
from embedcli.errors import EmbedError
from embedcli.formats.base import Options
from embedcli.model import load_model, verify_model
from embedcli.text.encode import EncodedCorpus, encode
from embedcli.text.labels import ClassTargets, LabelKind
from embedcli.text.phrases import Phrases
from embedcli.text.vocabulary import Vocabulary
from embedcli.training.run import Checkpoint
from embedcli.tuning import read_space
from embedcli.views import terminal

SECONDS = 5  # of computing that one input may take
MEMORY = 1 << 20  # KiB that the process may ever hold
LONGEST_MESSAGE = 1200
LEFTOVER = re.compile(r"\..*\.(tmp|lock|replaced)")
LINK = re.compile(rb"->[^\0]{1,200}", re.DOTALL)
# Of what a command prints, only this is for programs and has every character as it is; on a
# terminal nothing is.
EXACT = {"--format tsv", "--format csv", "--format tokens", "--format npy"}


@dataclass(frozen=True)
class Case:
    """Files by name (a link is its target after `->`), and a command line or a reader's name."""

    files: Mapping[str, bytes]
    argv: tuple[str, ...] = ()
    stdin: bytes = b""
    terminal: bool = False  # whether standard output says that it is one
    reader: str = ""
    options: Mapping[str, str | int | bool | None] = field(default_factory=dict)

    def dump(self) -> str:
        """Return JSON; bytes stand as Latin-1."""
        record = asdict(self)
        record["files"] = {name: data.decode("latin-1") for name, data in self.files.items()}
        record["stdin"] = self.stdin.decode("latin-1")
        return json.dumps(record, indent=1) + "\n"

    @classmethod
    def load(cls, text: str) -> Case:
        """Read what `dump` wrote."""
        record = json.loads(text)
        record["files"] = {name: data.encode("latin-1") for name, data in record["files"].items()}
        record["stdin"] = record["stdin"].encode("latin-1")
        record["argv"] = tuple(record["argv"])
        return cls(**record)

    def write(self, folder: Path) -> None:
        """Put the files into an empty folder."""
        for name, data in self.files.items():
            path = folder / name
            if "/" in name:
                path.parent.mkdir(parents=True, exist_ok=True)
            if LINK.fullmatch(data):
                path.symlink_to(os.fsdecode(data[2:]))
            else:
                path.write_bytes(data)


class BrokenPromiseError(AssertionError):
    """What must hold did not."""


class TookTooLong(BaseException):
    """Raised in what takes longer than it may."""


class Box:
    """A place in which cases are run one after the other; the process's own while it is open."""

    def __init__(self, folder: Path) -> None:
        self.case, self.tmp, self.cache = folder / "case", folder / "tmp", folder / "cache"
        self._single: Path | None = None  # the only file there is, after a reader's case
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Box:
        self.tmp.mkdir()
        places = {"TMPDIR": str(self.tmp), "EMBED_CACHE": str(self.cache)}
        self._stack.callback(os.chdir, Path.cwd())
        # Without colours every escape character is a fault.
        self._stack.enter_context(mock.patch.dict(os.environ, {**places, "NO_COLOR": "1"}))
        self._stack.enter_context(mock.patch.object(tempfile, "tempdir", None))
        self._stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("error")
        for number in (signal.SIGPROF, signal.SIGALRM):
            before = signal.signal(number, _stop)
            self._stack.callback(signal.signal, number, before)
        return self

    def __exit__(self, *_: object) -> None:
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        self._stack.close()

    def check(self, case: Case) -> str:
        """Run a case in this process; returns what the end was.

        Raises BrokenPromiseError, with the traceback if there was one.
        """
        self._lay_out(case)
        for timer, seconds in _TIMERS.items():
            signal.setitimer(timer, seconds)
        try:
            end = _read(case, self.tmp) if case.reader else _command(case)
        except TookTooLong as late:
            raise BrokenPromiseError(f"over {SECONDS} s\n{_traceback(late)}") from None
        except Exception as error:
            raise BrokenPromiseError(_traceback(error)) from None
        if not case.reader:
            self.require_no_leftovers()
        return end

    def check_process(self, case: Case) -> str:
        """Run a case's command line as a process of its own; as `check`."""
        self._lay_out(case)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "embedcli", *case.argv],
            input=case.stdin,
            capture_output=True,
            timeout=60 * SECONDS,  # a machine may have much else to do
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MEMORY << 10,) * 2),
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime > SECONDS:
            raise BrokenPromiseError(f"over {SECONDS} s")
        if after.ru_maxrss > MEMORY:
            raise BrokenPromiseError("more memory than it may")
        piped = replace(case, terminal=False)
        _require_good_end(piped, done.returncode, done.stdout, done.stderr.decode())
        self.require_no_leftovers()
        return f"exit {done.returncode}"

    def _lay_out(self, case: Case) -> None:
        """Put the files of a case, and nothing else, into the folder in which it runs."""
        if self._single and case.reader and len(case.files) == 1:
            # Cheap, as most cases are so: one file takes the place of another.
            self._single.unlink()
        else:
            for folder in (self.case, self.cache):
                shutil.rmtree(folder, ignore_errors=True)
            self.case.mkdir()
            os.chdir(self.case)
        case.write(self.case)
        few = case.reader and len(case.files) == 1
        self._single = self.case / next(iter(case.files)) if few else None

    def require_no_leftovers(self) -> None:
        """Raise BrokenPromiseError where a temporary file was left."""
        left = [str(path) for path in self.tmp.iterdir()]
        for _, folders, names in os.walk(self.case):
            left += [name for name in (*folders, *names) if LEFTOVER.fullmatch(name)]
        if left:
            shutil.rmtree(self.tmp)
            self.tmp.mkdir()
            raise BrokenPromiseError(f"left behind: {', '.join(left)}")


def require_memory() -> None:
    """Raise BrokenPromiseError where this process ever held more memory than it may."""
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > MEMORY:
        raise BrokenPromiseError("more memory than it may")


# Computing is what counts; but what only waits must end too.
_TIMERS = {signal.ITIMER_PROF: SECONDS, signal.ITIMER_REAL: 20 * SECONDS}


def _stop(number: int, frame: object) -> None:
    raise TookTooLong


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


class _Screen(io.TextIOWrapper):
    """A standard stream in memory."""

    terminal = False

    def isatty(self) -> bool:
        return self.terminal


def _stream(data: bytes = b"", *, terminal: bool = False) -> _Screen:
    stream = _Screen(io.BytesIO(data), encoding="utf-8", errors="backslashreplace", newline="")
    stream.terminal = terminal
    return stream


def _command(case: Case) -> str:
    streams = _stream(case.stdin), _stream(terminal=case.terminal), _stream()
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = streams
    try:
        code = main(case.argv)
    except SystemExit as leave:
        raise BrokenPromiseError(f"SystemExit({leave.code!r})") from leave
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
    said = []
    for stream in streams[1:]:
        stream.flush()
        said.append(stream.buffer.getvalue())  # type: ignore[attr-defined]
    _require_good_end(case, code, said[0], said[1].decode())
    return f"exit {code}"


def _require_good_end(case: Case, code: int, out: bytes, err: str) -> None:
    if code not in (0, 1, 2) or "Traceback" in err or "Warning" in err:
        raise BrokenPromiseError(f"exit {code}: {err}")
    if "not enough memory" in err:
        raise BrokenPromiseError(err)
    lines = err.removesuffix("\n").split("\n")
    if code:
        kinds = [line.partition(":")[0] for line in lines]
        if kinds[-1] == "hint":
            kinds.pop()
        if kinds[-1] != "error" or "error" in kinds[:-1] or "hint" in kinds:
            raise BrokenPromiseError(f"not one error and a hint: {err}")
    if max(map(len, lines)) > LONGEST_MESSAGE:
        raise BrokenPromiseError(f"a message of {max(map(len, lines))} characters: {err[:500]}")
    exact = not case.terminal and any(
        flag in " ".join(case.argv).replace("=", " ") for flag in EXACT
    )
    shown = "" if exact else out.decode()
    for text in (shown, err):
        if terminal.visible(text, keep="\n\t") != text:
            raise BrokenPromiseError(f"harmful characters: {text!r}")


def _read(case: Case, tmp: Path) -> str:
    try:
        READERS[case.reader](case, tmp)
    except EmbedError as error:
        for text in (error.message, error.hint or ""):
            if len(text) > LONGEST_MESSAGE or not isinstance(text, str):
                raise BrokenPromiseError(
                    f"a message of {len(text)} characters: {text[:500]}"
                ) from error
        return type(error).__name__
    return "read"


def _vectors(case: Case, tmp: Path) -> None:
    options = Options(**case.options)  # type: ignore[arg-type]
    table = formats.read(Path(next(iter(case.files))), options).table
    if table.vocabulary.tokens(slice(None)) != [*table.vocabulary]:
        raise BrokenPromiseError("words that are not those of their ids")
    if table.rows([len(table) - 1]).shape != (1, table.dim) or table.rows([0]).dtype != np.float32:
        raise BrokenPromiseError("rows of another shape")


def _corpus(case: Case, tmp: Path) -> None:
    options = dict(case.options)
    labels = options.pop("labels", "none")
    work = tmp / "work"
    work.mkdir()
    settings = TextSettings(**options, cache=False, workers=1)  # type: ignore[arg-type]
    try:
        corpus = encode([*case.files], settings, folder=work, labels=labels)  # type: ignore[arg-type]
        if len(corpus.ids) and int(corpus.ids.max()) >= len(corpus.vocabulary):
            raise BrokenPromiseError("an id without a word")
        if len(corpus.vocabulary) != len(corpus.first_lines):
            raise BrokenPromiseError("words without a first line")
    finally:
        shutil.rmtree(work)


def _kept_ids(case: Case, tmp: Path) -> None:
    """Read a text whose ids are kept, and compare with what is read anew."""
    labels: LabelKind = case.options["labels"]  # type: ignore[assignment]
    read = []
    try:
        for cache in (True, False):
            folder = tmp / f"work-{cache}"
            folder.mkdir()
            settings = TextSettings(cache=cache, workers=1)
            read.append(encode(["corpus.txt"], settings, folder=folder, labels=labels))
        # Whoever makes the digests fit says what he likes, but nothing that cannot be true.
        if not case.options["forged"] and _said(read[0]) != _said(read[1]):
            raise BrokenPromiseError("other ids than those of the text")
        if int(read[0].ids.max(initial=0)) >= len(read[0].vocabulary):
            raise BrokenPromiseError("an id without a word")
    finally:
        for cache in (True, False):
            shutil.rmtree(tmp / f"work-{cache}", ignore_errors=True)


def _said(corpus: EncodedCorpus) -> list[object]:
    """Return all that is known of a corpus, in a form that can be compared."""
    found: list[object] = [corpus.fingerprint, corpus.min_count, corpus.vocabulary.to_bytes()]
    arrays = [corpus.ids, corpus.offsets, corpus.first_lines, corpus.vocabulary.counts]
    if isinstance(corpus.targets, ClassTargets):
        found.append(corpus.targets.names)
        arrays += [corpus.targets.ids, corpus.targets.offsets]
    return [*found, *(None if array is None else array.tolist() for array in arrays)]


def _model(case: Case, tmp: Path) -> None:
    with contextlib.suppress(EmbedError):
        verify_model(Path("model"))
    model = load_model(Path("model"))
    model.table.nearest(model.table.rows([0]), 3)


READERS: dict[str, Callable[[Case, Path], object]] = {
    "vectors": _vectors,
    "corpus": _corpus,
    "kept ids": _kept_ids,
    "model": _model,
    "settings": lambda case, _: resolve(TrainSettings, config="config.yaml"),
    "checkpoint": lambda case, _: Checkpoint.load(Path("model")),
    "pairs": lambda case, _: evaluation.read_pairs(Path("pairs")),
    "questions": lambda case, _: evaluation.read_questions(Path("questions")),
    "phrases": lambda case, _: Phrases.read(Path("phrases")),
    "space": lambda case, _: read_space(TrainSettings(task="classify"), Path("space")),
    "vocabulary": lambda case, _: Vocabulary.read(Path("vocab.txt")),
}
