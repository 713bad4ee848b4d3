"""get_model: one version's metadata."""

from __future__ import annotations


def test_get_model_of_nobody_is_a_404_in_the_contracts_json(on_moto, call):
    status, headers, body = call("get_model", path={"user_id": "alice", "model_id": "none"})
    assert status == 404
    assert body["code"] == "model_not_found"
    assert isinstance(body["detail"], str)
    assert headers["x-request-id"]
