"""Pathwise learning: a rollout is differentiated through the broker, and the network follows the derivatives.

One update is one rollout. Its derivatives by the outputs of the network (`unroll`) take the place that advantages have
in PPO; the market is encoded once per gradient step as there. Derivatives of a decision hold as long as later ones stay
near those of the rollout, so a rollout is gone through once, in minibatches.

Actions are noisy, so that what lies beyond the edges of a band is felt, where a small change does nothing. How noisy is
no matter of learning: noise only costs, and the first thing that derivatives say is to have none; at a weak signal the
agent then stands still before it has learnt what to do (benchmarks/LEARNING.md). The noise falls along the run.
"""

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ploutos_jax.agents.forecast import Forecast
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.scaling import FeatureScaling
from ploutos_jax.env.types import EnvParams, Observation
from ploutos_jax.policy.distributions import PathHead
from ploutos_jax.train.algorithm import Metrics
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.learning.divergence import rollout_fault
from ploutos_jax.train.learning.looking import act_in_chunks, drop_key_of, table_of
from ploutos_jax.train.learning.program import LearnerOfProgram
from ploutos_jax.train.learning.rollout_metrics import no_trading, trading_figures, trading_numbers
from ploutos_jax.train.learning.schedules import hyper_at
from ploutos_jax.train.learning.state import TrainState, begin
from ploutos_jax.train.learning.steps import table_mode, take_steps
from ploutos_jax.train.pathwise.gradients import PathSamples, PathSums, path_gradients
from ploutos_jax.train.pathwise.objectives import objective_of
from ploutos_jax.train.pathwise.refusals import check_smooth
from ploutos_jax.train.pathwise.unroll import Look, Unrolled, unroll

PATH_ADAM = optax.scale_by_adam(b1=0.7, b2=0.95, eps=1e-8)
"""Derivatives of one rollout tell more than those of a minibatch of PPO: less of the older ones is kept."""


_LAST_NOISE = 0.3
"""Deviation of the actions at the end of a run, over that at its beginning."""


@dataclasses.dataclass(frozen=True, eq=False)
class PathLearner(LearnerOfProgram):
    """Learning by derivatives for one environment and one network."""

    def __post_init__(self) -> None:
        """Make sure that there are derivatives; see `check_smooth`."""
        check_smooth(self.env.config, path_alone=True)

    def init(
        self,
        key: PRNGKeyArray,
        params: EnvParams,
        features: FeatureScaling | None = None,
        forecast: Forecast | None = None,
    ) -> TrainState:
        """Return the state before the first update; without a scaling of features it is fitted on all market rows."""
        return with_critic(begin(self.config, self.env, self.network, key, params, features, forecast))

    def update(self, state: TrainState, params: EnvParams, hyper: Hyper) -> tuple[TrainState, Metrics]:
        """Do one update: a rollout with its derivatives, then gradient steps."""
        hyper = hyper_at(hyper, state.update)
        config, network = self.config, self.network
        scale = worth_scale(state, params)
        runner, _, unrolled, _, sums = unroll(
            self.env,
            params,
            path_head(network),
            looks(config, network, state, params, scale),
            objective_of(config.objective, hyper),
            state.runner,
            config.steps_per_rollout,
            gamma=hyper.gamma,
            trace=hyper.gae_lambda,
            noise=1 - (1 - _LAST_NOISE) * jnp.minimum(state.update / hyper.num_updates, 1.0),
            tally=(lambda step: trading_numbers(step, params), no_trading(config.num_envs)),
        )
        missed = unrolled.worth - unrolled.believed
        explained = 1 - missed.var() / jnp.maximum(unrolled.worth.var(), 1e-12)
        pull, size = in_one_size(unrolled, params)
        samples = PathSamples(observation=unrolled.observation, pull=pull, target=unrolled.worth / scale)
        key, epoch_key = jax.random.split(state.key)
        fault = rollout_fault(unrolled.objective, unrolled.believed, pull)
        learned, losses = self._steps(state, params, hyper, samples, fault, epoch_key)
        agent = AgentParams(
            network=learned.agent.network,
            scaling=state.agent.scaling.observe(unrolled.observation, network.chunk_bytes),
        )
        metrics = {
            **losses,
            **trading_figures(sums, config.timesteps_per_update, runner, params),
            "objective": unrolled.objective / config.timesteps_per_update,
            "pull": size,
            "explained_variance": explained,
            "learning_rate": hyper.learning_rate,
            "entropy_coef": hyper.entropy_coef,
            "skipped_steps": learned.skipped,
        }
        moved = learned.replace(
            agent=agent,
            returns=seen_worths(state, unrolled),
            runner=runner,
            key=key,
            update=state.update + 1,
        )
        return moved, metrics

    def _steps(
        self, state: TrainState, params: EnvParams, hyper: Hyper, samples: PathSamples, fault: Array, key: Array
    ) -> tuple[TrainState, Metrics]:
        config, drop_key = self.config, drop_key_of(self.config, state)
        mode = table_mode(config, params.market)
        market, scaling = params.market, state.agent.scaling
        if mode == "table":  # every gradient step encodes every row
            scaled, market = self.network.scale_once(state.agent, market)
            scaling = scaled.scaling

        def gradient(agent: AgentParams, pairs: Array) -> tuple[Any, PathSums]:
            agent = agent.replace(scaling=scaling)
            return path_gradients(self.network, agent, market, samples, pairs, hyper, config, mode, drop_key)

        state, figures = take_steps(
            config,
            hyper,
            state,
            gradient,
            fault,
            key,
            losses=PathSums.zeros(),
            is_enough=lambda _: jnp.asarray(False),
            adam=PATH_ADAM,
        )
        losses = figures.losses
        return state, {
            "value_loss": jnp.nanmean(losses.value),
            "entropy": jnp.nanmean(losses.entropy),
            **figures.of_steps(),
        }


