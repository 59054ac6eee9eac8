"""The choice of the backend, and that both have the same operations."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from charrnn import backend
from charrnn.backend import (
    BACKENDS,
    FLAGS,
    JAX,
    MEMORY_LIMIT,
    SETTING,
    TENSORFLOW,
    choose_backend,
    choose_kernels,
    memory_limit,
)
from charrnn.errors import InputError

FOLDER = Path(backend.__file__).parent


@pytest.mark.parametrize(
    ("installed", "wanted", "expected"),
    [
        ({TENSORFLOW, JAX}, "", TENSORFLOW),
        ({JAX}, "", JAX),
        ({TENSORFLOW, JAX}, JAX, JAX),
        ({TENSORFLOW}, TENSORFLOW, TENSORFLOW),
    ],
)
def test_the_backend_is_what_is_installed_or_wanted(
    installed: set[str], wanted: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: name if name in installed else None)
    assert choose_backend({SETTING: wanted}) == expected


@pytest.mark.parametrize(
    ("installed", "wanted", "message"),
    [
        ({TENSORFLOW, JAX}, "torch", "CHARRNN_BACKEND must be one of tensorflow, jax. Received: 'torch'"),
        ({TENSORFLOW}, JAX, "JAX is not installed. Install the cpu extra, with TensorFlow, or the gpu extra"),
        (set(), "", "TensorFlow or JAX is not installed. Install"),
    ],
)
def test_a_backend_that_cannot_be_used_is_an_error(
    installed: set[str], wanted: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: name if name in installed else None)
    with pytest.raises(InputError) as raised:
        choose_backend({SETTING: wanted})
    assert message in str(raised.value)


@pytest.mark.parametrize(("text", "limit"), [(None, None), ("", None), ("9600", 9600), ("10000000", 10_000_000)])
def test_the_memory_limit_of_a_gpu_is_a_number_of_mib(text: str | None, limit: int | None) -> None:
    assert memory_limit({} if text is None else {MEMORY_LIMIT: text}) == limit


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "8 GB", "10000001", "9" * 9999])
def test_a_memory_limit_that_is_none_is_refused(text: str) -> None:
    # Catches: a traceback of Python's int()
    with pytest.raises(
        InputError, match=f"^{MEMORY_LIMIT} must be a whole number from 1 to 10,000,000. Received: .{{1,12}}$"
    ):
        memory_limit({MEMORY_LIMIT: text})


@pytest.mark.parametrize(("before", "after"), [({}, FLAGS), ({"XLA_FLAGS": "--mine"}, f"{FLAGS} --mine")])
def test_the_user_s_own_flags_of_xla_win(before: dict[str, str], after: str) -> None:
    choose_kernels(environ := dict(before))
    assert environ == {"XLA_FLAGS": after}  # Catches: flags that are replaced; those of the user before ours


def test_the_backends_have_the_same_operations_with_the_same_parameters() -> None:
    ours, theirs = (_names(FOLDER / f"{name}.py") for name in BACKENDS)
    assert set(ours) == set(theirs)
    both = {name for name in ours if ours[name] and theirs[name]}  # others are functions of the libraries
    assert {name for name in both if ours[name] != theirs[name]} == set()


def _names(path: Path) -> dict[str, list[str] | None]:
    """Return the public names of a module, and of functions the names of their parameters."""
    found: dict[str, list[str] | None] = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            found[node.name] = [argument.arg for argument in arguments]
        elif isinstance(node, ast.Assign):
            found |= {target.id: None for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = None
    return {name: words for name, words in found.items() if not name.startswith("_") and not name.isupper()}
