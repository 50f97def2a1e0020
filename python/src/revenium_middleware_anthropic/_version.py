"""The version of this package, which is the agent's."""

__version__ = "0.1.0"
