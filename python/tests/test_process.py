"""What a process has metered outlives it, whatever becomes of it or of the agent, and is taken once.

The agent knows an event by its producer and number, whichever way it comes; so what counts is how many different ones
there are, on its socket and in spool files together.
"""

import json
import pathlib
import signal
import threading
from typing import Set, Tuple

import pytest
from agent import Agent
from conftest import BARE, App

from revenium_middleware_anthropic import _keep, _state


def _all(app: App, agent: Agent) -> Set[Tuple[str, int]]:
    """Every event there is, on either way."""
    found = set(agent.lines)
    for path in app.spool.glob("*"):
        producer = path.name.split("-")[0]
        found |= {(producer, json.loads(line)["n"]) for line in path.read_text().splitlines()[1:]}
    return found


def test_what_an_application_that_is_killed_had_called_is_taken(app: App, agent: Agent) -> None:
    process = app.start("call()\nprint('called', flush=True)\nos.kill(os.getpid(), 9)")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    # It was its first, so not even a connection was there before.
    agent.wait(lambda: len(agent.lines) == 1)


def test_a_stream_of_an_application_that_is_killed_after_it_is_taken(app: App, agent: Agent) -> None:
    app.start("list(client.messages.create(**ASK, stream=True))\nos.kill(os.getpid(), 9)").communicate(timeout=60)
    agent.wait(lambda: len(agent.lines) == 1)


def test_an_application_that_is_told_to_end_has_lost_nothing(app: App, agent: Agent) -> None:
    process = app.start("call()\nprint('called', flush=True)\nsys.stdin.read()")
    assert process.stdout is not None and process.stdout.readline() == "called\n"
    process.terminate()
    process.communicate(timeout=60)
    # Nobody has taken the signal from it.
    assert process.returncode == -signal.SIGTERM
    agent.wait(lambda: len(agent.lines) == 1)


def test_without_an_agent_calls_are_in_the_spool_when_the_process_has_ended(app: App) -> None:
    err = app.run("call()\ncall()\nlist(client.messages.create(**ASK, stream=True))")
    assert len(app.spooled()) == 3
    (line,) = err.splitlines()
    assert line.startswith("WARNING revenium_middleware_anthropic: no revenium-agent at %s (" % app.socket)
    assert str(app.spool) in line and "`revenium-agent run`" in line


def test_a_stream_that_is_open_when_the_process_ends_is_metered(app: App) -> None:
    app.run("kept = client.messages.create(**ASK, stream=True)\nnext(kept)")
    (call,) = app.spooled()
    assert (call["ended"], call["usage"]["input_tokens"]) == ("cancelled", 25)


def test_calls_that_are_made_while_the_process_ends_are_kept(app: App) -> None:
    app.run("import atexit\natexit.register(meter, 'late')\nclass A:\n  def __del__(self): meter('last')\nkept = A()")
    assert [call["route"] for call in app.spooled()] == ["late", "last"]


def test_a_call_that_is_the_first_and_made_by_a_finalizer_at_the_very_end_is_kept(app: App) -> None:
    app.run("class A:\n  def __del__(self): meter('last')\nkept = A()")
    assert [call["route"] for call in app.spooled()] == ["last"]


# Two events in every process, the second when the first is safe: only its end can keep that one from being lost, as
# the thread does not write a file for each while no agent is there.
TWICE = """
import time
def twice():
    meter()
    while not (revenium.stats()["durable"] or revenium.stats()["spooled"]): time.sleep(0.001)
    meter()
"""

