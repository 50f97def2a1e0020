"""Threads of ours: daemons, so that none keeps a process alive."""

import sys
import threading
from typing import Callable


def begin(name: str, run: Callable[[], None]) -> bool:
    """Begins one. False where there is none to be had: too many, or the interpreter is ending."""
    # In an interpreter that is ending no thread runs any more, and before Python 3.12 to begin one waits for ever.
    if sys.is_finalizing():
        return False
    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError:
        return False
    return True
