"""An S3 server over HTTP for the tests, one a session, and a proxy in front of it that breaks answers.

The server is moto's, in a process of its own. It keeps objects in memory and looks at no password.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import fsspec
import pytest

from tests.fix_processes import until

Fault = Literal[503, 403, "half"]
HOST = "127.0.0.1"
READY = re.compile(rf"Running on http://{re.escape(HOST)}:(\d+)")
ERRORS = {503: ("SlowDown", "Please reduce your request rate."), 403: ("AccessDenied", "Access Denied")}  # Amazon's
TIMEOUT_S = 60


@dataclass(frozen=True)
class S3Server:
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def new_bucket(self) -> str:
        """Make an empty bucket -> its name."""
        name = f"charrnn-{secrets.token_hex(8)}"
        connection = HTTPConnection(HOST, self.port, timeout=TIMEOUT_S)
        try:
            connection.request("PUT", f"/{name}")
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
        finally:
            connection.close()
        return name


class FaultyProxy(ThreadingHTTPServer):
    """Passes requests on as they are, or, while `fault` is set, breaks what comes back.

    503 and 403: every request gets that error. "half": whoever reads an object gets its full length
    promised, half of it, and a closed connection.
    """

    def __init__(self, server: S3Server) -> None:
        super().__init__((HOST, 0), _Handler)
        self.upstream = server
        self.fault: Fault | None = None
        self.requests = 0
        self._counting = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}"

    def count(self) -> None:
        with self._counting:
            self.requests += 1


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client to the proxy."""

    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S  # an idle connection ends, and its thread
    server: FaultyProxy

    def handle_one(self) -> None:
        self.server.count()
        fault, body = self.server.fault, self._body()  # read in any case: who is still sending hears no answer
        if fault in ERRORS:
            self._send_error(int(fault), *ERRORS[int(fault)])
            return
        connection = HTTPConnection(HOST, self.server.upstream.port, timeout=TIMEOUT_S)
        try:
            self._pass_on(connection, body)
            self._answer(connection.getresponse(), half=fault == "half" and self._reads_object())
        finally:
            connection.close()

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = handle_one  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Silence."""

    def _body(self) -> bytes:
        """The request's body, with the frames of a chunked one."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _chunks(self) -> Iterator[bytes]:
        size = None
        while size != 0:
            line = self.rfile.readline()
            size = int(line.split(b";")[0], 16)
            yield line
            if size:
                yield self.rfile.read(size + len(b"\r\n"))
        while (line := self.rfile.readline()) not in (b"\r\n", b""):  # trailers
            yield line
        yield b"\r\n"

    def _pass_on(self, connection: HTTPConnection, body: bytes) -> None:
        """Send the request as it came: its signature covers the headers, Host too."""
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)

    def _reads_object(self) -> bool:
        """Is it GET /bucket/key, and no listing?"""
        return self.command == "GET" and bool(urlsplit(self.path).path.lstrip("/").partition("/")[2])

    def _answer(self, answer: HTTPResponse, half: bool) -> None:
        body = answer.read()
        half = half and answer.status in (200, 206)
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding"):
                self.send_header(name, value)
        bodiless = self.command == "HEAD" or answer.status == 204
        length = answer.headers.get("Content-Length") if bodiless else str(len(body))
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if half else body)
        self.close_connection = self.close_connection or half

    def _send_error(self, status: int, code: str, message: str) -> None:
        words = f"<Code>{code}</Code><Message>{message}</Message><RequestId>0</RequestId>"
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{words}</Error>'.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A running S3 server with no buckets."""
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        log = Path(folder) / "server.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(  # port 0: one that is free; a session of its own: Ctrl-C is not for it
                [sys.executable, "-m", "moto.server", "--host", HOST, "--port", "0"],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield S3Server(until(lambda: _port_or_end(process, log), "moto to start"))
        finally:
            process.terminate()
            try:
                process.wait(TIMEOUT_S)
            finally:
                process.kill()


def _port_or_end(process: subprocess.Popen[bytes], log: Path) -> int | None:
    text = log.read_text()
    assert process.poll() is None, f"moto did not start:\n{text}"
    found = READY.search(text)
    return int(found[1]) if found else None


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket; the environment leads every client to it. Not for a test with `faulty_bucket`."""
    return _bucket(s3_server, s3_server.url, monkeypatch)


@pytest.fixture
def faulty_bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, FaultyProxy]]:
    """The URL of an empty bucket behind a proxy, and the proxy."""
    with faulty_proxy(s3_server, monkeypatch) as place:
        yield place


@contextmanager
def faulty_proxy(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, FaultyProxy]]:
    """As `faulty_bucket`, while the block runs."""
    with FaultyProxy(server) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield _bucket(server, proxy.url, monkeypatch), proxy
        finally:
            proxy.shutdown()
            thread.join()


def _bucket(server: S3Server, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    settings = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": secrets.token_hex(10).upper(),
        "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,  # not the one of the person who runs the tests
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": HOST,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # fsspec keeps file systems by their arguments, and the environment is none: it would return another test's.
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    return f"s3://{server.new_bucket()}/prefix"
