"""Text at fsspec addresses: the same ids as from files, and one plain error for what is wrong."""

import builtins
import gzip
import io
import itertools
import sys

import pytest

import embedcli
from embedcli.config import TextSettings
from embedcli.errors import CorpusError
from embedcli.text import addresses
from embedcli.text.addresses import files_at
from embedcli.text.corpus import Corpus
from embedcli.text.parts import digests
from embedcli.text.sources import Source, find_sources, open_source

fsspec = pytest.importorskip("fsspec", reason="needs fsspec: pip install 'embedcli[fsspec]'")

TEXTS = {"a.txt": "wind and rain\nrain and sun\n", "b/c.txt": "sun and wind\n"}
PLAIN = TextSettings(cache=False, workers=1)


@pytest.fixture
def memory():
    """The file system in memory with the texts in the folder `corpus`."""
    found = fsspec.filesystem("memory")
    for name, text in TEXTS.items():
        found.pipe(f"/corpus/{name}", text.encode())
    yield found
    found.rm("/", recursive=True)


@pytest.fixture
def folder(tmp_path):
    for name, text in TEXTS.items():
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "corpus"


def read(*places, **settings):
    corpus = Corpus(places, TextSettings(**{"cache": False, "workers": 1, **settings}))
    return b"".join(block.data for block in corpus.blocks()), corpus.fingerprint


def test_a_folder_a_pattern_and_files_give_the_bytes_of_the_local_ones(memory, folder):
    memory.pipe("/corpus/.hidden/d.txt", b"no\n")
    memory.pipe("/corpus/b.bin", b"last of the folder\n")
    (folder / "b.bin").write_text("last of the folder\n")
    expected = read(folder)
    for root in ("memory://corpus", "memory://corpus/", f"file://{folder}"):
        assert read(root) == expected
    assert read("memory://corpus/*.txt") == read(folder / "*.txt")
    assert read("memory://corpus/b/c.txt", folder / "a.txt") == read(
        folder / "b/c.txt", folder / "a.txt"
    )


def test_a_pattern_finds_files_in_a_hidden_folder_that_it_names(memory):
    memory.pipe("/.data/a.txt", b"wind\n")
    memory.pipe("/.data/.old/a.txt", b"no\n")
    assert files_at("memory://.data/*") == ["memory://.data/a.txt"]


