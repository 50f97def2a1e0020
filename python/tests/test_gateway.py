"""One layer meters a call: who is told that this package does, and what becomes of a call on its way through the
gateway, the real one."""

import asyncio
import json
import os
import pathlib
import socket
import subprocess
import time
from typing import Any, Iterator

import anthropic
import pytest
from conftest import ASK, BINARY, App, Metered, Provider, Real

import revenium_middleware_anthropic  # noqa: F401
from revenium_middleware_anthropic import _claim

MARK = "x-revenium-metered"
TAGS = {"trace_id": "conv-1", "organization_name": "acme"}


@pytest.mark.parametrize(
    "host, is_own",
    [
        ("api.anthropic.com", True),
        ("API.ANTHROPIC.COM.", True),
        ("claude.googleapis.com", True),
        ("bedrock-mantle.eu-west-1.api.aws", True),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", True),
        ("r.services.ai.azure.com", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("gateway", False),
        ("notanthropic.com", False),
        ("anthropic.com.example", False),
    ],
)
def test_providers_own_hosts_are_known(host: str, is_own: bool) -> None:
    assert _claim.is_of_a_provider(host) == is_own


@pytest.fixture
def own_host(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> str:
    """A URL of the provider's own, which leads to the stand-in."""
    resolve = socket.getaddrinfo

    def here(host: Any, *args: Any, **kwargs: Any) -> Any:
        is_it = host in ("api.anthropic.com", b"api.anthropic.com")
        return resolve("127.0.0.1" if is_it else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    return provider.url.replace("127.0.0.1", "api.anthropic.com")


def test_a_provider_s_own_host_hears_nothing_of_us(own_host: str, provider: Provider, metered: Metered) -> None:
    client = anthropic.Anthropic(api_key="sk-test", base_url=own_host, max_retries=0)
    client.messages.create(**ASK, usage_metadata=TAGS)
    list(client.messages.create(**ASK, stream=True))

    async def call() -> None:
        async with anthropic.AsyncAnthropic(api_key="sk-test", base_url=own_host, max_retries=0) as client:
            await client.messages.create(**ASK)

    asyncio.run(call())
    assert len(metered.calls()) == 3
    assert "revenium" not in json.dumps(provider.seen()[-3:]).lower()


def test_results_that_the_provider_has_at_its_own_host_are_asked_for_without_a_claim(
    own_host: str, provider: Provider, client: Any, metered: Metered
) -> None:
    if not hasattr(client.messages, "batches"):
        pytest.skip("this version of the SDK has no batches")
    for url in (own_host, provider.url):
        at = client.with_options(default_headers={"x-results-at": url})
        list(at.messages.batches.results("msgbatch_" + url[7:10]))
    marks = [seen["headers"].get(MARK) for seen in provider.seen()[-4:] if seen["path"].endswith("/results")]
    assert [mark is not None for mark in marks] == [False, True]


def test_who_does_not_meter_claims_nothing(app: App, provider: Provider) -> None:
    before = len(provider.seen())
    app.run("call()", REVENIUM_METERING_DISABLED="1")
    app.run("call()", REVENIUM_SELECTIVE_METERING="true")
    app.run("import types\nsys.modules['revenium_middleware.anthropic'] = types.ModuleType('x')\ncall()")
    app.run("client.messages.count_tokens if hasattr(client.messages, 'count_tokens') else None")
    seen = provider.seen()[before:]
    assert len(seen) == 3 and all(MARK not in one["headers"] for one in seen)


def test_an_application_s_own_headers_arrive_beside_the_claim(
    client: Any, metered: Metered, provider: Provider
) -> None:
    headers = {"x-own": "1"}
    client.messages.create(**ASK, extra_headers=headers)
    seen = provider.seen()[-1]["headers"]
    assert (seen["x-own"], headers) == ("1", {"x-own": "1"}) and MARK in seen


class Gateway:
    """The real one, before the stand-in for the provider; its events go where the application's go."""

    def __init__(self, folder: pathlib.Path, app: App, provider_url: str) -> None:
        ready = folder / "gateway.json"
        options = ["--socket", str(app.socket), "--provider-url", provider_url, "--ready-file", str(ready)]
        # A data directory is one gateway's.
        env = {**os.environ, "XDG_STATE_HOME": str(folder)}
        self._process = subprocess.Popen(
            [BINARY, "gateway", "--listen", "127.0.0.1:0", *options], cwd=folder, env=env, stderr=subprocess.DEVNULL
        )
        while not ready.exists():
            assert self._process.poll() is None
            time.sleep(0.01)
        self.url = "http://" + json.loads(ready.read_text())["gateway"]

    def stop(self) -> None:
        """What it metered is the agent's when it has ended."""
        self._process.terminate()
        self._process.wait(60)


@pytest.fixture
def gateway(tmp_path: pathlib.Path, app: App, provider: Provider) -> Iterator[Gateway]:
    if not BINARY:
        pytest.skip("REVENIUM_AGENT_BINARY does not name the agent")
    folder = tmp_path / "gateway"
    folder.mkdir()
    gateway = Gateway(folder, app, provider.url)
    yield gateway
    gateway.stop()


# As many calls as are told, by all ways that the wire knows.
CALLS = """
import asyncio
TAGS = {"trace_id": "conv-1", "organization_name": "acme"}
call(usage_metadata=TAGS)
list(client.messages.create(**ASK, stream=True, usage_metadata=TAGS))
raw = client.messages.with_raw_response.create(**ASK, usage_metadata=TAGS)
with client.messages.with_streaming_response.create(**ASK, stream=True, usage_metadata=TAGS) as response:
    list(response.iter_bytes())
async def one():
    async with anthropic.AsyncAnthropic() as client:
        await client.messages.create(**ASK, usage_metadata=TAGS)
asyncio.run(one())
stream = client.messages.create(**ASK, stream=True, usage_metadata=TAGS)
next(stream)
stream.close()
try:
    client.messages.create(**ASK, metadata={"user_id": "http:429"}, usage_metadata=TAGS)
except anthropic.RateLimitError:
    pass
if hasattr(client.messages, "batches"):
    at = client.with_options(default_headers={"x-results-at": os.environ["ANTHROPIC_BASE_URL"]})
    list(at.messages.batches.results("msgbatch_1", usage_metadata=TAGS))
"""


def test_calls_through_the_gateway_are_billed_once_and_with_their_metadata(
    app: App, real: Real, gateway: Gateway, provider: Provider, client: Any
) -> None:
    real.start()
    before = len(provider.seen())
    app.run(CALLS, ANTHROPIC_BASE_URL=gateway.url)
    gateway.stop()
    count = 9 if hasattr(client.messages, "batches") else 7
    bodies = real.billed(count)
    assert len({body["transactionId"] for body in bodies}) == real.got().count("attempt") == count
    assert [(body["traceId"], body["organizationName"]) for body in bodies] == [("conv-1", "acme")] * count
    assert all(body["middlewareSource"].startswith("revenium-middleware-anthropic/") for body in bodies)
    # The gateway has taken the claims out.
    assert "revenium" not in json.dumps([one["headers"] for one in provider.seen()[before:]]).lower()


def test_a_gateway_meters_where_the_package_does_not(app: App, real: Real, gateway: Gateway) -> None:
    real.start()
    app.run("call()", ANTHROPIC_BASE_URL=gateway.url, REVENIUM_METERING_DISABLED="1")
    app.run("call()", ANTHROPIC_BASE_URL=gateway.url, REVENIUM_SELECTIVE_METERING="true")
    gateway.stop()
    assert [body["middlewareSource"].split("/")[0] for body in real.billed(2)] == ["revenium-gateway"] * 2


@pytest.mark.parametrize("where", ["extra_headers", "default_headers"])
def test_whose_call_it_is_in_headers_is_the_gateway_s_to_read(
    app: App, real: Real, gateway: Gateway, where: str
) -> None:
    real.start()
    headers = "{'X-Revenium-Organization-Name': 'acme'}"
    made = {"extra_headers": "call(%s=%s)", "default_headers": "client = anthropic.Anthropic(%s=%s)\ncall()"}
    app.run(made[where] % (where, headers), ANTHROPIC_BASE_URL=gateway.url)
    gateway.stop()
    (body,) = real.billed(1)
    assert real.got().count("attempt") == 1
    assert (body["middlewareSource"].split("/")[0], body["organizationName"]) == ("revenium-gateway", "acme")


def test_behind_two_gateways_the_inner_one_meters_and_is_believed(
    app: App, real: Real, gateway: Gateway, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "outer").mkdir()
    outer = Gateway(tmp_path / "outer", app, gateway.url)
    real.start()
    err = app.run("call()", ANTHROPIC_BASE_URL=outer.url)
    outer.stop()
    gateway.stop()
    (body,) = real.billed(1)
    assert real.got().count("attempt") == 1
    assert body["middlewareSource"].startswith("revenium-gateway") and "meters the calls of this process" in err
