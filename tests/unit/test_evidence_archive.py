"""What comes out of a container may be an attack: nothing of it is written outside its folder, nor too much."""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pool.evidence.archive import MOST_MEMBERS, Unpacked, unpack

LIMIT = 1 << 20
FOREVER = time.monotonic() + 3600


def archive(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for entry in members:
            member, content = entry if isinstance(entry, tuple) else (entry, b"")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def plain(name: str, content: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    return special(name, tarfile.REGTYPE, **fields), content


def special(name: str, kind: bytes, **fields: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    for field, value in fields.items():
        setattr(member, field, value)
    return member


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "outer" / "bundle"
    made.mkdir(parents=True)
    return made


def unpacked(data: bytes, folder: Path, **changes: float) -> Unpacked:
    options = {"limit_bytes": LIMIT, "until": FOREVER} | changes
    return unpack(io.BytesIO(data), folder, limit_bytes=int(options["limit_bytes"]), until=options["until"])


def everything(folder: Path) -> dict[str, bytes | None]:
    """All that is at and beside the folder, links not followed; directories are None."""
    outer = folder.parents[1]
    found: dict[str, bytes | None] = {}
    for directory, names, files in os.walk(outer):
        for name in names + files:
            path = Path(directory) / name
            assert not path.is_symlink()
            found[str(path.relative_to(outer))] = path.read_bytes() if path.is_file() else None
    return found


ONLY_THE_FOLDER = {"outer": None, "outer/bundle": None}


def test_files_and_directories_are_written_as_they_are(folder: Path) -> None:
    result = unpacked(archive(special("shots", tarfile.DIRTYPE), plain("shots/a.png", b"png"), plain("log")), folder)

    assert everything(folder) == ONLY_THE_FOLDER | {
        "outer/bundle/shots": None,
        "outer/bundle/shots/a.png": b"png",
        "outer/bundle/log": b"x",
    }
    assert (result.files, result.size_bytes, result.left_out) == (2, 4, [])


@pytest.mark.parametrize("mode", [0o000, 0o777, 0o4777])
def test_what_is_written_is_for_its_owner_only_whatever_the_archive_says(folder: Path, mode: int) -> None:
    unpacked(archive(plain("dir/file", mode=mode)), folder)

    assert (folder / "dir/file").stat().st_mode & 0o7777 == 0o600
    assert (folder / "dir").stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "..", "a/..", "../outer/bundle2/evil", "./../evil"])
def test_a_name_that_leads_out_is_left_out(folder: Path, name: str) -> None:
    result = unpacked(archive(plain(name), plain("good")), folder)

    assert everything(folder) == ONLY_THE_FOLDER | {"outer/bundle/good": b"x"}
    assert len(result.left_out) == 1
    assert "out" in result.left_out[0]


def test_an_absolute_name_is_taken_as_one_inside(folder: Path) -> None:
    unpacked(archive(plain("/etc/cron.d/evil"), plain("//evil")), folder)

    assert (folder / "etc/cron.d/evil").read_bytes() == b"x"
    assert (folder / "evil").read_bytes() == b"x"
    assert not Path("/etc/cron.d/evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc", "../..", "inside", "/etc/passwd"])
def test_links_are_never_made_so_that_nothing_is_written_through_them(folder: Path, kind: bytes, target: str) -> None:
    data = archive(special("way", kind, linkname=target), plain("way/evil"), plain("way2"))

    result = unpacked(data, folder)

    assert everything(folder) == ONLY_THE_FOLDER | {
        "outer/bundle/way": None,
        "outer/bundle/way/evil": b"x",
        "outer/bundle/way2": b"x",
    }
    assert not Path("/etc/evil").exists()
    assert result.left_out == [f"way: a link to {target}"]


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_left_out(folder: Path, kind: bytes) -> None:
    result = unpacked(archive(special("null", kind, devmajor=1, devminor=3)), folder)

    assert everything(folder) == ONLY_THE_FOLDER
    assert result.left_out == ["null: a device or a pipe"]


def test_what_is_there_is_not_replaced(folder: Path) -> None:
    (folder / "kept").write_bytes(b"mine")

    result = unpacked(archive(plain("kept", b"theirs"), plain("a", b"1"), plain("a", b"2"), plain("a/b")), folder)

    assert (folder / "kept").read_bytes() == b"mine"
    assert (folder / "a").read_bytes() == b"1"
    assert [note.partition(":")[0] for note in result.left_out] == ["kept", "a", "a/b"]


