"""Reads the `[[virtual_models]]` of a configuration: names that stand for several models.

A member that no endpoint serves would never answer, and nobody would notice; so it is a mistake, as a name is
that a real model has already.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from entrepot.catalog.declared import MODEL_NAME, declared_estimate
from entrepot.catalog.reading import Table, nearest_text, shown
from entrepot.domain.endpoint import Model
from entrepot.domain.virtual import Member, VirtualModel


def load_virtual_models(
    root: Table, models: Mapping[str, Model], served: Collection[str], source: str
) -> tuple[VirtualModel, ...]:
    """Return the virtual models of the file; problems are noted in its reading.

    `models` are the described ones, `served` the names of those that have an endpoint.
    """
    found: dict[str, VirtualModel] = {}
    tables = tuple(root.tables("virtual_models"))
    names = [table.text("name", "") for table in tables]
    for table, name in zip(tables, names, strict=True):
        table.require("name", "developer/name, such as auto/coder")
        if name and not MODEL_NAME.fullmatch(name):
            table.problem("name", f"{shown(name)} is not of the form developer/name")
        if name and (name in models or name in served):
            table.problem("name", f"{name} is the name of a model; choose another")
        if name and name in found:
            table.problem("name", f"{name} is described twice")
        floor = table.number("min_success_share", None, least=0, most=1)
        found[name] = VirtualModel(name, _Members(table, models, served, names, source).read(), floor)
        table.finish()
    return tuple(found.values())


class _Members:
    """The array `models` of one virtual model: names, or tables with a share of their own."""

    def __init__(
        self,
        table: Table,
        models: Mapping[str, Model],
        served: Collection[str],
        virtual: Collection[str],
        source: str,
    ) -> None:
        self._table = table
        self._models = models
        self._served = served
        self._virtual = virtual
        self._source = source

    def read(self) -> tuple[Member, ...]:
        """Return the members; a share that is not given is that of the model."""
        table = self._table
        table.require("models", 'the models that it stands for, such as ["deepseek/deepseek-r1"]')
        members: dict[str, Member] = {}
        for item in table.texts_or_tables("models"):
            member = Member(item) if isinstance(item, str) else self._described(item)
            if member.model in members:
                table.problem("models", f"{member.model} is listed twice")
            elif member.model:
                self._check(member.model)
                members[member.model] = self._with_default(member)
        if "models" in table and table.raw("models") == []:
            table.problem("models", "is empty; list at least one model")
        return tuple(members.values())

    def _described(self, table: Table) -> Member:
        table.require("model", "the name of a model")
        name = table.text("model", "")
        share = table.number("success_share", None, least=0, most=1, above=True)
        table.finish()
        return Member(name, declared_estimate(share, self._source))

    def _check(self, name: str) -> None:
        if name in self._served:
            return
        if name in self._virtual:
            self._table.problem("models", f"{name} is a virtual model itself; list its models")
        else:
            near = nearest_text(name, self._served)
            self._table.problem("models", f"no [[hosts.endpoints]] serves {shown(name)}; {near}")

    def _with_default(self, member: Member) -> Member:
        model = self._models.get(member.model)
        if member.success_share is not None or model is None:
            return member
        return Member(member.model, model.success_share)
