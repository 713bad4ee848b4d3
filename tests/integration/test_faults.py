"""Every call to the store, the table and Lambda fails in turn, of everything that the registry is asked for; then the
event comes again, a client tries again, the sweep comes by. In the end all is whole, or nothing is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from registry.errors import RegistryError

from tests.integration.harness import Fault, World
from tests.integration.network import Network, Trouble
from tests.integration.soundness import Soundness
from tests.integration.use_cases import USE_CASES, UseCase

HOWS = ["die", "refuse", "lose"]
EVERY = 9  # the normal run takes every ninth call of each use case, another one for each kind of fault
named = pytest.mark.parametrize("use_case", USE_CASES, ids=lambda each: each.__name__)


def calls_of(world: World, use_case: type[UseCase]) -> int:
    case = use_case(world, "undisturbed")
    with world.process.watched() as process:
        case.work()
    world.started.run()
    case.check()
    return process.calls


def strike(sound: Soundness, use_case: type[UseCase], how: Any, numbers: Iterator[int]) -> int:
    """Each number a model of its own; the last number at which there was a call."""
    world = sound.world
    cases = []
    last = 0
    for number in numbers:
        case = use_case(world, f"model-{number}")
        struck = world.process.run_to_fault(case.work, Fault(number, how))
        cases.append(case)
        if not struck:
            break
        last = number
        # What follows at once may be refused, as when a dead worker's lease still runs, but does no harm.
        with suppress(RegistryError):
            case.again()
    world.recover()
    for case in cases:
        case.check()
    sound.check()
    return last


@pytest.mark.case("U12", "U22")
@pytest.mark.parametrize("how", HOWS)
@named
def test_some_calls_fail(sound: Soundness, use_case: type[UseCase], how: str) -> None:
    total = calls_of(sound.world, use_case)
    first = 1 + (USE_CASES.index(use_case) + 3 * HOWS.index(how)) % EVERY
    numbers = [*range(min(first, total), total + 1, EVERY), total + 10]  # the last is no call's
    assert strike(sound, use_case, how, iter(numbers)) > 0


@pytest.mark.long
@pytest.mark.case("U12", "U22")
@pytest.mark.parametrize("how", HOWS)
@named
def test_every_call_fails_in_turn(sound: Soundness, use_case: type[UseCase], how: str) -> None:
    assert strike(sound, use_case, how, iter(range(1, 1_000))) >= 3


@pytest.mark.case("U22")
@pytest.mark.parametrize("trouble", ["busy", "broken", "reset"])
def test_what_fails_once_is_done_by_trying_again(
    sound: Soundness, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody notices: no error, no event that has to come again, no sweep."""
    network = Network(monkeypatch)
    for use_case in USE_CASES:
        case = use_case(sound.world, f"model-{use_case.__name__.lower()}")
        with network.failing_first(trouble):
            case.work()
        case.check()
    assert min(network.struck["store"], network.struck["table"]) > len(USE_CASES)
    sound.check()


@pytest.mark.case("U22")
@named
def test_what_was_done_without_an_answer_is_not_done_twice(
    sound: Soundness, use_case: type[UseCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has done every call when the connection breaks, and botocore asks for it again."""
    world, network = sound.world, Network(monkeypatch)
    case = use_case(world, "model")
    with network.failing_first("lost"), suppress(Exception):  # a clean failure is allowed
        case.work()
    assert network.struck
    with suppress(RegistryError):
        case.again()
    world.recover()
    case.check()
    sound.check()
