"""Names of all folders and files of a store, relative to its root, with forward slashes."""

from __future__ import annotations

import secrets

MARKER = "store-id"  # a file with the id of the store that owns the files

JOBS = "jobs"  # it has a folder for each job, deleted with the job
SEEDS = "seeds"
CORPORA = "corpora"
VALIDATION = "validation"
MODELS = "models"  # it has a folder for each model, with a folder for each version
FOLDERS = (JOBS, SEEDS, CORPORA, VALIDATION, MODELS)

ASIDE = "aside"  # files that prune has set aside: aside/SECONDS/NAME, with the time in seconds since 1970

TEXT = ".txt"  # suffix of a corpus or a validation text, whose name is its sha256
ROWS = ".jsonl.zst"  # suffix of seeds and results


def aside_name(name: str, at_s: int) -> str:
    return f"{ASIDE}/{at_s}/{name}"


def job_folder(job: int) -> str:
    return f"{JOBS}/{job}"


def part_prefix(job: int, part: int) -> str:
    """Return the common prefix of the files of one part from all its leases."""
    return f"{job_folder(job)}/{part}-"


def part_file(job: int, part: int, token: int) -> str:
    return f"{part_prefix(job, part)}{token}{ROWS}"


def checkpoint_file(job: int, token: int, saves: int) -> str:
    """Return a different name for each save: a file must not change while the store still names it."""
    return f"{job_folder(job)}/checkpoint-{token}-{saves}.safetensors"


def version_folder(model: str, job: int, token: int) -> str:
    return f"{MODELS}/{model}/{job}-{token}"


def new_version_folder(model: str) -> str:
    """Return a unique name for a version that no job of this store trained."""
    return f"{MODELS}/{model}/{secrets.token_hex(16)}"


def new_seeds_file() -> str:
    """Return a unique name for a seeds file."""
    return f"{SEEDS}/{secrets.token_hex(16)}{ROWS}"
