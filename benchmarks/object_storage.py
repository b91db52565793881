"""Object storage of a benchmark: moto's server of S3 on loopback.

It runs in the process of the benchmark, whose time does not count: contenders have processes of their own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.command.errors import UserError

ENDPOINT = "AWS_ENDPOINT_URL"
"""Variable with the server's address, which the libraries know."""
_BUCKET = "benchmark"


@contextmanager
def object_storage() -> Iterator[None]:
    """Serve an empty bucket; contenders find it by their environment.

    Raises:
        UserError: moto is not installed.
    """
    try:
        import boto3
        from moto.server import ThreadedMotoServer
    except ImportError as error:
        raise UserError(
            f"--data-kind s3 needs moto's server and s3fs ({error}): pip install 'moto[server]' and "
            "pip install -e '.[remote]'"
        ) from None
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line per request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ.update(
        {
            ENDPOINT: f"http://{host}:{port}",
            "S3_ENDPOINT_URL": f"http://{host}:{port}",  # of MosaicML's streaming
            "AWS_ACCESS_KEY_ID": "benchmark",
            "AWS_SECRET_ACCESS_KEY": "benchmark",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    )
    try:
        boto3.client("s3").create_bucket(Bucket=_BUCKET)
        yield
    finally:
        server.stop()
        os.environ.clear()
        os.environ.update(before)


def address_of(folder: Path) -> str:
    """Address of the copy of a folder."""
    return f"s3://{_BUCKET}/{folder.name}"


def upload(folder: Path) -> str:
    """Copy the files of a folder to the storage; its address there."""
    import boto3

    client = boto3.client("s3")
    for path in folder.iterdir():
        if path.is_file():
            key = f"{folder.name}/{path.name}"
            client.upload_file(str(path), _BUCKET, key, ExtraArgs={"ACL": "public-read"})  # for curl
    return address_of(folder)
