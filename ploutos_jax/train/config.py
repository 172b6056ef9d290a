"""Settings of the learner."""

import dataclasses
import math
from typing import Any, Literal

import jax

from ploutos_jax.env.bounds import check_bounds, check_kinds, shown
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.bounds import POLICY_BOUNDS, TRAIN_BOUNDS
from ploutos_jax.train.evolution_config import EvolutionConfig
from ploutos_jax.train.hyper import Hyper

MAY_CHANGE = frozenset({"chunk_megabytes", "total_timesteps", "checkpoint_every", "keep_checkpoints", "eval_every"})
"""Fields of `TrainConfig` that may differ when a run goes on; `total_timesteps` may only grow."""

SCHEDULES = ("linear", "cosine", "constant", "adaptive")
ALGORITHMS = ("ppo", "pathwise", "mixed")
OBJECTIVES = ("reward", "log_growth", "sharpe", "cvar", "growth_less_turnover", "utility")

_PLOUTOS_CHECKPOINT = 500_000


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of PPO and of the training run.

    Attributes:
        algorithm: how the agent learns. `ppo`: from how its actions turned out. `pathwise`: from derivatives of what
            followed, taken through the broker's own step; it needs actions that are numbers (`bands`, `weights`) and
            rules that they move smoothly. `mixed`: from both, each weighed by how sure it is.
        objective: what `pathwise` and `mixed` differentiate: the `reward` of the environment, or of all bars of a
            rollout the mean `log_growth`; the `sharpe` ratio; `cvar`, the mean of the worst `tail` of the returns;
            `growth_less_turnover`, log growth less `turnover_penalty` times turnover; the expected `utility` of an
            investor of constant relative `risk_aversion`.
        tail: share of the bars, or episodes, that `cvar` and `cvar_weight` mean. In (0, 1].
        cvar_weight: weight of the CVaR of an episode's log growth, its mean over the worst `tail` of them, beside the
            reward (`ppo`); 0 for none. In [0, 1,000].
        turnover_penalty: what `growth_less_turnover` takes off for a turnover of 1. In [0, 1,000].
        risk_aversion: of `utility`; 1 is log growth. In [0, 100].
        mix: share of the path's derivatives in `mixed`, the rest being PPO's; None goes by how sure each is, for each
            group of parameters. In [0, 1].
        num_envs: environments that step side by side. In [1, 2e6].
        total_timesteps: environment steps of the whole run, over all environments, rounded up to whole updates; also
            --timesteps. In [1, 1e15].
        rollout_length: steps per environment between updates; None picks a power of two from 8 to 128 that gives the
            run about 50 updates. In [1, 100,000].
        num_minibatches: gradient steps per epoch. In [1, 1e6].
        batch_size: samples (environment steps) per gradient step; if given, it sets num_minibatches. In [1, 1e12].
        num_epochs: passes over a rollout. In [1, 10,000].
        learning_rate: step size of Adam, at the start. In (0, 1,000,000,000,000,000,019,884,624,838,656].
        learning_rate_schedule: `linear` and `cosine` fall to 0 over the run; `adaptive` follows how far updates move
            the policy, by up to 10 times and down to a hundredth: slower above twice `target_kl`, faster below half;
            without one it aims at 0.02.
        gamma: discount per bar. In [0, 1].
        gae_lambda: λ of generalised advantage estimation. In [0, 1].
        clip_range: ε of the clipped surrogate. In (0, 1e6].
        entropy_coef: weight of the mean entropy per asset, at the start. In [0, 1e6].
        entropy_schedule: `linear` falls to 0 over the run.
        value_coef: weight of the value loss. In [0, 1e6].
        value_clip: how far from the rollout's value the critic is rewarded for moving, in deviations of returns; no
            benefit was ever measured. In (0, 1e6].
        max_grad_norm: global norm to which gradients are clipped. In (0, 1,000,000,000,000,000,019,884,624,838,656].
        target_kl: mean KL per asset at which the epochs of an update stop; None never stops. In (0, 1e6].
        ratio: probability ratio `per_asset`, or `joint` over all assets.
        advantage: how an action is judged. `gae`: by the rewards that followed and the critic (generalised advantage
            estimation). `position`: by what the weight that it led to earned until it was traded again, against the
            mean action's; it knows which part of a profit is the market's luck, finds weak signals that the other
            does not, and needs actions that say weights (`bands`, `levels`, `weights`).
        time_gradient: how far gradients of a network that remembers reach back (`ppo`). `whole`: to the beginning of
            every path, for which each gradient step encodes every bar of the market. A number: so many bars before the
            first one of a stretch that an account played, to a state that is the network's own but has no gradient;
            each gradient step then encodes these bars alone, and minibatches hold whole stretches. `auto`: 378 bars,
            three half-lives of the slowest unit, where that makes a gradient step encode less than half of the market,
            else `whole`. Attention looks no further than it is given bars: of it nothing is cut off. In [0, 1e6].
        average: decay per gradient step of an average of the network's parameters, such as 0.995, with which the agent
            is scored and saved; None takes the last ones. In [0, 1).
        seed: first number of everything random. In [0, 2,147,483,647].
        num_seeds: agents trained side by side in one program, with the seeds from `seed` on. In [1, 10,000].
        market_refresh: updates between two draws of a new market, where markets can be drawn; None keeps the first. In
            [1, 1e9].
        chunk_megabytes: largest intermediate array, over all seeds; larger minibatches are worked through in chunks,
            the same result but for rounding. In (0, 1e6]. None takes what a CPU's caches hold, 2, where one network
            looks at all assets on a CPU, and 256 elsewhere.
        checkpoint_every: environment steps between checkpoints; None takes a tenth of the run, and 500,000 where that
            is more, twice as many as long as checkpoints follow each other within 20 seconds. In [1, 1e15].
        keep_checkpoints: how many of them are kept; the best by held-out score is kept in addition. In [1, 1e6].
        eval_every: environment steps between scores on held-out bars; None takes a tenth of the run. In [1, 1e15].
        policy: shape of the network: widths in [1, 100,000], dropout in [0, 1), return_loss in [0, 1e6].
        evolution: population-based training.
    """

    algorithm: Literal["ppo", "pathwise", "mixed"] = "ppo"
    objective: Literal["reward", "log_growth", "sharpe", "cvar", "growth_less_turnover", "utility"] = "reward"
    tail: float = 0.05
    cvar_weight: float = 0.0
    turnover_penalty: float = 1e-3
    risk_aversion: float = 3.0
    mix: float | None = None
    num_envs: int = 256
    total_timesteps: int = 500_000
    rollout_length: int | None = None
    num_minibatches: int = 4
    batch_size: int | None = None
    num_epochs: int = 4
    learning_rate: float = 1e-3
    learning_rate_schedule: Literal["linear", "cosine", "constant", "adaptive"] = "linear"
    gamma: float = 0.99
    gae_lambda: float = 0.8
    clip_range: float = 0.2
    entropy_coef: float = 0.001
    entropy_schedule: Literal["linear", "constant"] = "constant"
    value_coef: float = 0.5
    value_clip: float | None = None
    max_grad_norm: float = 0.5
    target_kl: float | None = None
    ratio: Literal["joint", "per_asset"] = "per_asset"
    advantage: Literal["gae", "position"] = "gae"
    time_gradient: Literal["auto", "whole"] | int = "auto"
    average: float | None = None
    seed: int = 0
    num_seeds: int = 1
    market_refresh: int | None = None
    chunk_megabytes: float | None = None
    checkpoint_every: int | None = None
    keep_checkpoints: int = 3
    eval_every: int | None = None
    policy: PolicyConfig = PolicyConfig()
    evolution: EvolutionConfig = EvolutionConfig()

    def __post_init__(self) -> None:
        if isinstance(self.time_gradient, str) and self.time_gradient not in ("auto", "whole"):
            found = shown(self.time_gradient)
            raise ValueError(f"time_gradient={found} is unknown; use 'auto', 'whole' or a number of bars, such as 378.")
        check_kinds(self, TRAIN_BOUNDS, (None, "auto", "whole"))
        check_kinds(self.policy, POLICY_BOUNDS)
        for name in ("num_envs", "total_timesteps", "num_minibatches", "num_epochs", "num_seeds", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        for name in ("checkpoint_every", "eval_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1 step, or None.")
        if self.rollout_length is not None and self.rollout_length < 1:
            raise ValueError(f"rollout_length={self.rollout_length} must be at least 1, or None.")
        if self.market_refresh is not None and self.market_refresh < 1:
            raise ValueError(f"market_refresh={self.market_refresh} must be at least 1, or None to keep the market.")
        for name in ("learning_rate", "max_grad_norm", "clip_range", "chunk_megabytes"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0.")
        for name in ("entropy_coef", "value_coef"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative; 0 switches the term off.")
        if self.target_kl is not None and not self.target_kl > 0:
            raise ValueError(f"target_kl={self.target_kl} must be above 0, such as 0.02, or None to never stop early.")
        if self.value_clip is not None and not self.value_clip > 0:
            raise ValueError(f"value_clip={self.value_clip} must be above 0, such as 0.2, or None to never clip.")
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie in [0, 1].")
        if self.ratio not in ("joint", "per_asset"):
            raise ValueError(f"ratio={shown(self.ratio)} is unknown; use 'joint' or 'per_asset'.")
        if self.learning_rate_schedule not in SCHEDULES:
            found = shown(self.learning_rate_schedule)
            raise ValueError(f"learning_rate_schedule={found} is unknown; use {_one_of(SCHEDULES)}.")
        if self.adapts_rate and self.algorithm != "ppo":
            raise ValueError(
                f"learning_rate_schedule='adaptive' follows the KL of PPO's updates, which algorithm={self.algorithm!r}"
                " does not have; use algorithm='ppo', or another schedule."
            )
        if self.entropy_schedule not in ("linear", "constant"):
            raise ValueError(f"entropy_schedule={shown(self.entropy_schedule)} is unknown; use 'linear' or 'constant'.")
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm={shown(self.algorithm)} is unknown; use {_one_of(ALGORITHMS)}.")
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective={shown(self.objective)} is unknown; use {_one_of(OBJECTIVES)}.")
        if self.algorithm == "ppo" and self.objective != "reward":
            raise ValueError(
                f"objective={self.objective!r} is of learners that differentiate a rollout: PPO follows the reward of"
                " the environment. Use algorithm='pathwise', or set the environment's reward."
            )
        if self.algorithm != "mixed" and self.mix is not None:
            raise ValueError(
                f"mix={self.mix} says how algorithm='mixed' weighs; algorithm={self.algorithm!r} does not."
            )
        if self.algorithm != "ppo" and self.policy.credit == "joint":
            raise ValueError(
                f"algorithm={self.algorithm!r} learns what a unit of each asset is worth: it needs credit='per_asset'."
            )
        if self.algorithm != "ppo" and not isinstance(self.time_gradient, str):
            raise ValueError(
                f"time_gradient={self.time_gradient} is of PPO's gradient steps; algorithm={self.algorithm!r} encodes"
                " every bar in each of its own. Set time_gradient='auto', or use algorithm='ppo'."
            )
        if self.advantage not in ("gae", "position"):
            raise ValueError(f"advantage={shown(self.advantage)} is unknown; use 'gae' or 'position'.")
        if self.judges_positions and self.policy.credit == "joint":
            raise ValueError("advantage='position' judges each asset by itself: it needs credit='per_asset'.")
        if self.policy.return_loss and self.algorithm != "ppo":
            raise ValueError(
                f"return_loss={self.policy.return_loss} is a part of PPO's loss, which algorithm={self.algorithm!r}"
                " does not have; set return_loss=0, or use algorithm='ppo'."
            )
        for name, value in (("quantiles", self.policy.quantiles), ("cvar_weight", self.cvar_weight)):
            if value and self.algorithm != "ppo":
                raise ValueError(f"{name}={value} is a part of PPO, which algorithm={self.algorithm!r} does not have.")
        if self.cvar_weight and self.judges_positions:
            raise ValueError("cvar_weight judges how episodes end, which advantage='position' does not see: use 'gae'.")
        if self.ratio == "joint" and self.policy.credit == "per_asset":
            raise ValueError("ratio='joint' has one advantage for all assets: it needs credit='joint' too.")
        check_bounds(self, TRAIN_BOUNDS, (None, "auto", "whole"))
        check_bounds(self.policy, POLICY_BOUNDS)
        if not isinstance(self.evolution, EvolutionConfig):
            raise ValueError(
                f"evolution={shown(self.evolution)} must hold settings such as population, or be left out."
            )
        object.__setattr__(self, "num_seeds", self.evolution.members_of(self.num_seeds))
        if self.num_updates >= 2**31:
            raise ValueError(
                f"total_timesteps={self.total_timesteps} makes {self.num_updates:,} updates of"
                f" {self.timesteps_per_update} steps each; a run counts to 2,147,483,647. Raise num_envs or"
                " rollout_length, or lower total_timesteps."
            )
        self._check_minibatches()

    def _check_minibatches(self) -> None:
        """Make sure that minibatches fill a rollout; set their number where their size is given."""
        stretches = self.steps_per_rollout // self.steps_per_chunk
        num_pairs = self.num_envs * stretches
        possible = _divisors(num_pairs)
        batch_size = self.batch_size
        if batch_size is not None:
            sizes = {self.timesteps_per_update // number: number for number in possible}
            if batch_size not in sizes:
                near = min(sizes, key=lambda size: abs(size - batch_size))
                raise ValueError(
                    f"batch_size={batch_size} does not divide the {self.timesteps_per_update} samples of a"
                    f" rollout (num_envs={self.num_envs} x {self.steps_per_rollout} steps) into whole stretches of"
                    f" {self.steps_per_chunk} bars. The nearest size that does is {near}."
                )
            object.__setattr__(self, "num_minibatches", sizes[batch_size])
        if num_pairs % self.num_minibatches:
            near = min(possible, key=lambda number: abs(number - self.num_minibatches))
            raise ValueError(
                f"num_minibatches={self.num_minibatches} does not divide the {num_pairs} pieces of a rollout"
                f" (num_envs={self.num_envs} x {stretches} stretches of {self.steps_per_chunk} bars). Use {near}, or a"
                f" num_envs that is a multiple of {self.num_minibatches}."
            )

    @property
    def judges_positions(self) -> bool:
        """Whether actions are judged by the weights that they lead to."""
        return self.advantage == "position"

    @property
    def adapts_rate(self) -> bool:
        """Whether the learning rate follows the KL."""
        return self.learning_rate_schedule == "adaptive"

    @property
    def steps_per_rollout(self) -> int:
        """S, steps per environment between updates."""
        if self.rollout_length is not None:
            return self.rollout_length
        wanted = self.total_timesteps // (50 * self.num_envs)
        return min(128, max(8, 1 << max(wanted, 1).bit_length() - 1))

    @property
    def steps_per_chunk(self) -> int:
        """Contiguous steps of one environment that stay together in a minibatch."""
        return next(size for size in (8, 4, 2, 1) if self.steps_per_rollout % size == 0)

    @property
    def timesteps_per_update(self) -> int:
        return self.num_envs * self.steps_per_rollout

    @property
    def num_updates(self) -> int:
        return -(-self.total_timesteps // self.timesteps_per_update)

    @property
    def updates_per_checkpoint(self) -> int:
        """Updates between checkpoints, at the beginning of a run."""
        return self._updates_in(self.checkpoint_every or min(_PLOUTOS_CHECKPOINT, self.total_timesteps // 10))

    @property
    def selection_every(self) -> int:
        """Updates between two selections of a population."""
        return self.evolution.population_every or max(1, self.num_updates // 20)

    @property
    def updates_per_eval(self) -> int:
        """Updates between scores on held-out bars."""
        return self._updates_in(self.eval_every or self.total_timesteps // 10)

    def _updates_in(self, timesteps: int) -> int:
        return max(1, timesteps // self.timesteps_per_update)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each agent."""
        return tuple(range(self.seed, self.seed + self.num_seeds))

    @property
    def chunk_limit(self) -> float:
        """Megabytes of the largest intermediate array, over all seeds, on this device.

        A wide network is another matter: each chunk adds to gradients of all its parameters.
        """
        if self.chunk_megabytes is not None:
            return self.chunk_megabytes
        return 2.0 if self.policy.torso == "shared" and jax.default_backend() == "cpu" else 256.0

    @property
    def chunk_bytes(self) -> int:
        """Budget of one intermediate array of one seed."""
        return max(1, int(self.chunk_limit * 2**20) // self.num_seeds)

    def of_program(self) -> "TrainConfig":
        """Return the settings that an update's program depends on, all others as by default.

        Configurations that are equal so, whatever their seed, learning rate or length, train by one compiled program.
        """
        return TrainConfig(
            algorithm=self.algorithm,
            objective=self.objective,
            mix=None if self.mix is None else 0.5,
            num_envs=self.num_envs,
            rollout_length=self.steps_per_rollout,
            num_minibatches=self.num_minibatches,
            num_epochs=self.num_epochs,
            value_clip=None if self.value_clip is None else 1.0,
            ratio=self.ratio,
            advantage=self.advantage,
            time_gradient=self.time_gradient if self.policy.warm_up else "auto",
            average=None if self.average is None else 0.5,
            cvar_weight=1.0 if self.cvar_weight else 0.0,
            **({"learning_rate_schedule": "adaptive", "target_kl": 1.0} if self.adapts_rate else {}),
            num_seeds=self.num_seeds,
            chunk_megabytes=self.chunk_megabytes,
            policy=self.policy,
            **self._evolving(),
        )

    def _evolving(self) -> dict[str, Any]:
        """Return what a population's program depends on: its settings, and the numbers that its ranges lie around."""
        if self.evolution.population is None:
            return {}
        numbers = {name: getattr(self, name) for name in self.evolution.population_numbers}
        return {"evolution": dataclasses.replace(self.evolution, population_every=self.selection_every), **numbers}

    def hyper(self) -> "Hyper":
        """Return the numbers that the compiled update reads."""
        return Hyper(
            learning_rate=self.learning_rate,
            decay=1.0 if self.learning_rate_schedule == "linear" else 0.0,
            cosine_decay=1.0 if self.learning_rate_schedule == "cosine" else 0.0,
            num_updates=float(self.num_updates),
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            clip_range=self.clip_range,
            entropy_coef=self.entropy_coef,
            entropy_decay=1.0 if self.entropy_schedule == "linear" else 0.0,
            value_coef=self.value_coef,
            value_clip=float("inf") if self.value_clip is None else self.value_clip,
            max_grad_norm=self.max_grad_norm,
            target_kl=float("inf") if self.target_kl is None else self.target_kl,
            average=0.0 if self.average is None else self.average,
            tail=self.tail,
            cvar_weight=self.cvar_weight,
            turnover_penalty=self.turnover_penalty,
            risk_aversion=self.risk_aversion,
            mix=0.0 if self.mix is None else self.mix,
        )


def _one_of(words: tuple[str, ...]) -> str:
    return f"{', '.join(map(repr, words[:-1]))} or {words[-1]!r}"


def _divisors(number: int) -> list[int]:
    """Return the divisors of a number, ascending."""
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return sorted({*small, *(number // divisor for divisor in small)})
