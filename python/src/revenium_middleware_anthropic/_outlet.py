"""Where events go: to the agent's socket, or by way of files where there are no Unix sockets."""

from . import _place

if _place.IS_POSSIBLE:
    from ._emitter import emit, flush, lose, stats
else:
    from ._portable import emit, flush, lose, stats

__all__ = ["emit", "flush", "lose", "stats"]
