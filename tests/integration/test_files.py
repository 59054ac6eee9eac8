"""Files in a folder or in a bucket: whole or absent, unchanged or refused, never outside of their root."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest

from charrnn.errors import InputError, ModelFileError, UnreachableError
from charrnn.jobs.files.files import Files
from charrnn.jobs.files.layout import MARKER
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.part import PartRows
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.rows import seeds as seeds_module
from charrnn.jobs.rows.rows import stored_rows
from charrnn.jobs.rows.seeds import Seed, store_seeds
from charrnn.options import SamplingOptions
from charrnn.text.vocabulary import Vocabulary
from tests.fixtures.s3 import Fault, FaultyProxy
from tests.fixtures.store import generate_spec

PLACES = {"folder": "tmp_path", "bucket": "bucket"}  # → the fixture that makes an empty one
DAY_S = 24 * 3600.0
HOSTS_WORKERS = 4
LETTERS = "abcdefghijklmnopqrstuvwxyz"
ZSTD_MAGIC = bytes.fromhex("28b52ffd")  # the first bytes of a frame

Reader = Callable[[Files, FileRef], bytes]


@pytest.fixture(params=PLACES)
def url(request: pytest.FixtureRequest) -> str:
    """Files in an empty place: a folder, then a bucket."""
    return str(request.getfixturevalue(PLACES[request.param]))


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def unclaimed(url: str, cache: Path) -> Files:
    return Files(url, cache)


@pytest.fixture
def files(unclaimed: Files) -> Files:
    unclaimed.claim_for("store-1", None)
    return unclaimed


@pytest.fixture
def local(tmp_path: Path, cache: Path) -> Files:
    files = Files(str(tmp_path), cache)
    files.claim_for("store-1", None)
    return files


@pytest.fixture
def remote(bucket: str, cache: Path) -> Files:
    return Files(bucket, cache)


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to be stored."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "config.json").write_text("{}")
    (folder / "weights").write_bytes(b"12345")
    return folder


def read(files: Files, reference: FileRef) -> bytes:
    return files.read(reference)


def opened(files: Files, reference: FileRef) -> bytes:
    with files.open(reference) as file:
        return file.read()


def verified(files: Files, reference: FileRef) -> bytes:
    return files.verified_path(reference).read_bytes()


each_reader = pytest.mark.parametrize("reader", [read, opened, verified])


def broken_chunks() -> Iterator[bytes]:
    yield b"half"
    raise InputError("line 7 cannot be read")


def names(files: Files, folder: str) -> list[str]:
    return [file.name for file in files.list(folder)]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@each_reader
def test_stored_files_are_read_back(files: Files, reader: Reader) -> None:
    assert reader(files, files.put("parts/1.zst", [b"ab", b"", b"c"])) == b"abc"


@each_reader
def test_an_empty_file_is_a_file(files: Files, reader: Reader) -> None:
    assert reader(files, files.put("a", [])) == b""


def test_a_reference_has_name_size_and_hash(files: Files) -> None:
    assert files.put("a", [b"ab", b"c"]) == FileRef(name="a", size=3, sha256=hashlib.sha256(b"abc").hexdigest())


@each_reader
def test_a_file_of_one_name_replaces_the_other(files: Files, reader: Reader) -> None:
    files.put("parts/a", [b"one"])
    assert reader(files, files.put("parts/a", [b"two"])) == b"two"
    assert names(files, "parts") == ["parts/a"]


class Stopped(Exception):
    pass


def stop_after(checks: int) -> Callable[[], None]:
    """Return a check that raises when it is called once more than so often."""
    left = iter(range(checks))

    def check() -> None:
        if next(left, None) is None:
            raise Stopped

    return check


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_reading_a_large_file_can_be_stopped_between_chunks(files: Files, source: Path, kind: str) -> None:
    # Catches: copying or hashing without checks; half a copy that stays in the cache
    content = os.urandom(3 << 20)
    (source / "weights").write_bytes(content)
    stored = files.put("large", [content]) if kind == "file" else files.put_folder("folder", source)
    for checks in range(3):
        with pytest.raises(Stopped):
            files.verified_path(stored, stop_after(checks))
    path = files.verified_path(stored)
    assert (path / "weights" if kind == "folder" else path).read_bytes() == content
    with pytest.raises(Stopped):  # a bucket's file is in the cache by now, so that this is its hashing
        files.verified_path(stored, stop_after(0))


def test_a_file_named_by_its_content_is_stored_once(files: Files) -> None:
    assert files.put_content("seeds", ".txt", [b"a", b"bc"]) == files.put_content("seeds", ".txt", [b"ab", b"c"])
    assert names(files, "seeds") == [f"seeds/{hashlib.sha256(b'abc').hexdigest()}.txt"]


def test_an_interrupted_write_keeps_only_the_previous_file(files: Files) -> None:
    # Catches: writing directly to the final name; publishing in a finally
    earlier = files.put("parts/a", [b"whole"])
    with pytest.raises(InputError, match="line 7"):
        files.put("parts/a", broken_chunks())
    assert (files.read(earlier), names(files, "parts")) == (b"whole", ["parts/a"])


def test_a_file_is_not_visible_before_its_last_byte(files: Files) -> None:
    # Catches: a listing that shows unfinished files
    seen: list[str] = []

    def chunks() -> Iterator[bytes]:
        yield b"half"
        seen.extend(names(files, "parts"))

    files.put("parts/a", chunks())
    assert (seen, names(files, "parts")) == ([], ["parts/a"])


@each_reader
def test_content_that_was_changed_is_refused(files: Files, reader: Reader) -> None:
    # Catches: any of the three check_sha256 left out
    reference = files.put("a", [b"abc"])
    files.put("a", [b"abd"])
    with pytest.raises(ModelFileError, match="/a is not what was written: its sha256 is a52d159f262b"):
        reader(files, reference)


@each_reader
def test_a_missing_file_is_named(files: Files, reader: Reader) -> None:
    with pytest.raises(ModelFileError, match="/jobs/gone is missing"):
        reader(files, FileRef(name="jobs/gone", size=0, sha256="00"))


@each_reader
def test_a_name_of_a_reference_cannot_lead_out_of_the_root(files: Files, reader: Reader) -> None:
    # Catches: a row of the database that makes any file of the machine or of the bucket readable
    with pytest.raises(InputError, match="is not the name of a file below"):
        reader(files, FileRef(name="../secret", size=3, sha256=hashlib.sha256(b"abc").hexdigest()))


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a/../x", "..", "", "."])
def test_a_name_cannot_lead_out_of_the_root(files: Files, name: str) -> None:
    for action in (lambda: files.put(name, [b"abc"]), lambda: files.delete(name), lambda: list(files.list(name))):
        with pytest.raises(InputError, match="is not the name of a file below"):
            action()


def test_a_file_can_be_deleted_twice(files: Files) -> None:
    files.put("parts/a", [b"abc"])
    files.delete("parts/a")
    files.delete("parts/a")
    assert names(files, "parts") == []


def test_a_listing_has_sizes_and_ages_of_all_files_below(files: Files) -> None:
    files.put("jobs/1/b", [b"12"])
    files.put("jobs/1/deep/a", [b"123"])
    listed = list(files.list("jobs"))
    assert [(file.name, file.size) for file in listed] == [("jobs/1/b", 2), ("jobs/1/deep/a", 3)]
    assert all(-2 < file.age_s < 60 for file in listed)  # times of a bucket are whole seconds


def test_a_listing_excludes_folders_with_the_same_prefix(files: Files) -> None:
    # Catches: deletion by key prefix, which would delete job 10 with job 1
    files.put("jobs/10/a", [b"12"])
    assert names(files, "jobs/1") == []


def test_the_files_of_a_prefix_are_listed_without_those_beside_them(files: Files) -> None:
    for name in ("jobs/1/7-1", "jobs/1/7-2", "jobs/1/70-1", "jobs/1/8-1", "jobs/10/7-1"):
        files.put(name, [b"12"])
    # Catches: a listing of all 100,000 files of a job for those of one part; parts whose numbers begin alike
    assert [(file.name, file.size) for file in files.list_prefix("jobs/1/7-")] == [("jobs/1/7-1", 2), ("jobs/1/7-2", 2)]
    assert list(files.list_prefix("jobs/2/7-")) == []


def test_a_folder_is_deleted_with_all_its_files_and_no_other(files: Files) -> None:
    for name in ("jobs/1/a", "jobs/1/b", "jobs/10/a"):
        files.put(name, [b"12"])
    files.delete_folder("jobs/1")
    files.delete_folder("jobs/1")
    assert names(files, "jobs") == ["jobs/10/a"]


def test_a_folder_of_a_bucket_is_deleted_in_pages(remote: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: only the first page; a list of a million names
    monkeypatch.setattr("charrnn.jobs.files.bucket.PAGE", 3)
    remote.claim_for("store-1", None)
    for name in (*(f"jobs/1/{number}" for number in range(10)), "jobs/10/0"):
        remote.put(name, [b"x"])
    remote.delete_folder("jobs/1")
    assert [file.name for file in remote.list("jobs")] == ["jobs/10/0"]


def test_files_are_listed_in_order_through_all_folders(files: Files) -> None:
    # Catches: files after the folders beside them, for which a folder of files would be read in two pieces
    names = ["jobs/1/0-1", "jobs/1/a/b/c", "jobs/1/b", "jobs/10/0-1", "jobs/2/0-1"]
    for name in reversed(names):
        files.put(name, [b"x"])
    assert [file.name for file in files.list("jobs")] == names
    assert list(files.list("seeds")) == []


def test_a_folder_is_copied_with_all_its_files(files: Files, source: Path) -> None:
    reference = files.put_folder("models/a", source)
    assert contents(files.verified_path(reference)) == {"config.json": b"{}", "weights": b"12345"}


def test_a_folder_s_size_is_that_of_its_files(files: Files, source: Path) -> None:
    assert files.put_folder("models/a", source).size == 7


def test_equal_folders_have_equal_hashes(files: Files, source: Path) -> None:
    assert files.put_folder("models/a", source).sha256 == files.put_folder("models/b", source).sha256


def test_a_folder_s_hash_is_over_its_names_too(files: Files, source: Path) -> None:
    # Catches: a hash of the contents alone
    before = files.put_folder("models/a", source).sha256
    (source / "weights").rename(source / "weighty")
    assert files.put_folder("models/b", source).sha256 != before


def _rename(files: Files, name: str, other: str) -> None:
    files.put(other, [b"12345"])
    files.delete(name)


CHANGES: dict[str, Callable[[Files], FileRef | None]] = {
    "content": lambda files: files.put("models/a/weights", [b"12346"]),
    "more": lambda files: files.put("models/a/more", []),
    "fewer": lambda files: files.delete("models/a/weights"),
    "renamed": lambda files: _rename(files, "models/a/weights", "models/a/weighty"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_was_changed_is_refused(files: Files, source: Path, change: str) -> None:
    reference = files.put_folder("models/a", source)
    CHANGES[change](files)
    with pytest.raises(ModelFileError, match="/models/a is not what was written"):
        files.verified_path(reference)


def test_a_missing_folder_is_named(files: Files) -> None:
    with pytest.raises(ModelFileError, match="/models/gone is missing"):
        files.verified_path(FileRef(name="models/gone", size=0, sha256="00"))


def test_the_first_store_owns_the_files(unclaimed: Files) -> None:
    assert unclaimed.claim_for("store-1", None)
    assert names(unclaimed, "jobs") == []  # the marker belongs to no job


def test_the_owner_may_claim_again(unclaimed: Files) -> None:
    unclaimed.claim_for("store-1", None)
    assert not unclaimed.claim_for("store-1", unclaimed.url)
    assert unclaimed.claim_for("store-1", None)  # it was killed before it recorded the location


def test_another_store_is_refused(unclaimed: Files) -> None:
    unclaimed.claim_for("store-1", None)
    with pytest.raises(InputError, match="holds the files of another store"):
        unclaimed.claim_for("store-2", None)


def test_files_at_another_location_are_refused(unclaimed: Files) -> None:
    # Catches: a store that starts again with an empty folder, on a host without the variable
    with pytest.raises(InputError, match=r"keeps its files in s3://there/a, but .* has none of them"):
        unclaimed.claim_for("store-1", "s3://there/a")
    with pytest.raises(ModelFileError, match="missing"):
        unclaimed.read(FileRef(name=MARKER, size=0, sha256="00"))


@pytest.mark.parametrize(
    "url",
    [
        "http://host/a",
        "file:///tmp/a",
        "gs://bucket/a",
        "memory://a",
        "S3://bucket/a",
        "simplecache::s3://bucket/a",
        "s3://bucket/a::zip",
    ],
)
def test_an_url_of_another_kind_is_refused(url: str, cache: Path) -> None:
    # Catches: protocols of other libraries, some of which read any URL and accept any chain of protocols
    with pytest.raises(InputError, match="must be a folder or s3://bucket/folder. Received: "):
        Files(url, cache)


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///a",
        "s3://..",
        "s3://bucket/../other",
        "s3://Bucket/a",
        "s3://ab",
        "s3://bucket?versionId=1",
        "s3://bucket/a?b=c",
        "s3://bucket/a#b",
        "s3://key:secret@bucket/a",
        "s3://bucket/a b",
    ],
)
def test_a_url_without_a_bucket_is_refused(url: str, cache: Path) -> None:
    with pytest.raises(InputError, match="must be s3://bucket or s3://bucket/folder. Received: "):
        Files(url, cache)


# Tests of a folder only


def test_a_root_that_is_written_with_dots_serves_its_files(tmp_path: Path, cache: Path) -> None:
    # Catches: the dots of CHARRNN_HOME=../data treated like those in a file name
    (tmp_path / "here").mkdir()
    files = Files(f"{tmp_path}/here/../files", cache)
    files.claim_for("store-1", None)
    assert files.verified_path(files.put("a", [b"abc"])) == tmp_path / "files" / "a"


def test_a_local_file_is_used_in_place(local: Files, tmp_path: Path, cache: Path) -> None:
    assert local.verified_path(local.put("a", [b"abc"])) == tmp_path / "a"
    assert list(cache.iterdir()) == []


def test_a_file_that_changes_after_it_was_checked_is_refused(local: Files, tmp_path: Path) -> None:
    # Catches: a check that is cached by name alone
    reference = local.put("a", [b"abc"])
    local.verified_path(reference)
    (tmp_path / "a").write_bytes(b"changed")
    with pytest.raises(ModelFileError, match="is not what was written"):
        local.verified_path(reference)


def flip_bit(path: Path) -> None:
    """Flip a bit in the middle of a file as a bad disk does: its size and time stay the same."""
    data, status = bytearray(path.read_bytes()), path.stat()
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@each_reader
def test_a_flipped_bit_is_found_after_the_file_was_read(local: Files, tmp_path: Path, reader: Reader) -> None:
    # Catches: a hash that is remembered while size and time of the file stay the same
    reference = local.put("a", [b"abc"])
    reader(local, reference)
    flip_bit(tmp_path / "a")
    with pytest.raises(ModelFileError, match="is not what was written"):
        reader(local, reference)


def stored_seeds(files: Files) -> tuple[GenerateSpec, PartRows]:
    """Store the seeds a, b, ... in frames of a few seeds, and return the job and a part of all its rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeds_module, "FRAME_SIZE", 200)
        seeds = store_seeds(map(Seed, LETTERS), SamplingOptions(), Vocabulary(LETTERS), partial(files.put, "seeds/a"))
    spec = replace(generate_spec(num_seeds=len(LETTERS)), seeds=seeds.file, sampling=SamplingOptions())
    return spec, PartRows(first_row=0, rows=len(LETTERS), frame_offset=0, frame_row=0)


