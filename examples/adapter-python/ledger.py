"""What the adapter has promised, kept so that it outlives it: terms, epochs, requests and what came of them.

SQLite does the hard part: a transaction is on disk, whole, before the call returns (`synchronous = FULL`), or it has
never been. Two rules make the rest of the adapter simple:

- a request is written down *before* anything is done for it (`admit`), and what came of it *before* anybody is told
  (`settle`). So whoever is told something is told it again after a crash, and what was under way can be taken up;
- all that is decided about a request is decided here, in one transaction, from what is kept and the epoch that serves.

Messages are kept as they came, as bytes: they are their own best format.
"""

import contextlib
import sqlite3
import time
from pathlib import Path

from contract import Refused, content_of, wire

TABLES = """
CREATE TABLE IF NOT EXISTS term (highest INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS epoch (partition TEXT PRIMARY KEY, highest INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS migration (
    id TEXT PRIMARY KEY, partition TEXT NOT NULL, message BLOB NOT NULL,
    at_epoch INTEGER NOT NULL,        -- which served when it began
    term INTEGER NOT NULL, last_request TEXT NOT NULL,
    fence_epoch INTEGER, fenced_ms INTEGER,     -- its fence, while there is one
    verified BLOB,                    -- its verification, while that is good
    ended_ms INTEGER
);
CREATE TABLE IF NOT EXISTS request (
    seq INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, of TEXT NOT NULL, method TEXT NOT NULL,
    content BLOB NOT NULL, message BLOB NOT NULL, heard_ms INTEGER NOT NULL,
    running INTEGER NOT NULL,
    done BLOB, refusal BLOB           -- what came of it; of a shift that runs, what will
);
"""

# How long requests of migrations that have ended are answered as they were.
REMEMBERED_MS = 24 * 3_600 * 1_000

# Steps that copy: they stop when the start is to be restored, and leave nothing that an abort would not remove.
COPYING = {"PrepareTarget", "StartReplication", "AwaitCatchup", "Verify"}

# Which running steps each step stops before it begins. Others must end first: a step that lets a copy serve, or
# removes one, is never interrupted.
STOPS = {"Abort": COPYING | {"FenceSource", "UnfenceSource"}, "UnfenceSource": COPYING, "FenceSource": {"Verify"}}

