"""Fuzz target for cron expressions and time zones, as schedules have them."""

from __future__ import annotations

from itertools import islice

from hypothesis import strategies as st

from charrnn.errors import InputError
from charrnn.jobs.cron import Cron
from tests.fixtures.processes import Home
from tests.fixtures.refusals import stored
from tests.fuzz.exploration import Exploration, check_error, check_said
from tests.fuzz.mutations import arguments, odd_texts, passes

NUMBERS = ("0", "1", "2", "5", "7", "12", "28", "29", "30", "31", "59", "60", "-1", "00", "9" * 30, "²", "L", "5L", "W")
NAMES = ("mon", "SUN", "jan", "feb", "sat#5", "5#5", "1#1", "L", "*", "?", "*/2", "*/0", "*/59", "*/70", "@daily")
ZONES = (
    "UTC",
    "Europe/Paris",
    "Australia/Lord_Howe",
    "Antarctica/Casey",
    "Pacific/Apia",
    "America/New_York",
    "Etc/GMT+12",
)
ODD_ZONES = (
    "utc",
    "/etc/localtime",
    "../UTC",
    "localtime",
    "Factory",
    "Europe",
    "Europe/",
    "UTC\n",
    "",
    ".",
    "EST5EDT",
)
TIMES = (0, 1_700_000_000_000, 1_711_846_800_000, -1, 4_102_444_800_000)  # one is the night of a change of the clock
NUM_TIMES = 5

part = st.sampled_from(NUMBERS) | st.sampled_from(NAMES) | st.integers(0, 60).map(str)
item = part | st.tuples(part, st.sampled_from(["-", "/", ",", "#"]), part).map("".join)
cron_field = item | st.lists(item, min_size=1, max_size=3).map(",".join) | st.just("*") | odd_texts(6000)
expressions = (
    st.lists(cron_field, min_size=5, max_size=5).map(" ".join)
    | st.tuples(*[st.just("*") | part for _ in range(5)]).map(" ".join)
    | st.lists(cron_field, max_size=7).map(" ".join)
    | odd_texts()
)
zones = st.sampled_from(ZONES) | st.sampled_from(ODD_ZONES) | odd_texts()


def check_times(value: tuple[str, str, int]) -> None:
    expression, zone, now = value
    try:
        cron = Cron(expression, zone)
        times = [*islice(cron.after(now), NUM_TIMES)]
        assert times == sorted({*times})
        assert all(time > now for time in times)
        assert cron.last(times[-1]) == times[-1]
    except InputError as error:
        check_error(error)


def test_cron_expressions(exploration: Exploration) -> None:
    exploration.run(st.tuples(expressions, zones, st.sampled_from(TIMES)), check_times)


def test_cron_of_schedules(exploration: Exploration, fuzz_home: Home) -> None:
    def check(value: tuple[str, str, str]) -> None:
        name, expression, zone = value
        options = (f"--cron={expression}", f"--timezone={zone}")
        before = stored(fuzz_home)
        done = fuzz_home.call("schedules", "add", *options, "--", name, "submit", "-m", "tiny")
        check_said(done)
        assert stored(fuzz_home) == before
        if done.returncode == 0:
            check_said(fuzz_home.call("schedules"), [0])
            check_said(fuzz_home.call("schedules", "show", name), [0])
            check_said(fuzz_home.call("schedules", "remove", name), [0])

    cron = expressions.filter(passes) | arguments()
    zone = st.sampled_from(ZONES) | st.sampled_from(ODD_ZONES) | arguments()
    exploration.run(st.tuples(st.just("nightly") | arguments(), cron, zone), check)
