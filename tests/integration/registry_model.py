"""A registry as simple as can be, to hold the real one against: attempts to make a version, and what may be seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["open", "ready", "deleting", "gone"]
Fields = tuple[str, str, bool]  # name, tag, active


@dataclass(eq=False)
class Attempt:
    """One attempt to make a version, by one of four ways."""

    kind: Literal["form", "folder", "archive", "files"]
    model_id: str
    version: str
    contents: dict[str, bytes]  # what will be seen
    fields: Fields
    body: bytes = b""  # the archive
    sound: bool = True  # whether the archive is
    hashed: bool = False  # whether the digests of the files were announced
    known: bool = False  # whether some of the bytes may be there already
    upload_id: str = ""
    state: State = "open"
    arrived: dict[int | str, bool] = field(default_factory=dict)  # by slot: whether what was sent last is right
    created: str = ""
    ended: float = 0.0  # when it was last seen open, in seconds since 1970: no URL of it was given away since

    @property
    def name(self) -> tuple[str, str]:
        return self.model_id, self.version

    @property
    def slots(self) -> list[int | str]:
        """Where its bytes go in the inbox."""
        return list(range(len(self.contents))) if self.kind == "files" else ["archive"]

    @property
    def whole(self) -> bool:
        """Whether all has been sent as it was announced."""
        return all(self.arrived.get(slot, False) for slot in self.slots)

    def ends_as(self) -> set[State]:
        """What a worker that nothing happens to makes of it."""
        if self.state != "open":
            return {self.state}
        if self.kind in ("archive", "folder") and "archive" in self.arrived and not self.arrived["archive"]:
            return {"gone"}
        if self.whole:
            return {"ready"} if self.sound else {"gone"}
        return {"open", "ready"} if self.known else {"open"}


@dataclass
class Registry:
    """All attempts, the oldest first."""

    attempts: list[Attempt] = field(default_factory=list)

    def holder(self, model_id: str, version: str) -> Attempt | None:
        """Who has a version's name."""
        held = [each for each in self.attempts if each.name == (model_id, version) and each.state != "gone"]
        assert len(held) <= 1, "a version's name is held twice"
        return held[0] if held else None

    def of(self, upload_id: str) -> Attempt | None:
        return next((each for each in self.attempts if each.upload_id == upload_id), None)

    @property
    def visible(self) -> list[Attempt]:
        """What readers see, the newest first."""
        ready = [each for each in self.attempts if each.state == "ready"]
        return sorted(ready, key=lambda each: each.created, reverse=True)

    def newest(self) -> dict[str, Attempt]:
        """Each model's newest active version."""
        found: dict[str, Attempt] = {}
        for each in self.visible:
            if each.fields[2]:
                found.setdefault(each.model_id, each)
        return found


def states_in(rows: dict[tuple[str, str], dict[str, Any]]) -> dict[str, tuple[State, dict[str, Any]]]:
    """Of the real registry's table, by upload: its state, and the row that says so."""
    versions = {row["upload_id"]: row for (_, sk), row in rows.items() if sk.startswith("V#")}
    uploads = {pk[2:]: row for (pk, sk), row in rows.items() if pk.startswith("A#") and sk == "#"}
    found: dict[str, tuple[State, dict[str, Any]]] = {}
    for upload_id in versions.keys() | uploads.keys():
        version, upload = versions.get(upload_id), uploads.get(upload_id)
        if version is not None and version["status"] != "uploading":
            found[upload_id] = version["status"], version
        elif upload is not None and upload["status"] in ("uploading", "processing"):
            assert version is not None, "an open upload has no version's name"
            found[upload_id] = "open", upload
        else:
            assert version is None or upload is not None, "a version's name is held by no upload"
            found[upload_id] = "gone", upload or version or {}
    return found
