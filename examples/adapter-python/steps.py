"""What each step of a migration does to the store. Runs in a thread of its own, and knows nothing of requests.

Each step can be done twice, as it is after a crash: it looks at the store to see how far it is, and what makes it
true is one atomic change, the rename of a file. What an earlier run did is found done, not done again.
"""

import contextlib
import filecmp
import shutil
import threading
import time
from dataclasses import dataclass
from typing import Callable

from contract import Refused, wire
from filestore import Cluster, Map, Replica, checksum, files, write_durably

CHUNK = 64 * 1024


class Stopped(Exception):
    """The step was told to stop, and has."""


@dataclass
class Job:
    cluster: Cluster
    call: wire.Call
    request: object
    stop: threading.Event
    tell: Callable[[wire.Progress], None]

    @property
    def migration(self) -> wire.Migration:
        return self.call.migration

    @property
    def partition(self) -> str:
        return self.migration.partition

    @property
    def copy(self) -> Replica:
        """Named after the migration: what is in it is surely ours, and may be removed."""
        return copy_of(self.migration)

    @property
    def is_repair(self) -> bool:
        return self.migration.HasField("dead")

    @property
    def left(self) -> str:
        """The node whose place the target takes."""
        return self.migration.dead if self.is_repair else self.migration.source

    def origin(self, of: Map) -> Replica:
        """Which replica is copied: the source, else the first other that is up. While writes are stopped, or a node
        is down, all of them are alike."""
        alive = [replica for replica in of.replicas if self.cluster.is_up(replica.node)]
        alive = [replica for replica in alive if not (self.is_repair and replica.node == self.left)]
        alive.sort(key=lambda replica: replica.node != self.left)
        if not alive:
            raise Refused("NO_LIVE_COPY", f"no node that holds {self.partition} and could be copied is up")
        return alive[0]

    def checksum(self, replica: Replica) -> str:
        return checksum(self.cluster.folder(replica), self.go_on)

    def go_on(self) -> None:
        if self.stop.is_set():
            raise Stopped

    def is_made(self, of: Map) -> bool:
        """Whether the switch, or the way back, has been done by an earlier run of this step."""
        return of.epoch == self.call.new_epoch and of.made_by[0] == self.migration.migration_id


def copy_of(migration: wire.Migration) -> Replica:
    return Replica(migration.target, f"{migration.partition}.{migration.migration_id}")


def findings(cluster: Cluster, migration: wire.Migration) -> tuple[list[str], bool]:
    """What stands in the way, and whether no live copy is left. No effects."""
    now, found = cluster.read_map(migration.partition), []
    left = migration.dead or migration.source
    if now.on(left) is None:
        found.append(f"{left} does not hold {migration.partition}: {', '.join(now.nodes())} do")
    if now.on(migration.target):
        found.append(f"{migration.target} holds {migration.partition} already: name another target")
    elif not cluster.is_up(migration.target):
        found.append(f"{migration.target} is down: bring it back, or name another target")
    if migration.dead and cluster.is_up(migration.dead):
        found.append(f"{migration.dead} is up: there is nothing to repair")
    if migration.source and not cluster.is_up(migration.source):
        found.append(f"{migration.source} is down: bring it back, or repair instead")
    alive = [replica for replica in now.replicas if cluster.is_up(replica.node)]
    if alive and not found:
        size = sum(files(cluster.folder(alive[0])).values())
        free = shutil.disk_usage(cluster.root / "nodes" / migration.target).free
        if size > free:
            found.append(f"{migration.target} has {free} bytes free, {migration.partition} has {size}: make room")
    return found, not alive


def prepare(job: Job) -> wire.Done:
    if not job.cluster.is_up(job.copy.node):
        raise Refused("TRANSIENT", f"{job.copy.node} is down")
    job.origin(job.cluster.read_map(job.partition))
    job.cluster.folder(job.copy).mkdir(exist_ok=True)
    return wire.Done(prepared=wire.Prepared())


def fence(job: Job) -> wire.Done:
    """Writers hold the lock for as long as they write: whoever has it alone knows that they are done."""
    with job.cluster.lock(job.partition):
        check_fence(job, lacking_is_fine=True)
        # Looked up first, so that a source that cannot be read leaves no fence.
        position = describe(job, job.origin(job.cluster.read_map(job.partition)))
        job.cluster.fence(job.partition, job.migration.migration_id)
    return wire.Done(fenced=wire.Fenced(position=position))


def unfence(job: Job) -> wire.Done:
    with job.cluster.lock(job.partition):
        job.cluster.unfence(job.partition, job.migration.migration_id)
    return wire.Done(unfenced=wire.Unfenced())


