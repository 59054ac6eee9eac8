"""Completion in bash, zsh and fish: the answers to the scripts that `--install-completion` installs.

A person waits for each answer, so nothing here imports Typer, which takes 0.2 s with the commands, or SQLAlchemy: the
words of the commands are in words.json, and names come from the store with a plain query. A shell must neither wait nor
see an error, so whatever goes wrong is no answer. zsh evaluates its answer, and bash expands it, so only words without
a special character are offered, whatever the store has.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

VARIABLE = "_CHARRNN_JOBS_COMPLETE"
SHELLS = ("complete_bash", "complete_zsh", "complete_fish")
WORDS = Path(__file__).with_name("words.json")  # written by producer.completion.words
THEN = "--then"  # between the two commands of a schedule
FILES = "files"  # the kind of words that the shell itself completes
SAFE = re.compile(r"-{0,2}[\w.+@][\w.+@=,-]{0,199}|--?")
BREAKS = re.compile(r"[=:@]+")  # at which bash begins another word
MOST = 100  # words in an answer
STANDARD_OUTPUT = 1  # whose encoding as a file of Python may know none of the words

Table = dict[str, dict[str, Any]]


def answer() -> None:
    """Print the words that may stand at the cursor, in the form that the shell expects."""
    logging.disable()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    shell, words = os.environ[VARIABLE], list[str]()
    with suppress(Exception):
        *before, word = _split(shell)
        found = candidates([each for each in before if each], word)
        begin = word[: _shared(word)] if shell == "complete_bash" else ""
        words = [each.removeprefix(begin) for each in found if SAFE.fullmatch(each) and each.startswith(word)][:MOST]
    if shell == "complete_fish" and os.environ.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        sys.exit(not words)  # fish asks first whether these words come in place of files
    with suppress(OSError):  # the shell has gone
        os.write(STANDARD_OUTPUT, (_zsh(words) if shell == "complete_zsh" else "\n".join(words)).encode())


def _zsh(words: Sequence[str]) -> str:
    """Return a command that zsh evaluates. The words have no character that means something to it."""
    return "_arguments '*: :({})'".format(" ".join(words)) if words else "_files"


def _split(shell: str) -> list[str]:
    """Return the words of the command line up to the cursor, without the program. The last one may be incomplete."""
    if shell != "complete_bash":
        return os.environ["_TYPER_COMPLETE_ARGS"].split(" ")[1:]
    words = list[str]()
    for word in os.environ["COMP_WORDS"].split("\n")[: int(os.environ["COMP_CWORD"]) + 1]:
        if words and (BREAKS.fullmatch(word) or BREAKS.search(words[-1][-1:])):
            words[-1] += word
        else:
            words.append(word)
    return words[1:]


def _shared(word: str) -> int:
    """Return the length of what bash keeps of a word: up to the last character at which it breaks words.

    It replaces an @ with what follows, since readline takes one for the beginning of a host's name.
    """
    last = max(map(word.rfind, "=:@"))
    return last if word[last:].startswith("@") else last + 1


def candidates(before: Sequence[str], word: str) -> list[str]:
    """Return words that may follow those before; not all begin with `word`, the part that was typed."""
    table: Table = json.loads(WORDS.read_text())
    name, rest = "", list(before)
    while "words" in table[name] and (verb := next((each for each in rest if not each.startswith("-")), None)):
        rest = rest[rest.index(verb) + 1 :]
        name = f"{name} {verb}".strip()
    if "--" in rest and "scheduled" in table[name]:
        return _scheduled(rest[rest.index("--") + 1 :], word) or table[name]["scheduled"]
    return [*_words(table[name], name, rest, word)]


def _scheduled(before: Sequence[str], word: str) -> list[str]:
    """Return words that may follow in the command of a schedule, or none if it has not begun."""
    if THEN in before:
        after = before[before.index(THEN) + 1 :]
        return candidates(after, word) if after else ["submit"]
    found = candidates(before, word) if before else []
    return [*found, THEN] if before[:1] == ["train"] and word.startswith("-") else found


def _words(command: dict[str, Any], name: str, before: Sequence[str], word: str) -> Iterator[str]:
    """Yield the words that may follow in one command."""
    options, place, wanted = command["options"], 0, None
    for each in before:
        if wanted is not None:  # the value of an option
            wanted = None
        elif each.startswith("-"):
            wanted = options.get(each)
        else:
            place += 1
    option, equals, _ = word.partition("=")
    if wanted is not None:
        yield from _values(wanted, name, word)
    elif equals and options.get(option):
        yield from (f"{option}={value}" for value in _values(options[option], name, word.removeprefix(f"{option}=")))
    elif word.startswith("-"):
        yield from options
    elif "words" in command:
        yield from command["words"]
    elif arguments := command["arguments"]:
        kind = arguments[min(place, len(arguments) - 1)] if place < len(arguments) or command["repeats"] else ""
        yield from _values(kind, name, word)


def _values(kind: str | list[str], name: str, word: str) -> Sequence[str]:
    """Return the values of a kind: choices, or names in the store."""
    if isinstance(kind, list):
        return kind
    if kind in ("", FILES):
        return []
    from producer.completion.names import find_names

    return find_names(kind, name, word)
