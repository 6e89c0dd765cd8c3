"""The cluster as the analyzer is told of it: a snapshot, then what changes, and a sign of life when nothing does."""

import asyncio
import uuid
from pathlib import Path

from contract import topology
from filestore import Cluster, files

# The longest time without a message, if the caller does not say, and the longest it may ask for.
CHOICE_S, LONGEST_S = 5.0, 10.0

# How often the cluster is looked at.
LOOK_S = 0.5

# Partitions of a part of a snapshot: messages have a size that must not be exceeded.
PART = 1_000


class ClusterView:
    """Revisions count within an incarnation. This adapter counts by itself, so each start is a new one."""

    def __init__(self, cluster: Cluster):
        self.cluster = cluster
        self.incarnation = uuid.uuid4().hex
        self.revision = 1
        self.nodes: dict[str, topology.Node] = {}
        self.partitions: dict[str, topology.Partition] = {}

    def look(self) -> None:
        """Raises if the cluster cannot be seen: what was seen before is not told again."""
        nodes = {name: self._node(name) for name in self.cluster.racks}
        partitions = {name: self._partition(name) for name in self.cluster.partitions()}
        if (nodes, partitions) != (self.nodes, self.partitions):
            self.revision += 1
            self.nodes, self.partitions = nodes, partitions

    async def messages(self, heartbeat_ms: int):
        """All that a caller is told. Each has its own memory of what it knows, so a slow one gets fewer messages."""
        heartbeat = min(heartbeat_ms / 1_000 or CHOICE_S, LONGEST_S)
        clock = asyncio.get_running_loop().time
        self.look()
        known = (self.revision, self.nodes, self.partitions)
        for message in self._snapshot():
            yield message
        said = clock()
        while True:
            await asyncio.sleep(min(LOOK_S, heartbeat / 2))
            self.look()
            if self.revision > known[0]:
                yield self._changes(*known[1:])
            elif clock() - said >= heartbeat / 2:
                yield topology.WatchTopologyResponse(revision=self.revision, changes=topology.Changes())
            else:
                continue
            known, said = (self.revision, self.nodes, self.partitions), clock()

    def _snapshot(self):
        """Nodes come before the partitions that they hold."""
        partitions = list(self.partitions.values())
        parts = [partitions[at : at + PART] for at in range(0, len(partitions), PART)] or [[]]
        for index, part in enumerate(parts):
            snapshot = topology.Snapshot(
                incarnation=self.incarnation,
                nodes=self.nodes.values() if index == 0 else [],
                partitions=part,
                more=index + 1 < len(parts),
            )
            yield topology.WatchTopologyResponse(revision=self.revision, snapshot=snapshot)

    def _changes(self, nodes: dict, partitions: dict) -> topology.WatchTopologyResponse:
        changes = topology.Changes(
            removed_partitions=partitions.keys() - self.partitions.keys(),
            removed_nodes=nodes.keys() - self.nodes.keys(),
            nodes=[node for name, node in self.nodes.items() if node != nodes.get(name)],
            partitions=[part for name, part in self.partitions.items() if part != partitions.get(name)],
        )
        return topology.WatchTopologyResponse(revision=self.revision, changes=changes)

    def _node(self, name: str) -> topology.Node:
        """What nobody knows is left out: this store has neither addresses nor a capacity of its own."""
        health = topology.HEALTH_UP if self.cluster.is_up(name) else topology.HEALTH_DOWN
        return topology.Node(node=name, domains=[self.cluster.racks[name]], health=health)

    def _size(self, name: str, folder: Path) -> int:
        """In bytes, but a small change is no news: else every write would be, and the cluster would never rest."""
        size, told = sum(files(folder).values()), self.partitions.get(name)
        if told and abs(size - told.size_bytes) <= told.size_bytes // 10:
            return told.size_bytes
        return size

    def _partition(self, name: str) -> topology.Partition:
        now = self.cluster.read_map(name)
        folders = {replica.node: self.cluster.folder(replica) for replica in now.replicas}
        alive = [folder for node, folder in folders.items() if self.cluster.is_up(node)]
        return topology.Partition(
            partition=name,
            size_bytes=self._size(name, alive[0]) if alive else None,
            nodes=now.nodes(),
            epoch=now.epoch,
            locators=[topology.Locator(node=node, files=[str(folder)]) for node, folder in folders.items()],
        )
