"""Beside Revenium's own package, the real one: it meters, ours says so once and stays silent, whichever comes first."""

import importlib.util
import json

import pytest
from agent import Agent
from conftest import KEY, App, Real

# Looked for and not imported: it would meter in place of the other tests' own.
IS_THERE = importlib.util.find_spec("revenium_middleware") is not None
pytestmark = pytest.mark.skipif(not IS_THERE, reason="Revenium's own package is not in this environment")

THEIRS, OURS = "import revenium_middleware.anthropic", "import revenium_middleware_anthropic"

CALLS = """
import anthropic
client = anthropic.Anthropic(max_retries=0)
ask = dict(model="claude-sonnet-4", max_tokens=10, messages=[{"role": "user", "content": "x"}])
print(client.messages.create(**ask, usage_metadata={"trace_id": "one"}).id)
print(client.messages.create(**ask).id)
with client.messages.stream(**ask) as stream:
    print(stream.get_final_message().id)
"""


@pytest.mark.parametrize("imports", [(THEIRS, OURS), (OURS, THEIRS)], ids=["theirs first", "ours first"])
def test_each_call_is_billed_once_and_by_revenium_s_own(app: App, real: Real, imports: "tuple[str, str]") -> None:
    agent = Agent(str(app.socket)).start()
    env = {"REVENIUM_METERING_API_KEY": KEY, "REVENIUM_METERING_BASE_URL": real.url}
    process = app.start("\n".join([*imports, CALLS]), is_bare=True, **env)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    bodies = real.billed(3)
    assert sorted(body["transactionId"] for body in bodies) == sorted(out.split())
    assert {body["middlewareSource"] for body in bodies} == {"PYTHON"}
    assert [body["traceId"] for body in bodies if body.get("traceId")] == ["one"]
    assert len([line for line in err.splitlines() if "revenium_middleware.anthropic is loaded" in line]) == 1, err
    assert agent.hellos == [] and not app.spool.exists(), json.dumps(agent.calls())
    agent.stop()
