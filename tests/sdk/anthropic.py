"""A stand-in for the Messages API on loopback, with the standard library only.

anthropic.py: listens on a free port, prints it, and answers until standard input ends. What it answers
follows from `metadata.user_id` of the request: `http:CODE` is that error, `cut` a stream that ends in the
middle, `cache` usage with cached tokens; with `tools` it answers with a call of the first one.
"""

import http.server
import json
import sys
import threading

ERRORS = {400: "invalid_request_error", 429: "rate_limit_error", 529: "overloaded_error"}
numbers = iter(range(1, 1_000_000))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        how = (request.get("metadata") or {}).get("user_id", "")
        if how.startswith("http:"):
            code = int(how[5:])
            self.answer(code, {"type": "error", "error": {"type": ERRORS[code], "message": "as asked"}})
        elif request.get("stream"):
            self.stream(request, how)
        else:
            self.answer(200, message(request, how))

    def answer(self, code, body):
        body = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, request, how):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        whole = message(request, how)
        start = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
        self.event("message_start", message=start)
        self.event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        self.event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"})
        if how == "cut":
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.event("content_block_stop", index=0)
        delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        self.event("message_delta", delta=delta, usage={"output_tokens": whole["usage"]["output_tokens"]})
        self.event("message_stop")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, name, **members):
        data = f"event: {name}\ndata: {json.dumps({'type': name, **members})}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def message(request, how):
    usage = {"input_tokens": 25, "output_tokens": 15}
    if how == "cache":
        created = {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 300}
        usage.update(cache_read_input_tokens=2048, cache_creation_input_tokens=1300, cache_creation=created)
    content, stop_reason = [{"type": "text", "text": "Hello"}], "end_turn"
    if request.get("tools"):
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


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
