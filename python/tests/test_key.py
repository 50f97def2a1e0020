"""Two applications with two keys never bill to each other, and a key is told to nobody but an agent of its own user."""

import json
import os
import pathlib
from typing import Any, Dict, List

import pytest
from agent import Agent
from conftest import App

from revenium_middleware_anthropic import _key

KEY = "rev_mk_0123456789abcdefghij"
URL = "http://127.0.0.1:1/meter"
NAMED = {"REVENIUM_METERING_API_KEY": KEY}


@pytest.fixture
def agent(app: App) -> Any:
    agent = Agent(str(app.socket)).start()
    agent.wants_keys = True
    yield agent
    agent.stop()


def _key_of(**env: str) -> Any:
    return _key.of_environment({"REVENIUM_METERING_" + name.upper(): value for name, value in env.items()})


def _hellos(spool: pathlib.Path) -> List[Dict[str, Any]]:
    return [json.loads(path.read_text().splitlines()[0])["hello"] for path in spool.glob("*")]


def test_a_key_s_name_is_the_agent_s_fingerprint_of_it() -> None:
    # As src/agent/relay/tenant.rs has it, too.
    assert _key_of(api_key="hak_0123456789abcdef").profile == "key-234547e21fa25f12"
    assert _key_of(api_key=" hak_0123456789abcdef\n").profile == "key-234547e21fa25f12"
    assert "0123" not in repr(_key_of(api_key="hak_0123456789abcdef"))


def test_an_empty_key_is_none() -> None:
    assert [_key_of(), _key_of(api_key=""), _key_of(api_key=" ")] == [None] * 3


@pytest.mark.parametrize("value", ["sk-ant-x", "rev_mk_with space", "rev_mk_ümlaut", "rev_" + "x" * 600, "rev_\udcff"])
def test_what_is_no_key_is_named_and_never_offered(app: App, agent: Agent, value: str) -> None:
    assert len({_key_of(api_key=value).profile, _key_of(api_key=KEY).profile}) == 2
    if "\udcff" in value:
        return
    err = app.run("meter()\nassert revenium.flush()", REVENIUM_METERING_API_KEY=value)
    (line,) = [line for line in err.splitlines() if line.startswith("ERROR")]
    assert "REVENIUM_METERING_API_KEY is no key of Revenium's" in line
    assert "profile claim" in line and _key_of(api_key=value).profile in line and value not in line
    (hello,) = agent.hellos
    assert hello["profile"] == _key_of(api_key=value).profile and "key_at_hand" not in hello
    assert agent.keys == []


def test_calls_name_the_profile_of_their_key_on_the_socket_and_in_the_spool(app: App, agent: Agent) -> None:
    app.run("meter()\nassert revenium.flush()", **NAMED, REVENIUM_METERING_BASE_URL=URL)
    agent.stop()
    app.run("meter()", **NAMED, REVENIUM_METERING_BASE_URL=URL)
    (hello,), (spooled,) = agent.hellos, _hellos(app.spool)
    told = {"v": 1, "profile": _key_of(api_key=KEY).profile}
    assert hello == {**told, "producer": hello["producer"], "patient": True, "key_at_hand": True, "url": URL}
    assert spooled == {**told, "producer": spooled["producer"]}


def test_without_a_key_calls_name_no_profile(app: App, agent: Agent) -> None:
    app.run("meter()\nassert revenium.flush()", REVENIUM_METERING_API_KEY="")
    (hello,) = agent.hellos
    assert set(hello) == {"v", "producer", "patient"} and agent.keys == []


def test_an_agent_that_asks_is_told_the_key_and_its_url(app: App, agent: Agent) -> None:
    app.run("meter()\nassert revenium.flush()", **NAMED)
    agent.wait(lambda: agent.keys == [{"value": KEY}])
    app.run("meter()", **NAMED, REVENIUM_METERING_BASE_URL=URL)
    agent.wait(lambda: agent.keys[1:] == [{"value": KEY, "url": URL}])
    assert len(agent.lines) == 2 and not agent.is_confused


def test_one_that_does_not_ask_is_not_told(app: App, agent: Agent) -> None:
    agent.wants_keys = False
    app.run("meter()\nassert revenium.flush()", **NAMED)
    assert len(agent.hellos) == 1 and agent.keys == []


def test_the_key_is_nowhere_else(app: App, agent: Agent) -> None:
    agent.refuses = "key"
    script = "meter()\nsys.stdin.readline()\nmeter()\nassert revenium.flush()"
    process = app.start(script, **NAMED, REVENIUM_LOG_LEVEL="DEBUG")
    agent.wait(lambda: agent.keys)
    # What is answered later is read later.
    _, said = process.communicate("\n", timeout=60)
    assert "the agent did not take the API key (invalid): as told" in said
    agent.stop()
    said += app.run("meter()", **NAMED, REVENIUM_LOG_LEVEL="DEBUG")
    said += "".join(path.read_text() for path in app.spool.glob("*"))
    assert KEY not in said and KEY not in json.dumps([agent.hellos, agent.calls()])


def test_a_key_that_is_not_taken_costs_no_call(app: App, agent: Agent) -> None:
    agent.refuses = "key"
    app.run("for _ in range(3): meter()\nassert revenium.flush()\nassert revenium.stats()['durable'] == 3", **NAMED)
    assert len(agent.lines) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may have a socket of another user's")
def test_another_user_s_agent_is_not_told(app: App) -> None:
    agent = Agent(str(app.socket))
    agent.wants_keys = True
    agent.start(listens_as=65534)
    err = app.run("meter()\nassert revenium.flush()\nmeter()", **NAMED)
    assert len(agent.lines) == 2 and agent.keys == []
    assert "an agent of another user's asks for the API key" in err
    agent.stop()


def test_applications_with_two_keys_are_two_profiles(app: App, agent: Agent) -> None:
    for key in (KEY, "hak_another_one"):
        app.run("meter()\nassert revenium.flush()", REVENIUM_METERING_API_KEY=key)
    assert [hello["profile"] for hello in agent.hellos] == [
        _key_of(api_key=key).profile for key in (KEY, "hak_another_one")
    ]
