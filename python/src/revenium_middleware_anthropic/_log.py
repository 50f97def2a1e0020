"""What the package says, and how loudly: one logger, `REVENIUM_LOG_LEVEL`, and each thing once.

It never raises and never says a key, a prompt or a member of an event. An application that has set logging up
gets our records like any others; one that has not sees them on standard error, as `logging` itself would do
with warnings.
"""

import logging
import os
from typing import Set, Tuple

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

logger = logging.getLogger("revenium_middleware_anthropic")

_said: Set[str] = set()


class _OnlyUnconfigured(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to standard error as long as nobody has set logging up."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


def set_up() -> None:
    """Gives the logger its level, once."""
    if any(isinstance(handler, _OnlyUnconfigured) for handler in logger.handlers):
        return
    asked = os.environ.get("REVENIUM_LOG_LEVEL", "").strip().upper()
    handler = _OnlyUnconfigured()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    # Without being asked, an application that has not set logging up hears of warnings only, as usual.
    handler.setLevel(logging.DEBUG if asked in LEVELS else logging.WARNING)
    logger.addHandler(handler)
    if asked in LEVELS:
        logger.setLevel(asked)
    elif logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if asked and asked not in LEVELS:
        logger.warning("REVENIUM_LOG_LEVEL is %r; it must be one of %s. INFO is used", asked, ", ".join(LEVELS))


def info_once(key: str, message: str, *args: object) -> None:
    """Says something the first time that `key` is seen in this process; so do the next two."""
    _once(key, logging.INFO, message, args)


def warning_once(key: str, message: str, *args: object) -> None:
    _once(key, logging.WARNING, message, args)


def error_once(key: str, message: str, *args: object) -> None:
    _once(key, logging.ERROR, message, args)


def _once(key: str, level: int, message: str, args: Tuple[object, ...]) -> None:
    if key not in _said:
        _said.add(key)
        logger.log(level, message, *args)


def over(key: str) -> None:
    """What was said under `key` has ended: it is worth saying again when it comes back."""
    _said.discard(key)


def bug(where: str) -> None:
    """An error of ours, from within an `except`: it is kept from the application, and told once for each place."""
    error_once("bug " + where, "a bug in %s; this call may not be metered", where)
    logger.debug("in %s", where, exc_info=True)
