"""A stand-in for a worker of the first release: its statements, frozen, and the fields of specs that it knew.

It serves a queue until nothing waits that it can do, and prints the jobs whose parts it did as JSON. It knows no column
that came later, and raises at a spec that it cannot read.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from sqlalchemy import Connection, text

from charrnn.jobs.store.database import Database

OWNER = "first-release"
FIELDS = {"model", "version", "seeds", "num_seeds", "rows", "characters", "sampling", "batches"}
FIELDS |= {"part_rows", "gpu_rows"}
SHOW_LIFE = """
insert into workers (owner, host, pid, device, queues, seen_at) values (:owner, 'here', 1, 'cpu', '["generate"]', :now)
"""
CANDIDATES = """
select id, cast(spec as text) from jobs
where kind = 'generate' and state in ('queued', 'running') and (after is null or version is not null) and exists (
  select * from parts where parts.job = jobs.id and parts.state = 'queued' and parts.spec_version <= 1
)
order by priority desc, (select count(*) from parts where parts.job = jobs.id and parts.state = 'leased'), id
limit 20
"""
START = "update jobs set state = 'running', started_at = :now where id = :job and state = 'queued'"
TAKE = """
update parts set state = 'leased', attempts = attempts + 1, token = token + 1, owner = :owner, lease_until = :now,
  progress = null
where id = (
  select id from parts where job = :job and state = 'queued' and spec_version <= 1 order by number limit 1
) returning id
"""
COMPLETE = "update parts set state = 'done', lease_until = null, output = :output where id = :part and state = 'leased'"
COUNT = "update jobs set parts_left = parts_left - 1 where id = :job returning parts_left"
END = "update jobs set state = 'done', finished_at = :now where id = :job"
OUTPUT = json.dumps({"name": "none", "size": 0, "sha256": "0"})


def do_next(connection: Connection, now: int) -> int | None:
    """Claim and complete a part. Return its job, or None if none waits.

    Raises:
        ValueError: the first job's spec has a field that this release does not know.
    """
    for job, spec in connection.execute(text(CANDIDATES.replace("after is", '"after" is'))).all():
        if unknown := json.loads(spec).keys() - FIELDS:
            raise ValueError(f"job {job} has unknown fields {unknown}")
        facts: dict[str, Any] = {"job": job, "now": now, "owner": OWNER}
        connection.execute(text(START), facts)
        if (part := connection.execute(text(TAKE), facts).scalar_one_or_none()) is None:
            continue
        connection.execute(text(COMPLETE), {"part": part, "output": OUTPUT})
        if connection.execute(text(COUNT), facts).scalar_one() == 0:
            connection.execute(text(END), facts)
        return int(job)
    return None


def main(url: str, now: int) -> None:
    database, done = Database(url), []
    with database.write() as connection:
        connection.execute(text(SHOW_LIFE), {"owner": OWNER, "now": now})
    while True:
        with database.write() as connection:
            job = do_next(connection, now)
        if job is None:
            break
        done.append(job)
    database.close()
    sys.stdout.write(json.dumps(done))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
