"""Names and keys: the alphabets, and each key as the inverse of what takes it apart."""

from __future__ import annotations

import string
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from registry import naming
from registry.errors import InvalidError
from registry.settings import get_settings

settings.register_profile("unhurried", deadline=None)  # others work on this machine too
settings.load_profile("unhurried")


MODEL_ALPHABET = string.ascii_letters + string.digits + "._-"
USER_ALPHABET = MODEL_ALPHABET + "@|+"
RESERVED = ["upload", "search", "tokens", "grants", "groups", "me", "health", "docs", "admin"]

model_ids = st.text(MODEL_ALPHABET, min_size=1, max_size=128).filter(lambda text: text not in (".", ".."))
versions = model_ids.filter(lambda text: text != "latest")
user_ids = st.text(USER_ALPHABET, min_size=1, max_size=128).filter(
    lambda text: text not in (".", "..", *RESERVED) and not text.startswith("_")
)
upload_ids = st.text("0123456789abcdef", min_size=32, max_size=32)


@pytest.fixture(autouse=True, scope="module")
def environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGISTRY_BUCKET", "b")
        patch.setenv("REGISTRY_TABLE", "t")
        for name in ("INBOX_PREFIX", "ARCHIVES_PREFIX"):
            patch.delenv(f"REGISTRY_{name}", raising=False)
        get_settings.cache_clear()
        yield
    get_settings.cache_clear()


@given(model_ids)
@example("-" * 128)
@example("...")
@example("latest")
def test_every_id_of_the_alphabet_is_a_model_id(model_id):
    assert naming.check_model_id(model_id) == model_id


@given(user_ids)
@example("a@b.example|sso+1")
@example("Upload")
@example("-")
def test_every_id_of_the_alphabet_is_a_user_id(user_id):
    assert naming.check_user_id(user_id) == user_id


@given(versions)
@example("LATEST")
@example("v1.0")
def test_every_id_of_the_alphabet_but_latest_is_a_version(version):
    assert naming.check_version(version) == version


BAD_IDS = [
    "",
    ".",
    "..",
    "a" * 129,
    "a/b",
    "a\\b",
    "a b",
    " a",
    "a ",
    "a\n",
    "a\0",
    "é",
    "a#b",
    "a?b",
    "a%b",
    "a=b",
    "a~b",
]
BAD_IDS += ["a,b", "a:b", "a;b", "a*b", "a'b", 'a"b', "a&b", "a$b", "\u202ea", "\uff11", "a\u200b", "../a", "a" * 2049]


@pytest.mark.parametrize("bad", [*BAD_IDS, "a@b", "a|b", "a+b"], ids=ascii)
def test_what_is_beyond_the_alphabet_or_length_is_no_model_id_and_no_version(bad):
    with pytest.raises(InvalidError) as raised:
        naming.check_model_id(bad)
    assert raised.value.code == "bad_model_id"
    with pytest.raises(InvalidError) as raised:
        naming.check_version(bad)
    assert raised.value.code == "bad_version"


@pytest.mark.parametrize("bad", [*BAD_IDS, *RESERVED, "_", "_a", "__proto__"], ids=ascii)
def test_what_is_beyond_the_alphabet_or_reserved_is_no_user_id(bad):
    with pytest.raises(InvalidError) as raised:
        naming.check_user_id(bad)
    assert raised.value.code == "bad_user_id"


def test_latest_is_no_version():
    with pytest.raises(InvalidError):
        naming.check_version("latest")


@given(st.text())
def test_a_check_never_lets_through_what_could_leave_its_place_in_a_key(text):
    for check in (naming.check_user_id, naming.check_model_id, naming.check_version, naming.check_upload_id):
        try:
            checked = check(text)
        except InvalidError:
            continue
        assert checked == text and "/" not in checked and "#" not in checked and "~" not in checked
        assert checked not in (".", "..") and checked.isascii() and checked.isprintable()


@given(user_ids)
@example("|+")
@example("7C|2B+")
def test_unescaping_undoes_escaping(user_id):
    escaped = naming.escape_user_id(user_id)
    assert naming.unescape_user_id(escaped) == user_id
    assert "|" not in escaped and "+" not in escaped and "/" not in escaped


@given(user_ids, user_ids)
def test_two_users_never_share_an_escaped_form(one, other):
    assert (naming.escape_user_id(one) == naming.escape_user_id(other)) == (one == other)


@given(user_ids, upload_ids, st.one_of(st.just("archive"), st.integers(0, 999_999)))
def test_parsing_an_inbox_key_undoes_making_it(user_id, upload_id, slot):
    key = naming.inbox_key(user_id, upload_id, slot)
    parsed = naming.parse_inbox_key(key)
    assert parsed is not None
    assert (parsed.user_id, parsed.upload_id) == (user_id, upload_id)
    assert parsed.slot == "archive" if slot == "archive" else int(parsed.slot) == slot
    assert key.startswith(naming.inbox_prefix(user_id, upload_id))
    assert key.startswith("modelkeep/uploads/")


