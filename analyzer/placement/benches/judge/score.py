#!/usr/bin/env python3
# The judge of plans for `cargo xtask bench placement`. Written before the planner, and left as it was, so that
# figures stay comparable: it shares no code with the planner and the checker.
"""score.py DATADIR EVENT PLAN.csv [BEFORE.csv]  -> one JSON line. Independent of any planner.
PLAN.csv: pid,n0,n1,n2 (full placement after the event; new node of add1 has id = number of nodes).
moved_over_min: bytes of (pid,node) pairs not in BEFORE / lower bound, where the bound is
  fail/drain: bytes held by lost nodes;  add: target share of new node;  set_capacity: excess over new fair share.
lb2d(eps): per-node fractional-knapsack bound on bytes that must leave to bring size AND load within (1+eps) of mean."""
import sys, csv, json
from math import comb
d, ev, plan = sys.argv[1:4]; before = sys.argv[4] if len(sys.argv) > 4 else d + "/assign.csv"
N = [dict(r) for r in csv.DictReader(open(d + "/nodes.csv"))]
cap = [float(r["capacity_mib"]) for r in N]; lc = [float(r["load_cap"]) for r in N]; rack = [int(r["rack"]) for r in N]; w = [float(r["weight"]) for r in N]
e = next(x for x in json.load(open(d + "/events.json")) if x["id"] == ev) if ev != "none" else {}
size, load = [], []
for l in open(d + "/parts.csv").readlines()[1:]:
    _, s, q = l.split(","); size.append(int(s)); load.append(int(q))
rd = lambda f: [tuple(map(int, l.split(",")[1:4])) for l in open(f).readlines()[1:]]
A, B = rd(before), rd(plan); dead = set(e.get("fail", []) + e.get("drain", []))
unit, lunit = cap[0] / w[0], lc[0] / w[0]
for a in e.get("add", []): rack.append(a["rack"]); cap.append(a["capacity"] * unit); lc.append(a["capacity"] * lunit)
for k, v in e.get("set_capacity", {}).items(): cap[int(k)], lc[int(k)] = v * unit, v * lunit
n = len(cap); live = [i for i in range(n) if i not in dead]
def use(P):
    us, ul = [0] * n, [0] * n
    for p, r in enumerate(P):
        for x in r: us[x] += size[p]; ul[x] += load[p]
    return us, ul
ua, la = use(A); ub, lb = use(B)
mean = sum(ub) / sum(cap[i] for i in live); lmean = sum(lb) / sum(lc[i] for i in live)
moves = mb = viol = 0; rx, sets, pairs = {}, set(), {}
for p, (a, b) in enumerate(zip(A, B)):
    if len({rack[x] for x in b}) < 3 or any(x in dead for x in b): viol += 1
    for x in b:
        if x not in a: moves += 1; mb += size[p]; rx[x] = rx.get(x, 0) + size[p]
    t = tuple(sorted(b)); sets.add(t)
    for q in ((t[0], t[1]), (t[0], t[2]), (t[1], t[2])): pairs[q] = pairs.get(q, 0) + size[p]
over = sum(ub[i] > cap[i] for i in live)
tsz = sum(ub)
if dead: mn = sum(ua[i] for i in dead)
elif "add" in e: mn = mean * cap[-1]
elif "set_capacity" in e: i = int(next(iter(e["set_capacity"]))); mn = ua[i] - mean * cap[i]
else: mn = 0
eps = 0.02; lb2 = sum(ua[i] for i in dead)
held = [[] for _ in range(n)]
for p, a in enumerate(A):
    for x in a: held[x].append(p)
for i in live:
    es = max(0, ua[i] - (1 + eps) * mean * cap[i]); el = max(0, la[i] - (1 + eps) * lmean * lc[i]); k = 0.0
    if el > 0:
        for p in sorted(held[i], key=lambda p: size[p] / load[p]):
            if load[p] >= el: k += size[p] * el / load[p]; break
            el -= load[p]; k += size[p]
    lb2 += max(es, k)
sw, tot, sq = [0] * n, [0] * n, [0] * n
for (x, y), b in pairs.items():
    for z in (x, y): sw[z] += 1; tot[z] += b; sq[z] += b * b
print(json.dumps({"event": ev, "moves": moves, "moved_mib": mb, "min_mib": round(mn), "moved_over_min": round(mb / mn, 4) if mn else None, "lb2d_eps2pct_mib": round(lb2), "moved_over_lb2d": round(mb / lb2, 3) if lb2 else None,
  "size_max_over_mean": round(max(ub[i] / cap[i] for i in live) / mean, 4), "load_max_over_mean": round(max(lb[i] / lc[i] for i in live) / lmean, 4), "violations": viol + over,
  "copysets": len(sets), "p_loss_3": len(sets) / comb(len(live), 3), "p_quorum_2": len(pairs) / comb(len(live), 2), "scatter_mean": round(sum(sw) / len(live), 1),
  "scatter_eff": round(sum(tot[i] ** 2 / sq[i] for i in live if sq[i]) / len(live), 1), "targets": len(rx), "max_rx_share": round(max(rx.values()) / mb, 4) if mb else 0}))
