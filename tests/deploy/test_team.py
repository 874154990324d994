"""What `make team` says where it cannot start."""

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy import team
from deploy.processes import find


@pytest.mark.team
def test_a_server_that_ends_is_told_at_once(tmp_path: Path) -> None:
    made = team.open_team(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", made.ports["postgres"]))
        other.listen()
        done = CliRunner().invoke(team.app, ["up", "--folder", str(tmp_path), "--storage-only"])
    assert done.exit_code == 2
    assert f"postgres has ended; {tmp_path}/postgres.log says why" in done.output
    stopped = CliRunner().invoke(team.app, ["down", "--folder", str(tmp_path)])
    assert stopped.output == "stopped: s3\n"
    assert not [name for name in ("postgres", "s3") if find(tmp_path, name)]


def test_without_postgresql_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    done = CliRunner().invoke(team.app, ["up", "--folder", str(tmp_path)])
    assert done.exit_code == 2
    assert "apt-get install postgresql" in done.output


def test_nothing_to_stop(tmp_path: Path) -> None:
    done = CliRunner().invoke(team.app, ["down", "--folder", str(tmp_path)])
    assert (done.exit_code, done.output) == (0, f"{tmp_path}: there is no installation\n")
