"""With the real agent, its stand-in for Revenium, and the calls that Revenium's own SDK was recorded with: what is
billed must be what that SDK sends, but for the differences in one table."""

import datetime
import inspect
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from typing import Any, Dict, List

import anthropic
import pytest
from conftest import BINARY, ROOT, App, Real

pytestmark = pytest.mark.skipif(not BINARY, reason="REVENIUM_AGENT_BINARY does not name the agent")

CAPTURES = ROOT.parent / "shared/captures"
SEED = ROOT.parent / "shared/seed"


# Members of a record that are others than what Revenium's SDK sends, and why.
DIFFERENT = {
    "requestTime": "a clock's",
    "responseTime": "a clock's",
    "completionStartTime": "a clock's",
    "requestDuration": "a clock's",
    "timeToFirstToken": "a clock's",
    "transactionId": "the message's or the request's id, which the provider gives out",
    "middlewareSource": "says which package it was",
}
# Members that Revenium's SDK sends with this value, and we leave out: it says as much as nothing.
LEFT_OUT = {"retryNumber": 0, "cacheCreation5mTokenCount": 0, "cacheCreation1hTokenCount": 0}
# What we say otherwise of a stream that breaks off: Revenium's SDK takes it for a whole one.
BROKEN = {"stopReason": "ERROR", "errorReason": "cut off before its end", "attributes": {"isPartial": True}}


def _told(body: Dict[str, Any]) -> Dict[str, Any]:
    """What a body says, but for what the tables name; `null` says as much as nothing."""
    return {
        name: value
        for name, value in body.items()
        if value is not None and name not in DIFFERENT and (name not in LEFT_OUT or value != LEFT_OUT[name])
    }


