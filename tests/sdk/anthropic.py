"""A stand-in for the Messages API on loopback, with the standard library only.

anthropic.py: listens on a free port, prints it, and answers until standard input ends. What it answers
follows from `metadata.user_id` of the request: `http:CODE` is that error, `cut` a stream that ends in the
middle, `break` one that ends there in good order, `error` one that ends with an error, `cache` usage with cached
tokens, `gzip` an answer that is compressed, `odd` one in a way that nobody knows; with `tools` it answers with a call of the first one, and with the
tool's result it answers in words. It knows the paths of Bedrock and Vertex, counting tokens, and one batch.
`GET /seen` tells every request so far. An answer to a request with `x-metered-by` says that it was metered by that, and a
batch that is asked for with `x-results-at` has its results there.
"""

import binascii
import gzip
import http.server
import json
import re
import struct
import sys
import threading

ERRORS = {400: "invalid_request_error", 429: "rate_limit_error", 529: "overloaded_error"}
PACKED = ("gzip", "odd")
TEXT = "Hello from the fake model."
numbers = iter(range(1, 1_000_000))
seen = []


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Each event goes out at once, not when the one before it was acknowledged.
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def end_headers(self):
        if self.headers["x-metered-by"]:
            self.send_header("x-revenium-metered", self.headers["x-metered-by"])
        super().end_headers()

    def do_GET(self):
        if self.path == "/seen":
            self.answer(200, seen)
            return
        seen.append({"path": self.path, "headers": dict(self.headers), "body": None})
        if self.path.endswith("/results"):
            self.answer(200, b"".join(json.dumps(line).encode() + b"\n" for line in results(self.path.split("/")[-2])), "application/x-jsonl")
        else:
            at = self.headers["x-results-at"] or "http://" + self.headers["host"]
            self.answer(200, batch(self.path.rsplit("/", 1)[1].partition("?")[0], at))

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        seen.append({"path": self.path, "headers": dict(self.headers), "body": request})
        request.setdefault("model", model_of(self.path))
        how = (request.get("metadata") or {}).get("user_id", "")
        if how.startswith("http:"):
            code = int(how[5:])
            self.answer(code, {"type": "error", "error": {"type": ERRORS[code], "message": "as asked"}})
        elif "count_tokens" in self.path:
            self.answer(200, {"input_tokens": 25})
        elif request.get("stream") or self.path.endswith(("stream", "streamRawPredict")):
            self.stream(request, how)
        else:
            self.answer(200, message(request, how), packed=how if how in PACKED else "")

    def answer(self, code, body, kind="application/json", packed=""):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        if packed:
            body = gzip.compress(body)
            self.send_header("content-encoding", packed)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("request-id", f"req_{next(numbers)}")
        self.end_headers()
        self.wfile.write(body)

    def stream(self, request, how):
        self.is_framed = "/invoke-with-response-stream" in self.path
        self.pack = gzip.compress if how in PACKED else None
        kind = "application/vnd.amazon.eventstream" if self.is_framed else "text/event-stream"
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("transfer-encoding", "chunked")
        self.send_header("request-id", f"req_{next(numbers)}")
        if how in PACKED:
            self.send_header("content-encoding", how)
        self.end_headers()
        self.packed = b""
        whole = message(request, how)
        start = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
        self.event("message_start", message=start)
        block = {"type": "text", "text": ""} if whole["content"][0]["type"] == "text" else whole["content"][0]
        self.event("content_block_start", index=0, content_block=block)
        if block["type"] == "text":
            self.event("content_block_delta", index=0, delta={"type": "text_delta", "text": whole["content"][0]["text"]})
        if how == "cut":
            self.close_connection = True
            self.connection.shutdown(2)
            return
        if how == "error" and self.is_framed:
            error = json.dumps({"message": "as asked"}).encode()
            self.chunk(framed(error, ((b":exception-type", b"throttlingException"), (b":message-type", b"exception"))))
        elif how == "error":
            self.event("error", error={"type": "overloaded_error", "message": "as asked"})
        elif how != "break":
            self.event("content_block_stop", index=0)
            delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
            self.event("message_delta", delta=delta, usage={"output_tokens": whole["usage"]["output_tokens"]})
            self.event("message_stop")
        if self.pack:
            self.chunk(self.pack(self.packed))
        self.wfile.write(b"0\r\n\r\n")

    def event(self, name, **members):
        data = json.dumps({"type": name, **members}).encode()
        data = chunked(data) if self.is_framed else b"event: %b\ndata: %b\n\n" % (name.encode(), data)
        if self.pack:
            self.packed += data
        else:
            self.chunk(data)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def chunked(data):
    """An event as Bedrock frames it."""
    payload = json.dumps({"bytes": binascii.b2a_base64(data, newline=False).decode()}).encode()
    fields = ((b":event-type", b"chunk"), (b":content-type", b"application/json"), (b":message-type", b"event"))
    return framed(payload, fields)


def framed(payload, fields):
    headers = b""
    for name, value in fields:
        headers += bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    frame = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + payload
    return frame + struct.pack(">I", binascii.crc32(frame))


def model_of(path):
    """The model, where a cloud has it in the path."""
    found = re.search(r"/(?:model|models)/([^/:]+)", path)
    return found.group(1) if found else None


def message(request, how):
    usage = {"input_tokens": 25, "output_tokens": 15}
    if how == "cache":
        usage = {"input_tokens": 12, "output_tokens": 30}
        created = {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 300}
        usage.update(cache_read_input_tokens=2048, cache_creation_input_tokens=1300, cache_creation=created)
    content, stop_reason = [{"type": "text", "text": answer_to(request)}], "end_turn"
    if request.get("tools") and "tool_result" not in json.dumps(request.get("messages")):
        call = {"type": "tool_use", "id": "toolu_1", "name": request["tools"][0]["name"], "input": {}}
        content, stop_reason = [call], "tool_use"
    return {
        "id": f"msg_01{next(numbers):022}",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def answer_to(request):
    """JSON if the request has a schema for the answer, else a word."""
    asked = request.get("output_format") or (request.get("output_config") or {}).get("format")
    return '{"word": "Hello"}' if asked else TEXT


def batch(name, at):
    counts = {"processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 0}
    return {
        "id": name, "type": "message_batch", "processing_status": "ended", "request_counts": counts,
        "results_url": f"{at}/v1/messages/batches/{name}/results", "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-02T00:00:00Z", "ended_at": "2026-01-01T01:00:00Z", "archived_at": None,
        "cancel_initiated_at": None,
    }  # fmt: skip


def results(batch):
    for name in ("first", "second"):
        whole = {**message({"model": "claude-sonnet-4-20250514"}, ""), "id": f"msg_of_{batch}_{name}"}
        yield {"custom_id": name, "result": {"type": "succeeded", "message": whole}}
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "as asked"}}
    yield {"custom_id": "third", "result": {"type": "errored", "error": error}}


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
