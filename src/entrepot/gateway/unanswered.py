"""What a client is told when no attempt brought an answer, or one broke off.

A host's status is not passed on: its 401 is about our key and its 500 about one host of several. Its words
are, where they can help the client and say nothing of our account.
"""

from __future__ import annotations

from collections.abc import Sequence

from entrepot.domain.errors import HostFault, Refusal
from entrepot.gateway.attempt import CLIENT_FAULTS, Attempt
from entrepot.gateway.call import Call

ABOUT_OUR_ACCOUNT = frozenset({401, 402, 403, 404, 429})  # words for the operator's log alone
TRY_AGAIN_S = 5.0  # where no host says how long
MOST_WAIT_DIGITS = 5


def unanswered(call: Call, failed: Sequence[Attempt]) -> Refusal:
    """Return what to tell the client of `call`, of which all attempts failed; there is at least one."""
    last = failed[-1]
    fault = last.fault
    assert fault is not None
    if fault.status in CLIENT_FAULTS:
        return Refusal(
            http_status=400,
            type="invalid_request_error",
            code="host_rejected_request",
            message=f"the host rejected the request: {fault.words or fault.reason}",
        )
    able = [attempt for attempt in failed if not attempt.outgrown_tokens]
    waits_s = [_wait_s(attempt) for attempt in able]
    if all(attempt.fault is not None and attempt.fault.status == 429 for attempt in able):
        return Refusal(
            http_status=429,
            type="rate_limit_error",
            code="hosts_rate_limited",
            message=f"all {len(able)} endpoints that could answer are rate limited; try again later",
            retry_after_s=min((wait_s for wait_s in waits_s if wait_s is not None), default=TRY_AGAIN_S),
        )
    what = f"{last.target.endpoint.name}: {_told(fault)}"
    more = f"`entrepot why {call.request_id.hex()}` tells more"
    if call.exchange.started:
        return _server_fault("answer_broken_off", f"the answer broke off at {what}. {more}")
    attempts = "1 attempt" if len(failed) == 1 else f"{len(failed)} attempts"
    return _server_fault("no_host_answered", f"{attempts} failed, the last one at {what}. {more}")


def _server_fault(code: str, message: str) -> Refusal:
    return Refusal(http_status=502, type="api_error", code=code, message=message)


def _told(fault: HostFault) -> str:
    """Return what the client may read of a fault."""
    if fault.words and fault.status not in ABOUT_OUR_ACCOUNT:
        return f"{fault.reason}: {fault.words}"
    return fault.reason


def _wait_s(attempt: Attempt) -> float | None:
    """Return the seconds of a host's Retry-After, None where it has none or a date."""
    for name, value in () if attempt.relay is None else attempt.relay.headers:
        if name == b"retry-after" and value.isdigit() and len(value) <= MOST_WAIT_DIGITS:
            return float(value)
    return None
