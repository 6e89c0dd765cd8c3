#!/usr/bin/env python3
# The generator of clusters that `cargo xtask bench placement` plans for. Written before the planner, and left as it
# was, so that figures stay comparable: it shares nothing with what it judges.
"""Placement benchmark generator (seeded, pure Python, no deps).

  gen.py SCALE SEED OUTDIR [PLACEMENT]
SCALE: S = 30 nodes / 3 racks / 1k parts ; M = 300/30/100k ; L = 1000/50/1M
PLACEMENT: random (default) | copyset:S     (S = scatter width)
Writes nodes.csv parts.csv assign.csv events.json meta.json
Deterministic: splitmix64(seed ^ stream tag); floats = top 53 bits.
"""
import sys, os, json, math
from bisect import bisect_right
from itertools import accumulate
M64 = (1 << 64) - 1
SCALES = {"S": (30, 3, 3, 1000), "M": (300, 30, 3, 100_000), "L": (1000, 50, 5, 1_000_000)}
CLASSES = [(0.50, 1.0), (0.35, 2.0), (0.15, 4.0)]     # (share, relative capacity)
UTIL, R = 0.65, 3                                       # cluster fill, replicas

class Rng:
    def __init__(s, seed, tag):
        s.x = seed & M64
        for c in tag.encode(): s.x = (s.x * 1099511628211 ^ c) & M64
    def u64(s):
        s.x = (s.x + 0x9E3779B97F4A7C15) & M64
        z = s.x
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
        return z ^ (z >> 31)
    def f(s): return (s.u64() >> 11) * (1.0 / (1 << 53))
    def below(s, n): return s.u64() % n
    def normal(s): return math.sqrt(-2 * math.log(1 - s.f())) * math.cos(2 * math.pi * s.f())
    def shuffle(s, a):
        for i in range(len(a) - 1, 0, -1):
            j = s.below(i + 1); a[i], a[j] = a[j], a[i]

def nodes(scale, seed):
    n, racks, zones, p = SCALES[scale]; g = Rng(seed, "nodes")
    out = []
    for r in range(racks):            # same class mix in every rack => rack-feasible
        k = n // racks; cl = []
        for share, c in CLASSES: cl += [c] * round(share * k)
        cl = (cl + [1.0] * k)[:k]; g.shuffle(cl)
        for i in range(k):
            out.append([r * k + i, r, r * zones // racks, cl[i], 10000 if cl[i] < 4 else 25000,
                        min(0.99, 0.02 / (0.02 + g.f()) * 0.5)])  # long-tailed risk score
    return out
def parts(scale, seed):
    p = SCALES[scale][3]; g = Rng(seed, "parts"); out = []
    for i in range(p):
        z = g.normal()
        size = max(1, min(int(512 * math.exp(1.2 * z)), 16384))          # MiB lognormal s=1.2, cap 16 GiB
        zl = 0.3 * z + math.sqrt(1 - 0.09) * g.normal()                   # corr 0.3 with size
        load = max(1, min(int(10 * math.exp(1.5 * zl)), 2000))            # req/s lognormal s=1.5
        out.append((size, load))
    return out
def place_random(nd, pt, seed):
    """weighted choice of R distinct racks, best-of-2 fill inside the rack"""
    g = Rng(seed, "place"); racks = max(x[1] for x in nd) + 1
    by = [[x for x in nd if x[1] == r] for r in range(racks)]
    cw = list(accumulate(sum(x[3] for x in b) for b in by))
    ncw = [list(accumulate(x[3] for x in b)) for b in by]
    use = [0.0] * len(nd); a = []
    for size, load in pt:
        rs = []
        while len(rs) < R:
            r = bisect_right(cw, g.f() * cw[-1]); r = min(r, racks - 1)
            if r not in rs: rs.append(r)
        row = []
        for r in rs:
            c = ncw[r]; b = by[r]
            x = b[min(bisect_right(c, g.f() * c[-1]), len(b) - 1)]; y = b[min(bisect_right(c, g.f() * c[-1]), len(b) - 1)]
            if use[y[0]] / y[3] < use[x[0]] / x[3]: x = y
            use[x[0]] += size; row.append(x[0])
        a.append(row)
    return a