def letters(files: Files, spec: GenerateSpec, part: PartRows) -> str:
    return "".join(row.seed.seed for row in stored_rows(files, spec, part))


def test_a_flipped_bit_in_the_seeds_changes_no_row(local: Files) -> None:
    spec, part = stored_seeds(local)
    assert letters(local, spec, part) == LETTERS
    flip_bit(local.local_path(spec.seeds))
    with pytest.raises(ModelFileError, match="/seeds/a is not what was written"):
        letters(local, spec, part)


def test_a_part_reads_only_its_frames(local: Files) -> None:
    # Catches: a part that hashes 100 MB of seeds to read two frames of them
    spec, part = stored_seeds(local)
    path = local.local_path(spec.seeds)
    path.write_bytes(path.read_bytes()[:200] + b"damaged")
    assert letters(local, spec, replace(part, rows=2)) == LETTERS[:2]


def test_seeds_that_end_too_early_are_refused(local: Files) -> None:
    # Catches: a part of fewer rows, which is committed as if it were whole
    spec, part = stored_seeds(local)
    whole = local.local_path(spec.seeds).read_bytes()
    local.local_path(spec.seeds).write_bytes(whole[: whole.rindex(ZSTD_MAGIC)])
    with pytest.raises(ModelFileError, match="/seeds/a is not what was written"):
        letters(local, spec, part)
    short = local.put("seeds/a", [whole])
    with pytest.raises(ModelFileError, match="has no seed for row 26"):
        letters(local, replace(spec, seeds=short, rows=27), replace(part, rows=27))


