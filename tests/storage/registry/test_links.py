"""Addresses of MLflow's pages, against a real server and the interface's own list of pages."""

from pathlib import Path

import pytest

from storage.registry.links import run_page, server_address, version_page
from storage.registry.runs import log_study
from storage.registry.versions import register
from storage.settings import Registry
from tests.helpers.mlflow_pages import check_page
from tests.helpers.servers import mlflow_server


@pytest.mark.team
def test_the_links_lead_to_pages_of_mlflow(tmp_path: Path) -> None:
    from storage.registry.client import client

    page = tmp_path / "report of a study.html"
    page.write_text("<html><p>x")
    with mlflow_server(tmp_path) as address:
        registry = Registry(address)
        run_id = log_study(registry, "of links", "links", [page])
        store = client(registry)
        experiment = store.get_run(run_id).info.experiment_id
        logged = store.create_logged_model(experiment, name="pas-x", source_run_id=run_id)
        made = register(
            registry, name="pas-x", logged_model=logged.model_id, run_id=run_id, tags={}
        )
        link = run_page(registry, run_id, page.name)
        shown = version_page(registry, "pas-x", made.version)
        assert link is not None and shown is not None
        check_page(link)
        check_page(shown)
        with pytest.raises(AssertionError, match="no page"):
            check_page(f"{address}/#/runs/{run_id}/artifacts")  # what was linked to once
        folder = run_page(registry, run_id)
        assert folder is not None and link == f"{folder}/report%20of%20a%20study.html"


def test_a_store_without_a_server_has_no_pages() -> None:
    registry = Registry("sqlite:///nowhere.db", "artifacts")
    assert run_page(registry, "0" * 32) is None
    assert version_page(registry, "pas-x", 1) is None


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("http://mlflow:5000/", "http://mlflow:5000"),
        ("https://me:secret@host/below/it", "https://host/below/it"),
        ("https://host/a@b", "https://host/a@b"),
    ],
)
def test_an_address_has_no_credentials(uri: str, address: str) -> None:
    assert server_address(Registry(uri)) == address
