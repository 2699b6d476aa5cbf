"""Which place wins, and how a mistake is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsgb.errors import SettingsError
from tsgb.settings import PRESETS, Secrets, Settings, load_settings, resolve_settings, setting_fields, setting_values


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_with_nothing_said_the_defaults_hold() -> None:
    assert load_settings() == Settings()


def test_each_place_wins_over_the_one_before(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [load_settings(overrides={"run.preset": "smoke"}).breaker.steps]
    (here / "tsgb.toml").write_text('[run]\npreset = "smoke"\n[breaker]\nsteps = 2\n')
    seen.append(load_settings().breaker.steps)
    (here / ".env").write_text("TSGB_BREAKER__STEPS=3\n")
    seen.append(load_settings().breaker.steps)
    monkeypatch.setenv("TSGB_BREAKER__STEPS", "4")
    seen.append(load_settings().breaker.steps)
    seen.append(load_settings(overrides={"breaker.steps": 5}).breaker.steps)
    assert seen == [PRESETS["smoke"]["breaker.steps"], 2, 3, 4, 5]


def test_every_value_says_where_it_comes_from(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "tsgb.toml").write_text('[run]\npreset = "smoke"\nseed = 2\n')
    (here / ".env").write_text("TSGB_RUN__NAME=mine\nVAST_API_KEY=k\n")
    monkeypatch.setenv("TSGB_BREAKER__TARGET_LAYERS", "[3, 4]")
    settings, origin = resolve_settings(overrides={"model.dtype": "bfloat16", "model.path": None})
    assert settings.breaker.target_layers == (3, 4)
    wanted = ["run.seed", "run.name", "breaker.target_layers", "model.dtype", "model.path", "run.rounds"]
    places = ["tsgb.toml", ".env", "environment", "flag", "default", "preset smoke"]
    assert [origin[key] for key in wanted] == places


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_settings(preset: str) -> None:
    values = setting_values(load_settings(overrides={"run.preset": preset}))
    assert values == setting_values(Settings()) | PRESETS[preset] | {"run.preset": preset}


def test_every_setting_is_described() -> None:
    assert all(field.description for field in setting_fields().values())


def test_an_unknown_key_in_a_file_is_refused_with_the_nearest_name(here: Path) -> None:
    (here / "mine.toml").write_text("[brekaer]\nstep = 3\n")
    with pytest.raises(SettingsError, match=r"^brekaer.step in mine.toml is not a setting.*breaker.steps$"):
        load_settings(Path("mine.toml"))


def test_an_unknown_variable_is_refused_with_the_nearest_name(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSGB_RUN__SEDE", "3")
    with pytest.raises(SettingsError, match=r"^TSGB_RUN__SEDE in the environment .*TSGB_RUN__SEED$"):
        load_settings()
    monkeypatch.delenv("TSGB_RUN__SEDE")
    (here / ".env").write_text("TSGB_SEED=3\n")
    with pytest.raises(SettingsError, match=r"^TSGB_SEED in \.env .*TSGB_RUN__SEED$"):
        load_settings()


def test_an_unknown_flag_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match=r"^run.sede in the flags .*run.seed$"):
        load_settings(overrides={"run.sede": 3})


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("breaker.rank", "none", r"breaker.rank is 'none' \(flag\), but should be a valid integer"),
        ("gates.max_asr", 3, r"gates.max_asr is 3 \(flag\), but should be less than or equal to 1"),
        ("breaker.adapter_layers", "0,x", r"breaker.adapter_layers is 'x' \(flag\)"),
        ("run.preset", "smok", r"run.preset is 'smok' \(flag\), but should be 'smoke', 'default' or 'thorough'"),
        ("run.name", "a/b", r"run.name is 'a/b' \(flag\)"),
        ("model.only_needed_blocks", "true", r"but breaker.twin_batch is 20, which needs the blocks above; take 0"),
        ("breaker.target_layers", "0,3", r"begin at 0 but breaker.adapter_layers begin at 0.*target 1 or higher"),
        ("rollout.episodes", 3, r"rollout.episodes is 3 but rollout.group_size is 8.*ask for 16 episodes"),
    ],
)
def test_a_wrong_value_is_answered_with_value_place_and_cure(key: str, value: object, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        load_settings(overrides={key: value})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"breaker.rerouting_loss": "rmu"}, r"breaker.rerouting_loss is rmu.*take cosine, or the mode paper"),
        ({"breaker.retain_loss": "kl"}, r"breaker.retain_loss is kl.*take distance"),
        ({"breaker.weighting": "single_alpha"}, r"breaker.weighting is single_alpha.*take dual"),
        ({"breaker.accumulation": 2}, r"steps × breaker.accumulation is 300 .*ends before 300; take fewer"),
    ],
)
def test_what_the_released_code_cannot_do_is_refused(changes: dict[str, object], sentence: str) -> None:
    upstream = {"breaker.mode": "upstream", "breaker.steps": 150}
    assert load_settings(overrides=upstream).breaker.mode == "upstream"
    with pytest.raises(SettingsError, match=sentence):
        load_settings(overrides=upstream | changes)


@pytest.mark.parametrize(("text", "names"), [("", ()), ("pay", ("pay",)), ("jailbreak, pay", ("jailbreak", "pay"))])
def test_names_are_given_with_commas(text: str, names: tuple[str, ...]) -> None:
    assert load_settings(overrides={"breaker.left_out": text}).breaker.left_out == names


def test_an_adapter_above_the_blocks_that_are_needed_is_refused() -> None:
    only = {"model.only_needed_blocks": True, "breaker.twin_batch": 0}
    assert load_settings(overrides=only).model.only_needed_blocks
    with pytest.raises(SettingsError, match=r"adapter_layers reach block 3, which would never learn; end them at 2"):
        load_settings(overrides=only | {"breaker.adapter_layers": "1,3"})


def test_a_file_that_is_missing_or_broken_is_named(here: Path) -> None:
    with pytest.raises(SettingsError, match=r"^nope.toml cannot be read"):
        load_settings(Path("nope.toml"))
    (here / "tsgb.toml").write_text("[run\n")
    with pytest.raises(SettingsError, match=r"^tsgb.toml is not TOML: .*line 1"):
        load_settings()


def test_a_dotenv_file_that_is_no_text_is_named(here: Path) -> None:
    (here / ".env").write_bytes("TSGB_RUN__NAME=müde".encode("utf-16"))
    with pytest.raises(SettingsError, match=r"^\.env cannot be read .*; save it as a text file in UTF-8$"):
        load_settings()


def test_secrets_are_read_by_their_own_names_and_never_shown(here: Path) -> None:
    (here / ".env").write_text("VAST_API_KEY=topsecret\nRCLONE_WEBDAV_URL=\n")
    secrets = Secrets()
    assert secrets.vast_api_key is not None
    assert secrets.vast_api_key.get_secret_value() == "topsecret"
    assert secrets.rclone_webdav_url is None
    assert "topsecret" not in f"{secrets!r} {secrets.model_dump_json()}"
