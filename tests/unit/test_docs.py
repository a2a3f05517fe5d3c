"""Links in README and docs, and mentions of pages in code, resolve."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT = {"quickstart.ipynb"}  # Copied into docs/ when the site is built.
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in page.parts),
]


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() or target.name in BUILT, link
        if anchor:
            assert anchor in anchors(target), link


def test_pages_that_code_names_are_there():
    folders = ("scripts", "rules", "config", "tests", "profiles", "examples")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*") if file.is_file()]
    named = {
        name
        for file in [*files, ROOT / "config.yaml", ROOT / "pyproject.toml", ROOT / "Makefile"]
        if file.suffix in (".py", ".smk", ".yaml", ".toml", ".md", "", ".ipynb")
        for name in re.findall(r"\bdocs/([\w/-]+\.md)\b", file.read_text(errors="ignore"))
    }
    assert "robustness.md" in named
    assert not [name for name in named if not (ROOT / "docs" / name).is_file()]


def test_every_page_is_in_the_site():
    index = (ROOT / "docs" / "index.md").read_text()
    docs = ROOT / "docs"
    for page in PAGES[1:]:
        name = page.relative_to(docs).with_suffix("").as_posix()
        assert name == "index" or re.search(rf"^{name}$", index, re.MULTILINE), name
