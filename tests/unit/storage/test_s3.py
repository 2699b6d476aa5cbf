"""A bucket as a store: lost replies, bad services, what a person must change, and what it refuses to trust."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from pydantic import SecretStr

from tsgb.errors import Conflict, Missing, NoCompareAndSet, NoSpace, SettingsError, Unreachable
from tsgb.settings import Secrets
from tsgb.storage.s3_client import addressed

from .conftest import BUCKET, KEYS, OpenStore
from .proxy import Proxy, proxy
from .servers import free_port


@pytest.fixture
def faulty(s3_address: str) -> Iterator[Proxy]:
    with proxy(s3_address) as server:
        yield server


@pytest.mark.parametrize("faults", [["lose"], ["drop"], ["409"], ["500", "lose"]])
def test_an_unanswered_write_is_done_exactly_once(faulty: Proxy, open_s3: OpenStore, faults: list[str]) -> None:
    store = open_s3(address=faulty.address)
    faulty.methods, faulty.faults = {"PUT"}, [*faults]
    store.put_new("new", b"first")
    for expected, new in ((None, b"1"), (b"1", b"2")):
        faulty.faults = [*faults]
        store.compare_and_set("HEAD", expected, new)
    assert (store.get("new"), store.get("HEAD"), faulty.faults) == (b"first", b"2", [])


def test_who_finds_his_own_bytes_set_by_another_has_not_set_them(open_s3: OpenStore) -> None:
    store, rival = open_s3(prefix="twins"), open_s3(prefix="twins")
    rival.compare_and_set("HEAD", None, b"1")
    with pytest.raises(Conflict):
        store.compare_and_set("HEAD", None, b"1")


def test_what_is_damaged_on_its_way_is_sent_again(faulty: Proxy, open_s3: OpenStore, tmp_path: Path) -> None:
    store = open_s3(address=faulty.address)
    (tmp_path / "large").write_bytes(bytes(9 << 20))
    faulty.methods, faulty.faults = {"PUT"}, ["damage"]
    store.put_new("small", b"bytes")
    faulty.faults = ["pass", "damage"]
    store.put_file("large", tmp_path / "large")
    assert (store.get("small"), store.get("large"), faulty.faults) == (b"bytes", bytes(9 << 20), [])


def test_an_upload_in_parts_whose_last_reply_was_lost_is_done(
    faulty: Proxy, open_s3: OpenStore, tmp_path: Path
) -> None:
    store = open_s3(address=faulty.address, prefix="in-parts")
    (tmp_path / "large").write_bytes(bytes(9 << 20))
    faulty.methods, faulty.faults = {"POST"}, ["pass", "lose"]
    store.put_file("large", tmp_path / "large")
    assert (store.get("large"), faulty.faults, store.sweep(older_than_s=-60)) == (bytes(9 << 20), [], 0)


def test_an_upload_in_parts_that_fails_is_given_up(faulty: Proxy, open_s3: OpenStore, tmp_path: Path) -> None:
    store = open_s3(address=faulty.address, prefix="given-up", patience_s=0.5)
    (tmp_path / "large").write_bytes(bytes(9 << 20))
    faulty.methods, faulty.faults = {"PUT"}, ["503"] * 1000
    with pytest.raises(Unreachable):
        store.put_file("large", tmp_path / "large")
    assert (store.exists("large"), store.sweep(older_than_s=-60)) == (False, 0)


def test_a_lost_reply_to_the_loser_is_still_a_conflict(faulty: Proxy, open_s3: OpenStore) -> None:
    store, rival = open_s3(address=faulty.address, prefix="race"), open_s3(prefix="race")
    store.compare_and_set("HEAD", None, b"1")
    rival.compare_and_set("HEAD", b"1", b"theirs")
    faulty.methods, faulty.faults = {"PUT"}, ["lose"]
    with pytest.raises(Conflict):
        store.compare_and_set("HEAD", b"1", b"mine")
    assert store.get("HEAD") == b"theirs"


def test_in_the_common_case_a_move_of_the_head_is_one_request(open_s3: OpenStore) -> None:
    store = open_s3()
    store.compare_and_set("HEAD", None, b"1")
    before = store.bucket.requests
    store.compare_and_set("HEAD", b"1", b"2")
    assert store.bucket.requests == before + 1


def test_a_download_that_is_cut_off_goes_on_where_it_was(faulty: Proxy, open_s3: OpenStore, tmp_path: Path) -> None:
    store, content = open_s3(address=faulty.address), bytes(range(256)) * 20_000
    (tmp_path / "source").write_bytes(content)
    store.put_file("big", tmp_path / "source")
    faulty.methods, faulty.faults = {"GET"}, ["tear", "drop", "pass"]
    seen = bytearray()
    store.get_file("big", tmp_path / "copy", seen.extend)
    assert (tmp_path / "copy").read_bytes() == content == bytes(seen)


def test_a_download_that_never_ends_leaves_nothing(faulty: Proxy, open_s3: OpenStore, tmp_path: Path) -> None:
    store = open_s3(address=faulty.address, patience_s=0.5)
    store.put_new("key", b"bytes" * 100)
    faulty.methods, faulty.faults = {"GET"}, ["tear"] * 1000
    with pytest.raises(Unreachable, match="gave no answer within 0.5 s"):
        store.get_file("key", tmp_path / "folder" / "copy")
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_service_that_fails_for_long_is_unreachable(faulty: Proxy, open_s3: OpenStore) -> None:
    store = open_s3(address=faulty.address, patience_s=0.5)
    faulty.faults = ["503"] * 1000
    with pytest.raises(Unreachable, match=f"bucket «{BUCKET}» at {faulty.address} gave no answer"):
        store.put_new("key", b"bytes")
    with pytest.raises(Unreachable):
        open_s3(address=f"http://127.0.0.1:{free_port()}", patience_s=0.5).get("key")


def test_a_service_that_ignores_conditions_is_refused(open_s3: OpenStore, rclone_s3_address: str) -> None:
    store = open_s3(address=rclone_s3_address)
    with pytest.raises(NoCompareAndSet, match=r"does not keep to conditions \(an object was created twice\); set run"):
        store.probe()
    assert store.list("") == []


def test_large_files_are_sent_in_parts(open_s3: OpenStore, tmp_path: Path) -> None:
    store = open_s3()
    (tmp_path / "large").write_bytes(bytes(range(256)) * 90_000)
    (tmp_path / "other").write_bytes(bytes(23_040_000))
    store.put_file("large", tmp_path / "large")
    store.put_file("large", tmp_path / "large")
    with pytest.raises(Conflict):
        store.put_file("large", tmp_path / "other")
    store.get_file("large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "large").read_bytes()


def test_uploads_that_nobody_finished_are_swept(open_s3: OpenStore, s3_address: str) -> None:
    store = open_s3(prefix="unfinished")
    keys = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "s3cret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=s3_address, **keys)
    client.create_multipart_upload(Bucket=BUCKET, Key="unfinished/a")
    client.create_multipart_upload(Bucket=BUCKET, Key="another/b")
    assert store.sweep() == 0
    assert store.sweep(older_than_s=-60) == 1
    assert store.sweep(older_than_s=-60) == 0


def test_a_bucket_that_is_not_there_is_named(open_s3: OpenStore) -> None:
    with pytest.raises(SettingsError, match=r"bucket «nobodys-bucket» at http.* is not there; create it"):
        open_s3(bucket="nobodys-bucket").put_new("key", b"")
    with pytest.raises(Missing, match="there is no «key» in s3://"):
        open_s3().get("key")


@pytest.mark.parametrize("status", ["401", "403"])
def test_refused_credentials_are_in_no_message(faulty: Proxy, open_s3: OpenStore, status: str) -> None:
    faulty.faults = [status] * 3
    with pytest.raises(SettingsError, match="refuses these credentials") as caught:
        open_s3(address=faulty.address).exists("key")
    assert "s3cret" not in str(caught.value)
    assert "AKIATEST" not in str(caught.value)
    assert "s3cret" not in repr(KEYS)


def test_without_any_credentials_the_cure_is_named(open_s3: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    nobody = Secrets(_env_file=None, aws_access_key_id=None)
    with pytest.raises(SettingsError, match="needs credentials and there are none; set AWS_ACCESS_KEY_ID"):
        open_s3(secrets=nobody).get("key")


def test_secrets_are_taken_from_where_they_are_given(open_s3: OpenStore) -> None:
    token = Secrets(
        _env_file=None,
        aws_access_key_id=SecretStr("ASIA"),
        aws_secret_access_key=SecretStr("other"),
        aws_session_token=SecretStr("token"),
    )
    store = open_s3(secrets=token.model_copy(update={"aws_default_region": SecretStr("eu-west-1")}))
    store.put_new("key", b"bytes")
    assert store.get("key") == b"bytes"


@pytest.mark.parametrize(
    ("endpoint_url", "asked", "style"),
    [
        ("", None, "auto"),
        ("http://10.0.0.1:9000", "http://10.0.0.1:9000", "path"),
        ("https://data.example.com", "https://data.example.com", "path"),
        ("https://bucket.example.com/", "https://example.com/", "virtual"),
    ],
)
def test_a_bucket_is_named_in_the_path_or_at_the_front_of_the_host(
    endpoint_url: str, asked: str | None, style: str
) -> None:
    assert addressed(endpoint_url, "bucket") == (asked, style)


def test_a_service_without_tls_or_trust_is_said(open_s3: OpenStore, s3_address: str, untrusted_address: str) -> None:
    for address, sentence in (
        (s3_address.replace("http://", "https://"), "does not speak TLS there"),
        (f"https://{untrusted_address}", "certificate that this machine does not trust; .* or set AWS_CA_BUNDLE"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            open_s3(address=address).get("key")


@pytest.mark.parametrize("address", ["not a url", "http://host:port"])
def test_an_address_that_is_none_is_refused(open_s3: OpenStore, address: str) -> None:
    with pytest.raises(SettingsError, match="check"):
        open_s3(address=address, patience_s=0.2).get("key")


def test_a_full_or_stubborn_service_is_said(faulty: Proxy, open_s3: OpenStore) -> None:
    store = open_s3(address=faulty.address)
    faulty.methods, faulty.faults = {"PUT"}, ["507", "400"]
    with pytest.raises(NoSpace, match=r"is full \(507\); everything committed before is whole"):
        store.put_new("key", b"bytes")
    with pytest.raises(SettingsError, match=r"refuses the request \(400 .*\); check storage.root"):
        store.put_new("key", b"bytes")
