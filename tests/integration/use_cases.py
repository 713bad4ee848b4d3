"""What the registry is asked for, each as something that can go wrong in the middle: done, done again as Lambda or a
client would, and looked at in the end."""

from __future__ import annotations

import io
import os
import zipfile
from contextlib import suppress
from typing import Any, ClassVar

from registry.errors import ConflictError, NotFoundError
from registry.settings import get_settings

from tests.integration.harness import MIB, Fault, World, make_zip

FILES = {"weights/model.onnx": b"small model", "config.json": b"{}", "data.bin": os.urandom(5 * MIB + 7)}
FEW = {"weights/model.onnx": b"small model", "config.json": b"{}"}
MEMBERS = {"a/model.onnx": b"stored", "a/readme.md": b"deflated " * 100, "a/big.bin": os.urandom(5 * MIB + 11)}
ARCHIVE = make_zip(MEMBERS, deflated=["a/readme.md"])
LARGE = os.urandom(9 * MIB)


class UseCase:
    """Of a model of its own. `work` may fail; `again` follows at once; `check` when the sweep has been by."""

    def __init__(self, world: World, model_id: str) -> None:
        self.world, self.model_id = world, model_id

    def work(self) -> Any:
        raise NotImplementedError

    def again(self) -> None:
        """Nobody does it again."""

    def check(self) -> None:
        raise NotImplementedError

    def verify(self, contents: dict[str, bytes]) -> None:
        self.world.verify(self.model_id, "v1", contents)

    def gone(self) -> None:
        """Nothing is left, and the name is free."""
        assert self.world.get(self.model_id) is None
        assert [key for key in self.world.objects() if f"/{self.model_id}/" in key] == []
        self.world.upload_single(self.model_id, b"again")
        self.verify({"model.onnx": b"again"})


class Promotion(UseCase):
    """Files that were sent to the inbox become a version; the event comes again."""

    contents = FILES

    def __init__(self, world: World, model_id: str) -> None:
        super().__init__(world, model_id)
        self.upload = world.start_files(model_id, self.contents)
        self.event = world.put_files(self.upload, self.contents)

    def work(self) -> None:
        self.world.receive(self.event)

    def again(self) -> None:
        for _ in range(2):
            self.world.receive(self.event)

    def check(self) -> None:
        self.verify(self.contents)


class Unpacking(Promotion):
    contents = MEMBERS

    def __init__(self, world: World, model_id: str) -> None:
        UseCase.__init__(self, world, model_id)
        self.upload = world.start(model_id, archive={"size": len(ARCHIVE)})
        self.event = world.put_archive(self.upload, ARCHIVE)


class Refusal(Promotion):
    """An archive that only unpacking shows to be damaged."""

    def __init__(self, world: World, model_id: str) -> None:
        UseCase.__init__(self, world, model_id)
        bad = bytearray(make_zip({"a.onnx": b"x" * 1000, "b.onnx": b"y" * 1000}))
        bad[bad.index(b"yyyy")] ^= 1
        self.upload = world.start(model_id, archive={"size": len(bad)})
        self.event = world.put_archive(self.upload, bytes(bad))

    def check(self) -> None:
        from registry.records import UploadRow

        now = UploadRow.find(self.upload.pk)
        assert now is not None
        assert (now.status, now.code) == ("failed", "archive_bad_crc")
        self.gone()


class Completion(Promotion):
    """The client's own word instead of an event."""

    contents = FEW

    def work(self) -> None:
        from registry.auth import ANYBODY
        from registry.uploads import completing

        completing.complete_upload(principal=ANYBODY, upload_id=self.upload.upload_id)

    def again(self) -> None:
        self.world.clock.forward(get_settings().lease_seconds + 2)  # it would wait for a dead worker's lease
        self.work()


class Start(UseCase):
    """The start of an upload, which the client repeats by its Idempotency-Key."""

    def work(self) -> Any:
        return self.world.start_files(self.model_id, FEW, key=f"key-{self.model_id}")

    def check(self) -> None:
        self.world.receive(self.world.put_files(self.work(), FEW))
        self.verify(FEW)


class Reuse(UseCase):
    """A start whose bytes are there already: they are copied, and nobody sends any."""

    def __init__(self, world: World, model_id: str) -> None:
        super().__init__(world, model_id)
        self.source = world.upload_single(f"{model_id}-source", b"known bytes")

    def work(self) -> None:
        file = {"path": "model.onnx", "size": 11, "sha256": self.source.files[0].file_hash}
        self.world.start(self.model_id, files=[file], key=f"key-{self.model_id}")
        self.world.started.run()

    def again(self) -> None:
        with suppress(ConflictError):
            self.work()

    def check(self) -> None:
        self.again()
        self.world.recover()
        self.verify({"model.onnx": b"known bytes"})


class Form(UseCase):
    """One file by form. A client whose request failed sends it once more."""

    contents: ClassVar = {"model.onnx": b"one small file"}

    def work(self) -> None:
        self.world.upload_single(self.model_id, self.contents["model.onnx"])

    def check(self) -> None:
        if self.world.get(self.model_id) is None:
            assert [key for key in self.world.objects() if f"/{self.model_id}/" in key] == []
            self.work()
        self.verify(self.contents)


class LargeForm(Form):
    contents: ClassVar = {"model.onnx": LARGE}


