"""Fuzz every reader and every command.

    python -m tests.fuzz --inputs 100000            a round of so many inputs over all targets
    python -m tests.fuzz --inputs 1000 --processes  commands alone, each as a process of its own

An input follows from its target, the seed and its number. What breaks a promise is kept in
`--keep` (a file for each kind of break) and said; mended, it belongs into `tests/fuzz/found`.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import re
import sys
import time
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.fuzz.cases import Box, BrokenPromiseError, Case, require_memory
from tests.fuzz.inputs import TARGETS

PLACE = re.compile(r'File ".*?/(embedcli|numpy|site-packages)/(\S+)", line (\d+)')


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--target", choices=[*TARGETS], action="append")
    parser.add_argument("--processes", action="store_true")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"))
    parser.add_argument("--report", type=Path, help="add what ran to this file of JSON lines")
    chosen = parser.parse_args()
    targets = {name: TARGETS[name] for name in chosen.target or TARGETS}
    if chosen.processes:
        targets = {name: each for name, each in targets.items() if each[1] <= 1000}
    whole = sum(weight for _, weight in targets.values())
    began = time.monotonic()
    broken = 0
    with TemporaryDirectory(prefix="fuzz-") as folder, Box(Path(folder)) as box:
        run = box.check_process if chosen.processes else box.check
        for name, (make, weight) in targets.items():
            ran: collections.Counter[str] = collections.Counter()
            at = time.monotonic()
            slowest = 0.0
            for number in range(round(chosen.inputs * weight / whole)):
                if time.monotonic() - began > chosen.seconds:
                    break
                case = make(Random(f"{name} {chosen.seed} {number}"))
                start = time.process_time()
                try:
                    ran[run(case)] += 1
                    if number % 100 == 99:
                        require_memory()
                        box.require_no_leftovers()
                except BrokenPromiseError as error:
                    ran["broken"] += 1
                    broken += 1
                    _keep(chosen.keep, name, number, case, str(error))
                slowest = max(slowest, time.process_time() - start)
            record = {
                "target": name,
                "seed": chosen.seed,
                "processes": chosen.processes,
                "inputs": sum(ran.values()),
                "ends": dict(ran.most_common()),
                "seconds": round(time.monotonic() - at, 1),
                "slowest": round(slowest, 3),
            }
            print(json.dumps(record), flush=True)
            if chosen.report:
                with chosen.report.open("a") as file:
                    file.write(json.dumps(record) + "\n")
    return 1 if broken else 0


def _keep(folder: Path, target: str, number: int, case: Case, what: str) -> None:
    """Write a case down, unless one that broke at the same place is there already."""
    places = PLACE.findall(what)
    kind = f"{places[-3:]}" if places else re.sub(r"\d+", "", what[:60])
    name = f"{target.replace(' ', '-')}-{hashlib.sha256(kind.encode()).hexdigest()[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / f"{name}.json").exists():
        (folder / f"{name}.json").write_text(case.dump())
        (folder / f"{name}.txt").write_text(f"{target} {number}\n{case.argv}\n{what}\n")
        print(f"{name}: {what.strip().splitlines()[-1][:300]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
