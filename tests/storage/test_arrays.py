import contextlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedcli.storage.arrays import map_npy, map_npz, npy_chunks, sum_rows

arrays = st.sampled_from(["<f4", "<f8", "<i8", "|u1"]).flatmap(
    lambda kind: st.lists(st.integers(0, 4), max_size=3).map(
        lambda shape: np.arange(np.prod(shape, dtype=int)).astype(kind).reshape(shape)
    )
)


@given(st.dictionaries(st.text("abc/._", min_size=1), arrays, max_size=4))
def test_arrays_come_back_from_npz(tmp_path_factory, kept):
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    np.savez(path, **kept)
    found = map_npz(path)
    assert found.keys() == kept.keys()
    for name, array in kept.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@given(arrays)
def test_what_is_written_in_chunks_is_what_numpy_saves(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("npy") / "a.npy"
    np.save(path, array)
    assert b"".join(npy_chunks(array)) == path.read_bytes()
    np.testing.assert_array_equal(map_npy(path), array)
    assert b"".join(npy_chunks(np.asarray(array, order="F"))) == path.read_bytes()


def npy(header, data=b"", version=b"\x01\x00"):
    text = header.encode("latin-1")
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data


HOSTILE_NPY = {
    "empty": b"",
    "no header": b"\x93NUMPY",
    "version": npy("{}", version=b"\x09\x00"),
    "not a dict": npy("[" * 2000),
    "deep": npy("(" * 9000),
    "object": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "2^63 rows": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808, 1)}"),
    "overflow": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}"),
    "negative": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1)}", bytes(4)),
    "beyond": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9, 9)}", bytes(8)),
    "more": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1)}", bytes(8)),
    "text": npy("{'descr': '<U9', 'fortran_order': False, 'shape': (1,)}", bytes(36)),
    "no rows of 2^63": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2**63)}"),
    "nothing of 2^70": npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': (0, {2**70})}}"),
}


@pytest.mark.parametrize("data", HOSTILE_NPY.values(), ids=HOSTILE_NPY)
def test_a_hostile_npy_is_a_value_error(tmp_path, data):
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(ValueError):
        map_npy(tmp_path / "a.npy")


def test_a_compressed_npz_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(1 << 20))
    with pytest.raises(ValueError, match="compressed"):
        map_npz(tmp_path / "bomb.npz")


@given(st.integers(0, 700), st.integers(0, 255))
def test_a_changed_npz_gives_arrays_or_a_value_error(tmp_path_factory, place, value):
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    np.savez(path, x=np.arange(4), y=np.ones((2, 2), np.float32))
    data = bytearray(path.read_bytes())
    data[place % len(data)] = value
    path.write_bytes(data)
    with contextlib.suppress(ValueError):
        map_npz(path)


@pytest.mark.parametrize("dim", [3, 40])
@pytest.mark.parametrize("lengths", [[0, 2, 0, 1, 0], [5, 90, 0, 3] * 4, [0, 0], []])
def test_rows_of_texts_are_summed(dim, lengths):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, dim)).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    ids = rng.integers(0, 50, offsets[-1] + 2)  # the last two belong to no text
    expected = [rows[ids[start:end]].sum(axis=0) for start, end in pairwise(offsets)]
    found = sum_rows(rows, ids, offsets)
    assert found.shape == (len(lengths), dim)
    np.testing.assert_allclose(found, np.reshape(expected, found.shape), rtol=1e-4, atol=1e-5)
