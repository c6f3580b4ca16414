"""The command line: one file per command that parses, calls and prints, so that nothing else has to."""

from entrepot.cli.app import main

__all__ = ["main"]