class Folder(Form):
    contents = MEMBERS

    def work(self) -> None:
        self.world.upload_folder(self.model_id, ARCHIVE)


class Update(UseCase):
    change: ClassVar = {"tags": ["new"], "name": "new name", "is_active": False}

    def __init__(self, world: World, model_id: str) -> None:
        super().__init__(world, model_id)
        for version in ("v1", "v2"):
            world.upload_single(model_id, b"x", version=version, tags="old", name="old name")

    def work(self) -> None:
        self.world.update(self.model_id, "v2", **self.change)

    def check(self) -> None:
        shown = self.world.get(self.model_id, "v2")
        assert shown is not None
        assert (shown.tags, shown.name, shown.is_active) in [(["old"], "old name", True), (["new"], "new name", False)]
        for word in ("old", "new"):
            for active in (True, False):
                found = self._found(query=word, tags=word, is_active=active)
                assert ("v2" in found) == (word in shown.tags and active == shown.is_active)
        assert self._found(latest=True) == ["v2" if shown.is_active else "v1"]
        self.world.update(self.model_id, "v2", is_active=True)
        assert self._found(latest=True) == ["v2"]
        self.work()
        assert self._found(latest=True) == ["v1"]

    def _found(self, **query: Any) -> list[str]:
        return [each.version for each in self.world.list(**query) if each.model_id == self.model_id]


class Delete(UseCase):
    """Of the newest of two versions: the other is the newest from the moment on when it cannot be seen any more."""

    def __init__(self, world: World, model_id: str) -> None:
        super().__init__(world, model_id)
        world.upload_single(model_id, b"older", version="v0")
        Completion(world, model_id).work()

    def work(self) -> None:
        self.world.delete(self.model_id, "v1")

    def again(self) -> None:
        newest = self.world.get(self.model_id)
        assert newest is not None
        found = [each.version for each in self.world.list(latest=True) if each.model_id == self.model_id]
        assert found == [newest.version]

    def check(self) -> None:
        self.again()
        with suppress(NotFoundError):
            self.work()
        self.world.delete(self.model_id, "v0")
        self.gone()


class Abort(UseCase):
    """Of an upload that is half done: a file promoted, one in the inbox, two multiparts begun."""

    def __init__(self, world: World, model_id: str) -> None:
        from registry import naming
        from registry.storage import multiparts

        super().__init__(world, model_id)
        self.upload = world.start_files(model_id, FILES)
        names = list(FILES)
        world.receive(world.put_files(self.upload, {names[0]: FILES[names[0]]}))
        world.put_files(self.upload, {name: FILES[name] for name in names[:2]})
        multiparts.create_multipart(naming.inbox_key(world.user_id, self.upload.upload_id, 2))
        multiparts.create_multipart(naming.file_key(self.upload.prefix, "data.bin"))

    def work(self) -> None:
        self.world.abort(self.upload.upload_id)

    def check(self) -> None:
        self.work()
        self.gone()


class LateEvent(UseCase):
    """An event of an upload that has been aborted: its object is nobody's."""

    def __init__(self, world: World, model_id: str) -> None:
        super().__init__(world, model_id)
        upload = world.start_files(model_id, FEW)
        world.abort(upload.upload_id)
        self.event = world.put_files(upload, FEW)

    def work(self) -> None:
        self.world.receive(self.event)

    def check(self) -> None:
        self.gone()


class Expiry(UseCase):
    """The sweep ends an upload that nobody completed."""

    def __init__(self, world: World, model_id: str) -> None:
        super().__init__(world, model_id)
        upload = world.start_files(model_id, FILES)
        world.receive(world.put_files(upload, dict(list(FILES.items())[:2])))
        world.clock.forward(8 * 86_400)

    def work(self) -> None:
        self.world.sweep()

    def check(self) -> None:
        self.gone()


class Finishing(UseCase):
    """The sweep finishes a delete whose process died."""

    def __init__(self, world: World, model_id: str) -> None:
        super().__init__(world, model_id)
        Completion(world, model_id).work()
        assert world.process.run_to_fault(lambda: world.delete(model_id), Fault(2, writes=True))
        world.clock.forward(130)

    def work(self) -> None:
        self.world.sweep()

    def check(self) -> None:
        self.gone()


class Build(UseCase):
    """The ZIP of a version is built in the store."""

    def __init__(self, world: World, model_id: str) -> None:
        super().__init__(world, model_id)
        Promotion(world, model_id).work()

    def work(self) -> None:
        from functions.build_archive.app import lambda_handler

        lambda_handler({"user_id": self.world.user_id, "model_id": self.model_id, "version": "v1"}, None)

    def again(self) -> None:
        self.work()

    def check(self) -> None:
        from registry.catalog import reading
        from registry.exports.contents import archive_key
        from registry.storage import objects

        self.work()
        found = objects.find_object(archive_key(reading.get_version(self.world.user_id, self.model_id, "v1")))
        assert found is not None
        with zipfile.ZipFile(io.BytesIO(objects.read_range(found.key, 0, found.size))) as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == FILES
        self.verify(FILES)


USE_CASES: list[type[UseCase]] = [
    *(Promotion, Unpacking, Refusal, Completion, Start, Reuse, Form, LargeForm, Folder, Update, Delete, Abort),
    *(LateEvent, Expiry, Finishing, Build),
]
