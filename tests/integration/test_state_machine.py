"""Whatever is done in whatever order, and whatever breaks in the middle of it: readers see what a simple model of the
registry says or, of what was interrupted, what was before or is after. At the end all is sound."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from registry import naming
from registry.errors import ConflictError, InvalidError, NotFoundError, RegistryError
from registry.schemas.answers import Metadata
from registry.settings import get_settings
from registry.storage import objects

from local.servers import Stack
from tests.conftest import forget_everything
from tests.integration.conftest import empty_table
from tests.integration.harness import Clock, Fault, Process, World, at_once, event_of, make_zip, sha256
from tests.integration.registry_model import Attempt, Fields, Registry, State, states_in
from tests.integration.soundness import Soundness

LOOKS = 3_700  # seconds: the longest that the sweep leaves an open upload alone, and some
MODELS, VERSIONS = st.sampled_from(["m", "m1"]), st.sampled_from(["v1", "v2"])
PICKS = st.integers(0, 11)
STRUCK = st.builds(Fault, st.one_of(st.integers(1, 12), st.integers(1, 40)), st.sampled_from(["die", "refuse", "lose"]))
FAULTS = st.one_of(st.none(), STRUCK, STRUCK)
WORDS = st.sampled_from(["alpha", "beta", "gamma"])
ANY: set[State] = {"open", "ready", "deleting", "gone"}


class Machine(RuleBasedStateMachine):
    """No rule has a precondition: what does not apply does nothing, so that the same choices always fit."""

    enter: ClassVar[Callable[[], AbstractContextManager[World]]]
    tally: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.model = Registry()
        self.events: list[dict[str, Any]] = []
        self.serial = 0
        self.stack = ExitStack()
        self.world = self.stack.enter_context(type(self).enter())
        self.sound = Soundness.of(self.world)
        self.neighbours = set(states_in(self.world.rows()))
        self.tally["examples"] += 1

    def teardown(self) -> None:
        try:
            self.recover()
            self.sound.check()
        finally:
            self.stack.close()

    # -- one step, and what may have come of it ------------------------------------------------------------------------

    def step(
        self,
        work: Callable[[], Any],
        fault: Fault | None = None,
        *,
        calm: dict[Attempt, set[State]] | None = None,
        struck: dict[Attempt, set[State]] | None = None,
        new: list[Attempt] | None = None,
        errors: tuple[type[Exception], ...] = (),
    ) -> Any:
        """Does something; `calm` says in what states attempts may be then, `struck` in which others if a fault hit it.
        Those that are `new` may be there then. The result, or the error; None if it was hit."""
        self.tally["steps"] += 1
        hit = False
        result: Any = None
        with self.world.process.watched(fault=fault) as process:
            try:
                result = work()
            except BaseException as error:
                hit = process.struck is not None
                if not hit and not isinstance(error, errors):
                    raise
                result = error
            hit = hit or process.struck is not None
        if hit:
            assert fault is not None
            self.tally[fault.how] += 1
        self._settle(calm or {}, struck or {} if hit else {}, new or [], hit=hit)
        return None if hit else result

    def _settle(
        self,
        calm: dict[Attempt, set[State]],
        struck: dict[Attempt, set[State]],
        new: list[Attempt],
        *,
        hit: bool,
    ) -> None:
        found = states_in(self.world.rows())
        expected = iter(new)
        for upload_id in sorted(found.keys() - self.neighbours):
            if self.model.of(upload_id) is None:
                attempt = next(expected, None)
                assert attempt is not None, f"an upload that nobody began: {found[upload_id]}"
                attempt.upload_id = upload_id
                self.model.attempts.append(attempt)
                calm = {attempt: {"ready"}, **calm}
                struck = {attempt: ANY, **struck} if hit else struck
        for attempt in self.model.attempts:
            state = found.get(attempt.upload_id, ("gone", {}))[0]
            allowed = calm.get(attempt, {attempt.state}) | struck.get(attempt, set())
            assert state in allowed, f"{attempt.kind} {attempt.name}: {attempt.state} has become {state}, not {allowed}"
            if state == "ready" and not attempt.created:
                attempt.created = found[attempt.upload_id][1]["created"]
                self.tally["published"] += 1
            if attempt.state == "open":
                attempt.ended = time.time()
            attempt.state = state

    def _free(self, attempt: Attempt) -> bool:
        """Whether nobody, dead or alive, has its lease."""
        row = self.world.rows().get((f"A#{attempt.upload_id}", "#"))
        return row is None or float(row["lease_until"]) < int(time.time())

    def _worked(self, attempt: Attempt) -> set[State]:
        return attempt.ends_as() if self._free(attempt) else {attempt.state}

    def _dead_form(self, attempt: Attempt) -> bool:
        if attempt.kind not in ("form", "folder") or attempt.state != "open":
            return False
        return float(self.world.rows()[f"A#{attempt.upload_id}", "#"]["lease_until"]) < time.time()

    def _pick(self, number: int, kinds: tuple[str, ...] = ("files", "archive")) -> Attempt | None:
        some = [each for each in self.model.attempts if each.kind in kinds][-12:]
        return some[number % len(some)] if some else None

    def _unique(self) -> bytes:
        self.serial += 1
        return f"bytes {self.serial:05d}".encode()

    # -- forms ---------------------------------------------------------------------------------------------------------

    @rule(model_id=MODELS, version=VERSIONS, word=WORDS, fault=FAULTS)
    def upload_single(self, model_id: str, version: str, word: str, fault: Fault | None) -> None:
        data = self._unique()
        attempt = Attempt("form", model_id, version, {"model.onnx": data}, (word, word, True))
        work = lambda: self.world.upload_single(model_id, data, version=version, name=word, tags=word)  # noqa: E731
        self._form(attempt, work, fault)

    @rule(model_id=MODELS, version=VERSIONS, sound=st.booleans(), fault=FAULTS)
    def upload_folder(self, model_id: str, version: str, sound: bool, fault: Fault | None) -> None:
        contents = {"a.onnx": self._unique(), "b/c.txt": self._unique()}
        attempt = Attempt("folder", model_id, version, contents, ("a name", "", True), sound=sound)
        attempt.body = self._archive(contents, sound=sound)
        attempt.arrived["archive"] = True
        self._form(attempt, lambda: self.world.upload_folder(model_id, attempt.body, version=version), fault)

    def _archive(self, contents: dict[str, bytes], *, sound: bool) -> bytes:
        body = bytearray(make_zip(contents))
        if not sound:
            body[body.index(next(iter(contents.values())))] ^= 1  # its CRC-32 does not hold
        return bytes(body)

    def _form(self, attempt: Attempt, work: Callable[[], Any], fault: Fault | None) -> None:
        holder = self.model.holder(*attempt.name)
        taken = holder is not None and not self._takes_over(holder)
        over: dict[Attempt, set[State]] = {holder: {"gone"}} if holder is not None and not taken else {}
        hit: dict[Attempt, set[State]] = {holder: {holder.state, "gone"}} if over and holder is not None else {}
        calm: dict[Attempt, set[State]] = {**over, attempt: {"ready"} if attempt.sound else {"gone"}}
        new = [] if taken else [attempt]
        result = self.step(work, fault, calm=calm, struck=hit, new=new, errors=(ConflictError, InvalidError))
        if result is None:
            return
        if taken:
            assert holder is not None
            assert isinstance(result, ConflictError), result
            codes = {"open": "version_uploading", "ready": "version_exists", "deleting": "version_deleting"}
            assert result.code == codes[holder.state]
        elif attempt.sound:
            assert isinstance(result, Metadata), result
        else:
            assert isinstance(result, InvalidError), result

    def _takes_over(self, holder: Attempt) -> bool:
        """Whether who holds the name is dead, and has not left an archive that can be worked on."""
        if not self._dead_form(holder):
            return False
        if holder.kind == "form":
            return True
        key = naming.inbox_key(self.world.user_id, holder.upload_id, naming.ARCHIVE_SLOT)
        return objects.find_object(key) is None

    @rule(model_id=MODELS, version=VERSIONS)
    def publishers_race(self, model_id: str, version: str) -> None:
        holder = self.model.holder(model_id, version)
        taken = holder is not None and not self._takes_over(holder)
        bodies = [self._unique() for _ in range(3)]
        attempt = Attempt("form", model_id, version, {}, ("a name", "", True))
        calm: dict[Attempt, set[State]] = {holder: {"gone"}} if holder is not None and not taken else {}

        def race() -> None:
            works = [lambda body=body: self.world.upload_single(model_id, body, version=version) for body in bodies]
            results = at_once(works)
            won = [number for number, each in enumerate(results) if isinstance(each, Metadata)]
            assert all(isinstance(each, RegistryError) for each in results if not isinstance(each, Metadata)), results
            assert len(won) == (0 if taken else 1), results
            if won:
                attempt.contents = {"model.onnx": bodies[won[0]]}

        self.step(race, calm=calm, new=[] if taken else [attempt])

    # -- direct uploads ------------------------------------------------------------------------------------------------

    @rule(model_id=MODELS, version=VERSIONS, hashed=st.booleans(), known=st.booleans(), word=WORDS, fault=FAULTS)
    def start_files(
        self, model_id: str, version: str, hashed: bool, known: bool, word: str, fault: Fault | None
    ) -> None:
        contents = {"a.onnx": self._unique(), "b.txt": self._unique()}
        if known and hashed and (visible := self.model.visible):
            contents["a.onnx"] = next(iter(visible[0].contents.values()))
        attempt = Attempt("files", model_id, version, contents, (word, word, True), hashed=hashed)
        attempt.known = known and hashed
        files = [
            {"path": path, "size": len(data), **({"sha256": sha256(data)} if hashed else {})}
            for path, data in contents.items()
        ]
        self._start(attempt, {"files": files, "name": word, "tags": [word]}, fault)

    @rule(model_id=MODELS, version=VERSIONS, sound=st.booleans(), fault=FAULTS)
    def start_archive(self, model_id: str, version: str, sound: bool, fault: Fault | None) -> None:
        contents = {"a.onnx": self._unique(), "b/c.txt": self._unique()}
        attempt = Attempt("archive", model_id, version, contents, ("a name", "", True), sound=sound)
        attempt.body = self._archive(contents, sound=sound)
        self._start(attempt, {"archive": {"size": len(attempt.body)}}, fault)

    def _start(self, attempt: Attempt, request: dict[str, Any], fault: Fault | None) -> None:
        holder = self.model.holder(*attempt.name)
        taken = holder is not None and not self._takes_over(holder)
        over: dict[Attempt, set[State]] = {holder: {"gone"}} if holder is not None and not taken else {}
        hit: dict[Attempt, set[State]] = {holder: {holder.state, "gone"}} if over and holder is not None else {}
        result = self.step(
            lambda: self.world.start(attempt.model_id, version=attempt.version, **request),
            fault,
            calm={**over, attempt: {"open"}},
            struck=hit,
            new=[] if taken else [attempt],
            errors=(ConflictError,),
        )
        if result is not None:
            assert isinstance(result, ConflictError) == taken, result

    @rule(number=PICKS, slot=st.integers(0, 1), right=st.sampled_from([True, True, True, False]), told=st.booleans())
    def put(self, number: int, slot: int, right: bool, told: bool) -> None:
        """A client sends a file or the archive, in time or too late, and its event is on its way or lost."""
        attempt = self._pick(number)
        late = get_settings().url_expires_seconds
        if attempt is None or (attempt.state != "open" and time.time() >= attempt.ended + late):
            return  # its URLs have expired
        place: int | str = slot if attempt.kind == "files" else "archive"
        data = attempt.body if place == "archive" else list(attempt.contents.values())[slot]
        if not right:
            data = data[::-1] if attempt.hashed else data + b"longer"
        if right or not self._is_verified(attempt, place):
            attempt.arrived[place] = right
        key = naming.inbox_key(self.world.user_id, attempt.upload_id, place)  # type: ignore[arg-type]
        objects.put_object(key, data)
        if told:
            self.events.append(event_of(key))

    def _is_verified(self, attempt: Attempt, place: int | str) -> bool:
        from registry.records import UploadRow
        from registry.uploads import specs

        if place == "archive":
            return False
        result = specs.find_results(UploadRow(f"A#{attempt.upload_id}", "#"), 0).get(int(place))
        return result is not None and result.status == "verified"

    @rule(number=PICKS)
    def put_all(self, number: int) -> None:
        attempt = self._pick(number)
        for slot in attempt.slots if attempt is not None and attempt.state == "open" else ():
            self.put(number, int(slot != "archive" and slot == 1), True, True)

    @rule(number=PICKS, times=st.integers(1, 2), kept=st.booleans(), fault=FAULTS)
    def deliver(self, number: int, times: int, kept: bool, fault: Fault | None) -> None:
        """An event comes: in any order, twice, and perhaps again later."""
        if not self.events:
            return
        event = self.events[number % len(self.events)]
        if not kept:
            self.events.remove(event)
        key = event["Records"][0]["s3"]["object"]["key"]
        attempt = next(each for each in self.model.attempts if each.upload_id and f"/{each.upload_id}/" in key)
        worked, before = self._worked(attempt), attempt.state

        def work() -> None:
            for _ in range(times):
                self.world.receive(event)

        self.step(work, fault, calm={attempt: worked}, struck={attempt: {before, *attempt.ends_as()}})

    @rule(number=PICKS)
    def lose_event(self, number: int) -> None:
        if self.events:
            self.events.pop(number % len(self.events))

    @rule(fault=FAULTS)
    def run_started(self, fault: Fault | None) -> None:
        """The functions that were started run, at last."""
        self.step(self.world.started.run, fault, calm=self._anything_worked())

    @rule()
    def lose_started(self) -> None:
        self.world.started.clear()

    def _anything_worked(self) -> dict[Attempt, set[State]]:
        return {each: {each.state, *each.ends_as()} for each in self.model.attempts}

    @rule(number=PICKS, fault=FAULTS)
    def complete(self, number: int, fault: Fault | None) -> None:
        from registry.auth import ANYBODY
        from registry.uploads import completing

        attempt = self._pick(number)
        if attempt is None:
            return
        if not self._free(attempt):  # it would wait for whoever has the lease, and that one is dead
            self.world.clock.forward(get_settings().lease_seconds + 2)
        ends, before = attempt.ends_as(), attempt.state
        result = self.step(
            lambda: completing.complete_upload(principal=ANYBODY, upload_id=attempt.upload_id),
            fault,
            calm={attempt: ends},
            struck={attempt: {before, *ends}},
            errors=(ConflictError, InvalidError, NotFoundError),
        )
        if result is None:
            return
        if before == "open" and attempt.state == "open":
            assert isinstance(result, InvalidError), result
            assert result.code == "upload_incomplete"
        elif before == "open" and attempt.state == "ready":
            assert not isinstance(result, Exception), result
            assert result.status == "ready"

    @rule(number=PICKS, fault=FAULTS)
    def abort(self, number: int, fault: Fault | None) -> None:
        attempt = self._pick(number)
        if attempt is None:
            return
        before = attempt.state
        after: State = "gone" if before == "open" else before
        result = self.step(
            lambda: self.world.abort(attempt.upload_id),
            fault,
            calm={attempt: {after}},
            struck={attempt: {before, after}},
            errors=(ConflictError, NotFoundError),
        )
        if result is not None and before in ("open", "ready"):
            assert isinstance(result, ConflictError) == (before == "ready"), result

    # -- what is published ---------------------------------------------------------------------------------------------

    @rule(model_id=MODELS, version=VERSIONS, word=WORDS, active=st.booleans(), fault=FAULTS)
    def update(self, model_id: str, version: str, word: str, active: bool, fault: Fault | None) -> None:
        holder = self.model.holder(model_id, version)
        result = self.step(
            lambda: self.world.update(model_id, version, name=word, tags=[word], is_active=active),
            fault,
            errors=(NotFoundError,),
        )
        if holder is None or holder.state != "ready":
            assert result is None or isinstance(result, NotFoundError), result
            return
        new: Fields = (word, word, active)
        if result is None:  # it was hit: what readers find now is what it is
            shown = self.world.get(model_id, version)
            assert shown is not None
            found = (shown.name, shown.tags[0] if shown.tags else "", shown.is_active)
            assert found in (holder.fields, new)
            holder.fields = found
        else:
            assert isinstance(result, Metadata), result
            holder.fields = new

    @rule(model_id=MODELS, version=VERSIONS, fault=FAULTS)
    def delete(self, model_id: str, version: str, fault: Fault | None) -> None:
        holder = self.model.holder(model_id, version)
        ready = holder is not None and holder.state == "ready"
        result = self.step(
            lambda: self.world.delete(model_id, version),
            fault,
            calm={holder: {"gone"}} if holder is not None and ready else {},
            struck={holder: {"ready", "deleting", "gone"}} if holder is not None and ready else {},
            errors=(NotFoundError,),
        )
        if result is not None:
            assert isinstance(result, NotFoundError) != ready, result

    @rule(model_id=MODELS, fault=FAULTS)
    def delete_model(self, model_id: str, fault: Fault | None) -> None:
        ready = [each for each in self.model.visible if each.model_id == model_id]
        result = self.step(
            lambda: self.world.delete(model_id, None, every=True),
            fault,
            calm={each: {"gone"} for each in ready},
            struck={each: {"ready", "deleting", "gone"} for each in ready},
            errors=(NotFoundError,),
        )
        if result is not None:
            assert isinstance(result, NotFoundError) != bool(ready), result

    # -- time ----------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([7, 70, 4_000, 90_000, 8 * 86_400]))
    def wait(self, seconds: int) -> None:
        self.world.clock.forward(seconds)

    @rule(fault=FAULTS)
    def sweep(self, fault: Fault | None) -> None:
        self.step(self.world.sweep, fault, calm=self._swept())

    def _swept(self) -> dict[Attempt, set[State]]:
        return {
            each: {each.state, *each.ends_as(), *({"gone"} if each.state in ("open", "deleting") else ())}
            for each in self.model.attempts
        }

    @rule()
    def recover(self) -> None:
        """Nothing breaks for some hours. Whatever was sent in full is published or refused, what was begun is done."""
        expired = time.time() + 3 * LOOKS
        rows = self.world.rows()
        due = {
            each: each.ends_as()
            for each in self.model.attempts
            if each.state == "open" and float(rows[f"A#{each.upload_id}", "#"]["expires_at"]) > expired
        }
        for _ in range(3):
            self.world.clock.forward(LOOKS)
            self.step(self.world.sweep, calm=self._swept())
        for attempt in self.model.attempts:
            assert attempt.state != "deleting", f"{attempt.name} is never gone"
            if attempt.kind in ("form", "folder"):
                assert attempt.state != "open", f"{attempt.name} is in between for ever"
        for attempt, ends in due.items():
            if attempt.kind in ("files", "archive"):
                assert attempt.state in ends, f"{attempt.kind} {attempt.name} is {attempt.state}, not {ends}"

    # -- readers -------------------------------------------------------------------------------------------------------

    @invariant()
    def readers_see_what_the_model_says(self) -> None:
        world, visible = self.world, self.model.visible
        for active in (True, False):
            shown = {(each.model_id, each.version): each for each in world.list(is_active=active)}
            wanted = {each.name: each for each in visible if each.fields[2] == active}
            assert shown.keys() == wanted.keys()
            for name, attempt in wanted.items():
                self._holds(shown[name], attempt)
            word = ("alpha", "beta", "gamma")[self.tally["steps"] % 3]
            found = {(each.model_id, each.version) for each in world.list(query=word, tags=word, is_active=active)}
            assert found == {name for name, each in wanted.items() if each.fields[:2] == (word, word)}
        newest = self.model.newest()
        assert {each.model_id: each.version for each in world.list(latest=True)} == {
            model_id: each.version for model_id, each in newest.items()
        }
        for model_id in ("m", "m1"):
            latest = world.get(model_id)
            assert (latest.version if latest else None) == (newest[model_id].version if model_id in newest else None)
            for version in ("v1", "v2"):
                holder = self.model.holder(model_id, version)
                one = world.get(model_id, version)
                assert (one is not None) == (holder is not None and holder.state == "ready")
                if one is not None and holder is not None:
                    self._holds(one, holder)
                    assert world.read(one) == holder.contents

    @staticmethod
    def _holds(shown: Metadata, attempt: Attempt) -> None:
        assert (shown.name, shown.tags[0] if shown.tags else "", shown.is_active) == attempt.fields
        assert shown.created_at == attempt.created, "a version was published twice"
        assert {file.filename: file.file_hash for file in shown.files} == {
            path: sha256(data) for path, data in attempt.contents.items()
        }


@pytest.fixture
def machine(
    stack: Stack, memory_dynamodb: str, monkeypatch: pytest.MonkeyPatch, started: Any
) -> Iterator[type[Machine]]:
    """The machine, each example of which has an empty registry on the session's servers."""
    clock, process = Clock(monkeypatch), Process(monkeypatch, started)
    numbers = iter(range(10**9))

    @contextmanager
    def enter() -> Iterator[World]:
        clock.offset = 0.0
        started.clear()
        with empty_table(stack, memory_dynamodb, monkeypatch):
            yield World(f"machine-{os.getpid()}-{next(numbers)}-", started, clock, process)

    monkeypatch.setattr(Machine, "enter", staticmethod(enter), raising=False)
    monkeypatch.setattr(Machine, "tally", Counter())
    yield Machine
    forget_everything()


def run(machine: type[Machine], **how: Any) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            print_blob=True,
            **how,
        ),
    )


@pytest.mark.case("S5")
def test_random_work_with_random_faults(machine: type[Machine]) -> None:
    run(machine, max_examples=8, stateful_step_count=40, derandomize=True, phases=[Phase.generate])
    assert machine.tally["published"] > 3, machine.tally
    assert machine.tally["die"] + machine.tally["refuse"] + machine.tally["lose"] > 3, machine.tally


@pytest.mark.long
@pytest.mark.case("S5")
def test_random_work_with_random_faults_for_as_long_as_told(machine: type[Machine]) -> None:
    """MODELKEEP_FAULT_MINUTES, or two."""
    until = time.monotonic() + 60 * float(os.environ.get("MODELKEEP_FAULT_MINUTES", "2"))
    while time.monotonic() < until:
        run(machine, max_examples=5, stateful_step_count=50, derandomize=False)
    print(f"\n{dict(machine.tally)}")
