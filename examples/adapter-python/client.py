"""What users of the store do: make a cluster, write and read; and a load that knows what was acknowledged."""

import argparse
import json
import os
import random
import select
import sys

from filestore import Cluster, Unavailable, file_name, keys

# Between two operations of the load.
PACE_S = 0.005

VALUE_BYTES = 20_000


def create(arguments) -> None:
    cluster = Cluster.create(arguments.cluster, arguments.nodes, arguments.partitions, arguments.replicas)
    for partition in cluster.partitions():
        for number in range(arguments.keys):
            cluster.put(partition, f"key{number}", os.urandom(arguments.bytes))


def put(arguments) -> None:
    Cluster(arguments.cluster).put(arguments.partition, arguments.key, sys.stdin.buffer.read())


def get(arguments) -> None:
    value = Cluster(arguments.cluster).get(arguments.partition, arguments.key)
    if value is None:
        sys.exit(f"{arguments.partition} has no key {arguments.key!r}")
    sys.stdout.buffer.write(value)


def show(arguments) -> None:
    cluster = Cluster(arguments.cluster)
    for partition in cluster.partitions():
        now = cluster.read_map(partition)
        count = len(keys(cluster.folder(now.replicas[0])))
        print(f"{partition}: epoch {now.epoch}, {count} keys on {', '.join(now.nodes())}")


def load(arguments) -> None:
    """Writes and reads until stdin ends. Then holds all that was acknowledged against every replica."""
    cluster, acknowledged = Cluster(arguments.cluster), {}
    told = {"acknowledged": 0, "refused": 0, "reads": 0, "bad_reads": 0, "lost": 0}
    while not select.select([sys.stdin], [], [], PACE_S)[0]:
        place = (random.choice(cluster.partitions()), f"load{random.randrange(50)}")
        value = os.urandom(random.randrange(VALUE_BYTES))
        try:
            cluster.put(*place, value)
            acknowledged[place] = value
            told["acknowledged"] += 1
        except Unavailable:
            told["refused"] += 1
        except OSError:
            # What is there may be the old value or this one, on some replicas.
            told["refused"] += 1
            acknowledged.pop(place, None)
        if acknowledged:
            place = random.choice(list(acknowledged))
            told["reads"] += 1
            told["bad_reads"] += cluster.get(*place) != acknowledged[place]
    for (partition, key), value in acknowledged.items():
        replicas = cluster.read_map(partition).replicas
        copies = [cluster.folder(replica) / file_name(key) for replica in replicas if cluster.is_up(replica.node)]
        told["lost"] += any(not copy.exists() or copy.read_bytes() != value for copy in copies)
    print(json.dumps(told))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("cluster", help="folder of the store")
    commands = options.add_subparsers(required=True)
    make = commands.add_parser("create", help="make a cluster with some content")
    for name, default in [("nodes", 4), ("partitions", 3), ("replicas", 2), ("keys", 20), ("bytes", 50_000)]:
        make.add_argument(f"--{name}", type=int, default=default, help=f"how many [{default}]")
    make.set_defaults(run=create)
    for run, help in [(put, "write stdin to a key"), (get, "read a key")]:
        command = commands.add_parser(run.__name__, help=help)
        command.add_argument("partition")
        command.add_argument("key")
        command.set_defaults(run=run)
    for run, help in [(show, "who holds what"), (load, "write and read until stdin ends, and tell what came of it")]:
        commands.add_parser(run.__name__, help=help).set_defaults(run=run)
    arguments = options.parse_args()
    try:
        arguments.run(arguments)
    except (Unavailable, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
