"""A mix of PPO and derivatives through the simulator: one rollout serves both, and each counts by how sure it is.

What an action is worth is estimated by PPO from how actions turned out, which holds whatever the rules, and by the
path from derivatives, which are surer and blind to events that an action moves, such as stops. Both are gradients of
one loss in one unit, so they can be averaged: `α·path + (1 − α)·PPO`, α for each group of parameters by
`share_of_path`.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ploutos_jax.agents.forecast import Forecast
from ploutos_jax.agents.network import AgentParams
from ploutos_jax.agents.scaling import FeatureScaling
from ploutos_jax.env.rollout import Step
from ploutos_jax.env.types import EnvParams, Observation
from ploutos_jax.train.algorithm import Metrics
from ploutos_jax.train.config import Hyper
from ploutos_jax.train.learning.divergence import rollout_fault
from ploutos_jax.train.learning.looking import act_in_chunks, drop_key_of, table_of
from ploutos_jax.train.learning.program import LearnerOfProgram
from ploutos_jax.train.learning.rollout_metrics import no_trading, trading_figures, trading_numbers
from ploutos_jax.train.learning.schedules import hyper_at
from ploutos_jax.train.learning.state import TrainState
from ploutos_jax.train.learning.steps import table_mode, take_steps
from ploutos_jax.train.mixed.weighing import groups_of, share_of_path
from ploutos_jax.train.pathwise.gradients import PathSamples, path_gradients
from ploutos_jax.train.pathwise.learner import in_one_size, path_head, with_critic, worth_scale
from ploutos_jax.train.pathwise.objectives import objective_of
from ploutos_jax.train.pathwise.refusals import check_smooth, exits_of
from ploutos_jax.train.pathwise.unroll import Look, unroll
from ploutos_jax.train.ppo.gradients import Samples, minibatch_gradients
from ploutos_jax.train.ppo.learner import Learner, step_metrics
from ploutos_jax.train.ppo.losses import LossSums, choosing
from ploutos_jax.train.ppo.stored import Stored


@dataclasses.dataclass(frozen=True, eq=False)
class MixedLearner(LearnerOfProgram):
    """PPO and derivatives for one environment and one network.

    With `advantage="position"` PPO's critic learns what a unit of weight is worth, and a slow copy of it stands in for
    what the path does not reach. With `gae` it learns something else, and the path ends where the rollout does.
    """

    def __post_init__(self) -> None:
        """Make sure that there is something to mix.

        Raises:
            ValueError: where an action has no derivative, `mix` leaves PPO out where it is needed, or there is but one
                environment, which cannot be compared with others.
        """
        check_smooth(self.env.config, path_alone=self.config.mix == 1)
        if self.config.objective != "reward":
            raise ValueError(
                f"objective={self.config.objective!r}: PPO, of which algorithm='mixed' consists in part, follows the"
                " reward of the environment alone. Use algorithm='pathwise', or set the environment's reward."
            )
        if self.config.num_envs == 1:
            raise ValueError("algorithm='mixed' compares environments: num_envs=1 is too few, use 8 or more.")

    @functools.cached_property
    def ppo(self) -> Learner:
        """The part that is PPO."""
        return Learner(self.config, self.env, self.network)

    def init(
        self,
        key: PRNGKeyArray,
        params: EnvParams,
        features: FeatureScaling | None = None,
        forecast: Forecast | None = None,
    ) -> TrainState:
        """Return the state before the first update; without a scaling of features it is fitted on all market rows."""
        state = self.ppo.init(key, params, features, forecast)
        return with_critic(state) if self.config.judges_positions else state

    def update(self, state: TrainState, params: EnvParams, hyper: Hyper) -> tuple[TrainState, Metrics]:
        """Do one update: a rollout with its derivatives, advantages, and epochs of minibatches."""
        hyper = hyper_at(hyper, state.update)
        config, network, ppo = self.config, self.network, self.ppo
        table = table_of(config, network, state.agent, params.market, drop_key_of(config, state))

        def record(step: Step) -> Stored:
            seen, made = step.observation, step.extra
            return ppo.kept(state, step, ppo.taken(params, seen, made.outputs, made.noted, made.action))

        runner, ends, unrolled, stored, sums = unroll(
            ppo.told_env,
            params,
            path_head(network),
            self._look(state, params, table),
            objective_of(config.objective, hyper),
            state.runner,
            config.steps_per_rollout,
            gamma=hyper.gamma,
            trace=hyper.gae_lambda if config.judges_positions else 1.0,
            tally=(lambda step: trading_numbers(step, params), no_trading(config.num_envs)),
            record=record,
        )
        samples, explained = ppo.samples(state, params, hyper, table, runner, ends, stored)
        pull, size = in_one_size(unrolled, params)
        # Of the size that derivatives have in the unit of PPO's loss, whose advantages are divided by their deviation.
        size = size / (state.returns.deviation * _deviation(samples, params))
        path = PathSamples(observation=samples.observation, pull=pull, target=samples.target.astype(pull.dtype))
        key, epoch_key = jax.random.split(state.key)
        fault = rollout_fault(stored.reward, unrolled.believed, pull)
        learned, figures = self._steps(state, params, hyper, (path, size, samples), fault, epoch_key)
        learned = learned.replace(runner=runner, key=key)
        metrics = {
            **figures,
            **trading_figures(sums, config.timesteps_per_update, runner, params),
            "objective": unrolled.objective / config.timesteps_per_update,
            "explained_variance": explained,
            "learning_rate": hyper.learning_rate,
            "entropy_coef": hyper.entropy_coef,
            "skipped_steps": learned.skipped,
        }
        return ppo.finished(state, learned, stored, hyper), metrics

    def _look(self, state: TrainState, params: EnvParams, table: Any) -> Look:
        config, network, market = self.config, self.network, params.market
        drop_key, scale = drop_key_of(config, state), worth_scale(state, params)
        critic = state.agent.replace(network=state.critic)
        of_critic = table_of(config, network, critic, market) if config.judges_positions else None

        def look(seen: Observation) -> tuple[Array, Array, Array]:
            outputs, value = act_in_chunks(network, state.agent, market, table, seen, drop_key)
            if not config.judges_positions:
                return outputs, jnp.zeros(outputs.shape[:-1], outputs.dtype), value
            _, worth = act_in_chunks(network, critic, market, of_critic, seen, None)
            return outputs, worth * scale, value

        return look

    def _steps(
        self,
        state: TrainState,
        params: EnvParams,
        hyper: Hyper,
        samples: tuple[PathSamples, Array, Samples],
        fault: Array,
        key: Array,
    ) -> tuple[TrainState, Metrics]:
        config, drop_key = self.config, drop_key_of(self.config, state)
        mode = table_mode(config, params.market)
        market, scaling = params.market, state.agent.scaling
        if mode == "table":  # every gradient step encodes every row
            scaled, market = self.network.scale_once(state.agent, market)
            scaling = scaled.scaling

        path_samples, size, ppo_samples = samples

        def both(agent: AgentParams, pairs: Array, hyper: Hyper) -> tuple[Any, tuple[Any, LossSums]]:
            agent = agent.replace(scaling=scaling)
            path, _ = path_gradients(self.network, agent, market, path_samples, pairs, hyper, config, mode, drop_key)
            ppo = minibatch_gradients(self.network, agent, market, ppo_samples, pairs, hyper, config, mode, drop_key)
            return path, ppo

        share = self._share(state, hyper, size, both)
        # Derivatives come in size 1, and what is mixed is of that size where it is theirs: beside the critic's loss,
        # PPO's unit would leave little of a gradient that has no luck in it.
        weight = jax.tree.map(lambda a: a * size / jnp.maximum(a * size + 1 - a, _LEAST), share)

        def gradient(agent: AgentParams, pairs: Array) -> tuple[Any, LossSums]:
            path, (ppo, losses) = both(agent, pairs, hyper)
            return jax.tree.map(lambda w, x, y: w * x + (1 - w) * y, weight, path, ppo), losses

        def is_enough(losses: LossSums) -> Array:
            return losses.kl.mean() > hyper.target_kl

        state, figures = take_steps(
            config, hyper, state, gradient, fault, key, losses=LossSums.zeros(), is_enough=is_enough
        )
        return state, {**step_metrics(figures, hyper), "mix": _mean_share(share, state.agent.network)}

    def _share(self, state: TrainState, hyper: Hyper, size: Array, both: Any) -> Any:
        """Return the share of the path in each leaf of the parameters: by what moves actions, without the critic."""
        config = self.config
        if config.mix is not None:
            return jax.tree.map(lambda _: hyper.mix, state.agent.network)
        of_actions = hyper.replace(value_coef=0.0, entropy_coef=0.0)
        groups = groups_of(config.num_envs, config.steps_per_rollout // config.steps_per_chunk)

        def estimates(pairs: Int[Array, " pairs"]) -> tuple[Any, Any]:
            path, (ppo, _) = both(state.agent, pairs, of_actions)
            return jax.tree.map(lambda x: size * x, path), ppo

        return share_of_path(groups, estimates, is_exact=not exits_of(self.env.config))


_LEAST = 1e-12


def _deviation(samples: Samples, params: EnvParams) -> Float[Array, ""]:
    """Return the deviation of the advantages of a rollout, by which PPO divides them."""
    advantage = samples.advantage.astype(jnp.float32)
    counted = choosing(params.market.tradable[samples.observation.t], samples.observation)
    number = jnp.maximum(counted.sum(), 1)
    mean = jnp.where(counted, advantage, 0).sum() / number
    return jnp.sqrt(jnp.where(counted, jnp.square(advantage - mean), 0).sum() / number) + 1e-8


def _mean_share(share: Any, network: Any) -> Float[Array, ""]:
    """Return the mean share over all parameters."""
    sizes = jnp.asarray([x.size for x in jax.tree.leaves(network)], jnp.float32)
    return (jnp.stack(jax.tree.leaves(share)) * sizes).sum() / sizes.sum()
