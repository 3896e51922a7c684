"""Arrays from a file that may come from anywhere: what it claims is checked before memory is taken for it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from supernet.arrays import read_npz
from supernet.errors import UserError


def npy(shape: tuple[int, ...], dtype: str = "<f8", content: bytes = b"") -> bytes:
    """A header that claims what it likes."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_what_numpy_writes_is_read(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3)),
              "c": np.array("text"), "d": np.array([True, False]), "e": np.zeros((0, 3))}  # fmt: skip
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        found = read_npz(tmp_path / "x.npz", "arrays")
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype and np.array_equal(found[name], array)
            found[name][...] = found[name]  # may be written to


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a.npy": npy((100_000_000_000,))}, "claims 800,000,000,000 bytes and has 0"),
        ({"a.npy": npy((3,), content=b"12345")}, "claims 24 bytes and has 5"),
        ({"a.npy": npy((-1,), content=b"12345678")}, "an array of"),
        ({"a.npy": npy((1,), "|O", b"12345678")}, "an array of object"),
        ({"a.npy": npy((2**40, 2**40, 2**40), "|u1")}, "claims"),
        ({"a.npy": b"\x93NUMPY\x01\x00\x05\x00(((((" }, "not a readable"),
        ({"a.npy": b"\x93NUMPY\x09\x00\x05\x00(((((" }, "version"),
        ({"a.txt": b"hello"}, "no array of its own"),
        ({"a.npy": b"hello"}, "not a readable"),
    ],
)  # fmt: skip
def test_false_claims_are_one_line(tmp_path: Path, members: dict[str, bytes], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read_npz(packed(tmp_path / "x.npz", members), "arrays")
    assert "x.npz" in str(caught.value)


def test_more_than_is_allowed_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(10_000_000, np.uint8))
    with pytest.raises(UserError, match="claims more than 1,000,000 bytes"):
        read_npz(tmp_path / "bomb.npz", "arrays", most=1_000_000)


def test_other_files_under_its_name(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.zeros(3))
    (tmp_path / "y.npy").rename(tmp_path / "x.npz")
    with pytest.raises(UserError, match="not a readable"):
        read_npz(tmp_path / "x.npz", "arrays")
    for path in (tmp_path, tmp_path / "none.npz"):
        with pytest.raises(UserError, match="does not exist, or is no regular file"):
            read_npz(path, "arrays")
