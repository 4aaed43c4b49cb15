"""The repository itself: clean, stripped, without addresses, and described truthfully."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.requires import BINDER_PYTHON, ROOT

NBSTRIPOUT = ("--keep-id", "--extra-keys", "metadata.language_info cell.metadata.execution")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# What a lock file or a hasty command would leave behind. Written in pieces, so that this file does not find itself.
ADDRESSES = re.compile(
    "|".join(
        [
            r"https?://[\w.-]*(?:py" + r"pi|pythonhosted|npm" + r"js|debian|ubuntu|anaconda)\.[a-z]+/",
            '"resol' + 'ved":',
            r"(?:extra-)?index-" + r"url\s*[= ]\s*\S",
            r"registry\s*=\s*http",
        ]
    )
)
# Folders of one person's machine.
HOMES = re.compile(r"(?<![\w.])/(?:ro" + r"ot|wo" + r"rk|home/\w+)/[A-Za-z0-9_.]")


def tracked() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nothing is tracked here")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def texts():
    for path in tracked():
        try:
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an object file or a capture


@pytest.mark.parametrize("pattern", [ADDRESSES, HOMES], ids=["registry addresses", "home folders"])
def test_no_tracked_file_names(pattern):
    found = [f"{path}: {match[0]}" for path, text in texts() for match in pattern.finditer(text)]
    assert not found


def test_no_lock_file_with_addresses_is_tracked():
    names = {path.name for path in tracked()}
    assert not names & {"uv.lock", "pylock.toml", "package-lock.json", "poetry.lock", "Pipfile.lock"}


def test_no_tracked_file_is_large():
    assert [path for path in tracked() if path.stat().st_size > 1 << 20] == []


def test_every_dependency_is_constrained_to_one_version():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[a-z0-9.-]+==[\w.]+( ; .+)?", line) for line in lines)
    pinned = {line.split("==")[0] for line in lines}
    extras = PYPROJECT["project"]["optional-dependencies"]
    wanted = PYPROJECT["project"]["dependencies"] + extras["test"] + extras["compiler"]
    assert {re.match(r"[\w-]+", spec)[0] for spec in wanted} <= pinned


def ruff(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "ruff", *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("words", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_is_content_with_code_and_notebooks(words):
    files = [str(path) for path in tracked() if path.suffix in (".py", ".ipynb")]
    done = ruff(*words, "--no-cache", "--force-exclude", *files)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_notebook_is_stripped_and_keeps_its_ids(path):
    words = [sys.executable, "-m", "nbstripout", "--verify", *NBSTRIPOUT, str(path)]
    assert subprocess.run(words, capture_output=True, text=True).returncode == 0, f"strip {path.name}: see CONTRIBUTING"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    ids = [cell.get("id") for cell in notebook["cells"]]
    assert all(ids) and len(set(ids)) == len(ids)


def test_pre_commit_hooks_are_local_and_strip_as_the_tests_do():
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with JupyterLab")
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert {repo["repo"] for repo in yaml.safe_load(text)["repos"]} == {"local"}
    strip = f'{NBSTRIPOUT[0]} {NBSTRIPOUT[1]} "{NBSTRIPOUT[2]}"'
    assert strip in text and strip in MAKEFILE
    assert strip in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


# README


def test_readme_begins_with_three_sentences_and_a_picture():
    opening = README.split("\n## ")[0]
    prose, picture = opening.split("![")
    assert len(re.findall(r"[.!?](?=\s)", prose.split("\n", 1)[1])) == 3
    assert (ROOT / re.search(r"\((notebooks/\S+\.svg)\)", picture)[1]).is_file()


def test_pictures_are_what_the_package_draws_today(tmp_path):
    folder = ROOT / "notebooks" / "images"
    subprocess.run([sys.executable, str(folder / "draw.py"), str(tmp_path)], check=True)
    drawn = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.svg")}
    assert drawn == kept, "python notebooks/images/draw.py draws them anew"


def test_readme_chapter_table_is_the_course():
    from netkit_edu.course import catalogue

    rows = re.findall(r"^\| \[([\w-]+)\]\((notebooks/\S+)\) \| (\d+) \| (.+) \|$", README, re.M)
    chapters = [c for c in catalogue.load().chapters.values() if c.minutes]
    assert rows == [
        (f"{c.number}-{c.slug}", f"notebooks/{c.number}-{c.slug}.ipynb", str(c.minutes), c.afterwards) for c in chapters
    ]
    assert [path.stem for path in NOTEBOOKS] == [name for name, *_ in rows]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_local_link_leads_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []


def commands_of(document: str) -> str:
    """What a document tells to type: Markdown's code blocks and spans; of a script the lines that are no comments."""
    text = (ROOT / document).read_text(encoding="utf-8")
    if not document.endswith(".md"):
        return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return "\n".join(block or span for block, span in re.findall(r"```(.*?)```|`([^`\n]+)`", text, re.S))


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "Makefile", ".ci/run"])
def test_every_make_word_that_is_named_exists(document):
    targets = set(re.findall(r"^([\w.-]+):(?!=)", MAKEFILE, re.M))
    named = set(
        re.findall(r"(?<![\w-])make (?:[A-Z]+=\S+ )*([a-z][a-z-]*[a-z])(?=[\s`,;.:)]|$)", commands_of(document))
    )
    assert named <= targets


