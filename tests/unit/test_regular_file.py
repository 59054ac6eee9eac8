"""Files from outside must be regular files; a pipe is refused without waiting for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.errors import InputError, ModelFileError, TextError
from charrnn.jobs.files.layout import MARKER
from charrnn.jobs.files.local import LocalFolder
from charrnn.jobs.rows.seed_file import SeedFile
from charrnn.jobs.settings import Settings
from charrnn.model_files import read_network
from charrnn.regular_file import NotRegularError, regular
from charrnn.text.documents import Document, list_documents


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe.txt")
    return tmp_path / "pipe.txt"


READERS: dict[str, tuple[Callable[[Path], object], type[Exception]]] = {
    "setting": (lambda path: Settings.from_env({"CHARRNN_STORE_URL_FILE": str(path)}), InputError),
    "document": (lambda path: Document(path).size(), TextError),
    "seeds of a schedule": (lambda path: list(SeedFile(str(path), pipes=False)), TextError),
    "model": (lambda path: read_network(path), ModelFileError),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_is_not_waited_for(pipe: Path, reader: str) -> None:
    # Catches: `open` without its opener, which waits until somebody writes
    read, error = READERS[reader]
    with pytest.raises(error, match="regular file"):
        read(pipe)


def test_a_pipe_among_the_files_of_a_store_is_damage(tmp_path: Path) -> None:
    # Catches: an UnreachableError, for whose end a worker would wait forever
    files = LocalFolder(tmp_path)
    (tmp_path / MARKER).touch()
    os.mkfifo(tmp_path / "part")
    with pytest.raises(ModelFileError, match="part is not a regular file"), files.open("part"):
        pass


def test_a_pipe_in_a_folder_of_texts_is_ignored(pipe: Path) -> None:
    (pipe.parent / "a.txt").write_text("text")
    assert [document.path.name for document in list_documents(pipe.parent)] == ["a.txt"]


def test_folders_sockets_and_devices_are_not_regular_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for path in (".", "socket", "/dev/null"):
            with pytest.raises(NotRegularError, match="not a regular file"):
                regular(path)


def test_a_link_to_a_regular_file_is_followed(tmp_path: Path) -> None:
    """Kubernetes mounts secrets as links."""
    (tmp_path / "secret").write_text("sqlite:////tmp/x")
    (tmp_path / "link").symlink_to("secret")
    with open(tmp_path / "link", opener=regular) as file:
        assert file.read() == "sqlite:////tmp/x"
