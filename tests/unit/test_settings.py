"""Settings: what is missing or wrong is named, at the start and not at night."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from registry.archives import DEFAULT_LIMITS
from registry.settings import Settings, SettingsError, read_settings

LEAST = {"REGISTRY_BUCKET": "b", "REGISTRY_TABLE": "t"}


def test_bucket_and_table_are_all_that_is_needed_and_nobody_gets_in_by_default():
    settings = read_settings(LEAST)
    assert (settings.bucket, settings.table) == ("b", "t")
    assert settings.authentication == "authorizer"
    assert settings.request_limit_bytes == settings.inline_limit_bytes == 4 * 1024 * 1024
    assert settings.url_expires_seconds <= 3600
    assert settings.upload_expires_seconds == settings.archive_expires_seconds == 7 * 86_400
    assert settings.models_prefix == "models/"


@pytest.mark.parametrize("missing", LEAST)
def test_a_variable_that_is_missing_is_named(missing):
    with pytest.raises(SettingsError, match=missing):
        read_settings({name: value for name, value in LEAST.items() if name != missing})


@pytest.mark.parametrize("missing", LEAST)
def test_a_variable_that_is_empty_is_missing(missing):
    with pytest.raises(SettingsError, match=missing):
        read_settings({**LEAST, missing: ""})


@pytest.mark.parametrize("value", ["", "ten", "-1", "1.5", "1e3", " "])
def test_a_number_that_is_none_is_named(value):
    with pytest.raises(SettingsError, match="REGISTRY_WAIT_SECONDS"):
        read_settings({**LEAST, "REGISTRY_WAIT_SECONDS": value})


@pytest.mark.parametrize("value", ["none", "Off", "", "true"])
def test_authentication_is_one_of_two_words(value):
    with pytest.raises(SettingsError, match="REGISTRY_AUTHENTICATION"):
        read_settings({**LEAST, "REGISTRY_AUTHENTICATION": value})


@pytest.mark.parametrize("value", ["read", "Store", ""])
def test_who_tells_digests_is_one_of_two_words(value):
    with pytest.raises(SettingsError, match="REGISTRY_DIGESTS_BY"):
        read_settings({**LEAST, "REGISTRY_DIGESTS_BY": value})


@pytest.mark.parametrize("value", ["sts", "Own", ""])
def test_whose_credentials_sign_puts_is_one_of_two_words(value):
    assert read_settings(LEAST).put_credentials == "own", "AWS needs no other"
    with pytest.raises(SettingsError, match="REGISTRY_PUT_CREDENTIALS"):
        read_settings({**LEAST, "REGISTRY_PUT_CREDENTIALS": value})


@pytest.mark.parametrize("name", ["REGISTRY_INBOX_PREFIX", "REGISTRY_ARCHIVES_PREFIX"])
@pytest.mark.parametrize("value", ["", "no-slash", "/a/", "models/", "models/inbox/"])
def test_a_prefix_that_would_meet_the_models_is_named(name, value):
    with pytest.raises(SettingsError, match=name):
        read_settings({**LEAST, name: value})


def test_the_inbox_that_clients_write_and_the_archives_do_not_lie_in_each_other():
    for inbox, archives in (("a/", "a/"), ("a/", "a/b/"), ("a/b/", "a/")):
        with pytest.raises(SettingsError):
            read_settings({**LEAST, "REGISTRY_INBOX_PREFIX": inbox, "REGISTRY_ARCHIVES_PREFIX": archives})


def test_urls_live_an_hour_at_most():  # docs/design.md, section 4
    with pytest.raises(SettingsError, match="REGISTRY_URL_EXPIRES_SECONDS"):
        read_settings({**LEAST, "REGISTRY_URL_EXPIRES_SECONDS": "3601"})


ISSUER = {**LEAST, "REGISTRY_ISSUER": "https://login.example.com/realms/a", "REGISTRY_AUDIENCE": "modelkeep"}


def test_an_issuer_is_told_by_two_variables_and_has_sensible_defaults():
    settings = read_settings(ISSUER)
    assert (settings.issuer, settings.audience) == ("https://login.example.com/realms/a", "modelkeep")
    assert (settings.jwks_url, settings.user_claim, settings.token_lifetime_seconds) == ("", "sub", 86_400)
    empty = {"REGISTRY_ISSUER": "", "REGISTRY_AUDIENCE": "", "REGISTRY_JWKS_URL": ""}
    assert read_settings({**LEAST, **empty}) == read_settings(LEAST)


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example.com",
        "https://login.example.com/",
        "https://login.example.com:8443/a/b",
        "http://localhost:9000",
        "http://127.0.0.1:9000/realms/a",
        "http://[::1]:9000",
        "http://host.docker.internal:9000",
        "http://host.containers.internal:9000",
    ],
)
def test_an_issuer_is_reached_by_tls_or_never_leaves_this_machine(url):
    assert read_settings({**ISSUER, "REGISTRY_ISSUER": url, "REGISTRY_JWKS_URL": url}).issuer == url


@pytest.mark.parametrize("name", ["REGISTRY_ISSUER", "REGISTRY_JWKS_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "login.example.com",
        "http://login.example.com",
        "http://10.0.0.1",
        "http://169.254.169.254/latest",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://localhost@evil.example",
        "https://user:secret@login.example.com",
        "https://login.example.com/#fragment",
        "https://login.example.com/ a",
        "https://login.example.com/\n",
        "https://login.example.com:port/",
        "https://[::1",
        "https://",
        "https:///path",
        "file:///etc/passwd",
        "ftp://localhost/",
        "//login.example.com",
    ],
)
def test_an_issuer_that_could_be_feigned_is_named(name, url):
    with pytest.raises(SettingsError, match=name):
        read_settings({**ISSUER, name: url})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"REGISTRY_AUDIENCE": ""}, "REGISTRY_AUDIENCE"),
        ({"REGISTRY_ISSUER": ""}, "REGISTRY_ISSUER"),
        ({"REGISTRY_ISSUER": "", "REGISTRY_AUDIENCE": "", "REGISTRY_JWKS_URL": "https://a.example"}, "REGISTRY_ISSUER"),
        ({"REGISTRY_ISSUER": "https://a.example/?tenant=1"}, "REGISTRY_ISSUER"),
        ({"REGISTRY_USER_CLAIM": ""}, "REGISTRY_USER_CLAIM"),
        ({"REGISTRY_TOKEN_LIFETIME_SECONDS": "0"}, "REGISTRY_TOKEN_LIFETIME_SECONDS"),
        ({"REGISTRY_TOKEN_LIFETIME_SECONDS": "604801"}, "REGISTRY_TOKEN_LIFETIME_SECONDS"),
        ({"REGISTRY_OWN_TOKEN_DAYS": "367"}, "REGISTRY_OWN_TOKEN_DAYS"),
        ({"REGISTRY_OWN_TOKEN_DAYS": "-1"}, "REGISTRY_OWN_TOKEN_DAYS"),
    ],
)
def test_half_an_issuer_is_named(changes, named):
    with pytest.raises(SettingsError, match=named):
        read_settings({**ISSUER, **changes})


def test_every_setting_can_be_set_by_its_variable():
    for name, field in Settings.__dataclass_fields__.items():
        if field.type == "int":
            assert getattr(read_settings({**LEAST, f"REGISTRY_{name.upper()}": "77"}), name) == 77
    settings = read_settings({**LEAST, "REGISTRY_PUBLIC_S3_ENDPOINT": "http://h:1", "REGISTRY_AUTHENTICATION": "off"})
    assert (settings.public_s3_endpoint, settings.authentication) == ("http://h:1", "off")


def test_the_limits_of_archives_are_settings_with_the_same_defaults():
    settings = read_settings(LEAST)
    assert {name: getattr(settings, name) for name in asdict(DEFAULT_LIMITS)} == asdict(DEFAULT_LIMITS)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("MAX_MEMBERS", 1, 50_000),
        ("MAX_DIRECTORY_BYTES", 1, 2**30),
        ("MAX_MEMBER_BYTES", 1, 5 * 2**40),
        ("MAX_TOTAL_BYTES", 1, 50 * 2**40),
        ("MAX_RATIO", 0, 1032),
        ("RATIO_FROM_BYTES", 0, 50 * 2**40),
        ("MAX_PATH_BYTES", 1, 900),
        ("MAX_SEGMENT_BYTES", 1, 255),
        ("MAX_DEPTH", 1, 450),
        ("UNPACK_SHARES", 1, 100),
    ],
)
def test_a_limit_that_nothing_is_made_for_is_named(name, least, most):
    for value in (least, most):
        assert getattr(read_settings({**LEAST, f"REGISTRY_{name}": str(value)}), name.lower()) == value
    for value in (least - 1, most + 1):
        with pytest.raises(SettingsError, match=f"REGISTRY_{name} must be"):
            read_settings({**LEAST, f"REGISTRY_{name}": str(value)})


def test_other_variables_do_not_matter():
    assert read_settings({**LEAST, "PATH": "/bin", "REGISTRY_UNKNOWN": "x"}) == read_settings(LEAST)


@pytest.mark.parametrize(
    "value",
    ["*", "a.example", "https://a.example/", "https://a.example/x", "https://*.a.example", "null"],
)
def test_an_origin_that_no_browser_sends_is_named(value):
    with pytest.raises(SettingsError, match="REGISTRY_CORS_ORIGINS"):
        read_settings({**LEAST, "REGISTRY_CORS_ORIGINS": f"https://b.example,{value}"})


def test_origins_are_listed_one_by_one():
    text = "https://a.example, http://localhost:3000,,http://[::1]:3000"
    origins = read_settings({**LEAST, "REGISTRY_CORS_ORIGINS": text}).origins
    assert origins == ("https://a.example", "http://localhost:3000", "http://[::1]:3000")
    assert read_settings(LEAST).origins == ()


def test_the_installation_is_named_after_its_table_if_it_has_no_name():
    assert read_settings(LEAST).installation_name == "t"
    assert read_settings({**LEAST, "REGISTRY_INSTALLATION": "i"}).installation_name == "i"
