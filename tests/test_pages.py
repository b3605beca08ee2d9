"""The pages in docs/ and the READMEs: links lead somewhere, and every command is tried or said why not."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.support.console import commands_of
from tests.support.demo import ROOT
from tests.test_readme import BY_CI, run

DOCS = ROOT / "docs"
STARTING = DOCS / "getting-started.md"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
# Pages with commands, and where those are tried.
TRIED = {
    "README.md": "tests/test_readme.py",
    "docs/command-line.md": "tests/test_command_line_page.py",
    "docs/deployment.md": "tests/servers/test_uwsgi.py",
    "docs/extending.md": "tests/test_extending.py",
    "docs/getting-started.md": "tests/test_pages.py",
    "docs/pull.md": "tests/e2e/test_pulled.py",
    "docs/report.md": "tests/test_readme.py",
    "examples/collector/README.md": "tests/e2e/test_examples.py",
    "examples/jaeger/README.md": "tests/e2e/test_examples.py",
    "examples/pyroscope/README.md": "tests/e2e/test_examples.py",
}
# What would change the environment that tests run in.
BOOTSTRAP = "opentelemetry-bootstrap -a install"

pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="there is no checkout around")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\((docs/[\w-]+\.md)\)", (ROOT / "README.md").read_text()))
    assert linked == {name_of(page) for page in DOCS.glob("*.md")}


def test_every_page_with_commands_is_tried_somewhere() -> None:
    assert {name_of(page) for page in PAGES if commands_of(page)} == TRIED.keys()
    assert all((ROOT / test).exists() for test in TRIED.values())


def test_the_command_of_the_report_is_one_of_the_readme() -> None:
    assert set(commands_of(DOCS / "report.md")) <= set(commands_of(ROOT / "README.md"))


def test_the_commands_for_servers_are_those_that_are_tried() -> None:
    install, uwsgi = commands_of(DOCS / "deployment.md")
    assert install == BOOTSTRAP
    tried = (ROOT / TRIED["docs/deployment.md"]).read_text()
    assert all(f'"{option}"' in tried for option in re.findall(r"(?<= )--[\w-]+", uwsgi))
    assert '"unix_signal:15 gracefully_kill_them_all"' in tried


def test_getting_started_in_its_order(tmp_path: Path) -> None:
    """In one go: each command stands on what those above it left."""
    (program,) = re.findall(r"```python\n(.*?)```", STARTING.read_text(), re.DOTALL)
    (tmp_path / "service.py").write_text(program)
    printed: dict[str, str] = {}
    for command in commands_of(STARTING):
        if command in BY_CI:
            continue
        tried = (
            command.replace("-a install", "-a requirements") if command == BOOTSTRAP else command
        )
        # What others on this machine keep is not the latest run.
        finished = run(f"export OTELPROF_STATE_DIR='{tmp_path}/state'; {tried}", tmp_path)
        assert finished.returncode == 0, f"{command}\n{finished.stderr}"
        assert "Traceback" not in finished.stderr, command
        printed[command] = finished.stdout
    for by_span in (
        "otelprof show --by span latest",
        "otelprof show --by span otelprof-profiles",
    ):
        assert "wait for the bank" in printed[by_span]
        assert "__main__.sign" in printed[by_span]
    assert "__main__.sign" in printed["otelprof show --span sign latest"]
    assert "sign" in (tmp_path / "report.html").read_text()
    assert re.search(r"^sampler +\w", printed["otelprof doctor"], re.MULTILINE)
