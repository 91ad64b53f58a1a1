"""Kill training at random moments, resume it, and compare the table with an undisturbed run's.

    python bench/kills.py --kills 300

For each task, with one process and with several: a small model is trained undisturbed for its
digest. Then the same training is started and killed, again and again; each start resumes from the
checkpoint of the one before, until one finishes. After every kill, no process of the run is alive,
the model folder holds the old model or the new one, complete, and the checkpoint can be read. After
every run that finished, the digest is that of the undisturbed run, and no temporary file is left.

Only kills of runs that then did not finish are counted, until there are `--kills`. Of a run that
hangs, the state of its processes is saved in `--save`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embedcli.model import verify_model
from embedcli.training.checkpoint import checkpoint_folder, load_checkpoint

TASKS = ("skipgram", "cbow", "classify")
# So many that a run takes about a second when it has started.
EPOCHS = {"skipgram": 7, "cbow": 7, "classify": 60, "regress": 60}
BATCH = {"skipgram": 512, "cbow": 512, "classify": 32, "regress": 32}
LINES = 1500
WORKERS = (1, 3)
PATIENCE = 600.0  # seconds after which a run counts as hanging: some hundred times what it takes
# What is done to a run, and how it may then end; 0: it was done just before.
# Where the interrupt comes while a module is loaded and passes through `exec` of a string, as
# dataclasses have, CPython itself ends by the signal; a shell tells that as 130 too.
BY_SIGINT = (130, -signal.SIGINT, 0)
WAYS: dict[str, tuple[int, ...]] = {
    "SIGKILL to all": (-signal.SIGKILL, 0),
    "SIGKILL to the parent": (-signal.SIGKILL, 0),
    "SIGKILL to a worker": (1, 0),
    "SIGTERM": (143, 0),
    "SIGINT": BY_SIGINT,
    "SIGHUP": (129, 0),
    "SIGINT twice": BY_SIGINT,
}
RESUMING = re.compile(r"^resuming at step ([\d,]+) of [\d,]+", re.MULTILINE)


class PromiseError(AssertionError):
    """A promise was broken."""


@dataclass
class Tally:
    """Counts of kills and of what followed them."""

    kills: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    scenes: Counter[str] = field(default_factory=Counter)
    late: int = 0  # came when the run had ended or was about to; not counted as kills
    finished: int = 0
    resumed: int = 0
    phases: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """Return the counts as lines of text."""
        lines = [f"{count:5}  {way}" for way, count in sorted(self.kills.items())]
        lines += [f"{count:5}  kills of {scene}" for scene, count in sorted(self.scenes.items())]
        lines += [
            f"{count:5}  killed while {phase}" for phase, count in sorted(self.phases.items())
        ]
        lines.append(f"{self.late:5}  came too late, and are not counted")
        lines.append(f"{self.resumed:5}  starts that resumed from a checkpoint")
        lines.append(
            f"{self.finished:5}  runs that finished, all with the table of the undisturbed run"
        )
        return lines


class Scene:
    """One task and number of workers, in a folder of its own."""

    def __init__(self, folder: Path, task: str, workers: int, lines: int) -> None:
        self.folder = folder
        self.name = f"{task}, {workers} workers"
        self.workers = workers
        self.model = folder / "model"
        self.lock = folder / ".model.lock"
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
        self.quiet_run("model", "--seed", "1")  # what stands there first
        self.old = self.found()
        self.seconds = self.time_run()
        self.quiet_run("model", "--seed", "1")

    def quiet_run(self, out: str, *more: str) -> str:
        """Train undisturbed; returns the digest."""
        command = self.command("corpus.txt", *self.settings, "--out", out, *more)
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True, **QUIET)
        return verify_model(self.folder / out).digest

    def time_run(self) -> float:
        """Return the seconds a run takes from where it takes its lock."""
        process = self.start()
        self.await_lock(process)
        began = time.monotonic()
        _, err = process.communicate()
        _require(process.returncode == 0, err)
        return time.monotonic() - began

    def await_lock(self, process: subprocess.Popen[str]) -> None:
        """Wait until a run has taken its lock; before that it changes nothing on the disk."""
        holder = str(process.pid)
        _wait(lambda: _text(self.lock) == holder or process.poll() is not None, "the lock")

    def command(self, *arguments: str) -> list[str]:
        """Return a command line of `embed train`."""
        return [sys.executable, "-m", "embedcli", "train", *arguments]

    def found(self) -> str:
        """Digest of the model in place, every file of it checked."""
        return verify_model(self.model).digest

    def start(self) -> subprocess.Popen[str]:
        """Start or resume the run, in a session of its own."""
        self.before = self.step()
        how = ["--resume"] if self.before is not None else ["corpus.txt", *self.settings]
        return subprocess.Popen(
            self.command(*how, "--out", "model"),
            cwd=self.folder,
            env=self.environment,
            start_new_session=True,
            preexec_fn=_heed_signals,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def step(self) -> int | None:
        """Return the step of the checkpoint; None where there is none."""
        if not (checkpoint_folder(self.model) / "state/manifest.json").exists():
            return None
        _, state = load_checkpoint(self.model)
        return int(state["step"])


def _heed_signals() -> None:
    """Restore the signal handlers that nohup and background jobs replace."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}


