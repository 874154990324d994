"""One installation for all tests of this folder: real servers, real workers."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
import s3fs
from psycopg import sql

from deploy import team
from tests.helpers import servers
from tests.helpers.operators import Operator, processes_of, worker_environment


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here, so that none can be forgotten."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.team)


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[team.Team]:
    """A team's installation with everything deployed; nothing of it runs on afterwards."""
    made = team.open_team(tmp_path_factory.mktemp("team"))
    with servers.logs_shown_on_failure(made.folder), pytest.MonkeyPatch.context() as patch:
        for name, value in made.storage.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        try:
            team.up(made, worker_environment(made))
            yield made
        finally:
            team.down(made)
            assert processes_of(made) == []


@pytest.fixture(scope="session")
def operator(installation: team.Team) -> Iterator[Operator]:
    """Who asks the installation for something and looks what came of it."""
    with httpx.Client(base_url=installation.environment["PREFECT_API_URL"], timeout=60) as api:
        yield Operator(installation, api)


@pytest.fixture
def bare(installation: team.Team, tmp_path: Path) -> Iterator[servers.Team]:
    """A further Prefect server with nothing deployed, its database in the same PostgreSQL."""
    name = f"prefect-{uuid4().hex}"
    with psycopg.connect(installation.database("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with servers.team(tmp_path, installation.database(name, "+asyncpg")) as made:
        yield made
