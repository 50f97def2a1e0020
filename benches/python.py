"""What metering costs a call in Python: beside the bare SDK, and beside Revenium's own package.

benches/python.py SOCKET: with an agent at SOCKET, run by the Python of a folder that has `anthropic`, this package and,
to compare, `revenium-python-sdk` (whose events go to REVENIUM_METERING_BASE_URL). The provider is a function in the same
process, so what is measured is the SDK and what is added to it. Each way is a process of its own; they take turns, and
what is added is the difference of the medians over all turns. Processor time is that of all threads.
Marks: 0.1 ms and 0.15 ms of the processor added to a call, one thread, 30 ms added to the import.
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from typing import Any, Dict, List

TURNS, CALLS, WARM_UP = 7, 300, 30

WALL_MS_MAX, CPU_MS_MAX, THREADS_MAX, IMPORT_MS_MAX = 0.1, 0.15, 1, 30.0

MODULES = {"bare": None, "ours": "revenium_middleware_anthropic", "official": "revenium_middleware.anthropic"}

MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-bench", "stop_sequence": None,
    "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn",
    "usage": {"input_tokens": 25, "output_tokens": 15},
}  # fmt: skip


def measure(way: str) -> Dict[str, float]:
    """Calls through one way, in this process."""
    import anthropic

    try:
        import httpx2 as httpx
    except ImportError:
        import httpx
    began = time.perf_counter()
    if MODULES[way]:
        __import__(str(MODULES[way]))
    import_ms = (time.perf_counter() - began) * 1000
    numbers = iter(range(1_000_000))

    def answer(_: Any) -> Any:
        return httpx.Response(200, json={**MESSAGE, "id": "msg_%d_%d" % (os.getpid(), next(numbers))})

    transport = httpx.MockTransport(answer)
    client = anthropic.Anthropic(api_key="x", base_url="http://provider", http_client=httpx.Client(transport=transport))
    ask: Dict[str, Any] = {"model": "claude-bench", "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}
    if way != "bare":
        ask["usage_metadata"] = {"trace_id": "conv-1", "task_type": "bench", "subscriber": {"id": "7"}}
    walls = []
    for number in range(WARM_UP + CALLS):
        if number == WARM_UP:
            cpu = time.process_time()
        began = time.perf_counter()
        client.messages.create(**ask)
        walls.append((time.perf_counter() - began) * 1000)
        # As an application would be doing other things between its calls.
        time.sleep(0.002)
    cpu_ms = (time.process_time() - cpu) * 1000 / CALLS
    walls = sorted(walls[WARM_UP:])
    return {
        "p50": statistics.median(walls),
        "p99": walls[int(len(walls) * 0.99)],
        "cpu": cpu_ms,
        "threads": threading.active_count() - 1,
        "import": import_ms,
    }


def run(way: str, socket: str) -> Dict[str, float]:
    env = {**os.environ, "REVENIUM_AGENT_SOCKET": socket, "REVENIUM_LOG_LEVEL": "ERROR"}
    out = subprocess.run([sys.executable, __file__, "--measure", way], env=env, stdout=subprocess.PIPE, check=True)
    told: Dict[str, float] = json.loads(out.stdout)
    return told


def main(socket: str) -> int:
    has_official = subprocess.run(
        [sys.executable, "-c", "import revenium_middleware.anthropic"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    ways = [way for way in MODULES if way != "official" or has_official.returncode == 0]
    runs: Dict[str, List[Dict[str, float]]] = {way: [] for way in ways}
    for _ in range(TURNS):
        for way in ways:
            runs[way].append(run(way, socket))
    median = {way: {key: statistics.median(one[key] for one in all_) for key in all_[0]} for way, all_ in runs.items()}
    print("%-9s %9s %9s %12s %8s %10s" % ("", "p50 ms", "p99 ms", "CPU ms/call", "threads", "import ms"))
    for way, told in median.items():
        values = (told["p50"], told["p99"], told["cpu"], told["threads"], told["import"])
        print("%-9s %9.3f %9.3f %12.3f %8d %10.1f" % (way, *values))
    added = {key: median["ours"][key] - median["bare"][key] for key in median["bare"]}
    print("added by ours: %.3f ms p50, %.3f ms CPU" % (added["p50"], added["cpu"]))
    marks = {
        "p50": added["p50"] <= WALL_MS_MAX,
        "CPU": added["cpu"] <= CPU_MS_MAX,
        "threads": median["ours"]["threads"] <= THREADS_MAX,
        "import": median["ours"]["import"] <= IMPORT_MS_MAX,
    }
    for name, holds in marks.items():
        print("mark %s: %s" % (name, "met" if holds else "missed"))
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        print(json.dumps(measure(sys.argv[2])))
    else:
        sys.exit(main(sys.argv[1]))
