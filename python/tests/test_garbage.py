"""A provider that answers with garbage: the application gets what it gets without us, by whichever way it calls, and each
call is metered, or counted as lost."""

import gzip
import http.server
import json
import pathlib
import threading
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from conftest import PRELUDE, App

MESSAGE: Dict[str, Any] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 25, "output_tokens": 15},
}  # fmt: skip


def _events(*events: Any) -> bytes:
    said = (event if isinstance(event, tuple) else (event["type"], event) for event in events)
    return b"".join(b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps(event).encode()) for kind, event in said)


STREAM = _events(
    {"type": "message_start", "message": MESSAGE},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}},
    {"type": "message_stop"},
)
KINDS = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"]
DEEP = b"[" * 100_000

# A body each, and what it is said to be.
SSE, JSON = "text/event-stream", "application/json"
ANSWERS: Dict[str, Tuple[bytes, str, str]] = {
    "as it should be": (STREAM, SSE, ""),
    "events that are no JSON": (STREAM.replace(b'{"type"', b'{"type'), SSE, ""),
    "events that are no UTF-8": (STREAM.replace(b"Hello", b"\xff\xfe\x00"), SSE, ""),
    "no events": (b"\x00\xff\r\rdata\n:\nevent:\ndata:\n\n\n" * 50, SSE, ""),
    "an event that is very deep": (b"event: message_start\ndata: " + DEEP + b"\n\n", SSE, ""),
    "half of a stream": (STREAM[: len(STREAM) // 2], SSE, ""),
    "a stream of nothing": (b"", SSE, ""),
    "events that are null": (_events(*((kind, None) for kind in KINDS)), SSE, ""),
    "events that are lists": (_events(*((kind, []) for kind in KINDS)), SSE, ""),
    "events of nulls": (
        _events(*({"type": kind, **dict.fromkeys(("message", "index", "content_block", "delta", "usage"))} for kind in KINDS)),
        SSE, "",
    ),
    "events whose members are of nulls": (
        _events(
            {"type": "message_start", "message": dict.fromkeys(MESSAGE)},
            {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": None}},
            {"type": "message_stop"},
        ),
        SSE, "",
    ),
    "a message of nulls": (json.dumps(dict.fromkeys(MESSAGE)).encode(), JSON, ""),
    "a message whose usage is of nulls": (json.dumps({**MESSAGE, "usage": {"input_tokens": None}}).encode(), JSON, ""),
    "null": (b"null", JSON, ""),
    "a list": (b"[]", JSON, ""),
    "a number": (b"5", JSON, ""),
    "no JSON": (b"<html>", JSON, ""),
    "JSON that is very deep": (DEEP, JSON, ""),
    "a stream that is not compressed, as it says": (STREAM, SSE, "gzip"),
    "a message that is not compressed, as it says": (json.dumps(MESSAGE).encode(), JSON, "gzip"),
    "a stream of which the end is missing": (gzip.compress(STREAM)[:-30], SSE, "gzip"),
    "a stream that is compressed and does not say so": (gzip.compress(STREAM), SSE, ""),
    "compressed in a way that nobody knows": (STREAM, SSE, "odd"),
}  # fmt: skip

CALLS = """
import json
got = {}
def outcome(do):
    try:
        return repr(do())
    except BaseException as error:
        return "%s: %s" % (type(error).__name__, error)
def streaming(read):
    with client.messages.with_streaming_response.create(**ask, stream=True) as response:
        return read(response)
def managed():
    with client.messages.stream(**ask) as stream:
        return [event.type for event in stream]
for name in json.loads(sys.argv[1]):
    ask = {**ASK, "metadata": {"user_id": name}}
    ways = {
        "create": lambda: client.messages.create(**ask),
        "stream": lambda: list(client.messages.create(**ask, stream=True)),
        "managed": managed,
        "raw": lambda: client.messages.with_raw_response.create(**ask).text,
        "parsed": lambda: client.messages.with_raw_response.create(**ask).parse(),
        "lines": lambda: streaming(lambda response: list(response.iter_lines())),
        "bytes": lambda: streaming(lambda response: b"".join(response.http_response.iter_raw())),
    }
    got[name] = {way: outcome(do) for way, do in ways.items()}
"""


class _Garbage(http.server.BaseHTTPRequestHandler):
    asked: List[str] = []

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        name = json.loads(self.rfile.read(int(self.headers["content-length"])))["metadata"]["user_id"]
        self.asked.append(name)
        body, kind, coding = ANSWERS[name]
        self.send_response(200)
        self.send_header("content-type", kind)
        if coding:
            self.send_header("content-encoding", coding)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def garbage(app: App) -> Iterator[List[str]]:
    """What is asked of it, as it comes."""
    _Garbage.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Garbage)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    app.env["ANTHROPIC_BASE_URL"] = "http://127.0.0.1:%d" % server.server_port
    yield _Garbage.asked
    server.shutdown()
    server.server_close()


def _ran(app: App, script: str, path: pathlib.Path) -> Any:
    path.write_text(script)
    run = "import runpy, sys\nsys.argv[1:] = [%r]\nrunpy.run_path(%r)" % (json.dumps(list(ANSWERS)), str(path))
    process = app.start(run, is_bare=True)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "a bug in" not in err
    return json.loads(out)


def test_whatever_the_provider_answers_the_application_gets_it_and_each_call_counts(
    app: App, garbage: List[str], tmp_path: pathlib.Path
) -> None:
    ours = "import revenium_middleware_anthropic as revenium\n"
    assert ours in PRELUDE
    without = _ran(app, PRELUDE.replace(ours, "") + CALLS + "print(json.dumps(got))", tmp_path / "without.py")
    asked = list(garbage)
    garbage.clear()
    # A stream that an error has kept goes when the garbage collector comes.
    script = PRELUDE + CALLS + "import gc\ngc.collect()\nrevenium.flush()\nprint(json.dumps([got, revenium.stats()]))"
    got, counts = _ran(app, script, tmp_path / "with.py")
    assert got == without
    assert garbage == asked and len(asked) >= 5 * len(ANSWERS)
    assert counts["emitted"] == len(asked) == counts["spooled"] + counts["lost"], counts
    assert [call["usage"] for call in app.spooled() if "usage" in call][:1] == [{"input_tokens": 25, "output_tokens": 15}]
