"""Settings from the environment: defaults, errors and the warning about unknown names."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import platformdirs
import pytest
from sqlalchemy import make_url

from charrnn.errors import InputError
from charrnn.jobs import settings
from charrnn.jobs.settings import Settings

SECONDS = [name for name in Settings.names() if name.endswith("_s")]
NUMBERS = {"store_connections": "7", "retention_days": "0.5"}
PLACES = [name for name in Settings.names() if not name.endswith("_s") and name not in {*NUMBERS, "backend"}]
KERNEL_LIMIT = 107  # bytes of a Unix socket's path


def from_env(**environ: str) -> Settings:
    return Settings.from_env(environ)


def test_an_empty_environment_gives_the_platform_s_data_folder() -> None:
    assert from_env() == Settings(home=Path(platformdirs.user_data_dir("charrnn-jobs")))


@pytest.mark.parametrize("field", SECONDS)
def test_seconds_are_read_from_their_variable(field: str) -> None:
    assert getattr(Settings.from_env({f"CHARRNN_{field.upper()}": "12.5"}), field) == 12.5


def test_a_lease_that_one_late_heartbeat_would_lose_is_refused() -> None:
    with pytest.raises(InputError, match="CHARRNN_LEASE_S must be at least twice CHARRNN_HEARTBEAT_S"):
        Settings.from_env({"CHARRNN_LEASE_S": "9", "CHARRNN_HEARTBEAT_S": "5"})


@pytest.mark.parametrize("field", PLACES)
def test_a_place_is_read_from_its_variable(field: str) -> None:
    places = {"redis_url": "redis://there:1/2", "redis_prefix": "there"}
    place = places.get(field, "/there")
    assert str(getattr(Settings.from_env({f"CHARRNN_{field.upper()}": place}), field)) == place


@pytest.mark.parametrize(
    "url",
    [
        "http://there/",
        "memory://",
        "redis://there:99999/0",
        "redis://there/x",
        f"redis://there/{'9' * 5000}",
        "redis://b/0?password=x",
        "garbage",
        "redis://b/?virtual_host=0",
        "redis://b/0?socket_timeout=5",
        "rediss://b/0?ssl_cert_reqs=x",
        "rediss://b/0?ssl_cert_reqs=",  # without a value, Kombu's default would verify no certificate
        "rediss://b/0?ssl_x=y",
        "redis+socket:///",
        "redis+socket://there",
        "redis+socket:///b?virtual_host=x",
        "redis+socket:///b?x=y",
    ],
)
def test_a_url_of_no_redis_server_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="CHARRNN_REDIS_URL is not a URL of a Redis server"):
        from_env(CHARRNN_REDIS_URL=url)


def test_a_backend_is_one_of_two() -> None:
    assert [from_env(CHARRNN_BACKEND=name).backend for name in ("", "tensorflow", "jax")] == ["", "tensorflow", "jax"]
    with pytest.raises(InputError, match="CHARRNN_BACKEND must be one of tensorflow, jax. Received: 'torch'"):
        from_env(CHARRNN_BACKEND="torch")


def test_an_empty_variable_means_the_default() -> None:
    # Catches: `in environ`, so that CHARRNN_HOME= would be the current folder
    assert from_env(CHARRNN_HOME="", CHARRNN_LEASE_S="") == from_env()


@pytest.mark.parametrize("prefix", ["a:b", "a b", "a\n", "*", "x" * 65, "é"])
def test_a_prefix_of_keys_is_a_plain_word(prefix: str) -> None:
    # Catches: the prefix a:unacked, below which are keys of the prefix a; a pattern in an ACL
    with pytest.raises(InputError, match="CHARRNN_REDIS_PREFIX must have 1 to 64 letters"):
        from_env(CHARRNN_REDIS_PREFIX=prefix)


def test_keys_begin_with_the_prefix() -> None:
    assert (from_env().key_prefix, from_env(CHARRNN_REDIS_PREFIX="team-a").key_prefix) == ("charrnn:", "team-a:")


@pytest.mark.parametrize("name", [" ada", "ada\n", "a\x1b[1m", "a\u202eb", "x" * 101, "\ud800"])
def test_a_user_s_name_is_short_and_printable(name: str) -> None:
    # Catches: a name that moves the cursor of a terminal, fills a table, or cannot be stored
    with pytest.raises(InputError, match="CHARRNN_USER"):
        from_env(CHARRNN_USER=name)


def test_a_user_s_name_may_have_any_letters() -> None:
    assert from_env(CHARRNN_USER="Ada Łovelace").person == "Ada Łovelace"


def test_a_user_without_a_name_and_a_host_with_a_strange_one_submit_under_a_printable_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_name(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(settings, "getpwuid", no_name)
    monkeypatch.setattr(socket, "gethostname", lambda: "a\x1b\udc80" + "b" * 200)
    # Catches: a container's user, who has no name, who cannot submit
    assert from_env().person == f"{os.getuid()}@a??{'b' * 200}"[:100]


@pytest.mark.parametrize("field", ["redis_url", "store_url"])
def test_a_place_is_read_from_the_file_that_a_variable_names(field: str, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://:secret@there/0\n")
    settings = Settings.from_env({f"CHARRNN_{field.upper()}_FILE": str(tmp_path / "url")})
    assert getattr(settings, field) == "redis://:secret@there/0"


def test_a_variable_and_its_file_are_refused_together(tmp_path: Path) -> None:
    # Catches: one of the two used silently
    with pytest.raises(InputError, match="Set CHARRNN_STORE_URL or CHARRNN_STORE_URL_FILE, not both"):
        from_env(CHARRNN_STORE_URL="sqlite://", CHARRNN_STORE_URL_FILE=str(tmp_path / "url"))


@pytest.mark.parametrize("text", ["", "\n", "x" * 70_000])
def test_a_file_variable_of_an_unknown_setting_is_refused(text: str, tmp_path: Path) -> None:
    # Catches: the local stack used where a secret is empty
    (tmp_path / "url").write_text(text)
    with pytest.raises(InputError, match="CHARRNN_STORE_URL_FILE: .* is empty or has more than"):
        from_env(CHARRNN_STORE_URL_FILE=str(tmp_path / "url"))


@pytest.mark.parametrize(
    ("url", "broker_url"),
    [
        ("rediss://b/0", "rediss://b/0?ssl_cert_reqs=required"),
        ("rediss://b/0?ssl_ca_certs=/ca", "rediss://b/0?ssl_ca_certs=/ca&ssl_cert_reqs=required"),
        ("rediss://b/0?ssl_cert_reqs=none", "rediss://b/0?ssl_cert_reqs=none"),
        ("redis://b/0", "redis://b/0"),
    ],
)
def test_the_broker_certificate_is_verified_unless_disabled(url: str, broker_url: str) -> None:
    # Catches: Kombu's default, which verifies no certificate
    assert from_env(CHARRNN_REDIS_URL=url).broker_url == broker_url


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("CHARRNN_STORE_URL", "sqlite:////tmp/%00"),
        ("CHARRNN_REDIS_URL", "redis+socket:///%00"),
        ("CHARRNN_HOME", "a\0b"),
        ("CHARRNN_FILES_URL", "\0"),
    ],
)
def test_a_nul_in_a_setting_is_refused(setting: str, text: str, tmp_path: Path) -> None:
    # Catches: ValueError of the system's functions. A variable holds no NUL, but a file that it names may
    (tmp_path / "value").write_text(text)
    for name, value in ((setting, text), (f"{setting}_FILE", str(tmp_path / "value"))):
        with pytest.raises(InputError, match=f"{setting} contains a NUL character"):
            from_env(**{name: value})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    # Catches: the local stack used where a secret was not mounted
    with pytest.raises(InputError, match=f"CHARRNN_REDIS_URL_FILE must name a file .*{tmp_path}/url"):
        from_env(CHARRNN_REDIS_URL_FILE=str(tmp_path / "url"))


def test_a_file_variable_is_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "url").write_text("redis://there/0")
    from_env(CHARRNN_REDIS_URL_FILE=str(tmp_path / "url"))
    assert not caplog.records


def test_a_home_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert from_env(CHARRNN_HOME=".demo").home == tmp_path / ".demo"


def test_a_tilde_in_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert from_env(CHARRNN_HOME="~/data").home == tmp_path / "data"


@pytest.mark.parametrize("text", ["0", "101", "1.5", "many", "-1"])
def test_connections_are_a_whole_number_from_1_to_100(text: str) -> None:
    with pytest.raises(InputError, match="CHARRNN_STORE_CONNECTIONS must be a whole number from 1 to 100"):
        from_env(CHARRNN_STORE_CONNECTIONS=text)
    assert [from_env(CHARRNN_STORE_CONNECTIONS=number).store_connections for number in ("1", "100")] == [1, 100]


@pytest.mark.parametrize("text", ["-1", "nan", "30d", "36501"])
def test_retention_is_a_number_of_days(text: str) -> None:
    with pytest.raises(InputError, match="CHARRNN_RETENTION_DAYS must be a number of days from 0 to 36500"):
        from_env(CHARRNN_RETENTION_DAYS=text)
    assert [from_env(CHARRNN_RETENTION_DAYS=days).retention_days for days in ("0", "0.5", "30")] == [0.0, 0.5, 30.0]


@pytest.mark.parametrize("field", SECONDS)
@pytest.mark.parametrize("text", ["0", "-1", "soon", "inf", "nan", "5s", "3601"])
def test_seconds_are_a_number_above_zero_and_at_most_an_hour(field: str, text: str) -> None:
    variable = f"CHARRNN_{field.upper()}"
    with pytest.raises(
        InputError, match=f"{variable} must be a number of seconds above 0 and at most 3600. Received: '{text}'"
    ):
        Settings.from_env({variable: text})


def test_a_misspelt_variable_gets_a_warning_with_the_nearest_name(caplog: pytest.LogCaptureFixture) -> None:
    from_env(CHARRNN_REDIS_ULR="redis://x")
    assert caplog.messages == ["CHARRNN_REDIS_ULR is not a setting and has no effect; did you mean CHARRNN_REDIS_URL?"]


def test_a_variable_without_a_similar_name_gets_no_hint(caplog: pytest.LogCaptureFixture) -> None:
    from_env(CHARRNN_XYZZY_QQQQ_0123456789="1")
    assert caplog.messages == ["CHARRNN_XYZZY_QQQQ_0123456789 is not a setting and has no effect"]


def test_known_variables_and_those_of_others_get_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    from_env(CHARRNN_HOME="/x", CHARRNN_SLICE_S="5", HOME="/y", MY_CHARRNN_HOME="/z")
    assert caplog.messages == []


def test_the_broker_s_socket_is_under_a_short_home() -> None:
    assert Settings(home=Path("/h")).broker_socket == Path("/h/broker/broker.sock")


def deep_home(letter: str = "d") -> Settings:
    return Settings(home=Path("/" + letter * 200))


def test_the_socket_path_of_a_deep_home_is_short_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: "AF_UNIX path too long" in a checkout with a long path
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert len(str(deep_home().broker_socket)) <= KERNEL_LIMIT


def test_the_length_of_a_socket_s_path_is_counted_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: len(str(path)): 80 characters here, but 2 bytes for most of them
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert len(bytes(Settings(home=Path("/" + "é" * 60)).broker_socket)) <= KERNEL_LIMIT


def test_two_deep_homes_have_two_sockets() -> None:
    assert deep_home("d").broker_socket != deep_home("e").broker_socket


def test_the_socket_of_a_deep_home_keeps_its_path() -> None:
    # Catches: a random name, under which no second command finds the broker
    assert deep_home().broker_socket == deep_home().broker_socket


def test_the_local_stack_is_under_home() -> None:
    settings = Settings(home=Path("/h"))
    assert (settings.broker_url, settings.database_url, settings.files_location) == (
        "redis+socket:///h/broker/broker.sock?virtual_host=0",
        "sqlite:////h/store.sqlite",
        "/h/files",
    )


def test_urls_in_the_environment_take_precedence() -> None:
    settings = Settings(home=Path("/h"), redis_url="redis://r", store_url="postgresql://p", files_url="/f")
    assert (settings.broker_url, settings.database_url, settings.files_location) == (
        "redis://r",
        "postgresql://p",
        "/f",
    )


@pytest.mark.parametrize("home", ["/with space", "/with#hash", "/with%20percent", "/with?question"])
def test_the_database_is_below_home_for_any_name(home: str) -> None:
    # Catches: a store outside of home, shared by chance with another one
    assert make_url(Settings(home=Path(home)).database_url).database == f"{home}/store.sqlite"
