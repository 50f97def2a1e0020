"""An agent's relay in the place of its socket: what is taken, what is kept while it is away, and what is told."""

import json
import os
import pathlib
import socket
import time

import pytest
from agent import Agent
from conftest import KEY, App, Real
from relay import Relay, closed, folder, said

from revenium_middleware_anthropic import _place

def _wait_for(address: str) -> None:
    """Returns once somebody listens there."""
    host, port = address.split(":")
    for _ in range(600):
        try:
            socket.create_connection((host, int(port))).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError("nobody listens at " + address)


def test_where_no_socket_is_calls_go_to_the_relay(app: App, relay: Relay) -> None:
    assert app.run("call()\ncall()\nlist(client.messages.create(**ASK, stream=True))") == ""
    assert len(relay.lines) == 3
    assert app.spooled() == []
    assert relay.asked.splitlines()[0] == b"GET /lines HTTP/1.1"


def test_a_token_is_part_of_the_url(app: App, relay: Relay) -> None:
    app.run("call()", REVENIUM_AGENT_RELAY=relay.url + "/token/abc-1/")
    assert relay.asked.splitlines()[0] == b"GET /token/abc-1/lines HTTP/1.1"
    assert len(relay.lines) == 1


def test_a_socket_goes_first(app: App, relay: Relay) -> None:
    agent = Agent(str(app.socket)).start()
    app.run("call()")
    agent.stop()
    assert (len(agent.lines), relay.asked) == (1, b"")


def test_what_an_application_that_is_killed_had_called_is_taken(app: App, relay: Relay) -> None:
    # The first waits for the connection, which no call does.
    process = app.start("call()\nrevenium.flush()\ncall()\nos.kill(os.getpid(), 9)")
    process.communicate(timeout=60)
    relay.wait(lambda: len(relay.lines) == 2)


def test_a_call_does_not_wait_for_a_relay_that_does_not_answer(app: App, relay: Relay) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = "http://127.0.0.1:%d" % silent.getsockname()[1]
        process = app.start("meter()\nprint('called', flush=True)\nsys.stdin.read()", REVENIUM_AGENT_RELAY=url)
        connection, _ = silent.accept()
        # Asked, and not answered: the application is past its call.
        assert process.stdout is not None and process.stdout.readline() == "called\n"
        connection.close()
    process.communicate(timeout=60)
    app.spool = folder(app, url)
    assert len(app.spooled()) == 1


def test_what_a_relay_that_was_away_missed_is_handed_in_by_the_next_process(app: App, relay: Relay) -> None:
    relay.stop()
    err = app.run("for _ in range(5): meter()")
    assert len(app.spooled()) == 5
    (line,) = said(err)
    assert "%s (Connection refused)" % relay.url in line and str(app.spool) in line
    # While it has no room, files stay.
    late = Relay(relay.address)
    late.refuses = "full"
    late.start()
    app.run("meter()")
    assert len(app.spooled()) == 6
    late.refuses = None
    app.run("meter()")
    late.stop()
    assert app.spooled() == []
    assert len(late.lines) == 7
    assert late.received > 7


def test_a_file_that_is_refused_stays_and_keeps_no_other(app: App, relay: Relay) -> None:
    producer = "0123456789abcdef" * 2
    app.spool.mkdir(0o700, parents=True)
    for n, hello in ((1, {"v": 9}), (2, {"v": 1, "producer": producer})):
        lines = [{"hello": hello}, {"n": n, "call": {}}]
        path = app.spool / ("%s-%d.jsonl" % (producer, n))
        path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
        os.utime(path, (n, n))
    (line,) = said(app.run("meter()\nrevenium.flush()"))
    assert "-1.jsonl cannot be handed in: no such hello" in line
    assert [path.name for path in app.spool.iterdir()] == [producer + "-1.jsonl"]
    assert len(relay.lines) == 2


def test_what_is_refused_for_good_does_not_keep_its_file(app: App, relay: Relay) -> None:
    relay.stop()
    app.run("meter()\nmeter()")
    assert len(app.spooled()) == 2
    late = Relay(relay.address)
    late.refuses = "invalid"
    late.start()
    # What it handed in is told like what it sends: two and one.
    lines = said(app.run("meter()\nrevenium.flush()"))
    late.stop()
    assert [line.count("the agent refused it (invalid): as told") for line in lines] == [1, 1, 1], lines
    assert app.spooled() == []


