"""Where the agent's socket is, and the spool that goes with it: the rules of the agent itself.

A socket has exactly one spool, so that no event ends up with another agent than it was meant for.
"""

import errno
import os
import socket
import stat
from typing import List, Mapping, Optional

SYSTEM_SOCKET = "/run/revenium/agent.sock"
SYSTEM_SPOOL = "/var/spool/revenium"

# Not so on Windows.
IS_POSSIBLE = hasattr(socket, "AF_UNIX") and hasattr(os, "geteuid")


class Place:
    """A socket, and the spool of the agent that listens there."""

    def __init__(self, path: str, spool: str) -> None:
        self.path = path
        self.spool = spool

    def connect(self) -> socket.socket:
        """Connects without waiting. `BlockingIOError` says that somebody listens and has no room now."""
        self._check_owner()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            connection.connect(self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_owner(self) -> None:
        """In a folder that everybody can write to, anybody may have put the socket there."""
        folder = os.path.dirname(self.path)
        if not self.path.startswith("/tmp/") or folder == "/tmp":
            return
        owner = os.stat(folder).st_uid
        if owner not in (0, os.geteuid()):
            raise PermissionError(errno.EPERM, "%s belongs to user %d" % (folder, owner))


def places(env: Mapping[str, str], uid: int) -> List[Place]:
    """Where the agent may be, the first choice first."""
    named = absolute(env, "REVENIUM_AGENT_SOCKET")
    user = _user_socket(env, uid)
    sockets = [named] if named else [user, SYSTEM_SOCKET]
    spool = absolute(env, "REVENIUM_AGENT_SPOOL")
    return [Place(path, spool or _spool_beside(path, user, env)) for path in sockets]


def relays_folder(env: Mapping[str, str], uid: int) -> str:
    """Where what relays miss is kept: beside the spool of the agent that is here, as no agent may look into it. Beside
    the system's only root could."""
    spool = places(env, uid)[0].spool
    if spool == SYSTEM_SPOOL:
        user = _user_socket(env, uid)
        spool = _spool_beside(user, user, env)
    return spool + "-relay"


def choose(all_places: List[Place], last: Optional[Place]) -> Place:
    """The place whose spool to use while no agent is there: where one was, or is to be expected."""
    if last is not None:
        return last
    for place in all_places:
        # A socket outlives an agent that was killed.
        if os.path.lexists(place.path):
            return place
    for place in all_places:
        # The machine's spool is made when an agent is installed for the machine.
        if place.spool == SYSTEM_SPOOL and _is_folder(place.spool):
            return place
    return all_places[0]


def _user_socket(env: Mapping[str, str], uid: int) -> str:
    runtime = absolute(env, "XDG_RUNTIME_DIR")
    if runtime:
        return os.path.join(runtime, "revenium/agent.sock")
    return "/tmp/revenium-%d/agent.sock" % uid


def _spool_beside(path: str, user: str, env: Mapping[str, str]) -> str:
    if path == SYSTEM_SOCKET:
        return SYSTEM_SPOOL
    home = absolute(env, "HOME")
    state = absolute(env, "XDG_STATE_HOME") or (os.path.join(home, ".local/state") if home else None)
    if state and path == user:
        return os.path.join(state, "revenium/spool")
    return os.path.join(os.path.dirname(path), "spool")


def absolute(env: Mapping[str, str], name: str) -> Optional[str]:
    """The path that a variable holds; `None` if it is not set, or is relative."""
    value = env.get(name)
    return value if value and os.path.isabs(value) else None


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return False
