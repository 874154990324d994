"""An S3 server on loopback that this process's clients find in their environment."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import s3fs
from moto.server import ThreadedMotoServer

SECRET = "the-secret-of-the-bucket"


@contextmanager
def bucket() -> Iterator[str]:
    """Start the server; yield the URL of an empty bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # A client that an earlier server of this process made would ask at the address of that one.
        s3fs.S3FileSystem.clear_instance_cache()
        name = f"pas-{uuid.uuid4().hex}"  # the servers of one process share their buckets
        s3fs.S3FileSystem().mkdir(name)
        yield f"s3://{name}"
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()
