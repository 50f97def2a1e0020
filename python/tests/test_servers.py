"""Under the servers that fork: gunicorn and Celery, with the package loaded before the fork and after it, through
reloads, workers that are replaced after so many requests, and a graceful stop. Each call is an event, once."""

import http.client
import json
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from typing import Any, Dict, Tuple

import pytest
from agent import Agent
from conftest import App

# The package is loaded, and used, by a worker's first request, or already with the application.
MODULE = """
import os
clients = {}
def call():
    import anthropic, revenium_middleware_anthropic
    # A client's connections are not to be shared with a child.
    client = clients.get(os.getpid()) or clients.setdefault(os.getpid(), anthropic.Anthropic(max_retries=0))
    ask = dict(model="claude-sonnet-4-20250514", max_tokens=10, messages=[{"role": "user", "content": "x"}])
    name = client.messages.create(**ask).id
    with open("done", "a") as done:
        done.write(name + "\\n")
    return name
"""
EARLY = """
call()
"""
CALLS = 20

WSGI = """
def app(environ, start_response):
    body = call().encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

TASKS = """
from celery import Celery
app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "queue"}
app.conf.worker_prefetch_multiplier = 1
@app.task
def ask():
    call()
"""


def _events(app: App, agent: Agent) -> "Counter[str]":
    """Ids of messages, each as often as there are events of it; an event that came twice is the same one."""
    found: Dict[Tuple[str, int], str] = {key: line["call"]["id"] for key, line in agent.lines.items()}
    for path in app.spool.glob("*"):
        producer = path.name.split("-")[0]
        for line in path.read_text().splitlines()[1:]:
            read = json.loads(line)
            found[producer, read["n"]] = read["call"]["id"]
    return Counter(found.values())


def _assert_each_once(app: App, agent: Agent, folder: pathlib.Path, count: int) -> None:
    done = Counter((folder / "done").read_text().splitlines())
    assert len(done) == count
    if agent.hellos:
        agent.wait(lambda: len(_events(app, agent)) >= count)
    assert _events(app, agent) == done


def _start(app: App, folder: pathlib.Path, module: str, *command: str) -> "subprocess.Popen[bytes]":
    (folder / "served.py").write_text(module)
    env = {**app.env, "PYTHONDONTWRITEBYTECODE": "1"}
    log = (folder / "log").open("wb")
    return subprocess.Popen([sys.executable, "-m", *command], cwd=folder, env=env, stdout=log, stderr=log)


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


def _get(path: pathlib.Path) -> str:
    connection = _Connection(str(path), timeout=30)
    try:
        connection.request("GET", "/", headers={"Host": "x"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.status
        return answer.read().decode()
    finally:
        connection.close()


def _wait(process: "subprocess.Popen[bytes]", holds: Any) -> None:
    until = time.monotonic() + 120
    while not holds():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture(params=[True, False], ids=["with an agent", "without one"])
def agent(request: Any, app: App) -> Any:
    agent = Agent(str(app.socket))
    if request.param:
        agent.start()
    yield agent
    agent.stop()


@pytest.mark.parametrize(
    "kind, is_early", [("sync", True), ("gthread", False)], ids=["loaded before the fork", "after it, with threads"]
)
def test_under_gunicorn_each_call_is_an_event_once(
    app: App, agent: Agent, tmp_path: pathlib.Path, kind: str, is_early: bool
) -> None:
    pytest.importorskip("gunicorn")
    module = MODULE + (EARLY if is_early else "") + WSGI
    where = tmp_path / "web.sock"
    options = ["--workers", "2", "--worker-class", kind, "--threads", "2", "--bind", "unix:%s" % where]
    options += ["--max-requests", "7", "--graceful-timeout", "20", "--no-control-socket"]
    process = _start(app, tmp_path, module, "gunicorn", *options, *(["--preload"] if is_early else []), "served:app")
    try:
        _wait(process, where.exists)
        for number in range(CALLS):
            if number == CALLS // 2:
                # All workers are replaced, gracefully.
                process.send_signal(signal.SIGHUP)
            _get(where)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    _assert_each_once(app, agent, tmp_path, CALLS + is_early)


@pytest.mark.parametrize("is_early", [True, False], ids=["loaded before the fork", "after it"])
def test_under_celery_each_call_is_an_event_once(
    app: App, agent: Agent, tmp_path: pathlib.Path, is_early: bool
) -> None:
    celery = pytest.importorskip("celery")
    (tmp_path / "queue").mkdir()
    done = tmp_path / "done"
    done.touch()
    options = ["--concurrency", "2", "--max-tasks-per-child", "7", "--loglevel", "info", "--without-mingle"]
    module = MODULE + (EARLY if is_early else "") + TASKS
    process = _start(app, tmp_path, module, "celery", "-A", "served", "worker", *options, "--without-gossip")
    try:
        sender = celery.Celery(broker="filesystem://")
        folders = ("data_folder_in", "data_folder_out", "control_folder")
        sender.conf.broker_transport_options = dict.fromkeys(folders, str(tmp_path / "queue"))
        for _ in range(CALLS):
            sender.send_task("served.ask")
        _wait(process, lambda: len(done.read_text().splitlines()) == CALLS + is_early)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    _assert_each_once(app, agent, tmp_path, CALLS + is_early)