def place_copyset(nd, pt, seed, S):
    """Cidon-2013 permutations (rack-distinct); copysets chosen by smallest max fill of 4 weighted draws"""
    g = Rng(seed, "copyset"); n = len(nd); sets = []
    for _ in range(max(1, S // (R - 1))):
        for _try in range(1000):
            perm = list(range(n)); g.shuffle(perm)
            for i in range(0, n - n % R, R):     # repair rack clashes by swapping forward
                for k in (1, 2):
                    j = i + k
                    while nd[perm[i + k]][1] in [nd[perm[i + q]][1] for q in range(k)]:
                        j += 1
                        if j >= n: break
                        perm[i + k], perm[j] = perm[j], perm[i + k]
            ok = [perm[i:i + R] for i in range(0, n - n % R, R)]
            ok = [s for s in ok if len({nd[x][1] for x in s}) == R]
            if len(ok) >= n // R - 2: break
        sets += ok
    w = list(accumulate(min(nd[x][3] for x in s) for s in sets)); use = [0.0] * n; a = []
    for size, load in pt:
        best = None
        for _ in range(4):
            s = sets[min(bisect_right(w, g.f() * w[-1]), len(sets) - 1)]
            m = max(use[x] / nd[x][3] for x in s)
            if best is None or m < best[0]: best = (m, s)
        row = list(best[1]); g.shuffle(row)
        for x in row: use[x] += size
        a.append(row)
    return a
def events(nd, seed):
    g = Rng(seed, "events"); two = [x[0] for x in nd if x[3] == 2.0]
    f = two[g.below(len(two))]; r = max(x[1] for x in nd) + 1
    fr = nd[f][1]
    return [{"id": "fail1", "fail": [f]}, {"id": "drain1", "drain": [f]},
            {"id": "add1", "add": [{"rack": nd[f][1], "capacity": 2.0}]},
            {"id": "weight1", "set_capacity": {str(f): 1.0}},
            {"id": "failrack", "fail": [x[0] for x in nd if x[1] == fr]} if r > 3 else {"id": "fail3", "fail": [two[0], two[len(two) // 2], two[-1]]}]
def main():
    scale, seed, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    pl = sys.argv[4] if len(sys.argv) > 4 else "random"
    os.makedirs(out, exist_ok=True)
    nd, pt = nodes(scale, seed), parts(scale, seed)
    tot = sum(s for s, _ in pt) * R; tl = sum(l for _, l in pt) * R; cap = sum(x[3] for x in nd)
    unit = int(tot / UTIL / cap) + 1; lunit = int(tl / 0.5 / cap) + 1
    a = place_random(nd, pt, seed) if pl == "random" else place_copyset(nd, pt, seed, int(pl.split(":")[1]))
    with open(out + "/nodes.csv", "w") as f:
        f.write("node,rack,zone,weight,capacity_mib,load_cap,nic_mbit,risk\n")
        for i, r, z, c, nic, risk in nd: f.write(f"{i},{r},{z},{c},{int(c*unit)},{int(c*lunit)},{nic},{risk:.4f}\n")
    with open(out + "/parts.csv", "w") as f:
        f.write("pid,size_mib,load\n"); f.writelines(f"{i},{s},{l}\n" for i, (s, l) in enumerate(pt))
    with open(out + "/assign.csv", "w") as f:
        f.write("pid,n0,n1,n2\n"); f.writelines(f"{i},{x[0]},{x[1]},{x[2]}\n" for i, x in enumerate(a))
    json.dump(events(nd, seed), open(out + "/events.json", "w"))
    use = [0.0] * len(nd)
    for row, (s, _) in zip(a, pt):
        for x in row: use[x] += s
    fill = [u / (x[3] * unit) for u, x in zip(use, nd)]; mean = tot / (cap * unit)
    json.dump({"scale": scale, "seed": seed, "placement": pl, "unit_mib": unit, "load_unit": lunit, "total_mib": tot,
               "init_max_over_mean": max(fill) / mean, "init_min_over_mean": min(fill) / mean,
               "distinct_sets": len({tuple(sorted(r)) for r in a})}, open(out + "/meta.json", "w"))
    print(open(out + "/meta.json").read())
if __name__ == "__main__": main()