FORKS = {
    "fork": """
twice()
for _ in range(3):
    if os.fork() == 0:
        twice()
        sys.exit(0)
for _ in range(3):
    assert os.wait()[1] == 0
twice()
""",
    "multiprocessing": """
import multiprocessing
twice()
workers = [multiprocessing.get_context("fork").Process(target=twice) for _ in range(3)]
for worker in workers: worker.start()
for worker in workers: worker.join(); assert worker.exitcode == 0
twice()
""",
    "a pool": """
import concurrent.futures, multiprocessing
twice()
context = multiprocessing.get_context("fork")
with concurrent.futures.ProcessPoolExecutor(3, mp_context=context) as pool:
    for result in [pool.submit(twice) for _ in range(3)]: result.result()
twice()
""",
    "a child that flushes and ends without a word": """
twice()
for _ in range(3):
    if os.fork() == 0:
        twice()
        revenium.flush()
        os._exit(0)
for _ in range(3):
    assert os.wait()[1] == 0
twice()
""",
    "a child of a child": """
twice()
if os.fork() == 0:
    twice()
    if os.fork() == 0:
        twice()
        sys.exit(0)
    assert os.wait()[1] == 0
    twice()
    sys.exit(0)
assert os.wait()[1] == 0
twice()
""",
}


@pytest.mark.parametrize("way", FORKS)
@pytest.mark.parametrize("is_there", [True, False])
def test_children_hand_over_their_own_calls_and_none_of_their_parent_s(app: App, way: str, is_there: bool) -> None:
    agent = Agent(str(app.socket))
    if is_there:
        agent.start()
    app.run(TWICE + FORKS[way])
    assert len(_all(app, agent)) == 10
    # Each process has a name of its own, and counts from one. A pool may use one of its processes twice.
    first = [n for _, n in _all(app, agent) if n == 1]
    assert len(first) == len({producer for producer, _ in _all(app, agent)}) >= 2
    if is_there:
        agent.stop()


SPAWNED = """
import multiprocessing, sys
import worker
worker.twice()
context = multiprocessing.get_context(sys.argv[1])
# Loaded in the server already, of which each child is a fork.
if len(sys.argv) > 2: context.set_forkserver_preload(["worker"])
workers = [context.Process(target=worker.twice) for _ in range(3)]
for one in workers: one.start()
for one in workers: one.join(); assert one.exitcode == 0
worker.twice()
"""


@pytest.mark.parametrize("way", ["spawn", "forkserver", "forkserver preload"])
@pytest.mark.parametrize("is_there", [True, False])
def test_children_of_multiprocessing_that_are_no_forks_hand_over_their_calls(
    app: App, tmp_path: pathlib.Path, way: str, is_there: bool
) -> None:
    agent = Agent(str(app.socket))
    if is_there:
        agent.start()
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/worker.py").write_text(BARE + TWICE)
    app.env["PYTHONPATH"] = "%s:%s" % (tmp_path / "modules", app.env["PYTHONPATH"])
    app.run("import sys\nsys.argv[1:] = %r\n" % way.split() + SPAWNED, is_bare=True)
    assert len(_all(app, agent)) == 10
    assert len({producer for producer, _ in _all(app, agent)}) == 4
    if is_there:
        agent.stop()


@pytest.mark.parametrize("is_there", [True, False])
def test_without_poll_it_is_the_same(app: App, is_there: bool) -> None:
    agent = Agent(str(app.socket))
    if is_there:
        agent.start()
    # As `eventlet` leaves it.
    app.run("import select\ndel select.poll\n" + BARE + TWICE + FORKS["fork"], is_bare=True)
    assert len(_all(app, agent)) == 10
    if is_there:
        assert len(agent.lines) >= 5
        agent.stop()


def test_a_child_that_ends_without_a_word_has_lost_nothing_while_an_agent_is_there(app: App, agent: Agent) -> None:
    app.run("if os.fork() == 0:\n    meter()\n    os._exit(0)\nassert os.wait()[1] == 0")
    agent.wait(lambda: len(agent.lines) == 1)


def test_a_child_leaves_to_its_parent_what_was_not_answered(app: App, agent: Agent) -> None:
    agent.is_silent = True
    script = """
for _ in range(100): meter()
if os.fork() == 0:
    meter()
    sys.exit(0)
os.wait()
"""
    app.run(script)
    assert len(_all(app, agent)) == 101
    assert {producer for producer, _ in _all(app, agent)} == {hello["producer"] for hello in agent.hellos}


