"""Packed files: each kind gives its content, and none more than fits."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable

import pytest

from pas.errors import UserError
from pas.intake import containers
from pas.intake.containers import unpacked

ROWS = b"question,a,b,label\n" + b"Which?,x,y,0\n" * 5000


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", data)
    return out.getvalue()


def tarred(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("rows.csv")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


KINDS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zip": zipped,
    "tar": tarred,
    "tar.gz": lambda data: gzip.compress(tarred(data)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_packed_comes_out_and_never_more_than_the_limit(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = KINDS[kind](ROWS)
    content, facts = unpacked(packed, None, "a file")
    assert content == ROWS and facts
    monkeypatch.setattr(containers, "LIMIT", len(tarred(ROWS)))
    assert unpacked(packed, None, "a file")[0] == ROWS
    monkeypatch.setattr(containers, "LIMIT", len(ROWS) - 1)
    with pytest.raises(UserError, match=r"a file: unpacked it has more than .* GiB"):
        unpacked(packed, None, "a file")


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_file_is_refused(kind: str) -> None:
    packed = KINDS[kind](ROWS)
    with pytest.raises(UserError, match="cannot be read"):
        unpacked(packed[: len(packed) // 2], None, "a file")
