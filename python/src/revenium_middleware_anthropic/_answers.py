"""The agent's answers, from bytes as they come in: bounded lines, each of them one of five things."""

import json
import re
from typing import List, Optional

# Longest answer that is understood, in bytes. The agent's are below 2 KiB.
ANSWER_BYTES_MAX = 64 << 10

# Codes after which an event is sent again later; any other is for good.
FOR_NOW = frozenset(("full", "disk", "stopping", "busy", "denied"))

_DURABLE = re.compile(rb'\{"ok":true,"upto":(\d{1,20})\}')


class Answer:
    """Durable up to `n`; or `n` was refused; or, without `n`, the connection was, or the key, if `is_of_key`; or the
    key is asked for, if `wants_key`."""

    __slots__ = ("code", "is_durable", "is_of_key", "message", "n", "wants_key")

    def __init__(self, is_durable: bool, n: Optional[int], code: str = "", message: str = "") -> None:
        self.is_durable, self.n, self.code, self.message = is_durable, n, code, message
        self.is_of_key = self.wants_key = False

    @property
    def is_for_now(self) -> bool:
        return self.code in FOR_NOW


class Inbox:
    """What was read and is not a whole line yet."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, content: bytes) -> List[Answer]:
        """The answers that `content` completes."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        answers = [_parse(line) for line in lines if line.strip()]
        if len(self._rest) > ANSWER_BYTES_MAX:
            answers.append(_NOT_AN_AGENT)
        return answers


_NOT_AN_AGENT = Answer(False, None, "invalid", "it does not answer as an agent does")
_WANTS_KEY = Answer(False, None)
_WANTS_KEY.wants_key = True


def _parse(line: bytes) -> Answer:
    durable = _DURABLE.fullmatch(line.strip())
    if durable:
        return Answer(True, int(durable.group(1)))
    try:
        read = json.loads(line)
        if read.get("want") == "key":
            return _WANTS_KEY
        if read["ok"] is True:
            return Answer(True, int(read["upto"]))
        n = read.get("n")
        answer = Answer(False, None if n is None else int(n), str(read["code"]), str(read.get("message", "")))
        answer.is_of_key = n is None and str(read.get("field", "")).startswith("key")
        return answer
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _NOT_AN_AGENT
