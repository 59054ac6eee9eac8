"""Settings from charrnn.toml: which file wins, where its paths start, and files that cannot be used."""

from __future__ import annotations

import logging
import os
from grp import struct_group
from pathlib import Path
from pwd import getpwuid
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.errors import InputError
from charrnn.jobs.settings import Settings, survey
from tests.fixtures.settings_files import Places

NAMES = Settings.names()

NUMBERS = {name: "12.5" for name in Settings.names() if name.endswith("_s")}
NUMBERS |= {"store_connections": "7", "retention_days": "0.5"}
VALUES = {**NUMBERS, "redis_url": "redis://there:1/2", "backend": "jax", "redis_prefix": "there"}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A folder for a project and one for a user's settings; the current folder is two below the project's."""
    return Places.make(tmp_path, monkeypatch)


def refusal(**environ: str) -> str:
    with pytest.raises(InputError) as error:
        Settings.from_env(environ)
    return str(error.value)


def test_a_variable_wins_over_the_project_and_the_project_over_the_user(places: Places) -> None:
    assert Settings.from_env({}).model == ""
    places.user.write_text('model = "user"\nslice_s = 7\n')
    assert Settings.from_env({}).model == "user"
    places.project.write_text('model = "project"\n')
    assert Settings.from_env({}).model == "project"
    assert Settings.from_env({"CHARRNN_MODEL": "variable"}).model == "variable"
    assert Settings.from_env({}).slice_s == 7.0


def test_the_nearest_project_counts_alone(places: Places) -> None:
    places.project.write_text('model = "outer"\nslice_s = 7\n')
    nearer = places.folder.parent / "charrnn.toml"
    nearer.write_text('model = "inner"\n')
    found = Settings.from_env({})
    assert (found.model, found.slice_s) == ("inner", 60.0)
    assert list(survey({}).files) == [nearer]


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_can_be_in_a_file_or_in_a_file_that_it_names(places: Places, name: str, tmp_path: Path) -> None:
    value = VALUES.get(name, "/there")
    places.user.write_text(f"{name} = {value if name in NUMBERS else repr(value)}\n")
    expected = getattr(Settings.from_env({}), name)
    assert str(expected) == value
    (tmp_path / "secret").write_text(f"{value}\n")
    places.user.write_text(f"{name}_file = '{tmp_path}/secret'\n")
    assert getattr(Settings.from_env({}), name) == expected


def test_paths_in_a_file_start_at_its_folder(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: another home for each folder of a project
    top = places.project.parent
    (top / "secret").write_text("m")
    places.project.write_text(
        'home = "data"\nfiles_url = "files"\nstore_url = "sqlite:///a.sqlite"\nmodel_file = "secret"\n'
        'corpus_roots = "texts, s3://bucket/x, ~/y"\n'
    )
    monkeypatch.setenv("HOME", "/home/me")
    found = Settings.from_env({})
    assert (found.home, found.files_url, found.model) == (top / "data", str(top / "files"), "m")
    assert (found.store_url, found.corpus_roots) == (
        f"sqlite:///{top}/a.sqlite",
        f"{top}/texts,s3://bucket/x,/home/me/y",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle = 'names'", "'modle' is not a setting. Did you mean model?"),
        ("xyzzy = 1", "'xyzzy' is not a setting. Expected any of home, redis_url"),
        ("[model]\nname = 1", "model in {file} must be a text in quotes. Received a table"),
        ("model = 1", "model in {file} must be a text in quotes. Received a number"),
        ("slice_s = '60'", "slice_s in {file} must be a number. Received a text"),
        ("slice_s = true", "slice_s in {file} must be a number. Received a boolean"),
        ("slice_s = inf", "slice_s in {file} must be a number of seconds above 0 and at most 3600. Received: 'inf'"),
        ("lease_s = 9", "lease_s in {file} must be at least twice CHARRNN_HEARTBEAT_S"),
        ("redis_url = 'http://there'", "redis_url in {file} is not a URL of a Redis server"),
        ("model = 'a'\nmodel_file = 'b'", "Set model in {file} or model_file in {file}, not both"),
        ("model = 2026-11-29", "model in {file} must be a text in quotes. Received a date or time"),
        ("model_file = 'gone'", "model_file in {file} must name a file with UTF-8 text"),
        ('model = "a\\u0000b"', "model in {file} contains a NUL character"),
        ("home = '~nosuchuser/x'", "home in {file} '~nosuchuser/x' is not usable"),
        ("model", "{file} is not TOML: "),
        (f"model = {'[' * 30_000}", "{file} is not TOML: "),
        (f"model = 0x{'f' * 30_000}", "{file} is not TOML: "),
        ("#" * 70_000, "{file} is longer than 65,536 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(places: Places, text: str, message: str) -> None:
    # Catches: a traceback, or a command that goes to another store than the one in the file
    places.project.write_text(text)
    assert message.format(file=places.project) in refusal()


def test_a_variable_makes_up_for_a_wrong_value_in_a_file(places: Places) -> None:
    places.project.write_text("slice_s = 'soon'\n")
    assert Settings.from_env({"CHARRNN_SLICE_S": "5"}).slice_s == 5.0


def test_a_file_that_may_not_be_read_is_an_error(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: the local stack used in place of the project's; the superuser may read any file
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    places.project.write_text("")
    monkeypatch.setattr("charrnn.jobs.sources.regular", refuse)
    assert f"{places.project} cannot be read: Permission denied" in refusal()


def test_a_folder_that_cannot_be_searched_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: an OSError of Path.is_file
    monkeypatch.setenv("XDG_CONFIG_HOME", "/" + "x" * 5_000)
    assert Settings.from_env({}).model == ""


def test_a_pipe_is_not_waited_for(places: Places) -> None:
    os.mkfifo(places.project)
    places.user.write_text('model = "user"\n')
    with pytest.raises(InputError, match="cannot be read: not a regular file"):
        Settings.from_env({})


def test_a_link_that_leads_nowhere_is_reported(places: Places) -> None:
    # Catches: the local stack in place of a team's, without a word
    places.project.symlink_to("gone.toml")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        Settings.from_env({})


def test_a_byte_order_mark_is_read(places: Places) -> None:
    places.project.write_text('\ufeffmodel = "names"\n')
    assert Settings.from_env({}).model == "names"


@pytest.mark.parametrize(
    ("url", "expected"), [("REDIS://h/0", "redis://h/0"), ("RediSS://h/0", "rediss://h/0?ssl_cert_reqs=required")]
)
def test_a_scheme_in_capitals_is_that_scheme(url: str, expected: str) -> None:
    # Catches: a certificate that is not verified
    assert Settings.from_env({"CHARRNN_REDIS_URL": url}).broker_url == expected


def test_a_line_break_in_a_url_is_refused(places: Places) -> None:
    # Catches: a password whose second half is shown
    places.project.write_text('redis_url = "redis://:pa\\nss@h/0"\n')
    with pytest.raises(InputError, match="contains a line break") as refused:
        Settings.from_env({})
    assert "ss@" not in str(refused.value)


def test_a_project_file_that_others_can_change_has_no_effect(
    places: Places, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Catches: a file in /tmp that sends texts to somebody else's broker
    places.project.write_text('redis_url = "redis://theirs"\n')
    places.project.chmod(0o666)
    assert Settings.from_env({}).redis_url == ""
    places.project.chmod(0o644)
    assert Settings.from_env({}).redis_url == "redis://theirs"
    if os.getuid() == 0:  # files of the superuser are trusted
        os.chown(places.project, 4711, -1)
    else:
        monkeypatch.setattr("os.getuid", lambda: 4711)
    assert Settings.from_env({}).redis_url == ""
    reasons = ("every user can change it", "it belongs to another user")
    assert [reason in said for reason, said in zip(reasons, caplog.messages, strict=True)] == [True, True]


def test_a_project_file_that_a_group_can_change_has_no_effect(
    places: Places, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.project.write_text('redis_url = "redis://ours"\n')
    places.project.chmod(0o664)
    own = getpwuid(os.getuid()).pw_name
    members = {"group": struct_group((own, "x", 4711, [own]))}
    monkeypatch.setattr("charrnn.jobs.sources.getgrgid", lambda _: members["group"])
    assert Settings.from_env({}).redis_url == "redis://ours"  # Catches: a warning wherever the umask is 002
    for group in (struct_group((own, "x", 4711, ["eve"])), struct_group(("staff", "x", 4711, []))):
        members["group"] = group
        assert Settings.from_env({}).redis_url == ""
    assert ["its group can change it. To use it: chmod g-w" in said for said in caplog.messages] == [True, True]
    places.project.chmod(0o644)
    assert Settings.from_env({}).redis_url == "redis://ours"


def test_paths_in_urls_start_at_the_folder_of_the_file(places: Places) -> None:
    # Catches: a certificate that is looked for wherever the command is started
    places.project.write_text(
        'redis_url = "rediss://h:1/0?ssl_ca_certs=my%20ca.pem&ssl_certfile=/etc/c.pem&ssl_check_hostname=true"\n'
        'store_url = "postgresql://u@h/d?sslmode=verify-full&sslrootcert=system&sslcert=keys/c.pem"\n'
    )
    folder, found = quote(str(places.project.parent)), Settings.from_env({})
    assert found.redis_url == (
        f"rediss://h:1/0?ssl_ca_certs={folder}/my%20ca.pem&ssl_certfile=/etc/c.pem&ssl_check_hostname=true"
    )
    assert found.store_url == (f"postgresql://u@h/d?sslmode=verify-full&sslrootcert=system&sslcert={folder}/keys/c.pem")
    url = "rediss://h:1/0?ssl_ca_certs=ca.pem"
    assert Settings.from_env({"CHARRNN_REDIS_URL": url}).redis_url == url  # a variable has no folder


def test_the_log_names_the_files_in_force(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    # Catches: a worker that was started in another project, and does not say so
    places.project.write_text("")
    with caplog.at_level(logging.INFO):
        Settings.from_env({})
    assert caplog.messages == [f"settings from {places.project}"]


def test_a_survey_tells_each_value_and_its_place_and_all_errors(places: Places) -> None:
    places.user.write_text('model = "user"\nslice_s = "soon"\n')
    places.project.write_text("modle = 1\n")
    found = survey({"CHARRNN_LEASE_S": "-1"})
    told = {setting.name: (setting.value, setting.kind, setting.source) for setting in found.settings}
    assert list(told) == NAMES
    assert told["model"] == ("user", "user", f"model in {places.user}")
    assert told["slice_s"] == (None, "user", f"slice_s in {places.user}")
    assert told["lease_s"] == (None, "environment", "CHARRNN_LEASE_S")
    assert told["drain_s"] == (25.0, "default", None)
    assert [error.partition(" must")[0].partition(": ")[0] for error in found.errors] == [
        str(places.project),
        "CHARRNN_LEASE_S",
        f"slice_s in {places.user}",
    ]


odd = st.sampled_from(
    ['"', "'", "=", "[", "]", "{", "}", "\n", ".", "0x", "1e999", "nan", "-", "\\u0000", "\0", *NAMES]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(odd | st.text(max_size=5), max_size=12).map("".join).map(str.encode) | st.binary(max_size=40))
def test_any_file_gives_settings_or_one_message(places: Places, data: bytes) -> None:
    places.project.write_bytes(data)
    assert all(str(places.project) in error for error in survey({}).errors)