def test_each_relay_has_a_folder_of_its_own_that_is_no_agent_s(app: App, tmp_path: pathlib.Path) -> None:
    address = closed()
    for rest in ("", "/token/first", "/token/second/", "/a", "/b", "/b/token/first"):
        app.run("meter()", REVENIUM_AGENT_RELAY="http://" + address + rest)
    folders = sorted((tmp_path / "spool-relay").iterdir())
    # The path of a proxy tells two relays apart, a token does not, and is not to be read there.
    assert folders[0] == folder(app, "http://" + address)
    assert [len(list(path.iterdir())) for path in folders] in ([3, 1, 2], [3, 2, 1])
    assert not any("token" in path.name or "first" in path.name for path in folders)
    # Nor with a spool that is named: the agent at the socket looks into that.
    named = tmp_path / "named"
    app.run("meter()", REVENIUM_AGENT_RELAY="http://" + address, REVENIUM_AGENT_SPOOL=str(named))
    assert len(list((tmp_path / "named-relay" / folders[0].name).iterdir())) == 1 and not named.exists()


def test_beside_the_system_s_spool_is_none_of_a_relay_s_which_only_root_could_make() -> None:
    env = {"REVENIUM_AGENT_SOCKET": "/run/revenium/agent.sock", "HOME": "/home/ada"}
    assert _place.relays_folder(env, 1000) == "/home/ada/.local/state/revenium/spool-relay"


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "it asks for a token: add /token/TOKEN to the URL"),
        (403, "it is strict, and takes no lines: they show no key"),
        (421, "it is not called so: add the name to relay.hosts"),
        (503, "it is stopping"),
        (404, "it answered 404, as no relay of this version does"),
    ],
)
def test_a_relay_that_refuses_is_told_in_one_line(app: App, relay: Relay, status: int, says: str) -> None:
    relay.status = status
    (line,) = said(app.run("meter()\nmeter()"))
    assert "%s (%s)" % (relay.url, says) in line
    assert len(app.spooled()) == 2


@pytest.mark.parametrize(
    "value",
    [
        "relay", "https://127.0.0.1:1", "http://127.0.0.1", "http://h:0", "http://h:65536",
        "http://relay..internal:8793", "http://%s:8793" % ("x" * 64), "http://.:1",
    ],
)  # fmt: skip
def test_what_is_no_relay_s_url_is_told_and_not_used(app: App, value: str) -> None:
    err = app.run("meter()", REVENIUM_AGENT_RELAY=value)
    assert "REVENIUM_AGENT_RELAY is no relay's URL, such as http://127.0.0.1:8793: it is not used" in err
    assert len(app.spooled()) == 1


def test_a_key_is_not_told_by_way_of_a_relay_and_no_agent_is_started(app: App, relay: Relay) -> None:
    relay.wants_keys = True
    started = "from revenium_middleware_anthropic import _start\n_start.look_for_program = lambda: os.abort()\n"
    err = app.run(started + "meter()\nrevenium.flush()", REVENIUM_METERING_API_KEY=KEY)
    assert "it is not told" in err
    assert (len(relay.lines), relay.keys) == (1, [])
    assert KEY not in json.dumps([relay.hellos, err, relay.asked.decode()])
    app.run(started + "meter()", REVENIUM_METERING_API_KEY=KEY, REVENIUM_AGENT_RELAY="http://" + closed())


def test_a_forked_child_has_a_connection_of_its_own(app: App, relay: Relay) -> None:
    app.run("meter()\nrevenium.flush()\nif os.fork(): os.wait()\nmeter()")
    assert len(relay.lines) == 3
    assert len({producer for producer, _ in relay.lines}) == 2


def test_what_goes_over_the_real_relay_is_billed_once(app: App, real: Real, tmp_path: pathlib.Path) -> None:
    address = closed()
    with open(tmp_path / "config.toml", "a") as file:
        file.write('relay.listen = "%s"\n' % address)
    app.socket = tmp_path / "elsewhere" / "agent.sock"
    app.env.update(REVENIUM_AGENT_RELAY="http://" + address, REVENIUM_AGENT_SOCKET=str(app.socket))
    app.spool = folder(app, "http://" + address)
    app.run("for _ in range(20): meter()")
    assert len(app.spooled()) == 20
    real.start()
    _wait_for(address)
    app.run("for _ in range(20): meter()\nassert revenium.flush(30)")
    assert len(real.billed(40)) == 40
    assert app.spooled() == []
