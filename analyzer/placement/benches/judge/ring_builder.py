#!/usr/bin/env python3
"""What OpenStack Swift's ring builder does when a node fails, as one JSON line.

  ring_builder.py DATADIR NODE PART_POWER

Nodes are those of nodes.csv: a rack is a zone of Swift's, a node a device of its own host, with its weight. Swift
knows partitions of one size only, so there are 2^PART_POWER of them and moves are counted, not bytes.
"""
import csv
import json
import sys
import time

from swift.common.ring.builder import RingBuilder

folder, failed, power = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
nodes = list(csv.DictReader(open(folder + "/nodes.csv")))
builder = RingBuilder(power, 3, 0)
for node in nodes:
    number = int(node["node"])
    builder.add_dev({
        "id": number, "region": 1, "zone": int(node["rack"]), "weight": float(node["weight"]) * 100,
        "ip": "10.%d.%d.1" % (number // 256, number % 256), "port": 6000, "device": "d%d" % number,
    })
builder.rebalance(seed=1)
# The first rounds of a new ring still even out what the first left.
for _ in range(5):
    builder.pretend_min_part_hours_passed()
    if builder.rebalance(seed=1)[0] == 0:
        break


def holders():
    rows = [list(row) for row in builder._replica2part2dev]
    return [set(row[part] for row in rows) for part in range(builder.parts)]


before = holders()
least = sum(failed in row for row in before)
builder.remove_dev(failed)
builder.pretend_min_part_hours_passed()
start = time.perf_counter()
builder.rebalance(seed=1)
seconds = time.perf_counter() - start
after = holders()
held = {}
for row in after:
    for node in row:
        held[node] = held.get(node, 0) + 1
weights = {int(node["node"]): float(node["weight"]) for node in nodes if int(node["node"]) != failed}
mean = sum(held.values()) / sum(weights.values())
print(json.dumps({
    "seconds": seconds,
    "moved_over_min": sum(len(new - old) for old, new in zip(before, after)) / least,
    "max_over_mean": max(held[node] / weights[node] for node in weights) / mean,
}))
