"""An adapter of Isotherm in Python: speaks `isotherm.adapter.v1` for the store in filestore.py.

Begin with desk.py to see how a request is answered, ledger.py for what is promised, steps.py for what is done.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import logging
import signal
import sqlite3
import sys
from pathlib import Path

import grpc

from cluster_view import ClusterView
from contract import Refused, rpc, status_of, topology, wire
from desk import MAX_CONCURRENT, Desk
from filestore import Cluster, Unavailable
from ledger import Ledger

# The shortest time between two messages of progress.
PACE_S = 0.25

CHOICE_S, LONGEST_S = 5.0, 10.0


@contextlib.asynccontextmanager
async def answering(context):
    """Refusals become statuses that say so. Anything else that fails says nothing of what was done, and the caller
    asks: it must not be made a refusal."""
    try:
        yield
    except Refused as refused:
        await context.abort_with_status(status_of(refused))


def step(method: str):
    """The handler of a step: they differ by what they are called."""

    async def handler(self, request, context):
        async with answering(context):
            return getattr(wire, f"{method}Response")(outcome=await self.desk.step(method, request))

    return handler


class Adapter(rpc.MigrationAdapterServicer):
    def __init__(self, system: str, desk: Desk):
        self.system, self.desk = system, desk
        self.view = ClusterView(desk.cluster)

    async def GetCapabilities(self, request, context):
        return topology.GetCapabilitiesResponse(
            system=self.system,
            adapter="filestore example 1",
            switch=topology.SWITCH_GATED,
            fence=topology.FENCE_BEFORE_COPY,
            repair_from_replica=True,
            shift_reads=topology.SHIFT_READS_LEADER_SWITCH,
            verify=[topology.VERIFY_METHOD_CHECKSUM],
            reverse=True,
            online_copy=False,
            throttle=True,
            max_concurrent=MAX_CONCURRENT,
        )

    async def WatchTopology(self, request, context):
        try:
            async for message in self.view.messages(request.heartbeat_ms):
                yield message
        except (OSError, ValueError, Unavailable) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the cluster cannot be seen: {error}")

    ValidateMigration = step("ValidateMigration")
    PrepareTarget = step("PrepareTarget")
    StartReplication = step("StartReplication")
    AwaitCatchup = step("AwaitCatchup")
    Verify = step("Verify")
    FenceSource = step("FenceSource")
    CommitSwitch = step("CommitSwitch")
    UnfenceSource = step("UnfenceSource")
    ReverseSwitch = step("ReverseSwitch")
    RetireSource = step("RetireSource")
    Abort = step("Abort")

    async def GetMigrationState(self, request, context):
        async with answering(context):
            return self.desk.state(request)

    async def WatchProgress(self, request, context):
        """Ends when nothing runs. To watch, or to stop watching, changes nothing."""
        heartbeat = min(request.heartbeat_ms / 1_000 or CHOICE_S, LONGEST_S)
        clock = asyncio.get_running_loop().time
        said, at = None, clock()
        while run := self.desk.run_of(request.migration_id):
            news = (run.request_id, run.progress)
            if news != said or clock() - at >= heartbeat - PACE_S:
                yield wire.WatchProgressResponse(request_id=run.request_id, progress=run.progress)
                said, at = news, clock()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(run.ended.wait(), PACE_S)

    async def ListMigrations(self, request, context):
        async with answering(context):
            return wire.ListMigrationsResponse(migrations=self.desk.left())

    async def ShiftReads(self, request, context):
        async with answering(context):
            return await self.desk.shift(request)


async def serve(arguments: argparse.Namespace) -> None:
    try:
        arguments.data.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(arguments.data / "ledger.sqlite")
    except (OSError, sqlite3.OperationalError) as error:
        sys.exit(f"{arguments.data}: {error}; is another adapter running with this folder?")
    desk = Desk(Cluster(arguments.cluster), ledger)
    # Two adapters must not share a port, which gRPC for Python allows by default.
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    rpc.add_MigrationAdapterServicer_to_server(Adapter(arguments.system, desk), server)
    try:
        port = server.add_insecure_port(arguments.listen)
    except RuntimeError as error:
        sys.exit(f"cannot listen at {arguments.listen}: {error}")
    # Before anybody is heard.
    desk.resume()
    await server.start()
    logging.info("listens at port %d", port)
    await server.wait_for_termination()


def this_host(address: str) -> str:
    """Whoever reaches an adapter can move data. Without certificates only this host may; with them, see
    grpc.ssl_server_credentials."""
    host, _, port = address.rpartition(":")
    try:
        if port.isdigit() and ipaddress.ip_address(host.strip("[]")).is_loopback:
            return address
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{address} is not an address of this host such as 127.0.0.1:7710")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("cluster", help="folder of the store, as `client.py CLUSTER create` makes it")
    options.add_argument("--data", type=Path, required=True, help="folder of what the adapter has promised")
    options.add_argument("--system", default="files", help="the system's name in the analyzer [%(default)s]")
    options.add_argument("--listen", type=this_host, default="127.0.0.1:7710", help="address [%(default)s]")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # It is built to be killed: there is nothing to be done at an end that a start would not do.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(serve(options.parse_args()))


if __name__ == "__main__":
    main()
