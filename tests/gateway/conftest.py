"""Runs `async def` tests on uvloop, as the gateway runs, each within a deadline."""

from __future__ import annotations

import asyncio
import inspect

import pytest
import uvloop

from tests.gateway.certificates import Certificates

DEADLINE_S = 30.0  # of one test; none needs a tenth of it


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function to its end; leave all others to pytest.

    An exception that only the event loop saw (in a protocol's callback, in a task that nobody awaited) fails
    the test as well.
    """
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    names = inspect.signature(function).parameters
    arguments = {name: value for name, value in pyfuncitem.funcargs.items() if name in names}
    problems: list[dict[str, object]] = []

    async def within_deadline() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
        async with asyncio.timeout(DEADLINE_S):
            await function(**arguments)

    uvloop.run(within_deadline())
    assert not problems
    return True


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Return certificates for the whole run."""
    return Certificates(tmp_path_factory.mktemp("certificates"))
