"""What the authorizer hands on comes back as it was, and nothing else is taken for a right."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry.errors import UnauthenticatedError
from registry.principals import MAX_GROUPS, Principal, read_context, write_context

pytestmark = pytest.mark.case("N15")
TOKEN_ID = "tok_" + "0" * 32
TOKEN = {"principalId": "alice", "token_id": TOKEN_ID, "scope": "read", "models": "*"}
NAMES = st.text("abcXYZ019._@|+-", min_size=1, max_size=128)
PRINCIPALS = st.one_of(
    st.builds(Principal, NAMES, groups=st.frozensets(NAMES, max_size=MAX_GROUPS)),
    st.builds(
        Principal,
        NAMES,
        scope=st.sampled_from(["read", "write"]),
        models=st.none() | st.text("abcXYZ019._-*", min_size=1, max_size=128).filter(lambda text: text != "*"),
        token_id=st.just(TOKEN_ID),
    ),
)


@given(PRINCIPALS)
def test_a_principal_comes_back_as_it_was_handed_on_in_texts(principal: Principal) -> None:
    context = json.loads(json.dumps(write_context(principal)))
    assert all(isinstance(value, str) and value for value in context.values())
    # API Gateway puts its own beside ours.
    assert read_context({**context, "principalId": principal.id, "integrationLatency": 12}) == principal


def test_no_context_is_a_user_of_the_issuers_in_no_group() -> None:
    assert read_context({"principalId": "alice", "integrationLatency": 12}) == Principal("alice")


@pytest.mark.parametrize(
    "context",
    [
        None,
        "alice",
        ["alice"],
        {},
        {"principalId": ""},
        {"principalId": None},
        {"principalId": ["alice"]},
        {"principalId": {"alice": 1}},
        {"token_id": TOKEN_ID, "scope": "write", "models": "*"},
        *({name: value for name, value in TOKEN.items() if name != lost} for lost in ("token_id", "scope", "models")),
        *({"principalId": "alice", name: TOKEN[name]} for name in ("token_id", "scope", "models")),
        *({**TOKEN, "scope": scope} for scope in ("", "admin", "WRITE", "read write", True, ["write"], {"write": 1})),
        *({**TOKEN, "models": models} for models in ("", "a b", "m/*", "m?", "m" * 129, 7, ["*"], "m\n")),
        *({**TOKEN, "token_id": given} for given in ("", "tok_", "mk_x", "tok_" + "g" * 32, 7, True)),
        {**TOKEN, "groups": "research"},
        {**TOKEN, "groups": ""},
        *(
            {"principalId": "alice", "groups": groups}
            for groups in ("", " ", "a  b", "a b ", "a/b", "a\tb", "ä", ["a"], 7, True, "g" * 129, "g " * 99 + "g")
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_was_never_handed_on_is_nobody(context: Any) -> None:
    with pytest.raises(UnauthenticatedError) as raised:
        read_context(context)
    assert raised.value.code == "unauthenticated"
