"""Few combinations of many choices, in which every pair of choices meets."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

Combination = dict[str, str]


def pairs_of(combination: Mapping[str, str]) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    """Return the pairs of (name, choice) that a combination holds."""
    return set(itertools.combinations(sorted(combination.items()), 2))


def cover_pairs(choices: Mapping[str, Sequence[str]], at_least: int, seed: int = 0) -> list[Combination]:
    """Return combinations in which every pair of choices meets at least once.

    Greedy: each combination grows around a pair that is still missing, and is the best of some that were grown at
    random. When none is missing and there are fewer than `at_least`, the next ones begin to cover all pairs once more.

    Args:
        choices: the choices by name.
        at_least: number of combinations.
        seed: of the random ones; the same seed gives the same list.
    """
    rng = np.random.default_rng(seed)
    every = {
        tuple(sorted((one, two)))
        for a, b in itertools.combinations(choices, 2)
        for one, two in itertools.product(
            ((a, choice) for choice in choices[a]), ((b, choice) for choice in choices[b])
        )
    }
    found: list[Combination] = []
    missing, is_covered = set(every), False
    while not is_covered or len(found) < at_least:
        grown = [_grow(choices, missing, rng) for _ in range(10)]
        found.append(max(grown, key=lambda combination: len(pairs_of(combination) & missing)))
        missing -= pairs_of(found[-1])
        if not missing:
            missing, is_covered = set(every), True
    return found


def _grow(choices: Mapping[str, Sequence[str]], missing: set, rng: np.random.Generator) -> Combination:
    """Return a combination around one missing pair, every further choice the one that covers most."""
    ordered = sorted(missing)
    grown = dict(ordered[int(rng.integers(len(ordered)))])
    for name in rng.permutation(sorted(choices.keys() - grown.keys())).tolist():
        options = rng.permutation(choices[name]).tolist()
        gains = [sum(tuple(sorted(((name, x), pair))) in missing for pair in grown.items()) for x in options]
        grown[name] = options[int(np.argmax(gains))]
    return {name: grown[name] for name in choices}


def hold_all_choices(combinations: Sequence[Mapping[str, str]]) -> list[int]:
    """Return the numbers of the first combination and of few others that hold every choice between them."""
    chosen, missing = [0], set().union(*(c.items() for c in combinations)) - combinations[0].items()
    while missing:
        chosen.append(max(range(len(combinations)), key=lambda n: len(combinations[n].items() & missing)))
        missing -= combinations[chosen[-1]].items()
    return chosen