def _corpus(lines: int) -> str:
    """Return a text with labels, whose words are all frequent enough to be kept."""
    draw = random.Random(7)
    words = [f"w{number}" for number in range(400)]
    return "".join(
        f"__label__{number % 3} {' '.join(draw.choices(words, k=12))}\n" for number in range(lines)
    )


def disturb(scene: Scene, way: str, draw: random.Random, tally: Tally, save: Path) -> bool:
    """Start the run and kill it at a random moment; returns whether it finished."""
    process = scene.start()
    before = scene.before
    with _saved_if_it_hangs(process, scene, way, save):
        # Mostly while there is something to lose, and now and then about the end of the run.
        if draw.random() < 0.9:
            scene.await_lock(process)
        if "worker" in way:
            _wait(lambda: _workers(process.pid) or process.poll() is not None, "workers")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0, scene.seconds * draw.choice((0.6, 1, 1.1))))
        _end(process, way)
        err = _outcome(process)
    through = process.returncode == 0
    if through:
        scene.seconds *= 0.9  # the first runs were slower than this one
        tally.late += 1
    else:
        tally.kills[way] += 1
        tally.scenes[scene.name] += 1
        tally.phases["training" if " words, " in err else "starting and reading"] += 1
    tally.ends[f"{way}: exit {process.returncode}"] += 1
    _require(process.returncode in WAYS[way], f"{way}: exit {process.returncode}\n{err}")
    _require("Traceback" not in err, err)
    _check(scene, through)
    said = RESUMING.search(err)
    if said:
        tally.resumed += 1
        _require(int(said[1].replace(",", "")) == before, f"{said[0]}, the checkpoint: {before}")
    now = scene.step()
    _require(before is None or now is None or now >= before, f"step {before}, then {now}")
    return through


def get_through(scene: Scene, tally: Tally, save: Path) -> None:
    """Let the run finish, and check the table and the files beside it."""
    process = scene.start()
    with _saved_if_it_hangs(process, scene, "undisturbed", save):
        err = _outcome(process)
    _require(process.returncode == 0, err)
    _check(scene, finished=True)
    tally.resumed += scene.before is not None


def _outcome(process: subprocess.Popen[str]) -> str:
    """Wait for the end of a run and of all its processes; returns its stderr."""
    _, err = process.communicate(timeout=PATIENCE)
    _wait(lambda: not _session(process.pid), "the end of every process of the run")
    return err


