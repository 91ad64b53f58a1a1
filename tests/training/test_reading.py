"""A text read by the machines of a cluster, of which this process plays all."""

import pickle
import sys
from dataclasses import replace
from hashlib import sha256
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from embedcli.config import TrainSettings
from embedcli.errors import ConfigError, CorpusError, WorkerError
from embedcli.text.encode import encode
from embedcli.training import reading

SETTINGS = TrainSettings(cache=False, workers=1, shards=2)
TEXT = "".join(f"__label__{n % 3} w{n % 7} w{n * n % 11} and more\n" for n in range(300))
SECOND = "__label__1 one more\n"


class RayError(Exception):
    pass


class GetTimeoutError(RayError):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause


class FakeRay(ModuleType):
    """As much of Ray as reading asks for; `around` may change what a machine does."""

    exceptions = SimpleNamespace(
        RayError=RayError, GetTimeoutError=GetTimeoutError, RayTaskError=RayTaskError
    )

    def __init__(self, *names):
        super().__init__("ray")
        self.names = names
        self.calls = []
        self.around = lambda node, function, *args: function(*args)

    def nodes(self):
        return [
            {
                "NodeID": 9 * each,
                "NodeManagerHostname": each,
                "Alive": True,
                "Resources": {"CPU": 1},
            }
            for each in self.names
        ]

    def remote(self, function):
        return SimpleNamespace(options=lambda **options: Call(self, function, **options))

    def put(self, value):
        return pickle.dumps(value)

    def get(self, ref, timeout):
        found = pickle.loads(ref)
        if isinstance(found, Exception):
            raise found
        return found

    def wait(self, refs, num_returns, timeout):
        return refs[-1:], refs[:-1]  # the last is done first


class Call:
    def __init__(self, ray, function, *, num_cpus, scheduling_strategy, num_returns=1):
        assert num_cpus == 0
        self.ray, self.function, self.returns = ray, function, num_returns
        self.node = scheduling_strategy.node_id[0]

    def remote(self, *args):
        self.ray.calls.append((self.node, self.function.__name__))
        try:
            found = self.ray.around(self.node, self.function, *args)
        except RayError as error:
            found = [error] * self.returns if self.returns > 1 else error
        except Exception as error:
            found = (
                [RayTaskError(error)] * self.returns if self.returns > 1 else RayTaskError(error)
            )
        if self.returns == 1:
            return pickle.dumps(found)
        # A salt, as references differ even where what they refer to does not.
        return [pickle.dumps(each) + bytes([len(self.ray.calls) % 256]) for each in found]


@pytest.fixture
def ray(monkeypatch):
    found = FakeRay("a", "b")
    strategies = ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = lambda node_id, soft: SimpleNamespace(
        node_id=node_id, soft=soft
    )
    for name, module in {
        "ray": found,
        "ray.util": ModuleType("ray.util"),
        "ray.util.scheduling_strategies": strategies,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(reading, "SMALLEST", 500)
    return found


@pytest.fixture
def folder(tmp_path):
    for name, text in {"a.txt": TEXT, "b.txt": SECOND}.items():
        (tmp_path / "corpus").mkdir(exist_ok=True)
        (tmp_path / "corpus" / name).write_text(text)
    return tmp_path / "corpus"


@pytest.fixture
def read(ray, folder, tmp_path):
    def go(**settings):
        said, done = [], []
        found = reading.read(
            [str(folder)],
            replace(SETTINGS, **settings),
            None,
            tmp_path / "work",
            lambda *sizes: done.append(sizes),
            lambda notice: said.append(notice.text),
        )
        return found, said, done

    return go


def test_all_machines_read_and_no_ids_come_here(ray, read, folder, tmp_path):
    found, said, done = read(task="skipgram")
    expected = encode([folder], SETTINGS, folder=tmp_path)
    assert not said
    assert {node for node, name in ray.calls if name == "read_part"} == {"a", "b"}
    assert found.vocabulary.to_bytes() == expected.vocabulary.to_bytes()
    assert found.fingerprint == expected.fingerprint
    assert (len(found.ids), found.lines) == (len(expected.ids), expected.lines)
    assert found.ids.strides == (0,)
    total = sum(path.stat().st_size for path in folder.iterdir())
    assert done[-1] == (total, total)
    assert found.parts[0].stored[0] == len(TEXT)


def test_labels_are_checked_here(ray, read, folder, tmp_path):
    found, _, _ = read(task="classify")
    expected = encode([folder], SETTINGS, folder=tmp_path, labels="class")
    assert np.array_equal(found.ids, expected.ids)
    assert found.targets.names == expected.targets.names
    (folder / "b.txt").write_text("no label\n")
    (tmp_path / "work").rename(tmp_path / "before")
    with pytest.raises(CorpusError, match=r"b\.txt:1: a line without a label"):
        read(task="classify")


def elsewhere(folder, other):
    """Have machine b read the files of another folder under the names of this one."""

    def around(node, function, *args):
        if node == "a":
            return function(*args)
        folder.rename(folder.parent / "aside")
        try:
            if other is not None:
                other.rename(folder)
            return function(*args)
        finally:
            if other is not None:
                folder.rename(other)
            (folder.parent / "aside").rename(folder)

    return around


def test_a_machine_without_the_text_reads_nothing(ray, read, folder):
    ray.around = elsewhere(folder, None)
    found, said, _ = read(task="skipgram")
    assert len(found.parts) > 2
    assert {node for node, name in ray.calls if name == "read_part"} == {"a"}
    (notice,) = said
    assert notice.startswith(f"b (bbbbbb) reads no text: {folder}: No such file")


def test_where_no_machine_has_the_text_this_one_reads_it(ray, read):
    def around(node, function, *args):
        raise CorpusError("corpus: No such file")

    ray.around = around
    found, said, _ = read(task="skipgram")
    assert found is None
    assert len(said) == 2


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.txt": TEXT}, r"b\.txt: is on a \(aaaaaa\), but not on b \(bbbbbb\)"),
        (
            {"a.txt": TEXT, "b.txt": SECOND, "c.txt": "."},
            r"c\.txt: is on b \(bbbbbb\), but not on a",
        ),
        (
            {"a.txt": TEXT + "more\n", "b.txt": SECOND},
            r"a\.txt: has [0-9,]+ bytes on a \(aaaaaa\), [0-9,]+ on b \(bbbbbb\)",
        ),
        (
            {"a.txt": TEXT.replace("w3", "w4"), "b.txt": SECOND},
            r"a\.txt: bytes [0-9,]+ to [0-9,]+ differ on .*; expected the same file",
        ),
    ],
)
def test_machines_with_other_files_are_refused(ray, read, folder, tmp_path, files, message):
    other = tmp_path / "other"
    other.mkdir()
    for name, text in files.items():
        (other / name).write_text(text)
    ray.around = elsewhere(folder, other)
    with pytest.raises(CorpusError, match=message):
        read(task="skipgram")


