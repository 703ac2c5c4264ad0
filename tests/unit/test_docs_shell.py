"""How pages are done word by word, and what counts as what they say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs_shell import Command, File, looks_like, open_shell, steps_of

PAGE = """\
Write this:

```yaml title="pool.yaml"
size: 2
```

```console
$ echo one
one
$ true
```

```sh
cd elsewhere
```

```python
never = "typed"
```
"""


def test_a_page_is_files_and_commands_with_what_they_print() -> None:
    assert list(steps_of(PAGE)) == [
        File("pool.yaml", "size: 2\n"),
        Command("echo one", "one\n"),
        Command("true", ""),
        Command("cd elsewhere", ""),
    ]


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("", ""),
        ("one\n", "one\n"),
        ("one", "one\n"),
        ("took 12 ms\n", "took … ms\n"),
        ("a\nb\nc\n", "…\nc\n"),
        ("c\n", "…\nc\n"),
        ("name   \n\n", "name\n"),
    ],
)
def test_what_a_page_says_stands_for_what_is_printed(printed: str, said: str) -> None:
    assert looks_like(printed, said)


@pytest.mark.parametrize(
    ("printed", "said"), [("two\n", "one\n"), ("one\ntwo\n", "one\n"), ("", "one\n"), ("one\n", "")]
)
def test_anything_else_printed_is_noticed(printed: str, said: str) -> None:
    assert not looks_like(printed, said)


def runs(pid: str) -> bool:
    """Whether a process runs: a zombie has no command line any more."""
    command = Path(f"/proc/{pid}/cmdline")
    return command.exists() and command.read_text() != ""


async def test_commands_share_one_shell_and_end_with_it(tmp_path: Path) -> None:
    async with open_shell(tmp_path, os.environ) as shell:
        await shell.type("word=kept; sleep 600 & echo $! > pid", deadline_s=30)
        kept = await shell.type("echo $word; printf 'no line end'", deadline_s=30)
        failed = await shell.type("(exit 3)", deadline_s=30)

    assert (kept, failed) == (("kept\nno line end", 0), ("", 3))
    assert not runs((tmp_path / "pid").read_text().strip())
