"""Lists: which texts are recognized, which lines are for validation, and which are left out."""

from __future__ import annotations

import random
import textwrap
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import InputError, TextError
from charrnn.text import lines as module
from charrnn.text.documents import Document
from charrnn.text.lines import Lines, choose_lines, count_copies, is_list, lines_of, overlaps_lines
from charrnn.text.training_text import prepare

CHANCE = random.Random(5)  # not cryptographic
PROSE = " ".join(" ".join(topics.values()).split())
WORDS = PROSE.split()
NAMES = sorted({word.capitalize() for word in WORDS if word.isalpha()})


def pick(*choices: str) -> str:
    return CHANCE.choice(choices)


def sentence(low: int, high: int) -> str:
    return " ".join(CHANCE.choices(WORDS, k=CHANCE.randint(low, high)))


def shuffled(items: list[str]) -> list[str]:
    return CHANCE.sample(items, len(items))


def record(number: int) -> str:
    return f">sequence {number}\n" + "\n".join("".join(CHANCE.choices("ACGT", k=60)) for _ in range(5))


def log_line(number: int) -> str:
    return (
        f"2026-{number % 12 + 1:02}-{number % 28 + 1:02} {pick('INFO', 'WARN')} {pick('db', 'web')}: {sentence(2, 9)}"
    )


SENTENCES = PROSE.replace("? ", ". ").split(". ")
LISTS = {
    "sorted names": NAMES,
    "names in any order": shuffled(NAMES),
    "grouped names": [f"{start}{end}" for start in NAMES[::7][:60] for end in ("mab", "nib", "vir", "zole", "-X")],
    "few names": shuffled(NAMES)[:25],
    "Chinese names": [
        "".join(CHANCE.choices("王李张刘陈杨赵黄周吴徐孙胡朱高林", k=CHANCE.randint(2, 3))) for _ in range(300)
    ],
    "messages": [f"{sentence(4, 25)} #{pick(*NAMES)}" for _ in range(500)],
    "titles": [f"{pick('Baked', 'Sweet', 'Hot')} {pick('Bean', 'Fish')} {pick('Soup', 'Pie')}" for _ in range(500)],
    "sorted log": sorted(map(log_line, range(600))),
    "log of many hosts": list(map(log_line, range(600))),
    "table": [f"{number},{pick(*NAMES)},{CHANCE.randint(1, 99)}" for number in range(500)],
    "addresses": [f"https://{pick(*NAMES).lower()}.{pick('com', 'org')}/{pick(*NAMES)}" for _ in range(300)],
    "sentences in any order": shuffled(SENTENCES),
}
TEXTS = {
    "wrapped prose": textwrap.wrap(PROSE[:100_000], 72),
    "little wrapped prose": textwrap.wrap(PROSE[:4000], 50),
    "paragraphs": [sentence(100, 200) for _ in range(200)],
    "paragraphs and empty lines": [line for _ in range(100) for line in (sentence(5, 9), "")],
    "code": Path(module.__file__).read_text().split("\n"),
    "wrapped DNA": textwrap.wrap("".join(CHANCE.choices("ACGT", k=9000)), 60),
    "records of several lines": "\n".join(map(record, range(50))).split("\n"),
    "hashes": [f"{CHANCE.getrandbits(128):032x}" for _ in range(300)],
    "rows of a map": ["".join(CHANCE.choices("#-", [1, 5], k=90)) for _ in range(280)],
    "ten names": NAMES[:10],
    "one line": [PROSE],
}


def write(folder: Path, lines: list[str], name: str = "text.txt") -> Document:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return Document(path)


@pytest.mark.parametrize("kind", LISTS)
def test_lists_are_recognized(tmp_path: Path, kind: str) -> None:
    assert is_list([write(tmp_path, LISTS[kind])])


@pytest.mark.parametrize("kind", TEXTS)
def test_other_texts_are_no_lists(tmp_path: Path, kind: str) -> None:
    assert not is_list([write(tmp_path, TEXTS[kind])])


def test_lists_in_several_files_are_recognized(tmp_path: Path) -> None:
    # Catches: neighbors that are alike because each file has names of one kind
    files = [[f"{ending}{name}"[:9] for name in shuffled(NAMES)[:200]] for ending in ("Mc", "O'", "De", "Al", "Van")]
    assert is_list([write(tmp_path, lines, f"{number}.txt") for number, lines in enumerate(files)])


def test_a_list_begins_each_line_with_a_newline_and_has_no_empty_one(tmp_path: Path) -> None:
    documents = [write(tmp_path, ["Ann", "", "Bo"], "1"), write(tmp_path, ["", "Cy"], "2")]
    assert "".join(Lines(documents).read()) == "\nAnn\nBo\nCy"
    assert "".join(Lines(documents, frozenset({"Bo"})).read()) == "\nAnn\nCy"


