"""The advertiser: web processes that record, and worker processes that deliver, of real modules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from flask_s2s.click import Click
from flask_s2s.config.settings import Settings
from flask_s2s.conversion import Action, Conversion, Reversal, Signup, Transaction
from flask_s2s.delivery.completer import Completer
from flask_s2s.delivery.executor import Executor
from flask_s2s.delivery.housekeeping import Housekeeping
from flask_s2s.delivery.verifier import Verifier
from flask_s2s.delivery.worker import Worker
from flask_s2s.networks.credentials import Credentials
from flask_s2s.networks.exchange import Exchange, Heard
from flask_s2s.networks.network import read_back_kinds
from flask_s2s.networks.partnerstack.conversions import API, PartnerStack
from flask_s2s.networks.partnerstack.records import Records
from flask_s2s.networks.readback import ReadBack
from flask_s2s.recording.recorder import Recorder
from flask_s2s.recording.tentative import ArmedView
from flask_s2s.rules.attribution import Attribution, Reason
from flask_s2s.rules.retry import RetryPolicy
from flask_s2s.store.audit import Blocks
from flask_s2s.store.background import Background
from flask_s2s.store.bindings import Bindings
from flask_s2s.store.database.clock import DatabaseClock, Times, Witness
from flask_s2s.store.dialects.statements import EPOCH
from flask_s2s.store.losses import Losses
from flask_s2s.store.outbox.lanes import CircuitBreakers
from flask_s2s.store.outbox.overdue import Overdue
from flask_s2s.store.outbox.verification_queue import VerificationQueue
from flask_s2s.store.restores import Inherited
from tests.simulation.database import Database
from tests.simulation.events import Record
from tests.simulation.network import ModelNetwork
from tests.simulation.threads import Beside, SimulatedWaker
from tests.simulation.world import Process, World

LEASE = timedelta(seconds=60)
SETTINGS = Settings.from_mapping(
    {
        "SECRET_KEY": "a-key-for-tests-only-0123456789",
        "S2S_TOKEN": "tok-original",
        "S2S_PARTNERSTACK_PUBLIC_KEY": "pk",
        "S2S_PARTNERSTACK_SECRET_KEY": "sk",
    }
)
NETWORK = PartnerStack(SETTINGS.of(PartnerStack))


class _Machine:
    """A machine's own clock: as wrong as it is."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._skew = timedelta(microseconds=process.skew)

    def now(self) -> datetime:
        self._world.seam("clock")
        return self._world.now() + self._skew

    def monotonic(self) -> float:
        self._world.seam("clock")
        return self._world.monotonic()


class _TimeServer:
    """As much of a storage and its engine as `DatabaseClock` needs to ask a server for its time."""

    class dialect:
        name = "postgresql"

    def __init__(self, world: World) -> None:
        self._world = world

    def engine(self) -> _TimeServer:
        return self

    def connect(self) -> _TimeServer:
        return self

    def __enter__(self) -> _TimeServer:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def exec_driver_sql(self, question: str) -> _TimeServer:
        return self

    def scalar(self) -> int:
        return self._world.micros + self._world.error


def _clock(world: World, process: Process, server: Any) -> DatabaseClock:
    return DatabaseClock(_Machine(world, process), server)


def _tell_nobody(signal: object, **facts: object) -> None:
    pass


class WorkerProcess:
    """`flask s2s work`: a worker, and a verifier beside it."""

    def __init__(
        self, world: World, process: Process, database: Database, network: ModelNetwork
    ) -> None:
        storage = database.storage
        clock = _clock(world, process, _TimeServer(world))
        witness = Witness(world.monotonic)
        witness.look(clock.now())
        times = Times(clock, clock, witness)
        heard = Heard(network, witness.hear)
        credentials = Credentials([NETWORK])
        seconds = LEASE.total_seconds() / 4
        timed: dict[str, Any] = {"seconds": seconds, "monotonic": world.monotonic}
        exchange = Exchange(NETWORK, heard, credentials, **timed)
        readers = {NETWORK.name: ReadBack(Records(NETWORK), API, heard, credentials, **timed)}
        claims, settling, memory = database.deliveries()
        breakers = CircuitBreakers(storage)

        def jitter() -> float:
            world.seam("jitter")
            return world.random.random()

        executor = Executor(
            claims=claims,
            exchanges={NETWORK.name: exchange},
            readers=readers,
            times=times,
            attempt=LEASE / 4,
            production=True,
            inherited=Inherited(clock.now(), storage),
        )
        completer = Completer(
            settling=settling,
            breakers=breakers,
            networks={NETWORK.name: NETWORK},
            readers=readers,
            times=times,
            policy=RetryPolicy(),
            jitter=jitter,
            tell=_tell_nobody,
            on_test=lambda now: None,
        )
        self.process = process
        self.waker = SimulatedWaker(world)
        verification_queue = VerificationQueue(storage, [(NETWORK.name, read_back_kinds(NETWORK))])
        overdue = Overdue(storage)
        housekeeping = Housekeeping(
            overdue=overdue,
            memory=memory,
            times=times,
            pulling=[
                lambda now: overdue.pull_in(now, LEASE),
                breakers.pull_in,
                verification_queue.pull_in,
            ],
            lease=LEASE,
            on_alive=lambda now, throttle: clock.measure(),
        )
        worker = Worker(
            claims=claims,
            settling=settling,
            memory=memory,
            breakers=breakers,
            executor=executor,
            completer=completer,
            housekeeping=housekeeping,
            clock=clock,
            lease=LEASE,
            concurrency=3,
        )
        verifier = Verifier(
            verification_queue=verification_queue,
            readers=readers,
            traits=lambda delivery: NETWORK.traits[delivery.kind],
            times=times,
            production=True,
            tell=_tell_nobody,
        )
        beside: Any = Beside(world, self.waker)

        def work() -> None:
            clock.measure()
            world.spawn(process, lambda: verifier.run(beside))
            worker.run(self.waker)

        world.spawn(process, work)


