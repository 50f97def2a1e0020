"""What metering costs a call in Python: beside the bare SDK, and beside Revenium's own package.

benches/python.py AGENT: with the program of the agent, run by a Python that has `anthropic`, this package and, to compare,
`revenium-python-sdk`. The provider is a function in the same process, and calls follow each other without a pause, so what
is measured is the SDK and what is added to it. Each way is a process of its own; they take turns, and what is added is the
difference of the medians over all turns. Processor time is that of all threads.

`ours` has the agent on the same cores, which delivers to its stand-in for Revenium there as well; `alone` has a reader of
the socket in its place that does nothing but answer, as if the agent's cores were others, and looks as often as the agent. `send` is the hand-over alone:
an event into the kernel by the calling thread.
Marks: 0.1 ms and 0.15 ms of the processor added to a call, one thread, 30 ms added to the import.

Last, what is lost by a process that makes its calls without a pause and ends normally right after, where Revenium takes
300 ms for an answer: of ours none may be.
REVENIUM_BENCH=quick is to see that it runs, full for medians that hold.
"""

import contextlib
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, Callable, Dict, Iterator, List

TURNS, CALLS = {"quick": (2, 200), "full": (9, 1000)}[os.environ.get("REVENIUM_BENCH", "full")]
WARM_UP = 50

# Calls before a normal end, and how long Revenium takes for an answer meanwhile.
LAST_CALLS, LATENCY_MS = {"quick": (200, 300), "full": (2000, 300)}[os.environ.get("REVENIUM_BENCH", "full")]

# How often the agent looks at a sender that does not wait for its answers, in src/agent/intake/connection.rs.
LOOK_EVERY_MS = 5

WALL_MS_MAX, CPU_MS_MAX, THREADS_MAX, IMPORT_MS_MAX = 0.1, 0.15, 1, 30.0

OURS, OFFICIAL = "revenium_middleware_anthropic", "revenium_middleware.anthropic"
MODULES = {"bare": None, "ours": OURS, "alone": OURS, "official": OFFICIAL}

KEY = "rev_mk_0123456789abcdefghij"

MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-bench", "stop_sequence": None,
    "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn",
    "usage": {"input_tokens": 25, "output_tokens": 15},
}  # fmt: skip


def of_the_sdk() -> Any:
    """What the SDK speaks HTTP by."""
    import anthropic  # noqa: F401

    try:
        import httpx2

        return httpx2
    except ImportError:
        import httpx

        return httpx


