"""Access to the page: the Host header, the token, the origin of what changes something, and the headers."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest

from charrnn.errors import InputError
from charrnn.jobs.client import Client
from charrnn.jobs.settings import Settings
from producer.web import PORT, connections, server
from producer.web.access import COOKIE
from tests.fixtures.web import Page, serve

TOKEN = "correct-horse-battery-staple"  # noqa: S105  # of these tests


@pytest.fixture
def locked(client: Client) -> Iterator[Page]:
    with serve(client, token=TOKEN, hosts=["Texts.Example.org"]) as page:
        yield page


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:80", "[::1]:8470", "10.0.0.7", "texts.example.org:443"])
def test_own_names_and_addresses_are_answered(locked: Page, host: str) -> None:
    assert locked.get("/login", Host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example.org", "", "localhost.evil.org", "127.0.0.1.evil.org", "[::1", "local host"]
)
def test_other_names_are_refused(locked: Page, host: str) -> None:
    answer = locked.get("/login", Host=host)
    assert answer.status == 421, answer.text  # Catches: DNS rebinding
    assert "token" not in answer.text.lower()


def test_nothing_is_shown_without_the_token(locked: Page) -> None:
    for path in ("/", "/jobs/1", "/events/jobs", "/jobs/1/results.jsonl", "/models", "/events/workers", "/nothing"):
        assert locked.get(path).status == 401
        sent = locked.get(path, Accept="text/html")
        assert (sent.status, sent.headers["location"]) == (303, f"/login?next={path}")
    assert "Log in" in locked.ok("/login")
    assert locked.get("/static/style.css").status == 200


def test_programs_send_the_token_and_browsers_a_cookie_made_from_it(locked: Page) -> None:
    assert locked.get("/", Authorization=f"Bearer {TOKEN}").status == 200
    for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", TOKEN, "Bearer é"):
        assert locked.get("/", Authorization=wrong).status == 401
    refused = locked.post("/login", {"token": "wrong"})
    assert (refused.status, "The token is wrong" in refused.text) == (401, True)
    entered = locked.post("/login?next=/models%3Fa=1", {"token": TOKEN})
    assert (entered.status, entered.headers["location"]) == (303, "/models?a=1")
    cookie, *attributes = entered.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=strict"} <= set(attributes)
    assert TOKEN not in cookie
    assert locked.get("/", Cookie=cookie).status == 200
    assert locked.get("/", Cookie=f"{COOKIE}={TOKEN}").status == 401
    assert locked.get("/", Cookie=cookie + "0").status == 401


@pytest.mark.parametrize("target", ["//evil.org", "/\\evil.org", "https://evil.org", "evil", ""])
def test_the_login_leads_to_no_other_server(locked: Page, target: str) -> None:
    assert locked.post(f"/login?next={target}", {"token": TOKEN}).headers["location"] == "/"


def test_a_cookie_is_worthless_after_the_token_has_changed(client: Client, locked: Page) -> None:
    cookie = locked.post("/login", {"token": TOKEN}).headers["set-cookie"].split(";")[0]
    with serve(client, token=TOKEN + "!") as other:
        assert other.get("/", Cookie=cookie).status == 401


def test_only_pages_of_this_server_change_something(client: Client) -> None:
    with serve(client, allow_writes=True) as page:
        for origin in ("http://evil.example.org", "null", f"http://{page.host}:1", ""):
            assert page.post("/submit", {}, Origin=origin).status == 403  # Catches: a form on another site
        assert page.post("/submit", {"preview": ""}).status == 400  # no model: the form was read


def test_what_changes_something_does_not_exist_unless_it_is_allowed(page: Page) -> None:
    for path in ("/submit", "/jobs/1/cancel", "/models/speeches@1/promote", "/schedules/nightly/run"):
        assert page.get(path).status == 404
        assert page.post(path, {}).status in (404, 405)
    assert "/submit" not in page.ok("/")


def test_every_answer_has_the_headers_that_protect(locked: Page) -> None:
    for answer in (locked.get("/"), locked.get("/login"), locked.get("/static/style.css"), locked.get("/", Host="x")):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert locked.get("/login").headers["cache-control"] == "private, no-cache"
    assert "immutable" in locked.get("/static/style.css").headers["cache-control"]


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd"]
)
def test_no_other_file_is_served(page: Page, path: str) -> None:
    assert page.get(path).status == 404


def test_a_large_form_is_refused(client: Client) -> None:
    with serve(client, allow_writes=True) as page:
        refused = page.post("/submit", {"seeds": "a" * 2_000_001})
        assert (refused.status, "larger than 2,000,000 bytes" in refused.text) == (400, True)


def test_who_has_no_token_cannot_fill_the_memory(locked: Page) -> None:
    refused = locked.post("/login", {"token": "x" * 10_000})
    assert (refused.status, "larger than 10,000 bytes" in refused.text) == (400, True)


def test_a_form_that_does_not_arrive_is_not_waited_for(locked: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.web.requests.BODY_S", 0.05)
    with socket.create_connection((locked.host, locked.port), timeout=30) as slow:
        origin = f"Host: {locked.name}\r\nOrigin: http://{locked.name}\r\nContent-Length: 100\r\n\r\n"
        slow.sendall(f"POST /login HTTP/1.1\r\n{origin}token=".encode())
        assert slow.recv(12) == b"HTTP/1.1 400"  # Catches: a connection that is open for ever


def test_idle_connections_keep_nobody_out(locked: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.web.connections.MAX_CONNECTIONS", 3)
    monkeypatch.setattr("producer.web.connections.REQUEST_S", 600.0)  # which would end them, too
    with ExitStack() as opened:
        address = (locked.host, locked.port)
        idle = [opened.enter_context(socket.create_connection(address, timeout=30)) for _ in range(8)]
        assert locked.get("/login").status == 200  # Catches: files of the process that are all in use
        for ended in idle[:6]:  # the oldest, which make room for the later ones and for the request
            with suppress(ConnectionResetError):
                assert ended.recv(1) == b""
        assert locked.get("/login").status == 200


def test_a_request_that_does_not_arrive_is_not_waited_for(locked: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.web.connections.REQUEST_S", 0.05)
    for sent in (b"", b"GET /login HTTP/1.1\r\nHost: 127"):
        with socket.create_connection((locked.host, locked.port), timeout=30) as slow, suppress(ConnectionResetError):
            slow.sendall(sent)
            assert slow.recv(1) == b""  # Catches: a client that sends a byte a second, for ever


def test_half_of_the_files_of_a_process_are_left_for_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: a fixed limit above that of the system
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    assert connections.most_connections() == 128


def test_an_address_that_others_reach_needs_a_token(settings: Settings) -> None:
    with server.listen("0.0.0.0", 0) as bound:  # noqa: S104  # refused before anybody could connect
        with pytest.raises(InputError, match="Set CHARRNN_WEB_TOKEN"):
            server.choose_login(settings, bound)
        for wrong in ("short", "with blanks and long enough", "ñandú-ñandú-ñandú"):
            with pytest.raises(InputError, match="at least 16 ASCII characters without blanks"):
                server.choose_login(replace(settings, web_token=wrong), bound)
        key = server.choose_login(replace(settings, web_token=f" {TOKEN}\n"), bound)
        assert (key.token.text, key.link) == (TOKEN, server.address(bound))


def test_on_loopback_the_token_is_this_user_s_and_stays(client: Client, settings: Settings) -> None:
    with server.listen("127.0.0.1", 0) as bound:
        key = server.choose_login(settings, bound)
        assert server.choose_login(settings, bound) == key  # Catches: a bookmark that ends with its server
    assert (settings.home / "web_token").stat().st_mode & 0o077 == 0
    with serve(client, token=key.token.text) as page:
        assert page.get("/").status == 401  # Catches: a page that every user of the machine can read
        opened = page.get(f"/login?token={key.token.text}")
        assert (opened.status, opened.headers["location"]) == (303, "/")
        assert page.get("/", Cookie=opened.headers["set-cookie"].split(";")[0]).status == 200
        assert page.get("/login?token=wrong").status == 401


def test_a_port_that_is_taken_is_another_one_unless_it_was_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"Port {port} of 127.0.0.1 is taken"):
            server.listen("127.0.0.1", port)
    with server.listen("127.0.0.1", None) as first, server.listen("127.0.0.1", None) as second:
        assert second.getsockname()[1] not in (PORT, first.getsockname()[1])


@pytest.mark.parametrize("port", [-1, 65_536, 10**4000])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    # Catches: 99999, for which the system takes 34463
    with pytest.raises(InputError, match="--port must be a whole number from 0 to 65,535. Received: "):
        server.listen("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be served on 192.0.2.1"):
        server.listen("192.0.2.1", 0)
