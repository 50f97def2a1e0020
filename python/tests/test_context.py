"""Metadata that calls share, selective metering, the environment's tags, and metadata that is no good."""

import asyncio
import contextvars
import math
import os
from typing import Any, Dict, List

import pytest
from conftest import ASK, App, Metered

import revenium_middleware_anthropic as revenium
from revenium_middleware_anthropic import _context


def _tags(call: Dict[str, Any]) -> Any:
    return call.get("usage_metadata")


def test_a_call_wins_over_an_inner_block_and_that_over_an_outer_one(client: Any, metered: Metered) -> None:
    with revenium.revenium_metadata(task_type="outer", trace_id="outer", agent="outer"):
        with revenium.revenium_metadata(traceId="inner", agent="inner"):
            client.messages.create(**ASK, usage_metadata={"agent": "own"})
        client.messages.create(**ASK)
    client.messages.create(**ASK)
    assert [_tags(call) for call in metered.calls()] == [
        {"task_type": "outer", "traceId": "inner", "agent": "own"},
        {"task_type": "outer", "trace_id": "outer", "agent": "outer"},
        None,
    ]


def test_functions_of_all_kinds_can_be_decorated(client: Any, metered: Metered) -> None:
    def ask() -> None:
        client.messages.create(**ASK)

    @revenium.revenium_metadata(agent="function")
    def function() -> None:
        ask()

    @revenium.revenium_metadata(agent="coroutine")
    async def coroutine() -> None:
        await asyncio.sleep(0)
        ask()

    @revenium.revenium_metadata(agent="generator")
    def generator() -> Any:
        ask()
        got = yield 1
        assert got == "sent"
        try:
            yield 2
        except KeyError:
            ask()
        return 3

    @revenium.revenium_metadata(agent="asynchronous generator")
    async def async_generator() -> Any:
        ask()
        yield 1
        ask()

    function()
    ask()
    asyncio.run(coroutine())

    def outer() -> Any:
        inner = generator()
        assert next(inner) == 1
        # Between its steps its tags are not in force.
        ask()
        assert inner.send("sent") == 2
        with pytest.raises(StopIteration) as end:
            inner.throw(KeyError())
        assert end.value.value == 3

    outer()

    async def drive() -> None:
        async for _ in async_generator():
            ask()

    asyncio.run(drive())
    assert [(_tags(call) or {}).get("agent") for call in metered.calls()] == [
        "function", None, "coroutine", "generator", None, "generator", "asynchronous generator", None,
        "asynchronous generator",
    ]  # fmt: skip


def test_tasks_that_share_a_block_do_not_end_each_other_s(client: Any, metered: Metered) -> None:
    scope = revenium.revenium_metadata(agent="shared")

    async def one(pause: float) -> None:
        with scope:
            await asyncio.sleep(pause)
            client.messages.create(**ASK)
        client.messages.create(**ASK)

    async def both() -> None:
        await asyncio.gather(one(0.02), one(0.01), one(0.03))

    asyncio.run(both())
    tags = [_tags(call) for call in metered.calls()]
    assert (tags.count({"agent": "shared"}), tags.count(None)) == (3, 3)


@pytest.mark.parametrize("scope", [revenium.revenium_metadata(agent="there"), revenium.revenium_meter()])
def test_a_block_may_be_left_in_another_context(client: Any, metered: Metered, scope: Any) -> None:
    # One that knows nothing of the block, and one that was copied within it.
    entered = contextvars.copy_context()
    entered.run(scope.__enter__)
    contextvars.copy_context().run(scope.__exit__, None, None, None)
    entered.copy().run(scope.__exit__, None, None, None)
    client.messages.create(**ASK)
    assert _tags(metered.call()) is None


def test_a_stream_has_the_tags_of_where_it_was_made(client: Any, metered: Metered) -> None:
    with revenium.revenium_metadata(agent="here"):
        manager = client.messages.stream(**ASK)
    with manager as stream:
        stream.get_final_message()
    assert _tags(metered.call()) == {"agent": "here"}


@pytest.mark.parametrize(
    "under, over, both",
    [
        ({"organization_name": "a"}, {"organization_id": "b"}, {"organization_id": "b"}),
        ({"productId": "a", "agent": "a"}, {"product_name": "b"}, {"agent": "a", "product_name": "b"}),
        ({"subscriber_id": "a", "credential_alias": "a"}, {"subscriber": {"id": "b"}}, {"subscriber": {"id": "b"}}),
        ({"subscriber": {"id": "a"}}, {"subscriberEmail": "b"}, {"subscriberEmail": "b"}),
        ({"subscriber_id": "a"}, {"subscriber_email": "b"}, {"subscriber_id": "a", "subscriber_email": "b"}),
        ({"agent": "a"}, {"agent": None}, {"agent": "a"}),
        ({"agent": "a"}, {"agent": ""}, {"agent": "a"}),
    ],
)
def test_what_a_call_says_wins_in_whatever_spelling(under: Any, over: Any, both: Any) -> None:
    assert _context.merged(under, over) == both


