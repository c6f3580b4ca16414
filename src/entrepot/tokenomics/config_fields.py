"""Reads the fields of a model's `config.json`, whatever its maker calls them, and collects what is missing.

The configuration classes of `transformers` would know the names and defaults of every model; they would also
bring a dependency of hundreds of megabytes that downloads code. A mapping and lists of names are enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from entrepot.domain.errors import ConfigError

NESTED = ("text_config", "llm_config", "language_config")
"""Where multimodal models keep the language model."""


class ConfigFields:
    """The fields of one configuration under examination; `name` is what messages call the model.

    Getters return a usable value even after a mistake; `finish` raises all mistakes at once.
    """

    def __init__(self, name: str, config: Mapping[str, object]) -> None:
        self.name = name
        self._values = dict(config)
        self._problems: list[str] = []
        for key in NESTED:
            inner = config.get(key)
            if isinstance(inner, Mapping):
                self._values.update({str(field): value for field, value in inner.items()})

    def has(self, *keys: str) -> bool:
        """Return whether one of the keys is there and not null."""
        return any(self._values.get(key) is not None for key in keys)

    def required(self, what: str, *keys: str) -> int:
        """Return the positive integer under the first of `keys` that is there; `what` says what it means."""
        known = len(self._problems)
        value = self.optional(*keys)
        if value is None and len(self._problems) > known:
            return 1  # it is there, and was said to be no number
        if value is None:
            others = f" (or {', '.join(keys[1:])})" if len(keys) > 1 else ""
            self.problem(f"{keys[0]} is missing{others}; add the {what}")
            return 1
        if value < 1:
            self.problem(f"{keys[0]} is {value}; expected the {what}, at least 1")
            return 1
        return value

    def optional(self, *keys: str) -> int | None:
        """Return the integer ≥ 0 under the first of `keys` that is there and not null, None without any."""
        for key in keys:
            value = self._values.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                self.problem(f"{key} is {value!r}; expected a whole number")
                return None
            return value
        return None

    def count(self, *keys: str) -> int:
        """Return the integer under the first of `keys` that is there, else 0."""
        return self.optional(*keys) or 0

    def flag(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problem(f"{key} is {value!r}; expected true or false")
            return default
        return value

    def text(self, key: str) -> str:
        """Return a text, empty when there is none."""
        value = self._values.get(key)
        return value if isinstance(value, str) else ""

    def sequence(self, key: str) -> tuple[object, ...] | None:
        """Return the entries of an array, None when there is no array under the key."""
        value = self._values.get(key)
        if isinstance(value, Sequence) and not isinstance(value, str):
            return tuple(value)
        return None

    def problem(self, text: str) -> None:
        """Note a mistake."""
        self._problems.append(f"{self.name}: {text}")

    def finish(self) -> None:
        """Do nothing if all is well.

        Raises: ConfigError with every mistake that was noted.
        """
        if self._problems:
            raise ConfigError(tuple(dict.fromkeys(self._problems)))
