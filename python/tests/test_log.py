"""What the package says, at each of the five levels, and to an application that has set logging up."""

from typing import List

import pytest
from conftest import App

# Something of each level: what a bug of ours says in detail, a call that is left out as asked for, no agent, and a spool
# that cannot be written. Nothing of ours is critical: that level is silence.
SPEAKING = """
from revenium_middleware_anthropic import _follow, _guard
call()
with revenium.revenium_meter():
    call()
assert revenium.flush(1) is False
_guard.safely("a test", lambda: 1 / 0)
"""


@pytest.mark.parametrize(
    "level, said",
    [
        ("DEBUG", ["DEBUG", "ERROR", "INFO", "WARNING"]),
        ("INFO", ["ERROR", "INFO", "WARNING"]),
        ("WARNING", ["ERROR", "WARNING"]),
        ("ERROR", ["ERROR"]),
        ("CRITICAL", []),
        ("warning", ["ERROR", "WARNING"]),
        # Who has not asked hears of what needs a person; nor does a level that there is not change that.
        ("", ["ERROR", "WARNING"]),
        ("loud", ["ERROR", "WARNING"]),
    ],
)
def test_the_log_level_is_the_variable_s(app: App, level: str, said: List[str]) -> None:
    app.spool.write_text("no folder")
    err = app.run(SPEAKING, REVENIUM_LOG_LEVEL=level, REVENIUM_SELECTIVE_METERING="1")
    lines = [line for line in err.splitlines() if " revenium_middleware_anthropic: " in line]
    assert sorted({line.split()[0] for line in lines}) == said
    assert ("REVENIUM_LOG_LEVEL is 'LOUD'" in err) == (level == "loud")
    assert ("ZeroDivisionError" in err) == (level == "DEBUG")


def test_an_application_that_has_set_logging_up_hears_all_but_details(app: App) -> None:
    app.spool.write_text("no folder")
    script = "import logging\nlogging.basicConfig(level=0, format='app %(levelname)s %(name)s: %(message)s')\n" + SPEAKING
    lines = [line for line in app.run(script, REVENIUM_SELECTIVE_METERING="1").splitlines() if "revenium_mid" in line]
    assert sorted({line.split()[1] for line in lines}) == ["ERROR", "INFO", "WARNING"]
    assert all(line.startswith("app ") for line in lines)
