"""The command line: arguments to calls to text and an exit code."""

from hypercbt.cli.app import main

__all__ = ["main"]
