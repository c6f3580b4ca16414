"""Options that declare of a sender what rules ask: for `key create`, `key set` and `policy check`."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import msgspec
import typer
from msgspec import Struct

from entrepot.catalog.load_rules import WORD
from entrepot.domain.claims import KeyClaims

UNKNOWN = "unknown"  # takes a declaration back
NONE = "none"  # declares that there are none
_COUNTRY = re.compile(r"[A-Z]{2}")


class Answer(StrEnum):
    """What is declared of a question."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


Country = Annotated[str | None, typer.Option(help="Of its sender: a code such as DE; unknown takes it back.")]
UsPerson = Annotated[Answer | None, typer.Option(help="Whether its sender is a US person.")]
DefenceContractor = Annotated[
    Answer | None, typer.Option(help="Whether its requests are a US defence contractor's.")
]
Sector = Annotated[str | None, typer.Option(help="Of its sender, such as health; unknown takes it back.")]
DataClass = Annotated[
    str | None,
    typer.Option(help="Of all its requests, with commas between, such as phi; none: there are none."),
]
Purpose = Annotated[
    str | None, typer.Option(help="Of all its requests, with commas between; none: there are none.")
]


class Declarations(Struct, frozen=True):
    """The options as they were typed; None changes nothing."""

    country: str | None = None
    us_person: Answer | None = None
    defence_contractor: Answer | None = None
    sector: str | None = None
    data_class: str | None = None
    purpose: str | None = None

    @property
    def is_empty(self) -> bool:
        """Return whether nothing was typed."""
        return self == Declarations()

    def over(self, before: KeyClaims) -> KeyClaims:
        """Return what is declared from here on.

        Raises: typer.BadParameter for what is no country, and no word.
        """
        return KeyClaims(
            country=_country(self.country, before.country),
            us_person=_answer(self.us_person, before.us_person),
            defence_contractor=_answer(self.defence_contractor, before.defence_contractor),
            sector=_word("--sector", self.sector, before.sector),
            data_classes=_words("--data-class", self.data_class, before.data_classes),
            purposes=_words("--purpose", self.purpose, before.purposes),
        )


def claims_text(claims: KeyClaims) -> str:
    """Return what is declared, in a line; empty when nothing is."""
    return ", ".join(f"{name} {_value_text(value)}" for name, value in claims_json(claims).items())


def claims_json(claims: KeyClaims) -> dict[str, object]:
    """Return what is declared, without what is not."""
    return {name: value for name, value in msgspec.structs.asdict(claims).items() if value is not None}


def _value_text(value: object) -> str:
    match value:
        case bool():
            return Answer.YES if value else Answer.NO
        case tuple():
            return "+".join(value) or NONE
        case _:
            return str(value)


def _country(text: str | None, before: str | None) -> str | None:
    if text is None:
        return before
    if text == UNKNOWN:
        return None
    if not _COUNTRY.fullmatch(text):
        raise typer.BadParameter(f"--country {text!r}: expected a code of two capital letters, such as DE")
    return text


def _answer(answer: Answer | None, before: bool | None) -> bool | None:
    if answer is None:
        return before
    return None if answer is Answer.UNKNOWN else answer is Answer.YES


def _word(option: str, text: str | None, before: str | None) -> str | None:
    if text is None:
        return before
    if text == UNKNOWN:
        return None
    if not WORD.fullmatch(text):
        raise typer.BadParameter(f"{option} {text!r}: use small letters, digits, dots, - and _ only")
    return text


def _words(option: str, text: str | None, before: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if text is None:
        return before
    if text == UNKNOWN:
        return None
    words = {part.strip() for part in text.split(",") if part.strip()} - {NONE}
    for word in words:
        _word(option, word, None)
    return tuple(sorted(words))
