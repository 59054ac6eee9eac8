"""Whether a process died for lack of memory, by the kernel's counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker import oom

V1 = "9:name=systemd:/\n4:cpu,memory:/box/worker\n0::/\n"
V2 = "0::/box/worker\n"


@pytest.fixture
def counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of cgroups, without any."""
    monkeypatch.setattr(oom, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(oom, "MEMBERSHIP", tmp_path / "membership")
    return tmp_path / "cgroup"


def write(membership: str, counter: Path, kills: int) -> None:
    oom.MEMBERSHIP.write_text(membership)
    counter.parent.mkdir(parents=True, exist_ok=True)
    counter.write_text(f"oom 7\noom_kill {kills}\noom_group_kill 0\n")


LAYOUTS = {
    "v2": (V2, "box/worker/memory.events"),
    "v2 in a container": (V2, "memory.events"),
    "v1": (V1, "memory/box/worker/memory.oom_control"),
    "v1 in a container": (V1, "memory/memory.oom_control"),
}


@pytest.mark.parametrize(("membership", "name"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_kills_are_counted(counters: Path, membership: str, name: str) -> None:
    # Catches: a counter that is not read
    write(membership, counters / name, 3)
    assert oom.oom_kills() == 3


def test_oom_kills_are_zero_without_counters(counters: Path) -> None:
    assert oom.oom_kills() == 0


def test_a_death_since_the_last_look_was_for_memory_if_the_counter_rose(counters: Path) -> None:
    # Catches: kills before the worker's start; one kill reported twice
    counter = counters / "memory.events"
    write(V2, counter, 3)
    oom.remember()
    assert oom.why_died() == "process died"
    write(V2, counter, 4)
    assert [oom.why_died() for _ in range(2)] == ["out of memory", "process died"]
