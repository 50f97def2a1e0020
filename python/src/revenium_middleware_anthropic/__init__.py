"""Meters an application's calls of Anthropic's SDK for Revenium, through the agent on the same machine.

    import anthropic
    import revenium_middleware_anthropic

Importing it is all: calls go on as before, and each is handed to `revenium-agent` by one send that does not wait.
While no agent runs, calls are kept in files that the next one takes in. `usage_metadata` says whose call it was.
"""

from ._context import revenium_metadata, revenium_meter
from ._outlet import flush, stats
from ._version import __version__

__all__ = ["__version__", "flush", "revenium_metadata", "revenium_meter", "stats"]


def _begin() -> None:
    from . import _log, _patch

    try:
        _log.set_up()
        _patch.install()
    except Exception:
        _log.bug("hooking the SDK")


_begin()
