"""What the end of a process waits for besides its own calls, which are with the agent or in the spool by then.

- An agent that is being started for them: it must be told the key, else they would wait for the next process with it.
- An agent whose disk goes with it, as in a container that ends with its application: all must be delivered.

Neither happens where an agent was there all along and its disk lasts. Every wait has an end.
"""

import os
import socket
import time
from typing import TYPE_CHECKING, Optional

from . import _card, _key, _log, _start

if TYPE_CHECKING:
    from ._carrier import Carrier
    from ._place import Place

# How long an agent may take to come, and to take in the key.
START_WITHIN = 10.0

# How long delivery may take, unless this variable says otherwise, in seconds; 0 does not wait.
DELIVER_WITHIN = 10.0
VARIABLE = "REVENIUM_EXIT_WAIT_SECONDS"

# What `flush` may take beyond its deadline, on a machine that is busy.
FLUSH_SLACK = 5.0

# What is read of an agent's words.
SAID_BYTES_MAX = 64 << 10


def settle(carrier: "Carrier") -> None:
    """Waits for what there is to wait for. Called once, when the background thread has ended."""
    if carrier.key is None or carrier.key.trouble or not carrier.has_ended:
        return
    place = carrier.finder.place if carrier.was_connected else _started(carrier)
    carrier.finder.starter.leave()
    if place is not None and _card.is_ephemeral(place):
        _deliver(carrier, place)


def _started(carrier: "Carrier") -> Optional["Place"]:
    """Where the agent is that was started for what was spooled, once it knows the key."""
    if not carrier.state.counts["spooled"]:
        return None
    by = time.monotonic() + START_WITHIN
    was_under_way = carrier.finder.starter.pipe is not None
    outcome = carrier.finder.starter.wait(by)
    if outcome is None or not (carrier.finder.started(outcome) if was_under_way else outcome.is_there):
        return None
    for place in carrier.finder.places:
        try:
            _tell_key(carrier, place, by)
            return place
        except OSError:
            continue
    return None


def _tell_key(carrier: "Carrier", place: "Place", by: float) -> None:
    """Tells the agent the key if it asks for it. Two connections, as only the end of the first says that it does not."""
    assert carrier.key is not None
    if b'"want"' in _ask(place, carrier.hello(), by):
        _ask(place, carrier.hello() + carrier.key.line(), by)


def _ask(place: "Place", content: bytes, by: float) -> bytes:
    """All that the agent says to this. It is read to its end, so the agent has acted on it then."""
    said = b""
    with place.connect() as connection:
        if not _key.may_be_told(connection):
            return said
        connection.settimeout(max(0.1, by - time.monotonic()))
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        while len(said) < SAID_BYTES_MAX:
            more = connection.recv(8 << 10)
            if not more:
                break
            said += more
    return said


def _deliver(carrier: "Carrier", place: "Place") -> None:
    within = _within()
    program = _start.find_program() if within > 0 else None
    if program is None:
        return
    import subprocess

    by = time.monotonic() + within
    # The agent looks into its spool every second.
    while carrier.left() and time.monotonic() < by:
        time.sleep(0.02)
    deadline = max(0, int((by - time.monotonic()) * 1000))
    command = [program, "flush", "--deadline", "%dms" % deadline]
    data_dir = _card.data_dir(place)
    if data_dir is not None:
        # This agent's: a configuration may lead to another one.
        command += ["--data-dir", data_dir]
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_start.environment(),
            timeout=deadline / 1000 + FLUSH_SLACK,
        )
        said, is_out = ended.stdout.decode(errors="replace").strip().splitlines(), ended.returncode == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        said, is_out = [str(error)], False
    if not is_out or carrier.left():
        _log.logger.warning(
            "not all calls were delivered within %g seconds (%s), and the agent's disk may not outlive this process: %s",
            within,
            VARIABLE,
            said[-1] if said else "the agent did not say why",
        )


def _within() -> float:
    try:
        return float(os.environ.get(VARIABLE, DELIVER_WITHIN))
    except ValueError:
        _log.logger.warning("%s is not a number of seconds; %g is used", VARIABLE, DELIVER_WITHIN)
        return DELIVER_WITHIN
