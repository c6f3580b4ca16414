"""Keeps every set of rules that was in force in the data directory, under its version.

A decision names the version of the rules that it obeyed. What they said is needed when somebody asks years
later, and the configuration of then is gone; the journal would have to repeat them in each of its segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from entrepot.domain.errors import DataError
from entrepot.ledger.data_dir import DataDir, write_atomically
from entrepot.routing.policy import PolicySet, digest_of
from entrepot.routing.rule import Rule


def keep_rules(data_dir: Path, policy: PolicySet) -> None:
    """Write down the rules that are enforced, unless they are there already.

    Raises: DataError when they cannot be written: nothing is decided by rules that nobody could read later.
    """
    if not policy.enforced:
        return
    path = _path(data_dir, policy.digest)
    try:
        if not path.exists():
            write_atomically(path, msgspec.json.format(msgspec.json.encode(policy.enforced), indent=2))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from error


def kept_rules(data_dir: Path, digest: str) -> Mapping[str, Rule]:
    """Return the rules of a version by name; none where they are not there, or not what they were."""
    try:
        rules = msgspec.json.decode(_path(data_dir, digest).read_bytes(), type=tuple[Rule, ...])
    except (OSError, msgspec.DecodeError):
        return {}
    return {rule.id: rule for rule in rules} if digest_of(rules) == digest else {}


def _path(data_dir: Path, digest: str) -> Path:
    return DataDir(data_dir).policy(digest)
