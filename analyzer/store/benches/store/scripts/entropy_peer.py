"""Plug-in entropies of each partition and window of a file, by DuckDB or pandas.

Arguments: engine, file, and where to write every entropy (optional). Prints what ours prints.
"""

import json
import sys
import time

BUCKETS = [f"o{index:02}" for index in range(64)]


def duckdb_bits(file, results):
    import duckdb

    weighted = lambda x: f"CASE WHEN {x} > 0 THEN {x} * log2({x}) ELSE 0 END"
    sums = ", ".join(f"sum({name})::DOUBLE AS {name}" for name in BUCKETS)
    bits = lambda n, w: f"CASE WHEN {n} > 0 THEN greatest(0, log2({n}) - ({w}) / {n}) END"
    offsets, weights = " + ".join(BUCKETS), " + ".join(weighted(name) for name in BUCKETS)
    query = f"""
        WITH merged AS (
            SELECT window_start, partition, sum(ops)::DOUBLE AS n,
                   sum({weighted("ops::DOUBLE")}) AS w, {sums}
            FROM read_parquet('{file}') GROUP BY window_start, partition
        ), totals AS (SELECT window_start, partition, n, w, {offsets} AS s, {weights} AS v FROM merged)
        SELECT window_start, partition, {bits("n", "w")} AS node_bits, {bits("s", "v")} AS offset_bits
        FROM totals
    """
    if results:
        duckdb.sql(f"COPY ({query}) TO '{results}' (FORMAT parquet)")
    return duckdb.sql(f"SELECT count(*), sum(node_bits), sum(offset_bits) FROM ({query})").fetchall()[0]


def pandas_bits(file, results):
    import numpy as np
    import pandas as pd
    import pyarrow.parquet as pq

    def weighted(x):
        return np.where(x > 0, x * np.log2(np.maximum(x, 1)), 0.0)

    def bits(n, w):
        return np.where(n > 0, np.maximum(0.0, np.log2(np.maximum(n, 1)) - w / np.maximum(n, 1)), np.nan)

    # All of it at once would take several times its 5 GB. A row group has whole partitions.
    groups, node_bits, offset_bits, kept = 0, 0.0, 0.0, []
    source = pq.ParquetFile(file)
    for group in range(source.num_row_groups):
        rows = source.read_row_group(group, columns=["window_start", "partition", "ops", *BUCKETS]).to_pandas()
        rows["w"] = weighted(rows["ops"].to_numpy(dtype=float))
        merged = rows.groupby(["window_start", "partition"], sort=False).sum()
        counts = merged[BUCKETS].to_numpy(dtype=float)
        nodes = bits(merged["ops"].to_numpy(dtype=float), merged["w"].to_numpy())
        offsets = bits(counts.sum(axis=1), weighted(counts).sum(axis=1))
        groups, node_bits = groups + len(merged), node_bits + np.nansum(nodes)
        offset_bits += np.nansum(offsets)
        if results:
            kept.append(pd.DataFrame({"node_bits": nodes, "offset_bits": offsets}, index=merged.index))
    if results:
        pd.concat(kept).reset_index().to_parquet(results)
    return groups, node_bits, offset_bits


if __name__ == "__main__":
    engine, file, results = sys.argv[1], sys.argv[2], (sys.argv[3:] or [None])[0]
    groups, nodes, offsets = {"duckdb": duckdb_bits, "pandas": pandas_bits}[engine](file, results)
    said = {"groups": int(groups), "node_bits": float(nodes), "offset_bits": float(offsets)}
    print(json.dumps({"cpu_s": time.process_time(), **said}))