def test_no_more_is_written_than_allowed(folder: Path) -> None:
    result = unpacked(archive(*[plain(f"f{n}", b"y" * 300_000) for n in range(10)]), folder)

    written = sum(path.stat().st_size for path in folder.iterdir())
    assert written == result.size_bytes <= LIMIT
    assert "more than 1 MB" in result.left_out[-1]


def test_a_size_that_the_header_makes_up_writes_nothing(folder: Path) -> None:
    huge = special("huge", tarfile.REGTYPE, size=1 << 50)

    result = unpacked(huge.tobuf() + b"\0" * 1024, folder)

    assert sum(path.stat().st_size for path in folder.iterdir()) <= 1024
    assert "the archive is broken" in result.left_out[-1]


def test_a_sparse_file_cannot_be_blown_up(folder: Path) -> None:
    sparse = special("sparse", tarfile.REGTYPE, size=512)
    sparse.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,1,1099511627775,1",
        "GNU.sparse.size": str(1 << 40),
    }
    data = sparse.tobuf(format=tarfile.PAX_FORMAT) + b"\0" * 1536

    unpacked(data, folder)

    assert sum(path.stat().st_size for path in folder.rglob("*")) <= LIMIT


def test_an_archive_of_too_many_members_is_cut_off(folder: Path) -> None:
    blocks = archive(plain("one", b""))[:512]

    result = unpacked(blocks * (MOST_MEMBERS + 10), folder)

    assert f"more than {MOST_MEMBERS}" in result.left_out[-1]
    assert len(result.left_out) < 30


def test_a_name_that_is_too_long_is_left_out(folder: Path) -> None:
    result = unpacked(archive(plain("n" * 5000), plain("d/" * 3000 + "f"), plain("good")), folder)

    assert (folder / "good").exists()
    assert len(result.left_out) == 2
    assert all(len(note) < 400 for note in result.left_out)


def test_unpacking_ends_when_its_time_is_over(folder: Path) -> None:
    result = unpacked(archive(plain("a")), folder, until=time.monotonic() - 1)

    assert everything(folder) == ONLY_THE_FOLDER
    assert result.left_out == ["the rest: it took too long"]


def test_chained_headers_do_not_exhaust_the_stack(folder: Path) -> None:
    chain = special("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=4).tobuf(format=tarfile.GNU_FORMAT)

    result = unpacked((chain + b"name" + b"\0" * 508) * 5000, folder)

    assert everything(folder) == ONLY_THE_FOLDER
    assert result.left_out


@pytest.fixture(scope="module")
def real_archive() -> bytes:
    sparse = special("s", tarfile.REGTYPE)
    sparse.pax_headers = {"GNU.sparse.map": "0,1,5,1", "GNU.sparse.size": "9", "path": "ü/s"}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(sparse)
        tar.addfile(special("l" * 200, tarfile.DIRTYPE))
        tar.addfile(special("k", tarfile.SYMTYPE, linkname="/etc"))
        member, content = plain("f", b"content")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(st.tuples(st.integers(0, 1 << 13), st.binary(min_size=1, max_size=12)), max_size=12),
    fixed=st.booleans(),
)
def test_no_archive_however_broken_escapes_or_raises(
    tmp_path_factory: pytest.TempPathFactory, real_archive: bytes, changes: list[tuple[int, bytes]], fixed: bool
) -> None:
    folder = tmp_path_factory.mktemp("fuzz") / "outer" / "bundle"
    folder.mkdir(parents=True)
    data = bytearray(real_archive)
    for at, new in changes:
        data[at % len(data) : at % len(data) + len(new)] = new
    if fixed:
        mend_checksums(data)

    result = unpacked(bytes(data), folder)

    assert result.size_bytes <= LIMIT
    assert all(path.startswith("outer/bundle") or path == "outer" for path in everything(folder))


def mend_checksums(data: bytearray) -> None:
    """Make each block that looks like a header one, so that what is wrong in it is read."""
    for at in range(0, len(data) - 511, 512):
        block = data[at : at + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(block)