def _in_order(bodies: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    return sorted(bodies, key=lambda body: (body.get("traceId") or "", body["isStreamed"]))


@pytest.mark.parametrize(
    "case",
    [
        "01_create_seed_flat_metadata", "02_create_nested_subscriber", "03_create_no_metadata",
        "04_messages_stream_text_stream", "05_create_stream_true", "07_tool_use", "09_cache_tokens",
        "10_provider_errors", "11_prompt_capture",
    ],
)  # fmt: skip
def test_the_recorded_calls_are_billed_as_by_revenium_s_own_sdk(app: App, real: Real, case: str) -> None:
    if not CAPTURES.is_dir():
        pytest.skip("the recordings are not beside this checkout")
    if "tools" not in _parameters():
        pytest.skip("this version of the SDK is too old to make the recorded calls")
    recorded = json.loads((CAPTURES / (case + ".json")).read_text())
    real.start()
    code = recorded["client_code"].replace("revenium_middleware.anthropic", "revenium_middleware_anthropic")
    assert "revenium_middleware_anthropic" in code
    app.run(code, **recorded["env"])
    theirs = _in_order([json.loads(request["body_raw"]) for request in recorded["requests"]])
    ours = _in_order(real.billed(len(theirs)))
    expected = [_told(their) for their in theirs]
    if case == "10_provider_errors":
        broken = [body for body in expected if body["isStreamed"]]
        assert [body["stopReason"] for body in broken] == ["END"]
        broken[0].update(BROKEN)
    assert [_told(our) for our in ours] == expected
    assert all(our["middlewareSource"].startswith("revenium-middleware-anthropic/") for our in ours)


def _parameters() -> Any:
    return inspect.signature(anthropic.Anthropic(api_key="x").messages.create).parameters


def _samples(page: pathlib.Path) -> List[str]:
    blocks = re.findall(r"```py(?:thon)?\n(.*?)```", page.read_text(), re.DOTALL)
    return [block for block in blocks if "import revenium_middleware_anthropic" in block]


def test_the_readme_s_sample_runs_as_it_stands_and_is_billed_with_all_it_says(app: App, real: Real) -> None:
    (sample,) = _samples(ROOT / "README.md")
    real.start()
    app.run(sample)
    (body,) = real.billed(1)
    assert (body["inputTokenCount"], body["outputTokenCount"], body["organizationName"]) == (25, 15, "acme-corp")


def test_the_samples_of_the_package_before_run_as_they_stand(app: App, real: Real) -> None:
    pages = sorted(SEED.glob("*")) if SEED.is_dir() else []
    if not pages:
        pytest.skip("the page is not beside this checkout")
    samples = _samples(pages[0])
    assert len(samples) == 2
    real.start()
    for sample in samples:
        if "temperature" not in _parameters():
            # From 1.0 on the SDK itself has dropped it, with us or without: it is said as by the SDK, and not metered.
            process = app.start(sample)
            error = process.communicate(timeout=60)[1].splitlines()[-1]
            assert error == "TypeError: Messages.create() got an unexpected keyword argument 'temperature'"
            assert process.returncode == 1 and "    temperature=1,\n" in sample
            sample = sample.replace("    temperature=1,\n", "")
        app.run(sample)
    plain, tagged = sorted(real.billed(2), key=lambda body: "traceId" in body)
    assert "taskType" not in plain and plain["totalTokenCount"] == 40
    credential = {"name": "engineering-api-key", "value": "sk-ant-api03-..."}
    told = {
        "traceId": "conv-28a7e9d4",
        "taskType": "summarize-customer-issue",
        "subscriber": {"id": "subscriberid-1234567890", "email": "user@example.com", "credential": credential},
        "organizationName": "acme-corp",
        "subscriptionId": "startup-plan-Q1",
        "productName": "saas-app-gold-tier",
        "agent": "support-agent",
    }
    assert {name: tagged.get(name) for name in told} == told


def test_what_was_called_while_no_agent_was_there_is_billed_once_when_one_is(app: App, real: Real) -> None:
    app.run("for _ in range(3): call()")
    assert len(app.spooled()) == 3
    real.start()
    assert len({body["transactionId"] for body in real.billed(3)}) == 3
    assert app.spooled() == []


def test_what_an_application_that_is_killed_had_called_is_billed(app: App, real: Real) -> None:
    real.start()
    while not app.socket.exists():
        time.sleep(0.01)
    for _ in range(3):
        app.start("call()\nos.kill(os.getpid(), 9)").communicate(timeout=60)
    assert len(real.billed(3)) == 3


def test_what_was_called_while_the_agent_was_killed_and_came_back_is_billed_once(app: App, real: Real) -> None:
    real.start()
    process = app.start("for line in sys.stdin:\n    meter(line.strip())\n    print('did', flush=True)\n")
    assert process.stdin is not None and process.stdout is not None
    for number in range(300):
        process.stdin.write("/v1/messages\n")
        process.stdin.flush()
        assert process.stdout.readline() == "did\n"
        if number in (100, 200):
            real.kill()
            real.start()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    # They have no ids, so the agent gives each the one that follows from its producer and number.
    assert len({body["transactionId"] for body in real.billed(300)}) == 300


@pytest.mark.skipif(sys.version_info < (3, 12), reason="once is enough for what takes so long")
def test_an_agent_of_a_user_s_ends_after_ten_minutes_of_nothing(tmp_path: pathlib.Path) -> None:
    assert shutil.which("faketime"), "faketime is missing: apt-get install faketime"
    (tmp_path / "run").mkdir(mode=0o700)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    # Its clocks, waits included, run a hundred times as fast.
    command = ["faketime", "-f", "+0 x100", BINARY, "run", "--per-user"]
    ended = subprocess.run(command, env=env, stderr=subprocess.PIPE, universal_newlines=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    seen = [datetime.datetime.strptime(line.split()[0], "%Y-%m-%dT%H:%M:%S.%fZ") for line in ended.stderr.splitlines()]
    assert 600 <= (seen[-1] - seen[0]).total_seconds() <= 1800, ended.stderr


@pytest.mark.skipif(sys.version_info < (3, 12), reason="once is enough for what takes so long")
@pytest.mark.parametrize("is_there", [True, False])
def test_of_two_thousand_calls_without_a_pause_before_a_normal_end_none_is_lost(
    app: App, real: Real, is_there: bool
) -> None:
    if is_there:
        real.start()
    app.run("for _ in range(2000): call()")
    if not is_there:
        real.start()
    assert len({body["transactionId"] for body in real.billed(2000)}) == 2000
