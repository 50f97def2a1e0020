"""The wheel that has the agent in it, as an ordinary user meets it who exports a key and nothing else.

Real throughout: the installed wheel, its program, sockets, a user without any rights, and the agent's own stand-in for
Revenium. Run by tests/python.sh in an environment that has that wheel.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, Iterator, List, Optional

import pytest
from conftest import BARE, PRELUDE, ROOT, Provider
from test_agent import _samples

from revenium_middleware_anthropic import _start

PROGRAM = _start.find_program()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="the wheel that is installed has no agent in it")

KEYS = {"one": "rev_mk_0123456789abcdefghij", "two": "hak_9876543210zyxwvutsrq"}

# Nobody's, as in a container; each run has its own, and so its own socket.
UID = 60_000 + os.getpid() % 5_000

IS_ROOT = os.geteuid() == 0

# Where an agent is installed or this is a service itself, none would be started.
FORCED = (
    {"REVENIUM_AGENT_AUTOSTART": "1"}
    if os.path.exists("/run/revenium/agent.sock")
    or os.path.exists("/etc/revenium-agent/config.toml")
    or any(line.endswith(".service") for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines())
    else {}
)


class Machine:
    """A user with a home and a key, the provider, and Revenium."""

    def __init__(self, home: pathlib.Path, provider: Provider) -> None:
        self.home, self._journal = home, home / "journal"
        self._sandbox = subprocess.Popen(
            [str(PROGRAM), *"sandbox --with-stdin --listen 127.0.0.1:0 --rate-limit 0 --journal-bodies".split()]
            + ["--journal", str(self._journal)]
            + [word for name, key in KEYS.items() for word in ("--key", "%s=%s" % (key, name))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._sandbox.stdout is not None
        url = "http://" + json.loads(self._sandbox.stdout.readline())["sandbox"]
        self.env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "PYTHONWARNINGS": "ignore",
            "ANTHROPIC_BASE_URL": provider.url,
            "ANTHROPIC_API_KEY": "sk-test",
            "REVENIUM_METERING_BASE_URL": url,
            "REVENIUM_METERING_API_KEY": KEYS["one"],
            **FORCED,
        }
        self._as_user: List[str] = []
        self.runtime = pathlib.Path("/tmp/revenium-%d" % UID)
        if IS_ROOT:
            os.chown(str(home), UID, UID)
            self._as_user = ["setpriv", "--reuid=%d" % UID, "--regid=%d" % UID, "--clear-groups", "--"]
        else:
            self.runtime = home / "run/revenium"
            self.runtime.parent.mkdir(mode=0o700)
            self.env["XDG_RUNTIME_DIR"] = str(self.runtime.parent)

    def start(self, script: str, is_root: bool = False, **env: str) -> "subprocess.Popen[str]":
        prelude = BARE if "meter(" in script else PRELUDE if "call(" in script else ""
        return subprocess.Popen(
            [*([] if is_root else self._as_user), sys.executable, "-c", prelude + script],
            env={**self.env, **env},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )

    def run(self, script: str, **more: Any) -> List[str]:
        """Runs it to its good end; what it said on standard error."""
        process = self.start(script, **more)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, (out, err)
        return [line for line in err.splitlines() if "is not installed" not in line]

    def journal(self) -> List[Dict[str, Any]]:
        """What is billed by now."""
        entries = [json.loads(line) for line in self._journal.read_text().splitlines()]
        return [entry for entry in entries if entry["what"] == "billed"]

    def billed(self, count: int) -> List[Dict[str, Any]]:
        """What is billed, once it is so many."""
        by = time.monotonic() + 30
        while len(self.journal()) < count and time.monotonic() < by:
            time.sleep(0.05)
        assert len(self.journal()) == count, (self.journal(), self.log())
        return self.journal()

    def spooled(self) -> List[pathlib.Path]:
        return list((self.home / ".local/state/revenium/spool").glob("*.jsonl"))

    def log(self) -> str:
        return "".join(path.read_text() for path in self.home.rglob("agent.log*"))

    def agents(self) -> List[int]:
        """Processes of this user that run an agent."""
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if command[1:2] == [b"run"] and command[0].startswith(os.fsencode(str(self.home))):
                found.append(int(entry.name))
        return found

    def says(self) -> Optional[Dict[str, Any]]:
        """The agent's ready file."""
        path = self.runtime / "agent.json"
        return json.loads(path.read_text()) if path.exists() else None

    def stop(self) -> None:
        for pid in self.agents():
            os.kill(pid, signal.SIGTERM)
        by = time.monotonic() + 30
        while self.agents():
            assert time.monotonic() < by
            time.sleep(0.02)

    def end(self) -> None:
        self.stop()
        self._sandbox.terminate()
        self._sandbox.wait(60)
        shutil.rmtree(str(self.runtime), ignore_errors=True)
        shutil.rmtree(str(self.home))


@pytest.fixture
def machine(provider: Provider) -> Iterator[Machine]:
    machine = Machine(pathlib.Path(tempfile.mkdtemp(dir="/var/tmp")), provider)
    yield machine
    machine.end()


