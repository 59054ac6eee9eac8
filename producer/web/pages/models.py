"""Models: the list, the versions of one, one version, and two of them side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from charrnn.errors import CharrnnError, InputError, NotFoundError
from charrnn.jobs.client import Client
from charrnn.jobs.job.version import CHAMPION, ListedVersion
from charrnn.training.progress import Preview
from producer.web.templates import page
from producer.web.views.curve import Curve, draw
from producer.web.views.job import best_epoch

SHOWN_VERSIONS = 200  # of a model, the newest


def listing(request: Request) -> Response:
    """Show every model with its champion."""
    models: dict[str, list[ListedVersion]] = defaultdict(list)
    for version in request.app.state.client.models.list():
        models[version.model].append(version)
    champions = {name: _champion(versions) for name, versions in models.items()}
    return page(request, "models.html", models=models, champions=champions)


def _champion(versions: Sequence[ListedVersion]) -> ListedVersion | None:
    return next((version for version in versions if CHAMPION in version.aliases), None)


def details(request: Request) -> Response:
    """Show a version, such as names@3, or the versions of a model."""
    client: Client = request.app.state.client
    reference = request.path_params["reference"]
    if "@" in reference:
        version = client.models.show(reference)
        return page(request, "version.html", version=version, previews=_previews(client, version.job))
    versions = sorted(
        (version for version in client.models.list() if version.model == reference), key=lambda found: found.version
    )
    if not versions:
        raise NotFoundError(f"There is no model {reference[:80]!r}")
    shown = versions[-SHOWN_VERSIONS:]
    return page(request, "model.html", name=reference, versions=shown[::-1], curve=_curve(reference, shown))


def _curve(name: str, versions: Sequence[ListedVersion]) -> Curve | None:
    losses = {"validation loss": [version.val_loss for version in versions]}
    title = f"Validation loss of {name} in nats per character by version"
    return draw(title, "version", [version.version for version in versions], losses)


def compare(request: Request) -> Response:
    """Show two versions side by side, each with the texts of its training."""
    client: Client = request.app.state.client
    references = [request.query_params.get(name, "") for name in ("a", "b")]
    if not all(references):
        raise InputError("Two versions are needed, such as /compare?a=names@1&b=names@2")
    versions = [client.models.show(reference) for reference in references]
    previews = [_previews(client, version.job) for version in versions]
    return page(request, "compare.html", versions=versions, previews=previews)


def _previews(client: Client, job: int | None) -> Sequence[Preview]:
    """Return the texts of the epoch that a training job kept. It may have been deleted since."""
    if job is None:
        return ()
    try:
        history = client.status(job).history
    except CharrnnError:
        return ()
    best = best_epoch(history)
    return best.previews if best else ()
