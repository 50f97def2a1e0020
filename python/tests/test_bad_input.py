"""What an application, its machine or its agent may get wrong: its calls are never disturbed, and a loss is counted and
named, once."""

import collections
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
from typing import Any, Dict, Iterator, List

import anthropic
import pytest
from agent import Agent
from conftest import ASK, PRELUDE, App, Metered, Real

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user, or mount a disk")

# Somebody without an entry in the list of users; each run has its own.
UID = 60_000 + os.getpid() % 5_000

# What is told of at the very end, when all that could be kept is.
TELLING = """
import atexit, json
atexit.register(lambda: print(json.dumps({**revenium.stats(), "ids": ids})))
ids = []
"""

# Three calls as that user, who may not read what the interpreter still has to load: asking for a count loads the same.
AS_ANOTHER = """
client.messages.count_tokens(model="m", messages=ASK["messages"])
os.setgroups([]); os.setgid(%d); os.setuid(%d)
ids += [call().id for _ in range(3)]
""" % (UID, UID)


def _told(process: "subprocess.Popen[str]") -> "tuple[Dict[str, Any], List[str]]":
    """The counts at the end, and what was said; each thing once."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in err, (out, err)
    lines = err.splitlines()
    assert len(set(lines)) == len(lines), err
    read: Dict[str, Any] = json.loads(out)
    assert len(set(read["ids"])) == 3 and all(name.startswith("msg_") for name in read["ids"])
    return read, lines


@pytest.fixture
def homeless(app: App) -> Iterator[pathlib.Path]:
    """Where an application keeps its calls that knows of no home, and of no folder of its own."""
    del app.env["REVENIUM_AGENT_SOCKET"]
    folder = pathlib.Path("/tmp/revenium-%d" % UID)
    yield folder / "spool"
    shutil.rmtree(str(folder), ignore_errors=True)


def _as_another(app: App, **env: str) -> "subprocess.Popen[str]":
    if not hasattr(anthropic.resources.Messages, "count_tokens"):
        pytest.skip("this version of the SDK cannot count tokens")
    return app.start(TELLING + PRELUDE + AS_ANOTHER, is_bare=True, **env)


@ROOT_ONLY
def test_without_a_home_calls_are_in_a_folder_of_the_user_s(app: App, homeless: pathlib.Path) -> None:
    told, lines = _told(_as_another(app))
    assert (told["emitted"], told["spooled"], told["lost"]) == (3, 3, 0)
    assert len(lines) == 1 and str(homeless) in lines[0] and list(homeless.glob("*.jsonl"))


@ROOT_ONLY
@pytest.mark.parametrize("home", ["/nonexistent", "/proc", "not/absolute", ""])
def test_with_a_home_that_is_none_no_call_is_disturbed(app: App, homeless: pathlib.Path, home: str) -> None:
    told, lines = _told(_as_another(app, HOME=home))
    is_path = home.startswith("/")
    assert (told["emitted"], told["lost"], told["spooled"]) == ((3, 3, 0) if is_path else (3, 0, 3))
    assert ["cannot keep calls in %s/.local/state/revenium/spool" % home in line for line in lines].count(True) == is_path
    assert ["calls were not metered" in line for line in lines].count(True) == is_path


@ROOT_ONLY
def test_on_a_disk_that_is_read_only_the_loss_is_counted_and_named_once(app: App, tmp_path: pathlib.Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = tmp_path / "app.py"
    script.write_text(TELLING + PRELUDE + "ids += [call().id for _ in range(3)]")
    mounted = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o ro none "$1" && exec "$2" "$3"', "sh"]
    process = subprocess.Popen(
        [*mounted, str(disk), sys.executable, str(script)],
        env={**app.env, "REVENIUM_AGENT_SPOOL": str(disk / "spool")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    told, lines = _told(process)
    assert (told["emitted"], told["lost"], told["spooled"], told["in_memory"]) == (3, 3, 0, 0)
    assert ["Read-only file system" in line for line in lines].count(True) == 1
    assert ["calls were not metered" in line for line in lines].count(True) == 1


@pytest.mark.parametrize("is_there", [True, False])
def test_of_ten_thousand_calls_at_once_none_is_lost(app: App, is_there: bool) -> None:
    agent = Agent(str(app.socket))
    if is_there:
        agent.start()
    script = """