@contextlib.contextmanager
def _saved_if_it_hangs(
    process: subprocess.Popen[str], scene: Scene, what: str, save: Path
) -> Iterator[None]:
    """Save the state of a run that hangs, and end it."""
    try:
        yield
    except (subprocess.TimeoutExpired, PromiseError) as late:
        save = save / scene.folder.name
        _save_what_happens(process, scene, save)
        for pid in _session(process.pid):
            _send(pid, signal.SIGKILL)
        raise PromiseError(f"{what}: {late}; what the run did is in {save}") from None


def _save_what_happens(process: subprocess.Popen[str], scene: Scene, save: Path) -> None:
    """Save the state of every process of a run, and copy its files."""
    save.mkdir(parents=True, exist_ok=True)
    shutil.copytree(scene.folder, save / "files", dirs_exist_ok=True, symlinks=True)
    spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for pid in _session(process.pid):
        found = [f"{name}: {_text(Path(f'/proc/{pid}/{name}'))}" for name in SEEN]
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(f"{descriptor.name} -> {descriptor.readlink()}")
        if spy:
            done = subprocess.run(
                [spy, "dump", "--pid", str(pid)], capture_output=True, text=True, check=False
            )
            found.append(done.stdout + done.stderr)
        (save / f"{pid}.txt").write_text("\n".join(found))


SEEN = ("cmdline", "status", "wchan", "syscall", "stack")  # of /proc/PID


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        return str(error)


def _check(scene: Scene, finished: bool) -> None:
    """Check what is on the disk."""
    found = scene.found()
    _require(found in (scene.old, scene.digest), f"a model of digest {found}")
    if not finished:
        return
    _require(found == scene.digest, f"{found}, of the undisturbed run {scene.digest}")
    left = {entry.name for entry in scene.folder.iterdir()}
    left |= {entry.name for entry in scene.folder.glob("cache/.*")}
    expected = {"corpus.txt", "cache", "quiet", "model", "model.previous"}
    _require(left <= expected, f"left behind: {sorted(left - expected)}")


def _require(kept: bool, message: str) -> None:
    if not kept:
        raise PromiseError(message)


def _end(process: subprocess.Popen[str], way: str) -> None:
    """Kill a run, or ask it to stop."""
    if way == "SIGKILL to a worker":
        for target in _workers(process.pid)[:1]:
            _send(target, signal.SIGKILL)
    elif way.startswith("SIGKILL"):
        for target in _session(process.pid) if way.endswith("all") else [process.pid]:
            _send(target, signal.SIGKILL)
    else:
        _wait(lambda: _listens(process.pid) or process.poll() is not None, "signal handlers")
        name, _, twice = way.partition(" ")
        for _ in range(2 if twice else 1):
            with contextlib.suppress(ProcessLookupError):
                # As a terminal does: to every process of the group.
                os.killpg(process.pid, signal.Signals[name])


def _workers(leader: int) -> list[int]:
    return [pid for pid in _session(leader) if pid != leader]


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
    save: Path,
    ways: Sequence[str] = tuple(WAYS),
    seed: int = 0,
    lines: int = LINES,
) -> Tally:
    """Kill so many runs, of each task and number of workers in turn; raises PromiseError."""
    draw = random.Random(seed)
    tally = Tally()
    scenes = [Scene(folder / f"{t}-{n}", t, n, lines) for t in tasks for n in workers]
    number = -1
    while sum(tally.kills.values()) < kills:
        number += 1
        scene = scenes[number % len(scenes)]
        fit = [way for way in ways if scene.workers > 1 or not way.endswith("worker")]
        way = fit[number // len(scenes) % len(fit)]
        through = disturb(scene, way, draw, tally, save)
        tally.finished += through
        if not through and draw.random() < 0.3:
            get_through(scene, tally, save)
            tally.finished += 1
    for scene in scenes:
        get_through(scene, tally, save)
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
    parser.add_argument("--save", type=Path, default=Path("kills-found"), help="of runs that hang")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    asked = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="embed-kills-") as folder:
        tally = torment(
            Path(folder),
            asked.tasks,
            asked.workers,
            asked.kills,
            save=asked.save,
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
