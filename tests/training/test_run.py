"""Runs that stop and go on, find no room or another text: what docs/reliability.md promises."""

import errno
import hashlib
import io
import json
import os
import resource
import signal
import socket
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import embedcli
from embedcli import parallel
from embedcli.errors import ConfigError, CorpusError, EmbedError, StoreError, WorkerError
from embedcli.model import verify_model
from embedcli.storage import bundle
from embedcli.training import checkpoint, run
from embedcli.training.checkpoint import load_checkpoint, save_checkpoint
from embedcli.training.loop import Training

TEXT = "".join(
    f"__label__{number % 3} w{number % 7} w{number % 5} w{number * number % 11} and more\n"
    for number in range(120)
)
SETTINGS = {"task": "classify", "dim": 5, "epochs": 6, "batch_size": 8, "group": 4}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def train(corpus: Path, tmp_path: Path) -> Callable[..., run.Trained]:
    """Train with settings of which some are others."""

    def go(out: str = "m", text: object = corpus, **other: object) -> run.Trained:
        return embedcli.train(text, tmp_path / out, **{**SETTINGS, **other})

    return go


@pytest.fixture
def stop(train: Callable[..., run.Trained]) -> Callable[..., None]:
    """Train, and stop after so many groups of batches."""

    def go(groups: int, **other: object) -> None:
        asked = iter([False] * (groups - 1))
        with pytest.raises(run.Stopped):
            train(stop=lambda: next(asked, True), **other)

    return go


def resume(tmp_path: Path, text: object = None, **settings: object) -> run.Trained:
    return embedcli.train(text, tmp_path / "m", resume=True, **settings)


def left(tmp_path: Path) -> set[str]:
    return {entry.name for entry in tmp_path.iterdir()}


