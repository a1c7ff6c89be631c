"""The colours are the same everywhere, and tell things apart for those who see fewer of them."""

import itertools

import pytest

from plait.see import colours
from plait.see.model import Actor, ActorKind, WaitKind

GROUNDS = {"light": "#ffffff", "dark": "#11151c"}
# How people without one kind of cone see (Machado, Oliveira and Fernandes 2009, severity 1), on linear RGB.
EYES = {
    "common": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no long cones": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no medium cones": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "no short cones": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}  # fmt: skip


def linear(colour: str) -> list[float]:
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]


def seen(colour: str, eyes: str) -> tuple[float, float, float]:
    """In Oklab, whose distances are about what people feel."""
    rgb = linear(colour)
    r, g, b = (min(1.0, max(0.0, sum(m * v for m, v in zip(row, rgb, strict=True)))) for row in EYES[eyes])
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    medium = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def distance(one: str, other: str, eyes: str) -> float:
    return sum((a - b) ** 2 for a, b in zip(seen(one, eyes), seen(other, eyes), strict=True)) ** 0.5


def contrast(one: str, other: str) -> float:
    """WCAG's."""
    high, low = sorted((0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (linear(one), linear(other))), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("ground", GROUNDS)
def test_kinds_of_waits_with_the_same_dash_differ_for_all_eyes(eyes: str, ground: str) -> None:
    close = [
        (one.name, other.name, round(apart, 3))
        for one, other in itertools.combinations(WaitKind, 2)
        if colours.KINDS[one].dash == colours.KINDS[other].dash
        and (
            apart := distance(
                getattr(colours.KINDS[one].colour, ground), getattr(colours.KINDS[other].colour, ground), eyes
            )
        )
        < 0.06
    ]
    assert [] == close


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("ground", GROUNDS)
def test_tasks_made_one_after_another_differ_for_all_eyes(eyes: str, ground: str) -> None:
    names = [f"Task-{i}" for i in range(1, 26)]
    shown = [getattr(colours.TASKS[colours.name_index(name)], ground) for name in names]
    close = [
        (names[i], names[i + 1], round(apart, 3))
        for i in range(len(names) - 1)
        if (apart := distance(shown[i], shown[i + 1], eyes)) < 0.08
    ]
    assert [] == close
    assert len(colours.TASKS) == len(set(shown))


@pytest.mark.parametrize("ground", GROUNDS)
def test_blocks_and_lines_stand_out_from_the_ground(ground: str) -> None:
    """WCAG asks 3 of graphics; small marks of a dozen hues get half of it on white, where each has a name beside it."""
    all_colours = [*colours.TASKS, colours.BLOCKED, *(style.colour for style in colours.KINDS.values())]
    pale = [colour for colour in all_colours if contrast(getattr(colour, ground), GROUNDS[ground]) < 1.9]
    assert [] == pale


def test_a_name_has_its_colour_in_every_run() -> None:
    """Pinned: a picture of today has the colours of one from last year."""
    assert [5, 6, 7, 8] == [colours.name_index(name) for name in ("Task-1", "Task-2", "Task-3", "Task-4")]
    assert colours.name_index("fetch") == colours.name_index("fetch")
    assert colours.LOOP == colours.actor_colour(Actor(ActorKind.LOOP, "loop"))
    assert colours.TASKS[5] == colours.actor_colour(Actor(ActorKind.TASK, "Task-1"))


def test_every_kind_of_wait_has_a_sign_of_its_own() -> None:
    assert set(WaitKind) == set(colours.KINDS)
    assert len(WaitKind) == len({style.sign for style in colours.KINDS.values()})
    assert all(1 == len(style.sign) for style in colours.KINDS.values())
