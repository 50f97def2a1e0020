"""Where there is no agent, the one that the wheel carries is started, and what comes of it is told in one line.

A script stands in for `revenium-agent` here; when one is to be started is that program's to say, and tested with it.
`test_wheels.py` has the real one.
"""

import json
import os
import pathlib
import shutil
import sys
import time
from typing import Any, Callable, Dict, List

import pytest
from agent import Agent
from conftest import BARE, App

import revenium_middleware_anthropic

KEY = "rev_mk_0123456789abcdefghij"

# Notes each run, and says what it is told to once it is.
PROGRAM = """#!{python}
import json, os, sys, time
folder = {folder!r}
with open(folder + "/runs", "a") as runs:
    fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
    run = dict(args=sys.argv[1:], env=dict(os.environ), session=os.getsid(0) == os.getpid(), cwd=os.getcwd(), fds=fds)
    run["spooled"] = os.listdir({spool!r}) if os.path.isdir({spool!r}) else []
    print(json.dumps(run), file=runs, flush=True)
if sys.argv[1] == "flush":
    print("not flushed within the deadline: 1 event" if os.path.exists(folder + "/slow") else "flushed")
    sys.exit(os.path.exists(folder + "/slow"))
while not os.path.exists(folder + "/says"):
    time.sleep(0.01)
print(open(folder + "/says").read(), flush=True)
sys.exit(1)
"""


class Installed:
    """The package with a program of the agent's name beside it, as `pip install --target` lays them."""

    def __init__(self, app: App, folder: pathlib.Path) -> None:
        self.app, self._folder = app, folder
        package = pathlib.Path(revenium_middleware_anthropic.__file__).parent
        shutil.copytree(str(package), str(folder / "lib" / package.name))
        self.program = folder / "lib/bin/revenium-agent"
        self.program.parent.mkdir()
        text = PROGRAM.format(python=sys.executable, folder=str(folder), spool=str(app.spool))
        self.program.write_text(text)
        self.program.chmod(0o755)
        app.env.update(PYTHONPATH=str(folder / "lib"), REVENIUM_METERING_API_KEY=KEY, REVENIUM_LOG_LEVEL="INFO")

    def moves_to_where_pip_puts_it(self) -> None:
        records = self._folder / "lib/revenium_middleware_anthropic-1.2.3.dist-info"
        records.mkdir()
        (records / "METADATA").write_text("Name: revenium-middleware-anthropic\n")
        (records / "RECORD").write_text("revenium_middleware_anthropic/__init__.py,,\n../bin/revenium-agent,,\n")
        self.program.parent.rename(self._folder / "bin")
        self.program = self._folder / "bin/revenium-agent"

    def is_editable(self) -> None:
        """The records are in a folder of their own, as where the package is in its checkout."""
        (self._folder / "site").mkdir()
        (records,) = (self._folder / "lib").glob("*.dist-info")
        records.rename(self._folder / "site" / records.name)
        self.app.env["PYTHONPATH"] += os.pathsep + str(self._folder / "site")

    def says(self, *lines: str, **said: str) -> None:
        """What `start` says from now on, which until now it waits for."""
        unfinished = self._folder / "unfinished"
        unfinished.write_text("\n".join([*lines, json.dumps(said)] if said else lines))
        unfinished.rename(self._folder / "says")

    def is_there(self, how: str = "started") -> None:
        self.says(state=how, socket=str(self.app.socket), version="1.2.3")

    def delivers_slowly(self) -> None:
        (self._folder / "slow").touch()

    def runs(self, command: str = "start") -> List[Dict[str, Any]]:
        path = self._folder / "runs"
        runs = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [run for run in runs if run["args"][0] == command]

    def wait(self) -> None:
        """Until it has been started."""
        _until(self.runs)


@pytest.fixture
def installed(app: App, tmp_path: pathlib.Path) -> Installed:
    return Installed(app, tmp_path)


@pytest.fixture
def agent(app: App) -> Any:
    agent = Agent(str(app.socket))
    agent.wants_keys = True
    yield agent
    agent.stop()


def _until(holds: Callable[[], Any]) -> None:
    by = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < by
        time.sleep(0.01)


def _lines(err: str) -> List[str]:
    return [line for line in err.splitlines() if "is not installed" not in line]


