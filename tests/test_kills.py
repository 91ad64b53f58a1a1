"""A few of the kills of `bench/kills.py`, which does hundreds."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "bench/kills.py"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="/proc lists the processes")
@pytest.mark.parametrize(("task", "workers"), [("skipgram", 2), ("classify", 1)])
def test_kills_lose_nothing(task, workers, tmp_path):
    spec = importlib.util.spec_from_file_location("kills", SCRIPT)
    kills = importlib.util.module_from_spec(spec)
    sys.modules["kills"] = kills
    spec.loader.exec_module(kills)
    number = 2 if workers == 1 else 4
    tally = kills.torment(tmp_path, [task], [workers], number, save=tmp_path / "found", lines=400)
    assert sum(tally.kills.values()) >= 2
    assert tally.finished >= 1
