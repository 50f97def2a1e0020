"""Whose calls this process makes: the API key of its environment, and the profile that has its name.

A hello names the profile by the key's fingerprint, so that two applications with two keys never bill to each other,
whatever agent they share. The key itself is sent only when an agent asks for it, and only to one of the same user; the
agent of a machine has keys of its own and never asks.
"""

import hashlib
import json
import os
import socket
import struct
from typing import Any, Dict, Mapping, Optional

# The variables of Revenium's SDKs.
KEY_VARIABLE = "REVENIUM_METERING_API_KEY"
URL_VARIABLE = "REVENIUM_METERING_BASE_URL"

# As the agent takes them.
KEY_BYTES_MAX = 512
PREFIXES = ("hak_", "rev_")

# The namespace of fingerprints, which are UUIDv5 of the key: 26002cad-875a-596a-b3f0-73d9462fdd55.
_KEYS = bytes.fromhex("26002cad875a596ab3f073d9462fdd55")


class Key:
    """A key, and what is to be told of it."""

    def __init__(self, value: str, url: Optional[str]) -> None:
        self._value, self._url = value, url
        self.profile = _fingerprint(os.fsencode(value))
        # None of these texts holds any part of the key.
        self.trouble = _trouble(value)

    def told_in_spool(self) -> Dict[str, Any]:
        """What the hello of a file says of it."""
        return {"profile": self.profile}

    def told_in_hello(self) -> Dict[str, Any]:
        """What the hello of a connection says of it. An agent that has it for another URL asks for it anew."""
        if self.trouble:
            return self.told_in_spool()
        return {"profile": self.profile, "key_at_hand": True, **({"url": self._url} if self._url else {})}

    def line(self) -> bytes:
        """What an agent that asks for the key is told."""
        told = {"value": self._value, **({"url": self._url} if self._url else {})}
        return json.dumps({"key": told}, separators=(",", ":")).encode() + b"\n"

    def __repr__(self) -> str:
        return "Key(%s)" % self.profile


def of_environment(env: Mapping[str, str]) -> Optional[Key]:
    """The key of the environment, if there is one."""
    value = env.get(KEY_VARIABLE, "").strip()
    return Key(value, env.get(URL_VARIABLE, "").strip() or None) if value else None


def hello(producer: str, key: Optional[Key], is_spooled: bool) -> bytes:
    """The line that comes first. Only on a connection something can be asked for."""
    told: Dict[str, Any] = {"v": 1, "producer": producer}
    if not is_spooled:
        # No call waits for an answer: the agent may look now and then, and is not to be woken by each.
        told["patient"] = True
    if key is not None:
        told.update(key.told_in_spool() if is_spooled else key.told_in_hello())
    return json.dumps({"hello": told}, separators=(",", ":")).encode() + b"\n"


def may_be_told(connection: socket.socket) -> bool:
    """Whether the other side is this very user, as the kernel says it."""
    if connection.family != getattr(socket, "AF_UNIX", None):
        return False
    try:
        said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        uid: int = struct.unpack("3i", said)[1]
    except (AttributeError, OSError):
        return False
    return uid == os.geteuid()


def _fingerprint(key: bytes) -> str:
    # As `uuid.uuid5` does it, but of bytes; what marks a UUID's variant comes behind these.
    digest = bytearray(hashlib.sha1(_KEYS + key).digest()[:8])
    digest[6] = digest[6] & 0x0F | 0x50
    return "key-" + digest.hex()


def _trouble(value: str) -> Optional[str]:
    if not value.startswith(PREFIXES):
        return 'it does not begin with "hak_" or "rev_", as Revenium\'s keys do'
    if len(value) > KEY_BYTES_MAX:
        return "it is longer than %d characters" % KEY_BYTES_MAX
    if not all("!" <= character <= "~" for character in value):
        return "it holds characters that are not visible ASCII, such as a space or a line end"
    return None