def test_it_is_started_once_and_calls_go_to_it(app: App, installed: Installed, agent: Agent) -> None:
    process = app.start("meter('first')\nsys.stdin.readline()\nmeter('second')\nassert revenium.flush()")
    installed.wait()
    agent.start()
    installed.is_there()
    agent.wait(lambda: agent.keys == [{"value": KEY}])
    told = "INFO revenium_middleware_anthropic: revenium-agent 1.2.3 was started for this user, as there was none"
    assert process.stderr is not None and told + "\n" in iter(process.stderr.readline, "")
    _, err = process.communicate("\n", timeout=60)
    assert (process.returncode, _lines(err)) == (0, [])
    assert [call["route"] for call in agent.calls()] == ["second"]
    (run,) = installed.runs()
    # How long it stays is its own to say: ten minutes (`test_an_agent_of_a_user_s_ends_after_ten_minutes_of_nothing`).
    assert run["args"] == ["start"]
    # What happens to the application does not happen to it; it needs no key; no file of the application is open in it.
    assert run["session"] and run["cwd"] == "/" and "REVENIUM_METERING_API_KEY" not in run["env"]
    assert run["env"]["REVENIUM_AGENT_SOCKET"] == str(app.socket) and KEY not in json.dumps(run)
    # Its own three, the note, and the folder that it lists.
    assert run["fds"] == [0, 1, 2, 3, 4]


def test_calls_do_not_wait_and_are_in_the_spool_meanwhile(app: App, installed: Installed) -> None:
    process = app.start("meter()\nprint('did', flush=True)\nsys.stdin.readline()\nos._exit(0)")
    installed.wait()
    assert process.stdout is not None and process.stdout.readline() == "did\n"
    _until(lambda: list(app.spool.glob("*.jsonl")))
    process.communicate("\n", timeout=60)
    installed.is_there()


def test_the_end_of_a_process_waits_for_it_and_tells_it_the_key(app: App, installed: Installed, agent: Agent) -> None:
    process = app.start("meter()")
    installed.wait()
    agent.start()
    installed.is_there()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    agent.wait(lambda: agent.keys == [{"value": KEY}])
    assert len(list(app.spool.glob("*.jsonl"))) + len(agent.lines) == 1
    assert len(_lines(err)) == 1 and "was started for this user" in err


def test_an_agent_that_does_not_ask_holds_no_process_up(app: App, installed: Installed, agent: Agent) -> None:
    agent.wants_keys = False
    agent.start()
    process = app.start("meter()", REVENIUM_AGENT_SOCKET=str(app.socket) + ".not")
    installed.wait()
    installed.is_there("running")
    process.communicate(timeout=60)
    assert process.returncode == 0 and agent.keys == []


@pytest.mark.parametrize("program", [True, False])
def test_where_none_is_to_be_started_the_reason_is_told_once(app: App, installed: Installed, program: bool) -> None:
    installed.says(state="not_started", reason="this is a CI job", code="ci")
    if not program:
        installed.program.unlink()
    err = app.run("meter()\nassert revenium.flush()\nmeter()\nassert revenium.flush()")
    (line,) = _lines(err)
    assert line.startswith("WARNING revenium_middleware_anthropic: no revenium-agent at %s (" % app.socket)
    assert ("and none was started (this is a CI job)" in line) == program
    assert ": calls are kept in %s until one runs." % app.spool in line
    assert len(installed.runs()) == int(program)
    assert len(list(app.spool.glob("*.jsonl"))) >= 1


def test_when_starting_fails_the_reason_is_told_once(app: App, installed: Installed) -> None:
    installed.says("it is about to", "revenium-agent: cannot make the folder: the disk is full", "so much for that")
    (line,) = _lines(app.run("meter()\nassert revenium.flush()"))
    assert "none was started (`revenium-agent start` failed: cannot make the folder: the disk is full)" in line


def test_a_program_that_cannot_run_is_told(app: App, installed: Installed) -> None:
    installed.program.write_text("#!/dev/null/nowhere\n")
    (line,) = _lines(app.run("meter()\nassert revenium.flush()"))
    assert "none was started (%s cannot be run: Not a directory)" % installed.program in line


# It looks for its program when the process may open no more files, and again when it may.
AT_LIMIT = """
import os, resource, time
from revenium_middleware_anthropic import _start
starter, now, held = _start.Starter(True), time.monotonic(), []
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
try:
    while True: held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
assert starter.begin(now) and "Too many open files" in starter.outcome.reason, starter.outcome
for file in held: os.close(file)
again = now + _start.AGAIN_AFTER
assert not starter.may_begin(again - 1) and starter.may_begin(again)
assert starter.begin(again) and starter.wait(again).is_there
"""


@pytest.mark.parametrize("imported", ["", "import importlib.metadata, subprocess"])
def test_a_program_that_cannot_be_looked_for_is_looked_for_again(app: App, installed: Installed, imported: str) -> None:
    installed.moves_to_where_pip_puts_it()
    installed.is_there()
    app.run(BARE + imported + AT_LIMIT, is_bare=True)
    assert len(installed.runs()) == 1