def test_a_fork_while_all_threads_meter_hangs_nobody(app: App, agent: Agent) -> None:
    script = """
import threading
def many():
    for _ in range(300): meter()
threads = [threading.Thread(target=many) for _ in range(4)]
for thread in threads: thread.start()
children = []
for _ in range(10):
    child = os.fork()
    if child == 0:
        for _ in range(10): meter()
        revenium.flush()
        os._exit(0)
    children.append(child)
for child in children: assert os.waitpid(child, 0)[1] == 0
for thread in threads: thread.join()
"""
    app.run(script)
    assert len(_all(app, agent)) == 4 * 300 + 10 * 10


def test_an_agent_that_comes_and_goes_gets_everything_once(
    app: App, agent: Agent, request: pytest.FixtureRequest
) -> None:
    process = app.start("for line in sys.stdin:\n    meter(line.strip())\n    print('did', flush=True)\n")
    assert process.stdin is not None and process.stdout is not None
    names = ["call %d" % number for number in range(400)]
    agents = [agent]
    for number, name in enumerate(names):
        if number % 100 == 50:
            agents[-1].stop()
        if number % 100 == 75:
            agents.append(Agent(str(app.socket)).start())
            request.addfinalizer(agents[-1].stop)
        process.stdin.write(name + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "did\n"
    process.communicate(timeout=60)
    found = {}
    for one in agents:
        for key, line in one.lines.items():
            assert found.setdefault(key, line["call"]["route"]) == line["call"]["route"]
    for path in app.spool.glob("*"):
        for read in map(json.loads, path.read_text().splitlines()[1:]):
            found.setdefault((path.name.split("-")[0], read["n"]), read["call"]["route"])
    assert sorted(found.values()) == sorted(names)


def test_what_was_not_answered_is_sent_again_on_the_next_connection(app: App, agent: Agent) -> None:
    agent.is_silent = True
    process = app.start("for _ in range(5): meter()\nsys.stdin.read()\nassert revenium.stats()['spooled'] == 0")
    agent.wait(lambda: agent.received == 5)
    agent.is_silent = False
    agent.drop()
    agent.wait(lambda: agent.received == 10)
    process.communicate(timeout=60)
    assert process.returncode == 0 and len(agent.lines) == 5


def test_what_an_agent_has_no_room_for_is_sent_again(app: App, agent: Agent) -> None:
    agent.refuses = "full"
    process = app.start("for _ in range(50): meter()\nprint('did', flush=True)\nsys.stdin.read()")
    assert process.stdout is not None and process.stdout.readline() == "did\n"
    agent.wait(lambda: agent.received >= 1)
    agent.refuses = None
    agent.wait(lambda: len(agent.lines) == 50)
    assert sorted(n for _, n in agent.lines) == list(range(1, 51))
    process.communicate(timeout=60)
    assert not app.spool.exists()


def test_what_an_agent_refuses_for_good_is_told_and_not_sent_again(app: App, agent: Agent) -> None:
    agent.refuses = "invalid"
    err = app.run("meter()\nrevenium.flush()\nprint(revenium.stats())\nassert revenium.stats()['lost'] == 1")
    assert "a call was not metered: the agent refused it (invalid): as told" in err
    assert agent.received == 1


def test_after_many_refusals_a_new_producer_begins(app: App, agent: Agent) -> None:
    agent.refuses = "invalid"
    app.run("for _ in range(600): meter()\nassert revenium.flush()\nmeter()\nrevenium.flush()")
    assert len({hello["producer"] for hello in agent.hellos}) == 2


def test_an_agent_that_turns_us_away_costs_nothing(app: App, agent: Agent) -> None:
    agent.refuses = "denied"
    err = app.run("call()\ncall()\ncall()")
    assert len(_all(app, agent)) == 3 == len(app.spooled())
    assert [line for line in err.splitlines() if "not you" in line] != [] and len(err.splitlines()) == 1


def test_an_agent_that_hangs_holds_no_process_up_for_good(app: App, agent: Agent) -> None:
    agent.is_silent = True
    app.run("call()")
    assert len(app.spooled()) == 1


def test_signals_and_finalizers_may_meter_at_any_moment(app: App, agent: Agent) -> None:
    script = """
import gc, signal, time
signals, finalizers = [], []
def on_alarm(*_):
    meter("signal")
    signals.append(1)
class Loop:
    def __init__(self): self.own = self
    def __del__(self):
        meter("finalizer")
        finalizers.append(1)
gc.set_threshold(20)
signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for _ in range(3000):
    Loop()
    meter()
signal.setitimer(signal.ITIMER_REAL, 0)
# The carrier's thread may be in a collection of its own, beside which this one does nothing.
while len(finalizers) < 3000:
    gc.collect()
    time.sleep(0.01)
assert signals
assert revenium.flush(30), revenium.stats()
assert revenium.stats()["emitted"] == 6000 + len(signals), (len(signals), revenium.stats())
"""
    app.run(script)
    assert len(_all(app, agent)) > 6000


def test_a_flush_is_about_the_calls_before_it(app: App, agent: Agent) -> None:
    script = """
from revenium_middleware_anthropic import _emitter
meter()
progress = _emitter._lives[os.getpid()].carrier.progress
wait_for = progress.wait_for
def then_another(*args):
    wait_for(*args)
    meter("later")
progress.wait_for = then_another
assert revenium.flush(30)
progress.wait_for = wait_for
"""
    app.run(script)
    assert len(_all(app, agent)) == 2


def test_an_event_that_comes_while_another_is_taken_in_has_a_number_of_its_own(app: App, agent: Agent) -> None:
    script = """
from collections import deque
from revenium_middleware_anthropic import _emitter
class Interrupted(deque):
    def append(self, line):
        if line.n % 2: meter("from within")
        super().append(line)
meter()
_emitter._lives[os.getpid()].state.unsent = Interrupted()
for _ in range(10): meter()
"""
    app.run(script)
    # Ten, one before them, and one within each of the nine with an odd number.
    assert len(_all(app, agent)) == 20


def test_lines_larger_than_a_socket_s_buffer_arrive_whole(app: App, agent: Agent) -> None:
    app.run("for _ in range(20): call(usage_metadata={'trace_id': 'x' * 500_000})\nassert revenium.flush(60)")
    assert len(_all(app, agent)) == 20
    assert {len(call["usage_metadata"]["trace_id"]) for call in [*agent.calls(), *app.spooled()]} == {500_000}
    assert agent.lines and not agent.is_confused


def test_memory_is_bounded_and_what_does_not_fit_is_told(app: App) -> None:
    app.spool.write_text("no folder")
    err = app.run("for _ in range(70_000): meter()\nassert revenium.stats()['in_memory'] <= 65_536")
    assert "a call was not metered: memory and spool are full" in err
    assert "cannot keep calls in %s" % app.spool in err


def test_memory_is_bounded_in_bytes() -> None:
    state = _state.State()
    body = b"x" * 1_000_000 + b"\n"
    assert [state.admit(body) for _ in range(16)] == [None] * 16
    assert state.admit(body) == "memory and spool are full"
    assert (state.in_memory(), state.counts["lost"]) == (16, 1)


def test_whatever_spooling_raises_nothing_stays_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    state = _state.State()
    state.admit(b"x\n")
    keeper = _keep.Keeper(state, threading.RLock(), lambda: b"hello\n", 0.0)
    monkeypatch.setattr(_keep._spool.Writer, "write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        keeper.keep("")
    assert (state.parked, len(state.unsent)) == (0, 1)


def test_it_can_be_turned_off(app: App, agent: Agent) -> None:
    assert app.run("call(usage_metadata={'agent': 'x'})", REVENIUM_METERING_DISABLED="1") == ""
    assert agent.hellos == []


OFFICIAL = """
import types
sys.modules["revenium_middleware.anthropic"] = types.ModuleType("revenium_middleware.anthropic")
call()
call()
"""


def test_beside_revenium_s_own_package_it_is_silent_and_says_so_once(app: App, agent: Agent) -> None:
    (line,) = app.run(OFFICIAL).splitlines()
    assert line.startswith("WARNING") and "revenium_middleware.anthropic is loaded" in line
    assert agent.hellos == []


def test_importing_it_starts_nothing(app: App) -> None:
    script = """
import signal, threading
assert threading.active_count() == 1
# Whoever runs the tests in the background has SIGINT ignored.
assert signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_IGN)
handlers = [signal.getsignal(number) for number in signal.valid_signals()]
assert {handler for handler in handlers if callable(handler)} <= {signal.default_int_handler}
call()
assert threading.active_count() == 2
assert [signal.getsignal(number) for number in signal.valid_signals()] == handlers
"""
    app.run(script)


def test_where_nothing_can_be_kept_the_application_does_not_notice(app: App) -> None:
    app.spool.write_text("no folder")
    assert app.start("print(call().id)").communicate(timeout=60)[0].startswith("msg_")


# A program that can open no file any more, until it lets go of some; and what it has counted at its very end.
AT_LIMIT = """
import atexit, ctypes, json, resource
# Which glibc opens for the end of a thread, or ends the process for want of it.
kept = ctypes.CDLL("libgcc_s.so.1")
atexit.register(lambda: print(json.dumps(revenium.stats())))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True: held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
meter("first")
meter("second")
def let_go():
    for file in held: os.close(file)
"""


@pytest.mark.parametrize("is_there", [True, False])
def test_calls_at_the_limit_of_open_files_are_kept_for_when_there_are_some(app: App, is_there: bool) -> None:
    agent = Agent(str(app.socket))
    if is_there:
        agent.start()
    app.run(AT_LIMIT + "assert revenium.stats()['in_memory'] == 2\nlet_go()\nmeter('third')\nassert revenium.flush()")
    assert len(_all(app, agent)) == 3
    if is_there:
        agent.stop()


def test_calls_at_the_limit_of_open_files_to_the_end_are_counted_as_lost_and_told(app: App) -> None:
    # What `atexit` has runs in the order of its coming backwards, and the package's own has come before.
    script = "import atexit\nat_end = []\natexit.register(lambda: at_end[0]())\n"
    process = app.start(script + BARE + AT_LIMIT.replace("atexit.register", "at_end.append"), is_bare=True)
    out, err = process.communicate(timeout=60)
    counts = json.loads(out.splitlines()[0])
    assert (counts["emitted"], counts["lost"], counts["in_memory"]) == (2, 2, 0)
    assert "calls were not metered: there was no time or room to keep them" in err and "a bug" not in err


BUGS = {
    "making its line": "from revenium_middleware_anthropic import _facts\n_facts.line = bug\nmeter()",
    "where it goes": "from revenium_middleware_anthropic import _emitter\n_emitter._own = bug\nmeter()",
    "taking it in": "from revenium_middleware_anthropic import _state\n_state.State.admit = bug\nmeter()",
    "its beginning": "revenium._patch._follow.Call = bug\ncall()",
}


@pytest.mark.parametrize("where", BUGS)
def test_a_call_that_an_error_of_ours_costs_is_counted_as_lost(app: App, where: str) -> None:
    err = app.run("def bug(*_): raise ValueError()\n" + BUGS[where] + "\ncounts = revenium.stats()\n"
                  "assert (counts['emitted'], counts['lost'], counts['in_memory']) == (1, 1, 0), counts")  # fmt: skip
    assert "ERROR revenium_middleware_anthropic: a bug in " in err
