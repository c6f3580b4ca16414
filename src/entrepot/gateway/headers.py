"""Which headers pass, by name: everything that is not listed stays on its side.

A deny-list would have to know every header that leaks a credential; these lists only have to know
what a host or a client needs.
"""

from collections.abc import Sequence

TO_HOST = frozenset({b"traceparent", b"tracestate", b"openai-beta"})
TO_CLIENT = frozenset({b"openai-processing-ms", b"openai-version"})

REQUEST_ID = b"x-request-id"
ENDPOINT = b"x-entrepot-endpoint"
MODEL = b"x-entrepot-model"
EXPECTED_COST = b"x-entrepot-expected-cost-usd"
COST = b"x-entrepot-cost-usd"
REASON = b"x-entrepot-reason"
BUDGET_WARNING = b"x-entrepot-budget-warning"
OUTPUT_LIMIT = b"x-entrepot-max-tokens"
SIMULATED = b"x-entrepot-simulated"

MOST_VALUE_CHARACTERS = 400  # of a header value that we write: some clients refuse lines above a few KiB

REASON_PHRASES = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    415: b"Unsupported Media Type",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}


def passed(headers: Sequence[tuple[bytes, bytes]], allowed: frozenset[bytes]) -> bytes:
    """Return the header lines of `headers` whose lower-case names are allowed, ready to send.

    A value that is not ASCII does not pass: HTTP permits it, and many clients cannot read it.
    """
    return b"".join(
        [b"%b: %b\r\n" % (name, value) for name, value in headers if name in allowed and value.isascii()]
    )


def ascii_value(text: str) -> bytes:
    """Return `text` as a header value: printable ASCII, no line breaks, bounded in length."""
    text = text[:MOST_VALUE_CHARACTERS]
    if not (text.isascii() and text.isprintable()):
        text = "".join(c if " " <= c <= "~" else "?" for c in text)
    return text.encode("ascii")
