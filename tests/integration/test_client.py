"""The client's verbs on every database: a job is stored with its files and its notifications, or nothing is."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from charrnn.errors import InputError, NotFinishedError, NotFoundError, UnreachableError
from charrnn.jobs.client import Client
from charrnn.jobs.files.layout import FOLDERS
from charrnn.jobs.job.part import PartProgress
from charrnn.jobs.job.report import Seconds
from charrnn.jobs.job.requests import GenerateRequest, TrainRequest
from charrnn.jobs.job.sizing import Estimate, TrainingEstimate
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.tallies import LongestCopy, Tallies
from charrnn.jobs.job.version import NewVersion
from charrnn.jobs.job.views import no_worker
from charrnn.jobs.rows.rows import compress, part_seeds, result
from charrnn.jobs.rows.seeds import Seed, StoredSeed, read_seeds
from charrnn.jobs.settings import Settings
from charrnn.jobs.store import registry
from charrnn.jobs.store.database import NOW, upsert
from charrnn.jobs.store.deletion.models import delete_version
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.tables import aliases, jobs, metrics, speeds, versions, workers
from charrnn.jobs.submit.estimates import EPOCH_S, START_S
from charrnn.jobs.submit.openings import training_openings
from charrnn.jobs.submit.training import train as submit_training
from charrnn.options import NetworkOptions, SamplingOptions, TrainingOptions
from charrnn.text.comparison.copies import Copy
from charrnn.training.progress import EpochMetrics, Progress
from tests.fixtures.client import submit, train
from tests.fixtures.model import make_text
from tests.fixtures.store import NO_FILE, each_database, sampled

pytestmark = each_database

SAMPLING = SamplingOptions(temperatures=(0.5, 1.0), samples=2)


def seeds_of(client: Client, spec: GenerateSpec) -> list[StoredSeed]:
    with open(client.connections.files.verified_path(spec.seeds), "rb") as file:
        return list(read_seeds(file))


def file_names(client: Client) -> list[str]:
    return [file.name for folder in FOLDERS for file in client.connections.files.list(folder)]


def count(client: Client) -> tuple[int, int]:
    """Return the number of jobs in the store and of notifications in the broker."""
    return len(client.jobs()), sum(client.connections.queue.lengths().values())


def test_a_training_job_is_stored_and_notified(client: Client, text_file: Path) -> None:
    job = train(client, "speeches", [text_file], NetworkOptions(units=8), TrainingOptions(epochs=1))
    assert count(client) == (1, 1)
    status = client.status(job.id)
    assert (status.kind, status.state, status.parts_total) == ("train", "queued", 1)
    assert "no live worker serves train" in (status.waiting_for or "")


def test_a_later_training_keeps_the_validation_text(client: Client, text_file: Path) -> None:
    first = train(client, "speeches", [text_file], NetworkOptions(), TrainingOptions())
    text_file.write_text(text_file.read_text() + "more of it\n" * 50)
    second = train(client, "speeches", [text_file], NetworkOptions(), TrainingOptions())
    assert first.spec.validation == second.spec.validation
    assert first.spec.corpus != second.spec.corpus


def train_version(client: Client, model: str, text: Path, start: str | None = None) -> TrainSpec:
    """Submit a training job and store a version for it."""
    job = train(client, model, [text], start=start)
    characters = job.spec.vocabulary
    new = NewVersion(
        model=model,
        files=NO_FILE,
        characters=characters,
        network=NetworkOptions(),
        val_loss=1.0,
        precision="float32",
    )
    with client.connections.store.write() as connection:
        registry.add_version(connection, job.id or 0, new)
    assert isinstance(job.spec, TrainSpec)
    return job.spec


def prose(number: int) -> str:
    """Return text that has nothing in common with that of another number."""
    return "".join(random.Random(number).choices("etaoin shrdlu\n", k=30_000))


def test_a_version_trained_on_the_validation_text_cannot_be_fine_tuned(client: Client, tmp_path: Path) -> None:
    text, other, both = (tmp_path / name for name in ("text.txt", "other.txt", "both.txt"))
    text.write_text(prose(1))
    other.write_text(prose(2))
    both.write_text(prose(1) + prose(3))
    train_version(client, "speeches", text)
    everything = train_version(client, "all", both)  # it saw most of the validation text of speeches
    train_version(client, "some", other, start="all")
    for start in ("all@1", "some@1"):  # Catches: ignoring the version that a version was fine-tuned from
        with pytest.raises(InputError, match=f"{start} was trained on the validation text of speeches"):
            train(client, "speeches", [text], start=start)
        with pytest.raises(InputError, match=f"{start} was trained on the validation text of new"):
            train(client, "new", [other], validation=[text], start=start)
    # The chosen one would be a text that `all` saw, so it is the validation text of `all` itself.
    assert train_version(client, "new", text, start="all").validation == everything.validation
    train_version(client, "speeches", both, start="speeches")


@pytest.mark.parametrize("text", ["\n\n\n", "x", " \n"])
@pytest.mark.parametrize("lines", [True, False])
def test_a_validation_file_without_text_is_refused(client: Client, tmp_path: Path, text: str, *, lines: bool) -> None:
    chance = random.Random(5)  # not cryptographic
    names = ["".join(chance.choices("aeioulmnr", k=chance.randint(3, 9))) for _ in range(300)]
    (tmp_path / "list.txt").write_text("\n".join(names))
    (tmp_path / "empty.txt").write_text(text)
    # Catches: a list whose validation text is divided by its length of 0, at the end of the first epoch
    with pytest.raises(InputError, match="The validation text has fewer than 2 characters"):
        train(client, "new", [tmp_path / "list.txt"], validation=[tmp_path / "empty.txt"], no_lines=not lines)


def test_a_validation_text_without_information_is_refused(client: Client, text_file: Path, tmp_path: Path) -> None:
    (tmp_path / "short").write_text("x")
    with pytest.raises(InputError, match="fewer than 2 characters"):
        train(client, "speeches", [text_file], validation=[tmp_path / "short"])
    assert count(client) == (0, 0)


def test_a_version_s_number_can_be_as_long_as_it_likes(client: Client, model: str) -> None:
    with pytest.raises(NotFoundError, match=r"has no version '10*'. Expected a number up to 1, or one of champion"):
        submit(client, f"{model}@{10**30}", [Seed("a")], SAMPLING)


def test_seeds_x_temperatures_x_samples_are_rows(client: Client, model: str) -> None:
    job = submit(client, model, [Seed("a"), Seed("b"), Seed("a")], SAMPLING)
    assert (job.spec.rows, job.spec.batches, job.parts) == (12, {"cpu": 16, "gpu": 256}, 1)
    assert client.status(job.id).rows_total == 12


def test_a_dry_run_stores_nothing(client: Client, model: str, settings: Settings) -> None:
    before = count(client)
    job = submit(client, model, [Seed("a")], SAMPLING, dry_run=True)
    assert (job.id, job.spec.characters) == (None, 4 * SAMPLING.length)
    assert count(client) == before
    assert list(client.connections.files.list("seeds")) == []


def test_a_dry_run_reports_the_job_of_its_key(client: Client, model: str) -> None:
    # Catches: a check of everything except the key
    job = submit(client, model, [Seed("a")], SAMPLING, key="k", dry_run=True)
    submit(client, model, [Seed("a")], SAMPLING, key="k")
    again = submit(client, model, [Seed("a")], SAMPLING, key="k", dry_run=True)
    assert (job.existed, again.existed, again.id) == (False, True, None)
    with pytest.raises(InputError, match="belongs to job"):
        submit(client, model, [Seed("b")], SAMPLING, key="k", dry_run=True)
    assert not submit(client, model, [Seed("a")], SAMPLING, dry_run=True).existed


def test_unknown_characters_are_named_with_their_lines(client: Client, model: str) -> None:
    before = count(client)
    seeds = [Seed("ab", where="line 1"), Seed("aé", where="line 2"), Seed("xyz", where="line 4")]
    with pytest.raises(InputError, match=r"2 seeds contain .*\n  line 2: 'é'\n  line 4: 'x', 'y', 'z'"):
        submit(client, model, seeds, SAMPLING)
    assert count(client) == before


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("Speeches", "x" * 9999, "not valid"),
        ("speeches", "abab" * 2, "fewer than one batch"),
        ("speeches", "a" * 9999, "1 distinct character "),
        ("speeches", "", "empty"),
    ],
)
def test_invalid_training_input_is_refused_and_nothing_is_stored(
    client: Client, tmp_path: Path, name: str, text: str, error: str
) -> None:
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(InputError, match=error):
        train(client, name, [tmp_path / "bad.txt"], NetworkOptions(), TrainingOptions())
    assert count(client) == (0, 0)
    assert client.models.list() == []


def test_an_unknown_model_is_refused(client: Client, model: str) -> None:
    with pytest.raises(NotFoundError, match="Did you mean speeches"):
        submit(client, "speech", [Seed("a")], SAMPLING)


def test_nothing_is_stored_when_the_broker_is_unreachable(settings: Settings, tmp_path: Path, text_file: Path) -> None:
    away = Client(replace(settings, redis_url=f"redis+socket://{tmp_path / 'none.sock'}"))
    with pytest.raises(UnreachableError):
        train(away, "speeches", [text_file], NetworkOptions(), TrainingOptions())
    assert away.jobs() == []
    assert not Path(settings.files_location).exists()
    away.close()


def test_results_are_in_row_order_and_include_rows_of_failed_parts(client: Client, model: str) -> None:
    job = submit(client, model, [Seed("a")] * 13_000, SamplingOptions(), part_rows=12_800)
    leases = Leases(client.connections.store, 30)
    first, second = leases.claim("generate", "a", "cpu"), leases.claim("generate", "b", "cpu")
    assert first is not None
    assert second is not None
    assert isinstance(second.spec, GenerateSpec)
    seeds = part_seeds(second.spec, seeds_of(client, second.spec), second.first_row, second.rows)
    rows = chain.from_iterable(seeds)
    lines = compress(result(row, "speeches@1", "text", "length", 1.0) for row in rows)
    output = client.connections.files.put("jobs/2/1-1.jsonl.zst", lines)
    leases.complete_rows(second, output, sampled(second), "cpu")
    found = [json.loads(line) for line in client.results(job.id or 0)]
    assert [row["row"] for row in found] == list(range(12_800, 13_000))  # a running job yields the rows that are done
    leases.fail(first, "broken", permanent=True)
    found = [json.loads(line) for line in client.results(job.id or 0)]
    assert [row["row"] for row in found] == list(range(13_000))  # Catches: failed rows left out
    assert [row["error"] for row in found] == ["broken"] * 12_800 + [None] * 200
    assert (client.status(job.id).state, client.status(job.id).rows_failed) == ("done", 12_800)


def test_results_of_a_training_are_refused(client: Client, model: str) -> None:
    with pytest.raises(InputError, match="is a training job"):
        client.results(1)


def test_following_ends_with_the_timeout_and_leaves_the_job(client: Client, model: str) -> None:
    job = submit(client, model, [Seed("a")], SAMPLING)
    with pytest.raises(NotFinishedError, match="It stays queued"):
        list(client.follow(job.id or 0, timeout_s=0))
    assert client.status(job.id).state == "queued"


def test_no_seed_at_all_starts_a_new_line(client: Client, model: str) -> None:
    job = submit(client, model, None, SAMPLING)
    (seed,) = seeds_of(client, job.spec)
    assert (seed.seed, job.spec.rows) == ("", 4)


def test_seeds_may_be_texts(client: Client, model: str) -> None:
    job = submit(client, model, ["a", Seed("b", id="x")], SAMPLING)
    assert [(seed.seed, seed.id) for seed in seeds_of(client, job.spec)] == [("a", None), ("b", "x")]


@pytest.mark.parametrize(("seeds", "message"), [
    ([], "No seeds given"),
    ("ab", r"must be a list, such as \['ab'\]"),
    ([1], r"must be a string or a Seed\. Received: 1"),
])  # fmt: skip
def test_missing_seeds_and_a_string_instead_of_a_list_are_refused(
    client: Client, model: str, seeds: list[str] | str, message: str
) -> None:
    # Catches: a job with one empty seed for an empty generator; a job with a seed per character
    before = count(client)
    with pytest.raises(InputError, match=message):
        submit(client, model, seeds, SAMPLING)
    assert (count(client), list(client.connections.files.list("seeds"))) == (before, [])


def test_any_cancelled_first_training_job_can_be_retried(client: Client, tmp_path: Path) -> None:
    # Catches: a training job that counts itself as running, and so finds the other's validation text fixed
    jobs: list[int] = []
    for name in ("first", "second"):
        (tmp_path / name).write_text(f"the {name} text, of its own\n" + make_text(200, rng_seed=len(jobs)))
        jobs.append(train(client, "poems", [tmp_path / name], NetworkOptions(), TrainingOptions()).id or 0)
        client.cancel(jobs[-1])
    assert client.retry(jobs[0]) == 1
    with pytest.raises(InputError, match="has just set its validation text"):
        client.retry(jobs[1])


def test_a_job_whose_version_was_deleted_is_not_retried(client: Client, model: str) -> None:
    job = submit(client, model, ["a"], SAMPLING).id or 0
    client.cancel(job)
    new = NewVersion(
        model=model, files=NO_FILE, characters="\nab", network=NetworkOptions(), val_loss=0.5, precision="float32"
    )
    with client.connections.store.write() as connection:
        registry.import_version(connection, new)
        delete_version(connection, model, 1)
    with pytest.raises(NotFoundError):  # Catches: parts that fail three times each because their model is missing
        client.retry(job)
    assert client.status(job).state == "cancelled"


def test_jobs_of_a_version_are_found(client: Client, model: str) -> None:
    job = submit(client, model, ["a"], SAMPLING)
    assert [found.id for found in client.jobs(model="speeches@1")] == [job.id, 1]
    assert [found.id for found in client.jobs(model="speeches")] == [job.id, 1]
    assert client.jobs(model="speeches@2") == []
    wrongs: list[dict[str, Any]] = [
        {"state": "finished"},
        {"kind": "sample"},
        {"model": "speeches@best"},
        {"model": "@1"},
    ]
    for wrong in wrongs:
        with pytest.raises(InputError, match="must be"):
            client.jobs(**wrong)


def test_a_seed_s_own_options_count_and_are_checked(client: Client, model: str) -> None:
    seeds = [Seed("a", options={"temperature": [0.1, 0.2, 0.3], "length": 5}), Seed("b")]
    job = submit(client, model, seeds, SAMPLING)
    assert (job.spec.rows, job.spec.characters) == (6 + 4, 6 * 5 + 4 * SAMPLING.length)
    before = count(client)
    with pytest.raises(InputError, match=r"^line 3: length must be a whole number from 1"):
        submit(client, model, [Seed("a", where="line 2"), Seed("a", where="line 3", options={"length": 0})], SAMPLING)
    assert count(client) == before


@pytest.mark.parametrize("policy", ["drop", "replace"])
def test_unknown_characters_may_be_dropped_or_replaced(client: Client, model: str, policy: str) -> None:
    job = submit(client, model, [Seed("aéb"), Seed("é")], replace(SAMPLING, unknown=policy))
    # The seed is stored unchanged: the worker decides which characters the model reads.
    assert [seed.seed for seed in seeds_of(client, job.spec)] == ["aéb", "é"]


def test_a_stop_string_that_can_never_match_is_reported(
    client: Client, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    submit(client, model, [Seed("a")], replace(SAMPLING, stop=("ab", "xyz")))
    assert "stop strings with characters outside the vocabulary never match: 'xyz'" in caplog.text
    assert "'ab'" not in caplog.text


def test_random_seeds_are_of_the_training_text(client: Client, model: str) -> None:
    seeds = list(training_openings(client.connections, model, 30, 5))
    corpus = TrainSpec.from_dict(client.status(1).stored_spec).corpus
    text = client.connections.files.verified_path(corpus).read_text()
    assert all(len(seed) == 20 and seed in text for seed in seeds)
    assert len(set(seeds)) > 20
    assert list(training_openings(client.connections, model, 30, 5)) == seeds
    job = client.submit(
        GenerateRequest(model=model, sampling=SamplingOptions(unknown="replace"), random_seeds=30, rng_seed=5)
    )
    assert [seed.seed for seed in seeds_of(client, job.spec)] == seeds
    with pytest.raises(InputError, match="random_seeds must be a whole number from 1 to 1,000,000"):
        client.submit(GenerateRequest(model=model, random_seeds=2**60))


def test_a_random_seed_that_is_refused_stores_nothing(client: Client, text_file: Path, model: str) -> None:
    # Catches: text and validation text stored before the last option is checked
    before = file_names(client), count(client)
    with pytest.raises(InputError, match="rng_seed must be a whole number"):
        client.train(TrainRequest(model="poems", paths=(str(text_file),), rng_seed=-1))
    with pytest.raises(InputError, match="rng_seed must be a whole number"):
        client.submit(GenerateRequest(model=model, rng_seed=-1))
    assert (file_names(client), count(client)) == before


def test_following_ends_with_the_final_epochs(client: Client, text_file: Path) -> None:
    job = train(client, "speeches", [text_file]).id or 0
    leases = Leases(client.connections.store, 30)
    part = leases.claim("train", "a", "cpu")
    assert part is not None
    epoch = EpochMetrics(epoch=1, step=100, learning_rate=0.1, train_loss=3.0, val_loss=2.0)
    leases.record(part, [epoch])
    statuses = client.follow(job)
    assert next(statuses).history == (epoch,)
    again = replace(epoch, step=70, val_loss=2.5)
    leases.record(part, [again, replace(epoch, epoch=2)])
    assert [found.epoch for found in next(statuses).history] == [1, 2]
    client.cancel(job)
    leases.release(part)
    assert list(statuses)[-1].history[0] == again  # Catches: the loss of an attempt that was killed


def test_retried_parts_are_notified(client: Client, model: str) -> None:
    # Catches: a retry that waits for maintenance
    job = submit(client, model, [Seed("a")], SAMPLING).id or 0
    client.cancel(job)
    (_, rung) = count(client)
    client.retry(job)
    assert count(client)[1] == rung + 1


def test_parts_may_be_of_any_size(client: Client, model: str) -> None:
    assert submit(client, model, [Seed("a")] * 100, SamplingOptions(), part_rows=30).parts == 4
    before = count(client)
    with pytest.raises(InputError, match="part_rows must be a whole number from 1"):
        submit(client, model, [Seed("a")], SamplingOptions(), part_rows=0)
    with pytest.raises(InputError, match="would make 1,000,000 parts of 1 row. Expected at most 100,000 parts. Use a"):
        submit(client, model, [Seed("a")], SamplingOptions(samples=1_000_000), part_rows=1)
    assert count(client) == before


def test_the_precision_is_that_of_the_version_by_default(client: Client, model: str) -> None:
    def precision(seeds: int, asked: str = "auto") -> str:
        job = submit(client, model, [Seed("a")] * seeds, SamplingOptions(precision=asked))
        return job.spec.sampling.precision

    # Catches: the version's precision ignored; a single text in bfloat16, which is slower
    assert (precision(9), precision(9, "float32"), precision(1)) == ("bfloat16", "float32", "float32")


def test_a_job_reports_the_sum_of_its_parts(client: Client, model: str) -> None:
    job = submit(client, model, [Seed("a")] * 4, SamplingOptions(), part_rows=2)
    leases, texts = Leases(client.connections.store, 30), iter(["x", "y", "x", "zz"])
    while part := leases.claim("generate", "a", "cpu"):
        tallies = Tallies()
        for number in range(2):
            tallies.at("1.0").add("a", next(texts), 1.5)
            tallies.at("1.0").copies.add(part.first_row + number, Copy(number == 0, "copied" * part.number, 7))
        took = Seconds(loading=0.0, compiling=1.0, sampling=2.0, writing=0.5)
        report = sampled(part, steps=10, slot_steps=80, characters=100, seconds=took, temperatures=tallies)
        leases.complete_rows(part, NO_FILE, report, "cpu")
    summary = client.status(job.id).report
    assert summary is not None
    assert (summary.parts, summary.fill, summary.characters_per_second) == (2, 0.5, 50)
    assert summary.seconds == Seconds(loading=0.0, compiling=2.0, sampling=4.0, writing=1.0)
    # Catches: numbers of distinct texts added up over the parts
    [found] = summary.temperatures
    assert (found.rows, found.nats_per_char, found.mean_length, found.distinct_share) == (4, 1.5, 1.2, 0.75)
    assert (found.compared, found.novel_share, found.median_copy) == (4, 0.5, 0)
    assert found.longest_copy == LongestCopy(characters=6, text="copied", row=2, place=7)


def test_only_novel_texts_are_refused_where_no_text_is_known_to_be(client: Client, model: str) -> None:
    job = submit(client, model, [Seed("a")], SamplingOptions()).id or 0
    assert list(client.results(job, novel=True)) == []  # Catches: a refusal while nothing is sampled yet
    part = Leases(client.connections.store, 30).claim("generate", "a", "cpu")
    assert part
    tallies = Tallies()
    tallies.at("1.0").add("a", "x", 1.5)
    took = Seconds(loading=0.0, compiling=1.0, sampling=2.0, writing=0.5)
    report = sampled(part, steps=10, slot_steps=80, characters=100, seconds=took, temperatures=tallies)
    Leases(client.connections.store, 30).complete_rows(part, NO_FILE, report, "cpu")
    with pytest.raises(InputError, match=f"It is not known which texts of job {job} are new"):
        client.results(job, novel=True)


@pytest.mark.parametrize(("seed", "policy"), [("", "error"), ("", "drop"), ("é", "drop")])
def test_an_empty_seed_requires_a_newline_in_the_vocabulary(client: Client, model: str, seed: str, policy: str) -> None:
    with client.connections.store.write() as connection:
        connection.execute(update(versions).values(characters="ab"))
    with pytest.raises(InputError, match="an empty seed starts with a newline, which is outside the vocabulary"):
        submit(client, model, [Seed(seed)], replace(SAMPLING, unknown=policy))


def test_a_name_that_is_not_text_leaves_no_file(client: Client, model: str, text_file: Path) -> None:
    files = file_names(client)
    with pytest.raises(InputError, match="The label: a surrogate"):
        submit(client, model, [Seed("a")], SAMPLING, label="\ud800")
    with pytest.raises(InputError, match="The label: a surrogate"):
        train(client, "other", [text_file], label="\ud800")
    assert file_names(client) == files  # Catches: a check only after the seeds or the corpus are written


@pytest.mark.parametrize("seed", [Seed("\ud800a"), Seed("a", id="\ud800"), Seed("a", options={"stop": "\ud800"})])
def test_half_a_character_is_refused(client: Client, model: str, seed: Seed) -> None:
    before = count(client)
    with pytest.raises(InputError, match="is not a character by itself"):
        submit(client, model, [seed], replace(SAMPLING, unknown="drop"))
    assert count(client) == before


def test_submitting_again_with_the_same_key_returns_the_same_job(client: Client, model: str) -> None:
    first = submit(client, model, [Seed("a")], SAMPLING, key="k")
    before = (count(client), file_names(client))
    again = submit(client, model, [Seed("a")], SAMPLING, key="k", label="anything", part_rows=3)
    assert (again.id, again.existed, first.existed) == (first.id, True, False)
    for seeds, sampling in (([Seed("b")], SAMPLING), ([Seed("a")], replace(SAMPLING, rng_seed=9))):
        with pytest.raises(InputError, match="belongs to job"):
            submit(client, model, seeds, sampling, key="k")
    assert (count(client), file_names(client)) == before  # Catches: the seeds of a repeated submit left over
    for key in ("", "k" * 201, "a\0b"):
        with pytest.raises(InputError, match="key"):
            submit(client, model, None, SAMPLING, key=key)


def test_a_key_identifies_the_request_as_it_was_written(client: Client, model: str) -> None:
    first = submit(client, model, [Seed("a")], SAMPLING, key="k")
    better = NewVersion(
        model="speeches",
        files=NO_FILE,
        characters="\nab",
        network=NetworkOptions(),
        val_loss=0.5,
        precision="float32",
    )
    with client.connections.store.write() as connection:
        registry.add_version(connection, 1, better)
    # Catches: a retry that fails because a better version was trained in the meantime
    assert submit(client, model, [Seed("a")], SAMPLING, key="k").id == first.id


def test_a_job_may_wait_for_a_training(client: Client, model: str, text_file: Path) -> None:
    training = train(client, "later", [text_file])
    job = submit(client, None, [Seed("the ")], SAMPLING, after=training.id)
    assert (job.spec.model, job.spec.version) == ("later", None)
    began = f"its training, job {training.id}: "
    # Catches: the reason of the waiting job, no worker for generate, instead of that of its training
    assert client.status(job.id).waiting_for == began + no_worker("train")
    leases = Leases(client.connections.store, 30)
    leases.claim("train", "a", "cpu")  # that of the model
    part = leases.claim("train", "b", "cpu")
    assert part
    assert client.status(job.id).waiting_for == began + "starting"
    work = Progress(step=5, steps=40, epoch=2, epochs=8, train_loss=1.5, val_loss=None, characters=500)
    leases.heartbeat(part, PartProgress(work=work))
    assert client.status(job.id).waiting_for == began + "epoch 2 of 8"
    leases.heartbeat(part, PartProgress(work=work, waits="the disk is full"))
    assert client.status(job.id).waiting_for == began + "waiting: the disk is full"
    assert client.connections.queue.lengths()["generate"] == 0
    with pytest.raises(InputError, match="1 seed contains characters"):  # the characters of the text are already known
        submit(client, None, [Seed("§")], SAMPLING, after=training.id)
    with pytest.raises(InputError, match="trains later, not speeches"):
        submit(client, model, [Seed("a")], SAMPLING, after=training.id)


def test_a_job_that_damage_lets_wait_for_itself_is_shown(client: Client, model: str, text_file: Path) -> None:
    job = submit(client, None, [Seed("the ")], SAMPLING, after=train(client, "later", [text_file]).id)
    with client.connections.store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(after=job.id))
    # Catches: a search for the reason without an end
    assert client.status(job.id).waiting_for == f"its training, job {job.id}: {no_worker('generate')}"


def test_without_a_name_the_only_model_is_sampled(client: Client, model: str) -> None:
    assert submit(client, None, [Seed("a")], SAMPLING).spec.model == model
    with client.connections.store.write() as connection:
        connection.execute(delete(aliases))
    with pytest.raises(InputError, match="none has a champion. Train one with: charrnn-jobs train NAME PATH"):
        submit(client, None, [Seed("a")], SAMPLING)


def test_a_job_after_an_ended_training_job_starts_immediately(client: Client, model: str) -> None:
    with client.connections.store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == 1).values(version=1, state="done"))
    job = submit(client, None, [Seed("a")], SAMPLING, after=1)
    assert job.spec.name == "speeches@1"
    assert client.connections.queue.lengths()["generate"] == 1  # Catches: a notification that is left to maintenance


def estimate(client: Client, model: str, sampling: SamplingOptions) -> Estimate:
    found = submit(client, model, [Seed("ab")] * 100, sampling, dry_run=True).estimate
    assert isinstance(found, Estimate)
    return found


def test_an_estimate_guesses_a_speed_until_one_is_known(client: Client, model: str) -> None:
    unknown = estimate(client, model, SAMPLING)
    with client.connections.store.write() as connection:
        upsert(connection, speeds, model="speeches", device="cpu", characters_per_s=1000.0)
    known = estimate(client, model, SAMPLING)
    assert (known.seconds, known.guessed) == (160.0, False)
    assert unknown.guessed
    assert 0.0 < unknown.seconds < 1.0  # the model has two units
    assert 400 * SAMPLING.length < known.export_bytes < 2 * 400 * SAMPLING.length


def test_an_estimate_expects_texts_as_long_as_those_that_a_stop_string_ended(client: Client, model: str) -> None:
    stopped = replace(SAMPLING, stop=("b",))
    assert estimate(client, model, stopped).mean_length is None
    whole, shorter = (submit(client, model, [Seed("ab")] * 100, SAMPLING).id for _ in range(2))
    for job, length in ((whole, SAMPLING.length), (shorter, 3)):
        done = {"rows_done": 400, "characters": 400 * length}
        with client.connections.store.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job).values(**done))
    with client.connections.store.write() as connection:
        upsert(connection, speeds, model="speeches", device="cpu", characters_per_s=1000.0)
    assert estimate(client, model, stopped).mean_length == 3.0
    assert estimate(client, model, stopped).seconds == 160.0 * 3 / SAMPLING.length
    assert estimate(client, model, SAMPLING).mean_length is None  # Catches: stop strings that end texts without them


def test_an_estimate_for_a_list_expects_texts_as_long_as_its_lines(client: Client, tmp_path: Path) -> None:
    chance = random.Random(5)  # not cryptographic
    (tmp_path / "names.txt").write_text("".join(f"{''.join(chance.choices('abcdef', k=7))}\n" for _ in range(900)))
    job = train(client, "names", [tmp_path / "names.txt"], NetworkOptions(lines=True))
    assert (job.spec.network.lines, job.spec.characters) == (True, 8 * job.spec.num_lines)
    found = submit(client, None, ["a"] * 100, SamplingOptions(), after=job.id, dry_run=True).estimate
    assert isinstance(found, Estimate)
    # Catches: 100 texts of 400 characters until a job of the model is done
    assert (found.mean_length, found.export_bytes < 100 * 200) == (7.0, True)  # without line ends


def test_parts_of_a_list_are_sized_by_its_lines(client: Client, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("".join(f"{number:07}\n" for number in range(900)))
    with client.connections.store.write() as connection:
        upsert(connection, speeds, model="names", device="cpu", characters_per_s=10_000.0)
    request = TrainRequest(model="names", paths=(str(tmp_path / "names.txt"),), options={"lines": True})
    many = GenerateRequest(sampling=SamplingOptions(samples=200_000))
    training = submit_training(client.connections, request, then=many)
    then = client.job(training.then_job or 0).spec
    again = client.submit(many, after=training.id, dry_run=True).spec
    assert isinstance(then, GenerateSpec)
    # Catches: parts of 500 rows, which take less time than the bookkeeping around them
    batch = then.batches["cpu"]
    assert (then.part_rows, again.part_rows) == (20 * 10_000 // 7 // batch * batch,) * 2


def test_an_estimate_of_a_training_is_scaled_from_earlier_ones(client: Client, text_file: Path) -> None:
    guessed = train(client, "new", [text_file], dry_run=True).estimate
    assert isinstance(guessed, TrainingEstimate)
    assert guessed.guessed
    assert 1.0 < guessed.seconds < 1000.0
    job = train(client, "new", [text_file], NetworkOptions(units=64)).id
    steps = {"learning_rate": 0.1, "train_loss": 1.0, "val_loss": 1.0}
    with client.connections.store.write() as connection:
        for epoch in (1, 2):
            upsert(connection, metrics, job=job, epoch=epoch, step=10 * epoch, at=1000 * epoch, **steps)
        connection.execute(update(jobs).where(jobs.c.id == job).values(state="done", parts_left=0))
    found = train(client, "new", [text_file], NetworkOptions(units=64), TrainingOptions(epochs=4), dry_run=True)
    training = found.spec.training
    per_second = 10 * (training.batch or 0) * training.unroll  # ten steps took a second
    assert not found.estimate.guessed
    # EPOCH_S of that second is fixed overhead, and each of the four epochs adds it again.
    expected = START_S + 4 * (EPOCH_S + (1 - EPOCH_S) * found.spec.characters / per_second)
    assert found.estimate.seconds == pytest.approx(expected)
    limited = TrainingOptions(epochs=4, max_minutes=0.01)
    assert train(client, "new", [text_file], NetworkOptions(units=64), limited, dry_run=True).estimate.seconds == 0.6


def test_parts_are_sized_by_the_speed_and_the_live_devices(client: Client, model: str) -> None:
    def part_rows() -> int:
        return submit(client, model, [Seed("a")] * 100_000, SamplingOptions(), dry_run=True).spec.part_rows

    assert part_rows() == 7 * 256  # 20 s at 40,000 characters/s
    with client.connections.store.write() as connection:
        upsert(connection, speeds, model="speeches", device="cpu", characters_per_s=80_000.0)
        upsert(connection, speeds, model="speeches", device="gpu", characters_per_s=800_000.0)
    assert part_rows() == 15 * 256
    for number in range(10):
        live = {"host": "h", "pid": 1, "device": str(number), "queues": ["generate"], "seen_at": NOW}
        with client.connections.store.write() as connection:
            upsert(connection, workers, owner=f"w/{number}", **live)
    assert part_rows() == 8192  # one fortieth would leave most slots of a GPU empty


def test_all_versions_of_a_model_are_read_as_the_first(
    client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, prose = tmp_path / "rows.txt", tmp_path / "prose.txt"
    chance = random.Random(5)  # not cryptographic
    rows.write_text("".join(f"{''.join(chance.choices('aeioulmnr', k=chance.randint(3, 9)))}\n" for _ in range(300)))
    prose.write_text(make_text(300).replace("\n", " "))
    assert train(client, "rows", [rows]).spec.network.lines
    assert train(client, "rows", [prose]).spec.network.lines  # since the first one was
    assert "does not look like a list, but rows was trained line by line" in caplog.text
    for options in (NetworkOptions(max_len=9), None):
        with pytest.raises(InputError, match="rows was trained line by line, and its validation text is made for that"):
            train(client, "rows", [rows], options, no_lines=options is None)


def test_all_versions_of_a_model_reserve_a_validation_text_or_none(client: Client, text_file: Path) -> None:
    train(client, "honest", [text_file])
    train(client, "learned", [text_file], validation=["none"])
    assert train(client, "learned", [text_file], validation=["none"]).spec.baseline is None
    # Catches: a version that is compared with one that has seen the validation text
    with pytest.raises(InputError, match="honest has a validation text that it was never trained on"):
        train(client, "honest", [text_file], validation=["none"])
    with pytest.raises(InputError, match="learned was trained on all of its text"):
        train(client, "learned", [text_file])


def test_an_estimate_of_windows_counts_their_steps(client: Client, text_file: Path) -> None:
    streams, windows = (
        train(client, "new", [text_file], network, TrainingOptions(epochs=4), dry_run=True)
        for network in (NetworkOptions(units=64, dropout=0.0), NetworkOptions(units=64, dropout=0.0, max_len=30))
    )
    fixed = START_S + 4 * EPOCH_S
    assert windows.estimate.seconds - fixed == pytest.approx(10 * (streams.estimate.seconds - fixed), rel=0.01)
