"""Lists and search: words and terms, and walks along postings that give what a plain loop would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry import search
from registry.records import PostingRow
from registry.schemas.requests import VersionFields
from registry.search import Budget, Intersection, Query, TermPostings

settings.register_profile("unhurried", deadline=None)  # others work on this machine too
settings.load_profile("unhurried")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", set()),
        ("BERT base, uncased!", {"bert", "base", "uncased"}),
        ("iris_rf-v1.0", {"iris", "rf", "v1", "0"}),
        ("Straße GROẞ", {"strasse", "gross"}),
        ("ﬁne \uff42\uff45\uff52\uff54 ²", {"fine", "bert", "2"}),
        ("模型 ResNet50", {"模型", "resnet50"}),
        ("é e\u0301", {"é"}),
        ("___ --- ...", set()),
        ("x" * 100, {"x" * 64}),
    ],
)
def test_words_are_runs_of_letters_and_digits_case_folded(text, words):
    assert search.words_of(text) == words


@given(st.text())
def test_words_are_stable_and_free_of_signs(text):
    words = search.words_of(text)
    assert all(word and len(word) <= 64 and "_" not in word for word in words)
    assert search.words_of(" ".join(words)) == words


def fields(**values: Any) -> VersionFields:
    return VersionFields(**{"framework": "onnx", "model_type": "nlp", **values})


def test_a_versions_terms_are_all_that_lists_and_searches_ask_for():
    terms = search.version_terms("my-model", fields(name="Big One", tags=["Prod", "x#y"], is_production_ready=True))
    assert terms == {
        search.ALL, "m:my-model", "f:onnx", "y:nlp", "r:1", "t:prod", "t:x#y",
        "w:my", "w:mo", "w:mod", "w:model", "w:bi", "w:big", "w:on", "w:one", "w:pr", "w:pro",
    }  # fmt: skip
    assert "r:0" in search.version_terms("m", fields())


@given(st.text(), st.text(min_size=1))
def test_whatever_a_word_begins_with_leads_to_its_version(name, query):
    """All that a query finds has the terms that lead the search to it."""
    own = VersionFields.model_construct(name=name)
    for word in search.words_of(query) | {word[:length] for word in search.words_of(name) for length in range(1, 65)}:
        asked = Query("u", words=(word,))
        wanted = any(each.startswith(word) for each in search.version_words("m", own))
        assert asked.matches("m", own) is wanted
        assert not wanted or set(asked.terms()) <= search.version_terms("m", own)


def test_a_word_is_looked_for_by_its_longest_beginning_that_has_postings():
    assert [search.beginning_term("transform"[:length]) for length in range(1, 10)] == [
        None, "w:tr", "w:tra", "w:tra", "w:trans", "w:trans", "w:trans", "w:transfor", "w:transfor",
    ]  # fmt: skip
    assert Query("u", words=("t",)).terms() == []


def test_words_come_from_name_description_algorithm_model_id_and_tags_and_nothing_else():
    words = search.version_words(
        "id1",
        fields(name="n1", description="d1", algorithm="a1", tags=["t1"], training_dataset="s1", python_version="p1"),
    )
    assert words == {"id1", "n1", "d1", "a1", "t1"}


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        (Query("u"), True),
        (Query("u", words=("bi",)), True),
        (Query("u", words=("bi", "one")), True),
        (Query("u", words=("ig",)), False),
        (Query("u", words=("big", "two")), False),
        (Query("u", tags=("prod",)), True),
        (Query("u", tags=("prod", "x")), False),
        (Query("u", tags=("pro",)), False),
        (Query("u", framework="onnx", model_type="nlp"), True),
        (Query("u", framework="keras"), False),
        (Query("u", ready=False), True),
        (Query("u", ready=True), False),
        (Query("u", model_id="m"), True),
        (Query("u", model_id="m2"), False),
        (Query("u", latest=True), True),  # of its siblings it knows nothing
    ],
)
def test_a_version_matches_what_is_asked_for(query, fits):
    assert query.matches("m", fields(name="Big One", tags=["Prod"])) is fits


@given(st.text(), st.text(), st.text())
def test_splitting_a_sort_key_undoes_making_it(created, model_id, version):
    parts = (created, model_id, version)
    if not any("#" in part for part in parts):
        assert search.split_sk(search.posting_sk(*parts)) == parts


def test_inactive_versions_have_partitions_of_their_own():
    assert search.posting_pk("u", "t:x") != search.posting_pk("u", "t:x", active=False)
    assert search.posting_pk("u", "t:x") != search.posting_pk("u", "t:x2")


@dataclass
class Reader:
    """In the place of DynamoDB: postings by partition, and how many were read."""

    partitions: dict[str, list[str]]
    read: int = 0
    queries: int = 0

    def query(self, pk: str, condition: Any, *, scan_index_forward: bool, limit: int, consistent_read: bool) -> Any:
        assert not scan_index_forward and consistent_read and limit > 0
        keys = sorted(self.partitions.get(pk, ()), reverse=True)
        if condition is not None:
            bound = condition.values[1].value["S"]
            assert condition.operator in ("<", "<=")
            keys = [key for key in keys if key < bound or (condition.operator == "<=" and key == bound)]
        self.queries += 1
        self.read += len(keys[:limit])
        return iter([PostingRow(pk, key, upload_id="x") for key in keys[:limit]])


partitions = st.lists(st.sets(st.integers(0, 60).map(lambda n: f"{n:03d}"), max_size=45), min_size=1, max_size=4)
positions = st.one_of(st.none(), st.integers(0, 61).map(lambda n: f"{n:03d}"))


def below(keys: set[str], before: str | None) -> list[str]:
    return sorted((key for key in keys if before is None or key < before), reverse=True)


def walked(postings: Any) -> list[str]:
    found = []
    while (head := postings.peek()) is not None:
        found.append(head.sk)
        postings.drop(head.sk)
    return found


def with_reader(sets: list[set[str]], work: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        made = Reader({f"p{number}": list(keys) for number, keys in enumerate(sets)})
        patch.setattr(PostingRow, "query", made.query)
        return work(made)


@given(partitions, positions, st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_the_postings_of_a_term_come_newest_first_from_below_the_cursor(sets, before, chunk):
    def work(reader: Reader) -> None:
        budget = Budget(1_000)
        assert walked(TermPostings("p0", before, budget, chunk)) == below(sets[0], before)
        assert budget.left == 1_000 - reader.read

    with_reader(sets, work)


@given(partitions, st.lists(st.integers(0, 61).map(lambda n: f"{n:03d}"), max_size=6), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_skipping_leaves_out_what_is_newer_and_nothing_else(sets, stops, chunk):
    def work(reader: Reader) -> None:
        term = TermPostings("p0", None, Budget(1_000), chunk)
        lowest = None
        for stop in stops:
            term.skip_to(stop)
            lowest = stop if lowest is None else min(lowest, stop)
            head = term.peek()
            left = [key for key in below(sets[0], None) if key <= lowest]
            assert (head.sk if head else None) == (left[0] if left else None)

    with_reader(sets, work)


@given(partitions, positions, st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_an_intersection_gives_what_all_have_newest_first(sets, before, chunk):
    def work(reader: Reader) -> None:
        budget = Budget(10_000)
        postings = [TermPostings(f"p{n}", before, budget, chunk) for n in range(len(sets))]
        walk = Intersection(postings, budget)
        found = list(walk)
        assert [each[0].sk for each in found] == below(set.intersection(*sets), before)
        assert all(len(each) == len(sets) and len({posting.sk for posting in each}) == 1 for each in found)
        assert walk.cut_off is None

    with_reader(sets, work)


@given(partitions, st.integers(1, 40), st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_a_walk_that_the_budget_cuts_off_goes_on_where_it_was(sets, budget_each, chunk):
    def work(reader: Reader) -> None:
        found: list[str] = []
        before = None
        for _ in range(400):
            budget = Budget(budget_each)
            postings = [TermPostings(f"p{n}", before, budget, chunk) for n in range(len(sets))]
            walk = Intersection(postings, budget)
            found += [each[0].sk for each in walk]
            if walk.cut_off is None:
                break
            assert before is None or walk.cut_off < before, "no progress: it would go on for ever"
            before = walk.cut_off
        assert found == below(set.intersection(*sets), None)

    with_reader(sets, work)


def test_nothing_to_walk_is_nothing_found():
    walk = Intersection([], Budget(10))
    assert list(walk) == [] and walk.cut_off is None


def test_the_rarest_term_sets_the_pace():
    def work(reader: Reader) -> None:
        budget = Budget(100_000)
        postings = [TermPostings(f"p{n}", None, budget, 16) for n in range(2)]
        assert [each[0].sk for each in Intersection(postings, budget)] == ["000005"]
        assert reader.read < 100

    with_reader([{f"{n:06d}" for n in range(10_000)}, {"000005"}], work)


def test_a_page_is_read_in_few_queries():
    def work(reader: Reader) -> None:
        assert len(walked(TermPostings("p0", None, Budget(100_000), 101))) == 2_000
        assert reader.queries <= 12

    with_reader([{f"{n:06d}" for n in range(2_000)}], work)
