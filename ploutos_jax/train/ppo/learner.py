"""PPO: one compiled program of rollout, advantages and epochs of minibatches, repeated on the device.

The market is a table on the device and an observation is an index into it, so a rollout stores the bar and a compact
account per step, never features. The network's market stage runs over the table's rows: once per rollout and once
per gradient step, inside the gradient.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ploutos_jax.agents.acting import draw
from ploutos_jax.agents.forecast import Forecast
from ploutos_jax.agents.network import AgentParams
from ploutos_jax.agents.scaling import (
    FeatureScaling,
    variance_of,
)
from ploutos_jax.env.rollout import Boundaries, Runner, Step, rollout
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, Observation
from ploutos_jax.policy.actor_critic import Table
from ploutos_jax.train.algorithm import Metrics
from ploutos_jax.train.config import Hyper
from ploutos_jax.train.learning.divergence import rollout_fault
from ploutos_jax.train.learning.looking import act_in_chunks, drop_key_of, table_of
from ploutos_jax.train.learning.program import LearnerOfProgram
from ploutos_jax.train.learning.rollout_metrics import no_trading, trading_figures, trading_numbers
from ploutos_jax.train.learning.schedules import adapted_rate, hyper_at
from ploutos_jax.train.learning.state import TrainState, begin
from ploutos_jax.train.learning.steps import StepFigures, table_mode, take_steps
from ploutos_jax.train.learning.stretches import Remembered, encode_for, stretches_of
from ploutos_jax.train.ppo.advantages import gae, next_values
from ploutos_jax.train.ppo.credit import credited, judged_positions, moved
from ploutos_jax.train.ppo.distribution import Tail, penalised, quantile_targets
from ploutos_jax.train.ppo.gradients import QUANTILE_COEF, Samples, minibatch_gradients, pair_moments
from ploutos_jax.train.ppo.losses import LossSums, choosing, joined_log_prob
from ploutos_jax.train.ppo.return_loss import return_labels
from ploutos_jax.train.ppo.stored import Stored, Taken

_QUANTILES = 0x5157
"""What the learner's key is folded with for draws of quantiles, so that all else stays as it is without."""


