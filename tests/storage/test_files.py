import contextlib
import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from embedcli.errors import StoreError
from embedcli.storage import files


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def make_folder(target, text):
    with files.new_folder(target) as new:
        (new / "content").write_text(text)


def content(folder):
    return (folder / "content").read_text()


def test_atomic_write_leaves_only_the_target(tmp_path):
    with files.atomic_write(tmp_path / "a") as out:
        out.write(b"whole")
        assert names(tmp_path) != ["a"]
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"whole"


@pytest.mark.parametrize("trouble", [ValueError, KeyboardInterrupt])
def test_atomic_write_that_fails_leaves_what_was_there(tmp_path, trouble):
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with pytest.raises(trouble), files.atomic_write(target) as out:
        out.write(b"half")
        raise trouble
    assert names(tmp_path) == ["a"]
    assert target.read_bytes() == b"old"


def test_atomic_write_keeps_mode_and_follows_a_link(tmp_path):
    real = tmp_path / "real"
    real.write_bytes(b"old")
    real.chmod(0o640)
    (tmp_path / "link").symlink_to(real)
    with files.atomic_write(tmp_path / "link") as out:
        out.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert real.read_bytes() == b"new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_is_one_error():
    full = pytest.raises(StoreError, match="No space left")
    with full as caught, files.atomic_write(Path("/dev/full")) as out:
        out.write(bytes(1 << 21))
    assert caught.value.hint is not None


def test_writing_to_a_device_does_not_replace_it():
    with files.atomic_write(Path(os.devnull)) as out:
        out.write(b"gone")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_a_file_that_is_open_already_keeps_what_it_holds(tmp_path):
    log = tmp_path / "log"  # as with `embed convert m /dev/stdout >> log`
    log.write_bytes(b"before ")
    with log.open("ab") as file, files.atomic_write(Path(f"/dev/fd/{file.fileno()}")) as out:
        out.write(b"after")
    assert log.read_bytes() == b"before after"


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO, errno.EFBIG]
)
def test_every_trouble_of_the_disk_is_a_store_error(tmp_path, number):
    refused = pytest.raises(StoreError, match=os.strerror(number))
    with refused, files.new_folder(tmp_path / "model"):
        raise OSError(number, os.strerror(number))
    assert names(tmp_path) == []


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError):
        make_folder(tmp_path / "file", "x")
    with pytest.raises(StoreError):
        make_folder(tmp_path / "file" / "below", "x")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("exchange", [True, False], ids=["one call", "two renames"])
