"""Acting on flat observations, as other libraries hand them over: `observation.flatten`, undone.

Letters: E vectors, A assets, F features, H and G fields of an asset's and the account's observation.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, Num

from ploutos_jax.agents.acting import act_on
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.env.adapters.masks import read_masks
from ploutos_jax.env.observation import fields_of
from ploutos_jax.env.types import Observation
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.distributions import WeightsHead

_NUM_POSITIONS = 2
"""The first fields of an asset, which an observation keeps as float16."""


def act_on_vectors(
    network: Network,
    agent: AgentParams,
    feature_names: Sequence[str],
    vectors: Float[np.ndarray, "E observation"],
    keys: Key[Array, " E"] | None = None,
    masks: Bool[np.ndarray, "E masks"] | None = None,
) -> Num[np.ndarray, "E actions *edges"]:
    """Return actions `[E, A]`, of weights `[E, A + 1]` with cash last, for flat observations.

    A vector does not say which assets trade, nor which actions there are: assets that have a bar are taken to trade.

    Args:
        network, agent: what acts.
        feature_names: F names of the market's features; the one named `known` tells whether an asset has a bar.
        vectors: as `TradingEnv.flatten` makes them.
        keys: to draw with; greedy actions without.
        masks: which actions there are, as the adapters' `action_masks` tells; all of them without.

    Raises:
        ValueError: if the vectors have another length than any number of assets would give them, or the masks another
            than theirs, or the agent remembers bars.
    """
    if network.warm_up:
        raise ValueError(
            "This agent remembers the bars before, and a flat vector holds one: give predict an Observation and the"
            " params= of its market, or use agent.act."
        )
    rows, observation = read_vectors(feature_names, vectors, network.observation)
    if masks is not None:
        observation = observation.replace(valid=read_masks(jnp.asarray(masks, bool), rows.num_assets))
    actions = np.asarray(act_on(network, agent, rows, observation, keys))
    if not isinstance(network.head, WeightsHead):
        return actions
    cash = np.maximum(1 - actions.sum(axis=-1, keepdims=True), 0)
    return np.concatenate([actions, cash], axis=-1)


def read_vectors(
    feature_names: Sequence[str], vectors: Float[np.ndarray, "E observation"], kind: str = "full"
) -> tuple[Market, Observation]:
    """Return the rows that flat observations hold as a market of E bars without prices, and the observations of it.

    Args:
        feature_names: F names of the market's features.
        vectors: as `TradingEnv.flatten` makes them.
        kind: `EnvConfig.observation` of that environment.

    Raises:
        ValueError: if the vectors are not as long as any number of assets would make them.
    """
    of_asset, of_account = (len(fields) for fields in fields_of(kind))
    num_features, per_asset = len(feature_names), len(feature_names) + of_asset
    num_assets, rest = divmod(vectors.shape[-1] - of_account, per_asset)
    if vectors.ndim != 2 or rest or num_assets < 1:
        raise ValueError(
            f"Observations of shape {vectors.shape} are none of this agent's: a vector of A assets has {per_asset} A +"
            f" {of_account} numbers, {num_features} features of each asset first. Make the environment with"
            " features=list(agent.feature_names)."
        )
    shape = len(vectors), num_assets
    features, assets, account = np.split(vectors, np.cumsum([num_assets * num_features, num_assets * of_asset]), axis=1)
    features, assets = features.reshape(*shape, -1), assets.reshape(*shape, -1)
    blank, rows = jnp.zeros(shape), jnp.arange(shape[0], dtype=jnp.int32)
    market = Market(
        open=blank,
        high=blank,
        low=blank,
        close=blank,
        volume=blank,
        tradable=jnp.asarray(features[..., list(feature_names).index("known")] > 0),
        delisted=None,
        sessions=rows,
        path_end=rows,
        features=jnp.asarray(features),
    )
    observation = Observation(
        t=rows,
        positions=jnp.asarray(assets[..., :_NUM_POSITIONS], jnp.float16),
        levels=jnp.asarray(np.round(255 * assets[..., _NUM_POSITIONS:]), jnp.uint8),
        account=jnp.asarray(account, jnp.float16),
    )
    return market, observation
