"""Settings of population-based training."""

import dataclasses

from ploutos_jax.env.bounds import Bound, check_bounds, check_kinds, whole

OF_SIZE = ("learning_rate", "entropy_coef", "clip_range", "value_coef", "max_grad_norm", "turnover_penalty")
OF_DISTANCE_TO_ONE = ("gamma", "gae_lambda")
"""Numbers of `Hyper` that a population may search: by their size, and by how far they are from 1."""

EVOLUTION_BOUNDS: dict[str, Bound] = {
    "population": whole(4, 10_000),
    "population_spread": Bound(1, 1e6, above=True),
    "population_every": whole(1, 10**9),
    "population_share": Bound(0, 0.5, above=True),
}


@dataclasses.dataclass(frozen=True)
class EvolutionConfig:
    """Population-based training: agents that learn side by side, the worst of whom go on as altered copies of the best.

    Attributes:
        population: agents of the population, trained in one program as seeds are; it sets num_seeds. None for none. In
            [4, 10,000].
        population_numbers: which numbers differ between them: learning_rate, entropy_coef, clip_range, value_coef,
            max_grad_norm, turnover_penalty, gamma, gae_lambda.
        population_spread: at first they lie between the setting divided by this and times this, evenly in their
            logarithm (of gamma and gae_lambda: of their distance to 1), and never leave that range. In (1, 1e6].
        population_every: updates between two selections; None takes a twentieth of the run. In [1, 1e9].
        population_share: share of the agents that are replaced at each. In (0, 0.5].
    """

    population: int | None = None
    population_numbers: tuple[str, ...] = ("learning_rate", "clip_range")
    population_spread: float = 10.0
    population_every: int | None = None
    population_share: float = 0.25

    def __post_init__(self) -> None:
        check_kinds(self, EVOLUTION_BOUNDS)
        check_bounds(self, EVOLUTION_BOUNDS)
        known = OF_SIZE + OF_DISTANCE_TO_ONE
        object.__setattr__(self, "population_numbers", tuple(dict.fromkeys(self.population_numbers)))
        for name in self.population_numbers:
            if name not in known:
                raise ValueError(
                    f"population_numbers={name} cannot be searched by a population; {', '.join(known)} can."
                )
        if not self.population_numbers:
            raise ValueError("population_numbers names nothing to search; give learning_rate, say.")

    def members_of(self, num_seeds: int) -> int:
        """Return how many seeds a run has: the members of its population, or as many as it says.

        Raises:
            ValueError: if it says another number than the population has members.
        """
        if self.population is None:
            return num_seeds
        if num_seeds not in (1, self.population):
            raise ValueError(
                f"num_seeds={num_seeds} beside population={self.population}: each member is a seed; give one."
            )
        return self.population

    @property
    def num_replaced(self) -> int:
        """How many agents are replaced at each selection."""
        return 0 if self.population is None else max(1, int(self.population * self.population_share))