def test_the_program_of_an_editable_install_is_found(app: App, installed: Installed) -> None:
    installed.moves_to_where_pip_puts_it()
    installed.is_editable()
    installed.is_there()
    app.run(BARE + "from revenium_middleware_anthropic import _start\nassert _start.find_program(), sys.path", is_bare=True)


# By then it would have begun.
NOT_BEGUN = """
assert revenium.flush()
(life,) = revenium._emitter._lives.values()
assert (life.carrier.finder.starter.pipe, life.carrier.finder.starter.outcome) == (None, None)
"""


@pytest.mark.parametrize("env", [{"REVENIUM_METERING_API_KEY": ""}, {"REVENIUM_METERING_API_KEY": "sk-ant-x"}])
def test_without_a_key_none_is_started(app: App, installed: Installed, env: Dict[str, str]) -> None:
    app.run("meter()" + NOT_BEGUN, **env)


def test_when_turned_off_none_is_started(app: App, installed: Installed) -> None:
    assert _lines(app.run("meter()", REVENIUM_METERING_DISABLED="1")) == [] and installed.runs() == []


def test_where_an_agent_is_none_is_started(app: App, installed: Installed, agent: Agent) -> None:
    agent.start()
    app.run("meter()" + NOT_BEGUN)
    assert len(agent.lines) == 1


def test_where_an_agent_is_that_does_not_take_us_none_is_started(app: App, installed: Installed) -> None:
    script = "from revenium_middleware_anthropic import _place\ndef denied(place): raise PermissionError(13, 'no')\n"
    err = app.run(script + "_place.Place.connect = denied\nmeter()" + NOT_BEGUN)
    assert "may not use %s" % app.socket in err


def test_where_none_is_to_be_started_it_is_not_tried_again(app: App, installed: Installed) -> None:
    installed.says(state="not_started", reason="this is a CI job", code="ci")
    script = "from revenium_middleware_anthropic import _start\n_start.AGAIN_AFTER = 0.0\n"
    script += "meter()\nassert revenium.flush()\nimport time\n(life,) = revenium._emitter._lives.values()\n"
    script += "while not life.carrier.finder.starter.outcome:\n    time.sleep(0.01)\n"
    script += "meter()\nassert revenium.flush()\nmeter()\nassert revenium.flush()"
    app.run(script)
    assert len(installed.runs()) == 1


def test_an_agent_that_does_not_say_its_version_is_told_without(app: App, installed: Installed, agent: Agent) -> None:
    process = app.start("meter()")
    installed.wait()
    agent.start()
    installed.says(json.dumps({"state": "running", "socket": str(app.socket), "version": None}))
    _, err = process.communicate(timeout=60)
    (line,) = _lines(err)
    assert line.endswith(": revenium-agent runs for this user")


def test_each_process_may_start_it(app: App, installed: Installed, agent: Agent) -> None:
    installed.says(state="not_started", reason="so", code="ci")
    app.run("meter()\nassert revenium.flush()\nchild = os.fork()\nif child == 0:\n    meter()\n    sys.exit()\nos.waitpid(child, 0)")
    assert len(installed.runs()) == 2


def test_a_child_that_is_forked_while_it_starts_has_no_part_in_that(app: App, installed: Installed, agent: Agent) -> None:
    # The child that starts the agent is one of the parent's as well.
    script = "meter()\nsys.stdin.readline()\n(life,) = revenium._emitter._lives.values()\npipe = life.carrier.finder.starter.pipe\n"
    script += "child = os.fork()\nif child == 0:\n    sys.exit(not pipe.closed)\n"
    script += "assert os.waitpid(child, 0)[1] == 0\nprint('did')"
    process = app.start(script)
    installed.wait()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    agent.start()
    installed.is_there()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "did\n"), err


def _ready(app: App, version: str = "9.9.9", **says: Any) -> None:
    (app.socket.parent / "agent.json").write_text(json.dumps({"version": version, **says}))


def test_an_older_agent_is_to_be_replaced(app: App, installed: Installed, agent: Agent) -> None:
    _ready(app, version="0.0.9", per_user=True)
    agent.start()
    process = app.start("meter()\nsys.stdin.readline()\nmeter()")
    installed.wait()
    installed.is_there("taken_over")
    told = "INFO revenium_middleware_anthropic: revenium-agent 1.2.3 was started for this user in the place of an older one"
    assert process.stderr is not None and told + "\n" in iter(process.stderr.readline, "")
    _, err = process.communicate("\n", timeout=60)
    assert (process.returncode, _lines(err), len(agent.lines)) == (0, [], 2)


