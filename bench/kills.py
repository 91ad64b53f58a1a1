"""Kill training at random moments, resume it, and hold the table against that of a quiet run.

    python bench/kills.py --kills 300

For each task, with one process and with several: a small model is trained undisturbed for its
digest; then the same training is started over and over and killed, each start going on from the
checkpoint of the one before, until one gets through. After every kill: nothing of the run is
alive, the model folder holds the old model or the new one, whole, and the checkpoint opens. After
every run that got through: the digest is the quiet run's, and no file is left beside the model.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embedcli import store

TASKS = ("skipgram", "classify")
# So many that a run takes about a second when it has started.
EPOCHS = {"skipgram": 7, "cbow": 7, "classify": 60, "regress": 60}
BATCH = {"skipgram": 512, "cbow": 512, "classify": 32, "regress": 32}
LINES = 1500
WORKERS = (1, 3)
PATIENCE = 30.0  # seconds after which something that must happen is said not to
# What is done to a run, and how it may then end; 0: it was done just before.
WAYS: dict[str, tuple[int, ...]] = {
    "SIGKILL to all": (-signal.SIGKILL, 0),
    "SIGKILL to the parent": (-signal.SIGKILL, 0),
    "SIGKILL to a worker": (1, 0),
    "SIGTERM": (143, 0),
    "SIGINT": (130, 0),
    "SIGHUP": (129, 0),
    "SIGINT twice": (130, 0),
}
RESUMING = re.compile(r"^resuming at step ([\d,]+) of [\d,]+", re.MULTILINE)


class PromiseError(AssertionError):
    """A promise was broken."""


@dataclass
class Tally:
    """What was done and seen."""

    kills: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    late: int = 0  # came when the run had ended; not counted as kills
    finished: int = 0
    resumed: int = 0
    phases: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """Say it."""
        said = [f"{count:5}  {way}" for way, count in sorted(self.kills.items())]
        said += [f"{count:5}  killed while {phase}" for phase, count in sorted(self.phases.items())]
        said.append(f"{self.late:5}  came too late, and are not counted")
        said.append(f"{self.resumed:5}  starts that went on from a checkpoint")
        said.append(f"{self.finished:5}  runs that got through, all to the quiet run's table")
        return said


class Scene:
    """One task and number of workers, in a folder of its own."""

    def __init__(self, folder: Path, task: str, workers: int, lines: int) -> None:
        self.folder = folder
        self.task = task
        self.workers = workers
        self.model = folder / "model"
        folder.mkdir()
        (folder / "corpus.txt").write_text(_corpus(lines), encoding="utf-8")
        epochs = max(1, EPOCHS[task] * LINES // max(lines, LINES))
        # Ids are made anew by a process that is alone, and of long texts; or taken from the cache.
        anew = workers == 1 or lines > LINES
        self.settings = [
            "--task", task, "--dim", "16", "--epochs", str(epochs),
            "--batch-size", str(BATCH[task]), "--group", "4", "--workers", str(workers),
            "--checkpoint-every", "10", *(["--no-cache"] if anew else []),
        ]  # fmt: skip
        self.environment = {**os.environ, "EMBED_CACHE": str(folder / "cache")}
        self.digest = self.quiet_run("quiet")
        # The model that stands there first; also what says how long a run takes.
        self.seconds = time.monotonic()
        self.quiet_run("model", "--seed", "1")
        self.seconds = time.monotonic() - self.seconds
        self.old = self.found()

    def quiet_run(self, out: str, *more: str) -> str:
        """Train undisturbed; returns the digest."""
        command = self.command("corpus.txt", *self.settings, "--out", out, *more)
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True, **QUIET)
        return store.verify(self.folder / out).digest

    def command(self, *arguments: str) -> list[str]:
        """Return a command line of `embed train`."""
        return [sys.executable, "-m", "embedcli", "train", *arguments]

    def found(self) -> str:
        """Digest of the model in place, every file of it checked."""
        return store.verify(self.model).digest

    def start(self) -> subprocess.Popen[str]:
        """Start the run, or go on with it, in a session of its own."""
        self.before = self.step()
        how = ["--resume"] if self.before is not None else ["corpus.txt", *self.settings]
        return subprocess.Popen(
            self.command(*how, "--out", "model"),
            cwd=self.folder,
            env=self.environment,
            start_new_session=True,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def step(self) -> int | None:
        """Return the step of the checkpoint; None where there is none."""
        if not (store.checkpoint_folder(self.model) / "state.npz").exists():
            return None
        _, state = store.load_checkpoint(self.model)
        return int(state["step"])


QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}


def _corpus(lines: int) -> str:
    """Make a text with labels; every word is met often enough to stay."""
    draw = random.Random(7)
    words = [f"w{number}" for number in range(400)]
    return "".join(
        f"__label__{number % 3} {' '.join(draw.choices(words, k=12))}\n" for number in range(lines)
    )


def disturb(scene: Scene, way: str, moment: float, tally: Tally) -> bool:
    """Start the run and kill it after `moment` seconds; returns whether it got through."""
    process = scene.start()
    before = scene.before
    time.sleep(moment)
    late = process.poll() is not None
    if way.startswith("SIGKILL"):
        _kill(process.pid, way)
    else:
        _wait(lambda: _listens(process.pid) or process.poll() is not None, "signal handlers")
        _stop(process, way)
    try:
        # A worker's death may come too early or too late to be noticed: the run then gets through.
        out, err = process.communicate(timeout=10 * PATIENCE if "worker" in way else PATIENCE)
    except subprocess.TimeoutExpired:
        raise PromiseError(f"{way}, after {moment:.3f} s: the run hangs") from None
    _wait(lambda: not _session(process.pid), f"{way}: the end of every process of the run")
    if late:
        scene.seconds *= 0.9  # the first runs were slower than this one
        tally.late += 1
    else:
        tally.kills[way] += 1
        tally.phases[_phase(out, err)] += 1
    tally.ends[f"{way}: exit {process.returncode}"] += 1
    _require(process.returncode in WAYS[way], f"{way}: exit {process.returncode}\n{err}")
    _require("Traceback" not in err, err)
    _check(scene, process.returncode == 0)
    said = RESUMING.search(err)
    if said:
        tally.resumed += 1
        _require(int(said[1].replace(",", "")) == before, f"{said[0]}, the checkpoint: {before}")
    now = scene.step()
    _require(before is None or now is None or now >= before, f"step {before}, then {now}")
    return process.returncode == 0


def get_through(scene: Scene, tally: Tally) -> None:
    """Let the run end, and check the table and what lies beside it."""
    process = scene.start()
    _, err = process.communicate(timeout=20 * PATIENCE)
    _require(process.returncode == 0, err)
    _check(scene, finished=True)
    tally.resumed += scene.before is not None


def _check(scene: Scene, finished: bool) -> None:
    """Hold the promises against what is on the disk."""
    found = scene.found()
    _require(found in (scene.old, scene.digest), f"a model of digest {found}")
    if not finished:
        return
    _require(found == scene.digest, f"{found}, of the quiet run {scene.digest}")
    left = {entry.name for entry in scene.folder.iterdir()}
    left |= {entry.name for entry in scene.folder.glob("cache/.*")}
    expected = {"corpus.txt", "cache", "quiet", "model", "model.previous"}
    _require(left <= expected, f"left behind: {sorted(left - expected)}")


def _require(kept: bool, message: str) -> None:
    if not kept:
        raise PromiseError(message)


def _kill(pid: int, way: str) -> None:
    targets = _session(pid) if way.endswith("all") else [pid]
    if way.endswith("worker"):
        targets = [each for each in _session(pid) if each != pid][:1]
    for target in targets:
        _send(target, signal.SIGKILL)


def _stop(process: subprocess.Popen[str], way: str) -> None:
    name, _, twice = way.partition(" ")
    for _ in range(2 if twice else 1):
        # As a terminal does: to every process of the group.
        try:
            os.killpg(process.pid, signal.Signals[name])
        except ProcessLookupError:
            return


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _session(leader: int) -> list[int]:
    """List the living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            status = _status(entry)
            if status and int(status[3]) == leader and status[0] not in "ZX":
                found.append(int(entry.name))
    return found


