from __future__ import annotations
import json, time, hashlib, sys, os
from tests.fix_hosts import Network, Place
from tests.fix_model import make_text
from tests.fix_processes import until


def test_probe(network, place, tmp_path):
    t0 = time.monotonic()

    def say(*a):
        print(f"{time.monotonic() - t0:6.1f}", time.strftime("%H:%M:%S"), *a, file=sys.stderr, flush=True)

    fast = {"CHARRNN_LEASE_S": "5", "CHARRNN_HEARTBEAT_S": "0.5", "CHARRNN_MAINTAIN_S": "1"}
    for h in network.hosts:
        h.settings |= fast
    text = tmp_path / "text.txt"
    text.write_text(make_text(800))
    wa = network.a.start("worker", "--devices", "cpu")
    wb = network.b.start("worker", "--devices", "cpu")
    job = network.console.ok("train", "tiny", str(text), "--units", "32", "--epochs", "2", "--rng-seed", "1", "--wait")
    say("trained")
    rows = os.environ.get("ROWS", "6000")
    part = os.environ.get("PART", "300")
    L = os.environ.get("LEN", "2000")

    def submit(*x):
        return network.console.ok(
            "submit", "-m", "tiny", "-n", rows, "-t", "1", "-l", L, "--part-rows", part, "--rng-seed", "3", *x
        ).strip()

    def who(o):
        return {wa.pid: "A", wb.pid: "B"}.get(int(o.split("-")[1])) if o else None

    calm = submit("--wait")
    say("calm done")
    say([(p["number"], who(p["owner"]), p["token"]) for p in place.parts(calm)])
    sha = hashlib.sha256(network.console.ok("results", calm).encode()).hexdigest()
    say(sha[:9])
    job = submit()
    say("submitted")

    def b_in_work():
        ps = place.parts(job)
        if not any(p["state"] == "done" for p in ps):
            return None
        return next((p for p in ps if p["state"] == "leased" and who(p["owner"]) == "B" and p["progress"]), None)

    held = until(b_in_work, "B in work")
    network.b.cut()
    say("cut", held["number"], held["token"], held["progress"])
    for p in place.store.execute(
        "select pid,state,client_addr,wait_event,xact_start from pg_stat_activity where client_addr is not null"
    ).fetchall():
        say(p)
    n = held["number"]
    try:
        until(lambda: who(place.parts(job)[n]["owner"]) == "A", "x", 45)
    except AssertionError:
        for p in place.parts(job):
            say(
                {
                    k: str(v)[:60]
                    for k, v in p.items()
                    if k in ("number", "owner", "token", "state", "attempts", "lease_until", "progress", "queue")
                }
            )
        say(place.doorbells("generate"), place.broker.keys("*"))
        for p in place.store.execute(
            "select pid,state,client_addr,wait_event,xact_start,query from pg_stat_activity where client_addr is not null"
        ).fetchall():
            say(p)
        say("A", network.a.log[-5000:])
        say("B", network.b.log[-5000:])
    again = until(lambda: (lambda p: p if who(p["owner"]) == "A" else None)(place.parts(job)[n]), "A takes over", 45)
    say("taken over", again["token"], again["state"], again["attempts"])
    if os.environ.get("STAY"):
        time.sleep(float(os.environ["STAY"]))
    for p in place.store.execute(
        "select pid,state,client_addr,wait_event,xact_start from pg_stat_activity where client_addr is not null"
    ).fetchall():
        say(p)
    mend = place.store.execute("select cast(extract(epoch from clock_timestamp()) * 1000 as bigint) t").fetchone()["t"]
    network.b.mend()
    say("mended")
    last = [None]

    def look():
        ps = place.parts(job)
        cur = [(p["number"], who(p["owner"]), p["token"], p["state"]) for p in ps if p["owner"]]
        if cur != last[0]:
            for c in cur:
                if last[0] is None or c not in last[0]:
                    say(c)
            last[0] = cur
        return all(p["state"] == "done" for p in ps)

    until(look, "done")
    say("done")
    say(hashlib.sha256(network.console.ok("results", job).encode()).hexdigest() == sha)
    say(network.console.json("status", job)["rows_done"])
    say("A", network.a.log)
    say("B", network.b.log)
    # when does B return if the job ended?
    j = submit()
    until(lambda: any(who(p["owner"]) == "B" for p in place.parts(j)), "B back")
    say("B has a part of another job")
    network.console.ok("cancel", j)
    say("B", network.b.log[-1500:])
