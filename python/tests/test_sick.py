"""A relay that is slow, silent or refuses, and names and networks that do not answer: no call is kept from where it can
go, none is lost, and no process is held up for long."""

import json
import os
import pathlib
import select
import socket
import threading
import time
from typing import Any, Callable, Dict, Iterator, Optional

import pytest
from agent import Agent
from conftest import App
from relay import Relay, folder, said

# Whose files lie in the folder: another process that has ended.
OTHER = "0123456789abcdef" * 2

# What hangs has globals of its own: else it would keep the program's from their end.
HANGING_NAME = """
import socket, time
socket.getaddrinfo = eval("lambda *_, **__: time.sleep(600)", {"time": time})
"""


def leave(app: App, first: int, count: int = 1, profile: Optional[str] = None, size: int = 0) -> pathlib.Path:
    """A file that another process has left, the oldest that with the lowest numbers."""
    app.spool.mkdir(0o700, parents=True, exist_ok=True)
    hello: Dict[str, Any] = {"v": 1, "producer": OTHER, **({"profile": profile} if profile else {})}
    lines = [{"hello": hello}, *({"n": n, "call": {"x": "x" * size}} for n in range(first, first + count))]
    path = app.spool / ("%s-%d.jsonl" % (OTHER, first))
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    os.utime(path, (first, first))
    return path


