"""No exception of ours reaches the application: each function of the package that runs in its thread is made to raise,
found by walking the modules, and by every way of a call the application gets what it gets without us."""

import json
import os
import pathlib
import subprocess
import sys
from typing import Any, Dict

import pytest

pytestmark = pytest.mark.skipif((3, 8) < sys.version_info[:2] < (3, 12), reason="the oldest and the newest say enough")

# What the SDK, the application or the interpreter calls itself. There the guard is in it, and nothing comes before.
ENTRIES = {
    "_call.Call.__del__", "_context.Carried.__deepcopy__", "_context._Scope.__call__", "_context._Scope.__enter__",
    "_context._Scope.__exit__", "_context._Scope._async_generator.run", "_context._Scope._coroutine.run",
    "_context._Scope._function.run", "_context._Scope._generator.run", "_context.revenium_metadata",
    "_context.revenium_meter", "_log._OnlyUnconfigured.emit", "_patch._metered.async_request",
    "_patch._metered.request", "_patch._taking_metadata.async_method", "_patch._taking_metadata.method",
    "_patch._telling_of_answer.async_process", "_patch._telling_of_answer.process",
    "_patch._telling_of_close.async_close", "_patch._telling_of_close.close", "_raw.tap.decoded.tapped",
    "_raw.tap.raw.tapped", "_stream.Watched.__getattr__", "_stream.WatchedAsyncItems.__aiter__",
    "_stream.WatchedAsyncItems.__anext__", "_stream.WatchedItems.__iter__", "_stream.WatchedItems.__next__",
}  # fmt: skip

# The guard, and what is too little to go wrong.
EXEMPT = {
    "__init__._begin": "the import's own guard",
    "_answers.Answer.__init__": "makes constants of its module",
    "_context._Scope.__init__": "keeps three values",
    "_follow.taken": "nothing else takes our member out of a request",
    "_guard.safely": "the guard",
}

# Modules whose functions run in the application's thread, and what of them no way comes to: at the end of the process, in
# older versions of the SDK, or only once something has gone wrong.
MODULES = {"_batch", "_call", "_claim", "_context", "_facts", "_follow", "_guard", "_patch", "_prompts", "_raw", "_stream"}
UNSEEN = {"_call._end_open", "_context.Carried.__deepcopy__", "_stream.Watched.__getattr__"}

# What fails there costs nothing but a prompt, or is done in another way.
QUIET = {"_facts._dump", "_facts._tamed", "_facts.tamed", "_prompts._plain"}


@pytest.fixture(scope="module")
def ran() -> Any:
    driver = str(pathlib.Path(__file__).parent / "faults.py")
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "PYTHONWARNINGS": "ignore"}
    out = subprocess.run([sys.executable, driver, *ENTRIES, *EXEMPT], env=env, stdout=subprocess.PIPE, check=True)
    return json.loads(out.stdout)


def test_whatever_raises_the_application_gets_the_provider_s_answer(ran: Dict[str, Any]) -> None:
    assert len(ran["faults"]) > 150 and ran["usual"]["got"] == ran["expected"]
    got = {name: fault.get("got", fault) for name, fault in ran["faults"].items()}
    assert {name: ways for name, ways in got.items() if ways != {way: ran["expected"].get(way) for way in ways}} == {}


def test_and_is_told_of_it(ran: Dict[str, Any]) -> None:
    assert [name for name, fault in ran["faults"].items() if not fault["hits"]] == []
    assert {name.split(".<")[0] for name, fault in ran["faults"].items() if not fault["told"]} <= QUIET


def test_no_function_is_left_out(ran: Dict[str, Any]) -> None:
    assert set(ran["usual"]["by others"]) - set(EXEMPT) <= ENTRIES
    if sys.version_info >= (3, 12):
        assert {name for name in ran["unseen"] if name.split(".")[0] in MODULES} <= UNSEEN
