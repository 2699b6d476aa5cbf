"""One fixture a store: every promise in `test_store.py` is put to each of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from pydantic import SecretStr

from tsgb.settings import Secrets, StorageSettings
from tsgb.storage import LocalStore, Store, open_store

from . import servers

BUCKET = "tsgb-bucket"
KEYS = Secrets(
    _env_file=None,
    aws_access_key_id=SecretStr("AKIATEST"),
    aws_secret_access_key=SecretStr("s3cret"),
    aws_default_region=SecretStr("us-east-1"),
)
LOGIN = Secrets(
    _env_file=None,
    rclone_webdav_user=SecretStr(servers.USER),
    rclone_webdav_pass=SecretStr(servers.PASSWORD),
)
OpenStore = Callable[..., Store]


@pytest.fixture(scope="session")
def s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """ministack with an empty bucket."""
    with servers.ministack(tmp_path_factory.mktemp("s3")) as address:
        keys = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "s3cret", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket=BUCKET)
        yield address


@pytest.fixture(scope="session")
def rclone_s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """rclone's S3, which ignores conditions."""
    with servers.rclone(tmp_path_factory.mktemp("rclone"), "s3") as address:
        yield address


@pytest.fixture(scope="session")
def untrusted_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A TLS server with a certificate of its own making."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate that nobody signed")
    with servers.untrusted(tmp_path_factory.mktemp("untrusted")) as address:
        yield address


@pytest.fixture
def open_s3(s3_address: str) -> OpenStore:
    """Open a store below a fresh prefix of the bucket, or wherever else is said."""

    def opened(
        bucket: str = BUCKET, address: str = s3_address, secrets: Secrets = KEYS, prefix: str = "", **settings: float
    ) -> Store:
        chosen = StorageSettings(endpoint_url=address, **settings)
        return open_store(f"s3://{bucket}/{prefix or uuid4().hex}", chosen, secrets)

    return opened


@pytest.fixture(scope="session")
def wsgidav_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A WebDAV server in Python."""
    with servers.wsgidav(tmp_path_factory.mktemp("wsgidav")) as address:
        yield address


@pytest.fixture(scope="session")
def rclone_webdav_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """rclone's WebDAV, which ignores conditions and creates collections twice."""
    with servers.rclone(tmp_path_factory.mktemp("rclone"), "webdav") as address:
        yield address


@pytest.fixture
def open_webdav(wsgidav_address: str) -> OpenStore:
    """Open a store in a fresh folder of a server, or wherever else is said."""

    def opened(address: str = wsgidav_address, folder: str = "", secrets: Secrets = LOGIN, **settings: float) -> Store:
        host = address.removeprefix("http://")
        return open_store(f"webdav://{host}/{folder or uuid4().hex}", StorageSettings(**settings), secrets)

    return opened


@pytest.fixture(params=["local", "s3", "wsgidav", "rclone"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "local":
        return LocalStore(tmp_path / "store")
    if request.param == "s3":
        bucket: Store = request.getfixturevalue("open_s3")()
        return bucket
    name = {"wsgidav": "wsgidav_address", "rclone": "rclone_webdav_address"}[request.param]
    folder: Store = request.getfixturevalue("open_webdav")(request.getfixturevalue(name))
    return folder