def test_every_python_m_netkit_edu_word_that_is_named_exists():
    from netkit_edu import cli

    known = set(re.findall(r"^(\w+) ", cli.__doc__, re.M))
    for path, text in texts():
        for word in re.findall(r"-m netkit_edu ([a-z]+)", text):
            assert word in known or path.name == "test_cli.py", f"{path}: {word}"


def test_make_without_a_word_lists_the_words():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^make ([\w-]+)", done.stdout, re.M))
    phony = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)[1].split())
    assert listed == phony - {"help"}


def test_licenses_of_programs_are_compatible_with_the_gpl():
    for path in (ROOT / "bpf").glob("*.bpf.c"):
        found = re.search(r'SEC\("license"\)\s*=\s*"([^"]+)"|LICENSE\("([^"]+)"\)', path.read_text(encoding="utf-8"))
        assert found is None or (found[1] or found[2]) in {"GPL", "Dual MIT/GPL"}, path.name


# environment.yml and Binder


def environment() -> dict:
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with JupyterLab")
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def test_binder_reads_the_same_environment():
    link = ROOT / "binder" / "environment.yml"
    assert link.read_bytes() == (ROOT / "environment.yml").read_bytes()
    if link.is_symlink():  # a checkout without symlinks has a copy
        assert link.readlink() == Path("../environment.yml")


def test_environment_has_what_the_package_needs():
    from packaging.requirements import Requirement

    specs = []
    for entry in environment()["dependencies"]:
        specs += entry["pip"] if isinstance(entry, dict) else [entry]
    written = {re.match(r"[\w-]+", spec)[0]: spec for spec in specs}
    for text in PYPROJECT["project"]["dependencies"]:
        requirement = Requirement(text)
        versions = written[requirement.name].removeprefix(requirement.name)
        assert set(versions.split(",")) == {str(s) for s in requirement.specifier}


def test_environment_pip_section_parses():
    from packaging.requirements import Requirement

    for entry in environment()["dependencies"]:
        if isinstance(entry, dict):
            assert [Requirement(text).name for text in entry["pip"]]
            assert not any(text.startswith("-e") for text in entry["pip"]), "pip runs in the folder of the file"


@pytest.mark.binder
def test_environment_specs_parse_strictly():
    specs = [entry for entry in environment()["dependencies"] if isinstance(entry, str)]
    words = [str(BINDER_PYTHON), str(ROOT / "tests" / "binder_specs.py")]
    assert subprocess.run([*words, "scapy=>2.6"], capture_output=True).returncode != 0, "the parser is not strict"
    done = subprocess.run([*words, *specs], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.binder
def test_binder_image_is_rendered_from_what_we_wrote(tmp_path):
    for path in [*tracked(), ROOT / "binder" / "environment.yml"]:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy, follow_symlinks=False) if not copy.exists() else None
    tool = BINDER_PYTHON.with_name("jupyter-repo2docker")
    done = subprocess.run([tool, "--no-build", "--debug", "."], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rendered = done.stdout + done.stderr
    assert "python=3.12" in rendered
    assert '--file "binder/environment.yml"' in rendered
    for name in (ROOT / "binder" / "apt.txt").read_text(encoding="utf-8").splitlines():
        if not name.startswith("#"):
            assert re.search(rf"apt-get install --yes --no-install-recommends .*\b{re.escape(name)}\b", rendered)
    assert "RUN ./binder/postBuild" in rendered
    assert 'R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in rendered


@pytest.mark.parametrize("name", ["binder/postBuild", "binder/start", ".ci/run"])
def test_script_is_executable_and_is_bash(name):
    path = ROOT / name
    assert path.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0


def test_binder_start_hands_over_to_the_server():
    lines = (ROOT / "binder" / "start").read_text(encoding="utf-8").strip().splitlines()
    assert lines[-1] == 'exec "$@"'
