"""Answers that an application reads by itself, and answers that are none: what is told of them."""

import json
import random
from typing import Any, Dict, Iterator, List

import pytest
from conftest import ROOT

from revenium_middleware_anthropic import _call, _facts, _outlet, _raw

CASSETTES = ROOT.parent / "shared/cassettes"

STREAM = [
    ("message_start", {"message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 25, "output_tokens": 1}}}),
    ("ping", {}),
    ("content_block_delta", {"delta": {"type": "text_delta", "text": "a\r\nb"}}),
    ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}}),
    ("message_stop", {}),
]
WHOLE = ("complete", {"input_tokens": 25, "output_tokens": 15})


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> List[Dict[str, Any]]:
    """Calls that were handed over, in place of handing them over."""
    told: List[Dict[str, Any]] = []
    monkeypatch.setattr(_outlet, "emit", lambda body: told.append(json.loads(b"{" + body)["call"]))
    return told


def _written(end: str) -> bytes:
    events = [": a comment"]
    for name, members in STREAM:
        events += ["event: " + name, "data: " + json.dumps({"type": name, **members}), ""]
    return "".join(line + end for line in events).encode()


def _read(parts: List[bytes], told: List[Dict[str, Any]]) -> Any:
    events = _raw.Events(_call.Call(b"", {}, {}))
    for part in parts:
        events.see(part)
    events.ended()
    call = told.pop()
    return call["ended"], call.get("usage")


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_stream_says_the_same_with_any_line_ending_split_anywhere(end: str, told: List[Dict[str, Any]]) -> None:
    content = _written(end)
    for at in range(len(content)):
        assert _read([content[:at], content[at:]], told) == WHOLE, at
    assert _read([content[at : at + 1] for at in range(len(content))], told) == WHOLE


def test_data_in_several_lines_behind_a_mark_and_without_a_last_blank_line(told: List[Dict[str, Any]]) -> None:
    content = b"\xef\xbb\xbf" + _written("\n").split(b": a comment\n")[1]
    content = content.replace(b', "usage"', b'\ndata: , "usage"').rstrip(b"\n")
    assert content.count(b"\ndata: ,") == 2
    assert _read([content], told) == WHOLE


def test_of_an_event_that_is_too_large_nothing_is_held_and_the_rest_counts(told: List[Dict[str, Any]]) -> None:
    events = _raw.Events(_call.Call(b"", {}, {}))
    events.see(b"event: content_block_delta\n")
    for _ in range(3000):
        events.see(b"data: %b\n" % (b"x" * 1024))
    assert sum(map(len, events._data)) <= _raw.LINE_BYTES_MAX
    events.see(b"\n" + _written("\n"))
    events.ended()
    assert (told[0]["ended"], told[0]["usage"]) == WHOLE


def _recorded() -> Iterator[Any]:
    for path in sorted(CASSETTES.glob("*.json")):
        for interaction in json.loads(path.read_text())["interactions"]:
            body = interaction.get("body")
            if isinstance(body, str) and body.startswith("event:"):
                yield path.name, body


def test_recorded_streams_give_the_usage_that_they_state(told: List[Dict[str, Any]]) -> None:
    if not CASSETTES.is_dir():
        pytest.skip("the recordings are not beside this checkout")
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance, count = random.Random(seed), 0
    for name, body in _recorded():
        usage: Dict[str, Any] = {}
        for line in body.splitlines():
            said = json.loads(line[5:]) if line.startswith("data:") else {}
            stated = said.get("usage") or said.get("message", {}).get("usage") or {}
            usage.update((key, value) for key, value in stated.items() if value is not None)
        content = body.encode()
        cuts = sorted(chance.randrange(len(content)) for _ in range(20))
        parts = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)])]
        ended, read = _read(parts, told)
        is_whole = "event: message_stop" in body
        assert (ended, read or {}) == ("complete" if is_whole else ended, usage), name
        count += 1
    assert count > 5


@pytest.mark.parametrize("usage", [None, "x", [1], 7, True, object()])
def test_usage_of_another_type_costs_no_call(usage: Any, told: List[Dict[str, Any]]) -> None:
    class Answer:
        id, model, stop_reason, content = "msg_1", "m", "end_turn", None

    answer: Any = Answer()
    answer.usage = usage
    for message in (answer, {"id": "msg_1", "usage": usage}):
        call = _call.Call(b"", {}, {})
        call.message(message)
        call.end()
        assert (told[-1]["ended"], told[-1]["id"], "usage" in told[-1]) == ("complete", "msg_1", False)
    assert len(told) == 2


def test_numbers_are_told_as_they_were_said(told: List[Dict[str, Any]]) -> None:
    usage = {"input_tokens": -1, "output_tokens": 10**30, "x": None, "y": {"z": 0.1}}
    call = _call.Call(b"", {}, {})
    call.message({"id": "msg_1", "usage": usage})
    call.end()
    assert told[0]["usage"] == usage
    assert _facts.plain(usage) is usage


def test_calls_that_differ_in_one_thing_only_are_told_apart_and_what_is_kept_of_each_is_little() -> None:
    bodies: List[Dict[str, Any]] = [
        {}, {"model": "1"}, {"temperature": 1}, {"temperature": 1.0}, {"temperature": True}, {"service_tier": "1"},
        {"output_config": {"effort": "1"}}, {"tools": [{}]}, {"model": "1", "tools": [{}]},
    ]  # fmt: skip

    def asked(body: Dict[str, Any], is_streamed: bool = False) -> bytes:
        return _facts.of_request(object(), "/v1/messages", body, is_streamed)

    told = [asked(body, is_streamed) for body in bodies for is_streamed in (False, True)]
    assert len(set(told)) == len(told)
    assert [asked(body, is_streamed) for body in bodies for is_streamed in (False, True)] == told
    assert len(asked({"model": "x" * 1_000_000})) < 2_000