def test_a_folder_is_replaced_and_one_generation_kept(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    target = tmp_path / "model"
    make_folder(target, "first")
    assert names(tmp_path) == ["model"]
    make_folder(target, "second")
    make_folder(target, "third")
    assert names(tmp_path) == ["model", "model.previous"]
    assert content(target) == "third"
    assert content(files.previous(target)) == "second"


@pytest.fixture
def done(monkeypatch):
    """Note what is forced to the disk, and what is renamed, in order."""
    noted = []
    fsync, replace, exchange = os.fsync, Path.replace, files._exchange

    def named(descriptor):
        noted.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def moved(self, other):
        noted.append(("rename", Path(other).name))
        return replace(self, other)

    def exchanged(one, other):
        noted.append(("exchange", other.name))
        return exchange(one, other)

    monkeypatch.setattr(os, "fsync", named)
    monkeypatch.setattr(Path, "replace", moved)
    monkeypatch.setattr(files, "_exchange", exchanged)
    return noted


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc names the descriptors")
def test_names_are_given_to_what_is_on_the_disk(tmp_path, done):
    with files.atomic_write(tmp_path / "file") as out:
        out.write(b"x")
    ((first, temporary), *then) = done
    assert (first, temporary[:6]) == ("fsync", ".file.")
    assert then == [("rename", "file"), ("fsync", tmp_path.name)]
    make_folder(tmp_path / "model", "old")
    done.clear()
    make_folder(tmp_path / "model", "new")
    names = [("fsync", "content"), ("fsync", ".model."), ("exchange", "model.previous")]
    names += [("exchange", "model"), ("fsync", tmp_path.name)]
    assert [(how, name[:7] if name[0] == "." else name) for how, name in done] == names
    done.clear()
    files.make_folder(tmp_path / "a/b")
    assert done == [("fsync", tmp_path.name), ("fsync", "a")]


def test_the_gap_of_two_renames_is_closed(tmp_path, monkeypatch):
    target = tmp_path / "model"
    make_folder(target, "old")

    class KilledError(Exception):
        pass

    def rename_then_die(self, other):
        os.rename(self, other)  # noqa: PTH104 - the method itself is replaced
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(files, "_exchange", lambda *_: False)
        patched.setattr(Path, "rename", rename_then_die)
        with pytest.raises(KilledError):
            make_folder(target, "new")
    assert not target.exists()
    assert content(files.current_path(target)) == "old"
    with files.Lock(target):
        assert content(target) == "old"
    assert names(tmp_path) == ["model"]


def test_the_rest_of_a_dead_process_is_swept_and_that_of_a_living_one_kept(tmp_path):
    target = tmp_path / "model"
    dead = tmp_path / ".model.0123456789abcdef.tmp"
    dead.mkdir()
    (dead / "content").write_text("half")
    (tmp_path / ".model.fedcba9876543210.tmp").write_text("half")
    (tmp_path / ".model.mine.tmp").write_text("not ours")
    with files.working_folder(target) as living, files.Lock(target):
        assert names(tmp_path) == sorted([".model.lock", ".model.mine.tmp", living.name])
    assert names(tmp_path) == [".model.mine.tmp"]


def test_sweeping_does_not_follow_links(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / ".model.0123456789abcdef.tmp").symlink_to(precious)
    files.sweep(tmp_path / "model")
    assert precious.is_dir()


def try_to_lock(target):
    code = (
        "import sys; from pathlib import Path; from embedcli.storage import files\n"
        "from embedcli.errors import StoreError\n"
        "try:\n    files.Lock(Path(sys.argv[1])).__enter__()\n"
        "except StoreError as error:\n    print(error.message)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=True
    )
    return run.stdout


def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path):
    target = tmp_path / "model"
    with files.Lock(target):
        assert f"process {os.getpid()}" in try_to_lock(target)
        with pytest.raises(StoreError, match="is writing here"), files.Lock(target):
            pass
    assert names(tmp_path) == []
    assert try_to_lock(target) == ""
    # That process has died with its lock held: its file is there, and no lock.
    assert names(tmp_path) == [".model.lock"]
    with files.Lock(target):
        pass
    assert names(tmp_path) == []


def test_a_forked_worker_does_not_keep_the_lock(tmp_path):
    target = tmp_path / "model"
    ready, wait = os.pipe(), os.pipe()
    owner = os.fork()
    if owner == 0:
        files.Lock(target).__enter__()
        if os.fork() == 0:  # a worker that outlives its owner
            os.write(ready[1], b"x")
            os.close(wait[1])
            os.read(wait[0], 1)
            os._exit(0)
        os._exit(0)
    os.close(wait[0])
    os.read(ready[0], 1)
    os.waitpid(owner, 0)
    with files.Lock(target):
        pass
    for descriptor in (*ready, wait[1]):
        os.close(descriptor)


def test_the_lock_is_not_followed_through_a_link(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".model.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(StoreError), files.Lock(tmp_path / "model"):
        pass
    assert (tmp_path / "victim").read_text() == "precious"


def test_too_little_room_is_said_with_numbers(tmp_path):
    files.require_space(tmp_path / "a" / "b", 1, "the table")
    with pytest.raises(StoreError, match=r"the table needs 909494\.7 TiB, and .* are free"):
        files.require_space(tmp_path / "a" / "b", 10**18, "the table")


def test_pipes_and_links_out_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="regular"):
        files.regular_size(tmp_path / "pipe")
    outside = tmp_path / "outside"
    outside.write_bytes(b"x")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    with pytest.raises(ValueError, match="leads out"):
        files.regular_size(inside / "link", inside=inside)
    assert files.regular_size(inside / "link") == 1


def test_a_temporary_that_was_swept_while_made_is_made_again(tmp_path, monkeypatch):
    real = fcntl.flock
    swept = []

    def sweep_once(descriptor, how):
        if not swept:
            swept.extend(tmp_path.iterdir())
            swept[0].unlink()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", sweep_once)
    with files.atomic_write(tmp_path / "a") as out:
        out.write(b"x")
    assert names(tmp_path) == ["a"]


def run_until_event(action, number):
    """Run `action` in a child that is killed at its audited event `number`; whether it was."""
    child = os.fork()
    if child == 0:
        left = number

        def count_down(event, _):
            nonlocal left
            left -= event.startswith(("open", "os.", "shutil.", "fcntl.", "ctypes.call"))
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count_down)
        action()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("exchange", [True, False], ids=["one call", "two renames"])