def replicate(job: Job) -> wire.Done:
    with job.cluster.lock(job.partition):
        check_fence(job, lacking_is_fine=job.is_repair)
        if job.is_repair:
            # Nobody writes while the node is dead. It might come back: this holds writes until the switch. It is not
            # a fence in the sense of the contract, and nobody is told of one.
            job.cluster.fence(job.partition, job.migration.migration_id)
        origin = job.origin(job.cluster.read_map(job.partition))
    rate = job.request.bytes_per_second if job.request.HasField("bytes_per_second") else None
    mirror(job, origin, job.copy, rate)
    return wire.Done(replicated=wire.Replicated())


def catch_up(job: Job) -> wire.Done:
    """Writes are stopped, so there is nothing to wait for: the copy is whole, or lacks something."""
    origin = job.origin(job.cluster.read_map(job.partition))
    there, here = (files(job.cluster.folder(replica)) for replica in (origin, job.copy))
    lag = sum(size for name, size in there.items() if name not in here)
    if lag > job.request.max_lag_bytes:
        raise Refused("CONFLICT", f"the copy lacks {lag} bytes: StartReplication must be done first")
    if job.request.position and job.request.position != describe(job, job.copy):
        raise Refused("CONFLICT", f"the copy has {describe(job, job.copy)}, not {job.request.position}")
    return wire.Done(caught_up=wire.CaughtUp(lag_bytes=lag))


def verify(job: Job) -> wire.Done:
    origin = job.origin(job.cluster.read_map(job.partition))
    there, here = job.checksum(origin), job.checksum(job.copy)
    if there != here:
        raise Refused("MISMATCH", f"{origin.node} has sha256 {there[:12]}, the copy on {job.copy.node} {here[:12]}")
    return wire.Done(
        verified=wire.Verification(
            migration_id=job.migration.migration_id,
            serving_epoch=job.call.expected_epoch,
            evidence=f"{describe(job, job.copy)}, sha256 {here[:12]}",
        )
    )


def commit(job: Job) -> wire.Done:
    """The switch is the rename of the map, a compare-and-swap because it is done with the lock held."""
    with job.cluster.lock(job.partition):
        now = job.cluster.read_map(job.partition)
        if not job.is_made(now):
            check_epoch(job, now)
            lossy = job.request.HasField("data_loss")
            check_fence(job, lacking_is_fine=job.is_repair or lossy)
            if not job.cluster.is_up(job.copy.node):
                raise Refused("TRANSIENT", f"{job.copy.node} is down")
            if lossy:
                # There may be nothing: what serves then is empty, and that was accepted.
                job.cluster.folder(job.copy).mkdir(exist_ok=True)
            replaced = now.on(job.left)
            if replaced is None:
                raise Refused("CONFLICT", f"{job.left} does not hold {job.partition}")
            now.replicas = [job.copy if replica == replaced else replica for replica in now.replicas]
            now.former.append(replaced)
            serve(job, now, "target")
        job.cluster.unfence(job.partition, job.migration.migration_id)
    return wire.Done(committed=wire.Committed())


def reverse(job: Job) -> wire.Done:
    """What was written to the target since the switch is copied back, with writes stopped."""
    if job.is_repair:
        raise Refused("CONFLICT", "a repair cannot be taken back: the node that was left is dead")
    with job.cluster.lock(job.partition):
        now = job.cluster.read_map(job.partition)
        if not job.is_made(now):
            check_epoch(job, now)
            job.cluster.fence(job.partition, job.migration.migration_id)
    if not job.is_made(now):
        try:
            bring_back(job, now)
        except BaseException:
            # It was refused, so it must have no effect: the target goes on to serve.
            job.cluster.unfence(job.partition, job.migration.migration_id)
            raise
    job.cluster.unfence(job.partition, job.migration.migration_id)
    return wire.Done(reversed=wire.Reversed())


def bring_back(job: Job, now: Map) -> None:
    source = next(replica for replica in reversed(now.former) if replica.node == job.left)
    mirror(job, job.copy, source, rate=None)
    if job.checksum(job.copy) != job.checksum(source):
        raise Refused("MISMATCH", f"{source.node} does not have what {job.copy.node} has")
    with job.cluster.lock(job.partition):
        now.replicas = [source if replica == job.copy else replica for replica in now.replicas]
        now.former.remove(source)
        serve(job, now, "source")


def retire(job: Job) -> wire.Done:
    """Removes what was replaced. What lies on a node that is down stays in the map, for when it is back."""
    with job.cluster.lock(job.partition):
        now = job.cluster.read_map(job.partition)
        gone = [replica for replica in now.former if job.cluster.is_up(replica.node)]
        for replica in gone:
            remove(job, replica)
        now.former = [replica for replica in now.former if replica not in gone]
        job.cluster.write_map(job.partition, now)
    return wire.Done(retired=wire.Retired())


def abort(job: Job) -> wire.Done:
    with job.cluster.lock(job.partition):
        if job.copy not in job.cluster.read_map(job.partition).replicas:
            remove(job, job.copy)
        job.cluster.unfence(job.partition, job.migration.migration_id)
    return wire.Done(aborted=wire.Aborted())