@pytest.mark.parametrize(
    "says", [{"version": "9.9.9", "per_user": True}, {"version": "0.0.9"}, {"version": "new", "per_user": True}]
)
def test_another_is_not(app: App, installed: Installed, agent: Agent, says: Dict[str, Any]) -> None:
    _ready(app, **says)
    agent.start()
    app.run("meter()" + NOT_BEGUN)


def test_when_an_older_one_stays_nothing_is_said(app: App, installed: Installed, agent: Agent) -> None:
    _ready(app, version="0.0.9", per_user=True)
    agent.start()
    installed.says(state="not_started", reason="so", code="ci")
    script = "meter()\nimport time\nwhile not revenium._emitter._lives[os.getpid()].carrier.finder.starter.outcome:\n"
    assert _lines(app.run(script + "    time.sleep(0.01)\nmeter()")) == []
    assert len(agent.lines) == 2


# Delivery, before the end.


@pytest.mark.parametrize("is_spooled", [True, False])
def test_where_the_agent_s_disk_goes_with_it_the_end_waits_for_delivery(
    app: App, installed: Installed, agent: Agent, is_spooled: bool
) -> None:
    _ready(app, per_user=True, ephemeral=True, control="/its/data/control.sock")
    if not is_spooled:
        agent.start()
    process = app.start("meter()")
    if is_spooled:
        installed.wait()
        _until(lambda: list(app.spool.glob("*.jsonl")))
        agent.start()
        installed.is_there()
        agent.wait(lambda: agent.keys != [])
        assert installed.runs("flush") == []
        for path in app.spool.glob("*.jsonl"):
            path.unlink()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and not any("WARNING" in line for line in _lines(err)), err
    (run,) = installed.runs("flush")
    assert run["args"][1] == "--deadline" and 5_000 < int(run["args"][2][: -len("ms")]) <= 10_000
    # This agent and no other, wherever it has its data.
    assert run["args"][3:] == ["--data-dir", "/its/data"]
    # Not before the agent had them all.
    assert run["spooled"] == [] and "REVENIUM_METERING_API_KEY" not in run["env"]


def test_what_is_in_the_spool_is_waited_for_before_delivery(app: App, installed: Installed, agent: Agent) -> None:
    _ready(app, per_user=True, ephemeral=True)
    process = app.start("meter()", REVENIUM_EXIT_WAIT_SECONDS="0.5")
    installed.wait()
    _until(lambda: list(app.spool.glob("*.jsonl")))
    agent.start()
    installed.is_there()
    _, err = process.communicate(timeout=60)
    # No time is left, as nobody takes it in.
    (run,) = installed.runs("flush")
    assert run["args"] == ["flush", "--deadline", "0ms"] and "not all calls were delivered" in err


@pytest.mark.parametrize(
    "says, env",
    [
        ({"per_user": True, "ephemeral": False}, {}),
        ({"ephemeral": True}, {}),
        ({}, {}),
        ({"per_user": True, "ephemeral": True}, {"REVENIUM_EXIT_WAIT_SECONDS": "0"}),
    ],
)
def test_elsewhere_it_does_not(
    app: App, installed: Installed, agent: Agent, says: Dict[str, Any], env: Dict[str, str]
) -> None:
    agent.start()
    _ready(app, **says)
    app.run("meter()", **env)
    assert len(agent.lines) == 1 and installed.runs("flush") == []


def test_what_was_not_delivered_in_time_is_told(app: App, installed: Installed, agent: Agent) -> None:
    agent.start()
    _ready(app, per_user=True, ephemeral=True)
    installed.delivers_slowly()
    (line,) = _lines(app.run("meter()", REVENIUM_EXIT_WAIT_SECONDS="0.5"))
    assert line.startswith("WARNING") and "not all calls were delivered within 0.5 seconds" in line
    assert "REVENIUM_EXIT_WAIT_SECONDS" in line and line.endswith("not flushed within the deadline: 1 event")


# On other platforms.

LACKS = "import os, select, socket\nfor module, name in {}: delattr(module, name)\n"


def _lack(app: App, *names: str) -> None:
    folder = app.socket.parent / "lacks"
    folder.mkdir()
    missing = ", ".join("(%s, %r)" % tuple(name.replace(".", ",'", 1).split(",'")) for name in names)
    (folder / "sitecustomize.py").write_text(LACKS.format("[%s]" % missing))
    app.env["PYTHONPATH"] = "%s:%s" % (folder, app.env["PYTHONPATH"])


def test_as_on_macos_calls_are_in_the_spool(app: App) -> None:
    _lack(app, "os.fdatasync", "os.O_PATH", "socket.SO_PEERCRED")
    (line,) = _lines(app.run("meter()", REVENIUM_METERING_API_KEY=KEY))
    assert "no revenium-agent" in line and len(list(app.spool.glob("*.jsonl"))) == 1
