"""Where events go: to the agent's socket, or by way of files where there are no Unix sockets."""

from . import _place

if _place.IS_POSSIBLE:
    from ._emitter import emit, flush, stats
else:
    from ._portable import emit, flush, stats

__all__ = ["emit", "flush", "stats"]
