"""Reads a Grafana dashboard with Grafana's own SDK, writes it again, and fails if anything got lost.

What the SDK does not know (a key, a type of panel) it drops, so that it is missing from what it writes.
"""

import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(ours, theirs, path):
    """Paths of what is in `ours` and not, or not the same, in `theirs`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [p for key, value in ours.items() for p in lost(value, theirs.get(key), f"{path}.{key}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [p for i, (a, b) in enumerate(zip(ours, theirs)) for p in lost(a, b, f"{path}[{i}]")]
    return [] if ours == theirs else [f"{path}: {ours!r} became {theirs!r}"]


with open(sys.argv[1], encoding="utf-8") as file:
    ours = json.load(file)
register_default_plugins()
theirs = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
found = lost(ours, theirs, "dashboard")
sys.exit("\n".join(found) or 0)
