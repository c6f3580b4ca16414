"""Fakes that ship with the package, for our tests and yours: real sockets, scripted hosts."""
