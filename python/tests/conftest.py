"""A provider and an agent for tests, and the package hooked into this very process."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request
from typing import Any, Dict, Iterator, List

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(pathlib.Path(__file__).parent))

_dir = tempfile.TemporaryDirectory()
for name in [name for name in os.environ if name.startswith(("REVENIUM_", "ANTHROPIC_", "AWS_"))]:
    if name != "REVENIUM_AGENT_BINARY":
        del os.environ[name]
os.environ["REVENIUM_AGENT_SOCKET"] = os.path.join(_dir.name, "agent.sock")

from agent import Agent  # noqa: E402

BINARY = os.environ.get("REVENIUM_AGENT_BINARY", "")
KEY = "rev_mk_0123456789abcdefghij"
# Keys of two accounts more, which the agent has only if a test configures them.
OTHERS = {"one": "rev_mk_of_account_one", "two": "hak_of_account_two"}
MODEL = "claude-sonnet-4-20250514"
ASK: Dict[str, Any] = {"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}


class Provider:
    """The stand-in for Anthropic, a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, str(ROOT / "tests/sdk/anthropic.py")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self.process.stdout is not None
        self.url = "http://127.0.0.1:%d" % int(self.process.stdout.readline())

    def seen(self) -> List[Dict[str, Any]]:
        with urllib.request.urlopen(self.url + "/seen") as answer:
            seen: List[Dict[str, Any]] = json.load(answer)
            return seen


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.process.kill()
    provider.process.wait()


class Metered:
    """What this process has metered since the test began."""

    def __init__(self, agent: Agent) -> None:
        self._agent, self._before = agent, len(agent.lines)

    def calls(self) -> List[Dict[str, Any]]:
        import revenium_middleware_anthropic

        assert revenium_middleware_anthropic.flush(30)
        return self._agent.calls()[self._before :]

    def call(self) -> Dict[str, Any]:
        """The one that there is."""
        (call,) = self.calls()
        return call


@pytest.fixture(scope="session")
def own_agent() -> Iterator[Agent]:
    yield Agent(os.environ["REVENIUM_AGENT_SOCKET"]).start()


@pytest.fixture
def metered(own_agent: Agent) -> Metered:
    import revenium_middleware_anthropic

    revenium_middleware_anthropic.flush(30)
    return Metered(own_agent)


@pytest.fixture
def client(provider: Provider) -> Any:
    import anthropic

    return anthropic.Anthropic(api_key="sk-test", base_url=provider.url, max_retries=0)


