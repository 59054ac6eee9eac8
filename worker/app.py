"""The worker's Celery application. The one module that reads the environment when imported: Celery
and its forks need `app` by name."""

from __future__ import annotations

import os

from charrnn.jobs.queue import make_celery
from charrnn.jobs.settings import Settings
from worker.transport import install

install()
settings = Settings.from_env(os.environ)
app = make_celery(settings)
