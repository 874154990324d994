"""Addresses and messages as they may be shown."""

import pytest

from storage.http import redacted, without_credentials


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://key:se/cret@bucket", "s3://key:se/cret@bucket"),  # `/` must be quoted in a URL
        ("s3://key:s%2Fcret@bucket/lake", "s3://bucket/lake"),
        ("s3://key:s@cret@bucket/lake", "s3://bucket/lake"),
        ("https://host/file.csv?signature=x#y", "https://host/file.csv"),
        ("simplecache::s3://key:secret@bucket/lake", "simplecache::s3://bucket/lake"),
        ("postgresql+psycopg2://ada:secret@host:5432/mlflow", "postgresql+psycopg2://host:5432/mlflow"),
        ("sqlite:////home/a#b/@c/mlflow.db", "sqlite:////home/a#b/@c/mlflow.db"),
        ("/home/a@b/lake", "/home/a@b/lake"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
    ],
)  # fmt: skip
def test_an_address_is_shown_without_credentials(address: str, shown: str) -> None:
    assert without_credentials(address) == shown


def test_a_message_is_shown_without_credentials() -> None:
    said = "cannot list s3://key:secret@bucket/a (see ftp://ada:secret@host) for a@b at /x@y"
    assert redacted(said) == "cannot list s3://bucket/a (see ftp://host) for a@b at /x@y"
