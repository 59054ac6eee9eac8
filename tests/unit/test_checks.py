"""Suggestions of the name that was probably meant."""

from __future__ import annotations

from charrnn.checks import did_you_mean


def test_the_nearest_known_name_is_suggested() -> None:
    assert did_you_mean("temprature", ["model", "temperature", "temperatures"]) == "Did you mean temperature?"
    assert did_you_mean("zzz", ["model", "temperature"]) == ""


def test_some_user_chosen_names_are_suggested_even_if_none_is_similar() -> None:
    names = ["code", "speeches", "manuals"]
    assert did_you_mean("speechs", names, suggest_any=True) == "Did you mean speeches?"
    assert did_you_mean("zzz", ["a", "b", "c", "d"], suggest_any=True) == "Did you mean a or b or c?"
    assert did_you_mean("zzz", [], suggest_any=True) == ""
