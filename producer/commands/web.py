"""The commands `web` and `report`."""

from __future__ import annotations

import signal
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from producer.newest import newest
from producer.options import flag, integer, open_client, option, optional_job, read_settings
from producer.output import console, destination
from producer.web import PORT, require_extra

SERVER, OUTPUT = "Server", "Output"

app = typer.Typer()


@app.command()
def web(
    host: Annotated[
        str,
        option(
            metavar="ADDRESS",
            help="Address to serve on. Any but loopback requires CHARRNN_WEB_TOKEN or CHARRNN_WEB_TOKEN_FILE.",
            default="127.0.0.1",
            panel=SERVER,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        integer(
            metavar="PORT", help="Port to serve on.", default=f"{PORT}, or a free one if that is taken", panel=SERVER
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        option(metavar="NAME", help="Further name by which browsers reach it. Repeatable.", panel=SERVER),
    ] = None,
    allow_writes: Annotated[
        bool, flag("--allow-writes", help="Let viewers submit, cancel, retry, promote, run and pause.", panel=SERVER)
    ] = False,
    open_browser: Annotated[bool, flag("--open", help="Open it in a browser.", panel=SERVER)] = False,
) -> None:
    """Serve a web interface with jobs, texts, models, schedules and workers. Stops at Ctrl-C."""
    require_extra()
    from producer.web import server

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server raises again what has stopped it
    settings = read_settings()
    with suppress(KeyboardInterrupt), open_client() as client, server.listen(host, port) as bound:
        login = server.choose_login(settings, bound)

        def started() -> None:
            console.note(f"web interface at {login.link}; stop with Ctrl-C")
            if open_browser:  # in a thread: a browser in the terminal waits for its page
                threading.Thread(target=webbrowser.open, args=(login.link,), daemon=True).start()

        serving = server.make_server(
            client, login.token, allow_writes=allow_writes, hosts=allow_host or (), started=started
        )
        serving.run(sockets=[bound])


@app.command()
def report(
    job: Annotated[int | None, optional_job("the newest that has begun")] = None,
    output: Annotated[
        Path | None,
        option(
            "-o",
            "--output",
            metavar="FILE",
            help="File to write, such as report.html.",
            default="standard output",
            panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Write a report of a job: one HTML file with its figures, losses and texts."""
    require_extra()
    from producer.web.report import job_report

    with open_client() as client:
        job = newest(client, job, lambda job: job.started_at is not None, "has begun")
        html = job_report(client, job).encode()
    with destination.opened(output, live=False) as file:
        file.write(html)
    if output not in (None, destination.STANDARD_OUTPUT):
        console.note(f"{console.size(len(html))}: {output}")