@dataclasses.dataclass(frozen=True, eq=False)
class Learner(LearnerOfProgram):
    """PPO for one environment and one network."""

    def __post_init__(self) -> None:
        """Make sure that actions can be judged as asked.

        Raises:
            ValueError: if they are to be judged by weights that they do not say, or not as these orders fill.
        """
        if not self.config.judges_positions:
            return
        action, order_type = self.env.config.action, self.env.config.order_type
        if action == "discrete" or order_type != "market":
            found = f"action={action!r}" if action == "discrete" else f"order_type={order_type!r}"
            raise ValueError(
                f"advantage='position' judges an action by the weight that a market order brings an asset to, which"
                f" {found} does not say; use action='bands', 'levels' or 'weights' with market orders, or"
                " advantage='gae'."
            )

    def init(
        self,
        key: PRNGKeyArray,
        params: EnvParams,
        features: FeatureScaling | None = None,
        forecast: Forecast | None = None,
    ) -> TrainState:
        """Return the state before the first update; without a scaling of features it is fitted on all market rows."""
        state = begin(self.config, self.env, self.network, key, params, features, forecast)
        return state.replace(tail=Tail.create()) if self.config.cvar_weight else state

    def update(self, state: TrainState, params: EnvParams, hyper: Hyper) -> tuple[TrainState, Metrics]:
        """Do one update: a rollout with frozen parameters and statistics, then epochs of minibatches."""
        hyper = hyper_at(hyper, state.update)
        if state.rate is not None:
            hyper = hyper.replace(learning_rate=hyper.learning_rate * state.rate)
        table, remembered = self._encoded(state, params)
        runner, ends, (stored, trading) = self._rollout(state, params, table)
        tail = state.tail
        if tail is not None and stored.growth is not None:
            done = stored.terminated | stored.truncated
            scale = state.returns.deviation
            stored = stored.replace(reward=penalised(stored.reward, stored.growth, done, tail, hyper, scale))
            tail = tail.after(stored.growth, done, hyper.tail, self.parts)
        samples, explained = self.samples(state, params, hyper, table, runner, ends, stored)
        if self.config.policy.quantiles:
            keys = jax.random.fold_in(state.key, _QUANTILES), drop_key_of(self.config, state)
            made = self.network, state.agent, params.market, table, stored, runner, ends, hyper, keys
            samples = samples.replace(quantile_target=quantile_targets(*made, self.parts))
        key, epoch_key = jax.random.split(state.key)
        fault = rollout_fault(stored.reward, stored.value, samples.advantage, self.parts)
        learned, figures = self._epochs(state, params, hyper, samples, fault, epoch_key, remembered)
        learned = learned.replace(runner=runner, key=key, tail=tail)
        if state.rate is not None:
            learned = learned.replace(rate=adapted_rate(state.rate, last_kl(figures), hyper.target_kl))
        metrics = {
            **step_metrics(figures, hyper, self.config.policy.return_loss),
            **trading,
            "explained_variance": explained,
            "learning_rate": hyper.learning_rate,
            "entropy_coef": hyper.entropy_coef,
            "skipped_steps": learned.skipped,
        }
        return self.finished(state, learned, stored, hyper), metrics

    def finished(self, state: TrainState, learned: TrainState, stored: Stored, hyper: Hyper) -> TrainState:
        """Return the state after an update: what was learnt, and statistics that have seen its rollout."""
        done = stored.terminated | stored.truncated
        agent = AgentParams(
            network=learned.agent.network,
            scaling=state.agent.scaling.observe(stored.observation, self.network.chunk_bytes, self.parts),
        )
        reward = stored.reward.astype(jnp.float32) * state.returns.deviation
        returns = state.returns.observe(reward, done, hyper.gamma, self.parts)
        return learned.replace(agent=agent, returns=returns, update=state.update + 1)

    @property
    def _stored_type(self) -> Any:
        """Values of every asset are kept in half precision: they are of order 1, and there are many."""
        return (
            jnp.float16
            if self.config.policy.credit == "per_asset" and self.network.model.num_assets > 1
            else jnp.float32
        )

    @property
    def _credits_assets(self) -> bool:
        """Whether there is more than one value to credit rewards to."""
        return self.network.model.num_values > 1

    @property
    def told_env(self) -> TradingEnv:
        """The environment that tells what rewards are credited by."""
        return dataclasses.replace(self.env, with_slope=self._credits_assets or self.config.judges_positions)

    def taken(self, params: EnvParams, obs: Observation, outputs: Array, value: Array, action: Array) -> Taken:
        """Return what is kept of actions drawn for `[E]` observations with outputs and values of the network."""
        head, tradable = self.network.head, params.market.tradable[obs.t]
        log_prob = head.log_prob(outputs, action, obs.valid)
        log_prob = joined_log_prob(log_prob, choosing(tradable, obs), self.config.ratio)
        planned = None
        if self.config.judges_positions:
            planned = moved(head, head.mode(outputs, obs.valid), obs, tradable).astype(jnp.float16)
        return Taken(action, log_prob, value, planned)

    def kept(self, state: TrainState, step: Step, taken: Taken) -> Stored:
        """Return what is kept of a step."""
        judges = self.config.judges_positions
        reward = credited(step) if self._credits_assets else step.reward.astype(jnp.float32)[:, None]
        return Stored(
            observation=step.observation,
            action=taken.action,
            log_prob=taken.log_prob,
            value=taken.value.astype(self._stored_type),
            reward=(reward / state.returns.deviation).astype(self._stored_type),
            terminated=step.terminated,
            truncated=step.truncated,
            planned=taken.planned,
            slope=step.info["reward_slope"].astype(jnp.float32) if judges else None,
        )

    def _encoded(self, state: TrainState, params: EnvParams) -> tuple[Table | None, Remembered | None]:
        """Return what the rollout looks up in the market, and what gradient steps by stretches go on from."""
        made = self.config, self.network, state.agent, params.market
        sizes = params.market.num_bars, self.env.config.episode_length, self.parts
        stretches = stretches_of(self.config, *sizes) if params.market.lead is None else None
        if stretches is None:
            return table_of(*made, drop_key_of(self.config, state), self.parts), None
        table, states = encode_for(stretches, *made[1:], drop_key_of(self.config, state))
        return table, Remembered(stretches, states)

    def _rollout(
        self, state: TrainState, params: EnvParams, table: Table | None
    ) -> tuple[Runner, Boundaries, tuple[Stored, Metrics]]:
        config, head, market = self.config, self.network.head, params.market
        drop_key = drop_key_of(config, state)

        def policy(keys: Array, obs: Observation) -> tuple[Array, Taken]:
            outputs, value = act_in_chunks(self.network, state.agent, market, table, obs, drop_key)
            action = draw(head, keys, outputs, obs.valid)
            taken = self.taken(params, obs, outputs, value, action)
            return head.to_env(action, market.tradable[obs.t]), taken

        runner, ends, (stored, sums) = rollout(
            self.told_env,
            params,
            policy,
            state.runner,
            config.steps_per_rollout,
            lambda step: self._with_growth(self.kept(state, step, step.extra), step, params),
            tally=(lambda step: trading_numbers(step, params), no_trading(self.parts.of(config.num_envs))),
        )
        return runner, ends, (stored, trading_figures(sums, config.timesteps_per_update, runner, params, self.parts))

    def _with_growth(self, kept: Stored, step: Step, params: EnvParams) -> Stored:
        if not self.config.cvar_weight:
            return kept
        return kept.replace(growth=jnp.log(step.info["equity"] / params.initial_cash).astype(jnp.float32))

    def samples(
        self,
        state: TrainState,
        params: EnvParams,
        hyper: Hyper,
        table: Table | None,
        runner: Runner,
        ends: Boundaries,
        stored: Stored,
    ) -> tuple[Samples, Array]:
        """Return the rollout with advantages and value targets, and the explained variance of the values."""
        num_envs = self.parts.of(self.config.num_envs)
        flat_ends = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), ends.observation)
        last = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), runner.observation, flat_ends)
        _, values = act_in_chunks(
            self.network, state.agent, params.market, table, last, drop_key_of(self.config, state)
        )
        value = stored.value.astype(jnp.float32)
        boundary = values[num_envs:].reshape(num_envs, -1, values.shape[-1])
        following = next_values(value, values[:num_envs], stored.truncated, boundary)
        reward = stored.reward.astype(jnp.float32)
        if self.config.judges_positions:
            judged = self.network.head, self.env.config, params, hyper, stored, following, state.returns.deviation
            advantage, target = judged_positions(*judged)
            missed = target - value
        else:
            over = stored.terminated, stored.truncated
            missed = advantage = gae(reward, value, following, *over, hyper.gamma, hyper.gae_lambda)
            target = advantage + value
        explained = 1 - variance_of(missed, self.parts) / jnp.maximum(variance_of(target, self.parts), 1e-12)
        samples = Samples(
            observation=stored.observation,
            action=stored.action,
            log_prob=stored.log_prob,
            advantage=advantage.astype(jnp.float32 if self.config.judges_positions else self._stored_type),
            target=target.astype(self._stored_type),
            value=stored.value if self.config.value_clip is not None else None,
        )
        return samples, explained

    def _epochs(
        self,
        state: TrainState,
        params: EnvParams,
        hyper: Hyper,
        samples: Samples,
        fault: Array,
        key: Array,
        remembered: Remembered | None = None,
    ) -> tuple[TrainState, StepFigures]:
        config, drop_key = self.config, drop_key_of(self.config, state)
        mode = "gather" if remembered is not None else table_mode(config, params.market, self.parts)
        market, scaling = params.market, state.agent.scaling
        labels = return_labels(market) if config.policy.return_loss else None
        length = config.steps_per_chunk if remembered is None else remembered.stretches.length
        if mode == "table" or remembered is not None:  # gradient steps encode the same rows again and again
            scaled, market = self.network.scale_once(state.agent, market)
            scaling = scaled.scaling
        several = not self.parts.is_one
        moments = pair_moments(samples, params.market, length) if several else None

        def gradient(agent: AgentParams, pairs: Array) -> tuple[Any, LossSums]:
            agent = agent.replace(scaling=scaling)
            minibatch = samples, pairs, hyper, config, mode, drop_key, labels, self.parts, moments
            minibatch = *minibatch, remembered
            return minibatch_gradients(self.network, agent, market, *minibatch)

        return take_steps(
            config,
            hyper,
            state,
            gradient,
            fault,
            key,
            losses=LossSums.zeros(returns=labels is not None, quantile=config.policy.quantiles > 0),
            is_enough=lambda x: x.kl.mean() > hyper.target_kl,
            length=length,
        )


