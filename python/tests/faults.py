"""Every way to call a model, while one function of the package raises whenever it is called: a process for each function
that runs in the application's thread. Prints what the application got, in one JSON object.

The provider is a function in the same process, and the agent a socket that nobody reads from.
"""

import importlib.util
import json
import logging
import os
import pathlib
import socket
import sys
import tempfile
from types import CodeType, FrameType
from typing import Any, Callable, Dict, Optional, Set, Tuple

from ways import NAME, call_all

(FOLDER,) = importlib.util.find_spec(NAME).submodule_search_locations  # type: ignore[union-attr, misc]

# A function: its file, its first line, its name.
Key = Tuple[str, int, str]


def key_of(code: CodeType) -> Optional[Key]:
    folder, file = os.path.split(code.co_filename)
    return (file, code.co_firstlineno, code.co_name) if folder == FOLDER else None


def functions() -> Dict[Key, str]:
    """All functions of the package's modules, whatever they are within, and what to call them."""
    found: Dict[Key, str] = {}

    def walk(code: CodeType, name: str) -> None:
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                # More than one may be called so.
                line = " in line %d" % inner.co_firstlineno if inner.co_name.startswith("<") else ""
                own = name + "." + inner.co_name + line
                # The body of a class runs once, at the import.
                if "__module__" not in inner.co_names or "__qualname__" not in inner.co_names:
                    found[(os.path.basename(inner.co_filename), inner.co_firstlineno, inner.co_name)] = own
                walk(inner, own)

    for path in pathlib.Path(FOLDER).glob("*.py"):
        walk(compile(path.read_text(), str(path), "exec"), path.stem)
    return found


IMPORT = "the import"
TAGS = {"usage_metadata": {"traceId": "t", "agent": ""}}


def with_us() -> Any:
    """By which ways each function runs in this thread, the import among them, and which of them are called by others."""
    seen: Dict[str, Set[str]] = {}
    by_others: Set[str] = set()
    way, names = IMPORT, functions()

    def next_way(name: str) -> None:
        nonlocal way
        way = name

    def trace(frame: FrameType, event: str, arg: Any) -> None:
        key = key_of(frame.f_code)
        if key in names:
            seen.setdefault(names[key], set()).add(way)
            if frame.f_back is None or key_of(frame.f_back.f_code) is None:
                by_others.add(names[key])

    sys.settrace(trace)
    import revenium_middleware_anthropic  # noqa: F401

    got = call_all(TAGS, next_way)
    sys.settrace(None)
    return {"got": got, "seen": {name: sorted(ways) for name, ways in seen.items()}, "by others": sorted(by_others)}


def with_fault(target: Key, ways: Set[str]) -> Any:
    """What the application gets by these ways while this function raises, and what it is told of that."""
    hits, told = 0, []

    def trace(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal hits
        if frame.f_code.co_name == target[2] and key_of(frame.f_code) == target:
            hits += 1
            # Which ends tracing.
            raise RuntimeError("injected")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("a bug in "):
                told.append(record.getMessage())
            sys.settrace(trace)

    logging.getLogger().addHandler(Handler())
    sys.unraisablehook = lambda _: sys.settrace(trace)
    sys.settrace(trace)
    import revenium_middleware_anthropic  # noqa: F401

    # The SDK itself knows no metadata, so where it may not be hooked none is given.
    is_hooked = IMPORT not in ways
    got = call_all(TAGS if is_hooked else {}, lambda _: sys.settrace(trace), ways if is_hooked else None)
    sys.settrace(None)
    return {"got": got, "hits": hits, "told": told}


def in_child(run: Callable[[], Any]) -> Any:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            content = json.dumps(run())
        except BaseException as error:
            content = json.dumps({"raised": repr(error)})
        with os.fdopen(write, "w") as pipe:
            pipe.write(content)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    return json.loads(content)


def main(exempt: Set[str]) -> Dict[str, Any]:
    logging.getLogger().addHandler(logging.NullHandler())
    keys = {name: key for key, name in functions().items()}
    # In this process, so that what the SDK makes once is made in each of the others.
    expected, usual = call_all({}, lambda _: None), in_child(with_us)
    faults = {
        name: in_child(lambda name=name, ways=ways: with_fault(keys[name], set(ways)))  # type: ignore[misc]
        for name, ways in usual["seen"].items()
        # Before 3.12 a comprehension is a function of its own.
        if name.split(".<")[0] not in exempt and name.count(".") - name.count(".<")
    }
    return {"expected": expected, "usual": usual, "faults": faults, "unseen": sorted(set(keys) - set(usual["seen"]))}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(REVENIUM_AGENT_SOCKET=folder + "/agent.sock", REVENIUM_CREDENTIAL_ALIAS="alias")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(folder + "/agent.sock")
        listener.listen(1024)
        print(json.dumps(main(set(sys.argv[1:]))))
