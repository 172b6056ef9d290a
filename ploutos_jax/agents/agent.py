"""Agent: a network, its parameters and what they were trained on; everything needed to act."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Key, Num, PRNGKeyArray

from ploutos_jax.agents.acting import act_on
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.provenance import Provenance, relate
from ploutos_jax.agents.vectors import act_on_vectors
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import EnvParams, Observation
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.display import Card, Shown, few, plural
from ploutos_jax.market.experts.table import PREFIX
from ploutos_jax.market.lead import begins_path, lead_of
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import NO_SECTOR
from ploutos_jax.policy.actor_critic import NUM_REGIMES


@dataclasses.dataclass(frozen=True, repr=False)
class Agent(Shown):
    """A trained agent. It remembers the environment and the features it was trained with.

    Attributes:
        params: network parameters and scaling.
        network: shapes.
        env_config: rules and costs of the environment it was trained in.
        feature_names: F features that a market must have, in order.
        symbols: A tickers it was trained on; empty if they were others on each path, or had no names.
        sectors: the column of each asset's sector in its observations.
        trained_from, trained_to: first and last training bar, as `labels.name_moment` writes them; empty if not known.
        step: update at which it was taken.
        chosen_on: first and last of the bars by whose score it was chosen among the agents of its run; empty if
            it was not.
        calendar: of the training market; None if not known, as of agents of older versions.
        members: what each member of an ensemble is, such as "seed 3, update 40"; empty of one agent alone.
    """

    params: AgentParams
    network: Network
    env_config: EnvConfig
    feature_names: tuple[str, ...]
    symbols: tuple[str, ...]
    sectors: tuple[int, ...]
    trained_from: str
    trained_to: str
    step: int
    chosen_on: tuple[str, ...] = ()
    calendar: Calendar | None = None
    members: tuple[str, ...] = ()

    def _card(self) -> Card:
        names, form = len(self.feature_names), self.env_config.action
        trained = f"{self.trained_from} to {self.trained_to}" if self.trained_to else "on bars that are not known"
        ensemble = [f"ensemble of {len(self.members)}"] if self.members else []
        size = plural(len(self.symbols), "ticker") if self.symbols else "any tickers"
        brief = [*ensemble, f"{form} actions", size, plural(names, "feature"), f"trained {trained}"]
        weights = sum(leaf.size for leaf in jax.tree.leaves(self.params.network))
        rows = [
            ("actions", form),
            ("tickers", few(self.symbols) if self.symbols else "not bound to any"),
            ("features", few(self.feature_names)),
            ("trained", f"{trained}, {plural(self.step, 'update')}"),
            ("network", f"{self.network.model.config.torso} torso, {plural(weights, 'parameter')}"),
            ("trained in", repr(self.env_config)),
        ]
        rows += [("members", few(self.members))] if self.members else []
        rows += [("chosen on", " to ".join(self.chosen_on))] if self.chosen_on else []
        return Card("Agent", [*brief, f"update {self.step}"], rows)

    def known_tickers(self, symbols: Sequence[str]) -> list[str]:
        """Return those of the agent's tickers that the data has, in the agent's order; all of them if it knows none.

        Raises:
            ValueError: if it has none of them, or a flat network lacks one.
        """
        if not self.symbols:
            return list(symbols)
        have = set(symbols)
        known = [symbol for symbol in self.symbols if symbol in have]
        missing = self.missing_tickers(symbols)
        if not known or (missing and self.network.torso.binds_assets):
            raise ValueError(
                f"The data lacks {len(missing)} of the agent's {len(self.symbols)} tickers, such as"
                f" {', '.join(missing[:5])}. Give data with the tickers of the training."
            )
        return known

    def missing_tickers(self, symbols: Sequence[str]) -> list[str]:
        """Return those of the agent's tickers that the data does not have, in the agent's order."""
        have = set(symbols)
        return [symbol for symbol in self.symbols if symbol not in have]

    def provenance(self, first: Any, last: Any, calendar: Calendar | None = None) -> Provenance:
        """Return how a span relates to training and choice.

        Args:
            first, last: times of its first and last bar.
            calendar: of its bars, to compare their length; not compared without it.
        """
        chosen_on = (self.chosen_on[0], self.chosen_on[1]) if self.chosen_on else None
        trained_on = (self.trained_from, self.trained_to) if self.trained_to else None
        relation = relate((first, last), trained_on, chosen_on)
        return Provenance(relation, trained_on, chosen_on, self.step, self._other_bars(calendar))

    def _other_bars(self, calendar: Calendar | None) -> tuple[str, str] | None:
        if self.calendar is None or calendar is None or calendar.is_alike(self.calendar):
            return None
        return self.calendar.bar_length, calendar.bar_length

    def check_market(self, market: Market) -> None:
        """Make sure that the agent can act in a market.

        Raises:
            ValueError: if the features, or for a flat network the assets, are not those it was trained with.
        """
        if tuple(market.feature_names) != self.feature_names:
            different = sorted(set(market.feature_names) ^ set(self.feature_names)) or ["the order"]
            raise ValueError(
                f"The market has other features than the agent was trained with; they differ in {', '.join(different)}."
                " Build it with features=list(agent.feature_names)."
            )
        if self.network.torso.binds_assets and market.num_assets != self.network.model.num_assets:
            which = "Select the tickers agent.symbols" if self.symbols else "Select as many, those of its training"
            raise ValueError(
                f"A flat network is bound to its assets: trained on {self.network.model.num_assets}, the market has"
                f" {market.num_assets}. {which}."
            )

    def with_own_sectors(self, market: Market) -> Market:
        """Return the market with each asset in the sector that it had in training; others keep their own.

        An agent that knew neither tickers nor sectors sees none.
        """
        if not self.symbols and self.sectors and set(self.sectors) == {NO_SECTOR}:
            return market.replace(sector=np.full(market.num_assets, NO_SECTOR, np.int32))
        if market.labels is None or not self.symbols:
            return market
        columns = np.full(market.num_assets, NO_SECTOR) if market.sector is None else np.array(market.sector)
        trained = dict(zip(self.symbols, self.sectors, strict=True))
        own = [trained.get(symbol, column) for symbol, column in zip(market.symbols, columns, strict=True)]
        return market.replace(sector=np.array(own, np.int32))

    def led_by(self, span: Market, history: Market) -> Market:
        """Return a span of a history with the bars before it that the agent has to have seen.

        The span as it is, for an agent that remembers none. The account still begins in its first bar.
        """
        if not self.network.warm_up or span.labels is None:
            return span
        row = history.find_rows(span.times[0], None).start
        return span.replace(lead=lead_of(history, row, self.network.warm_up))

    def _check_sectors(self, params: EnvParams) -> None:
        market = params.market
        if market is None or market.labels is None or not self.symbols or isinstance(params.sector_columns, Tracer):
            return
        members = np.asarray(params.sector_columns)
        seen = np.where(members.any(axis=0), members.argmax(axis=0), NO_SECTOR)
        trained = dict(zip(self.symbols, self.sectors, strict=True))
        moved = [s for s, column in zip(market.symbols, seen, strict=True) if trained.get(s, column) != column]
        if moved:
            names = ", ".join(moved[:5]) + (" …" if len(moved) > 5 else "")
            raise ValueError(
                f"The agent was trained with other sectors of {names} than these params hold, so it would see another"
                " account. Make them with"
                " env.default_params(agent.with_own_sectors(market)), as backtest does."
            )

    def allocation(self, market: Market) -> dict[str, Float[Array, " T"]]:
        """Return what share of the account follows equal parts, each expert, and cash, `[T]` by name; {} without any.

        Of the middle of the bands, before what the network adds to it; row t is known at close t.

        Raises:
            ValueError: as `check_market` does.
        """
        self.check_market(market)
        number = self.network.model.num_experts
        if not number:
            return {}
        shares = self.network.allocation(self.params, jnp.asarray(market.features), jnp.asarray(market.tradable))
        names = (name.removeprefix(PREFIX).replace("_", " ") for name in self.feature_names[:number])
        return dict(zip(("equal parts", *names, "cash"), shares.T, strict=True))

    def regimes(self, market: Market) -> Float[Array, "T K"] | None:
        """Return the chances of the hidden states of the market, calmest first, known at close t; None of other agents.

        Raises:
            ValueError: as `check_market` does.
        """
        self.check_market(market)
        model = self.params.scaling.regimes
        if model is None or self.members:
            return None
        columns = jnp.asarray(market.features)[..., list(self.network.regime_columns)]
        before = jnp.full(NUM_REGIMES, 1 / NUM_REGIMES)
        return model(columns, jnp.asarray(market.tradable), begins_path(market.path_end), before)[0]

    def act(
        self, observation: Observation, params: EnvParams, key: PRNGKeyArray | None = None
    ) -> Num[Array, " A *edges"]:
        """Return the action for one observation, `[A]`: the greedy one without a key, a sampled one with a key.

        Raises:
            ValueError: as `act_batch` does.
        """
        batch = jax.tree.map(lambda x: x[None], observation)
        keys = None if key is None else key[None]
        return self.act_batch(batch, params, keys)[0]

    def predict(
        self,
        observation: Any,
        state: PRNGKeyArray | None = None,
        episode_start: Any = None,
        deterministic: bool = True,
        *,
        params: EnvParams | None = None,
        action_masks: Any = None,
    ) -> tuple[np.ndarray, PRNGKeyArray | None]:
        """Return the action and the next state, as models of Stable-Baselines3 do; for its loops and those like it.

        Args:
            observation: a vector of `TradingEnv.flatten`, or `[E]` of them, as the adapters for Gymnasium and
                Stable-Baselines3 give them; or an `Observation`, one or `[E]`, with its `params`.
            state: what the last call returned; begun with seed 0 without it. It holds the random numbers to come.
            episode_start: not used: what an agent remembers are bars of the market, not steps.
            deterministic: take the greedy action; draw one otherwise.
            params: of the environment, for an `Observation` alone.
            action_masks: of a vector, as the adapters' `action_masks()` gives them and the maskable PPO of sb3-contrib
                takes them; every action there is without. An `Observation` has its own.

        Returns:
            The action as the environment that the observation comes from takes it: `[A]` (`[E, A]`); for vectors, with
            weights as actions, `[A + 1]` with cash last. And the state for the next call.

        Raises:
            ValueError: if a vector or its masks are not as long as those of the agent's features, an `Observation`
                comes without `params`, or as `act` does.
        """
        del episode_start
        seen = observation if isinstance(observation, Observation) else np.asarray(observation, np.float32)
        is_one = (seen.t if isinstance(seen, Observation) else seen[..., 0]).ndim == 0
        seen = jax.tree.map(lambda x: x[None], seen) if is_one else seen
        keys = None
        if not deterministic:
            state, key = jax.random.split(jax.random.key(0) if state is None else state)
            number = (seen.t if isinstance(seen, Observation) else seen).shape[0]
            keys = jax.random.split(key, number)
        if isinstance(seen, Observation):
            if params is None:
                raise ValueError("An Observation is an index into a market: give its params=, or a flat vector.")
            actions = np.asarray(self.act_batch(seen, params, keys))
        else:
            masks = None if action_masks is None else np.atleast_2d(np.asarray(action_masks, bool))
            actions = act_on_vectors(self.network, self.params, self.feature_names, seen, keys, masks)
        return (actions[0] if is_one else actions), state

    def act_batch(
        self, observation: Observation, params: EnvParams, keys: Key[Array, " E"] | None = None
    ) -> Num[Array, "E A *edges"]:
        """Return actions `[E, A]` for `[E]` observations, as `TradingEnv.step` takes them.

        Args:
            observation: of accounts in the market of `params`.
            params: `env.default_params(agent.with_own_sectors(market))`, which is what `backtest` plays.
            keys: to draw actions with; greedy ones without.

        Raises:
            ValueError: if the assets of `params` are in other sectors than those the agent was trained with, so that it
                would see another account than `backtest` shows it. Not checked inside compiled code, nor of a market
                without labels.
        """
        self._check_sectors(params)
        return act_on(self.network, self.params, params.market, observation, keys)
