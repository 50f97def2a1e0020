"""What an agent of this user's says of itself, in the file beside its socket. An agent of the machine has none there."""

import json
import os
import re
import stat
from typing import Any, Dict, Optional, Tuple

from ._place import Place
from ._version import __version__

# What is read of it.
CARD_BYTES_MAX = 64 << 10


def is_ephemeral(place: Place) -> bool:
    """Whether what the agent there says to be durable is so only as long as this container or machine lives."""
    return _read(place).get("ephemeral") is True


def data_dir(place: Place) -> Optional[str]:
    """Where the agent there has its data, if it says so."""
    control = _read(place).get("control")
    return os.path.dirname(control) if isinstance(control, str) else None


def is_older(place: Place) -> bool:
    """Whether the agent there is of an older version than the one that would come with this package."""
    return (0,) < _number(_read(place).get("version")) < _number(__version__)


def _number(version: Any) -> Tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", str(version))
    return tuple(map(int, found.groups())) if found else ()


def _read(place: Place) -> Dict[str, Any]:
    """Nothing if it is no agent that `start` would have started for this user."""
    if not os.path.isabs(place.path):
        # A relay.
        return {}
    path = os.path.join(os.path.dirname(place.path), "agent.json")
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(opened, "rb") as file:
            status = os.fstat(file.fileno())
            is_ours = status.st_uid == os.geteuid() and stat.S_ISREG(status.st_mode)
            read = json.loads(file.read(CARD_BYTES_MAX)) if is_ours else None
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) and read.get("per_user") is True else {}
