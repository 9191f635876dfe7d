"""The command `funcnet`: parse, call, print."""

from funcnet.cli._main import main as main