def calling(way: str) -> Callable[[], Any]:
    """One call, of a provider in this process."""
    import anthropic

    httpx = of_the_sdk()
    numbers = iter(range(1_000_000))

    def answer(_: Any) -> Any:
        return httpx.Response(200, json={**MESSAGE, "id": "msg_%d_%d" % (os.getpid(), next(numbers))})

    transport = httpx.MockTransport(answer)
    # Anthropic's own host, as most applications have it; the transport is a function, so nothing leaves this process.
    client = anthropic.Anthropic(
        api_key="x", base_url="https://api.anthropic.com", http_client=httpx.Client(transport=transport)
    )
    ask: Dict[str, Any] = {"model": "claude-bench", "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}
    if way != "bare":
        ask["usage_metadata"] = {"trace_id": "conv-1", "task_type": "bench", "subscriber": {"id": "7"}}
    return lambda: client.messages.create(**ask)


def measure(way: str) -> Dict[str, float]:
    """Calls through one way, in this process."""
    # The time to import it is not ours.
    of_the_sdk()
    began = time.perf_counter()
    if MODULES[way]:
        __import__(str(MODULES[way]))
    import_ms = (time.perf_counter() - began) * 1000
    call = calling(way)
    walls = []
    for number in range(WARM_UP + CALLS):
        if number == WARM_UP:
            cpu = time.process_time()
        began = time.perf_counter()
        call()
        walls.append((time.perf_counter() - began) * 1000)
    cpu_ms = (time.process_time() - cpu) * 1000 / CALLS
    walls = sorted(walls[WARM_UP:])
    return {
        "p50": statistics.median(walls),
        "p99": walls[int(len(walls) * 0.99)],
        "cpu": cpu_ms,
        "threads": threading.active_count() - 1,
        "import": import_ms,
        **({"send": sends(), "lost": lost()} if MODULES[way] == OURS else {}),
    }


def sends() -> float:
    """What handing one event over takes the calling thread, in microseconds."""
    from revenium_middleware_anthropic import _emitter, _facts, flush

    line = _facts.line(b'"route":"/v1/messages",', {"model": "claude-bench", "usage": MESSAGE["usage"]}, {}, None)
    took = []
    for number in range(CALLS):
        if number % 100 == 0:
            # Of many that are outstanding, the next one would not go to the kernel at once.
            flush(30)
        began = time.perf_counter()
        _emitter.emit(line)
        took.append((time.perf_counter() - began) * 1e6)
    return statistics.median(took)


def lost() -> float:
    """Events of this process that are neither with the agent nor in the spool."""
    import revenium_middleware_anthropic as revenium

    revenium.flush(30)
    counts = revenium.stats()
    return counts["emitted"] - counts["durable"] - counts["spooled"]


@contextlib.contextmanager
def revenium(agent: str, folder: pathlib.Path, *more: str) -> Iterator[Dict[str, str]]:
    """The stand-in for Revenium and an agent that delivers to it."""
    command = [agent, "sandbox", "--with-stdin", "--listen", "127.0.0.1:0", "--rate-limit", "0", "--key", KEY + "=bench"]
    command += more
    sandbox = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert sandbox.stdout is not None
    url = "http://" + json.loads(sandbox.stdout.readline())["sandbox"]
    config = folder / "config.toml"
    config.write_text(
        'data_dir = "data"\nsocket.path = "%s"\nadmin.listen = ""\ndrain.requests_per_second_max = 5000\n'
        'profiles.default = { url = "%s", api_key = "%s" }\n' % (folder / "agent.sock", url, KEY)
    )
    config.chmod(0o600)
    running = subprocess.Popen([agent, "run", "--config", "config.toml"], cwd=str(folder), stderr=subprocess.DEVNULL)
    while not (folder / "agent.sock").exists():
        assert running.poll() is None, "the agent does not start"
        time.sleep(0.01)
    try:
        yield {"REVENIUM_METERING_BASE_URL": url, "REVENIUM_METERING_API_KEY": KEY}
    finally:
        for process in (running, sandbox):
            process.terminate()
            process.wait()


def answering(path: str) -> None:
    """Takes lines from every connection, and answers that they are durable."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(8)

    def serve(connection: socket.socket) -> None:
        rest = b""
        while True:
            content = connection.recv(1 << 16)
            if not content:
                return
            whole, _, rest = (rest + content).rpartition(b"\n")
            last = whole.rpartition(b"\n")[2]
            found = re.match(rb'\{"n":(\d+),', last)
            if found:
                connection.sendall(b'{"ok":true,"upto":%b}\n' % found.group(1))
            time.sleep(LOOK_EVERY_MS / 1000)

    def accept() -> None:
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def lost_at_the_end(agent: str, way: str) -> int:
    """Calls of a process that ended normally right after them, which are not billed in the end."""
    with tempfile.TemporaryDirectory() as name:
        journal = pathlib.Path(name, "journal")
        with revenium(agent, pathlib.Path(name), "--latency-ms", str(LATENCY_MS), "--journal", str(journal)) as env:
            if way == "ours":
                env = {"REVENIUM_AGENT_SOCKET": name + "/agent.sock"}
            env = {**os.environ, "REVENIUM_LOG_LEVEL": "ERROR", **env}
            subprocess.run([sys.executable, __file__, "--end", way], env=env, stderr=subprocess.DEVNULL, check=True)
            flush = [agent, "flush", "--config", "config.toml", "--deadline", "120s"]
            subprocess.run(flush, cwd=name, stdout=subprocess.DEVNULL, check=True)
        # Whose stand-in has ended, and with it whatever was on its way there.
        entries = map(json.loads, journal.read_text().splitlines())
        return LAST_CALLS - sum(entry["what"] == "billed" for entry in entries)


def run(way: str, env: Dict[str, str]) -> Dict[str, float]:
    env = {**os.environ, "REVENIUM_LOG_LEVEL": "ERROR", **env}
    out = subprocess.run([sys.executable, __file__, "--measure", way], env=env, stdout=subprocess.PIPE, check=True)
    told: Dict[str, float] = json.loads(out.stdout)
    return told


def main(agent: str) -> int:
    has_official = subprocess.run(
        [sys.executable, "-c", "import " + OFFICIAL], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    ways = [way for way in MODULES if way != "official" or has_official.returncode == 0]
    runs: Dict[str, List[Dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name, revenium(agent, pathlib.Path(name)) as env:
        answering(name + "/alone.sock")
        sockets = {"ours": name + "/agent.sock", "alone": name + "/alone.sock"}
        for _ in range(TURNS):
            for way in ways:
                where = {"REVENIUM_AGENT_SOCKET": sockets[way]} if way in sockets else env
                runs[way].append(run(way, where))
    median = {way: {key: statistics.median(one[key] for one in all_) for key in all_[0]} for way, all_ in runs.items()}
    report(median)
    for way in ("ours", "official"):
        if way in ways:
            lost = lost_at_the_end(agent, way)
            mark = ": %s" % ("met" if lost == 0 else "missed") if way == "ours" else ""
            told = (way, lost, LAST_CALLS, 100 * lost / LAST_CALLS, LATENCY_MS, mark)
            print("%-9s %d of %d calls lost (%.0f %%) by a normal end right after, at %d ms an answer%s" % told)
    return 0


def report(median: Dict[str, Dict[str, float]]) -> None:
    bare = median["bare"]
    print("python: %d turns of %d calls without a pause; times of a call, and what is added to the bare SDK's" % (TURNS, CALLS))
    head = ("", "p50 ms", "added", "of bare", "p99 ms", "CPU ms", "added", "of bare", "threads", "import ms", "send us")
    print("%-9s %8s %8s %8s %8s %8s %8s %8s %8s %10s %8s" % head)
    for way, told in median.items():
        values = [told["p50"], told["p50"] - bare["p50"], told["p50"] / bare["p50"], told["p99"]]
        values += [told["cpu"], told["cpu"] - bare["cpu"], told["cpu"] / bare["cpu"]]
        send = "%8.1f" % told["send"] if "send" in told else "%8s" % ""
        row = "%-9s" + " %8.3f" * 2 + " %8.2f" + " %8.3f" * 3 + " %8.2f %8d %10.1f %s"
        print(row % (way, *values, told["threads"], told["import"], send))
    if "official" not in median:
        print("official: not measured, as revenium-python-sdk is not installed")
    for way in ("ours", "alone"):
        told = median[way]
        marks = {
            "p50": told["p50"] - bare["p50"] <= WALL_MS_MAX,
            "CPU": told["cpu"] - bare["cpu"] <= CPU_MS_MAX,
            "threads": told["threads"] <= THREADS_MAX,
            "import": told["import"] <= IMPORT_MS_MAX,
            "none lost": told["lost"] == 0,
        }
        print("%s: %s" % (way, ", ".join("%s %s" % (name, "met" if is_met else "missed") for name, is_met in marks.items())))


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        print(json.dumps(measure(sys.argv[2])))
    elif sys.argv[1] == "--end":
        if MODULES[sys.argv[2]]:
            __import__(str(MODULES[sys.argv[2]]))
        call = calling(sys.argv[2])
        for _ in range(LAST_CALLS):
            call()
    else:
        sys.exit(main(os.path.abspath(sys.argv[1])))