class App:
    """A program of its own, with an agent's socket and spool of its own."""

    def __init__(self, folder: pathlib.Path, provider: Provider) -> None:
        self.socket, self.spool = folder / "agent.sock", folder / "spool"
        self.env = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "PYTHONWARNINGS": "ignore",
            "ANTHROPIC_BASE_URL": provider.url,
            "ANTHROPIC_API_KEY": "sk-test",
            "REVENIUM_AGENT_SOCKET": str(self.socket),
        }

    def start(self, script: str, is_bare: bool = False, **env: str) -> "subprocess.Popen[str]":
        prelude = "" if is_bare else BARE if re.search(r"\bmeter\(", script) else PRELUDE
        return subprocess.Popen(
            [sys.executable, "-c", prelude + script],
            env={**self.env, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )

    def run(self, script: str, is_bare: bool = False, **env: str) -> str:
        """Runs it to its end, which must be a good one; what it said on standard error."""
        process = self.start(script, is_bare, **env)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, (out, err)
        return err

    def spooled(self) -> List[Dict[str, Any]]:
        """Calls in spool files, each of which must be as the agent takes them; in the order in which they were made."""
        calls = []
        names = [(*path.name[: -len(".jsonl")].split("-"), path) for path in self.spool.glob("*")]
        for producer, first, path in sorted(names, key=lambda name: (name[0], int(name[1]))):
            assert path.stat().st_mode & 0o777 == 0o600
            hello, *lines = [json.loads(line) for line in path.read_text().splitlines()]
            assert hello == {"hello": {"v": 1, "producer": producer}}
            assert lines[0]["n"] == int(first)
            assert [line["n"] for line in lines] == sorted(line["n"] for line in lines)
            calls.extend(line["call"] for line in lines)
        return calls


# For tests of what becomes of many events. Without the SDK, whose import takes longer than such a test.
BARE = """
import os, sys
sys.modules["anthropic"] = None
import revenium_middleware_anthropic as revenium
from revenium_middleware_anthropic import _call
def meter(name="x"):
    call = _call.Call(b'"route":"%b",' % name.encode(), {}, {})
    call.message({"model": "claude-sonnet-4", "usage": {"input_tokens": 25, "output_tokens": 15}})
    call.end()
"""

PRELUDE = """
import os, sys
import anthropic
import revenium_middleware_anthropic as revenium
client = anthropic.Anthropic(max_retries=0)
ASK = dict(model="claude-sonnet-4-20250514", max_tokens=10, messages=[{"role": "user", "content": "x"}])
def call(**more):
    return client.messages.create(**ASK, **more)
"""


@pytest.fixture
def app(tmp_path: pathlib.Path, provider: Provider) -> App:
    return App(tmp_path, provider)


@pytest.fixture
def agent(app: App) -> Iterator[Agent]:
    """The stand-in, where the program looks for an agent."""
    agent = Agent(str(app.socket)).start()
    yield agent
    agent.stop()


@pytest.fixture
def relay(app: App) -> Iterator[Any]:
    """A relay that the program knows of, whose files are the program's spool."""
    from relay import Relay, folder

    relay = Relay().start()
    app.env["REVENIUM_AGENT_RELAY"], app.spool = relay.url, folder(app, relay.url)
    yield relay
    relay.stop()


class Real:
    """The agent and the stand-in for Revenium that it delivers to."""

    def __init__(self, folder: pathlib.Path, socket: pathlib.Path) -> None:
        self.folder, self._journal = folder, folder / "journal"
        keys = " ".join(f"--key {key}={account}" for account, key in {"team": KEY, **OTHERS}.items())
        self._sandbox = subprocess.Popen(
            f"{BINARY} sandbox --with-stdin --listen 127.0.0.1:0 --rate-limit 0 {keys} --journal-bodies "
            f"--journal {self._journal}".split(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._sandbox.stdout is not None
        self.url = url = "http://" + json.loads(self._sandbox.stdout.readline())["sandbox"]
        (folder / "config.toml").write_text(
            'data_dir = "data"\nsocket.path = "%s"\nadmin.listen = "127.0.0.1:0"\nspool.dirs = ["%s"]\n'
            'profiles.default = { url = "%s", api_key = "%s" }\ndrain.requests_per_second_max = 5000\n'
            'store.segment_bytes = "16MiB"\n' % (socket, socket.parent / "spool", url, KEY)
        )
        (folder / "config.toml").chmod(0o600)
        self._agent: Any = None

    def start(self) -> None:
        with open(self.folder / "agent.log", "ab") as log:
            self._agent = subprocess.Popen([BINARY, "run", "--config", "config.toml"], cwd=self.folder, stderr=log)

    def stop(self) -> None:
        """Everything it was given is delivered or durable when it has ended."""
        for process in filter(None, (self._agent, self._sandbox)):
            process.terminate()
            process.wait(60)

    def kill(self) -> None:
        self._agent.kill()
        self._agent.wait()

    def billed(self, count: int) -> List[Dict[str, Any]]:
        """Bodies of what was billed, once it is so many."""
        flush = [BINARY, "flush", "--config", "config.toml", "--deadline", "30s"]
        for _ in range(600):
            subprocess.run(flush, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            bodies = [json.loads(entry["body"]) for entry in self.entries() if entry["what"] == "billed"]
            if len(bodies) >= count:
                break
        assert len(bodies) == count, (bodies, (self.folder / "agent.log").read_text())
        return bodies

    def got(self) -> List[str]:
        """What became of all that arrived, a word for each thing that happened."""
        return [entry["what"] for entry in self.entries()]

    def entries(self) -> List[Dict[str, Any]]:
        """The same, with all that is known of it."""
        return [json.loads(line) for line in self._journal.read_text().splitlines()]


@pytest.fixture
def real(tmp_path: pathlib.Path, app: App) -> Iterator[Real]:
    if not BINARY:
        pytest.skip("REVENIUM_AGENT_BINARY does not name the agent")
    real = Real(tmp_path, app.socket)
    yield real
    real.stop()
