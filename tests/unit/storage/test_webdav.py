"""A WebDAV folder as a store: lost replies, sleepers, bad servers, and what a person must change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tsgb.errors import Conflict, Missing, NoCompareAndSet, NoSpace, SettingsError, Unreachable
from tsgb.settings import Secrets, StorageSettings
from tsgb.storage import open_store, webdav
from tsgb.storage.webdav_layout import folder_of, key_of, may_hold, members, object_path, start_of

from .conftest import LOGIN, OpenStore
from .proxy import Proxy, proxy
from .servers import PASSWORD, USER, free_port


@pytest.fixture(params=["wsgidav", "rclone_webdav"])
def faulty(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """A proxy in front of each server."""
    with proxy(request.getfixturevalue(f"{request.param}_address")) as server:
        yield server


def secrets(**changed: str | None) -> Secrets:
    said = {name: None if value is None else SecretStr(value) for name, value in changed.items()}
    return LOGIN.model_copy(update=said)


@pytest.mark.parametrize("method", ["MKCOL", "PUT", "MOVE"])
@pytest.mark.parametrize("faults", [["lose"], ["drop", "423"]])
def test_an_unanswered_write_is_done_exactly_once(
    faulty: Proxy, open_webdav: OpenStore, method: str, faults: list[str]
) -> None:
    store = open_webdav(faulty.address)
    faulty.methods, faulty.faults = {method}, [*faults]
    store.put_new("a/new", b"first")
    for expected, new in ((None, b"1"), (b"1", b"2")):
        faulty.faults = [*faults]
        store.compare_and_set("a/HEAD", expected, new)
    assert (store.get("a/new"), store.get("a/HEAD"), faulty.faults) == (b"first", b"2", [])


def test_a_lost_reply_to_the_loser_is_still_a_conflict(faulty: Proxy, open_webdav: OpenStore) -> None:
    store, rival = open_webdav(faulty.address, folder="race"), open_webdav(faulty.address, folder="race")
    store.delete("HEAD")
    store.compare_and_set("HEAD", None, b"1")
    rival.compare_and_set("HEAD", b"1", b"theirs")
    faulty.methods, faulty.faults = {"MOVE"}, ["lose"]
    with pytest.raises(Conflict):
        store.compare_and_set("HEAD", b"1", b"mine")
    assert store.get("HEAD") == b"theirs"


def test_a_writer_that_slept_through_many_moves_is_refused(
    open_webdav: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webdav, "KEPT", 4)
    store, sleeper = open_webdav(folder="sleeper"), open_webdav(folder="sleeper")
    store.compare_and_set("run/HEAD", None, b"0")
    assert sleeper.get("run/HEAD") == b"0"
    moves = 12
    for number in range(moves):
        store.compare_and_set("run/HEAD", b"%d" % number, b"%d" % (number + 1))
    found, _ = store.server.members(object_path("run/HEAD"))
    assert len(found) <= 8
    assert "2" not in {each.name for each in found}
    with pytest.raises(Conflict):
        sleeper.compare_and_set("run/HEAD", b"0", b"from a dream")
    assert store.get("run/HEAD") == sleeper.get("run/HEAD") == b"%d" % moves
    store.compare_and_set("run/HEAD", b"%d" % moves, b"awake")
    assert store.list("") == ["run/HEAD"]


def test_a_head_that_was_removed_cannot_be_moved_and_may_be_created_again(open_webdav: OpenStore) -> None:
    store, other = open_webdav(folder="again"), open_webdav(folder="again")
    store.compare_and_set("HEAD", None, b"1")
    other.delete("HEAD")
    with pytest.raises(Conflict):
        store.compare_and_set("HEAD", b"1", b"2")
    assert (store.exists("HEAD"), store.list("")) == (False, [])
    other.put_new("HEAD", b"for good")
    assert store.get("HEAD") == b"for good"
    with pytest.raises(Conflict):
        store.compare_and_set("HEAD", b"for good", b"2")


def test_who_finds_his_own_bytes_set_by_another_has_not_set_them(open_webdav: OpenStore) -> None:
    store, rival = open_webdav(folder="twins"), open_webdav(folder="twins")
    rival.compare_and_set("HEAD", None, b"1")
    with pytest.raises(Conflict):
        store.compare_and_set("HEAD", None, b"1")


def test_in_the_common_case_a_write_is_four_requests_and_a_move_of_the_head_five(open_webdav: OpenStore) -> None:
    store = open_webdav()
    store.put_new("runs/demo/first", b"")
    store.compare_and_set("runs/demo/HEAD", None, b"1")
    before = store.server.requests
    store.put_new("runs/demo/second", b"")
    assert store.server.requests == before + 4
    store.compare_and_set("runs/demo/HEAD", b"1", b"2")
    assert store.server.requests == before + 9


def test_a_download_that_is_cut_off_goes_on_where_it_was(faulty: Proxy, open_webdav: OpenStore, tmp_path: Path) -> None:
    store, content = open_webdav(faulty.address), bytes(range(256)) * 20_000
    (tmp_path / "source").write_bytes(content)
    store.put_file("big", tmp_path / "source")
    faulty.methods, faulty.faults = {"GET"}, ["tear", "drop", "pass"]
    seen = bytearray()
    store.get_file("big", tmp_path / "copy", seen.extend)
    assert (tmp_path / "copy").read_bytes() == content == bytes(seen)


def test_an_upload_that_is_cut_off_is_never_seen(faulty: Proxy, open_webdav: OpenStore, tmp_path: Path) -> None:
    store = open_webdav(faulty.address, patience_s=0.5)
    (tmp_path / "source").write_bytes(bytes(300_000))
    faulty.methods, faulty.faults = {"PUT"}, ["cut"] * 1000
    with pytest.raises(Unreachable, match=r"gave no answer within 0.5 s"):
        store.put_file("key", tmp_path / "source")
    faulty.faults = []
    assert (store.list(""), store.exists("key"), store.sweep()) == ([], False, 0)
    store.put_file("key", tmp_path / "source")
    assert store.get("key") == bytes(300_000)
    assert store.sweep(older_than_s=-60) > 0
    assert (store.list(""), store.sweep(older_than_s=-60)) == (["key"], 0)


def test_a_removal_whose_reply_was_lost_is_done(faulty: Proxy, open_webdav: OpenStore) -> None:
    store = open_webdav(faulty.address)
    store.put_new("key", b"bytes")
    faulty.methods, faulty.faults = {"MOVE", "DELETE"}, ["lose", "lose"]
    store.delete("key")
    assert not store.exists("key")


def test_folders_that_somebody_removed_are_made_again(open_webdav: OpenStore) -> None:
    store = open_webdav(folder="removed")
    store.put_new("runs/demo/first", b"")
    store.server.ask("DELETE", "")
    store.put_new("runs/demo/second", b"bytes")
    assert store.list("") == ["runs/demo/second"]


def test_a_server_that_lets_two_writers_through_is_refused(faulty: Proxy, open_webdav: OpenStore) -> None:
    store = open_webdav(faulty.address)
    faulty.overwritten = {"Overwrite": "T"}
    with pytest.raises(NoCompareAndSet, match=r"cannot fence a writer \(of 8 racing writers \d got through\); set run"):
        store.probe()
    assert store.list("") == []


def test_a_server_that_moves_no_folders_is_refused(faulty: Proxy, open_webdav: OpenStore) -> None:
    faulty.methods, faulty.faults = {"MOVE"}, ["501"] * 1000
    with pytest.raises(SettingsError, match=r"does not speak WebDAV \(it answered 501\)"):
        open_webdav(faulty.address).probe()


def test_a_loser_whom_the_server_moved_into_the_winner_has_lost(faulty: Proxy, open_webdav: OpenStore) -> None:
    store, rival = open_webdav(faulty.address, folder="nested"), open_webdav(faulty.address, folder="nested")
    rival.delete("key")
    rival.put_new("key", b"theirs")
    faulty.methods, faulty.faults = {"MOVE"}, ["nest"]
    with pytest.raises(Conflict):
        store.put_new("key", b"mine")
    found, _ = store.server.members(object_path("key"))
    assert ([each.name for each in found], store.get("key"), faulty.faults) == (["data"], b"theirs", [])


def test_a_server_that_fails_for_long_is_unreachable(faulty: Proxy, open_webdav: OpenStore) -> None:
    faulty.methods, faulty.faults = {"PROPFIND"}, ["503"] * 1000
    with pytest.raises(
        Unreachable, match=r"WebDAV folder «webdav://.*» gave no answer within 0.5 s \(PROPFIND answered"
    ):
        open_webdav(faulty.address, patience_s=0.5).list("")
    with pytest.raises(Unreachable, match="Connection refused"):
        open_webdav(f"http://127.0.0.1:{free_port()}", patience_s=0.5).get("key")


def test_a_full_server_is_said_to_be_full(faulty: Proxy, open_webdav: OpenStore) -> None:
    faulty.methods, faulty.faults = {"PUT"}, ["507"]
    with pytest.raises(NoSpace, match=r"is full \(507\); everything committed before is whole"):
        open_webdav(faulty.address).put_new("key", b"bytes")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"rclone_webdav_user": None}, "asks for a user and a password; set RCLONE_WEBDAV_USER and RCLONE_WEBDAV_PASS"),
        ({"rclone_webdav_pass": None}, "asks for a user and a password"),
        ({"rclone_webdav_pass": "batterystaple"}, "refuses the user or the password; check RCLONE_WEBDAV_USER"),
    ],
)
def test_credentials_that_are_missing_or_wrong_are_named_but_not_shown(
    faulty: Proxy, open_webdav: OpenStore, changed: dict[str, str | None], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence) as caught:
        open_webdav(faulty.address, secrets=secrets(**changed)).sweep()
    assert not any(secret in str(caught.value) for secret in (USER, PASSWORD, "batterystaple"))


def test_a_folder_that_cannot_be_created_is_named(open_webdav: OpenStore) -> None:
    store = open_webdav(folder="nowhere/to/be/found")
    assert (store.list(""), store.sweep()) == ([], 0)
    with pytest.raises(SettingsError, match=r"«webdav://.*/nowhere/to/be/found» is not there and cannot be created"):
        store.put_new("key", b"bytes")
    with pytest.raises(Missing, match="there is no «key» in WebDAV folder «webdav://"):
        store.get("key")


def test_what_does_not_speak_webdav_is_said(open_webdav: OpenStore, s3_address: str) -> None:
    with pytest.raises(SettingsError, match="does not speak WebDAV"):
        open_webdav(s3_address).sweep()


def test_a_server_without_tls_or_trust_is_said(
    open_webdav: OpenStore, wsgidav_address: str, untrusted_address: str
) -> None:
    for host, sentence in (
        (wsgidav_address.removeprefix("http://"), "does not speak TLS there"),
        (untrusted_address, "certificate that this machine does not trust; check the address, or set SSL_CERT_FILE"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            open_store(f"webdavs://{host}/runs", StorageSettings(), LOGIN).sweep()


def test_the_address_may_be_kept_secret(wsgidav_address: str) -> None:
    hidden = secrets(rclone_webdav_url=wsgidav_address)
    store = open_store("webdav:///hidden", StorageSettings(), hidden)
    store.put_new("key", b"bytes")
    named = open_store(f"webdav://{wsgidav_address.removeprefix('http://')}/hidden", StorageSettings(), LOGIN)
    assert named.get("key") == b"bytes"
    with pytest.raises(Missing, match=r"there is no «other» in WebDAV folder «webdav:///hidden»\."):
        store.get("other")


@pytest.mark.parametrize(
    ("location", "address", "sentence"),
    [
        ("webdavs:///runs", None, "«webdavs:///runs» has no host; name one"),
        ("webdavs:///runs", "https://me:hush@host/dav", "RCLONE_WEBDAV_URL must be https://host/path"),
        ("webdavs:///runs", "ftp://host", "RCLONE_WEBDAV_URL must be https://host/path"),
        ("webdavs://me:hush@host/runs", None, "must not hold a user or a password; put them in RCLONE_WEBDAV_USER"),
        ("webdavs://host:port/runs", None, "«webdavs://host:port/runs» is no address"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(location: str, address: str | None, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as caught:
        open_store(location, StorageSettings(), secrets(rclone_webdav_url=address))
    assert "hush" not in str(caught.value)


def test_every_key_has_one_collection_and_comes_back_from_it() -> None:
    places = {
        "HEAD": ("", "HEAD~"),
        "runs/HEAD": ("", "runs,HEAD~"),
        "runs/demo/HEAD": ("runs/", "demo,HEAD~"),
        "runs/demo/commits/e1/c7/a.bin": ("runs/demo/commits/e1/", "c7,a.bin~"),
    }
    for key, (folder, name) in places.items():
        assert object_path(key) == f"{folder}{name}/"
        assert folder_of(object_path(key)) == folder
        assert key_of(folder, name) == key
    assert key_of("runs/", "demo") is None


def test_a_walk_begins_as_low_and_keeps_as_narrow_as_its_prefix_allows() -> None:
    starts = {"": "", "runs/": "", "runs/demo/p": "runs/", "runs/demo/pins/": "runs/demo/"}
    assert {prefix: start_of(prefix) for prefix in starts} == starts
    assert may_hold("runs/demo/", "runs/demo/pins/")
    assert may_hold("runs/demo/pins/old/", "runs/demo/p")
    assert not may_hold("runs/other/", "runs/demo/pins/")


def test_a_listing_may_name_its_members_by_path_or_url_and_say_when_they_changed_or_not() -> None:
    listing = b"""<d:multistatus xmlns:d="DAV:">
        <d:response><d:href>/my%20runs/</d:href></d:response>
        <d:response><d:href>https://host/my%20runs/a%7E/</d:href></d:response>
        <d:response><d:href>/my%20runs/b~/</d:href><d:propstat><d:prop>
            <d:getlastmodified>Wed, 25 Nov 2026 00:25:10 GMT</d:getlastmodified></d:prop></d:propstat></d:response>
        <d:response><d:href>/my%20runs/c~/</d:href><d:propstat><d:prop>
            <d:getlastmodified>yesterday</d:getlastmodified></d:prop></d:propstat></d:response>
    </d:multistatus>"""
    found = list(members(listing, "/my%20runs/"))
    assert [each.name for each in found] == ["a~", "b~", "c~"]
    assert [each.changed and each.changed.year for each in found] == [None, 2026, None]
