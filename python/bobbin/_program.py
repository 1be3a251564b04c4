"""The program ``bobbin``."""

from __future__ import annotations

import signal
import sys

from . import _bobbin


def main() -> int:
    """Runs it with the arguments of the process; returns its exit code."""
    # Ctrl-C is the program's: it ends a run in good order, and anything else at once. Where it is ignored it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What it says to type next begins with its name; `python -m` has a path there that cannot be typed.
    program = "bobbin" if sys.argv[0].endswith("__main__.py") else sys.argv[0]
    return _bobbin.main([program, *sys.argv[1:]])