class _Untellable:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_metadata_that_is_no_json_costs_no_call(client: Any, metered: Metered) -> None:
    circle: List[Any] = []
    circle.append(circle)
    odd = {"agent": _Untellable(), "score": math.nan, 7: "seven", ("a",): 1, "half": "\ud800", "circle": circle}
    client.messages.create(**ASK, usage_metadata=odd)
    client.messages.create(**ASK, usage_metadata="text")
    client.messages.create(**ASK, usage_metadata={"trace_id": "x" * (1 << 20)})
    first, second, third = metered.calls()
    assert (first["usage_metadata"]["score"], first["usage_metadata"]["7"]) == (None, "seven")
    assert first["usage_metadata"]["half"] == "?" and first["usage_metadata"]["agent"] is None
    assert _tags(second) is None and _tags(third) is None
    assert first["usage"] == second["usage"] == third["usage"] == {"input_tokens": 25, "output_tokens": 15}


SELECTIVE = """
@revenium.revenium_meter()
def metered():
    call(usage_metadata={"agent": "metered"})
call(usage_metadata={"agent": "not"})
metered()
with revenium.revenium_meter():
    manager = client.messages.stream(**ASK)
with manager as stream:
    stream.get_final_message()
call()
"""


def test_only_chosen_calls_are_metered_when_asked_for(app: App) -> None:
    app.run(SELECTIVE, REVENIUM_SELECTIVE_METERING="true")
    assert [_tags(call) for call in app.spooled()] == [{"agent": "metered"}, None]


# All variables that Revenium's own package reads tags from, the first one that is set wins.
TAGS = {
    "environment": ["REVENIUM_ENVIRONMENT", "ENVIRONMENT", "DEPLOYMENT_ENV"],
    "region": [
        "REVENIUM_REGION", "AWS_REGION", "AWS_DEFAULT_REGION", "AZURE_REGION", "GCP_REGION", "GOOGLE_CLOUD_REGION",
    ],
    "credential_alias": ["REVENIUM_CREDENTIAL_ALIAS"],
    "trace_type": ["REVENIUM_TRACE_TYPE"],
    "trace_name": ["REVENIUM_TRACE_NAME"],
    "parent_transaction_id": ["REVENIUM_PARENT_TRANSACTION_ID"],
    "transaction_name": ["REVENIUM_TRANSACTION_NAME"],
    "retry_number": ["REVENIUM_RETRY_NUMBER"],
    "ticket_id": ["REVENIUM_TICKET_ID"],
    "skill_name": ["REVENIUM_SKILL_NAME"],
    "skill_source": ["REVENIUM_SKILL_SOURCE"],
    "skill_kind": ["REVENIUM_SKILL_KIND"],
    "skill_plugin_name": ["REVENIUM_SKILL_PLUGIN_NAME"],
    "skill_marketplace_name": ["REVENIUM_SKILL_MARKETPLACE_NAME"],
    "skill_invocation_trigger": ["REVENIUM_SKILL_INVOCATION_TRIGGER"],
    "agentic_job_id": ["REVENIUM_AGENTIC_JOB_ID"],
    "agentic_job_name": ["REVENIUM_AGENTIC_JOB_NAME"],
    "agentic_job_type": ["REVENIUM_AGENTIC_JOB_TYPE"],
    "agentic_job_version": ["REVENIUM_AGENTIC_JOB_VERSION"],
}  # fmt: skip
VARIABLES = [variable for variables in TAGS.values() for variable in variables]


@pytest.mark.parametrize("member, variables", TAGS.items())
def test_each_variable_is_a_default(member: str, variables: List[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    # From the last to the first, each of which goes before the ones behind it.
    for number, variable in reversed(list(enumerate(variables))):
        monkeypatch.setenv(variable, " %d " % number)
        said = number if member == "retry_number" else str(number)
        assert _context.tags.__wrapped__() == {member: said}
        blank = {name: " " for name in VARIABLES if name not in variables}
        monkeypatch.setattr(os, "environ", {**os.environ, **blank})
        assert _context.tags.__wrapped__() == {member: said}


def test_there_are_no_others() -> None:
    assert _context._TAGS == TAGS


@pytest.mark.parametrize("value", ["second", "-1", "2.5"])
def test_a_retry_that_is_no_number_is_told_as_it_is(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVENIUM_RETRY_NUMBER", value)
    assert _context.tags.__wrapped__()["retry_number"] == value


def test_the_environment_s_tags_are_defaults(app: App) -> None:
    env = {
        "REVENIUM_ENVIRONMENT": "production", "ENVIRONMENT": "not this", "AWS_REGION": "eu-west-1",
        "REVENIUM_RETRY_NUMBER": "2", "REVENIUM_CREDENTIAL_ALIAS": "the key", "REVENIUM_TRACE_NAME": "chat",
        "REVENIUM_AGENTIC_JOB_ID": "job-1", "REVENIUM_SKILL_NAME": "review",
    }  # fmt: skip
    app.run('call()\ncall(usage_metadata={"traceName": "own", "subscriber": {"id": "7"}})', **env)
    tags = {
        "environment": "production", "region": "eu-west-1", "retry_number": 2, "skill_name": "review",
        "agentic_job_id": "job-1",
    }  # fmt: skip
    assert [_tags(call) for call in app.spooled()] == [
        {**tags, "credential_alias": "the key", "trace_name": "chat"},
        {**tags, "traceName": "own", "subscriber": {"id": "7"}},
    ]
