"""Every call to the store, the table and Lambda fails in turn, of everything that the registry is asked for; then the
event comes again, a client tries again, the sweep comes by. In the end all is whole, or nothing is there."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pytest
from registry.errors import RegistryError

from tests.integration.harness import Fault, World
from tests.integration.network import Network, Trouble
from tests.integration.soundness import Soundness
from tests.integration.use_cases import USE_CASES, UseCase

HOWS: list[Any] = ["die", "refuse", "lose"]


def name_of(use_case: type[UseCase], what: Any) -> str:
    return f"{use_case.__name__}-{what}".lower()


def strike(world: World, use_case: type[UseCase], faults: Iterable[Fault]) -> int:
    """Each fault strikes a model of its own, until there is no such call any more; how many did."""
    cases = []
    count = 0
    for fault in faults:
        case = use_case(world, name_of(use_case, f"{fault.how}-{fault.at}"))
        struck = world.process.run_to_fault(case.work, fault)
        cases.append(case)
        if not struck:
            break
        count += 1
        # What follows at once may be refused, as when a dead worker's lease still runs, but does no harm.
        with suppress(RegistryError):
            case.again()
    world.recover()
    for case in cases:
        case.check()
    return count


@pytest.mark.case("U12", "U22")
def test_some_calls_fail(sound: Soundness) -> None:
    """Of each use case two calls, each by another kind of fault, spread over all that it makes."""
    world = sound.world
    for turn, use_case in enumerate(USE_CASES):
        case = use_case(world, name_of(use_case, "undisturbed"))
        with world.process.watched() as process:
            case.work()
        total = process.calls
        case.check()
        hows = [how for how in HOWS if how != HOWS[turn % 3]]
        faults = [Fault(1 + (total * (3 * turn + 7 * number) // 16) % total, how) for number, how in enumerate(hows)]
        strike(world, use_case, faults)
    sound.check()


@pytest.mark.long
@pytest.mark.case("U12", "U22")
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("use_case", USE_CASES, ids=lambda each: each.__name__)
def test_every_call_fails_in_turn(sound: Soundness, use_case: type[UseCase], how: Any) -> None:
    assert strike(sound.world, use_case, (Fault(at, how) for at in range(1, 1_000))) >= 3
    sound.check()


@pytest.mark.case("U22")
@pytest.mark.parametrize("trouble", ["busy", "reset"])
def test_what_fails_once_is_done_by_trying_again(
    sound: Soundness, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody notices: no error, no event that has to come again, no sweep."""
    network = Network(monkeypatch)
    for use_case in USE_CASES:
        case = use_case(sound.world, name_of(use_case, trouble))
        with network.failing_first(trouble):
            case.work()
        case.check()
    assert min(network.struck["store"], network.struck["table"]) > len(USE_CASES)
    sound.check()


@pytest.mark.case("U22")
def test_what_was_done_without_an_answer_is_not_done_twice(sound: Soundness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has done every call when the connection breaks, and botocore asks for it again."""
    world, network = sound.world, Network(monkeypatch)
    for use_case in USE_CASES:
        case = use_case(world, name_of(use_case, "lost"))
        with network.failing_first("lost"), suppress(Exception):  # a clean failure is allowed
            case.work()
        with suppress(RegistryError):
            case.again()
        world.recover()
        case.check()
    assert min(network.struck["store"], network.struck["table"]) > len(USE_CASES)
    sound.check()
