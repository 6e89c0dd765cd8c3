"""A storage system that is small enough to be read at one sitting. It knows nothing of adapters.

    CLUSTER/
      cluster.json               the nodes there are, and their racks
      nodes/n1/p1/               a replica: a file for each key. A node is a folder, such as a mounted disk;
                                 while the folder is not there, the node is down
      partitions/p1/map.json     who holds p1, the leader first, and the epoch of that
      partitions/p1/fence        while it is there, nobody writes to p1
      partitions/p1/lock         held alone to write and to change map or fence, shared to read

A write is acknowledged when all replicas have it on disk; so a partition that has lost a node is read-only.
Who reads or writes holds the lock from the look at the map to the end, so that nobody goes to a replica that has
been replaced meanwhile: when a fence or a map has changed, all who knew the old one are done.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

# How long the lock of a partition is waited for.
LOCK_S = 10.0


class Unavailable(Exception):
    """Not now: a node is down, writes are stopped, or the lock is not to be had."""


@dataclass(frozen=True)
class Replica:
    """A copy of a partition. The folder's name is not that of the partition, so that two copies never mix."""

    node: str
    folder: str


@dataclass
class Map:
    """Who holds a partition. It is only ever replaced as a whole, under a higher epoch if the replicas change."""

    epoch: int
    replicas: list[Replica]
    # Replicas that were replaced and are still there, the last one at the end.
    former: list[Replica] = field(default_factory=list)
    # What made this epoch: a name, and what it did.
    made_by: tuple[str, str] = ("", "")

    def nodes(self) -> list[str]:
        return [replica.node for replica in self.replicas]

    def on(self, node: str) -> Replica | None:
        return next((replica for replica in self.replicas if replica.node == node), None)


class Cluster:
    def __init__(self, root: str | Path):
        self.root = Path(root).resolve()
        try:
            self.racks: dict[str, str] = json.loads((self.root / "cluster.json").read_text())
        except OSError as error:
            raise SystemExit(f"{root} is no cluster: {error}; make one with `client.py {root} create`") from error

    @staticmethod
    def create(root: str | Path, nodes: int, partitions: int, replicas: int) -> "Cluster":
        """Makes an empty cluster of nodes in racks of two."""
        root = Path(root)
        names = [f"n{number}" for number in range(1, nodes + 1)]
        for name in names:
            (root / "nodes" / name).mkdir(parents=True)
        racks = {name: f"rack{index // 2 + 1}" for index, name in enumerate(names)}
        write_durably(root / "cluster.json", json.dumps(racks).encode())
        cluster = Cluster(root)
        for number in range(partitions):
            held_by = [Replica(names[(number + at) % nodes], f"p{number + 1}") for at in range(replicas)]
            (root / "partitions" / f"p{number + 1}").mkdir(parents=True)
            for replica in held_by:
                cluster.folder(replica).mkdir()
            cluster.write_map(f"p{number + 1}", Map(epoch=1, replicas=held_by))
        return cluster

    # What there is.

    def partitions(self) -> list[str]:
        return sorted(path.name for path in (self.root / "partitions").iterdir())

    def is_up(self, node: str) -> bool:
        return node in self.racks and (self.root / "nodes" / node).is_dir()

    def folder(self, replica: Replica) -> Path:
        return self.root / "nodes" / replica.node / replica.folder

    def read_map(self, partition: str) -> Map:
        raw = json.loads((self._of(partition) / "map.json").read_text())
        replicas, former = ([Replica(**replica) for replica in raw[key]] for key in ("replicas", "former"))
        return Map(raw["epoch"], replicas, former, tuple(raw["made_by"]))

    def write_map(self, partition: str, new: Map) -> None:
        """Replaces the map, by a rename: whoever reads it has the old one or the new one."""
        write_durably(self._of(partition) / "map.json", json.dumps(asdict(new)).encode())

    # Writes are stopped in somebody's name, who alone can let them go on.

    def fenced_by(self, partition: str) -> str | None:
        try:
            return (self._of(partition) / "fence").read_text()
        except FileNotFoundError:
            return None

    def fence(self, partition: str, name: str) -> None:
        """To be called with the lock held alone: the writers who saw no fence are done then."""
        write_durably(self._of(partition) / "fence", name.encode())

    def unfence(self, partition: str, name: str) -> None:
        """Lifts the fence if it is this one."""
        if self.fenced_by(partition) == name:
            (self._of(partition) / "fence").unlink()
            sync(self._of(partition))

    @contextlib.contextmanager
    def lock(self, partition: str, shared: bool = False):
        """The kernel lets go of the lock when its holder dies, however it dies."""
        until = time.monotonic() + LOCK_S
        with open(self._of(partition) / "lock", "a+") as file:
            while True:
                try:
                    fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise Unavailable(f"{partition} is locked for longer than {LOCK_S:.0f} s") from None
                    time.sleep(0.002)
            yield

    def _of(self, partition: str) -> Path:
        # The name may come from a stranger: it must be one that there is, and not lead anywhere else.
        if partition not in self.partitions():
            raise Unavailable(f"there is no partition {partition!r}")
        return self.root / "partitions" / partition

    # What clients do.

    def put(self, partition: str, key: str, value: bytes) -> None:
        """Acknowledged by returning."""
        with self.lock(partition):
            if self.fenced_by(partition):
                raise Unavailable(f"writes to {partition} are stopped")
            replicas = self.read_map(partition).replicas
            down = [replica.node for replica in replicas if not self.is_up(replica.node)]
            if down:
                raise Unavailable(f"{partition} is read-only: {', '.join(down)} is down")
            for replica in replicas:
                write_durably(self.folder(replica) / file_name(key), value)

    def get(self, partition: str, key: str) -> bytes | None:
        """From the leader, or from the first that lives. `None`: there is no such key."""
        with self.lock(partition, shared=True):
            for replica in self.read_map(partition).replicas:
                if self.is_up(replica.node):
                    try:
                        return (self.folder(replica) / file_name(key)).read_bytes()
                    except FileNotFoundError:
                        return None
        raise Unavailable(f"no node that holds {partition} is up")


def file_name(key: str) -> str:
    return f"k-{quote(key, safe='')}"


def files(folder: Path) -> dict[str, int]:
    """The files of a replica, with their sizes in bytes. Files that are being written are not among them."""
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.name.startswith("k-")}


def keys(folder: Path) -> list[str]:
    return [unquote(name.removeprefix("k-")) for name in files(folder)]


def checksum(folder: Path, between=lambda: None) -> str:
    """Of all names and contents of a replica. Calls `between` now and then, which may end it by raising."""
    total = hashlib.sha256()
    for name, size in files(folder).items():
        total.update(f"{name}\0{size}\0".encode())
        with open(folder / name, "rb") as file:
            while chunk := file.read(1 << 20):
                total.update(chunk)
                between()
    return total.hexdigest()


def write_durably(path: Path, content: bytes) -> None:
    """There is the old file or the new one, whatever dies: content first, then the name, then the folder."""
    # Whoever writes has the lock, or the folder to itself; and what a crash leaves is taken up by the next attempt.
    new = path.with_name(f".{path.name}.new")
    with open(new, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    sync(path.parent)


def sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