# What may be asked for once the switch has happened, and only then.
AFTER_SWITCH = {"ReverseSwitch", "RetireSource"}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Ledger:
    def __init__(self, path: Path):
        self.sql = sqlite3.connect(path, isolation_level=None, timeout=0)
        self.sql.row_factory = sqlite3.Row
        # The first write takes a lock that is held to the end: one process has the ledger at a time.
        self.sql.executescript("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL;")
        self.sql.executescript(TABLES)
        self.sql.execute("INSERT INTO term SELECT 0 WHERE NOT EXISTS (SELECT * FROM term)")

    # Requests.

    def hear(self, term: int) -> None:
        """Keeps the highest term; a lower one is refused. The first thing for every call, also for questions."""
        (highest,) = self.sql.execute("SELECT highest FROM term").fetchone()
        if term < highest:
            message = f"a controller of term {highest} was heard of; this one has {term}"
            raise Refused("STALE_TERM", message, seen_term=highest)
        if term > highest:
            self.sql.execute("UPDATE term SET highest = ?", [term])

    def find(self, request_id: str) -> sqlite3.Row | None:
        return self.sql.execute("SELECT * FROM request WHERE id = ?", [request_id]).fetchone()

    def repeats(self, request_id: str, method: str, request) -> bool:
        """Whether the request was heard before; refused if it was another."""
        first = self.find(request_id)
        if first and first["content"] != content_of(method, request):
            raise Refused("ALREADY_EXISTS", f"request {request_id} was made before with another content")
        return first is not None

    def admit(self, method: str, request, serving: int, side: int, most: int) -> list[str]:
        """Writes a new step down, and returns the requests to be stopped before it begins.

        What is refused is written down, too: the request has its first answer. `serving` is the epoch that serves,
        `side` who serves as far as the migration is concerned, `most` how many migrations may copy at a time.
        """
        call, stop, refused = request.call, [], None
        with self.transaction():
            try:
                stop = self._decide(method, request, serving, side, most)
                self._begin(method, call, serving)
            except Refused as error:
                refused = error
            self._write(call.request_id, call.migration.migration_id, method, request, refused=refused)
        if refused:
            raise refused
        return stop

    def _begin(self, method: str, call: wire.Call, serving: int) -> None:
        moved = call.migration
        self.sql.execute(
            "INSERT INTO migration (id, partition, message, at_epoch, term, last_request) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET term = excluded.term, last_request = excluded.last_request",
            [moved.migration_id, moved.partition, moved.SerializeToString(), serving, call.term, call.request_id],
        )
        if method in ("PrepareTarget", "StartReplication", "UnfenceSource"):
            # The copy becomes another one, or falls behind: what was verified is not what would serve.
            self._update(moved.migration_id, "verified = NULL")

    def _decide(self, method: str, request, serving: int, side: int, most: int) -> list[str]:
        call, moved = request.call, request.call.migration
        self.propose(moved.partition, call.expected_epoch, call.new_epoch, serving)
        own = self.migration(moved.migration_id)
        if own and own["message"] != moved.SerializeToString():
            raise Refused("CONFLICT", f"migration {moved.migration_id} is another one, of {own['partition']}")
        if own and own["ended_ms"] and method not in ("Abort", "RetireSource"):
            raise Refused("CONFLICT", f"migration {moved.migration_id} has ended; {method} comes too late")
        others = [row["id"] for row in self.open(moved.partition) if row["id"] != moved.migration_id]
        if others and method != "Abort":
            raise Refused("CONFLICT", f"migration {others[0]} of {moved.partition} must end first")
        if (side == wire.SIDE_TARGET) != (method in AFTER_SWITCH) and (side, method) != (wire.SIDE_NEITHER, "Abort"):
            has = "has" if side == wire.SIDE_TARGET else "has not"
            raise Refused("CONFLICT", f"the switch of {moved.migration_id} {has} happened: no {method}")
        if method == "CommitSwitch":
            self._check_commit(request, own, serving)
        return self._stopped_by(method, moved.migration_id, most)

    def propose(self, partition: str, expected: int, new: int, serving: int) -> None:
        """Keeps the highest epoch that was proposed; what comes late has no effect."""
        if expected != serving:
            raise Refused("STALE_EPOCH", f"epoch {serving} serves, not {expected}")
        if new < self.highest(partition, serving):
            raise Refused("STALE_EPOCH", f"{new} is below epoch {self.highest(partition, serving)}, proposed before")
        self.sql.execute("INSERT OR REPLACE INTO epoch VALUES (?, ?)", [partition, new])

    def _check_commit(self, request, own, serving: int) -> None:
        """No switch without a warrant, and a fence of the same epoch."""
        if request.HasField("verification"):
            kept = own["verified"] if own else None
            if request.verification.SerializeToString() != kept or request.verification.serving_epoch != serving:
                raise Refused("MISMATCH", "it is not the verification of this migration and epoch; verify again")
            fence = own["fence_epoch"]
            if request.call.migration.HasField("source") and fence != request.call.new_epoch:
                raise Refused("CONFLICT", f"the switch needs a fence of the same epoch; there is {fence}")

    def _stopped_by(self, method: str, migration: str, most: int) -> list[str]:
        running = [row for row in self.under_way() if row["method"] != "ShiftReads"]
        own = [row for row in running if row["of"] == migration]
        for row in own:
            if row["method"] not in STOPS.get(method, ()):
                raise Refused("TRANSIENT", f"{row['id']} runs; {method} must wait", retry_after_ms=200)
        copies = sum(row["method"] == "StartReplication" for row in running)
        if method == "StartReplication" and copies >= most:
            raise Refused("THROTTLED", f"{copies} copies are being made", retry_after_ms=1_000)
        return [row["id"] for row in own]

    def admit_shift(self, request, serving: int, answer, problem: Refused | None) -> None:
        """Writes a shift of reads down, with the answer that it will have: what it was made from is gone then."""
        with self.transaction():
            try:
                self.propose(request.partition, request.expected_epoch, request.new_epoch, serving)
                if under_way := self.open(request.partition):
                    problem = Refused("CONFLICT", f"migration {under_way[0]['id']} must end first")
                refused = problem
            except Refused as error:
                refused = error
            self._write(request.request_id, "", "ShiftReads", request, refused=refused, done=answer)
        if refused:
            raise refused

    def settle(self, request_id: str, outcome) -> None:
        """Writes down what came of a request, with all that follows: a `Refused`, of a step a `Done`, of a shift that
        was made `None`."""
        heard = self.find(request_id)
        with self.transaction():
            self.sql.execute("UPDATE request SET running = 0 WHERE id = ?", [request_id])
            if outcome is None:
                return
            if isinstance(outcome, Refused):
                kept = outcome.to_wire().SerializeToString()
                self.sql.execute("UPDATE request SET refusal = ? WHERE id = ?", [kept, request_id])
                return
            self.sql.execute("UPDATE request SET done = ? WHERE id = ?", [outcome.SerializeToString(), request_id])
            changes, values = None, []
            match outcome.WhichOneof("result"):
                case "fenced":
                    message = wire.FenceSourceRequest.FromString(heard["message"])
                    changes, values = "fence_epoch = ?, fenced_ms = ?", [message.call.new_epoch, now_ms()]
                case "unfenced" | "committed" | "reversed":
                    changes = "fence_epoch = NULL, fenced_ms = NULL"
                case "verified":
                    changes, values = "verified = ?", [outcome.verified.SerializeToString()]
                case "retired" | "aborted":
                    changes, values = "fence_epoch = NULL, fenced_ms = NULL, ended_ms = ?", [now_ms()]
            if changes:
                self._update(heard["of"], changes, *values)
            self._forget()

    # What is known.

    def migration(self, name: str) -> sqlite3.Row | None:
        return self.sql.execute("SELECT * FROM migration WHERE id = ?", [name]).fetchone()

    def migrations(self) -> list[sqlite3.Row]:
        return self.sql.execute("SELECT * FROM migration ORDER BY id").fetchall()

    def open(self, partition: str) -> list[sqlite3.Row]:
        return [row for row in self.migrations() if row["partition"] == partition and not row["ended_ms"]]

    def under_way(self) -> list[sqlite3.Row]:
        """Requests that were begun and have not ended, the oldest first."""
        return self.sql.execute("SELECT * FROM request WHERE running = 1 ORDER BY seq").fetchall()

    def highest(self, partition: str, serving: int) -> int:
        row = self.sql.execute("SELECT highest FROM epoch WHERE partition = ?", [partition]).fetchone()
        return max(serving, row["highest"] if row else 0)

    # How it is written.

    @contextlib.contextmanager
    def transaction(self):
        """All of it is on disk at the end, or nothing. If that fails, so does the call, with a status that has no
        ErrorInfo: the caller knows nothing then, and asks."""
        self.sql.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.sql.execute("ROLLBACK")
            raise
        self.sql.execute("COMMIT")

    def _write(self, request_id: str, of: str, method: str, request, refused: Refused | None, done=None) -> None:
        self.sql.execute(
            "INSERT INTO request (id, of, method, content, message, heard_ms, running, done, refusal)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [request_id, of, method, content_of(method, request), request.SerializeToString(), now_ms()]
            + [refused is None, done and done.SerializeToString(), refused and refused.to_wire().SerializeToString()],
        )

    def _update(self, migration: str, changes: str, *values) -> None:
        self.sql.execute(f"UPDATE migration SET {changes} WHERE id = ?", [*values, migration])

    def _forget(self) -> None:
        """Requests of migrations that are under way are never forgotten."""
        self.sql.execute(
            "DELETE FROM request WHERE running = 0 AND heard_ms < ?"
            " AND of NOT IN (SELECT id FROM migration WHERE ended_ms IS NULL)",
            [now_ms() - REMEMBERED_MS],
        )
