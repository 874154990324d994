"""Which code a result was made from."""

import hashlib

from storage.lake.lineage import code_digest
from tests.helpers.places import ROOT


def test_the_digest_is_of_the_method_and_the_queries() -> None:
    content = hashlib.blake2b(digest_size=8)
    for folder in ("pas", "storage/catalogue/sql"):
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in (".py", ".sql", ".txt"):
                content.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    assert code_digest() == content.hexdigest()
