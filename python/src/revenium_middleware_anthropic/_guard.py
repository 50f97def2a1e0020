"""Where an error of ours ends. The hooks in the SDK call everything else through `safely`, so that the application gets
the provider's answer, whatever is wrong with us. Exits and interrupts are not errors, and pass.
"""

from typing import Any, Callable, Optional, TypeVar

from . import _log

T = TypeVar("T")


def safely(where: str, do: Callable[..., T], *args: Any) -> Optional[T]:
    """What it returns; `None` if it fails, which is told once for each `where`."""
    try:
        return do(*args)
    except Exception:
        _log.bug(where)
        return None
