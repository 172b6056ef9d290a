"""What a run will hold on the device, estimated before anything is compiled, and what to lower where it is too much.

The parts are counted from shapes. How many temporary copies the compiler keeps of each is measured: the factors below
make the estimate agree with XLA's own analysis of the compiled program to a factor of two.
"""

import dataclasses
from typing import Any

import jax

from ploutos_jax.agents.network import ROWS_IN_ORDER, Network
from ploutos_jax.market.long.device import device_bytes as device_bytes
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.attention import HEADS
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.learning.stretches import stretches_of

_SMALLEST_CHUNK = 4.0
"""Megabytes below which chunks are not made smaller: they would be slow, and other things larger anyway."""

_ADVANTAGE_COPIES = 8
"""float32 arrays of one number per value and step that live at once while advantages are computed."""
_CHUNK_COPIES = 4
"""Arrays as large as the widest one that live at once while a chunk goes forward and backward."""
_TABLE_COPIES = 3
"""The table, its gradient, and the buffer that gradients of samples are added to."""
_PATH_ASSET, _PATH_ACCOUNT = 37, 42
"""Numbers of 4 bytes that are kept of each step of a differentiated rollout, of each asset and of the account: the
state that the step is computed again from on the way back, and derivatives by it."""
_WEIGHT_COPIES = 6
"""Parameters, both moments of Adam, gradients, and the state kept in case an update fails."""


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on the device by what they are for.

    Attributes:
        market: bars and features, shared by all environments and seeds.
        table: encoded market rows with their gradients.
        rollout: what is stored of a rollout.
        working: intermediate arrays, of advantages or of the network, whichever are larger.
        weights: parameters and optimiser.
        accounts: states of the environments.
        paths: accounts before each step of a rollout, where it is differentiated.
    """

    market: int
    table: int
    rollout: int
    working: int
    weights: int
    accounts: int
    paths: int = 0

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(dataclasses.astuple(self))

    def __str__(self) -> str:
        parts = sorted(dataclasses.asdict(self).items(), key=lambda part: -part[1])
        return ", ".join(f"{name} {_size(size)}" for name, size in parts if size > 0.01 * self.total)


def estimate_memory(config: TrainConfig, market: Market, action: str) -> MemoryEstimate:
    """Return an estimate of what training holds at its peak.

    Args:
        config: sizes.
        market: the training market; only its shapes are read.
        action: the environment's action form.
    """
    network = Network.create(config.policy, action, market.num_assets, config.chunk_bytes)
    return _estimate(config, network, market.num_bars, market.num_features, _market_bytes(config, market))


def _estimate(
    config: TrainConfig, network: Network, num_bars: int, num_features: int, market_bytes: int
) -> MemoryEstimate:
    num_assets, num_values, seeds = network.model.num_assets, network.model.num_values, config.num_seeds
    samples = config.timesteps_per_update
    minibatch = samples // config.num_minibatches
    stretches = stretches_of(config, num_bars)
    in_table = stretches is None and (num_bars <= minibatch or network.warm_up > 0)
    row_bytes, table_row = network.row_bytes(num_features), network.torso.table_bytes(network.model.num_assets)
    has_table = in_table or stretches is not None or num_bars <= samples
    table = (_TABLE_COPIES if in_table else 1) * num_bars * table_row if has_table else 0
    # A chunk is no larger than what there is to be done.
    rows = num_bars if in_table else minibatch
    of_rows = min(network.chunk_bytes, row_bytes * (min(rows, ROWS_IN_ORDER) if network.warm_up else rows))
    of_samples = min(network.chunk_bytes, network.sample_bytes() * minibatch)
    # Encoded in one chunk, the rows keep what their backward pass needs while chunks of samples come and go.
    joined = of_rows + of_samples if of_rows < network.chunk_bytes or not in_table else max(of_rows, of_samples)
    policy = config.policy
    if in_table and policy.time == "attention":  # what its backward pass does not work out again
        table += num_bars * 4 * num_assets * policy.time_layers * (policy.time_width + HEADS)
    if stretches is not None:
        # As many stretches as fit at once, but one at least; the features of all rows, scaled; states left behind.
        windows, inputs = stretches.windows, network.model.num_inputs(num_features)
        of_stretch = max(row_bytes * (windows.rows + windows.before), network.sample_bytes() * windows.rows)
        joined = max(of_stretch, min(network.chunk_bytes, minibatch // windows.rows * of_stretch))
        kept = 4 * network.model.blank_state().size * -(-num_bars // windows.every) if windows.every else 0
        table += num_bars * 4 * num_assets * inputs + kept
    advantages = 4 * _ADVANTAGE_COPIES * num_values * samples
    return MemoryEstimate(
        market=market_bytes,
        table=seeds * table,
        rollout=seeds * samples * stored_bytes(config, network),
        working=seeds * max(advantages, _CHUNK_COPIES * joined),
        weights=seeds * _WEIGHT_COPIES * _weight_bytes(network, num_features),
        accounts=seeds * config.num_envs * _account_bytes(num_assets, config),
        paths=0 if config.algorithm == "ppo" else seeds * samples * 4 * (_PATH_ASSET * num_assets + _PATH_ACCOUNT),
    )


def fit_to_device(
    config: TrainConfig, market: Market, action: str, limit: int | None, num_devices: int = 1
) -> TrainConfig:
    """Return the configuration with `chunk_megabytes` lowered until the estimate fits; results stay the same.

    Args:
        config, market, action: as for `estimate_memory`.
        limit: bytes of a device, or None where they are not known, and nothing is changed.
        num_devices: over which the environments, or seeds, are laid.

    Raises:
        ValueError: if it does not fit even so; the message says what to lower, and to what.
    """
    if limit is None:
        return config
    if num_devices > 1:
        share = _share(config, num_devices)
        fitted = fit_to_device(share, market, action, limit)
        ratio = fitted.chunk_limit / share.chunk_limit
        return config if ratio == 1 else dataclasses.replace(config, chunk_megabytes=config.chunk_limit * ratio)
    fitting = config
    while (estimate := estimate_memory(fitting, market, action)).total > limit:
        smaller = fitting.chunk_limit / 2
        if smaller < min(_SMALLEST_CHUNK, config.chunk_limit):
            raise ValueError(
                f"This run needs about {_size(estimate.total)} ({estimate}), the device has {_size(limit)}."
                f" {_advice(fitting, market, action, limit)}"
            )
        fitting = dataclasses.replace(fitting, chunk_megabytes=smaller)
    return fitting


def _share(config: TrainConfig, num_devices: int) -> TrainConfig:
    """Return the settings of a run as large as what one of several devices holds."""
    if config.num_seeds > 1 and config.num_seeds % num_devices == 0:
        seeds = config.num_seeds // num_devices
        # The budget of a seed's arrays does not change.
        megabytes = config.chunk_limit * seeds / config.num_seeds
        return dataclasses.replace(config, num_seeds=seeds, chunk_megabytes=megabytes)
    # One minibatch of so many pairs: what is divided among devices is its size, not the number of them.
    num_envs = max(1, config.num_envs // num_devices)
    pairs = num_envs * (config.steps_per_rollout // config.steps_per_chunk)
    number = max(n for n in range(1, min(config.num_minibatches, pairs) + 1) if pairs % n == 0)
    length = config.steps_per_rollout
    return dataclasses.replace(
        config, num_envs=num_envs, num_minibatches=number, batch_size=None, rollout_length=length
    )


def _advice(config: TrainConfig, market: Market, action: str, limit: int) -> str:
    """Return which settings would fit, each lowered alone."""
    network = Network.create(config.policy, action, market.num_assets, config.chunk_bytes)
    market_bytes, num_features = _market_bytes(config, market), market.num_features

    def fits(changed: TrainConfig, features: int) -> bool:
        per_feature = market.num_bars * market.num_assets * 4
        size = market_bytes - (num_features - features) * per_feature
        return _estimate(changed, network, market.num_bars, features, size).total <= limit

    options = []
    for name in ("num_seeds", "num_envs", "rollout_length"):
        value = config.steps_per_rollout if name == "rollout_length" else getattr(config, name)
        while value > 1:
            value //= 2
            try:
                changed = dataclasses.replace(config, **{"rollout_length": config.steps_per_rollout, name: value})
            except ValueError:  # no longer divisible into minibatches
                break
            if fits(changed, num_features):
                options.append(f"{name} to {value}")
                break
    features = next((n for n in range(num_features - 1, 0, -1) if fits(config, n)), None)
    if features is not None:
        options.append(f"the number of features from {num_features} to {features}")
    if not options:
        return "Lower num_envs, rollout_length and the number of features or tickers together."
    return f"Lower {', or '.join(options)}."


def _market_bytes(config: TrainConfig, market: Market) -> int:
    """Return the bytes of the market, and of the one that is drawn, or copied to the device, at the same time."""
    is_slice = market.labels is not None and market.labels.device_bars is not None
    copies = 1 if config.market_refresh is None and not is_slice else 2
    return copies * sum(leaf.nbytes for leaf in jax.tree.leaves(market))


def stored_bytes(config: TrainConfig, network: Network) -> int:
    """Return the bytes of one stored step of one environment, with advantages and targets."""
    num_assets, num_values = network.model.num_assets, network.model.num_values
    of_asset, of_account = network.num_fields
    observation = 4 + num_assets * (2 * 2 + of_asset - 2) + 2 * of_account
    action = num_assets * jax.numpy.dtype(network.head.action_dtype).itemsize
    log_prob = 4 * (num_assets if config.ratio == "per_asset" else 1)
    in_half = num_values > 1
    # Quantiles of each state and of what it led to, and the draws.
    quantiles = 3 * 4 * network.model.config.quantiles
    return observation + action + log_prob + (2 if in_half else 4) * 4 * num_values + 2 + quantiles


def _weight_bytes(network: Network, num_features: int) -> int:
    shapes: Any = jax.eval_shape(lambda: network.init(jax.random.key(0), num_features))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


def _account_bytes(num_assets: int, config: TrainConfig) -> int:
    """Return the bytes of an account and its observations: before, after, at an episode's end, if the update fails."""
    return 4 * (num_assets * 40 + 200) + 4 * config.steps_per_rollout


def _size(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
