"""`poolctl evidence`: what is kept on this host, found, shown and copied."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pool.cli import app
from pool.evidence import Bundle, Shelf

runner = CliRunner(env={"POOL_CONFIG": None, "POOL_URL": None, "COLUMNS": "200"})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POOL_STATE_DIR", str(tmp_path))
    return tmp_path / "evidence"


def keep(root: Path, pool: str = "web", *, at: float = 1_800_000_000.0, **facts: object) -> Bundle:
    shelf = Shelf(root, "d", pool)
    bundle_id, folder = shelf.begin(f"{pool}-1", at)
    (folder / "logs.txt").write_text("last words\n")
    about = {"pool": pool, "container": f"{pool}-1", "cause": "failed", "note": "it fell"}
    return shelf.finish(bundle_id, folder, about | facts)


def run(*words: str) -> tuple[int, str, str]:
    result = runner.invoke(app, ["evidence", *words])
    return result.exit_code, result.stdout, result.stderr


def test_nothing_kept_is_said(root: Path) -> None:
    assert run("list") == (0, "no evidence was kept\n", "")


def test_bundles_are_listed_oldest_first(root: Path) -> None:
    newer = keep(root, at=1_800_000_100.0, lease={"owner": "run-42", "request_id": "r1"})
    older = keep(root, "mail")

    code, out, _ = run("list")

    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == [older.id, newer.id]
    assert "run-42" in out
    assert [each["id"] for each in json.loads(run("list", "--json")[1])["bundles"]] == [older.id, newer.id]
    assert [each["id"] for each in json.loads(run("list", "web", "--json")[1])["bundles"]] == [newer.id]


def test_what_others_wrote_steers_no_terminal(root: Path) -> None:
    keep(root, note="\x1b[2Jgone", missing=[{"what": "/a\x1b]0;x", "why": "\x07"}])

    for words in (("list",), ("show", "2")):
        code, out, _ = run(*words)
        assert code == 0
        assert not {"\x1b", "\x07"} & set(out)


def test_a_bundle_is_shown_with_files_and_what_is_missing(root: Path) -> None:
    bundle = keep(root, lease={"owner": "run-42"}, missing=[{"what": "stats", "why": "the container is exited"}])

    code, out, _ = run("show", bundle.id)
    document = json.loads(run("show", bundle.id[:18], "--json")[1])

    assert code == 0
    assert "owner        run-42\n" in out
    assert "file         logs.txt  11 B\n" in out
    assert "missing      stats: the container is exited\n" in out
    assert document["files"] == {"evidence.json": document["files"]["evidence.json"], "logs.txt": 11}
    assert document["path"] == str(bundle.path)


def test_a_bundle_is_copied_and_nothing_is_replaced(root: Path, tmp_path: Path) -> None:
    bundle = keep(root)

    code, out, _ = run("get", bundle.id, str(tmp_path / "new"))
    again, _, err = run("get", bundle.id, str(tmp_path / "new"))

    assert code == 0
    assert Path(out.strip()) == tmp_path / "new" / bundle.id
    assert (tmp_path / "new" / bundle.id / "logs.txt").read_text() == "last words\n"
    assert again == 2
    assert "there already" in err


def test_nothing_is_copied_through_a_symbolic_link(root: Path, tmp_path: Path) -> None:
    bundle = keep(root)
    (tmp_path / "secret").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "secret")

    code, _, err = run("get", bundle.id, str(tmp_path / "link"))

    assert code == 2
    assert "error: dir: " in err
    assert "symbolic link" in err
    assert list((tmp_path / "secret").iterdir()) == []


@pytest.mark.parametrize(("given", "why"), [("2027", "2 bundles begin"), ("nope", "evidence list"), ("", "2 bundles")])
def test_an_id_that_names_no_bundle_or_several_is_refused(root: Path, given: str, why: str) -> None:
    keep(root)
    keep(root, "mail")

    code, out, err = run("show", given)

    assert (code, out) == (2, "")
    assert f"error: id: {given!r} is not allowed" in err
    assert why in err


def test_the_configuration_or_an_option_says_where_bundles_are(root: Path, tmp_path: Path) -> None:
    bundle = keep(tmp_path / "elsewhere")
    config = tmp_path / "pool.yaml"
    config.write_text(
        f"pools: {{web: {{size: 1, container: {{image: i}}, health: {{tcp: null}}, "
        f"evidence: {{dir: {tmp_path / 'elsewhere'}}}}}}}"
    )

    assert bundle.id not in run("list")[1]
    assert bundle.id in run("list", "--dir", str(tmp_path / "elsewhere"))[1]
    assert bundle.id in run("list", "--config", str(config))[1]
