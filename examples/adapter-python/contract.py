"""The contract's messages: what a call must say, and how one is refused.

`wire` and `rpc` are what grpcio-tools makes of proto/isotherm/adapter/v1; see the README.
"""

import re

from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from isotherm.adapter.v1 import adapter_pb2 as topology
from isotherm.adapter.v1 import adapter_pb2_grpc as rpc
from isotherm.adapter.v1 import migration_pb2 as wire

__all__ = ["Refused", "check_call", "check_id", "check_shift", "content_of", "rpc", "status_of", "topology", "wire"]

DOMAIN = "isotherm"

# Every reason there is, and the code of its status. The analyzer decides by the reason: people read the code.
CODES = {
    "TRANSIENT": code_pb2.UNAVAILABLE,
    "THROTTLED": code_pb2.RESOURCE_EXHAUSTED,
    "STALE_TERM": code_pb2.FAILED_PRECONDITION,
    "STALE_EPOCH": code_pb2.FAILED_PRECONDITION,
    "CONFLICT": code_pb2.ABORTED,
    "UNSUPPORTED": code_pb2.UNIMPLEMENTED,
    "MISMATCH": code_pb2.DATA_LOSS,
    "NO_LIVE_COPY": code_pb2.FAILED_PRECONDITION,
    "ALREADY_EXISTS": code_pb2.ALREADY_EXISTS,
    "INVALID": code_pb2.INVALID_ARGUMENT,
}


class Refused(Exception):
    """Something was refused and has had no effect. Only then may it be raised: what is not certain is no refusal."""

    def __init__(self, reason: str, message: str, *, retry_after_ms: int | None = None, seen_term: int | None = None):
        super().__init__(message)
        self.reason, self.message = reason, message
        self.retry_after_ms, self.seen_term = retry_after_ms, seen_term

    def to_wire(self) -> wire.Refusal:
        """As it is kept, and told as the fate of a request."""
        number = wire.RefusalReason.Value(f"REFUSAL_REASON_{self.reason}")
        refusal = wire.Refusal(reason=number, message=self.message)
        if self.retry_after_ms is not None:
            refusal.retry_after_ms = self.retry_after_ms
        if self.seen_term is not None:
            refusal.seen_term = self.seen_term
        return refusal

    @staticmethod
    def from_wire(kept: wire.Refusal) -> "Refused":
        def told(name):
            return getattr(kept, name) if kept.HasField(name) else None

        reason = wire.RefusalReason.Name(kept.reason).removeprefix("REFUSAL_REASON_")
        return Refused(
            reason, kept.message, retry_after_ms=told("retry_after_ms"), seen_term=told("seen_term")
        )


def status_of(refused: Refused):
    """A refusal as a status: without its ErrorInfo it would say nothing of what was done."""
    metadata = {} if refused.seen_term is None else {"seen_term": str(refused.seen_term)}
    details = [error_details_pb2.ErrorInfo(reason=refused.reason, domain=DOMAIN, metadata=metadata)]
    if refused.retry_after_ms is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(refused.retry_after_ms)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=CODES[refused.reason], message=refused.message, details=packed)
    return rpc_status.to_status(status)


def check_call(method: str, request) -> wire.Call:
    """Refuses a call that cannot be, before anything is looked up or written."""
    if not request.HasField("call"):
        raise Refused("INVALID", "call: absent")
    call = request.call
    check_request_id(call.request_id)
    proposes = [call.HasField("expected_epoch"), call.HasField("new_epoch")]
    if proposes != [method != "ValidateMigration"] * 2:
        raise Refused("INVALID", "call: expected_epoch and new_epoch are both needed, except to validate")
    switches = method in ("CommitSwitch", "ReverseSwitch")
    if call.new_epoch < call.expected_epoch + switches:
        raise Refused("INVALID", f"call.new_epoch: {call.new_epoch} is too low after {call.expected_epoch}")
    if not call.HasField("migration") or call.migration.WhichOneof("origin") is None:
        raise Refused("INVALID", "call.migration.origin: absent: a source, or a dead node")
    check_id(call.migration.migration_id)
    if call.migration.target in ("", call.migration.source, call.migration.dead):
        raise Refused("INVALID", "call.migration.target: absent, or the node that is to be left")
    if method == "CommitSwitch" and request.WhichOneof("warrant") is None:
        raise Refused("INVALID", "warrant: absent: there is no switch without")
    if method == "CommitSwitch" and request.HasField("data_loss"):
        if not request.data_loss.by or not request.data_loss.reason:
            raise Refused("INVALID", "data_loss: who accepts the loss, and why, must be said")
    return call


def check_shift(request) -> None:
    check_request_id(request.request_id)
    if request.new_epoch <= request.expected_epoch:
        raise Refused("INVALID", f"new_epoch: {request.new_epoch} is not above {request.expected_epoch}")
    if request.WhichOneof("shift") is None:
        raise Refused("INVALID", "shift: absent: a leader, or a node to drain or restore")


def check_request_id(name: str) -> None:
    if not re.fullmatch(r"[!-~]{1,200}", name):
        raise Refused("INVALID", "request_id: must be 1 to 200 printable ASCII characters without space")


def check_id(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
        raise Refused("INVALID", f"migration_id: {name!r} is not 1 to 40 letters, digits, - and _")


def content_of(method: str, request) -> bytes:
    """What makes a request the same when it is repeated: the method and everything said, but the term."""
    same = type(request)()
    same.CopyFrom(request)
    if method == "ShiftReads":
        same.ClearField("term")
    else:
        same.call.ClearField("term")
    return method.encode() + b"\0" + same.SerializeToString(deterministic=True)