def last_kl(figures: StepFigures) -> Array:
    """Return the mean KL of the last epoch that was done, a scalar; NaN where no step of it was finite."""
    kl = jnp.nanmean(figures.losses.kl, axis=1)
    done = jnp.isfinite(kl).sum()
    return kl[jnp.maximum(done - 1, 0)]


def step_metrics(figures: StepFigures, hyper: Hyper, return_loss: float = 0.0) -> Metrics:
    """Return the metrics of PPO's gradient steps; `return_loss` is the weight of the auxiliary loss."""
    losses = figures.losses
    loss = losses.policy + hyper.value_coef * losses.value - hyper.entropy_coef * losses.entropy
    more = {}
    if losses.returns is not None:
        loss = loss + return_loss * losses.returns
        more["return_loss"] = jnp.nanmean(losses.returns)
    if losses.quantile is not None:
        loss = loss + QUANTILE_COEF * losses.quantile
        more["quantile_loss"] = jnp.nanmean(losses.quantile)
    return {
        **more,
        "loss": jnp.nanmean(loss),
        "policy_loss": jnp.nanmean(losses.policy),
        "value_loss": jnp.nanmean(losses.value),
        "entropy": jnp.nanmean(losses.entropy),
        "approx_kl": jnp.nanmean(losses.kl),
        "clip_fraction": jnp.nanmean(losses.clipped),
        "first_kl": losses.kl[0, 0],
        **figures.of_steps(),
    }
