"""PPO: one compiled program of rollout, advantages and epochs of minibatches, repeated on the device.

The market is a table on the device and an observation is an index into it, so a rollout stores the bar and a compact
account per step, never features. The network's market stage runs over the table's rows: once per rollout and once
per gradient step, inside the gradient.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from ploutos_jax.agents.acting import draw, encode_market, look_up, respond
from ploutos_jax.agents.forecast import Forecast
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.scaling import (
    FeatureScaling,
    ObservationScaling,
    ReturnScaling,
    RunningMoments,
)
from ploutos_jax.env.observation import ACCOUNT_FIELDS, ASSET_FIELDS
from ploutos_jax.env.rollout import Boundaries, Runner, Step, rollout, start_runner
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, Observation
from ploutos_jax.policy.actor_critic import Table
from ploutos_jax.train.algorithm import Metrics
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.ppo.advantages import gae, next_values
from ploutos_jax.train.ppo.credit import credited, judged_positions, moved
from ploutos_jax.train.ppo.divergence import rollout_fault, step_fault
from ploutos_jax.train.ppo.gradients import Samples, TableMode, minibatch_gradients
from ploutos_jax.train.ppo.losses import choosing, joined_log_prob
from ploutos_jax.train.ppo.return_loss import return_labels
from ploutos_jax.train.ppo.rollout_metrics import no_trading, trading_figures, trading_numbers
from ploutos_jax.train.ppo.schedules import hyper_at
from ploutos_jax.train.ppo.state import StepFigures, Stored, TrainState


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
    """PPO for one environment and one network; static, its methods are pure functions.

    Learners are equal where their programs are: seeds, numbers of PPO and lengths of runs may differ, and training with
    others in the same process compiles nothing anew.

    Attributes:
        config: sizes and kinds (numbers are in `Hyper`).
        env: the environment.
        network: the two-stage network.
    """

    config: TrainConfig
    env: TradingEnv
    network: Network

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

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._program == other._program

    def __hash__(self) -> int:
        return hash(self._program)

    @functools.cached_property
    def _program(self) -> tuple[TrainConfig, TradingEnv, Network]:
        """What a compiled update depends on."""
        return self.config.of_program(), self.env, self.network

    def init(
        self,
        key: PRNGKeyArray,
        params: EnvParams,
        features: FeatureScaling | None = None,
        forecast: Forecast | None = None,
    ) -> TrainState:
        """Return the state before the first update; without a scaling of features it is fitted on all market rows."""
        market = params.market
        features = self.network.fit_scaling(market.features, market.tradable) if features is None else features
        scaling = ObservationScaling(
            features=features,
            assets=RunningMoments.create(len(ASSET_FIELDS)),
            account=RunningMoments.create(len(ACCOUNT_FIELDS)),
            forecast=forecast,
        )
        network_key, env_key, learner_key = jax.random.split(key, 3)
        network = jax.jit(self.network.init, static_argnums=1)(network_key, features.centre.shape[0])
        runner = jax.jit(start_runner, static_argnums=(0, 3), static_argnames="staggered")(
            self.env, params, env_key, self.config.num_envs, staggered=True
        )
        return TrainState(
            agent=AgentParams(network=network, scaling=scaling),
            optimizer=_ADAM.init(network),
            returns=ReturnScaling.create(self.config.num_envs, self.network.model.num_values),
            runner=runner,
            key=learner_key,
            update=jnp.zeros((), jnp.int32),
            skipped=jnp.zeros((), jnp.int32),
            skipped_in_row=jnp.zeros((), jnp.int32),
            fault=jnp.zeros((), jnp.int32),
            average=None if self.config.average is None else jax.tree.map(jnp.copy, network),
        )

    def update(self, state: TrainState, params: EnvParams, hyper: Hyper) -> tuple[TrainState, Metrics]:
        """Do one update: a rollout with frozen parameters and statistics, then epochs of minibatches."""
        hyper = hyper_at(hyper, state.update)
        table = self._table(state.agent, params, self._drop_key(state))
        runner, ends, (stored, trading) = self._rollout(state, params, table)
        samples, explained = self._samples(state, params, hyper, table, runner, ends, stored)
        key, epoch_key = jax.random.split(state.key)
        fault = rollout_fault(stored.reward, stored.value, samples.advantage)
        learned, losses = self._epochs(state, params, hyper, samples, fault, epoch_key)
        done = stored.terminated | stored.truncated
        agent = AgentParams(
            network=learned.agent.network,
            scaling=state.agent.scaling.observe(stored.observation, self.network.chunk_bytes),
        )
        returns = state.returns.observe(stored.reward.astype(jnp.float32) * state.returns.deviation, done, hyper.gamma)
        metrics = {
            **losses,
            **trading,
            "explained_variance": explained,
            "learning_rate": hyper.learning_rate,
            "entropy_coef": hyper.entropy_coef,
            "skipped_steps": learned.skipped,
        }
        moved = learned.replace(agent=agent, returns=returns, runner=runner, key=key, update=state.update + 1)
        return moved, metrics

    def _drop_key(self, state: TrainState) -> Array | None:
        """Return the key of dropout in this update, the same in rollout and loss, or None without dropout."""
        return None if self.config.policy.dropout == 0 else jax.random.fold_in(state.key, _DROPOUT)

    def _table(self, agent: AgentParams, params: EnvParams, drop_key: Array | None = None) -> Table | None:
        """Return the encoded market, or None where it has more rows than a rollout has samples."""
        market = params.market
        if market.num_bars > self.config.timesteps_per_update:
            return None
        keys = self.network.drop_keys(drop_key, jnp.arange(market.num_bars))
        return encode_market(self.network, agent, market, keys)

    @property
    def _stored_type(self) -> Any:
        """Values of every asset are kept in half precision: they are of order 1, and there are many."""
        return (
            jnp.float16
            if self.config.policy.credit == "per_asset" and self.network.model.num_assets > 1
            else jnp.float32
        )

    def _act(
        self,
        agent: AgentParams,
        params: EnvParams,
        table: Table | None,
        obs: Observation,
        drop_key: Array | None,
    ) -> tuple[Array, Array]:
        """Return outputs and values for `[n]` observations, in chunks that keep within the byte budget."""

        def act(obs: Observation) -> tuple[Array, Array]:
            market = params.market
            key = self.network.drop_keys(drop_key, obs.t)
            if table is None:
                one = market.features[obs.t][None], market.tradable[obs.t][None]
                keys = None if key is None else key[None]
                row = look_up(self.network.encode(agent.network, agent.scaling, *one, keys), jnp.int32(0))
            else:
                row = look_up(table, obs.t)
            return respond(self.network, agent, market, row, obs, key)

        sample_bytes = self.network.sample_bytes()
        if table is None:
            sample_bytes = max(sample_bytes, self.network.row_bytes(params.market.num_features))
        return _map_in_chunks(act, obs, max(1, self.network.chunk_bytes // sample_bytes))

    @property
    def _credits_assets(self) -> bool:
        """Whether there is more than one value to credit rewards to."""
        return self.network.model.num_values > 1

    def _rollout(
        self, state: TrainState, params: EnvParams, table: Table | None
    ) -> tuple[Runner, Boundaries, tuple[Stored, Metrics]]:
        config, head = self.config, self.network.head
        env = dataclasses.replace(self.env, with_slope=self._credits_assets or config.judges_positions)

        def reward_of(step: Step) -> Array:
            return credited(step) if self._credits_assets else step.reward.astype(jnp.float32)[:, None]

        def policy(keys: Array, obs: Observation) -> tuple[Array, tuple[Array, Array, Array, Array | None]]:
            outputs, value = self._act(state.agent, params, table, obs, self._drop_key(state))
            tradable = params.market.tradable[obs.t]
            action = draw(head, keys, outputs, obs.valid)
            log_prob = joined_log_prob(head.log_prob(outputs, action, obs.valid), choosing(tradable, obs), config.ratio)
            planned = None
            if config.judges_positions:
                planned = moved(head, head.mode(outputs, obs.valid), obs, tradable).astype(jnp.float16)
            return head.to_env(action, tradable), (action, log_prob, value, planned)

        def record(step: Step) -> Stored:
            action, log_prob, value, planned = step.extra
            return Stored(
                observation=step.observation,
                action=action,
                log_prob=log_prob,
                value=value.astype(self._stored_type),
                reward=(reward_of(step) / state.returns.deviation).astype(self._stored_type),
                terminated=step.terminated,
                truncated=step.truncated,
                planned=planned,
                slope=step.info["reward_slope"].astype(jnp.float32) if config.judges_positions else None,
            )

        runner, ends, (stored, sums) = rollout(
            env,
            params,
            policy,
            state.runner,
            config.steps_per_rollout,
            record,
            tally=(lambda step: trading_numbers(step, params), no_trading(config.num_envs)),
        )
        return runner, ends, (stored, trading_figures(sums, config.timesteps_per_update, runner, params))

    def _samples(
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
        num_envs = self.config.num_envs
        flat_ends = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), ends.observation)
        last = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), runner.observation, flat_ends)
        _, values = self._act(state.agent, params, table, last, self._drop_key(state))
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
        explained = 1 - missed.var() / jnp.maximum(target.var(), 1e-12)
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
        self, state: TrainState, params: EnvParams, hyper: Hyper, samples: Samples, fault: Array, key: Array
    ) -> tuple[TrainState, Metrics]:
        config, drop_key = self.config, self._drop_key(state)
        num_pairs = config.num_envs * (config.steps_per_rollout // config.steps_per_chunk)
        minibatch = num_pairs // config.num_minibatches
        mode: TableMode = "table" if params.market.num_bars <= minibatch * config.steps_per_chunk else "gather"
        market, scaling = params.market, state.agent.scaling
        labels = return_labels(market) if config.policy.return_loss else None
        if mode == "table":  # every gradient step encodes every row
            scaled, market = self.network.scale_once(state.agent, market)
            scaling = scaled.scaling

        def step(state: TrainState, pairs: Array) -> tuple[TrainState, StepFigures]:
            agent = state.agent.replace(scaling=scaling)
            grads, losses = minibatch_gradients(
                self.network, agent, market, samples, pairs, hyper, config, mode, drop_key, labels
            )
            norm = optax.tree.norm(grads)
            scale = jnp.minimum(1.0, hyper.max_grad_norm / jnp.maximum(norm, 1e-12))
            changes, optimizer = _ADAM.update(jax.tree.map(lambda g: g * scale, grads), state.optimizer)
            network = jax.tree.map(lambda p, c: p - hyper.learning_rate * c, state.agent.network, changes)
            code = step_fault(fault, losses, norm)
            finite = code == 0
            keep = lambda new, old: jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)  # noqa: E731
            average = state.average
            if average is not None:
                slow = jax.tree.map(lambda a, p: a + (1 - hyper.average) * (p - a), average, network)
                average = keep(slow, average)
            state = state.replace(
                agent=state.agent.replace(network=keep(network, state.agent.network)),
                average=average,
                optimizer=keep(optimizer, state.optimizer),
                skipped=state.skipped + ~finite,
                skipped_in_row=jnp.where(finite, 0, state.skipped_in_row + 1),
                fault=jnp.where(finite | (state.skipped_in_row == 0), code, state.fault),
            )
            return state, StepFigures(losses, norm, state.fault, state.skipped_in_row)

        keys = jax.random.split(key, config.num_epochs)

        def go_on(carry: tuple[Array, Array, TrainState, StepFigures]) -> Array:
            number, stopped, *_ = carry
            return (number < config.num_epochs) & ~stopped

        def epoch(carry: tuple[Array, Array, TrainState, StepFigures]) -> Any:
            number, _, state, figures = carry
            order = jax.random.permutation(keys[number], num_pairs).reshape(config.num_minibatches, minibatch)
            state, new = jax.lax.scan(step, state, order)
            figures = jax.tree.map(lambda kept, row: kept.at[number].set(row), figures, new)
            return number + 1, new.losses.kl.mean() > hyper.target_kl, state, figures

        # A loop that ends early, where a branch in each turn would copy the parameters and the optimiser's state.
        figures = StepFigures.none(config.num_epochs, config.num_minibatches, with_returns=labels is not None)
        begun = (jnp.int32(0), jnp.asarray(False), state, figures)
        _, _, state, figures = jax.lax.while_loop(go_on, epoch, begun)
        losses, in_row = figures.losses, figures.skipped_in_row.reshape(-1)
        loss = losses.policy + hyper.value_coef * losses.value - hyper.entropy_coef * losses.entropy
        more = {}
        if losses.returns is not None:
            loss = loss + config.policy.return_loss * losses.returns
            more["return_loss"] = jnp.nanmean(losses.returns)
        return state, {
            **more,
            "loss": jnp.nanmean(loss),
            "policy_loss": jnp.nanmean(losses.policy),
            "value_loss": jnp.nanmean(losses.value),
            "entropy": jnp.nanmean(losses.entropy),
            "approx_kl": jnp.nanmean(losses.kl),
            "clip_fraction": jnp.nanmean(losses.clipped),
            "grad_norm": jnp.nanmean(figures.norm),
            "first_kl": losses.kl[0, 0],
            "skipped_in_row": in_row.max(),
            "fault": figures.fault.reshape(-1)[jnp.argmax(in_row)],
        }


_ADAM = optax.scale_by_adam(eps=1e-5)
_DROPOUT = 0x0D0
"""What the learner's key is folded with for dropout, so that all else stays as it is without."""


def _map_in_chunks(function: Any, inputs: Any, chunk: int) -> Any:
    """Apply a function of one sample to `[n]` samples, at most `chunk` at once, in chunks of about equal size."""
    num_samples = jax.tree.leaves(inputs)[0].shape[0]
    num_chunks = -(-num_samples // chunk)
    if num_chunks == 1:
        return jax.vmap(function)(inputs)
    return jax.lax.map(function, inputs, batch_size=-(-num_samples // num_chunks))