def test_killed_at_any_moment_the_folder_is_the_old_or_the_new_one(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    target = tmp_path / "model"
    whole = {"older": "olderolder", "old": "oldold", "new": "newnew"}

    def save(text):
        with files.Lock(target), files.new_folder(target) as new:
            (new / "content").write_text(text)
            (new / "more").write_text(text)

    def state(folder):
        return content(folder) + (folder / "more").read_text()

    save("older")
    save("old")
    number = 1
    while run_until_event(lambda: save("new"), number):
        assert state(files.current_path(target)) in (whole["old"], whole["new"])
        with files.Lock(target):
            assert set(names(tmp_path)) <= {"model", "model.previous", ".model.lock"}
            found = {state(folder) for folder in (target, files.previous(target))}
            assert state(target) in (whole["old"], whole["new"])
            assert whole["old"] in found <= set(whole.values())
        if state(target) == whole["new"]:
            save("older")
            save("old")
        number += 1
    assert number > 15
    assert state(target) == whole["new"]
    assert state(files.previous(target)) == whole["old"]


def test_killed_at_any_moment_a_file_is_the_old_or_the_new_one(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    def write():
        with files.atomic_write(target) as out:
            out.write(b"new")

    number = 1
    while run_until_event(write, number):
        assert target.read_text() in ("old", "new")
        files.sweep(target)
        assert names(tmp_path) == ["file"]
        number += 1
    assert number > 5
    assert target.read_text() == "new"


def failing(monkeypatch, module, name, number, times=1):
    """Make a function fail with an error of the system, so many times."""
    real, left = getattr(module, name), [None] * times

    def fail(*arguments, **options):
        if left:
            left.pop()
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, fail)


@pytest.mark.parametrize(
    ("module", "name", "number"),
    [(fcntl, "flock", errno.EIO), (os, "open", errno.ENOSPC), (os, "fsync", errno.ENOSPC)],
    ids=["flock", "open", "fsync"],
)
def test_a_temporary_that_cannot_be_made_or_filled_is_removed(
    tmp_path, monkeypatch, module, name, number
):
    failing(monkeypatch, module, name, number)
    with pytest.raises(StoreError, match=os.strerror(number)):
        make_folder(tmp_path / "model", "x")
    failing(monkeypatch, module, name, number)
    full = pytest.raises(StoreError, match=os.strerror(number))
    with full, files.atomic_write(tmp_path / "file") as out:
        out.write(b"x")
    assert names(tmp_path) == []


def test_a_temporary_that_cannot_be_removed_is_swept_by_the_next_start(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        failing(patch, os, "unlink", errno.EIO, times=9)
        with pytest.raises(ValueError, match="mine"), files.atomic_write(tmp_path / "model") as out:
            out.write(b"x")
            raise ValueError("mine")
        with pytest.raises(ValueError, match="mine"), files.new_folder(tmp_path / "model") as new:
            (new / "content").write_text("x")
            raise ValueError("mine")
    assert len(names(tmp_path)) == 2
    with files.Lock(tmp_path / "model"):
        assert names(tmp_path) == [".model.lock"]
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["ftruncate", "pwrite", "unlink", "scandir"])
def test_a_lock_on_a_failing_disk_does_not_stay(tmp_path, monkeypatch, name):
    for number in (errno.ENOSPC, errno.EIO):
        with monkeypatch.context() as patch, contextlib.suppress(StoreError):
            failing(patch, os, name, number)
            with files.Lock(tmp_path / "model"):
                pass
        with files.Lock(tmp_path / "model"):
            pass
        assert names(tmp_path) == []


@pytest.mark.parametrize("call", [1, 2])
def test_an_exchange_that_fails_leaves_all_as_it_was(tmp_path, monkeypatch, call):
    make_folder(tmp_path / "model", "old")
    exchange, calls = files._exchange, []

    def fail(one, other):
        calls.append(one)
        if len(calls) == call:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return exchange(one, other)

    monkeypatch.setattr(files, "_exchange", fail)
    with pytest.raises(StoreError, match=os.strerror(errno.EIO)):
        make_folder(tmp_path / "model", "new")
    assert names(tmp_path) == ["model"]
    assert content(tmp_path / "model") == "old"