STEPS = {
    "PrepareTarget": prepare,
    "StartReplication": replicate,
    "AwaitCatchup": catch_up,
    "Verify": verify,
    "FenceSource": fence,
    "CommitSwitch": commit,
    "UnfenceSource": unfence,
    "ReverseSwitch": reverse,
    "RetireSource": retire,
    "Abort": abort,
}


def shift_leader(cluster: Cluster, request) -> None:
    """Reads go to another node of the subset, under the epoch that was proposed."""
    with cluster.lock(request.partition):
        now = cluster.read_map(request.partition)
        if now.nodes()[0] == request.leader:
            return
        if now.epoch != request.expected_epoch:
            raise Refused("STALE_EPOCH", f"epoch {now.epoch} serves, not {request.expected_epoch}")
        now.replicas.sort(key=lambda replica: replica.node != request.leader)
        now.epoch, now.made_by = request.new_epoch, (request.request_id, "leader")
        cluster.write_map(request.partition, now)


# What is in the store: asked of the store, whatever the adapter believes.


def side(migration_id: str, began_at: int | None, now: Map) -> int:
    """Who serves, as far as a migration is concerned that began under an epoch; `None` for one that did not."""
    if now.made_by[0] == migration_id:
        return wire.SIDE_TARGET if now.made_by[1] == "target" else wire.SIDE_SOURCE
    return wire.SIDE_SOURCE if began_at in (None, now.epoch) else wire.SIDE_NEITHER


def objects(cluster: Cluster, migration: wire.Migration) -> list[str]:
    """What was made for a migration and is still there, or was left by it."""
    now, copy = cluster.read_map(migration.partition), copy_of(migration)
    found = []
    if copy not in now.replicas and cluster.folder(copy).exists():
        found.append(f"copy {cluster.folder(copy)}")
    left = migration.dead or migration.source
    if now.made_by[0] == migration.migration_id:
        old = [cluster.folder(replica) for replica in now.former if replica.node == left]
        found.extend(f"old replica {folder}" for folder in old if folder.exists())
    if cluster.fenced_by(migration.partition) == migration.migration_id:
        found.append(f"fence of {migration.partition}")
    return found


# What steps share.


def check_epoch(job: Job, now: Map) -> None:
    if now.epoch != job.call.expected_epoch:
        raise Refused("STALE_EPOCH", f"epoch {now.epoch} serves, not {job.call.expected_epoch}")


def check_fence(job: Job, lacking_is_fine: bool) -> None:
    found = job.cluster.fenced_by(job.partition)
    if found != job.migration.migration_id and not (found is None and lacking_is_fine):
        raise Refused("CONFLICT", f"writes to {job.partition} must be stopped first; the fence is that of {found}")


def serve(job: Job, new: Map, side: str) -> None:
    new.epoch, new.made_by = job.call.new_epoch, (job.migration.migration_id, side)
    job.cluster.write_map(job.partition, new)


def describe(job: Job, replica: Replica) -> str:
    found = files(job.cluster.folder(replica))
    return f"{len(found)} files, {sum(found.values())} bytes"


def remove(job: Job, replica: Replica) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(job.cluster.folder(replica))


def mirror(job: Job, origin: Replica, copy: Replica, rate: int | None) -> None:
    """Makes the files of a copy those of its origin. What is equal is left, so that it goes on where it ended."""
    there, here = job.cluster.folder(origin), job.cluster.folder(copy)
    for name in files(here).keys() - files(there).keys():
        (here / name).unlink()
    pace = Pace(job, sum(files(there).values()), rate)
    for name, size in files(there).items():
        if (here / name).exists() and filecmp.cmp(there / name, here / name, shallow=False):
            pace.passed(size, copied=0)
            continue
        content = bytearray()
        with open(there / name, "rb") as file:
            while chunk := file.read(CHUNK):
                content += chunk
                pace.passed(len(chunk), copied=len(chunk))
        write_durably(here / name, content)


class Pace:
    """Tells how far a copy is, holds it to a rate in bytes per second, and ends it when it is to stop."""

    def __init__(self, job: Job, total: int, rate: int | None):
        self.job, self.total, self.rate = job, total, rate
        self.done, self.copied, self.begun = 0, 0, time.monotonic()
        self.told()

    def passed(self, count: int, copied: int) -> None:
        self.done, self.copied = self.done + count, self.copied + copied
        self.told()
        early = self.copied / self.rate - (time.monotonic() - self.begun) if self.rate else 0
        if self.job.stop.wait(max(early, 0)):
            raise Stopped

    def told(self) -> None:
        by = "bytes_per_second" if self.rate else ""
        self.job.tell(wire.Progress(done=self.done, total=self.total, unit="bytes", throttled_by=by))