def test_a_machine_without_the_package_reads_nothing_as_one_line_says(ray, read):
    def around(node, function, *args):
        if node == "b":
            raise RayTaskError(RayError("No module named 'embedcli'\ntraceback: Traceback\n ..."))
        return function(*args)

    ray.around = around
    _, said, _ = read(task="skipgram")
    assert said == ["b (bbbbbb) reads no text: No module named 'embedcli'"]


@pytest.mark.parametrize(
    ("error", "message"), [(MemoryError(), "MemoryError"), (OSError(28, "No space"), "No space")]
)
def test_a_machine_without_room_is_one_error(ray, read, error, message):
    def around(node, function, *args):
        if function is reading.read_part:
            raise error
        return function(*args)

    ray.around = around
    with pytest.raises(WorkerError, match=rf"the text could not be read \(.*{message}"):
        read(task="skipgram")


def test_a_part_that_is_lost_for_good_ends_the_run(ray, read):
    def around(node, function, *args):
        if function is reading.read_part:
            raise RayError("The node died\nand more")
        return function(*args)

    ray.around = around
    with pytest.raises(WorkerError, match=r"could not be read \(The node died\)"):
        read(task="skipgram")


def test_a_part_that_does_not_come_ends_the_run(ray, read, monkeypatch):
    monkeypatch.setattr(ray, "wait", lambda refs, num_returns, timeout: ([], refs))
    with pytest.raises(WorkerError, match=r"waited 120 s for [ab] \([ab]{6}\)"):
        read(task="skipgram")


def test_the_error_of_a_machine_is_that_of_the_text(ray, read, folder):
    (folder / "b.txt").write_bytes(b"\xff\n")
    with pytest.raises(CorpusError, match=r"b\.txt:1: byte 0xff at offset 0 is not UTF-8"):
        read(task="skipgram")


def test_other_versions_do_not_read(ray, read):
    def around(node, function, *args):
        found = function(*args)
        if node == "b" and function is reading.list_parts:
            return found._replace(versions={**found.versions, "regex": "1.0"})
        return found

    ray.around = around
    _, said, _ = read(task="skipgram")
    assert "regex 1.0" in said[0]
    assert {node for node, name in ray.calls if name == "read_part"} == {"a"}


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1"])
def test_an_address_where_nothing_listens_is_one_error(ray, address):
    ray.is_initialized = lambda: False
    ray.init = lambda **_: pytest.fail("Ray was asked, which tries for minutes")
    with pytest.raises(ConfigError, match="no Ray cluster at"), reading.connected(address):
        pass


def test_hashes_are_those_of_the_files(ray, read, folder):
    found, _, _ = read(task="skipgram")
    assert found.parts[-1].digest == sha256((folder / "b.txt").read_bytes()).hexdigest()
