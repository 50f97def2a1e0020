"""Prompts are told only where somebody asked for it, cut, and without what looks like a credential."""

import time
from typing import Any

import pytest
from conftest import ASK, App, Metered

import revenium_middleware_anthropic  # noqa: F401
from revenium_middleware_anthropic import _prompts

TEXT = "Hello from the fake model."
ON = {"capture_prompts": True}


def test_prompts_are_not_told_unless_asked_for(client: Any, metered: Metered) -> None:
    client.messages.create(**ASK, system="the system's")
    assert "prompts" not in metered.call()


def test_prompts_of_one_call_are_told_if_its_metadata_asks_for_it(client: Any, metered: Metered) -> None:
    client.messages.create(**ASK, system="the system's rev_mk_0123456789abcdef", usage_metadata=ON)
    list(client.messages.create(**ASK, stream=True, usage_metadata=ON))
    with client.messages.with_streaming_response.create(**ASK, stream=True, usage_metadata=ON) as response:
        list(response.iter_lines())
    said = '[{"role": "user", "content": "x"}]'
    assert [call["prompts"] for call in metered.calls()] == [
        {"system": "the system's ***", "input": said, "output": TEXT, "truncated": False},
        {"input": said, "output": TEXT, "truncated": False},
        {"input": said, "output": TEXT, "truncated": False},
    ]


def test_long_prompts_are_cut(client: Any, metered: Metered) -> None:
    client.messages.create(**ASK, system="é" * 60_000, usage_metadata=ON)
    prompts = metered.call()["prompts"]
    assert (prompts["system"], prompts["truncated"]) == ("é" * 50_000, True)


def test_the_environment_says_whether_and_how_much(app: App) -> None:
    app.run(
        "call(system='y' * 300)\ncall(usage_metadata={'capture_prompts': False})",
        REVENIUM_CAPTURE_PROMPTS="true",
        REVENIUM_MAX_PROMPT_SIZE="1",
    )
    first, second = app.spooled()
    # No less than 200.
    assert first["prompts"]["system"] == "y" * 200 and "prompts" not in second


def test_the_environment_cannot_ask_for_more_than_the_agent_takes(app: App) -> None:
    # All of it would be larger than an event may be, and left out as a whole.
    app.run("call(system='y ' * 600_000)", REVENIUM_CAPTURE_PROMPTS="true", REVENIUM_MAX_PROMPT_SIZE="2000000")
    (call,) = app.spooled()
    assert (len(call["prompts"]["system"]), call["prompts"]["truncated"]) == (50_000, True)


@pytest.mark.parametrize(
    "text, masked",
    [
        ("key sk-ant-api03-abcdefghijkl here", "key *** here"),
        ("rev_mk_0123456789abcdef", "***"),
        ("AKIAABCDEFGHIJKLMNOP", "***"),
        ("ghp_abcdefghijklmnop", "***"),
        ("Authorization: Bearer abc.def-ghi_jkl", "Authorization: Bearer ***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "***"),
        ("x-eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "x-***"),
        ("a.eyJ-x-eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0. b", "a.*** b"),
        ("xeyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "xeyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc"),
        ('{"password": "hunter22!"}', '{"password": "***"}'),
        ('{\\"password\\": \\"hunter22!\\"}', '{\\"password\\": \\"***\\"}'),
        ("AWS_SECRET_ACCESS_KEY=abcdefgh12345678", "AWS_SECRET_ACCESS_KEY=***"),
        ("postgres://me:letmein@db/x", "postgres://me:***@db/x"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----.", "***."),
        ("what is a password? a token of 5 words", "what is a password? a token of 5 words"),
        ("the task-ask-risk is low", "the task-ask-risk is low"),
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str, masked: str) -> None:
    assert _prompts.masked(text) == masked


HOSTILE = [
    "a", "-", "password", "password ", "token = ", "secret:", "bearer ", "://a:", "://a", "eyJ", "-eyJ", "-eyJ.", "eyJaaaaaaaa.",
    "-eyJaaaaaaaa.", "sk-", "-sk-aaaa", "AKIA", "-AIza", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "PRIVATE KEY", "\\\"",
]  # fmt: skip


@pytest.mark.parametrize("begin", ["", "password", "://a:", "eyJaaaaaaaa.", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----"])
@pytest.mark.parametrize("piece", HOSTILE)
def test_masking_takes_time_in_proportion_to_the_text_however_hostile(begin: str, piece: str) -> None:
    def takes(size: int) -> float:
        text, took = begin + piece * (size // len(piece)), []
        for _ in range(5):
            began = time.thread_time()
            _prompts.masked(text)
            took.append(time.thread_time() - began)
        return min(took)

    # Of eight times the text, eight times: it would be 64 if each place were looked at from each place before it.
    assert takes(40_000) < 24 * takes(5_000)