@given(st.text())
@example("modelkeep/uploads/alice/" + "0" * 32 + "/0")
@example("modelkeep/uploads/alice/" + "0" * 32 + "/000000/x")
@example("modelkeep/uploads/alice/" + "0" * 32 + "/000000\n")
@example("modelkeep/uploads/alice/" + "0" * 32 + "/")
@example("modelkeep/uploads/../" + "0" * 32 + "/archive")
@example("modelkeep/uploads//" + "0" * 32 + "/archive")
@example("modelkeep/uploads/a=7cb/" + "0" * 32 + "/archive")
@example("modelkeep/uploads/a|b/" + "0" * 32 + "/archive")
@example("modelkeep/uploads/alice/" + "A" * 32 + "/archive")
@example("modelkeep/uploads/alice/" + "0" * 32 + "/\u0661\u0661\u0661\u0661\u0661\u0661")
@example("models/alice/" + "0" * 32 + "/archive")
@example("alice/" + "0" * 32 + "/archive")
def test_a_key_that_is_never_made_is_parsed_as_none(key):
    parsed = naming.parse_inbox_key(key)
    assert parsed is None or naming.inbox_key(parsed.user_id, parsed.upload_id, parsed.slot) == key


@given(user_ids, model_ids, versions, st.one_of(st.none(), upload_ids))
def test_a_versions_prefix_is_its_own(user_id, model_id, version, attempt):
    prefix = naming.version_prefix(user_id, model_id, version, attempt=attempt)
    assert prefix.endswith("/") and prefix.count("/") == 4
    kind, user, model, name, _ = prefix.split("/")
    assert (kind, naming.unescape_user_id(user), model) == ("models", user_id, model_id)
    assert name == (version if attempt is None else f"{version}~{attempt}")


def test_keys_are_as_the_contract_says():
    assert naming.version_prefix("alice", "iris", "v1") + "a/b.pkl" == "models/alice/iris/v1/a/b.pkl"
    assert naming.file_key("models/alice/iris/v1/", "a/b.pkl") == "models/alice/iris/v1/a/b.pkl"
    upload_id = "0" * 32
    assert naming.archive_key("a|b", "m", "v1", upload_id) == f"modelkeep/archives/a=7Cb/m/v1/{upload_id}.zip"


def test_a_key_has_at_most_1024_bytes():
    assert len(naming.file_key("p/", "x" * 1022)) == 1024
    for path in ("x" * 1023, "é" * 512):
        with pytest.raises(InvalidError) as raised:
            naming.file_key("p/", path)
        assert raised.value.code == "path_too_long"


def test_upload_ids_are_fresh_valid_and_sort_by_age():
    import time

    ids = []
    for _ in range(5):
        ids.append(naming.new_upload_id())
        time.sleep(0.002)
    assert ids == sorted(set(ids))
    assert all(naming.check_upload_id(each) == each for each in ids)


@given(st.text())
@example("C:\\a\\b.pkl")
@example("/a/b.pkl")
@example("a\\b/c.pkl")
def test_the_last_segment_holds_no_separator_and_ends_the_name(filename):
    last = naming.last_segment(filename)
    assert "/" not in last and "\\" not in last and filename.endswith(last)


def test_prefixes_may_be_set(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("REGISTRY_INBOX_PREFIX", "in/")
        get_settings.cache_clear()
        key = naming.inbox_key("alice", "0" * 32, 7)
        assert key == f"in/alice/{'0' * 32}/000007"
        assert naming.parse_inbox_key(key) is not None
        assert naming.parse_inbox_key("modelkeep/uploads/" + key.removeprefix("in/")) is None
    get_settings.cache_clear()


def test_the_claim_is_one_a_bucket_and_lies_where_no_user_can():
    assert naming.claim_key() == "models/_claim.json"
    with pytest.raises(InvalidError):
        naming.check_user_id("_claim.json")


@pytest.mark.parametrize("attempt", [None, "0198f0a1b2c300000000000000000001"])
@pytest.mark.parametrize("user_id", ["alice", "auth0|a+b@c.d"])
def test_a_model_key_says_what_it_was_made_of(user_id: str, attempt: str | None) -> None:
    prefix = naming.version_prefix(user_id, "bert", "v1.0", attempt=attempt)
    for path in ("a", "a/b~c/d"):
        key = naming.file_key(prefix, path)
        assert naming.parse_model_key(key) == naming.ModelKey(user_id, "bert", "v1.0", prefix)


@pytest.mark.parametrize(
    "key",
    [
        "models/_claim.json",
        "models/alice/bert/v1",
        "models/alice/bert/v1/",
        "models/alice/bert/v1~/a",
        "models/alice/bert/latest/a",
        "models/al ice/bert/v1/a",
        "models/al+ice/bert/v1/a",
        "other/alice/bert/v1/a",
    ],
)
def test_any_other_key_is_no_versions(key: str) -> None:
    assert naming.parse_model_key(key) is None