def test_a_folder_whose_path_is_not_written_in_its_address_is_read(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert read("file://corpus") == read("file://corpus/*") == read(folder)


def test_training_on_addresses_gives_the_table_of_the_files(memory, folder, tmp_path):
    settings = {"dim": 3, "epochs": 1, "task": "skipgram"}
    local = embedcli.train(folder, tmp_path / "local", **settings)
    far = embedcli.train("memory://corpus", tmp_path / "far", **settings)
    assert far.digest == local.digest
    for name in ("vocab.txt", "counts.npy"):
        assert (tmp_path / "far" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


def test_a_stopped_run_goes_on_from_its_address(memory, tmp_path):
    settings = {"dim": 3, "epochs": 2, "task": "skipgram", "batch_size": 2}
    with pytest.raises(embedcli.Stopped):
        embedcli.train("memory://corpus", tmp_path / "m", stop=lambda: True, **settings)
    whole = embedcli.train("memory://corpus", tmp_path / "whole", **settings)
    assert embedcli.train(out=tmp_path / "m", resume=True).digest == whole.digest


def test_the_limit_of_expansion_holds(memory):
    memory.pipe("/bomb.gz", gzip.compress(bytes(6 << 20)))
    with pytest.raises(CorpusError, match=r"memory://bomb\.gz: expands to more than 2 times"):
        read("memory://bomb.gz", max_expansion=2)


def test_parquet_is_read_from_an_address(memory):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    with memory.open("/t.parquet", "wb") as file:
        parquet.write_table(arrow.table({"text": ["wind and rain", "sun"]}), file)
    assert read("memory://t.parquet")[0] == b"wind and rain\nsun\n"


def test_a_file_that_changes_while_it_is_read_is_refused(memory):
    blocks = Corpus(["memory://corpus/a.txt"], PLAIN).blocks()
    next(blocks)
    memory.pipe("/corpus/a.txt", b"other words, more of them\n" * 3)
    with pytest.raises(CorpusError, match="changed while it was read, from 27 bytes to 78"):
        list(blocks)


def test_a_file_that_is_gone_while_it_is_read_is_one_error(memory):
    blocks = Corpus(["memory://corpus/a.txt"], PLAIN).blocks()
    next(blocks)
    memory.rm("/corpus/a.txt")
    with pytest.raises(CorpusError, match=r"a\.txt: No such file; expected a readable file"):
        list(blocks)


def test_a_file_that_is_cut_off_while_it_is_hashed_is_one_error(memory, monkeypatch):
    def cut_off(*_):
        raise OSError("connection reset")

    monkeypatch.setattr(addresses.RemoteFile, "readinto", cut_off)
    with pytest.raises(CorpusError, match=r"a\.txt: connection reset; expected a readable file"):
        digests([Source("memory://corpus/a.txt")])


def test_a_file_is_closed_with_its_source(folder):
    with open_source(Source(f"file://{folder}/a.txt"), 1) as (opened, _):
        file = opened._file._file
        assert not file.closed
    assert file.closed


class Read(fsspec.AbstractFileSystem):
    """A system that tells, as SFTP does, when a file was last read."""

    protocol = "read"
    cachable = False
    times = itertools.count()

    def info(self, path, **_):
        return {"name": path, "size": 5, "type": "file", "time": next(self.times), "mtime": 1}

    def _open(self, path, *_, **__):
        return io.BytesIO(b"wind\n")


def test_the_time_of_the_last_access_is_no_change():
    fsspec.register_implementation("read", Read, clobber=True)
    assert read("read://a.txt")[0] == b"wind\n"


class Forbidden(fsspec.AbstractFileSystem):
    """A system that refuses, as some libraries do, with errors of their own."""

    protocol = "forbidden"
    cachable = False

    def info(self, path, **_):
        return {"name": path, "size": 1, "type": "file"}

    def _open(self, path, *_, **__):
        if path.endswith("denied"):
            raise PermissionError("Access Denied")
        raise RuntimeError("no\ncredentials")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("memory://corpus/none.txt", "none.txt: No such file; expected a readable file"),
        ("memory://corpus/*.csv", r"\*\.csv: no file there"),
        ("wrong://corpus", "wrong://corpus: Protocol not known: wrong; expected an address"),
        ("s3:/", "s3:/: No such file or directory"),
        ("forbidden://denied", "denied: Access Denied; expected a readable file"),
        ("forbidden://a", "forbidden://a: no credentials; expected a readable file"),
    ],
)
def test_what_cannot_be_read_is_one_error(memory, address, message):
    fsspec.register_implementation("forbidden", Forbidden, clobber=True)
    with pytest.raises(CorpusError, match=message):
        read(address)


@pytest.mark.parametrize(
    "address", ["read://me:secret@host/a.txt", "zip://*::read://me:secr@et@host:21/a.zip"]
)
def test_an_address_with_a_password_is_refused_and_not_repeated(address, tmp_path):
    with pytest.raises(CorpusError) as found:
        embedcli.train(address, tmp_path / "m")
    assert found.value.message.startswith("read://me:***@...: found a password")
    assert "FSSPEC_READ_PASSWORD" in found.value.hint
    assert "secr" not in found.value.message + found.value.hint


@pytest.mark.parametrize(
    "address", ["memory://corpus/a:b@c.txt", "read://user@host:21/a.txt", "github://a:b@main/c.txt"]
)
def test_what_is_no_password_is_taken_for_none(address):
    assert addresses._PASSWORD.search(address) is None


def test_a_missing_library_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "fsspec":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "fsspec")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CorpusError, match="needs fsspec; it is not installed") as found:
        read("s3://bucket/a.txt")
    assert found.value.hint == "pip install 'embedcli[fsspec]'"


def test_a_path_with_colons_is_no_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes::old.txt").write_text("wind\n")
    assert find_sources(["notes::old.txt"]) == [Source("notes::old.txt")]
    assert read("notes::old.txt")[0] == b"wind\n"