def test_leftovers_of_a_killed_writer_are_hidden_and_pruned_when_old(local: Files, tmp_path: Path) -> None:
    # Catches: no sweep; a sweep that deletes a file of a live writer
    with local.storage.stage("jobs/1/a") as old, local.storage.stage("jobs/1/b") as new:
        for path in (old, new):
            path.write_bytes(b"half")
        os.utime(old, (0, 0))
        local.sweep(DAY_S)
        assert (names(local, "jobs"), old.exists(), new.exists()) == ([], False, True)


def test_empty_folders_are_swept_when_they_are_old(local: Files, tmp_path: Path) -> None:
    # Catches: the folder of a version whose writer was killed, or whose files were deleted, for ever
    for name in ("models/killed/1-1", "models/new/1-1"):
        (tmp_path / name).mkdir(parents=True)
    kept = local.put("models/whole/1-1/config.json", [b"{}"])
    for name in ("models/killed/1-1", "models/killed", "models/whole/1-1", "models/whole"):
        os.utime(tmp_path / name, (0, 0))
    local.sweep(DAY_S)
    local.sweep(DAY_S)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["killed", "new", "whole"]
    os.utime(tmp_path / "models/killed", (0, 0))  # its time was that of the deletion in it
    local.sweep(DAY_S)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["new", "whole"]
    assert local.read(kept) == b"{}"


