"""What was said, for those who ask for it: `REVENIUM_CAPTURE_PROMPTS`, or `capture_prompts` in a call's metadata.

Off unless asked for. Texts are cut at `REVENIUM_MAX_PROMPT_SIZE` characters (50,000, which is Revenium's bound, and
which it may not exceed; at least 200), and what looks like a credential is masked before it leaves the process.
"""

import functools
import json
import os
import re
from typing import Any, Dict, List, Mapping, Optional

from . import _context, _facts

SIZE_MAX = 50_000
SIZE_MIN = 200

MASK = "***"

# Compiled when first used: that takes as long as the rest of the import.
_SECRETS = [
    # Keys and tokens that say what they are.
    r"\b(?:sk|rk|pk|rev|hak|ghp|gho|ghs|ghr|github_pat|glpat|xox[abprs]|npm|pypi|hf)[-_][A-Za-z0-9_\-]{12,}",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\bAIza[A-Za-z0-9_\-]{30,}",
    r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
]  # fmt: skip
_LABELLED = [
    # A token of three parts, at the start of a word or behind a hyphen. Each word is looked at once, from its start, as one
    # that is full of `-eyJ` would be scanned to its end for each of them.
    r"(?<!W)(?=W{11,}\.W{8,}\.)((?:W*?-)??)eyJW{8,}\.W{8,}\.W*".replace("W", r"[A-Za-z0-9_\-]"),
    # What follows a word that announces a secret, and passwords in URLs.
    r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9_\-.+/=]{8,}",
    r"(?i)((?:passw(?:or)?d|secret|token|api[_-]?key|access[_-]?key|credential)\\?[\"']?\s*[:=]\s*"
    r"\\?[\"']?)[^\s\"'\\,}\]]{8,}",
    r"(://[^/\s:@]+:)[^/\s@]+(?=@)",
]


class Prompts:
    """What one call said and was told."""

    def __init__(self, body: Mapping[str, Any], size: int) -> None:
        self._size = size
        self._truncated = False
        self._system = self._cut(_text(body.get("system")))
        self._input = self._cut(_json(body.get("messages")))
        self._output: List[str] = []
        self._room = size + 1

    def answer(self, content: Any) -> None:
        self._add(_text(content))

    def delta(self, delta: Any) -> None:
        self._add(_facts.getter(delta)("text"))

    def facts(self) -> Dict[str, Any]:
        output = self._cut("".join(self._output))
        told = {"system": self._system, "input": self._input, "output": output, "truncated": self._truncated}
        return {key: value for key, value in told.items() if value is not None}

    def _add(self, text: Any) -> None:
        # No more than one character too many is held, which tells that it was too long.
        if isinstance(text, str) and self._room > 0:
            self._output.append(text[: self._room])
            self._room -= len(text)

    def _cut(self, text: Optional[str]) -> Optional[str]:
        if not text:
            return None
        # Masked before it is cut, so that no half of a key stays; and not all of what may be megabytes.
        text = masked(text[: 2 * self._size])
        if len(text) > self._size:
            self._truncated = True
            text = text[: self._size]
        return text


def begin(metadata: Mapping[str, Any], body: Mapping[str, Any]) -> Optional[Prompts]:
    """What to keep of a call's prompts: nothing, unless somebody asked for it."""
    asked = metadata.get("capture_prompts", metadata.get("capturePrompts"))
    is_asked = _is_asked_for_all() if asked is None else _context.is_on(asked)
    return Prompts(body, _size_max()) if is_asked else None


@functools.lru_cache(maxsize=None)
def _is_asked_for_all() -> bool:
    """Read at the first call of the process."""
    return _context.is_on(os.environ.get("REVENIUM_CAPTURE_PROMPTS"))


def masked(text: str) -> str:
    """The text without what looks like a credential."""
    for pattern in _SECRETS:
        text = _compiled(pattern).sub(MASK, text)
    for pattern in _LABELLED:
        text = _compiled(pattern).sub(r"\1" + MASK, text)
    return text


# Not left to `re`, which forgets those of an application that has many.
_compiled = functools.lru_cache(maxsize=None)(re.compile)


def _size_max() -> int:
    try:
        return min(max(SIZE_MIN, int(os.environ.get("REVENIUM_MAX_PROMPT_SIZE", SIZE_MAX))), SIZE_MAX)
    except ValueError:
        return SIZE_MAX


def _text(content: Any) -> Optional[str]:
    """The text of a system prompt or an answer: itself, or its blocks'."""
    if isinstance(content, str):
        return content
    if isinstance(content, (list, tuple)):
        texts = (_facts.getter(block)("text") for block in content)
        return "\n".join(text for text in texts if isinstance(text, str))
    return None


def _json(messages: Any) -> Optional[str]:
    if not isinstance(messages, (list, tuple)):
        return None
    try:
        return json.dumps(_facts.tamed(_plain(messages), 32), ensure_ascii=False)
    except Exception:
        return None


def _plain(value: Any) -> Any:
    """Blocks may be the SDK's models, as when an answer is sent back."""
    if hasattr(value, "model_dump"):
        return _facts.plain(value)
    if isinstance(value, Mapping):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
