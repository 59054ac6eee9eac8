"""The names of all folders and files of a store, below its root, with forward slashes."""

from __future__ import annotations

import secrets

MARKER = "store-id"  # a file that tells whose files these are

JOBS = "jobs"  # a folder of each, deleted with it
SEEDS = "seeds"
CORPORA = "corpora"
VALIDATION = "validation"
MODELS = "models"  # a folder of each, with one of each version
FOLDERS = (JOBS, SEEDS, CORPORA, VALIDATION, MODELS)

TEXT = ".txt"  # ends the name of a corpus or of validation text, which is its sha256
ROWS = ".jsonl.zst"  # ends the name of seeds or results


def job_folder(job: int) -> str:
    return f"{JOBS}/{job}"


def part_prefix(job: int, part: int) -> str:
    """The common prefix of the files of one part, over all its leases."""
    return f"{job_folder(job)}/{part}-"


def part_file(job: int, part: int, token: int) -> str:
    return f"{part_prefix(job, part)}{token}{ROWS}"


def checkpoint_file(job: int, token: int, saves: int) -> str:
    """A name of its own for each save: the file that the store names must not change before the store does."""
    return f"{job_folder(job)}/checkpoint-{token}-{saves}.safetensors"


def version_folder(model: str, job: int, token: int) -> str:
    return f"{MODELS}/{model}/{job}-{token}"


def new_version_folder(model: str) -> str:
    """A name that no other version has, for one that no job of this store trained."""
    return f"{MODELS}/{model}/{secrets.token_hex(16)}"


def new_seeds_file() -> str:
    """A name that no other file has."""
    return f"{SEEDS}/{secrets.token_hex(16)}{ROWS}"
