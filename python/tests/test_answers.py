"""Who reads the agent's answers, and when: calls while there are many, the thread once a second, and at once where somebody
waits for them.
"""

import time

import pytest
from agent import Agent
from conftest import App


# The background thread waits, and does not get on before it is let go.
HELD = """
import select, threading
from revenium_middleware_anthropic import _emitter, _wait
meter()
assert revenium.flush(30)
ready, is_held, go_on = _wait.ready, threading.Event(), threading.Event()
def hold(*args):
    is_held.set()
    assert go_on.wait(30)
    return ready(*args)
_wait.ready = hold
_emitter._lives[os.getpid()].carrier.wake()
assert is_held.wait(30)
"""


def test_many_calls_read_the_answers_themselves(app: App, agent: Agent) -> None:
    script = """
state = _emitter._lives[os.getpid()].state
for _ in range(20_000):
    meter()
    if revenium.stats()["durable"] > 300: break
    # Something has been answered that nobody has read.
    assert select.select([state.connection], [], [], 30)[0], revenium.stats()
else:
    raise AssertionError(revenium.stats())
go_on.set()
assert revenium.flush(30) and revenium.stats()["durable"] == revenium.stats()["emitted"]
"""
    app.run(HELD + script)
    assert not app.spool.exists()


def test_what_calls_have_read_and_is_no_good_news_is_left_to_the_thread(app: App, agent: Agent) -> None:
    process = app.start(HELD + "print('held', flush=True)\nsys.stdin.readline()\n" + """
life = _emitter._lives[os.getpid()]
for _ in range(20_000):
    meter()
    if life.carrier._left_to_it: break
    assert select.select([life.state.connection], [], [], 30)[0], revenium.stats()
else:
    raise AssertionError(revenium.stats())
assert revenium.stats()["lost"] == 0
go_on.set()
assert revenium.flush(30)
counts = revenium.stats()
assert counts["lost"] == counts["emitted"] - 1, counts
""")
    assert process.stdout is not None and process.stdin is not None and process.stdout.readline() == "held\n"
    agent.refuses = "invalid"
    _, err = process.communicate("\n", timeout=60)
    assert process.returncode == 0, err
    assert "a call was not metered: the agent refused it (invalid): as told" in err


# What is left to gather is left for good, once something has been read.
GATHERING = """
import select, threading
from revenium_middleware_anthropic import _carrier, _emitter
_carrier.GATHER_FOR = _carrier.LOOK_EVERY = 3600
meter()
assert revenium.flush(30) and revenium.stats()["durable"] == 1
carrier, state = _emitter._lives[os.getpid()].carrier, _emitter._lives[os.getpid()].state
"""


def test_a_flush_makes_the_thread_read_what_it_leaves_to_gather(app: App, agent: Agent) -> None:
    app.run(GATHERING + "meter()\nassert revenium.flush(30) and revenium.stats()['durable'] == 2")


def test_a_flush_that_gives_up_ends_no_other_s(app: App, agent: Agent) -> None:
    script = """
ours = threading.Thread(target=lambda: print(revenium.flush(60), flush=True))
print("first", flush=True), sys.stdin.readline()
meter()
ours.start()
while not carrier.flushes_by: pass
assert not revenium.flush(0.01)
print("gave up", flush=True), sys.stdin.readline()
meter()
ours.join()
assert revenium.stats()["durable"] == 3, revenium.stats()
"""
    process = app.start(GATHERING + script)
    assert process.stdout is not None and process.stdin is not None and process.stdout.readline() == "first\n"
    for is_silent, said in ((True, "gave up\n"), (False, "True\n")):
        agent.is_silent = is_silent
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == said
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


def test_a_line_that_the_kernel_took_half_of_is_not_left_to_gather(app: App, agent: Agent) -> None:
    process = app.start(GATHERING + "meter('x' * 900_000)\nprint('did', flush=True)\nsys.stdin.read()")
    assert process.stdout is not None and process.stdout.readline() == "did\n"
    agent.wait(lambda: len(agent.lines) == 2)
    process.communicate(timeout=60)


def test_an_agent_that_dies_is_noticed_while_answers_gather(app: App, agent: Agent) -> None:
    process = app.start(GATHERING + "sys.stdin.readline()\nmeter()\nprint('did', flush=True)\nsys.stdin.read()")
    agent.wait(lambda: len(agent.lines) == 1)
    agent.is_silent = True
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "did\n"
    agent.wait(lambda: agent.received == 2)
    agent.stop()
    gives_up = time.monotonic() + 30
    while not list(app.spool.glob("*.jsonl")):
        assert time.monotonic() < gives_up, "it was not noticed"
        time.sleep(0.01)
    process.communicate(timeout=60)


def test_a_new_connection_is_read_at_once(app: App, agent: Agent) -> None:
    agent.wants_keys = True
    # The end of the one before it is told by a send.
    blind = "from revenium_middleware_anthropic import _wait\n_wait._ENDED = 0\n"
    process = app.start(
        blind + GATHERING + "_carrier.READ_EVERY = 10**9\nwhile len(sys.stdin.readline()) > 1: meter()",
        REVENIUM_METERING_API_KEY="rev_mk_0123456789abcdef",
    )
    agent.wait(lambda: len(agent.keys) == 1)
    agent.drop()
    assert process.stdin is not None
    for _ in range(100):
        process.stdin.write("again\n")
        process.stdin.flush()
        time.sleep(0.01)
        if len(agent.keys) > 1:
            break
    else:
        raise AssertionError("its question was not read")
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


def test_lines_that_fill_the_memory_are_not_left_to_gather(app: App, agent: Agent) -> None:
    script = """
import socket
from revenium_middleware_anthropic import _carrier
_carrier.READ_EVERY = 10**9
state = _emitter._lives[os.getpid()].state
def is_answered():
    try:
        there = state.connection.recv(1 << 20, socket.MSG_PEEK)
    except BlockingIOError:
        return not state.in_memory()
    return b'"upto":%d}' % state.counts["emitted"] in there
for _ in range(800):
    meter("x" * 25_000)
    while not is_answered(): pass
assert revenium.stats()["lost"] == 0, revenium.stats()
go_on.set()
assert revenium.flush(30)
"""
    app.run(HELD + script)
    assert len(agent.lines) == 801 and not app.spool.exists()


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "TimeoutError"])
def test_an_answer_that_an_interrupt_has_cost_is_given_again(app: App, agent: Agent, error: str) -> None:
    process = app.start(HELD + "print('held', flush=True)\nsys.stdin.readline()\n" + """
life = _emitter._lives[os.getpid()]
take = life.carrier._inbox.take
def interrupted(content):
    take(content)
    life.carrier._inbox.take = take
    raise %s
inbox = life.carrier._inbox
inbox.take = interrupted
try:
    while True:
        meter()
        if inbox.take is not interrupted: break
        assert select.select([life.state.connection], [], [], 30)[0], revenium.stats()
except KeyboardInterrupt:
    pass
print("interrupted", flush=True)
sys.stdin.readline()
go_on.set()
meter()
assert revenium.flush(30)
print(revenium.stats()["durable"])
""" % error)
    assert process.stdout is not None and process.stdin is not None and process.stdout.readline() == "held\n"
    agent.refuses = "full"
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "interrupted\n"
    agent.refuses = None
    out, err = process.communicate("\n", timeout=60)
    assert process.returncode == 0, err
    assert len(agent.lines) == int(out) > 60
