"""Whatever happens in between, a browser and a JupyterLab end with their context and leave no folder."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from tests.browser.cdp import Browser, PageError, until
from tests.browser.conftest import write_notebook
from tests.browser.lab import LabServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def running(group: int) -> list[str]:
    """The processes of a group that still run; those that ended and wait to be reaped do not count."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = stat.read_text().rpartition(")")
            state, _, pgrp = rest.split()[:3]
            if int(pgrp) == group and state != "Z":
                found.append(name)
    return found


def test_server_kernel_and_browser_end_after_a_failure(tmp_path):
    write_notebook(tmp_path / "cells.ipynb")
    with pytest.raises(ZeroDivisionError), LabServer(tmp_path) as server, Browser() as browser:
        notebook = server.open(browser, "cells.ipynb")
        notebook.page.run(
            "(async()=>{const f=nb.sessionContext.session.kernel.requestExecute({code:"
            '\'import os; open("pid","w").write(str(os.getpid()))\'});await f.done})()'
        )
        kernel = int((server.notebooks / "pid").read_text())
        raise ZeroDivisionError
    until(lambda: not running(server.process.pid) + running(browser.process.pid), "the end of both groups", 10)
    assert not server.folder.exists() and not browser.folder.exists()
    until(lambda: not os.path.exists(f"/proc/{kernel}"), "the kernel's end", 10)


def test_what_does_not_come_is_named(browser):
    page = browser.page("about:blank")
    with pytest.raises(PageError, match="not within 0 s: a miracle"):
        page.wait("window.miracle", "a miracle", 0.2)
    with pytest.raises(PageError, match="nonsense is not defined"):
        page.run("nonsense")
    page.close()
