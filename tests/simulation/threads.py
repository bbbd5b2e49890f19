"""The standard library's and the package's means of waiting, in virtual time.

The worker's module asks for `Senders` and `wait`, and everything for `secrets`: `seated`
puts these in their places while a simulation runs, and takes them out afterwards. Of the package's
code only the threads that send (`Senders`) are replaced, and the lock for which they wait.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future
from contextlib import contextmanager
from typing import Any

from flask_s2s.delivery import worker as worker_module
from flask_s2s.store import restores
from flask_s2s.threads import Waker
from tests.simulation.world import Killed, Task, World

_worlds: list[World] = []


class SimulatedWaker(Waker):
    """A worker's waker whose waiting takes virtual time."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._waiting: list[Task] = []

    def wake(self) -> None:
        super().wake()
        for task in self._waiting:
            self._world.wake(task)

    def interrupt(self) -> None:
        super().interrupt()
        for task in self._waiting:
            self._world.wake(task)

    def stop(self) -> None:
        super().stop()
        for task in self._waiting:
            self._world.wake(task)

    def wait(self, seconds: float) -> bool:
        self._world.seam("waker")
        if not (self._woken or self._interrupted or self._stopped):
            self._park(seconds, "sending")
        return self._stopped

    def pause(self, seconds: float) -> bool:
        self._park(seconds)
        return self._stopped

    def _park(self, seconds: float, polling: str = "") -> None:
        task = self._world.task
        assert task is not None
        self._waiting.append(task)
        try:
            self._world.park(seconds, polling=polling)
        finally:
            self._waiting.remove(task)


class Beside:
    """The end of verifying (a verifier's `_Until`), in virtual time."""

    def __init__(self, world: World, waker: SimulatedWaker) -> None:
        self._world = world
        self._waker = waker

    @property
    def over(self) -> bool:
        return self._waker.stopped

    def wake(self) -> None:
        self._waker.wake()

    def pause(self, seconds: float) -> None:
        self._world.seam("waker")
        self._world.park(seconds, polling="verifying")


class GreenPool:
    """The worker's `Senders`: up to `size` threads of the process that submits."""

    def __init__(self, size: int, share: int = 0) -> None:
        self._world = _worlds[-1]
        self._size = self._free = size
        self._busy = 0
        self._waiting: list[tuple[Future[Any], Callable[[], None]]] = []

    def __class_getitem__(cls, result: object) -> type[GreenPool]:
        return cls

    def __enter__(self) -> GreenPool:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def submit(self, lane: str, work: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        task = self._world.task
        assert task is not None

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work(*args))
                except Exception as error:  # noqa: BLE001 - as an executor does
                    future.set_exception(error)

        self._waiting.append((future, run))
        if self._free:
            self._free -= 1
            self._world.spawn(task.process, self._serve)
        return future

    def queued(self) -> list[Future[Any]]:
        idle = self._size - self._free - self._busy
        return [future for future, _ in self._waiting[idle:]]

    def _serve(self) -> None:
        while self._waiting:
            _, run = self._waiting.pop(0)
            self._busy += 1
            try:
                run()
            finally:
                self._busy -= 1
        self._free += 1


def green_wait(
    futures: Any, timeout: float | None = None, return_when: str = "ALL_COMPLETED"
) -> None:
    """`concurrent.futures.wait`, as far as the worker uses it: for its effect, not its result."""
    world, first = _worlds[-1], return_when == FIRST_COMPLETED
    task = world.task
    assert task is not None
    if task.process.dead:
        raise Killed
    until = None if timeout is None else world.monotonic() + timeout
    for future in futures:
        future.add_done_callback(lambda _: world.wake(task))
    while not (any if first else all)(future.done() for future in futures):
        left = 60.0 if until is None else until - world.monotonic()
        if left <= 0:
            return
        world.park(left)


class GreenLock:
    """A lock whose waiting takes virtual time."""

    def __init__(self) -> None:
        self._world = _worlds[-1]
        self._held = False

    def __enter__(self) -> None:
        while self._held:
            self._world.park(0.01)
        self._held = True

    def __exit__(self, *error: object) -> None:
        self._held = False


@contextmanager
def seated(world: World) -> Iterator[None]:
    """Let the package wait in this world's time, and draw its tokens from its seed."""
    pool = "Senders" if hasattr(worker_module, "Senders") else "ThreadPoolExecutor"
    kept = {name: getattr(worker_module, name) for name in (pool, "wait")}
    lock = restores.lock
    drawn = {name: getattr(secrets, name) for name in ("token_hex", "randbelow")}
    random = world.random
    _worlds.append(world)
    try:
        setattr(worker_module, pool, GreenPool)
        setattr(worker_module, "wait", green_wait)  # noqa: B010
        restores.lock = GreenLock
        setattr(secrets, "token_hex", lambda size: f"{random.getrandbits(8 * size):0{2 * size}x}")  # noqa: B010
        setattr(secrets, "randbelow", random.randrange)  # noqa: B010
        yield
    finally:
        _worlds.pop()
        restores.lock = lock
        for name, value in kept.items():
            setattr(worker_module, name, value)
        for name, value in drawn.items():
            setattr(secrets, name, value)