def _status(process: Path) -> list[str]:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _listens(pid: int) -> bool:
    """Whether a process has handlers for the signals that ask it to stop."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)", status, re.MULTILINE)
    return bool(caught) and bool(int(caught[1], 16) & 1 << signal.SIGTERM - 1)


def _phase(out: str, err: str) -> str:
    if out:
        return "ending, and got through"
    return "training" if " words, " in err else "starting and reading"


def _wait(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise PromiseError(f"waited in vain for {what}")
        time.sleep(0.002)


def torment(
    folder: Path,
    tasks: Sequence[str],
    workers: Sequence[int],
    kills: int,
    *,
    ways: Sequence[str] = tuple(WAYS),
    seed: int = 0,
    lines: int = LINES,
) -> Tally:
    """Kill so many runs, dealt to the tasks and numbers of workers in turn; raises PromiseError."""
    draw = random.Random(seed)
    tally = Tally()
    scenes = [Scene(folder / f"{t}-{n}", t, n, lines) for t in tasks for n in workers]
    number = -1
    while sum(tally.kills.values()) < kills:
        number += 1
        scene = scenes[number % len(scenes)]
        fit = [way for way in ways if scene.workers > 1 or not way.endswith("worker")]
        way = fit[number // len(scenes) % len(fit)]
        # Often within the time a run takes, now and then about its end.
        moment = draw.uniform(0, scene.seconds * draw.choice((0.6, 1, 1.1)))
        through = disturb(scene, way, moment, tally)
        tally.finished += through
        if not through and draw.random() < 0.3:
            get_through(scene, tally)
            tally.finished += 1
    for scene in scenes:
        get_through(scene, tally)
        tally.finished += 1
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--workers", nargs="+", type=int, default=WORKERS)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), help="some of the kills alone")
    parser.add_argument("--lines", type=int, default=LINES, help="of the text")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    asked = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="embed-kills-") as folder:
        tally = torment(
            Path(folder),
            asked.tasks,
            asked.workers,
            asked.kills,
            ways=asked.ways,
            seed=asked.seed,
            lines=asked.lines,
        )
    print("\n".join(tally.lines()))
    print(f"nothing lost; {time.monotonic() - started:.0f} s")
    if asked.json:
        figures = {**vars(tally), "seconds": round(time.monotonic() - started)}
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