@dataclass(slots=True)
class Told:
    """How one request went."""

    event: Record
    #: Seconds from the beginning of the commit to the view's end; None: it never got there.
    seconds: float | None = None
    #: Whether a call without a session came back with a row.
    stored: bool = False
    error: str = ""


class WebProcess:
    """A process that serves requests, with no worker of its own."""

    def __init__(self, world: World, process: Process, database: Database, wake: Any) -> None:
        server: Any = _TimeServer(world)
        clock = _clock(world, process, server)
        clock.measure()
        self.process = process
        self._world = world
        self._database = database
        storage = database.storage
        background = Background(wait=0.0, inline=lambda: True)
        stores: Any = SimpleNamespace(
            storage=storage,
            times=SimpleNamespace(
                clock=clock,
                witness=Witness(clock.monotonic),
                refresh=lambda connection: clock.refresh(server),
            ),
            outbox=database.outbox(),
            bindings=Bindings(storage, SETTINGS, database.keyring),
            blocks=Blocks(storage),
            background=background,
            losses=Losses(storage, clock, background.later, _tell_nobody),
        )
        self._recorder = Recorder(
            settings=SETTINGS,
            stores=stores,
            networks={NETWORK.name: NETWORK},
            wake=wake,
            tell=_tell_nobody,
        )

    def serve(self, event: Record, told: Told) -> None:
        """One request that records a conversion in the event's way."""
        click = None if event.xid is None else _click(event)
        reason = Reason.NO_CLICK if click is None else Reason.COOKIE
        attribution = Attribution(click, reason)
        try:
            if event.how == "alone":
                told.stored = bool(self._recorder.alone(conversion_of(event), attribution))
            else:
                with Session(self._database.engine) as session:
                    self._serve(event, told, session, attribution)
        except Exception as error:  # noqa: BLE001 - a request that ends with a 500
            told.error = f"{type(error).__name__}: {error}"

    def _serve(self, event: Record, told: Told, session: Session, by: Attribution) -> None:
        conversion = conversion_of(event)
        view = None
        if event.how == "view":
            view = ArmedView(self._recorder, lambda: conversion, lambda: by, session)
        session.execute(insert(self._database.truth), {"record": event.number})
        if event.how == "call":
            self._recorder.call(conversion, by, session)
        elif event.how == "fact":
            self._recorder.fact(lambda: conversion, by, session)
        # From here, not from the commit's return: it may stall once others see what it wrote.
        task = self._world.task
        assert task is not None
        began, failures = self._world.monotonic(), task.failures
        if event.end == "rollback":
            session.rollback()
        else:
            session.commit()
        if view is not None:
            self._world.seam("view")
            self._world.park(event.pause)
            if event.end == "commit":
                view.succeeded()
            else:
                view.failed("the view answered 500")
        told.seconds = self._world.monotonic() - began
        if task.failures > failures:
            # Logged, not raised: a view that could not be withdrawn is sent when its lease ends.
            told.error = "the database failed"


def _click(event: Record) -> Click:
    return Click(click_id=event.xid or "", at=EPOCH + timedelta(days=20_000))


def conversion_of(event: Record) -> Conversion:
    """Return what the event's visitor did."""
    customer, key = event.customer, event.key
    match event.what:
        case "signup":
            return Signup(customer_key=customer)
        case "action":
            return Action(customer_key=customer, type="upgraded", key=key)
        case "transaction":
            return Transaction(customer_key=customer, amount=500, currency="EUR", key=key)
        case "refund":
            return Transaction(
                customer_key=customer, amount=-100, currency="EUR", key=key, refunds=event.of
            )
        case _:
            return Reversal(customer_key=customer, transaction_key=event.of)
