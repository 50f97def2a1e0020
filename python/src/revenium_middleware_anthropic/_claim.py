"""One layer meters a call: what a request, and its answer, say of who does.

A request's mark is a claim: this package meters the call, with its metadata, so a gateway that is next leaves it
alone. An answer's is a fact: the call was metered, nearer to the provider, and that one counts. A provider's own host
hears nothing of us, nor does a cloud whose requests are signed: whoever takes the mark out would break the signature.
Nor is a call claimed whose headers tell the gateway whose it is: the gateway reads them, and nobody else.
"""

from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from . import _facts, _log

MARK = "x-revenium-metered"

# Providers' own hosts, and all beneath them; the agent tells the clouds apart by the same.
_OWN = (
    "anthropic.com", "claude.com", "amazonaws.com", "amazonaws.com.cn", "api.aws", "googleapis.com", "azure.com",
    "azure.us", "azure.cn",
)  # fmt: skip


def claim(client: Any, options: Any) -> None:
    """Marks a request that is metered here, unless a provider is next."""
    # A batch's results have a URL of their own, which the provider named.
    url = str(options.url)
    host = urlsplit(url).hostname if "://" in url else client.base_url.host
    given = options.headers if hasattr(options.headers, "keys") else {}
    # Clients of Amazon's sign what they send.
    is_heard = not is_of_a_provider(host or "") and not hasattr(client, "aws_secret_key")
    if is_heard and not any(map(_is_attribution, [*given, *getattr(client, "_custom_headers", ())])):
        options.headers = {**given, MARK: _facts.MIDDLEWARE}


def _is_attribution(given: Any) -> bool:
    name = str(given).lower()
    return name.startswith("x-revenium-") and name != MARK


@lru_cache(maxsize=64)
def is_of_a_provider(host: str) -> bool:
    host = host.lower().rstrip(".")
    return any(host == own or host.endswith("." + own) for own in _OWN)


def is_metered_elsewhere(response: Any) -> bool:
    """Whether an answer says that somebody nearer to the provider has metered its call."""
    # Not `get`, which raises within where there is none.
    if response is None or MARK not in response.headers:
        return False
    _log.warning_once(
        "elsewhere",
        "%s meters the calls of this process on their way to the provider, so they are not metered here. What "
        "usage_metadata says of them is not known there: say it in x-revenium-* headers, or leave one of the two out",
        response.headers[MARK],
    )
    return True
