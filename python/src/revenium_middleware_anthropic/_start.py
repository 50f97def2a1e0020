"""Starting an agent for this user where there is none: the program that this package's wheel carries.

When that is to be done, and that of any number of processes one does it, is `revenium-agent start`'s to say; here it is
run, and what it says is told. Only the background thread runs it, which looks for its end between other things, so no
call waits for it. A wheel without the program, for other machines, starts nothing.
"""

import json
import os
import sys
import time
from typing import IO, Any, Dict, List, Optional

# While there is no agent, it is asked for again after so long.
AGAIN_AFTER = 60.0

# It gives up by itself: after a minute behind others that start one, and 10 seconds for its own.
ENDS_WITHIN = 75.0

# What is read of what it says.
SAID_BYTES_MAX = 64 << 10

PROGRAM = "revenium-agent"

# As for a process that may open no more files, be it to look for the program, to import what runs it, or to run it.
UNKNOWN_FOR_NOW = (OSError, ImportError)

HOW = {
    "running": "runs for this user",
    "started": "was started for this user, as there was none",
    "taken_over": "was started for this user in the place of an older one",
}


class Outcome:
    """What came of it: an agent is there, or why not."""

    def __init__(self, said: Dict[str, Any]) -> None:
        self.how = HOW.get(str(said.get("state")), "")
        self.is_there = bool(self.how)
        # By what this process is, so that it would be told the same again.
        self.is_final = said.get("state") == "not_started"
        # An agent that a person started does not say it.
        self.version = said.get("version")
        self.reason = str(said.get("reason", "it did not say why"))


class Starter:
    """Runs `start`, at most one at a time. Used by the background thread, and at the end by who waits for it."""

    def __init__(self, is_wanted: bool) -> None:
        # There is a key, so that an agent would have something to deliver with.
        self.is_wanted = is_wanted
        self.outcome: Optional[Outcome] = None
        self.pipe: Optional[IO[bytes]] = None
        self._process: Any = None
        self._said = b""
        self._again_at = self.ends_by = 0.0

    def may_begin(self, now: float) -> bool:
        """Whether it is worth trying, as far as is known without looking for the program."""
        return self.is_wanted and self.pipe is None and now >= self._again_at

    def begin(self, now: float) -> bool:
        """Runs it. False if there is no program to run, which is found out once."""
        self._again_at, self.ends_by = now + AGAIN_AFTER, now + ENDS_WITHIN
        program: Optional[str] = PROGRAM
        try:
            program = look_for_program()
            if program is None:
                self.is_wanted = False
                return False
            import subprocess  # Most processes never need it.

            # In a session of its own, so that a Ctrl-C that is meant for the application does not stop it halfway. It
            # needs no key: the agent asks for that on its socket.
            self._process = subprocess.Popen(
                [program, "start"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=environment(),
                start_new_session=True,
            )
        except UNKNOWN_FOR_NOW as error:
            why = getattr(error, "strerror", None) or error
            self.outcome = Outcome({"reason": "%s cannot be run: %s" % (program, why)})
            return True
        self.pipe, self._said, self.outcome = self._process.stdout, b"", None
        os.set_blocking(self._process.stdout.fileno(), False)
        return True

    def look(self, now: float) -> bool:
        """Whether it has just ended; then there is an outcome."""
        while self.pipe is not None:
            try:
                content = os.read(self.pipe.fileno(), 8 << 10)
            except (BlockingIOError, InterruptedError):
                if now < self.ends_by:
                    return False
                self._process.kill()
                content = b""
            self._said = (self._said + content)[-SAID_BYTES_MAX:]
            if not content:
                self._ended()
                return True
        return False

    def wait(self, by: float) -> Optional[Outcome]:
        """Its outcome, once it is there, until then. By then it is left to itself."""
        while self.pipe is not None and not self.look(time.monotonic()):
            if time.monotonic() >= by:
                self.leave()
                break
            time.sleep(0.01)
        return self.outcome

    def leave(self) -> None:
        """Looks at it no longer; it goes on. Also for a forked child, whose it is not."""
        if self.pipe is not None:
            self.pipe.close()
            # Else Python would complain of a child that nobody has waited for.
            self._process.returncode = 0
        self.pipe = None

    def _ended(self) -> None:
        assert self.pipe is not None
        self.pipe.close()
        self.pipe = None
        # Who ends its output is about to end.
        code = self._process.wait()
        self.outcome = _outcome(self._said.decode(errors="replace").splitlines(), code)
        self.is_wanted = not self.outcome.is_final


def _outcome(said: List[str], code: int) -> Outcome:
    for line in reversed(said):
        try:
            read = json.loads(line)
            if "state" in read:
                return Outcome(read)
        except (ValueError, TypeError):
            continue
    # Among what it logs, the line that says why it ended.
    told = [line.split(": ", 1)[1] for line in said if line.startswith((PROGRAM + ": ", "error: "))]
    why = (told or said or ["it ended with code %d" % code])[-1].strip()
    return Outcome({"reason": "`%s start` failed: %s" % (PROGRAM, why)})


def environment() -> Dict[str, str]:
    """What the agent's program is run with."""
    from ._key import KEY_VARIABLE

    return {name: value for name, value in os.environ.items() if name != KEY_VARIABLE}


def find_program() -> Optional[str]:
    """The program, if it is known at once whether there is one."""
    try:
        return look_for_program()
    except UNKNOWN_FOR_NOW:
        return None


def look_for_program() -> Optional[str]:
    """The program that was installed with this package, if it was: never another one of that name.

    Raises UNKNOWN_FOR_NOW.
    """
    # As with `pip install --target`, of which pip's records are wrong.
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    beside = os.path.join(folder, "bin", PROGRAM)
    if _is_program(beside):
        return beside
    # Of an editable install they are not beside the package.
    for place in dict.fromkeys([folder, *sys.path]):
        try:
            program = _recorded(place)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # As within a zip file: it was not installed by pip, and then there is none.
        except UNKNOWN_FOR_NOW:
            raise
        except Exception:
            continue  # Nor has pip written such records.
        if program is not None:
            return program
    return None


def _recorded(folder: str) -> Optional[str]:
    """The program in pip's records of this package.

    They are looked up here and not by `metadata.files`: to that, what cannot be read is not installed, and it
    remembers so for the whole application.
    """
    from importlib import metadata

    for name in os.listdir(folder):
        if name.startswith("revenium_middleware_anthropic-") and name.endswith(".dist-info"):
            for file in metadata.Distribution.at(os.path.join(folder, name)).files or ():
                path = os.path.realpath(str(file.locate()))
                if file.name == PROGRAM and _is_program(path):
                    return path
    return None


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
