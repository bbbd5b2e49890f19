"""README and docs/ are the reference: what they list is what there is, and every link leads somewhere."""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

import flask_s2s
from flask_s2s.cli import _HOMES as COMMANDS
from flask_s2s.config.builtin import built_in
from flask_s2s.config.setting import Setting
from flask_s2s.config.settings import keys
from flask_s2s.rules.attribution import Reason

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
#: A link's target, its title left out; not an image's, which has none here.
LINK = re.compile(r"\]\(([^)\s]+)")
FENCE = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """Return a page without its examples."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[tuple[Path, str]]:
    """Return where a page links to in this repository: the file, and the heading in it."""
    found = [target for target in LINK.findall(prose(page)) if "://" not in target]
    parts = (target.partition("#") for target in found)
    return [((page.parent / path if path else page).resolve(), name) for path, _, name in parts]


def headings(page: Path) -> set[str]:
    """Return a page's headings as links name them."""
    found = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in found}


@pytest.mark.parametrize("key", [*keys(), "S2S_SECRET_KEY"])
def test_every_setting_has_its_row(key: str) -> None:
    rows = (line for line in read("docs/settings.md").splitlines() if line.startswith("| `"))
    assert any(f"`{key}`" in row for row in rows)


@pytest.mark.parametrize("setting", [one for network in built_in() for one in network.settings])
def test_a_network_s_settings_are_listed_as_it_declares_them(setting: Setting) -> None:
    assert setting.row in read("docs/settings.md").splitlines()


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_sentence(reason: Reason) -> None:
    assert f"| `{reason.value}` | {reason.sentence} |" in read("docs/attribution.md")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_its_row(command: str) -> None:
    rows = (line for line in read("docs/cli.md").splitlines() if line.startswith("| `"))
    assert any(re.search(rf"`{re.escape(command)}[` ]", row) for row in rows)


def test_celery_as_written_goes_where_a_plain_worker_reads() -> None:
    blocks = read("docs/production.md").split("```")
    (block,) = (one for one in blocks if "CeleryEngine(celery_app)" in one)
    assert "queue=" not in block


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, heading in links(page):
        assert target.exists(), f"{page.name} links to {target}, which is not there"
        assert not heading or heading in headings(target), f"{target.name} has no {heading}"


def test_every_page_is_found_from_readme() -> None:
    found, following = set(), [ROOT / "README.md"]
    while following:
        page = following.pop()
        if page not in found and page.suffix == ".md":
            found.add(page)
            following += [target for target, _ in links(page)]
    assert set(PAGES) - found == set()


def test_readme_fits_a_short_look() -> None:
    assert len(read("README.md").splitlines()) <= 160


#: Names below the package's that are no modules: a logger, and Celery's tasks.
NO_MODULES = {"flask_s2s.worker", "flask_s2s.deliver", "flask_s2s.sweep"}
#: The package may be an installed one, away from its tests.
PACKAGE = Path(flask_s2s.__file__).parent
ROOMS = "|".join(sorted(room.name for room in PACKAGE.iterdir() if room.is_dir()))


def paths_in(text: str) -> set[Path]:
    """Return the files and folders that a page names, in the installed package or beside it."""
    package = re.findall(r"\bflask_s2s/([\w./-]*\w)?", text)
    beside = re.findall(r"(?<![\w/])((?:tests|example_app|docs|\.ci)/[\w./-]*\w)", text)
    programs = re.findall(r"(?:-m |`)((?:tests|example_app)(?:\.\w+)*)", text)
    found = [ROOT / name.replace(".", "/") for name in programs]
    return {*(PACKAGE / name for name in package), *(ROOT / name for name in beside), *found}


def names_in(text: str) -> set[str]:
    """Return the modules of the package, and the names in them, that a page speaks of."""
    whole = set(re.findall(r"\bflask_s2s(?:\.[A-Za-z_]\w*)+", text))
    for module, names in re.findall(r"from (flask_s2s[\w.]*) import ([\w, ]+)", text):
        whole |= {f"{module}.{name.strip()}" for name in names.split(",")}
    inside = re.findall(rf"`((?:{ROOMS})(?:/\w+)+(?:\.\w+)*)`", text)
    return {*whole, *(f"flask_s2s.{name.replace('/', '.')}" for name in inside)} - NO_MODULES


def is_there(name: str) -> bool:
    """Say whether a dotted name leads to something."""
    found: object = flask_s2s
    for end, part in enumerate(name.split(".")[1:], start=2):
        module = ".".join(name.split(".")[:end])
        if hasattr(found, "__path__") and importlib.util.find_spec(module) is not None:
            found = importlib.import_module(module)
        elif hasattr(found, part):
            found = getattr(found, part)
        else:
            return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_path_and_name_that_a_page_has_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert {path for path in paths_in(text) if not path.exists()} == set()
    assert {name for name in names_in(text) if not is_there(name)} == set()


def test_the_map_has_every_room() -> None:
    """Each folder and module at the package's top, and no folder that is not there."""
    text = read("docs/architecture.md")
    tops = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    tops = {name for name in tops if not name.startswith("__")}
    assert {name for name in tops if not re.search(rf"`{name}/?`", text)} == set()
    folders = re.findall(r"`(\w+(?:/\w+)*)/`", text)
    assert [one for one in folders if not (PACKAGE / one).is_dir()] == []


def test_what_is_not_there_is_found() -> None:
    text = "`capture/nothing` and `rules/delivery.settle`, `flask_s2s.nowhere`, tests/nothing.py"
    assert {name for name in names_in(text) if not is_there(name)} == {
        "flask_s2s.capture.nothing",
        "flask_s2s.nowhere",
    }
    assert [path for path in paths_in(text) if not path.exists()] == [ROOT / "tests" / "nothing.py"]
