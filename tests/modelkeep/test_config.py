"""What `login` keeps, where, and for whose eyes."""

from __future__ import annotations

import stat
from pathlib import Path

import keyring
import keyring.backend
import keyring.errors
import pytest
from keyring.backends.fail import Keyring as NoKeyring
from modelkeep import Client
from modelkeep.config import Config, Home, check_url
from modelkeep.errors import UsageError

URL = "https://models.example.com/prod"


class InMemory(keyring.backend.KeyringBackend):
    priority = 1

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    for name in ("MODELKEEP_URL", "MODELKEEP_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELKEEP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(keyring.core, "_keyring_backend", InMemory())
    return Config()


def contents(config: Config) -> str:
    return "".join(path.read_text() for path in config.home.config.rglob("*") if path.is_file())


def test_nothing_said_is_make_run_without_a_token(config: Config) -> None:
    assert config.url() == "http://localhost:8000"
    assert config.token(config.url()) == (None, "none")
    assert not config.home.config.exists()


def test_a_token_goes_to_the_keyring_and_to_no_file(config: Config) -> None:
    assert config.login(URL, "secret") == "keyring"
    assert (config.url(), config.token(URL)) == (URL, ("secret", "keyring"))
    assert config.token("https://other.example.com") == (None, "none")
    assert "secret" not in contents(config)
    assert config.logout(URL)
    assert config.token(URL) == (None, "none")
    assert not config.logout(URL)


def test_without_a_keyring_it_goes_to_a_file_for_this_user_alone(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring.core, "_keyring_backend", NoKeyring())
    assert config.login(URL, "secret") == "file"
    assert config.token(URL) == ("secret", "file")
    for path in config.home.config.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert config.logout(URL)
    assert config.token(URL) == (None, "none")
    assert "secret" not in contents(config)


def test_a_later_login_and_a_logout_leave_no_token_behind(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = keyring.core._keyring_backend
    monkeypatch.setattr(keyring.core, "_keyring_backend", NoKeyring())
    assert config.login(URL, "old-secret") == "file"
    monkeypatch.setattr(keyring.core, "_keyring_backend", ring)
    assert config.login(URL, "secret") == "keyring"
    assert "old-secret" not in contents(config)

    def locked(*_: str) -> None:
        raise keyring.errors.KeyringLocked("locked")

    with monkeypatch.context() as patch:
        patch.setattr(InMemory, "delete_password", locked)
        with pytest.raises(UsageError, match="does not let go"):
            config.logout(URL)
    assert config.token(URL) == ("secret", "keyring")
    assert config.logout(URL)
    assert config.token(URL) == (None, "none")


def test_the_environment_wins(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    config.login(URL, "secret")
    monkeypatch.setenv("MODELKEEP_URL", "http://localhost:9000/")
    monkeypatch.setenv("MODELKEEP_TOKEN", "other")
    assert config.url() == "http://localhost:9000"
    assert config.token(URL) == ("other", "MODELKEEP_TOKEN")


@pytest.mark.parametrize("given", ["eyJ.a.b\n", " eyJ.a.b", "Bearer eyJ.a.b\r\n"])
def test_a_token_with_a_line_end_or_its_scheme_is_the_token(
    config: Config, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELKEEP_TOKEN", given)
    assert config.token(URL) == ("eyJ.a.b", "MODELKEEP_TOKEN")
    assert Client(URL, given, config=config).api._token == "eyJ.a.b"


@pytest.mark.parametrize("given", ["eyJ.a b", "eyJ.a\nb", "eyJ.€", " \n", "Bearer "])
def test_what_can_be_no_token_is_refused_and_not_shown(
    config: Config, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELKEEP_TOKEN", given)
    for do in (Config().token, Client, lambda url: Client(url, given, config=config)):
        with pytest.raises(UsageError) as caught:
            do(URL)
        assert caught.value.code == "bad_token"
        assert "eyJ" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "https://", "https://a:b@host", "https://host/?a=b"])
def test_what_is_no_url_is_refused(config: Config, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELKEEP_URL", url)
    with pytest.raises(UsageError, match="not a registry's URL"):
        config.url()


def test_a_broken_file_says_which(config: Config) -> None:
    config.login(URL, None)
    (config.home.config / "config.json").write_text("{")
    with pytest.raises(UsageError, match=r"config\.json can't be read"):
        config.url()


def test_a_home_is_where_the_system_keeps_such_things(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELKEEP_HOME", raising=False)
    home = Home.find()
    assert len({home.config, home.state, home.cache}) == 3


@pytest.mark.parametrize("url", ["http://[bad", "http://h:99999", "http://h:x", "http://h/a b\n/c", "http://h/\x1b"])
def test_a_url_that_is_none_is_refused_in_our_words(url: str) -> None:
    with pytest.raises(UsageError):
        check_url(url)
    assert check_url(" https://h:8/Prod/\n") == "https://h:8/Prod"


def test_a_token_loses_its_lines_end_and_is_never_shown(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELKEEP_TOKEN", " mk_secret\r\n")
    assert config.token(URL) == ("mk_secret", "MODELKEEP_TOKEN")
    for bad in ("mk_secret\nmk_other", "mk_secr\u00e9t", "mk secret"):
        monkeypatch.setenv("MODELKEEP_TOKEN", bad)
        for call in (lambda: config.token(URL), lambda bad=bad: Client(URL, bad, config=config)):
            with pytest.raises(UsageError) as refused:
                call()
            assert refused.value.code == "bad_token"
            assert "secr" not in f"{refused.value.detail} {refused.value.hint}"
