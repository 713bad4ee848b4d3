"""search_models: a user's versions that fit a query."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.functional.kit import METADATA_KEYS, items, link_in, ok, publish, refused


def found(answer) -> list[str]:
    return [each["model_id"] for each in ok(answer)]


@pytest.fixture
def models(api):
    publish("alice", "bert-base", "v1", [], name="BERT base", description="English text", tags=["NLP", "Prod"])
    publish("alice", "iris_rf", "v1", [], name="Iris", algorithm="Random-Forest", framework="sklearn")
    publish(
        "alice", "resnet50", "v1", [], name="ResNet 50", description="Bilder, Größe 224", model_type="computer_vision"
    )
    return api


def test_words_of_name_description_algorithm_model_id_and_tags_are_found(models):
    for query, expected in {
        "iris": ["iris_rf"],
        "english": ["bert-base"],
        "forest": ["iris_rf"],
        "rf": ["iris_rf"],
        "base": ["bert-base"],
        "nlp": ["bert-base"],
        "224": ["resnet50"],
    }.items():
        assert found(models.search(query)) == expected, query


def test_every_word_of_the_query_must_begin_some_word(models):
    assert found(models.search("ran for")) == ["iris_rf"]
    assert found(models.search("res 50")) == ["resnet50"]
    assert found(models.search("bert iris")) == []
    assert found(models.search("orest")) == []  # the middle of a word is not its beginning
    assert found(models.search("b")) == ["resnet50", "bert-base"]  # Bilder, BERT: newest first
    assert found(models.search("bert bert BERT")) == ["bert-base"]


def test_case_and_compatibility_forms_do_not_matter(models):
    assert found(models.search("BERT")) == found(models.search("\uff42\uff45\uff52\uff54")) == ["bert-base"]
    assert found(models.search("GRÖSSE")) == found(models.search("größe")) == ["resnet50"]


def test_signs_divide_words_and_are_found_nowhere(models):
    assert found(models.search("random-forest")) == ["iris_rf"]
    assert found(models.search("text!english?")) == ["bert-base"]
    assert found(models.search("#!?")) == []
    assert found(models.search("iris_rf")) == ["iris_rf"]


def test_the_query_is_optional(models):
    every = ["resnet50", "iris_rf", "bert-base"]
    assert found(models.search()) == found(models.search("")) == found(models.search("  ")) == every
    assert found(models.search(framework="sklearn")) == ["iris_rf"]


def test_words_and_filters_work_together(models):
    assert found(models.search("b", model_type="computer_vision")) == ["resnet50"]
    assert found(models.search("b", tags="nlp, PROD")) == ["bert-base"]
    assert found(models.search("b", tags="nlp,other")) == []
    assert found(models.search("iris", framework="onnx")) == []
    refused(models.search("iris", framework="caffe"), 400)


def test_entries_are_metadata(models):
    assert set(ok(models.search("iris"))[0]) == METADATA_KEYS
    assert ok(models.search("iris")) == [ok(models.get("iris_rf"))]


def test_an_update_is_seen_at_once_and_leaves_no_old_word(models):
    ok(models.update("iris_rf", {"name": "Flowers", "algorithm": None, "tags": ["botany"]}))
    assert found(models.search("flow")) == found(models.search("botany")) == ["iris_rf"]
    assert found(models.search("forest")) == []
    assert found(models.search("iris")) == ["iris_rf"]  # still in the model's id
    terms = {key[0].removeprefix("P#alice#a#w:") for key in items()}
    assert "fores" not in terms and "botan" in terms


def test_inactive_versions_are_found_only_where_they_are_asked_for(models):
    ok(models.update("iris_rf", {"is_active": False}))
    assert found(models.search("iris")) == []
    assert found(models.search("iris", is_active="false")) == ["iris_rf"]


def test_a_deleted_version_and_its_words_are_gone(models):
    ok(models.delete("iris_rf"))
    assert found(models.search("iris")) == []
    assert not [key for key in items() if key[0].startswith("P#alice") and "iris" in key[1]]
    assert found(models.search("bert")) == ["bert-base"]


def test_nobodys_search_is_empty(models):
    models.user_id = "bob"
    assert ok(models.search("iris")) == []


def test_skip_limit_and_link_page_through_what_is_found(api):
    for number in range(1, 8):
        publish("alice", "m", f"v{number}", [], name="Wanted thing" if number != 4 else "Other")
    every = ["v7", "v6", "v5", "v3", "v2", "v1"]

    def versions(answer):
        return [each["version"] for each in ok(answer)]

    assert versions(api.search("want thi")) == every
    assert versions(api.search("want thi", skip=2, limit=2)) == every[2:4]
    seen, query = [], {"query": "want thi", "limit": "2"}
    for _ in range(9):
        answer = api.search(**query)
        seen += versions(answer)
        link = link_in(answer)
        if link is None:
            break
        query = {key: values[-1] for key, values in parse_qs(urlsplit(link).query).items()}
        assert query["query"] == "want thi"
    assert seen == every


def test_a_prefix_of_a_great_many_words_finds_what_it_should(api):
    many = " ".join(f"w{number:03d}" for number in range(100))
    publish("alice", "a", "v1", [], name="n", description=many)
    publish("alice", "b", "v1", [], name="n", description="other words")
    publish("alice", "c", "v1", [], name="n", description="w050 only")
    assert found(api.search("w")) == ["c", "b", "a"]
    assert found(api.search("w0")) == ["c", "a"]
    assert found(api.search("w05")) == ["c", "a"]
    assert found(api.search("w099")) == ["a"]
    assert found(api.search("w0 only")) == ["c"]


def test_a_query_beyond_reason_is_a_400(api):
    refused(api.search("x" * 513), 400)
    refused(api.search(" ".join(f"w{number}" for number in range(17))), 400)
    assert ok(api.search(" ".join(f"w{number}" for number in range(16)))) == []


@pytest.mark.case("A3", "A4")
def test_odd_queries_are_answered(models):
    for query in ("a\0b", "\u202e", "'; DROP TABLE", "..", "%", "#", "iris\n", "x" * 512, "ﷺ" * 100):
        assert models.search(query).status == 200, query
    assert found(models.search("iris\n")) == ["iris_rf"]