def test_an_interrupted_write_leaves_nothing_on_the_disk(local: Files, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        local.put("a", broken_chunks())
    assert [path.name for path in tmp_path.iterdir()] == [MARKER]


def test_a_deleted_folder_is_gone(local: Files, tmp_path: Path) -> None:
    local.put("jobs/1/a", [b"abc"])
    local.delete_folder("jobs/1")
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_path_that_is_not_a_folder_is_reported(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(UnreachableError, match=r"The files in .*/a cannot be read or written: .*(exists|directory)"):
        Files(f"{tmp_path}/a", cache).claim_for("store-1", None)


LOCAL_VERBS: dict[str, Callable[[Files, FileRef], object]] = {
    "put": lambda files, _: files.put("jobs/b", [b"abc"]),
    "read": read,
    "open": opened,
    "verified": verified,
    "verified_folder": lambda files, _: files.verified_path(FileRef(name="jobs", size=0, sha256="00")),
    "list": lambda files, _: list(files.list("jobs")),
    "stat": lambda files, file: files.stat(file.name),
    "delete": lambda files, file: files.delete(file.name),
    "delete_folder": lambda files, _: files.delete_folder("jobs"),
    "claim_for": lambda files, _: files.claim_for("store-1", files.url),
}


@pytest.mark.parametrize("verb", LOCAL_VERBS)
def test_a_shared_folder_that_is_not_mounted_is_unreachable_and_not_empty(
    local: Files, tmp_path: Path, verb: str
) -> None:
    # Catches: parts that fail permanently, and results below the mount point, where nobody will find them
    reference = local.put("jobs/a", [b"abc"])
    away = tmp_path.rename(tmp_path.with_name("away"))
    tmp_path.mkdir()
    with pytest.raises(UnreachableError, match="has no store-id"):
        LOCAL_VERBS[verb](local, reference)
    assert list(tmp_path.iterdir()) == []
    tmp_path.rmdir()
    away.rename(tmp_path)
    assert (names(local, "jobs"), verified(local, reference)) == (["jobs/a"], b"abc")


# Tests of a bucket only


@pytest.mark.parametrize("folder", ["", "/", "/deep/er", "/deep/"])
def test_the_folder_of_a_bucket_is_optional_and_may_be_nested(bucket: str, cache: Path, folder: str) -> None:
    files = Files(bucket.removesuffix("/prefix") + folder, cache)
    assert files.verified_path(files.put("jobs/a", [b"abc"])).read_bytes() == b"abc"
    assert names(files, "jobs") == ["jobs/a"]


def test_a_missing_bucket_is_reported(bucket: str, cache: Path) -> None:
    with pytest.raises(UnreachableError, match="The files in s3://no-such-bucket/a cannot be read or written: "):
        Files("s3://no-such-bucket/a", cache).claim_for("store-1", None)


def test_a_file_is_downloaded_once_per_host(faulty_bucket: tuple[str, FaultyProxy], cache: Path) -> None:
    # Catches: a copy for each process
    url, proxy = faulty_bucket
    files = Files(url, cache)
    reference = files.put("a", [b"abc"])
    path = files.verified_path(reference)
    before = proxy.requests
    assert files.verified_path(reference) == Files(url, cache).verified_path(reference) == path
    assert proxy.requests == before


def test_a_folder_is_downloaded_once_per_host(
    faulty_bucket: tuple[str, FaultyProxy], cache: Path, source: Path
) -> None:
    url, proxy = faulty_bucket
    files = Files(url, cache)
    reference = files.put_folder("models/a", source)
    files.verified_path(reference)
    before = proxy.requests
    assert Files(url, cache).verified_path(reference) == files.verified_path(reference)
    assert proxy.requests == before


def test_workers_that_start_together_fetch_once(faulty_bucket: tuple[str, FaultyProxy], cache: Path) -> None:
    # Catches: no lock, so that each process fetches
    url, proxy = faulty_bucket
    reference = Files(url, cache).put("a", [b"abc"])
    before, together = proxy.requests, Barrier(HOSTS_WORKERS)

    def work(_: int) -> bytes:
        files = Files(url, cache)
        together.wait()
        return verified(files, reference)

    with ThreadPoolExecutor(HOSTS_WORKERS) as pool:
        assert set(pool.map(work, range(HOSTS_WORKERS))) == {b"abc"}
    assert proxy.requests == before + 1


def test_a_damaged_copy_is_downloaded_again(remote: Files) -> None:
    # Catches: no forget, so that a job fails because of a disk of one host
    reference = remote.put("a", [b"abc"])
    remote.verified_path(reference).write_bytes(b"changed")
    assert verified(remote, reference) == b"abc"


def test_damaged_seeds_in_the_cache_of_a_host_are_downloaded_again(remote: Files) -> None:
    # Catches: rows that come twice, or a job that fails because of a disk of one host
    spec, part = stored_seeds(remote)
    flip_bit(remote.local_path(spec.seeds))
    assert letters(remote, spec, part) == LETTERS


def test_a_damaged_copy_of_a_folder_is_downloaded_again(remote: Files, source: Path) -> None:
    reference = remote.put_folder("models/a", source)
    (remote.verified_path(reference) / "weights").unlink()
    assert contents(remote.verified_path(reference)) == contents(source)


def test_a_damaged_object_in_the_bucket_is_not_cached(remote: Files) -> None:
    # Catches: a damaged copy that a host keeps after the object in the bucket was repaired
    reference = remote.put("a", [b"abc"])
    remote.put("a", [b"changed"])
    with pytest.raises(ModelFileError, match="is not what was written"):
        remote.verified_path(reference)
    remote.put("a", [b"abc"])
    assert verified(remote, reference) == b"abc"


VERBS: dict[str, Callable[[Files, FileRef], object]] = {
    "put": lambda files, _: files.put("jobs/b", [b"abc"]),
    "read": read,
    "open": opened,
    "verified": verified,
    "verified_folder": lambda files, _: files.verified_path(FileRef(name="jobs", size=0, sha256="00")),
    "list": lambda files, _: list(files.list("jobs")),
    "delete": lambda files, file: files.delete(file.name),
    "claim_for": lambda files, _: files.claim_for("store-1", None),
}
FAULTS: list[tuple[Fault, str, str]] = [
    *((503, verb, "Service Unavailable|Please reduce your request rate") for verb in VERBS),
    *((403, verb, "Forbidden|Access Denied") for verb in ("put", "read", "verified")),
    *(("half", verb, "total bytes expected") for verb in ("read", "open", "verified", "verified_folder")),
]


@pytest.mark.parametrize(("fault", "verb", "reason"), FAULTS)
def test_a_failing_bucket_is_unreachable_and_no_file_is_incomplete(
    faulty_bucket: tuple[str, FaultyProxy], cache: Path, fault: Fault, verb: str, reason: str
) -> None:
    # Catches: an error of botocore or urllib3 left out of _errors; a fetch that leaves half a copy
    url, proxy = faulty_bucket
    files = Files(url, cache)
    reference = files.put("jobs/a", [b"abc" * 1000])
    proxy.fault = fault
    with pytest.raises(UnreachableError, match=f"The files in {url} cannot be read or written: .*({reason})"):
        VERBS[verb](files, reference)
    proxy.fault = None
    assert (names(files, "jobs"), verified(files, reference)) == (["jobs/a"], b"abc" * 1000)
