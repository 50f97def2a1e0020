"""The agent of a machine, which does not know an application's key: its calls wait until a person says whose they are,
and are billed there, once. With the real agent."""

import json
import subprocess
import time
from typing import Any, Dict, List, Tuple

import pytest
from conftest import BINARY, OTHERS, App, Real

from revenium_middleware_anthropic import _key

pytestmark = pytest.mark.skipif(not BINARY, reason="REVENIUM_AGENT_BINARY does not name the agent")

# The applications' keys, none of which the agent has, by the account that each is to be billed to.
KEYS = {"one": "rev_mk_of_one_application", "two": "hak_of_another"}
PROFILES = {name: _key.Key(key, None).profile for name, key in KEYS.items()}


def _call(app: App, name: str, count: int) -> None:
    script = "for _ in range(%d): call(usage_metadata={'trace_id': %r})\nassert revenium.flush(30)" % (count, name)
    app.run(script, REVENIUM_METERING_API_KEY=KEYS[name])


def _command(real: Real, *args: str) -> "subprocess.CompletedProcess[str]":
    command = [BINARY, *args, "--config", "config.toml"]
    return subprocess.run(command, cwd=real.folder, stdout=subprocess.PIPE, universal_newlines=True)


def _claim(real: Real, name: str) -> None:
    # One that has just begun may ask to try again in a moment.
    for _ in range(600):
        if _command(real, "profile", "claim", PROFILES[name], "--as", name).returncode == 0:
            return
        time.sleep(0.05)
    raise AssertionError("it cannot be claimed")


def _wait_for_waiting(real: Real, expected: Dict[str, int]) -> None:
    """Returns once so many calls of each application wait."""
    waiting: Any = None
    for _ in range(600):
        status = _command(real, "status", "--json").stdout
        # While the agent is not there yet, it is none of ours.
        profiles = json.loads(status).get("profiles", []) if status else []
        counts = {profile["name"]: profile["waiting"] for profile in profiles}
        waiting = {name: counts.get(profile) for name, profile in PROFILES.items()}
        if waiting == expected:
            return
        time.sleep(0.05)
    raise AssertionError(waiting)


def _billed(real: Real, count: int) -> List[Tuple[str, str]]:
    """Of so many calls that were billed: to whom, and who made it."""
    assert len({body["transactionId"] for body in real.billed(count)}) == count
    entries = [entry for entry in real.entries() if entry["what"] == "billed"]
    return sorted((entry["account"], json.loads(entry["body"])["traceId"]) for entry in entries)


def test_calls_of_unknown_keys_wait_to_be_claimed_and_are_billed_once_each_to_its_own_account(
    app: App, real: Real
) -> None:
    with (real.folder / "config.toml").open("a") as config:
        for name, key in OTHERS.items():
            config.write('profiles.%s = { url = "%s", api_key = "%s" }\n' % (name, real.url, key))
    real.start()
    _call(app, "one", 3)
    _call(app, "two", 2)
    _wait_for_waiting(real, {"one": 3, "two": 2})
    # They are not in its memory only.
    real.kill()
    real.start()
    _wait_for_waiting(real, {"one": 3, "two": 2})
    assert real.got() == []

    _claim(real, "one")
    assert _billed(real, 3) == [("one", "one")] * 3
    _wait_for_waiting(real, {"one": 0, "two": 2})
    _claim(real, "two")
    assert _billed(real, 5) == [("one", "one")] * 3 + [("two", "two")] * 2
    # Whose later calls are is known.
    _call(app, "two", 1)
    _call(app, "one", 1)
    assert _billed(real, 7) == [("one", "one")] * 4 + [("two", "two")] * 3
