"""Arguments of the wrong type: each is refused by name, with what was expected and what was received."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn.checks import check_paths, check_strings
from charrnn.errors import InputError
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.requests import GenerateRequest, TrainRequest
from charrnn.jobs.job.schedule import Schedule
from charrnn.jobs.job.specs import check_name
from charrnn.jobs.rows.seeds import Seed, store_seeds
from charrnn.jobs.submit.sampling import as_seeds
from charrnn.options import SamplingOptions
from charrnn.text.documents import check_storable
from charrnn.text.vocabulary import Vocabulary

REQUEST = TrainRequest(model="m", paths=("a.txt",))


def untyped(value: Any) -> Any:
    """Return an argument that a type checker would refuse."""
    return value


def train(**options: Any) -> TrainRequest:
    return TrainRequest(**{"model": "m", "paths": ("a.txt",), **options})


def generate(**options: Any) -> GenerateRequest:
    return GenerateRequest(**options)


def schedule(**options: Any) -> Schedule:
    return Schedule(**{"name": "s", "cron": Cron("@daily"), "request": REQUEST, **options})


def store(*seeds: Any) -> None:
    store_seeds(
        as_seeds(seeds),
        SamplingOptions(),
        Vocabulary("AB"),
        lambda data: FileRef(name="", size=len([*data]), sha256=""),
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train(model=None), "model must be a string. Received: None"),
        (lambda: train(paths=7), "paths must be a path or several paths. Received: 7"),
        (lambda: train(paths=b"a.txt"), "paths must be a path or several paths. Received: b'a.txt'"),
        (lambda: train(paths=["a.txt", None]), "paths must be a path or several paths. Received: None"),
        (lambda: train(validation=7), "validation must be a path or several paths. Received: 7"),
        (lambda: train(options=None), r"options must be a mapping, such as \{'epochs': 4\}. Received: None"),
        (lambda: train(options=["units"]), r"options must be a mapping, .* Received: \['units'\]"),
        (lambda: train(encoding=None), "encoding must be a string. Received: None"),
        (lambda: train(start=3), "start must be a string. Received: 3"),
        (lambda: train(preset=3), "preset must be a string. Received: 3"),
        (lambda: generate(model=Path("m")), r"model must be a string. Received: \w+Path\('m'\)"),
        (lambda: SamplingOptions(keep_stop=untyped("no")), "keep_stop must be true or false. Received: 'no'"),
        (lambda: SamplingOptions(logprobs=untyped(1)), "logprobs must be true or false. Received: 1"),
        (lambda: SamplingOptions(temperatures=untyped(b"x")), "temperature must be a number or .* Received: b'x'"),
        (lambda: SamplingOptions().with_overrides(untyped("x")), r"values must be a mapping, .* Received: 'x'"),
        (lambda: Cron("@daily").last(untyped("x")), "ms must be a time in milliseconds since 1970. Received: 'x'"),
        (lambda: schedule(always="no"), "always must be true or false. Received: 'no'"),
        (lambda: generate(sampling={"length": 5}), "sampling must be SamplingOptions. Received: {'length': 5}"),
        (lambda: generate(seeds=["A", "B"]), r"seeds must be a string or a Path. Received: \['A', 'B'\]"),
        (lambda: generate(priority="high"), "priority must be a Priority, such as Priority.HIGH. Received: 'high'"),
        (lambda: schedule(cron="0 3 * * *"), r"cron must be a Cron, such as Cron\('0 3 \* \* \*'\). Received: '0 3"),
        (lambda: schedule(request=None), "request must be a TrainRequest or a GenerateRequest. Received: None"),
        (lambda: schedule(then=REQUEST), "then must be a GenerateRequest. Received: TrainRequest"),
        (lambda: schedule(name=7), "The schedule's name must be a string. Received: 7"),
        (lambda: schedule(on_success=7), "The hook `on_success` must be a string. Received: 7"),
        (lambda: Cron(untyped(5)), "expression must be a string. Received: 5"),
        (lambda: Cron("@daily", untyped(None)), "timezone must be a string. Received: None"),
        (lambda: check_name("The model's name", untyped(None)), "The model's name must be a string. Received: None"),
        (lambda: check_storable("The label", untyped(5)), "The label must be a string. Received: 5"),
        (lambda: list(as_seeds("The ")), r"Seeds must be a list, such as \['The '\]. Received: 'The '"),
        (lambda: list(as_seeds(untyped(Path("x")))), r"Seeds must be a list, such as \['The '\]. Received: \w+Path"),
        (lambda: list(as_seeds(untyped(b"x"))), "Seeds must be a list, .* Received: b'x'"),
        (lambda: list(as_seeds([untyped(b"x")])), "A seed must be a string or a Seed. Received: b'x'"),
        (lambda: store(Seed("A", id=untyped(1))), "'A': an id must be a string. Received: 1"),
        (lambda: store(Seed(untyped(1))), "1: a seed must be a string. Received: 1"),
        (lambda: store(Seed("A", options=untyped([1]))), r"'A': options must be a mapping, .* Received: \[1\]"),
    ],
)
def test_a_wrong_type_is_refused_by_name(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):  # Catches: a TypeError of Python
        call()


def test_one_or_several_strings_are_a_tuple() -> None:
    assert check_strings("where", "ab") == ("ab",)  # Catches: the characters of a single text
    assert check_strings("where", (text for text in ("a", "b"))) == ("a", "b")
    with pytest.raises(InputError, match="where must be a string or several strings. Received: 1"):
        check_strings("where", ["a", 1])


def test_one_or_several_paths_are_a_tuple_of_strings() -> None:
    assert check_paths("paths", Path("a") / "b") == ("a/b",)
    assert check_paths("paths", ["s3://a/b", Path("c")]) == ("s3://a/b", "c")  # Catches: s3:/a/b


def test_a_request_for_a_single_path_can_be_stored() -> None:
    # Catches: the characters of a path; a Path, of which no JSON can be made; a file called none
    request = TrainRequest(model="m", paths=untyped(Path("a.txt")), validation=untyped("none"))
    assert (request.paths, request.validation) == (("a.txt",), ("none",))
    assert TrainRequest.from_dict(request.to_dict()) == request
    assert GenerateRequest(model="m", seeds=untyped(Path("s.txt"))).seeds == "s.txt"
