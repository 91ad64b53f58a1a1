"""Seconds to count and encode a text, by this machine and by a Ray node of as many cores.

    python bench/reading.py CORPUS --rounds 3

Bytes that come to this process and go from it are those of the results and of what it puts into
the object store, pickled.
"""

from __future__ import annotations

import argparse
import os
import pickle
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray

from embedcli.config import TrainSettings
from embedcli.parallel import cores
from embedcli.text.encode import encode
from embedcli.training import reading


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    settings = TrainSettings(cache=False, shards=2, task="skipgram")
    ray.init(address="local", num_cpus=cores(), include_dashboard=False, log_to_driver=False)
    came, went = [0], [0]
    put, result = ray.put, reading.result

    def counted_put(value: Any) -> Any:
        went[0] += len(pickle.dumps(value, protocol=5))
        return put(value)

    def counted_result(*given: Any) -> Any:
        found = result(*given)
        came[0] += len(pickle.dumps(found, protocol=5))
        return found

    ray.put, reading.result = counted_put, counted_result
    for _ in range(args.rounds):
        with TemporaryDirectory() as folder:
            began = time.perf_counter()
            here = encode([args.corpus], settings, folder=Path(folder))
            local = time.perf_counter() - began
            came[0] = went[0] = 0
            began = time.perf_counter()
            there = reading.read(
                [str(Path(args.corpus).absolute())],
                settings,
                None,
                Path(folder) / "labelled",
                lambda *_: None,
                print,
            )
            seconds = time.perf_counter() - began
            assert there is not None
            assert here.vocabulary.to_bytes() == there.vocabulary.to_bytes()
            assert (here.fingerprint, len(here.ids)) == (there.fingerprint, len(there.ids))
            print(
                f"local {local:.1f} s, ray {seconds:.1f} s in {len(there.parts)} parts; "
                f"{here.ids.nbytes / 1e6:.1f} MB of ids, {came[0] / 1e6:.1f} MB came here, "
                f"{went[0] / 1e6:.1f} MB went; load {os.getloadavg()[0]:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
