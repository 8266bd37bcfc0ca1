"""Tests of the README and docs/: links, flags, paths, length, sentences."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from trainer.config.fields import FIELDS

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (
        ROOT / "README.md",
        ROOT / "BUILD.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/**/*.md"),
    )
)
# The flags of main.py: those of this program, some of absl's, and the negated
# form of each boolean flag.
OF_MAIN = (
    {*FIELDS, "completion", "flagfile", "help", "verbosity", "version"}
    | {f"no{name}" for name, field in FIELDS.items() if field.type == "bool"}
)  # fmt: skip
# Options of other programs that the pages mention.
FOREIGN = {
    *("config", "display-name", "dist", "file_format", "find-links"),
    *("logdir", "name", "no-deps", "nodes", "region", "strict", "zone"),
    # The forms --flag=value and --noname.
    *("flag", "noname"),
}
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
OPTION = re.compile(r"(?<![\w-])--([a-z][\w-]*)")
PROGRAM = re.compile(
    r"`?\b((?:trainer|tests|benchmarks|tools|launch)/[\w./-]+\.\w+)"
)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose_of(page: str) -> str:
    """Returns a page without its code blocks."""
    return FENCE.sub("", text_of(page))


def anchors_of(page: str) -> set[str]:
    """Returns the anchors that MkDocs and GitHub generate for the headings."""
    return {
        slug(match[1])
        for match in re.finditer(r"^#+ +(.+)$", prose_of(page), re.MULTILINE)
    }


def slug(heading: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", heading).encode(
        "ascii", "ignore"
    )
    kept = re.sub(r"[^\w\s-]", "", ascii_only.decode()).strip().lower()
    return re.sub(r"[-\s]+", "-", kept)


def commands_of(page: str) -> Iterator[str]:
    """Yields the arguments of each `python main.py ...` on a page."""
    text = text_of(page).replace("\\\n", " ")
    for match in re.finditer(r"python main\.py([^`\n#|]*)", text):
        yield match[1]


def options_of_sources() -> set[str]:
    """Returns the options of the other programs in this repository."""
    sources = (
        *ROOT.glob("benchmarks/*.py"),
        *ROOT.glob("tools/*"),
        *ROOT.glob("launch/*.sh"),
        *ROOT.glob("tests/kill*.py"),
        *ROOT.glob("tests/kill/*.py"),
    )
    return {
        option
        for path in sources
        if path.is_file()
        for option in re.findall(r"--([a-z]\w*)", path.read_text())
    }


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_and_anchors_lead_somewhere(page: str) -> None:
    for link in LINK.findall(prose_of(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page
        if path:
            target = posixpath.normpath(
                posixpath.join(posixpath.dirname(page), path)
            )
        assert (ROOT / target).exists(), link
        if page.startswith("docs/"):
            assert target.startswith("docs/"), (
                f"{link}: MkDocs has no such page"
            )
        if anchor:
            assert anchor in anchors_of(target), link


@pytest.mark.parametrize("page", PAGES)
def test_commands_give_flags_that_exist(page: str) -> None:
    for command in commands_of(page):
        assert set(OPTION.findall(command)) <= OF_MAIN, command


@pytest.mark.parametrize("page", PAGES)
def test_commands_with_flags_name_the_stage(page: str) -> None:
    """The command line has no default stage."""
    for command in commands_of(page):
        options = set(OPTION.findall(command))
        assert "stage" in options or options <= {"help", "version"}, command


@pytest.mark.parametrize("page", PAGES)
def test_options_exist_in_some_program(page: str) -> None:
    known = OF_MAIN | FOREIGN | options_of_sources()
    assert set(OPTION.findall(text_of(page))) <= known


def test_every_flag_is_documented_on_a_page() -> None:
    text = "".join(text_of(page) for page in PAGES)
    assert set(FIELDS) - set(OPTION.findall(text)) == set()


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page: str) -> None:
    for path in PROGRAM.findall(text_of(page)):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES)
def test_named_modules_exist(page: str) -> None:
    for module in re.findall(
        r"python -m ((?:benchmarks|tools|tests)[\w.]*)", text_of(page)
    ):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module


def test_every_page_is_in_the_navigation() -> None:
    site = yaml.safe_load(text_of("mkdocs.yml"))
    named = re.findall(r"[\w-]+\.md", str(site["nav"]))
    on_disk = [path.name for path in ROOT.glob("docs/**/*.md")]
    assert sorted(named) == sorted(on_disk)


@pytest.mark.parametrize("page", ["README.md", "BUILD.md"])
def test_front_door_has_200_lines_at_most(page: str) -> None:
    assert len(text_of(page).splitlines()) <= 200


def test_readme_starts_with_a_command() -> None:
    assert "python main.py" in "".join(text_of("README.md").splitlines()[:10])


def test_readme_sentences_have_25_words_at_most() -> None:
    prose = re.sub(r"^[|#<].*$", "", prose_of("README.md"), flags=re.MULTILINE)
    prose = LINK.sub(lambda link: link[0][1:].partition("]")[0], prose)
    for sentence in re.split(r"[.:;?!]\**\s|\n\s*\n|\n- ", prose):
        assert len(sentence.split()) <= 25, sentence


def test_readme_test_command_runs_the_quick_tests() -> None:
    """.ci/run runs the first line of the block after the marker."""
    after = text_of("README.md").split("<!-- test command -->\n```\n")[1]
    assert after.partition("\n")[0] == (
        "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' &&"
        ' .venv/bin/python -m pytest -q -n 2 --dist loadfile -m "not slow"'
    )


def test_hooks_are_steps_of_the_check() -> None:
    config = yaml.safe_load(text_of(".pre-commit-config.yaml"))
    entries = [
        hook["entry"] for repo in config["repos"] for hook in repo["hooks"]
    ]
    check = text_of("tools/check")
    assert len(entries) == check.count("  python -m ")
    for entry in entries:
        assert f"  {entry}" in check
