"""stub"""


def reconcile() -> None:
    """Stub."""
