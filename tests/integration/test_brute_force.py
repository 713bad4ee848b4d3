"""List and search find exactly what a look at everything would, after every change."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from registry.schemas.answers import Metadata

from tests.integration.harness import World

WORDS = ["Alpha", "alphabet", "beta", "Straße", "STRASSE", "gamma2", "42", "résumé", "ﬁne", "x", "alpine"]
TAGS = ["prod", "Prod", "eu", "Größe", "two words", "v2"]
FRAMEWORKS = ["pytorch", "onnx", "sklearn"]
MODELS = ["bert", "bert-large", "a.b_c", "resnet"]


@dataclass
class Truth:
    """One version as it should be."""

    model_id: str
    version: str
    created: str
    active: bool = True
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> tuple[str, str]:
        return self.model_id, self.version

    def words(self) -> set[str]:
        import unicodedata

        texts = [self.model_id, self.fields.get("name"), self.fields.get("description"), self.fields.get("algorithm")]
        texts += self.fields.get("tags") or []
        folded = unicodedata.normalize("NFKC", " ".join(text for text in texts if text)).casefold()
        return set(re.findall(r"[^\W_]+", folded))

    def fits(self, *, query: str, framework: str | None, tags: str | None, ready: bool | None) -> bool:
        import unicodedata

        wanted = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", query).casefold())
        own_tags = {tag.strip().casefold() for tag in self.fields.get("tags") or []}
        return (
            all(any(word.startswith(each) for word in self.words()) for each in wanted)
            and framework in (None, self.fields.get("framework") or "other")
            and all(tag.strip().casefold() in own_tags for tag in (tags or "").split(",") if tag.strip())
            and ready in (None, bool(self.fields.get("is_production_ready")))
        )


class Model:
    """The registry and the truth beside it."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.all: dict[tuple[str, str], Truth] = {}
        self.count = 0

    def fields(self) -> dict[str, Any]:
        choose = self.random
        return {
            "name": " ".join(choose.sample(WORDS, choose.randint(1, 3))),
            "description": choose.choice([None, *(" ".join(choose.sample(WORDS, 4)) for _ in range(3))]),
            "algorithm": choose.choice([None, "Boost-9", "x_y"]),
            "framework": choose.choice(FRAMEWORKS),
            "tags": choose.sample(TAGS, choose.randint(0, 3)) or None,
        }

    def create(self) -> None:
        self.count += 1
        model_id, version, fields = self.random.choice(MODELS), f"v{self.count}", self.fields()
        text = {**fields, "tags": ",".join(fields["tags"]) if fields["tags"] else None}
        shown = self.world.upload_single(model_id, b"x", version=version, **text)
        self.all[model_id, version] = Truth(model_id, version, shown.created_at, fields=fields)

    def change(self) -> None:
        truth = self.random.choice(list(self.all.values()))
        fields = self.fields()
        fields["is_production_ready"] = self.random.random() < 0.5
        changes = {name: fields[name] for name in self.random.sample(sorted(fields), self.random.randint(1, 4))}
        if self.random.random() < 0.4:
            changes["is_active"] = truth.active = self.random.random() < 0.5
        self.world.update(*truth.name, **changes)
        changes.pop("is_active", None)
        truth.fields |= changes

    def delete(self) -> None:
        name = self.random.choice(list(self.all))
        self.world.delete(*name)
        del self.all[name]

    def newest_first(self, *, active: bool = True) -> list[Truth]:
        wanted = [truth for truth in self.all.values() if truth.active == active]
        return sorted(wanted, key=lambda truth: truth.created, reverse=True)

    def newest(self, model_id: str) -> Truth | None:
        return next((truth for truth in self.newest_first() if truth.model_id == model_id), None)

    def check_all(self) -> None:
        """Without a choice: the lists of everything, each model's newest and versions."""
        assert names(self.world.list(limit=7)) == [truth.name for truth in self.newest_first()]
        assert names(self.world.list(limit=5, is_active=False)) == [
            truth.name for truth in self.newest_first(active=False)
        ]
        newest = [truth for truth in self.newest_first() if self.newest(truth.model_id) is truth]
        assert names(self.world.list(limit=2, latest=True)) == [truth.name for truth in newest]
        for model_id in MODELS:
            shown, truth = self.world.get(model_id), self.newest(model_id)
            assert (shown and (shown.model_id, shown.version)) == (truth and truth.name)
            own = [truth for truth in self.all.values() if truth.model_id == model_id]
            own.sort(key=lambda truth: truth.created, reverse=True)
            limit = self.random.choice([1, 3, 100])
            assert names(self.world.versions(model_id, limit=limit)) == [truth.name for truth in own]

    def check_some(self) -> None:
        """A random question, read by random pages."""
        choose = self.random
        words = [word[: choose.randint(1, len(word))] for word in choose.sample(WORDS, choose.randint(0, 2))]
        query = " ".join(words)
        framework = choose.choice([None, None, *FRAMEWORKS])
        tags = choose.choice([None, None, "PROD", "eu,prod", " größe ", "two words"])
        ready = choose.choice([None, None, True, False])
        active = choose.random() < 0.8
        latest = active and choose.random() < 0.2
        limit, skip = choose.choice([1, 2, 5, 100]), choose.choice([0, 0, 1, 4, 50])
        wanted = [
            truth
            for truth in self.newest_first(active=active)
            if truth.fits(query=query, framework=framework, tags=tags, ready=ready)
            and (not latest or self.newest(truth.model_id) is truth)
        ]
        asked = {"framework": framework, "tags": tags, "is_production_ready": ready, "is_active": active}
        found = self.world.list(query=query or None, limit=limit, skip=skip, latest=latest, **asked)
        assert names(found) == [truth.name for truth in wanted][skip:], (query, asked, latest, limit, skip)
        for shown in found:
            self.check_shown(shown)

    def check_shown(self, shown: Metadata) -> None:
        truth = self.all[shown.model_id, shown.version]
        assert shown.is_active == truth.active
        assert shown.framework == truth.fields["framework"]
        assert shown.description == truth.fields.get("description")
        assert len(shown.tags) == len({tag.casefold() for tag in truth.fields.get("tags") or []})


def names(found: list[Metadata]) -> list[tuple[str, str]]:
    return [(each.model_id, each.version) for each in found]


def run(world: World, seed: int, *, steps: int) -> None:
    model = Model(world, seed)
    for _ in range(12):
        model.create()
    for step in range(steps):
        kind = model.random.random()
        if not model.all or (kind < 0.25 and len(model.all) < 40):
            model.create()
        elif kind < 0.88:
            model.change()
        else:
            model.delete()
        for _ in range(3):
            model.check_some()
        if step % 4 == 0:
            model.check_all()
    model.check_all()
    for name in list(model.all):
        world.delete(*name)
    world.end()
    left = [key for key in world.rows() if key[0].startswith(("P#", "D#", "F#", "WK#"))]
    assert left == []
    world.check_clean()


def test_lists_equal_brute_force(world: World) -> None:
    run(world, 1, steps=24)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3, 15))
def test_lists_equal_brute_force_for_long(world: World, seed: int) -> None:
    run(world, seed, steps=200)
