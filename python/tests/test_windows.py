"""As on Windows: without Unix sockets and all else that only Unix has, calls are in files, and these go to a relay."""

import json
import os
import pathlib
import socket
from typing import Any, Dict, List

import pytest
from conftest import App, Real
from relay import Relay
from test_sick import BROKEN, OTHER, leave, until

from revenium_middleware_anthropic import _portable

LACKS = """
import os, select, signal, socket, sys
for module, names in {
    os: "fork forkpty fchmod geteuid getuid getegid getgid setsid register_at_fork O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_PATH",
    select: "poll epoll",
    socket: "AF_UNIX MSG_DONTWAIT MSG_NOSIGNAL SO_PEERCRED",
}.items():
    for name in names.split():
        delattr(module, name)
for name in ("fcntl", "pwd", "grp", "termios", "resource"):
    sys.modules[name] = None
"""


@pytest.fixture
def windows(app: App, tmp_path: pathlib.Path) -> App:
    (tmp_path / "lacks").mkdir()
    (tmp_path / "lacks/sitecustomize.py").write_text(LACKS)
    app.env["PYTHONPATH"] = "%s:%s" % (tmp_path / "lacks", app.env["PYTHONPATH"])
    app.env["REVENIUM_AGENT_SPOOL"] = str(app.spool)
    return app


def _lines(err: str) -> List[str]:
    return [line for line in err.splitlines() if "nothing to meter" not in line]


def test_importing_it_does_not_fail_and_calls_are_in_the_spool(windows: App) -> None:
    script = "meter('one')\nmeter('two')\nassert revenium.flush()\nmeter('late')"
    (line,) = _lines(windows.run(script))
    assert line.startswith("WARNING") and "no Unix sockets: calls are kept in %s" % windows.spool in line
    assert "REVENIUM_AGENT_RELAY" in line
    assert [call["route"] for call in windows.spooled()] == ["one", "two", "late"]


@pytest.mark.parametrize("module, name", [("socket", "AF_UNIX"), ("os", "geteuid")])
def test_what_is_metered_where_one_of_them_is_missing_is_counted(windows: App, module: str, name: str) -> None:
    folder = pathlib.Path(windows.env["PYTHONPATH"].split(":")[0])
    (folder / "sitecustomize.py").write_text("import %s\ndel %s.%s\n" % (module, module, name))
    windows.run("meter()\nassert revenium.flush()\ncounts = revenium.stats()\nassert (counts['emitted'], counts['spooled']) == (1, 1)")
    assert len(windows.spooled()) == 1


def test_when_turned_off_nothing_is_kept_or_said(windows: App) -> None:
    assert _lines(windows.run("meter()", REVENIUM_METERING_DISABLED="1")) == [] and windows.spooled() == []


def test_what_cannot_be_kept_is_counted_and_named_once(windows: App) -> None:
    windows.spool.write_text("no folder")
    script = "import atexit\natexit.register(lambda: print(revenium.stats()['lost']))\nimport revenium_middleware_anthropic as revenium\n"
    process = windows.start(script + "from revenium_middleware_anthropic import _outlet\nfor _ in range(3): _outlet.emit(b'}')", is_bare=True)
    out, err = process.communicate(timeout=60)
    assert out == "3\n", err
    assert len([line for line in err.splitlines() if "cannot keep calls in %s" % windows.spool in line]) == 1
    assert len([line for line in err.splitlines() if "a call was not metered: there was no room to keep it" in line]) == 1


def test_with_a_relay_calls_of_this_process_and_of_earlier_ones_are_billed_once(
    windows: App, real: Real, tmp_path: pathlib.Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = "127.0.0.1:%d" % listener.getsockname()[1]
    with (tmp_path / "config.toml").open("a") as file:
        file.write('relay.listen = "%s"\n' % address)
    del windows.env["REVENIUM_AGENT_SPOOL"]
    relayed: Dict[str, Any] = {"REVENIUM_AGENT_RELAY": "http://" + address, "HOME": str(tmp_path)}
    (line,) = _lines(windows.run("for _ in range(20): meter()", **relayed))
    assert "no agent at http://%s (" % address in line and "calls are kept in" in line
    assert len(list((tmp_path / "revenium").rglob("*.jsonl"))) >= 1
    real.start()
    while True:
        try:
            socket.create_connection(("127.0.0.1", int(address.split(":")[1]))).close()
            break
        except ConnectionRefusedError:
            pass
    assert _lines(windows.run("for _ in range(20): meter()\nassert revenium.flush()", **relayed)) == []
    real.billed(40)
    assert json.dumps([str(path) for path in (tmp_path / "revenium").rglob("*.jsonl")]) == "[]"


def test_a_file_that_cannot_be_handed_in_keeps_no_other(windows: App, relay: Relay) -> None:
    windows.env["REVENIUM_AGENT_SPOOL"] = str(windows.spool.parent)
    left = leave(windows, 7)
    leave(windows, 8)
    process = windows.start(BROKEN.replace("-1.jsonl", "-7.jsonl") + "meter()\nsys.stdin.read()")
    until(lambda: process.poll() is not None or (list(windows.spool.iterdir()) == [left] and len(relay.lines) == 2))
    err = process.communicate(timeout=60)[1]
    assert list(windows.spool.iterdir()) == [left] and (OTHER, 8) in relay.lines
    assert "%s cannot be handed in: Input/output error" % left in err


@pytest.fixture
def keeper(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> _portable.Keeper:
    """One whose process has ended, so that each event is written at once."""
    monkeypatch.setenv("REVENIUM_AGENT_SPOOL", str(tmp_path))
    keeper = _portable.Keeper()
    keeper.close()
    return keeper


def test_what_a_finalizer_meters_while_a_file_is_written_is_written_once(
    keeper: _portable.Keeper, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, within = keeper._write, [b"1}\n", b"2}\n"]

    def interrupted(*args: Any) -> None:
        if within:
            keeper.emit(within.pop())
        write(*args)
        if within:
            keeper.emit(within.pop())

    monkeypatch.setattr(keeper, "_write", interrupted)
    keeper.emit(b"0}\n")
    lines = [line for path in tmp_path.glob("*.jsonl") for line in path.read_text().splitlines()[1:]]
    assert sorted(lines) == ['{"n":1,0}', '{"n":2,2}', '{"n":3,1}']
    assert (keeper.counts["spooled"], keeper.counts["lost"], keeper.in_memory()) == (3, 0, 0)


def test_memory_is_bounded_in_bytes_which_are_counted_as_they_come_and_go(keeper: _portable.Keeper) -> None:
    keeper._kept_bytes = _portable.MEMORY_BYTES_MAX - 8
    keeper.emit(b"12345}\n")
    assert (keeper.counts["lost"], keeper.counts["spooled"]) == (1, 0)
    keeper._kept_bytes = 0
    keeper.emit(b"12345}\n")
    assert (keeper.counts["spooled"], keeper._kept_bytes) == (1, 0)


def test_a_child_has_a_keeper_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    parents, pid = _portable._own(), os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    assert _portable._own() is not parents
    monkeypatch.undo()
    assert _portable._own() is parents
