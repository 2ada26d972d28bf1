"""Plays every recipe: a seed makes a corpus, always the same."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tests.corpus import (
    errors,
    healthy_sessions,
    healthy_time,
    healthy_tools,
    limits,
    loops,
    slowness,
    stalls,
)
from tests.corpus.case import DEFAULTS, Case, Defaults, Label
from tests.corpus.scene import Recipe, Scene

DEFAULT_SEED = "debbie"

RECIPES: tuple[Recipe, ...] = (
    *stalls.RECIPES,
    *loops.RECIPES,
    *errors.RECIPES,
    *slowness.RECIPES,
    *limits.RECIPES,
    *healthy_tools.RECIPES,
    *healthy_time.RECIPES,
    *healthy_sessions.RECIPES,
)


def generate(seed: str = DEFAULT_SEED, defaults: Defaults = DEFAULTS) -> Iterator[Case]:
    """Yield the cases of a corpus.

    Args:
        seed: Other seeds make other corpora of the same size.
        defaults: Settings that the labels assume.

    """
    for recipe in RECIPES:
        for number in range(recipe.count):
            yield play(recipe, number, seed, defaults)


def play(recipe: Recipe, number: int, seed: str, defaults: Defaults = DEFAULTS) -> Case:
    """Return one case of a recipe."""
    dialect = recipe.dialects[number % len(recipe.dialects)]
    name = f"{recipe.name}/{dialect}/{number}"
    scene = Scene(dialect, Random(f"{seed}/{name}"), defaults)
    anomalies = recipe.theme(scene)
    label = Label(
        name=name,
        theme=recipe.name,
        dialect=dialect,
        end=round(scene.wire.now + scene.quiet, 3),
        anomalies=anomalies,
        tolerated=frozenset(scene.tolerated),
        seed=seed,
    )
    return Case(label=label, messages=tuple(scene.wire.messages))