def test_lines_that_cross_a_chunk_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.text.documents.CHUNK", 3)
    assert "".join(Lines([write(tmp_path, ["Annabel", "Bé", "Cy"])]).read()) == "\nAnnabel\nBé\nCy"


def test_random_lines_are_for_validation_with_all_their_copies(tmp_path: Path) -> None:
    lines = shuffled(NAMES * 2 + ["Often"] * 3000)
    document = write(tmp_path, lines)
    chosen = lines_of(choose_lines([document]).text)
    assert 0.05 <= sum(map(len, chosen)) / sum(map(len, lines)) <= 0.11
    # Catches: a copy that is trained on; a line that is so common that the validation text would be nothing else
    assert all(Counter(lines)[line] == count for line, count in Counter(chosen).items())
    assert "Often" not in chosen
    kept = lines_of("".join(Lines([document], frozenset(chosen)).read()))
    assert sorted([*kept, *chosen]) == sorted(lines)


def test_the_choice_of_lines_depends_on_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: the tail of a sorted list, whose names all begin with Z
    monkeypatch.setattr(module, "CHUNK", 1000)  # so that only a share of the lines is in memory, as in a large list
    first, second = (write(tmp_path, lines, name) for name, lines in (("1", NAMES), ("2", shuffled(NAMES))))
    chosen = [choose_lines([document]) for document in (first, second)]
    assert chosen[0] == chosen[1]
    assert len({line[0] for line in lines_of(chosen[0].text)}) > 10
    assert chosen[0].source == f"{len(lines_of(chosen[0].text)):,} random lines of the list"


@given(lines=st.lists(st.text("ab\u00e9", min_size=1), min_size=2, max_size=30, unique=True))
def test_some_line_is_always_chosen(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    chosen = lines_of(choose_lines([write(tmp_path_factory.mktemp("list"), lines)]).text)
    assert chosen
    assert set(chosen) <= set(lines)


def test_validation_lines_are_left_out_of_later_lists(tmp_path: Path) -> None:
    validation = "\nAnn\nBo"
    text = prepare([write(tmp_path, ["Cy", "Ann", "Bo", "Ann", "Di"])], validation, lines=True)
    assert "".join(text.chunks()) == "\nCy\nDi"
    assert (text.num_characters, text.num_lines) == (len("\nCy\nDi"), 2)
    assert text.num_left_out == len("\nAnn")  # the second one: the others are the validation text itself


def test_a_list_overlaps_a_validation_text_by_its_lines(tmp_path: Path) -> None:
    validation = "\n" + "\n".join(NAMES[:50])
    assert overlaps_lines(write(tmp_path, NAMES[45:]), validation)
    assert not overlaps_lines(write(tmp_path, NAMES[46:]), validation)
    assert count_copies([write(tmp_path, NAMES)], validation) == 0


@pytest.mark.parametrize("lines", [["yes", "no", "maybe"] * 20_000, ["x" * 30_000, "y" * 30_000, "z" * 50_000]])
def test_a_large_list_of_few_different_lines_has_a_validation_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    monkeypatch.setattr(module, "CHUNK", 1000)
    chosen = lines_of(choose_lines([write(tmp_path, lines)]).text)
    assert len(set(chosen)) == 1
    assert Counter(chosen)[chosen[0]] == Counter(lines)[chosen[0]]


def test_a_list_of_empty_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="all lines are empty"):
        choose_lines([write(tmp_path, ["", "", ""])])


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: a file that is copied again for each further megabyte of its only line
    monkeypatch.setattr(module, "MAX_LINE", 100)
    monkeypatch.setattr("charrnn.text.documents.CHUNK", 50)
    with pytest.raises(TextError, match="a line has more than 100 characters"):
        list(Lines([write(tmp_path, ["short", "x" * 300])]).read())


def test_a_list_that_loses_much_is_warned_of_or_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    document, validation = write(tmp_path, NAMES * 2), "\n" + "\n".join(NAMES[:200])
    prepare([document], validation, lines=True)
    assert "of the text repeats lines of the validation text. Training leaves them out" in caplog.text
    often = write(tmp_path, NAMES[:200] * 9 + NAMES, "often.txt")
    with pytest.raises(InputError, match="Name another validation text"):
        prepare([often], validation, lines=True, strict=True)


def test_a_list_of_one_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="the list has one line, or equal ones, so none can be reserved"):
        choose_lines([write(tmp_path, ["x" * 900, "x" * 900])])
