"""The forecast that a network is told: honest on its own rows, saved with the agent, the same wherever it acts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.forecast import Forecast, fit_forecast, holds, told_ahead
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.market.experts.ridge_fit import cross_fit, fit_ridge, forward_scores
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.planted import planted_panel
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.checkpoints.export import load_agent
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train, train_seeds

ENV = TradingEnv(EnvConfig(action="bands", stop_loss=None, take_profit=None, episode_length=60))
POLICY = PolicyConfig(hidden=(8,), width=8, forecast="only", hold_cash=False)
CONFIG = TrainConfig(
    num_envs=8, rollout_length=16, total_timesteps=128, advantage="position", average=0.9, policy=POLICY
)


def market_of(strength: float, seed: int = 0, num_assets: int = 6, num_bars: int = 400, num_noise: int = 12):
    return build_market(planted_panel(jax.random.key(seed), num_assets, num_bars, strength, num_noise=num_noise), ())


def correlation(scores, labels) -> float:
    known = np.isfinite(labels)
    return float(np.corrcoef(np.asarray(scores)[known], labels[known])[0, 1])


@pytest.mark.thorough
def test_on_noise_a_fit_flatters_its_own_rows_and_the_forecast_does_not():
    honest, flattered = [], []
    for seed in range(6):
        market = market_of(0.0, seed)
        labels = forward_scores(market)
        fit, scores = cross_fit(market)
        own = fit_ridge(market).replace(penalty=0.0)
        flattered.append(correlation(own.predict(np.asarray(market.features)), labels))
        honest.append(correlation(scores, labels))
        np.testing.assert_array_equal(fit.coefficients, own.coefficients)
    assert np.mean(flattered) > 0.05
    assert np.mean(honest) < 0.02


def test_a_signal_is_found_by_both():
    market = market_of(0.3)
    _, told = fit_forecast(market)
    hint = np.asarray(market.features)[..., market.feature_names.index("signal_hint")]
    assert np.corrcoef(told.ravel(), hint.ravel())[0, 1] > 0.8


def test_a_forecast_that_does_not_hold_is_none():
    found = [fit_forecast(market_of(0.0, seed))[1].any() for seed in range(12)]
    assert sum(found) <= 1
    rng = np.random.default_rng(0)
    labels = rng.normal(size=(2000, 5))
    assert holds(0.2 * labels + rng.normal(size=labels.shape), labels)
    assert not holds(-labels, labels) and not holds(np.zeros_like(labels), labels)
    # What moves all assets of a row alike tells none of them apart.
    assert not holds(np.repeat(labels.mean(axis=1, keepdims=True), 5, axis=1), labels)


def test_rows_of_a_block_are_told_by_the_others_alone():
    """Bars of one block changed: what is told of that block's rows comes from coefficients that have not moved."""
    market = market_of(0.3)
    before = cross_fit(market)
    stop = 60
    close = np.array(market.close)
    close[1:stop] *= np.exp(np.random.default_rng(0).normal(0, 0.05, close[1:stop].shape))
    after = cross_fit(market.replace(close=jnp.asarray(close)))
    if before[0].penalty == after[0].penalty:
        np.testing.assert_allclose(after[1][: stop - 25], before[1][: stop - 25], rtol=1e-6)
    assert np.abs(after[0].coefficients - before[0].coefficients).max() > 1e-6


@pytest.mark.thorough
def test_one_asset_is_compared_with_its_own_past():
    market = market_of(0.3, num_assets=1, num_bars=800, num_noise=2)
    _, told = fit_forecast(market)
    hint = np.asarray(market.features)[..., market.feature_names.index("signal_hint")]
    assert np.corrcoef(told.ravel(), hint.ravel())[0, 1] > 0.8


@pytest.mark.thorough
def test_nothing_to_fit_forecasts_nothing():
    market = market_of(0.3, num_bars=20)
    model, told = fit_forecast(market)
    assert not told.any() and not np.asarray(model(market.features)).any()
    assert jax.tree.map(jnp.shape, Forecast.blank(market.num_features)) == jax.tree.map(jnp.shape, model)


def test_a_market_that_is_redrawn_keeps_its_columns():
    market = market_of(0.3)
    params = ENV.default_params(market)
    told, model = told_ahead(params, is_redrawn=False)
    kept, same = told_ahead(params, is_redrawn=True)
    assert told.market.features.shape[-1] == market.num_features + 1
    assert kept.market.features.shape == market.features.shape
    np.testing.assert_array_equal(model.coefficients, same.coefficients)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["only", "add"])
def test_an_agent_carries_its_forecast_and_its_averaged_parameters(tmp_path, kind):
    market = market_of(0.3)
    config = dataclasses.replace(CONFIG, policy=dataclasses.replace(POLICY, forecast=kind))
    agent = train(config, market, ENV, output=tmp_path / "run")
    again = load_agent(tmp_path / "run")
    for one, other in zip(jax.tree.leaves(agent.params), jax.tree.leaves(again.params), strict=True):
        np.testing.assert_array_equal(one, other)
    other_market = market_of(0.3, seed=5)
    np.testing.assert_array_equal(backtest(agent, other_market).equity, backtest(again, other_market).equity)
    longer = dataclasses.replace(config, total_timesteps=256)
    resumed = train(longer, market, ENV, output=tmp_path / "run", resume=True)
    whole = train(longer, market, ENV)
    for one, other in zip(jax.tree.leaves(resumed.params.network), jax.tree.leaves(whole.params.network), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


@pytest.mark.thorough
def test_an_untrained_agent_holds_equal_parts_and_knows_nothing_to_do():
    market = market_of(0.3)
    config = dataclasses.replace(CONFIG, learning_rate=1e-12, learning_rate_schedule="constant")
    (agent,) = train_seeds(config, market, ENV)
    ledger = backtest(agent, market)
    held = ledger.gross_exposure / ledger.equity
    assert held[2:].min() > 0.97
    assert ledger.turnover[2:].sum() / len(ledger.turnover) * 252 < 1.5
