"""The code blocks of README.md and docs/ do what they say, with the installed wheel, in an empty directory."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support.blocks import Block, read_blocks
from support.installation import Installation

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [block for page in PAGES for block in read_blocks(page)]
TO_RUN = [block for block in BLOCKS if block.status is not None]
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:|#)([^)#\s]+)[^)]*\)")
LOAD_POLICY = "import sys; from stockade import Policy; Policy.from_text(sys.stdin.read())"


def name_of(block: Block) -> str:
    """Return the place of a block as the name of its test."""
    return f"{block.path.relative_to(ROOT)}:{block.line}"


@pytest.mark.slow
@pytest.mark.parametrize("block", TO_RUN, ids=name_of)
def test_the_block_runs(block: Block, installation: Installation, public_tmp: Path) -> None:
    script = public_tmp / "block"
    script.write_text(block.script())
    directory = public_tmp / "empty"
    directory.mkdir(mode=0o755)
    command: list[str | Path] = ["bash", "-e", script]
    if block.language == "python":
        command = [installation.python, script]
    elif block.language == "textproto":
        command = [installation.python, "-c", LOAD_POLICY]
    given = block.code if block.language == "textproto" else ""
    done = subprocess.run(
        command, cwd=directory, env=installation.environment, input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == block.status, f"{name_of(block)}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert missing == []


def test_the_readme_has_blocks_that_run() -> None:
    assert {"python", "console"} <= {block.language for block in TO_RUN if block.path.name == "README.md"}


PAGE = """\
```python
print(1)
```
<!-- run: exits 3 -->

```console
$ echo \\
  a
a
$ exit 3
```
<!-- not run: it deletes everything -->
```sh
rm -rf /
```
```text
output
```
"""


def test_blocks_are_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    blocks = read_blocks(page)
    assert [(block.language, block.status, block.line) for block in blocks] == [
        ("python", 0, 1),
        ("console", 3, 6),
        ("sh", None, 13),
        ("text", None, 16),
    ]
    assert blocks[1].script() == "echo \\\n  a\nexit 3\n"


@pytest.mark.parametrize(
    "text", ["```sh\nls\n```\n", "```\nls\n```\n", "```python\nprint()\n", "<!-- not run: -->\n```sh\nls\n```\n"]
)
def test_a_block_without_a_mark_or_an_end_is_an_error(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match=r"page\.md:[12]: "):
        read_blocks(page)
