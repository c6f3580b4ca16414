"""Runs `async def` tests as those of the gateway are run: on uvloop, each within a deadline."""

from tests.gateway.conftest import pytest_pyfunc_call

__all__ = ["pytest_pyfunc_call"]