import threading
def many():
    for _ in range(2500): meter()
threads = [threading.Thread(target=many) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert revenium.stats()["emitted"] == 10_000 and revenium.stats()["lost"] == 0, revenium.stats()
"""
    assert "not metered" not in app.run(script)
    if is_there:
        agent.wait(lambda: len(agent.lines) + len(app.spooled()) >= 10_000)
    assert len(agent.lines) + len(app.spooled()) >= 10_000
    agent.stop()


class _Hostile(Dict[str, Any]):
    """What says that it is a dict."""

    def items(self) -> Any:
        raise RuntimeError("no")

    __iter__ = keys = items  # type: ignore[assignment]


def _deep(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = {"a": [value]}
    return value


ODD: Dict[str, Any] = {
    "a number": 5,
    "text": "x" * (10 << 20),
    "bytes": b"\xff",
    "a list": [("agent", "a")],
    "a set": {"agent"},
    "an object": object(),
    "a class": dict,
    "what iterates badly": _Hostile(agent="a"),
    "a subscriber that is a number": {"subscriber": 5, "agent": "a"},
    "a subscriber that is a list": {"subscriber": [{"id": "7"}]},
    "odd keys": {1: 2, None: 3, ("a", "b"): 4, b"c": 5, 1.5: 6},
    "odd values": {"agent": object(), "trace_id": b"\xff", "task_type": {1, 2}, "f": float("inf"), "big": 10**5000},
    "a mapping that is no dict": collections.ChainMap({"agent": "a"}, {"agent": "b"}),
    "deep": {"agent": _deep(10_000)},
    "10 MB in one value": {"agent": "a", "trace_id": "x" * (10 << 20)},
    "10 MB in many": {"key %d" % number: "x" * 90 for number in range(110_000)},
}


@pytest.mark.parametrize("odd", ODD)
def test_metadata_of_any_kind_costs_no_call(client: Any, metered: Metered, odd: str) -> None:
    import revenium_middleware_anthropic as revenium

    assert client.messages.create(**ASK, usage_metadata=ODD[odd]).id.startswith("msg_")
    with revenium.revenium_metadata(task_type="block"):
        list(client.messages.create(**ASK, stream=True, usage_metadata=ODD[odd]))
    with revenium.revenium_metadata(odd=ODD[odd]):
        client.messages.create(**ASK)
    used = [call["usage"] for call in metered.calls()]
    assert used == [{"input_tokens": 25, "output_tokens": 15}] * 3


def test_an_agent_that_takes_connections_and_reads_nothing_costs_no_call(app: App) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(app.socket))
    listener.listen(8)
    kept: List[socket.socket] = []
    threading.Thread(target=lambda: kept.extend(listener.accept()[0] for _ in range(8)), daemon=True).start()
    # More than a socket holds.
    app.run("for _ in range(3000): meter()")
    assert len(app.spooled()) == 3000
    err = app.run("ids = {call().id for _ in range(3)}\nassert len(ids) == 3")
    assert len(app.spooled()) == 3003 and "not metered" not in err
    listener.close()


def test_an_agent_that_dies_in_the_middle_of_a_call_costs_neither_call_nor_event(app: App, real: Real) -> None:
    real.start()
    script = """
call()
assert revenium.flush(30)
stream = client.messages.create(**ASK, stream=True)
kinds = [next(stream).type]
print("begun", flush=True)
sys.stdin.readline()
kinds += [event.type for event in stream]
assert (kinds[0], kinds[-1]) == ("message_start", "message_stop"), kinds
assert call().id
"""
    while not app.socket.exists():
        threading.Event().wait(0.01)
    process = app.start(script)
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    real.kill()
    _, err = process.communicate("\n", timeout=60)
    assert process.returncode == 0, err
    real.start()
    assert len({body["transactionId"] for body in real.billed(3)}) == 3