def _peer(path: pathlib.Path) -> int:
    """The process that listens there."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", said)[0]
    return pid


def test_with_a_key_and_nothing_else_the_readme_s_sample_is_billed(machine: Machine) -> None:
    (sample,) = _samples(ROOT / "README.md")
    assert machine.run(sample) == []
    (entry,) = machine.billed(1)
    assert entry["account"] == "one" and json.loads(entry["body"])["organizationName"] == "acme-corp"
    (pid,) = machine.agents()
    assert _peer(machine.runtime / "agent.sock") == pid


def test_the_agent_outlives_the_application_that_started_it_and_is_used_by_the_next(machine: Machine) -> None:
    machine.run("call()")
    (pid,) = machine.agents()
    # In a session of its own, without anything of the application's but its three files.
    assert os.getsid(pid) == pid
    environment = pathlib.Path("/proc/%d/environ" % pid).read_bytes()
    assert b"sk-test" not in environment and KEYS["one"].encode() not in environment
    machine.run("call()")
    machine.billed(2)
    assert machine.agents() == [pid]


def test_the_key_outlives_the_agent_and_is_open_to_nobody(machine: Machine) -> None:
    machine.run("call()")
    machine.billed(1)
    files = [path for path in machine.home.rglob("*") if path.is_file() and path != machine.home / "journal"]
    having = [path for path in files if KEYS["one"].encode() in path.read_bytes()]
    assert [path.parent.name for path in having] == ["keys"]
    assert [having[0].stat().st_mode & 0o777, having[0].parent.stat().st_mode & 0o777] == [0o600, 0o700]
    machine.stop()
    machine.run("call()")
    machine.billed(2)


def test_of_many_processes_that_begin_at_once_one_starts_an_agent(machine: Machine) -> None:
    racing = [machine.start("sys.stdin.readline()\nmeter()") for _ in range(8)]
    for process in racing:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in racing:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert len(machine.agents()) == 1
    machine.billed(8)


def test_applications_with_two_keys_are_billed_to_two_accounts(machine: Machine) -> None:
    running = machine.start("meter()\nsys.stdin.readline()\nmeter()")
    machine.billed(1)
    machine.run("meter()\nmeter()\nmeter()", REVENIUM_METERING_API_KEY=KEYS["two"])
    running.communicate("\n", timeout=60)
    accounts = [entry["account"] for entry in machine.billed(5)]
    assert (accounts.count("one"), accounts.count("two")) == (2, 3)


def test_a_long_running_application_s_calls_are_billed_while_it_runs(machine: Machine) -> None:
    process = machine.start("meter()\nsys.stdin.readline()")
    machine.billed(1)
    machine.stop()
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("is_there", [True, False])
def test_an_application_that_is_killed_right_after_its_call_is_billed(machine: Machine, is_there: bool) -> None:
    if is_there:
        machine.run("meter()")
    script = "meter()\nwhile not (revenium.stats()['spooled'] or %r): pass\nos.kill(os.getpid(), 9)" % is_there
    process = machine.start(script)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    # Without an agent it is in the spool, and the next one needs its key, which died with it.
    if not is_there:
        machine.run("meter()")
    machine.billed(2)


def test_parent_and_children_without_an_agent_are_billed_once_each(machine: Machine) -> None:
    script = "meter()\nfor _ in range(3):\n    child = os.fork()\n    if child == 0:\n        meter()\n        sys.exit(0)\n"
    machine.run(script + "    assert os.waitpid(child, 0)[1] == 0\nmeter()")
    machine.billed(5)
    assert len(machine.agents()) == 1


# Nobody listens there.
NOWHERE = {"REVENIUM_METERING_BASE_URL": "http://127.0.0.1:1", "REVENIUM_EXIT_WAIT_SECONDS": "1"}


def test_on_a_disk_that_lasts_the_end_does_not_wait_for_delivery(machine: Machine) -> None:
    assert machine.run("meter()", **NOWHERE) == []
    says = machine.says()
    assert says is not None and (says["per_user"], says["ephemeral"]) == (True, False)
    # The same key, for another Revenium.
    machine.run("meter()")
    machine.billed(2)


@pytest.fixture
def container(provider: Provider) -> Iterator[Machine]:
    """A machine whose files are in memory."""
    machine = Machine(pathlib.Path(tempfile.mkdtemp(dir="/dev/shm")), provider)
    yield machine
    machine.end()


@pytest.mark.parametrize("is_there", [True, False])
def test_where_the_disk_goes_with_the_container_the_end_waits_for_delivery(container: Machine, is_there: bool) -> None:
    if is_there:
        container.run("meter()")
    assert container.run("meter()\nmeter()") == []
    assert len(container.journal()) == 2 + is_there and container.spooled() == []


def test_where_it_cannot_be_delivered_in_time_the_end_says_so(container: Machine) -> None:
    (line,) = container.run("meter()", **NOWHERE)
    assert "not all calls were delivered within 1 seconds" in line
    container.run("meter()")
    container.billed(2)


def test_when_it_is_forbidden_calls_are_in_the_spool_and_the_reason_is_told(machine: Machine) -> None:
    (line,) = machine.run("meter()", REVENIUM_AGENT_AUTOSTART="0")
    assert line.startswith("WARNING") and "none was started (" in line and "REVENIUM_AGENT_AUTOSTART" in line
    assert machine.agents() == [] and len(machine.spooled()) == 1
    machine.run("meter()")
    machine.billed(2)


def test_when_turned_off_nothing_is_started_kept_or_said(machine: Machine) -> None:
    assert machine.run("meter()", REVENIUM_METERING_DISABLED="1") == []
    assert machine.agents() == [] and machine.spooled() == []


@pytest.mark.skipif(bool(FORCED), reason="there is another reason here already")
def test_in_a_ci_job_none_is_started(machine: Machine) -> None:
    (line,) = machine.run("meter()", CI="true")
    assert "none was started (" in line and machine.agents() == []
    assert machine.run("meter()", CI="true", REVENIUM_AGENT_AUTOSTART="1") == []
    machine.billed(2)


@pytest.mark.skipif(not IS_ROOT or bool(FORCED), reason="this is not root, or there is another reason here already")
def test_root_starts_none(machine: Machine) -> None:
    (line,) = machine.run("meter()", is_root=True, XDG_RUNTIME_DIR=str(machine.home))
    assert "none was started (" in line and "root" in line and machine.agents() == []
