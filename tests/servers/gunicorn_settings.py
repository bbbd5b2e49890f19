"""Settings of gunicorn: each worker says when its site is loaded and a signal finds it ready."""

from __future__ import annotations

from gunicorn.workers.base import Worker

READY = "this worker is ready"


def post_worker_init(worker: Worker) -> None:
    worker.log.info(READY)
