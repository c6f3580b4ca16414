"""Runs `async def` tests on uvloop, as the gateway runs, each within a deadline."""

from __future__ import annotations

import asyncio
import inspect

import pytest
import uvloop

DEADLINE_S = 30.0  # of one test; none needs a tenth of it


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function to its end; leave all others to pytest."""
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    names = inspect.signature(function).parameters
    arguments = {name: value for name, value in pyfuncitem.funcargs.items() if name in names}

    async def within_deadline() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await function(**arguments)

    uvloop.run(within_deadline())
    return True
