"""What must hold whatever has happened: asked at the end of each test of a fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from registry import naming

from tests.integration.harness import World, sha256

Seen = dict[tuple[str, str], dict[str, tuple[str, str]]]  # by model and version: of each path, its key and digest
NEIGHBOUR = {"model.onnx": b"a neighbour's model"}


def see(world: World) -> Seen:
    """All that readers can find. Every file has the size and the digest that are recorded, and lies where nobody else's
    does."""
    from registry.storage import objects

    seen: Seen = {}
    keys: list[str] = []
    for active in (True, False):
        for listed in world.list(is_active=active):
            shown = world.get(listed.model_id, listed.version)
            assert shown == listed, "a list shows another version than get does"
            digests = world.files(shown.model_id, shown.version)
            places = {file.filename: file.file_path for file in shown.files}
            assert places.keys() == digests.keys()
            for file in shown.files:
                data = objects.read_range(file.file_path, 0, file.file_size)
                assert (sha256(data), file.file_hash) == (digests[file.filename],) * 2, file.file_path
                found = objects.find_object(file.file_path)
                assert found is not None and found.size == file.file_size
            seen[shown.model_id, shown.version] = {path: (places[path], digests[path]) for path in places}
            keys += places.values()
    assert len(set(keys)) == len(keys), "two versions share an object"
    return seen


def check_on_record(world: World, seen: Seen) -> None:
    """Whatever lies in the bucket is a visible file, or the sweep will come to it: a work row says where it is."""
    visible = {key for files in seen.values() for key, _ in files.values()}
    work = [row for (pk, _), row in world.rows().items() if pk.startswith("WK#")]
    places = [row["prefix"] for row in work]
    places += [naming.inbox_prefix(row["user_id"], row["upload_id"]) for row in work]
    attempts = {row["upload_id"] for row in work}
    for key in {*world.objects(), *world.multiparts()} - visible:
        assert key.startswith(tuple(places)) or any(each in key for each in attempts), f"nobody knows of {key}"


@dataclass
class Soundness:
    """A world, and a neighbour in it who does nothing and whose name begins alike."""

    world: World
    neighbour: World
    before: tuple[dict[Any, Any], Seen]

    @classmethod
    def of(cls, world: World) -> Soundness:
        neighbour = World(f"{world.user_id}0", world.started, world.clock, world.process)
        for model_id in ("model", "model1"):
            neighbour.upload_single(model_id, NEIGHBOUR["model.onnx"])
        return cls(world, neighbour, cls._state(neighbour))

    @staticmethod
    def _state(neighbour: World) -> tuple[dict[Any, Any], Seen]:
        own = {row["upload_id"] for row in neighbour.rows().values() if row.get("user_id") == neighbour.user_id}
        rows = {
            key: row
            for key, row in neighbour.rows().items()
            if f"#{neighbour.user_id}#" in f"{key[0]}#" or row.get("upload_id") in own
        }
        return rows, see(neighbour)

    def check(self) -> None:
        """Every visible file hashes to its recorded digest and every object is on record; when all that was put off has
        come due nothing is in between, what was visible is unchanged, and so is all that is the neighbour's."""
        world = self.world
        seen = see(world)
        check_on_record(world, seen)
        world.recover(rounds=1)
        world.end()
        world.check_clean()
        after = see(world)
        assert {version: after.get(version) for version in seen} == seen, "a version that was visible has changed"
        assert sorted(world.objects()) == sorted(key for files in after.values() for key, _ in files.values())
        assert self._state(self.neighbour) == self.before, "a neighbour's state has changed"
