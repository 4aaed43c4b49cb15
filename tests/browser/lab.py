"""A JupyterLab of its own on a copy of a folder of notebooks, and a notebook in it as a browser shows it.

All of Jupyter's folders (configuration, data, runtime, settings, workspaces, IPython) lie in one temporary folder, so
nothing of the user's is read or written. The server's process group ends with the context.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from tests.browser.cdp import Browser, Page, end_group, until

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "JUPYTERLAB_SETTINGS_DIR": "settings",
    "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    "IPYTHONDIR": "ipython",
    "NETKIT_EDU_STATE": "progress",
}
# A notebook without a kernelspec makes JupyterLab ask for a kernel: take the one it proposes.
_KERNEL_QUESTION = "document.querySelector('.jp-Dialog .jp-mod-accept')?.click()"
# Whether every cell is in the DOM, and the last one's lower edge in px.
_BOTTOM = """(()=>{const cells=[...nb.content.node.querySelectorAll('.jp-Cell')].filter(c=>c.offsetHeight);
nb.content.node.scrollTop=0; (nb.content.node.querySelector('.jp-WindowedPanel-outer')||{}).scrollTop=0;
return [cells.length>=nb.content.model.cells.length,
Math.ceil(Math.max(0,...cells.map(c=>c.getBoundingClientRect().bottom)))]})()"""


def free_port() -> int:
    """Return a TCP port that nothing on this machine listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class LabServer:
    """JupyterLab on a copy of ``notebooks``; a context manager. ``theme`` is "light" or "dark"."""

    def __init__(self, notebooks: Path):
        self.folder = Path(tempfile.mkdtemp(prefix="netkit-edu-lab-"))
        self.notebooks = self.folder / "notebooks"
        shutil.copytree(notebooks, self.notebooks)
        self.port = free_port()
        self.log = self.folder / "server.log"
        env = os.environ | {name: str(self.folder / sub) for name, sub in FOLDERS.items()}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._set("apputils-extension/notification", {"fetchNews": "false", "checkForUpdates": False})
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={self.port}",
            "--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={self.notebooks}",
            "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly",
        ]  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=env, start_new_session=True, stdout=log, stderr=log)
        try:
            until(self._answers, "JupyterLab's first answer", 90)
        except BaseException:
            print(self.log.read_text(errors="replace")[-3000:], file=sys.stderr)
            self.close()
            raise

    def _set(self, plugin: str, values: dict) -> None:
        path = self.folder / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"JupyterLab ended with status {self.process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def open(self, browser: Browser, notebook: str, width: int = 1280, height: int = 900) -> Notebook:
        """Open a notebook of the folder in a new tab and wait until its kernel is ready."""
        url = f"http://127.0.0.1:{self.port}/lab/tree/{notebook}?reset"
        return Notebook(browser.page(url, width, height))

    def close(self) -> None:
        """End the server and its kernels, remove its folder."""
        end_group(self.process, 10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> LabServer:
        return self

    def __exit__(self, *exc) -> None:
        self.close()


class Notebook:
    """A notebook open in JupyterLab. What is asserted is read from its model; cells out of sight have no DOM."""

    def __init__(self, page: Page):
        self.page = page
        page.wait("window.jupyterapp?.shell?.currentWidget?.context?.isReady", "the notebook to open", 90)
        page.run("window.nb=jupyterapp.shell.currentWidget; true")
        page.wait(
            f"{_KERNEL_QUESTION}, nb.sessionContext.session?.kernel?.status==='idle'", "the kernel to be idle", 90
        )

    def theme(self, dark: bool) -> None:
        """Switch JupyterLab's own theme."""
        name = "JupyterLab Dark" if dark else "JupyterLab Light"
        self.page.run(f"jupyterapp.commands.execute('apputils:change-theme',{{theme:{json.dumps(name)}}})")
        light = json.dumps("false" if dark else "true")
        self.page.wait(f"document.body.dataset.jpThemeLight==={light}", f"the theme {name}")

    def run_all(self, timeout: float = 180.0) -> None:
        """Run every cell and wait for the kernel to come to rest."""
        self.page.run("(async()=>{await jupyterapp.commands.execute('notebook:run-all-cells')})()")
        self.page.wait("nb.sessionContext.session.kernel.status==='idle'", "the cells to finish", timeout)
        self.page.run("new Promise(done=>requestAnimationFrame(()=>setTimeout(()=>done(true),300)))")

    def cells(self) -> list[dict]:
        """Return each cell as the model has it: type, source, executionCount, outputs (as JSON)."""
        return json.loads(
            self.page.run(
                "JSON.stringify([...nb.content.model.cells].map(c=>({type:c.type,source:c.sharedModel.getSource(),"
                "executionCount:c.executionCount??null,outputs:c.outputs?c.outputs.toJSON():[]})))"
            )
        )

    def errors(self) -> list[str]:
        """Return the error outputs of all cells as "name: message"."""
        outputs = [o for cell in self.cells() for o in cell["outputs"]]
        return [f"{o['ename']}: {o['evalue']}" for o in outputs if o["output_type"] == "error"]

    def execute(self, code: str) -> None:
        """Run code in the notebook's kernel, as a cell that is not in sight."""
        self.page.run(
            "(async()=>{await nb.sessionContext.session.kernel.requestExecute({code:"
            f"{json.dumps(code)}}}).done;return true}})()"
        )

    def full_height(self, least: int = 900, most: int = 30_000) -> int:
        """Make the viewport as tall as the whole notebook, so that no cell is left undrawn; return its height in px."""
        self.page.run("jupyterapp.shell.collapseLeft(); jupyterapp.shell.collapseRight(); true")
        height = least
        for _ in range(8):
            self.page.resize(1280, height)
            self.page.run("new Promise(done=>setTimeout(()=>done(true),400))")
            shown, bottom = self.page.run(_BOTTOM)
            if shown and bottom + 40 <= height:
                return min(max(bottom + 40, 300), height)
            height = min(max(bottom + 200, height * 2), most)
        return height
