"""Where requests are answered: each is written down, worked at beside its caller, and settled.

Everything here runs in one thread, that of asyncio, so that decisions are made one after the other and need no locks.
What takes time, the steps, runs in threads of its own. Nothing depends on the caller: whoever goes away, or dies, is
told by GetMigrationState what came of it.
"""

import asyncio
import logging
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import steps
from contract import Refused, check_call, check_id, check_shift, wire
from filestore import Cluster, Unavailable
from ledger import Ledger

# How long a caller waits for the end of a step before it is told that it runs.
WAIT_S = 1.0

# Migrations whose copies may be made at a time.
MAX_CONCURRENT = 2

# How often what came of a step is tried to be written.
AGAIN_S = 0.5


@dataclass
class Run:
    """A request that is being worked at."""

    request_id: str
    of: str
    stop: threading.Event = field(default_factory=threading.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    # Replaced as a whole by the step's thread.
    progress: wire.Progress = field(default_factory=wire.Progress)


class Desk:
    def __init__(self, cluster: Cluster, ledger: Ledger):
        self.cluster, self.ledger = cluster, ledger
        self.threads = ThreadPoolExecutor(max_workers=8)
        self.runs: dict[str, Run] = {}
        self.tasks: set[asyncio.Task] = set()

    # What is asked for.

    async def step(self, method: str, request) -> wire.StepOutcome:
        call = check_call(method, request)
        self.ledger.hear(call.term)
        if not self.ledger.repeats(call.request_id, method, request):
            if method == "ValidateMigration":
                return wire.StepOutcome(done=self._validated(call.migration))
            now, side = self._seen(call.migration.partition, call.migration.migration_id)
            stop = self.ledger.admit(method, request, now.epoch, side, MAX_CONCURRENT)
            # Begun before anybody else is heard: there is no await since it was admitted.
            self._begin(call.request_id, call.migration.migration_id, stop)
        row = await self._ended(call.request_id)
        if row["running"]:
            return wire.StepOutcome(running=wire.Running())
        return wire.StepOutcome(done=wire.Done.FromString(row["done"]))

    async def shift(self, request) -> wire.ShiftReadsResponse:
        check_shift(request)
        self.ledger.hear(request.term)
        if not self.ledger.repeats(request.request_id, "ShiftReads", request):
            now, problem = self._map(request.partition), None
            leads = now.nodes()[0]
            answer = wire.ShiftReadsResponse(serving_epoch=request.new_epoch, undo=leads)
            if request.WhichOneof("shift") != "leader":
                problem = Refused("UNSUPPORTED", "reads follow the leader: name another one")
            elif request.leader not in now.nodes() or not self.cluster.is_up(request.leader):
                problem = Refused("CONFLICT", f"{request.leader} does not hold {request.partition}, or is down")
            elif request.leader == leads:
                answer = wire.ShiftReadsResponse(serving_epoch=now.epoch)
            self.ledger.admit_shift(request, now.epoch, answer, problem)
            self._begin(request.request_id, "", [])
        row = await self._ended(request.request_id)
        if row["running"]:
            # Not a refusal: it may yet be done. The same request asks again.
            raise TimeoutError(f"{request.request_id} runs")
        return wire.ShiftReadsResponse.FromString(row["done"])

    def state(self, request: wire.GetMigrationStateRequest) -> wire.GetMigrationStateResponse:
        """What is so. The fate is looked up first: what else is told is at least as new."""
        check_id(request.migration_id)
        self.ledger.hear(request.term)
        fate = self._fate(request) if request.request_id else None
        known = self.ledger.migration(request.migration_id)
        if known and known["partition"] != request.partition:
            raise Refused("INVALID", f"partition: {request.migration_id} is that of {known['partition']}")
        now, side = self._seen(request.partition, request.migration_id)
        is_move = bool(known) and wire.Migration.FromString(known["message"]).HasField("source")
        run = self.run_of(request.migration_id)
        return wire.GetMigrationStateResponse(
            fate=fate,
            serving_epoch=now.epoch,
            highest_epoch=self.ledger.highest(request.partition, now.epoch),
            serves=side,
            fenced=is_move and self.cluster.fenced_by(request.partition) == request.migration_id,
            progress=run.progress if run else None,
        )

    def left(self) -> list[wire.MigrationStatus]:
        """Migrations that have not ended, and whatever is in the store of those that have."""
        found = []
        for row in self.ledger.migrations():
            migration = wire.Migration.FromString(row["message"])
            objects = steps.objects(self.cluster, migration)
            if objects or not row["ended_ms"]:
                found.append(
                    wire.MigrationStatus(
                        migration=migration,
                        term=row["term"],
                        objects=objects,
                        fenced_since_ms=row["fenced_ms"],
                        request_id=row["last_request"],
                    )
                )
        return found

    def run_of(self, migration_id: str) -> Run | None:
        """The step of a migration that runs; the last one, if it waits for another to stop."""
        own = [run for run in self.runs.values() if run.of == migration_id]
        return min(own, key=lambda run: run.stop.is_set(), default=None)

    def resume(self) -> None:
        """Takes up what was under way when the adapter died: of each migration the last request, for which those
        before it were to be stopped."""
        last: dict[str, list[str]] = {}
        for row in self.ledger.under_way():
            last.setdefault(row["of"] or row["id"], []).append(row["id"])
        for *before, request_id in last.values():
            logging.info("takes up %s", request_id)
            self._begin(request_id, self.ledger.find(request_id)["of"], before)

    # How it is done.

    def _begin(self, request_id: str, of: str, stop: list[str]) -> None:
        run = self.runs[request_id] = Run(request_id, of)
        task = asyncio.create_task(self._carry_out(run, stop))
        # asyncio itself does not keep tasks alive.
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _carry_out(self, run: Run, stop: list[str]) -> None:
        for name in stop:
            if other := self.runs.get(name):
                other.stop.set()
                await other.ended.wait()
            elif self.ledger.find(name)["running"]:
                await self._settle(name, stopped())
        row = self.ledger.find(run.request_id)
        logging.info("begins %s", run.request_id)
        outcome = await asyncio.get_running_loop().run_in_executor(self.threads, self._work, run, row)
        if isinstance(outcome, Refused):
            logging.warning("%s was refused: %s", run.request_id, outcome.message)
        await self._settle(run.request_id, outcome)
        del self.runs[run.request_id]
        run.ended.set()

    async def _settle(self, request_id: str, outcome) -> None:
        """Nobody is told before it is written, however long that takes: the disk may be full."""
        while True:
            try:
                return self.ledger.settle(request_id, outcome)
            except sqlite3.Error as error:
                logging.error("what came of %s cannot be written: %s", request_id, error)
                await asyncio.sleep(AGAIN_S)

    def _work(self, run: Run, row: sqlite3.Row):
        """In a thread of its own: does the step, and returns what came of it."""

        def tell(progress: wire.Progress) -> None:
            run.progress = progress

        try:
            if row["method"] == "ShiftReads":
                return steps.shift_leader(self.cluster, wire.ShiftReadsRequest.FromString(row["message"]))
            request = getattr(wire, f"{row['method']}Request").FromString(row["message"])
            return steps.STEPS[row["method"]](steps.Job(self.cluster, request.call, request, run.stop, tell))
        except Refused as refused:
            return refused
        except steps.Stopped:
            return stopped()
        except (OSError, Unavailable) as error:
            # A node that is down, or a disk that is full: it is tried again, and then undone.
            return Refused("TRANSIENT", f"{error}")
        except Exception as error:
            logging.exception("%s failed", run.request_id)
            return Refused("TRANSIENT", f"the adapter failed: {error!r}")

    async def _ended(self, request_id: str) -> sqlite3.Row:
        """A request, after a moment in which it may end; refused if it was."""
        if run := self.runs.get(request_id):
            try:
                await asyncio.wait_for(run.ended.wait(), WAIT_S)
            except TimeoutError:
                pass
        row = self.ledger.find(request_id)
        if row["refusal"]:
            raise Refused.from_wire(wire.Refusal.FromString(row["refusal"]))
        return row

    def _fate(self, request: wire.GetMigrationStateRequest) -> wire.Fate:
        row = self.ledger.find(request.request_id)
        if row is None or row["of"] != request.migration_id:
            return wire.Fate(unheard=wire.Unheard())
        if row["running"]:
            return wire.Fate(running=wire.Running())
        if row["refusal"]:
            return wire.Fate(refused=wire.Refusal.FromString(row["refusal"]))
        return wire.Fate(done=wire.Done.FromString(row["done"]))

    def _validated(self, migration: wire.Migration) -> wire.Done:
        """A look, of which nothing is kept but the term: a repeated one looks again."""
        now = self._map(migration.partition)
        found, lost = steps.findings(self.cluster, migration)
        validated = wire.Validated(
            serving_epoch=now.epoch,
            highest_epoch=self.ledger.highest(migration.partition, now.epoch),
            findings=found,
            no_live_copy=lost,
        )
        return wire.Done(validated=validated)

    def _seen(self, partition: str, migration_id: str):
        now, known = self._map(partition), self.ledger.migration(migration_id)
        return now, steps.side(migration_id, known["at_epoch"] if known else None, now)

    def _map(self, partition: str):
        try:
            return self.cluster.read_map(partition)
        except (OSError, Unavailable) as error:
            raise Refused("TRANSIENT", f"nothing is known of {partition!r}: {error}") from error


def stopped() -> Refused:
    return Refused("CONFLICT", "stopped, because the start was to be restored")
