"""What keeps calls from the agent, in one clear line for a person."""

import os
from typing import List, Optional, Tuple


def is_nobody(met: List[OSError]) -> bool:
    """Whether no agent is there, as against one that does not take us."""
    return all(isinstance(error, (FileNotFoundError, ConnectionRefusedError)) for error in met)


def of_connecting(tried: List[Tuple[str, OSError]], spool: str, not_started: Optional[str]) -> str:
    """What failing to connect means, why no agent was started if that was tried, and what to do."""
    for path, error in tried:
        if isinstance(error, PermissionError):
            return "%s; calls are kept in %s" % (_why_denied(path, error), spool)
    places = " or ".join("%s (%s)" % (path, error.strerror or error) for path, error in tried)
    why = " and none was started (%s)" % not_started if not_started else ""
    return (
        "no revenium-agent at %s%s: calls are kept in %s until one runs. Start one (`revenium-agent run`), or name its "
        "socket in REVENIUM_AGENT_SOCKET" % (places, why, spool)
    )


def _why_denied(path: str, error: OSError) -> str:
    uid = os.geteuid()
    try:
        group = _name(os.stat(path).st_gid)
    except OSError:
        return "user %d may not use %s: %s" % (uid, path, error.strerror or error)
    return (
        "user %d may not use %s: it is for the group %s; add the user to it (usermod -aG %s ...) and start this "
        "process anew" % (uid, path, group, group)
    )


def _name(gid: int) -> str:
    import grp  # Rarely needed, and not to be had everywhere.

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
