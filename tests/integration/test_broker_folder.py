"""The local broker: whose it is, and files of it that are damaged."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from charrnn.errors import InputError, UnreachableError
from charrnn.jobs.queue import Queue
from charrnn.jobs.settings import Settings
from producer.broker import local_broker, start_server
from worker.run import Worker

BEYOND = "a" * 120  # longer than the path of a socket


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Settings]:
    """Settings whose broker's socket is in a folder below /tmp, which does not exist yet."""
    settings = Settings(home=tmp_path / BEYOND, heartbeat_s=0.1)
    folder = settings.broker_socket.parent
    assert folder.parent != settings.home / "broker"
    yield settings
    folder.unlink() if folder.is_symlink() else shutil.rmtree(folder, ignore_errors=True)


def prepare(folder: Path, fault: str, elsewhere: Path) -> None:
    """Make a folder as somebody else could have made it."""
    if fault == "a link":
        elsewhere.mkdir(mode=0o700)
        folder.symlink_to(elsewhere)
        return
    folder.mkdir(mode=0o700)
    if fault == "open to other users":
        folder.chmod(0o777)
    elif os.getuid() == 0:
        os.chown(folder, 65534, 65534)
    else:
        pytest.skip("a folder can be given away by root alone")


def test_ctrl_c_while_a_broker_starts_leaves_no_server(tmp_path: Path) -> None:
    class Interrupted(redis.Redis):
        def ping(self, **_: object) -> bool:
            raise KeyboardInterrupt

    socket = Settings(home=tmp_path).broker_socket
    with pytest.raises(KeyboardInterrupt):
        start_server(socket, socket.parent, Interrupted(unix_socket_path=str(socket)))
    titles = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            titles.append(path.read_bytes())
    assert not any(os.fsencode(socket) in title for title in titles)  # Catches: a server that nobody ends


@pytest.mark.parametrize("fault", ["a link", "open to other users", "belongs to another user"])
def test_a_broker_in_a_folder_of_others_is_neither_adopted_nor_used(deep: Settings, fault: str) -> None:
    # Catches: a check at the start of a server alone, since an adopted broker is not started
    folder = deep.broker_socket.parent
    theirs, elsewhere = (folder.with_name(f"{folder.name}-{name}") for name in ("theirs", "elsewhere"))
    with local_broker(deep):  # what an attacker runs there
        folder.rename(theirs)
        prepare(folder, fault, elsewhere)
        for file in theirs.iterdir():
            file.rename(folder / file.name)
        theirs.rmdir()
        queue, worker = Queue(deep), Worker(deep, "cpu", ["train"])
        worker.settings.home.mkdir(exist_ok=True)
        with pytest.raises(InputError, match=fault):
            queue.lengths()
        with pytest.raises(InputError, match=fault):
            queue.ring("train", 1)
        with pytest.raises(InputError, match=fault), local_broker(deep):
            pass
        with pytest.raises(PermissionError, match=fault):
            worker.check_broker()
        queue.close()
        folder.unlink() if folder.is_symlink() else None
        elsewhere.rename(folder) if fault == "a link" else os.chown(folder, os.getuid(), -1)
        folder.chmod(0o700)
        queue.lengths()


def damage(data: Path, kind: str) -> None:
    """Change a byte in the middle of one of the append-only files: the first byte of a command, where it has one."""
    (file,) = data.glob(f"appendonlydir/*.{kind}")
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[max(middle, content.find(b"*", middle))] ^= 0x5A
    file.write_bytes(content)


def test_a_damaged_file_of_the_broker_is_moved_aside(capfd: pytest.CaptureFixture[str]) -> None:
    # Catches: a broker that never starts again, though the store has all that it knew
    with tempfile.TemporaryDirectory(prefix="charrnn-") as home:
        settings = Settings(home=Path(home))
        for kind in ("incr.aof", "base.rdb", "manifest"):  # from the second on, a copy is there already
            with local_broker(settings), redis.Redis(unix_socket_path=str(settings.broker_socket)) as client:
                assert client.dbsize() == 0
                for number in range(100):
                    client.rpush("charrnn:generate", number)
            damage(settings.home / "broker", kind)
        with local_broker(settings):
            pass
        assert (settings.home / "broker" / "appendonlydir.damaged").is_dir()
    assert capfd.readouterr().err.count("the broker could not start with its files; moved to") == 3


def test_files_that_are_not_the_reason_stay() -> None:
    # Catches: files that are given up because of a full disk, or of something else that is wrong
    with tempfile.TemporaryDirectory(prefix="charrnn-") as home:
        settings = Settings(home=Path(home))
        with local_broker(settings), redis.Redis(unix_socket_path=str(settings.broker_socket)) as client:
            client.set("key", "value")
        log = settings.home / "broker" / "broker.log"
        log.unlink()
        log.mkdir()
        with pytest.raises(UnreachableError, match="The broker did not start"), local_broker(settings):
            pass
        log.rmdir()
        with local_broker(settings), redis.Redis(unix_socket_path=str(settings.broker_socket)) as client:
            assert client.get("key") == b"value"


def test_up_ends_although_its_broker_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: a shutdown without a timeout
    monkeypatch.setattr("producer.broker.ANSWER_S", 0.5)
    with tempfile.TemporaryDirectory(prefix="charrnn-") as home:
        settings = Settings(home=Path(home))
        with local_broker(settings), redis.Redis(unix_socket_path=str(settings.broker_socket)) as client:
            pid = client.info("server")["process_id"]
            os.kill(pid, signal.SIGSTOP)
        assert not Path(f"/proc/{pid}").exists()