VARIANTS = {
    "classify": {},
    "adam": {"optimizer": "adam", "schedule": "linear", "warmup": 0.2},
    "hidden": {"hidden": 4, "dropout": 0.5, "optimizer": "sgd", "momentum": 0.9},
    "regress": {"task": "regress", "optimizer": "rmsprop"},
    "ngrams": {"word_ngrams": 3, "buckets": 101, "valid_share": 0.2},
    "patience": {"valid_share": 0.3, "patience": 3, "lr": 0.5, "epochs": 12},
    "skipgram": {"task": "skipgram", "batch_size": 64},
    "cbow": {"task": "cbow", "batch_size": 64},
    "subwords": {"task": "skipgram", "batch_size": 64, "min_n": 1, "max_n": 3},
    "subwords adam": {"task": "cbow", "batch_size": 64, "max_n": 3, "optimizer": "adam"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_stopped_anywhere_and_resumed_the_table_is_the_same(variant, train, stop, tmp_path):
    settings = VARIANTS[variant]
    whole = train("whole", **settings)
    steps = []
    train("counted", report=steps.append, **settings)
    steps = steps[1:]  # the first says what the run starts from
    for number in {1, len(steps) // 3, len(steps) // 2, len(steps) - 1}:
        stop(number, **settings)
        events = []
        resumed = resume(tmp_path, report=events.append)
        assert events[0].resumed == (number, steps[0].total)
        assert events[1].number == number + 1
        names = left(tmp_path / "whole") - {"config.yaml", "manifest.json"}
        assert {"table.npy", "trained.npy", "log.jsonl"} < names
        for name in names:
            there = (tmp_path / "whole" / name).read_bytes()
            assert (tmp_path / "m" / name).read_bytes() == there, name
        assert resumed.digest == whole.digest
    assert left(tmp_path) == {"corpus.txt", "whole", "counted", "m", "m.previous"}


def test_the_table_is_the_same_for_any_workers_with_or_without_cache_stopped_or_not(
    train, stop, tmp_path
):
    found = {train(workers=1, cache=False).digest}
    for number in (1, 2, 3):
        found.add(train(workers=number, group=4).digest)
        stop(5, workers=number, cache=number == 2)
        found.add(resume(tmp_path, workers=4 - number).digest)
    assert len(found) == 1


@pytest.mark.parametrize(
    "variant", ["adam", "hidden", "flatten", "regress", "ngrams", "skipgram", "cbow", "subwords"]
)
def test_two_workers_learn_what_one_does(variant, train):
    settings = {"flatten": {"pool": "flatten", "length": 4}, **VARIANTS}[variant]
    runs = [train(workers=number, **{**settings, "epochs": 8}) for number in (1, 2)]
    one, two = ({**each.log[-1], "digest": each.digest} for each in runs)
    assert one == two


def test_vectors_that_are_gone_are_not_needed_to_go_on(train, stop, tmp_path):
    (tmp_path / "v.txt").write_text("2 5\nand 1 2 3 4 5\nmore 5 4 3 2 1\n")
    given = {"vectors": str(tmp_path / "v.txt"), "freeze": "found"}
    whole = train("whole", **given)
    stop(3, **given)
    (tmp_path / "v.txt").unlink()
    resumed = resume(tmp_path)
    assert resumed.digest == whole.digest
    assert resumed.table["and"].tolist() == [1, 2, 3, 4, 5]


def test_a_run_can_be_stopped_again_and_again(train, stop, tmp_path):
    whole = train("whole")
    stop(1)
    for _ in range(4):
        with pytest.raises(run.Stopped):
            resume(tmp_path, stop=lambda: True)
    assert resume(tmp_path).digest == whole.digest


def test_an_interrupt_in_the_middle_of_a_step_keeps_what_is_whole(
    train, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    whole = train("whole")
    compute = Training._compute

    def interrupted(self, *batch):
        if (self.state.epoch, self.state.group) == (3, 2):
            raise KeyboardInterrupt
        compute(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_compute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(workers=1)
    events = []
    assert resume(tmp_path, report=events.append).digest == whole.digest
    assert events[0].resumed == (3 * 4 + 2, 6 * 4)


def test_an_interrupt_while_rows_change_leaves_the_checkpoint_before(
    train, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    whole = train("whole")
    update = Training._update

    def interrupted(self, *part):
        update(self, *part)
        if self.state.epoch == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(workers=1, checkpoint_every="5")
    events = []
    assert resume(tmp_path, report=events.append).digest == whole.digest
    assert events[0].resumed == (10, 24)


def test_a_worker_that_dies_is_one_error_and_the_run_goes_on(
    train, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    fork, pids = parallel.fork_worker, []
    monkeypatch.setattr(parallel, "fork_worker", lambda serve: pids.append(fork(serve)) or pids[-1])

    def kill(event: object) -> None:
        if getattr(event, "number", 0) == 9:
            os.kill(pids[0], signal.SIGKILL)

    with pytest.raises(WorkerError, match=r"worker 1 died \(signal 9\)") as caught:
        train(workers=2, batch_size=4, report=kill)
    assert "embed train --resume" in str(caught.value.hint)
    assert not (tmp_path / "m").exists()
    events = []
    assert resume(tmp_path, report=events.append).digest == train("other", batch_size=4).digest
    assert events[0].resumed == (9, 48)


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.ENOSPC, "full")])
def test_a_run_of_which_nobody_hears_any_more_is_kept(train, tmp_path, error):
    def say(event: object) -> None:
        if getattr(event, "number", 0) == 9:
            raise error

    with pytest.raises(OSError) as caught:
        train(report=say)
    assert caught.value is error
    events = []
    assert resume(tmp_path, report=events.append).digest == train("whole").digest
    assert events[0].resumed == (9, 24)


def test_a_run_of_whose_end_nobody_hears_is_saved(train, tmp_path):
    def say(event: object) -> None:
        if getattr(event, "number", 0) == 24:
            raise BrokenPipeError

    train(report=say)
    assert left(tmp_path) == {"corpus.txt", "m"}


def test_a_system_without_room_for_a_process_is_one_error(
    train, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    def refused() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socketpair", refused)
        with pytest.raises(WorkerError, match="Too many open files") as caught:
            train(workers=2, batch_size=4)
    assert "fewer --workers; then embed train --resume" in str(caught.value.hint)
    assert resume(tmp_path, workers=1).digest == train("whole", batch_size=4).digest


def test_a_mount_is_refused_before_the_work(train, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os.path, "ismount", lambda _: True)
    with pytest.raises(StoreError, match="mounted here") as caught:
        train()
    assert str(caught.value.hint).endswith(str(tmp_path / "m/model"))


def test_settings_that_change_the_table_cannot_change_on_the_way(stop, tmp_path):
    stop(4)
    with pytest.raises(ConfigError, match=r"found dim 6, lr 0.5; .* has dim 5, lr .auto."):
        resume(tmp_path, dim=6, lr=0.5, epochs=6)
    (tmp_path / "other.yaml").write_text("batch_size: 9\n")
    with pytest.raises(ConfigError, match="batch_size"):
        resume(tmp_path, config=tmp_path / "other.yaml")
    with pytest.raises(ConfigError, match="no such setting"):
        resume(tmp_path, dimm=6)
    resume(tmp_path, dim=5, workers=2, checkpoint_every="off", cache=False)


def test_the_text_must_be_the_same_wherever_it_lies(train, stop, corpus, tmp_path):
    whole = train("whole")
    stop(4)
    corpus.write_text(TEXT + "__label__1 one line more\n")
    with pytest.raises(CorpusError, match=r"corpus\.txt was written since \([\d,]+ bytes, before"):
        resume(tmp_path)
    corpus.unlink()
    with pytest.raises(CorpusError, match=r"corpus\.txt"):
        resume(tmp_path)
    (tmp_path / "moved.txt").write_text(TEXT)
    assert resume(tmp_path, tmp_path / "moved.txt").digest == whole.digest


def test_a_folder_with_a_file_more_is_another_text(stop, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text(TEXT)
    stop(4, text=tmp_path / "texts")
    (tmp_path / "texts/b.txt").write_text(TEXT)
    with pytest.raises(CorpusError, match=r"b\.txt is new"):
        resume(tmp_path)


def test_other_stop_words_are_noticed(stop, tmp_path):
    (tmp_path / "stop.txt").write_text("and\n")
    stop(4, stop_words=str(tmp_path / "stop.txt"))
    (tmp_path / "stop.txt").write_text("more\n")
    with pytest.raises(CorpusError, match="other words"):
        resume(tmp_path)


def test_a_text_from_standard_input_is_given_again(
    train, stop, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    class Input(io.TextIOWrapper):
        def __init__(self, text: str, terminal: bool = False) -> None:
            super().__init__(io.BytesIO(text.encode()))
            self._terminal = terminal

        def isatty(self) -> bool:
            return self._terminal

    whole = train("whole")
    monkeypatch.setattr(sys, "stdin", Input(TEXT))
    stop(4, text="-")
    monkeypatch.setattr(sys, "stdin", Input("", terminal=True))
    with pytest.raises(CorpusError, match="needed again"):
        resume(tmp_path)
    monkeypatch.setattr(sys, "stdin", Input(TEXT.replace("more", "less")))
    with pytest.raises(CorpusError, match="not the text"):
        resume(tmp_path)
    monkeypatch.setattr(sys, "stdin", Input(TEXT))
    assert resume(tmp_path).digest == whole.digest


def test_a_checkpoint_is_not_written_over_by_a_new_run(train, stop, tmp_path):
    with pytest.raises(StoreError, match="no checkpoint"):
        resume(tmp_path / "nowhere")
    assert left(tmp_path) == {"corpus.txt"}
    stop(4)
    with pytest.raises(StoreError, match="holds a run that was stopped"):
        train()
    resume(tmp_path)
    with pytest.raises(StoreError, match="no checkpoint"):
        resume(tmp_path)


def test_what_a_killed_process_left_beside_a_checkpoint_is_no_checkpoint(train, tmp_path):
    (tmp_path / "m.checkpoint").mkdir()
    (tmp_path / "m.checkpoint/.state.0123456789abcdef.tmp").mkdir()
    (tmp_path / "m.checkpoint/.state.npz.0123456789abcdef.tmp").write_bytes(b"half")
    (tmp_path / ".m.0123456789abcdef.tmp").mkdir()
    train()
    assert left(tmp_path) == {"corpus.txt", "m"}


def test_what_is_not_ours_in_the_checkpoint_folder_stays(train, tmp_path):
    (tmp_path / "m.checkpoint").mkdir()
    (tmp_path / "m.checkpoint/notes.txt").write_text("mine")
    train(checkpoint_every="5")
    assert left(tmp_path / "m.checkpoint") == {"notes.txt"}


def test_a_checkpoint_of_another_version_is_refused(
    stop, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    stop(4)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "__version__", "99.9")
        with pytest.raises(StoreError, match=r"by embed \S+; this is embed 99\.9"):
            resume(tmp_path)
    monkeypatch.setattr(bundle, "FORMAT", 1)
    with pytest.raises(StoreError, match="of format version 2; this embed reads up to 1"):
        resume(tmp_path)


# What may be wrong with the arrays and the state of a checkpoint, and what is said of it.
UNFIT: list[tuple[Callable[[dict, dict], object], str]] = [
    (lambda arrays, state: arrays.pop("parameters.table"), "entry 'parameters.table' is missing"),
    (lambda arrays, state: arrays.pop("best.table"), "the entry 'best.table' is missing"),
    (lambda arrays, state: arrays.pop("found"), "the entry 'found' is missing"),
    (
        lambda arrays, state: arrays.update(trained=arrays["trained"][1:]),
        r"trained: found \(\d+,\)",
    ),
    (lambda arrays, state: arrays.update(trained=arrays["trained"] / 2), "trained: found .* float"),
    (lambda arrays, state: arrays.update({"best.x": np.zeros(3)}), "best.x: an array that such"),
    (lambda arrays, state: state["place"].update(epoch="2"), 'epoch: found "2"; expected a whole'),
    (lambda arrays, state: state["place"].update(epoch=-1), "epoch: found -1; expected 0 to 5"),
    (lambda arrays, state: state["place"].update(epoch=6), "epoch: found 6; expected 0 to 5"),
    (lambda arrays, state: state["place"].update(group=99), "group: found 99; expected 0 to"),
    (lambda arrays, state: state["place"].update(steps_before=10**400), "steps_before: found 10"),
    (lambda arrays, state: state["place"].update(finished=True), "is not where the run stopped"),
    (lambda arrays, state: state["place"].update(finished=0), "finished: found 0; expected true"),
    (lambda arrays, state: state["place"].update(log=[3]), "what was measured at an epoch"),
    (lambda arrays, state: state["place"].pop("log"), "the entry 'log' is missing"),
    (lambda arrays, state: state["settings"].update(dim=6), "expected .*6"),
    (lambda arrays, state: state["settings"].update(dimm=5), "dimm: no such setting"),
    (lambda arrays, state: state["settings"].pop("dim"), "the entry 'dim' is missing"),
    (lambda arrays, state: state["settings"].update(update="m"), "the model that is updated"),
    (lambda arrays, state: state["text"].pop("files"), "the entry 'files' is missing"),
    (lambda arrays, state: state["text"].update(files={"a": [1]}), "expected its size and time"),
    (lambda arrays, state: state.pop("text"), "the entry 'text' is missing"),
    (lambda arrays, state: state.pop("earlier"), "the entry 'earlier' is missing"),
    (lambda arrays, state: state.update(sources=3), "sources: found 3; expected a list"),
    (lambda arrays, state: state.update(step=True), "step: found true; expected a whole number"),
    (lambda arrays, state: state.update(step=3), "step 3 is not where the run stopped"),
]


@pytest.mark.parametrize(("change", "said"), UNFIT)
def test_a_checkpoint_that_does_not_fit_is_one_error(stop, tmp_path, change, said):
    (tmp_path / "v.txt").write_text("2 5\nand 1 2 3 4 5\nmore 5 4 3 2 1\n")
    stop(7, valid_share=0.3, patience=3, vectors=str(tmp_path / "v.txt"))
    arrays, state = load_checkpoint(tmp_path / "m")
    arrays = {name: array.copy() for name, array in arrays.items()}
    change(arrays, state)
    save_checkpoint(tmp_path / "m", arrays, state)
    with pytest.raises(StoreError, match=f"damaged: .*{said}"):
        resume(tmp_path)


def test_a_checkpoint_may_hold_the_old_name_of_a_setting(train, stop, tmp_path):
    whole = train("whole", task="skipgram", batch_size=64, tile_negatives=8)
    stop(2, task="skipgram", batch_size=64, tile_negatives=8)
    arrays, state = load_checkpoint(tmp_path / "m")
    arrays = {name: array.copy() for name, array in arrays.items()}
    state["settings"]["tile_noise"] = state["settings"].pop("tile_negatives")
    save_checkpoint(tmp_path / "m", arrays, state)
    assert resume(tmp_path).digest == whole.digest


def test_any_flipped_byte_of_a_checkpoint_is_found(stop, tmp_path):
    stop(4)
    for path in (tmp_path / "m.checkpoint/state").iterdir():
        data = bytearray(path.read_bytes())
        for place in range(0, len(data), 41):
            data[place] ^= 1
            path.write_bytes(data)
            data[place] ^= 1
            with pytest.raises(EmbedError):
                load_checkpoint(tmp_path / "m")
        path.write_bytes(data)
    load_checkpoint(tmp_path / "m")


def test_a_checkpoint_of_format_1_is_refused_with_its_version(train, tmp_path):
    (tmp_path / "m.checkpoint").mkdir()
    (tmp_path / "m.checkpoint/state.npz").write_bytes(b"PK")
    with pytest.raises(StoreError, match="format version 1, which this embed cannot resume"):
        resume(tmp_path)
    with pytest.raises(StoreError, match="a run that was stopped"):
        train()
    assert left(tmp_path / "m.checkpoint") == {"state.npz"}


def test_a_second_training_into_a_folder_is_refused(train, tmp_path):
    seen = []

    def second(event: object) -> None:
        if not seen:
            seen.append(event)
            with pytest.raises(StoreError, match="is writing here"):
                train(seed=1)

    train(report=second)
    assert left(tmp_path) == {"corpus.txt", "m"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("where", ["checkpoint", "model"])
def test_no_room_is_one_error_and_the_old_model_stays(
    train, tmp_path, monkeypatch: pytest.MonkeyPatch, number, where
):
    old = train(seed=1).digest
    write = bundle._write_member

    def full(path, member):
        name = {"checkpoint": "slots.table.square.npy", "model": "counts.npy"}[where]
        if path.name == name:
            path.write_bytes(b"half")
            raise OSError(number, os.strerror(number))
        return write(path, member)

    monkeypatch.setattr(bundle, "_write_member", full)
    with pytest.raises(StoreError, match="cannot be written") as caught:
        train(checkpoint_every="10", cache=False)
    assert caught.value.hint
    assert verify_model(tmp_path / "m").digest == old
    assert not [name for name in left(tmp_path) if name.startswith(".")]
    monkeypatch.undo()
    if where == "model":
        assert resume(tmp_path).digest != old


def test_a_limit_on_the_size_of_files_is_one_error(train, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StoreError, match="File too large"):
            train(dim=500, cache=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left(tmp_path) == {"corpus.txt"}


def test_a_text_that_grows_while_it_is_read_is_one_error(
    train, corpus, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    from embedcli.text.sources import Opened

    read = Opened.read

    def growing(self, size=-1):
        with corpus.open("a") as file:
            file.write("more\n")
        return read(self, size)

    old = train().digest
    monkeypatch.setattr(Opened, "read", growing)
    with pytest.raises(CorpusError, match="changed while it was read"):
        train(cache=False)
    assert left(tmp_path) == {"corpus.txt", "m"}
    assert verify_model(tmp_path / "m").digest == old


def test_a_text_that_vanishes_once_it_is_read_is_one_error(
    train, corpus, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    find, encode = run.find_sources, run.encode
    found = find([corpus])

    def last(*arguments, **others):
        try:
            return encode(*arguments, **others)
        finally:
            corpus.unlink()
            monkeypatch.setattr(run, "find_sources", lambda _: found)

    monkeypatch.setattr(run, "encode", last)
    with pytest.raises(CorpusError, match=r"corpus\.txt: gone since it was read"):
        train()
    assert left(tmp_path) == set()


def test_a_folder_of_an_older_format_opens_a_newer_does_not(
    train, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    train()
    monkeypatch.setattr(bundle, "FORMAT", 1)
    with pytest.raises(StoreError, match="of format version 2; this embed reads up to 1"):
        embedcli.load(tmp_path / "m")


def test_stopped_while_nothing_is_kept_leaves_nothing(
    train, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train()
    assert left(tmp_path) == {"corpus.txt"}


def peak(action: Callable[[], object]) -> int:
    """Bytes that Python and NumPy held at most during an action that ends in an error."""
    tracemalloc.start()
    try:
        with pytest.raises(StoreError, match="damaged"):
            action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def seal(folder: Path) -> None:
    """Make a manifest fit the files, as somebody hostile would."""
    body = json.loads((folder / "manifest.json").read_bytes())
    del body["sha256"]
    for name, file in body["files"].items():
        data = (folder / name).read_bytes()
        file.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (folder / "manifest.json").write_bytes(bundle._manifest_bytes(body))


def test_a_small_checkpoint_or_model_cannot_ask_for_much_memory(train, stop, tmp_path):
    flatten = {"pool": "flatten", "length": 4, "workers": 1}
    stop(4, **flatten)
    arrays, state = load_checkpoint(tmp_path / "m")
    state["settings"]["length"] = 1_000_000  # times 5 numbers, 3 labels and the optimizer's
    checkpoint.save_checkpoint(tmp_path / "m", arrays, state)
    assert peak(lambda: resume(tmp_path)) < 20_000_000
    train("model", **flatten)
    config = tmp_path / "model/config.yaml"
    config.write_text(config.read_text().replace("length: 4", "length: 1000000"))
    seal(config.parent)
    assert peak(lambda: train("n", update=str(tmp_path / "model"))) < 20_000_000


def test_settings_without_a_value_are_null_in_messages(stop, tmp_path):
    stop(4, max_vocab=30)
    with pytest.raises(ConfigError, match=r"found max_vocab null; .* has max_vocab 30"):
        resume(tmp_path, max_vocab=None)