def path_head(network: Network) -> PathHead:
    """Return the head of a network whose actions are numbers, as `check_smooth` has made sure."""
    return cast(PathHead, network.head)


def with_critic(state: TrainState) -> TrainState:
    """Return a first state whose critic believes nothing to be worth anything, with a slow copy of it."""
    network = dict(state.agent.network)
    parts = dict(network["params"])
    parts["critic_head"] = jax.tree.map(jnp.zeros_like, parts["critic_head"])
    network["params"] = parts
    average = None if state.average is None else jax.tree.map(jnp.copy, network)
    critic = jax.tree.map(jnp.copy, network)
    return state.replace(agent=state.agent.replace(network=network), average=average, critic=critic)


def worth_scale(state: TrainState, params: EnvParams) -> Float[Array, ""]:
    """Return what a number of the critic stands for: worths of an equal part over their deviation are of order 1."""
    return state.returns.deviation * params.market.close.shape[1]


def seen_worths(state: TrainState, unrolled: Unrolled) -> Any:
    """Return the scale of worths after a rollout's."""
    worth = unrolled.worth / unrolled.worth.shape[-1]
    return state.returns.observe(worth, jnp.ones(worth.shape[:2], bool), 0.0)


def looks(config: TrainConfig, network: Network, state: TrainState, params: EnvParams, scale: Array) -> Look:
    """Return what the actor does with observations, and what the slow critic believes of them."""
    drop_key, market = drop_key_of(config, state), params.market
    critic = state.agent.replace(network=state.critic)
    table = table_of(config, network, state.agent, market, drop_key)
    of_critic = table_of(config, network, critic, market)

    def look(observation: Observation) -> tuple[Array, Array, None]:
        outputs, _ = act_in_chunks(network, state.agent, market, table, observation, drop_key)
        _, worth = act_in_chunks(network, critic, market, of_critic, observation, None)
        return outputs, worth * scale, None

    return look


def in_one_size(unrolled: Unrolled, params: EnvParams) -> tuple[Float[Array, "S E A outputs"], Float[Array, ""]]:
    """Return the derivatives by outputs over their root mean square, and that; those of assets without a bar are 0."""
    tradable = params.market.tradable[unrolled.observation.t][..., None]
    pull = jnp.where(tradable, unrolled.pull, 0)
    number = jnp.maximum(tradable.sum() * pull.shape[-1], 1)
    size = jnp.sqrt(jnp.square(pull).sum() / number)
    return pull / jnp.where(size > 0, size, 1), size
