"""Fail each system call of a save, one at a time, and check what is left.

    python bench/faults.py

Saves a model over another one, a checkpoint over another one, and a file over another one; and
removes a checkpoint. `strace` (Linux) lists the system calls of each and makes one of them fail:
with ENOSPC where it can need space, and with EIO. After each fault: the process has ended with
exit code 0, or with 1 and one error without a traceback; what was saved is the old one or the new
one, complete, and the new one after exit code 0; and the next start leaves no temporary file and
no lock.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from embedcli.config import TrainSettings
from embedcli.errors import EmbedError
from embedcli.model import Model, save_model, verify_model
from embedcli.storage import files
from embedcli.table import EmbeddingTable
from embedcli.text.vocabulary import Vocabulary
from embedcli.training.checkpoint import (
    checkpoint_folder,
    has_checkpoint,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)

# System calls that can fail for want of space; all fail with EIO, too.
NEED_SPACE = {"openat", "mkdir", "write", "pwrite64", "ftruncate", "fsync", "rename", "renameat2"}
# System calls that have nothing to do with files, or cannot fail so in practice.
PASSED_OVER = {
    "access", "brk", "clone", "close", "exit_group", "futex", "getpid", "getrandom", "gettid",
    "ioctl", "madvise", "mmap", "mprotect", "mremap", "munmap", "rt_sigaction", "rt_sigprocmask",
    "sched_getaffinity", "set_robust_list",
}  # fmt: skip
BEGIN, END = "/embed-save-begins", "/embed-save-ends"
CALL = re.compile(r"(\w+)\(")
PR_SET_PTRACER, ANY_PROCESS = 0x59616D61, -1  # allow strace to attach; see prctl(2)


@dataclass(frozen=True)
class Scene:
    """Something that is saved: over what, how, and how one tells what is there."""

    prepare: Callable[[Path], None]
    save: Callable[[Path], None]
    found: Callable[[Path], object]  # raises EmbedError for what is not complete
    expected: tuple[object, object]  # the old one and the new one
    next_start: Callable[[Path], object]
    left: set[str]  # names that may be left after the next start


@dataclass
class Tally:
    """What was done and seen."""

    faults: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    swept: int = 0  # faults after which the next start had something to remove
    broken: list[str] = field(default_factory=list)


def make_model(seed: int) -> Model:
    """Return a model whose table has more than a block of bytes."""
    rng = np.random.default_rng(seed)
    words, ones = [f"w{number}" for number in range(3000)], np.ones(3000, np.int64)
    rows = rng.random((3000, 8), np.float32)
    return Model(
        table=EmbeddingTable(Vocabulary(words, ones), rows),
        settings=TrainSettings(dim=8),
        head={"output": rows},
        labels=("a", "b"),
        trained=ones,
        first_lines=ones,
        log=[{"epoch": 1}],
    )


def save_models(folder: Path, *seeds: int) -> None:
    """Save models over one another."""
    for seed in seeds:
        with files.Lock(folder / "m"):
            save_model(folder / "m", make_model(seed))


def found_model(folder: Path) -> object:
    """Return the number of the model that is there, every byte of it checked."""
    if (folder / "m.previous").exists():
        verify_model(folder / "m.previous")
    vectors = verify_model(files.current_path(folder / "m")).table.vectors
    return next(n for n in range(3) if np.array_equal(vectors, make_model(n).table.vectors))


def save_checkpoints(folder: Path, *steps: int) -> None:
    """Write checkpoints over one another."""
    with files.Lock(folder / "m"):
        has_checkpoint(folder / "m")
        for step in steps:
            save_checkpoint(folder / "m", {"table": np.ones((3000, 8))}, {"step": step})


def found_checkpoint(folder: Path) -> object:
    """Return the step of the checkpoint that is there; 0 for none."""
    state = checkpoint_folder(folder / "m") / "state"
    if not files.current_path(state).exists():
        return 0
    if not state.exists():  # in the gap of two renames, which the next start closes
        return 1
    return load_checkpoint(folder / "m")[1]["step"]


def remove(folder: Path) -> None:
    """Remove the checkpoint, as the end of a run does."""
    with files.Lock(folder / "m"):
        remove_checkpoint(folder / "m")


def next_run(folder: Path) -> None:
    """Do what every training does first."""
    with files.Lock(folder / "m"):
        has_checkpoint(folder / "m")


def save_file(folder: Path, *contents: bytes) -> None:
    """Write a file over itself."""
    for content in contents:
        with files.atomic_write(folder / "v.txt") as out:
            out.write(content * 100_000)


def found_file(folder: Path) -> object:
    """Return the bytes that the file holds again and again."""
    data = (folder / "v.txt").read_bytes()
    return bytes([data[0]]) if data == data[:1] * 100_000 else data


SCENES = {
    "model": Scene(
        prepare=lambda folder: save_models(folder, 0, 1),
        save=lambda folder: save_models(folder, 2),
        found=found_model,
        expected=(1, 2),
        next_start=next_run,
        left={"m", "m.previous"},
    ),
    "second model": Scene(
        prepare=lambda folder: save_models(folder, 1),
        save=lambda folder: save_models(folder, 2),
        found=found_model,
        expected=(1, 2),
        next_start=next_run,
        left={"m", "m.previous"},
    ),
    "checkpoint": Scene(
        prepare=lambda folder: save_checkpoints(folder, 1),
        save=lambda folder: save_checkpoints(folder, 2),
        found=found_checkpoint,
        expected=(1, 2),
        next_start=next_run,
        left={"m.checkpoint", "state"},
    ),
    "removal": Scene(
        prepare=lambda folder: save_checkpoints(folder, 1),
        save=remove,
        found=found_checkpoint,
        expected=(1, 0),
        next_start=next_run,
        left={"m.checkpoint", "state"},
    ),
    "file": Scene(
        prepare=lambda folder: save_file(folder, b"1"),
        save=lambda folder: save_file(folder, b"2"),
        found=found_file,
        expected=(b"1", b"2"),
        next_start=lambda folder: files.sweep(folder / "v.txt"),
        left={"v.txt"},
    ),
}


def child(name: str, folder: Path) -> int:
    """Save elsewhere, so that nothing is left to import; wait for a line; save between marks."""
    import ctypes

    with tempfile.TemporaryDirectory() as warm_up:
        SCENES[name].prepare(Path(warm_up))
        SCENES[name].save(Path(warm_up))
    if hasattr(ctypes.CDLL(None), "prctl"):
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY_PROCESS, 0, 0, 0)
    print("ready", flush=True)
    sys.stdin.readline()
    os.access(BEGIN, os.F_OK)
    try:
        SCENES[name].save(folder)
    except (EmbedError, OSError) as error:  # as the command line does
        sys.stderr.write(f"error: {error}\n")
        return 1
    finally:
        os.access(END, os.F_OK)
    return 0


def run(name: str, folder: Path, trace: Path, *options: str) -> tuple[int, str]:
    """Run the child with strace attached to its save; returns its exit code and stderr."""
    command = [sys.executable, __file__, "--child", name, str(folder)]
    with subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        strace = ["strace", "-qq", "-o", str(trace), *options, "-p", str(process.pid)]
        with subprocess.Popen(strace, stderr=subprocess.PIPE, text=True) as tracer:
            while not re.search(r"TracerPid:\t[1-9]", _status(process.pid)):
                if tracer.poll() is not None and tracer.stderr is not None:
                    raise SystemExit(f"strace: {tracer.stderr.read()}")
                time.sleep(0.002)
            _, err = process.communicate("go\n", timeout=120)
    return process.returncode, err


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def system_calls(trace: Path) -> Iterator[tuple[str, int]]:
    """Yield name and number, counted from the first of that name, of the calls of the save."""
    counts: Counter[str] = Counter()
    saving = False
    for line in trace.read_text(errors="replace").splitlines():
        call = CALL.match(line)
        if call is None:
            continue
        counts[call[1]] += 1
        if END in line:
            return
        if saving and call[1] not in PASSED_OVER:
            yield call[1], counts[call[1]]
        saving |= BEGIN in line


def check(scene: Scene, folder: Path, code: int, err: str) -> tuple[str, bool]:
    """Return what is wrong after a fault, or nothing; and whether something was left to sweep."""
    if code not in (0, 1) or "Traceback" in err:
        return f"exit {code}: {err}", False
    try:
        found = scene.found(folder)
    except (EmbedError, OSError) as error:
        return f"exit {code}, then: {error}", False
    if found not in scene.expected or (code == 0 and found != scene.expected[1]):
        return f"exit {code}, and {found!r} is there", False
    swept = bool({path.name for path in folder.rglob("*")} - _within(folder) - scene.left)
    scene.next_start(folder)
    if scene.found(folder) != found:
        return "the next start changed what is there", swept
    left = {path.name for path in folder.rglob("*")} - _within(folder) - scene.left
    return (f"left by the next start: {sorted(left)}" if left else ""), swept


def _within(folder: Path) -> set[str]:
    """Return the names of files inside of bundles."""
    bundles = ("m", "m.previous", "m.checkpoint/state")
    return {path.name for each in bundles for path in (folder / each).glob("*")}


def torment(folder: Path, names: Sequence[str], every: int, tally: Tally) -> None:
    """Fail every system call of the scenes, or some, and count what was seen."""
    for name in names:
        scene = SCENES[name]
        ready, place, trace = folder / f"{name} ready", folder / name, folder / "trace"
        ready.mkdir()
        scene.prepare(ready)
        shutil.copytree(ready, place)
        code, err = run(name, place, trace)
        if code:
            raise SystemExit(f"without a fault: exit {code}\n{err}")
        for call, number in list(system_calls(trace))[::every]:
            for error in ("ENOSPC", "EIO") if call in NEED_SPACE else ("EIO",):
                shutil.rmtree(place)
                shutil.copytree(ready, place)
                code, err = run(
                    name, place, trace, "-e", f"inject={call}:error={error}:when={number}"
                )
                wrong, swept = check(scene, place, code, err)
                injected = [line for line in trace.read_text().splitlines() if "(INJECTED)" in line]
                fault = f"{name}: {error} at {injected[0] if injected else call}"
                if not injected:
                    wrong = "the fault was not injected"
                if wrong:
                    tally.broken.append(f"{fault}\n    {wrong}")
                    print(tally.broken[-1], flush=True)
                tally.faults[f"{name}: {call}"] += 1
                tally.codes[code] += 1
                tally.swept += swept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument("--every", type=int, default=1, help="fail only each n-th system call")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        sys.exit(child(asked.child[0], Path(asked.child[1])))
    tally, started = Tally(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="embed-faults-") as folder:
        torment(Path(folder), asked.what, asked.every, tally)
    for name, count in sorted(tally.faults.items()):
        print(f"{count:5}  {name}")
    print(f"{sum(tally.faults.values()):5}  faults; exit codes {dict(tally.codes)}")
    print(f"{tally.swept:5}  left something that the next start removed")
    print(f"{len(tally.broken):5}  broke a promise; {time.monotonic() - started:.0f} s")
    if asked.json:
        asked.json.write_text(json.dumps(vars(tally), indent=1) + "\n")
    sys.exit(bool(tally.broken))


if __name__ == "__main__":
    main()