def until(holds: Callable[[], bool]) -> None:
    for _ in range(3000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to be")


def _all_in_spool_or(app: App, relay: Relay) -> int:
    found = set(relay.lines)
    for path in app.spool.glob("*.jsonl"):
        producer = path.name.split("-")[0]
        found |= {(producer, json.loads(line)["n"]) for line in path.read_text().splitlines()[1:]}
    return len(found)


# What was missed, and live calls.


def test_a_relay_that_takes_its_time_over_a_file_keeps_no_call_waiting(app: App, relay: Relay) -> None:
    leave(app, 1, 200)
    relay.pause_of[OTHER] = 0.5
    app.run("for _ in range(80_000): meter()\nassert revenium.flush(30)\nassert revenium.stats()['lost'] == 0")
    assert _all_in_spool_or(app, relay) == 80_200


def test_what_was_spooled_while_connected_is_handed_in_without_a_new_connection(app: App, relay: Relay) -> None:
    relay.is_silent = True
    script = "import time\nmeter()\nwhile not revenium.stats()['spooled']: time.sleep(0.01)\n"
    process = app.start(script + "print('spooled', flush=True)\nsys.stdin.readline()\nmeter()\nsys.stdin.read()")
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "spooled\n"
    relay.is_silent = False
    process.stdin.write("\n")
    process.stdin.flush()
    until(lambda: not app.spooled())
    # One for the calls, one for the file.
    assert (relay.count, len(relay.lines)) == (2, 2)
    process.communicate(timeout=60)


# Files, of which none keeps the next.


def _hands_in_all_but(app: App, script: str = "", *left: pathlib.Path) -> str:
    """What is said by a process that lasts until just these files are left."""
    process = app.start(script + "meter()\nsys.stdin.read()")
    try:
        until(lambda: process.poll() is not None or sorted(app.spool.iterdir()) == sorted(left))
    finally:
        err = process.communicate(timeout=60)[1]
    assert sorted(app.spool.iterdir()) == sorted(left), err
    return err


def test_a_file_of_which_much_is_refused_is_answered_while_it_is_sent(app: App, relay: Relay) -> None:
    # Neither the file nor the answers fit into what the kernel keeps of a connection.
    leave(app, 1, 20_000, size=750)
    relay.refuses, relay.message = "invalid", "x" * 1000
    app.env["REVENIUM_LOG_LEVEL"] = "ERROR"
    _hands_in_all_but(app)


def test_a_profile_that_the_relay_has_no_room_for_keeps_only_its_own_files(app: App, relay: Relay) -> None:
    left = [leave(app, n, profile="key-1") for n in (1, 2)]
    leave(app, 3, profile="key-2")
    leave(app, 4)
    relay.full_for = "key-1"
    _hands_in_all_but(app, "", *left)
    # It was asked once.
    assert [hello.get("profile") for hello in relay.hellos].count("key-1") == 1


def test_however_many_files_a_full_profile_has_they_keep_no_other(app: App, relay: Relay) -> None:
    left = [leave(app, n, profile="key-1") for n in range(1, 1100)]
    leave(app, 1100)
    relay.full_for = "key-1"
    _hands_in_all_but(app, "", *left)


def test_an_answer_that_takes_long_is_waited_for(app: App, relay: Relay) -> None:
    leave(app, 1)
    leave(app, 2)
    relay.pause_of[OTHER] = 1.5
    _hands_in_all_but(app)


BROKEN = """
import builtins
opens = builtins.open
def refuses(path, *args, **kwargs):
    if str(path).endswith("-1.jsonl"): raise OSError(5, "Input/output error")
    return opens(path, *args, **kwargs)
builtins.open = refuses
"""


def test_a_file_that_cannot_be_read_is_told_and_keeps_no_other(app: App, relay: Relay) -> None:
    left = leave(app, 1)
    leave(app, 2)
    (line,) = said(_hands_in_all_but(app, BROKEN, left))
    assert "%s cannot be handed in: Input/output error" % left in line


def test_without_poll_files_are_handed_in_as_well(app: App, relay: Relay) -> None:
    # As once `eventlet` has taken it away.
    leave(app, 1, 2_000, size=750)
    _hands_in_all_but(app, "import select\ndel select.poll\n")


VANISHING = """
scans = os.scandir
class Vanishing:
    def __init__(self, folder): self.entries = scans(folder)
    def __enter__(self): return self
    def __exit__(self, *_): self.entries.close()
    def __iter__(self):
        for entry in self.entries:
            if entry.name.endswith("-1.jsonl"): os.unlink(entry.path)
            yield entry
os.scandir = Vanishing
"""


def test_a_file_that_another_process_hands_in_meanwhile_keeps_no_other(app: App, relay: Relay) -> None:
    leave(app, 1)
    leave(app, 2)
    _hands_in_all_but(app, VANISHING)
    assert (OTHER, 2) in relay.lines


def test_a_file_that_is_none_of_ours_is_told_and_never_removed(app: App, relay: Relay) -> None:
    left = leave(app, 1)
    left.write_text('{"hello":{"v":1,"producer":"%s"}}\n{"call":{}}\n' % OTHER)
    leave(app, 2)
    (line,) = said(_hands_in_all_but(app, "", left))
    assert "%s cannot be handed in: it has lines that are no numbered events" % left in line


# The end of a process.


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that a connection to is never made."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = [socket.socket() for _ in range(8)]
    for connection in waiting:
        connection.setblocking(False)
        connection.connect_ex(listener.getsockname())
    # The last found no room.
    assert select.select([], waiting[-1:], [], 0.2)[1] == []
    yield "127.0.0.1:%d" % listener.getsockname()[1]
    for connection in [listener, *waiting]:
        connection.close()


@pytest.fixture
def dripping() -> Iterator[str]:
    """An address whose answer comes byte by byte, and never ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_drip, args=(listener,), daemon=True).start()
        yield "127.0.0.1:%d" % listener.getsockname()[1]


def _drip(listener: socket.socket) -> None:
    try:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_drip_to, args=(connection,), daemon=True).start()
    except OSError:
        pass


def _drip_to(connection: socket.socket) -> None:
    try:
        while True:
            connection.sendall(b"H")
            time.sleep(0.3)
    except OSError:
        pass


@pytest.mark.parametrize("sick", ["name", "addresses", "head"])
def test_a_process_that_ends_before_its_relay_is_reached_has_lost_nothing(
    app: App, silent: str, dripping: str, sick: str
) -> None:
    url, script = "http://relay.internal:8793", HANGING_NAME
    if sick == "addresses":
        # Several of one name.
        one = (int(socket.AF_INET), int(socket.SOCK_STREAM), 6, "", ("127.0.0.1", int(silent.split(":")[1])))
        script = "import socket\nsocket.getaddrinfo = lambda *_, **__: %r\n" % ([one] * 4)
    if sick == "head":
        url, script = "http://" + dripping, ""
    app.spool = folder(app, url)
    # A disk that takes seconds would be told as well.
    at_once = "import os\nos.fsync = os.fdatasync = lambda _: None\n"
    lines = said(app.run(at_once + script + "meter()\nmeter()", REVENIUM_AGENT_RELAY=url))
    assert len(app.spooled()) == 2
    (line,) = lines
    assert "%s (it was not reached in time): calls are kept in %s" % (url, app.spool) in line


UNTIL_TOLD = """
import time
from revenium_middleware_anthropic import _log
meter()
for _ in range(3000):
    if "agent" in _log._said: break
    time.sleep(0.01)
"""


def test_a_relay_that_is_not_reached_in_time_is_told_of(app: App, dripping: str) -> None:
    url = "http://" + dripping
    app.spool = folder(app, url)
    (line,) = said(app.run(UNTIL_TOLD, REVENIUM_AGENT_RELAY=url))
    assert "%s (timed out): calls are kept in %s" % (url, app.spool) in line
    assert len(app.spooled()) == 1


LATE = "class A:\n  def __del__(self, meter=meter): meter('last')\nkept = A()\n"


@pytest.mark.parametrize("script", ["meter('first')\n", ""])
def test_a_call_after_the_end_does_not_wait_for_a_relay(app: App, script: str) -> None:
    url = "http://relay.internal:8793"
    app.spool = folder(app, url)
    app.run(HANGING_NAME + LATE + script, REVENIUM_AGENT_RELAY=url)
    assert [call["route"] for call in app.spooled()] == [*(["first"] if script else []), "last"]


# Not in `emit`, as the end of `logging` would wait for that.
HANGING_LOG = """
import logging, threading
hung = threading.Event()
hangs = "lambda _: threading.current_thread() is threading.main_thread() or hung.set() or threading.Event().wait()"
handler = logging.StreamHandler()
handler.addFilter(eval(hangs, {"threading": threading, "hung": hung}))
logging.getLogger().addHandler(handler)
"""


@pytest.mark.parametrize("ending", ["", LATE])
def test_an_application_whose_log_hangs_loses_no_call(app: App, ending: str) -> None:
    # The thread tells that there is no agent.
    app.run(HANGING_LOG + ending + "meter('first')\nmeter('second')")
    assert [call["route"] for call in app.spooled()] == ["first", "second", *(["last"] if ending else [])]


def test_a_log_that_hangs_holds_no_call_up(app: App) -> None:
    agent = Agent(str(app.socket))
    agent.refuses = "invalid"
    agent.start()
    # That it is refused is told; no lock is held over that.
    err = app.run(HANGING_LOG + "meter()\nassert hung.wait(30)\nmeter()")
    agent.stop()
    assert agent.received == 2, err
