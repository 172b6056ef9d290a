"""Validation: accounts handed from agent to agent, choice on validation rows alone, folds that are not done twice."""

import dataclasses
import json

import jax
import numpy as np
import pandas as pd
import pytest

from ploutos_jax.datasets.config import DataConfig
from ploutos_jax.datasets.selection import most_traded
from ploutos_jax.datasets.splits import Window
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.handover import combine, hand_over, play_segments
from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.evaluate.inference.sharpe import count_trials
from ploutos_jax.evaluate.metrics.summary import summarize, total_return
from ploutos_jax.experiment.validation.config import ValidationConfig, read_history
from ploutos_jax.experiment.validation.folds import fold_folder, run_folds, score_on
from ploutos_jax.experiment.validation.result import (
    ALL_SEEDS,
    CHOSEN,
    RIVAL,
    fold_rows,
    judge,
    stitch_paths,
    write_result,
)
from ploutos_jax.market.features.build import build_market
from ploutos_jax.train.config import TrainConfig
from tests.evaluate.backtest.worlds import COSTLY, account_by_hand, make_agent, make_eventful_panel, make_panel
from tests.scripts.command_line import write_bars
from tests.train.worlds import SHARED

CONFIG = TrainConfig(
    num_envs=8, rollout_length=4, num_minibatches=2, num_epochs=2, total_timesteps=96, num_seeds=2, policy=SHARED
)
ENV = TradingEnv(dataclasses.replace(COSTLY, episode_length=10))
PLAN = ValidationConfig(train_window="30", validation_window="15", test_window="20", stages=2)


@pytest.fixture(scope="module")
def market():
    return build_market(make_eventful_panel(), "minimal")


@pytest.fixture(scope="module")
def agents(market):
    first = make_agent(market, COSTLY)
    params = first.params.replace(network=jax.tree.map(lambda x: -x, first.params.network))
    return first, dataclasses.replace(first, params=params)


@pytest.mark.thorough
def test_one_turn_is_a_backtest(market, agents):
    ledger = play_segments("x", market, [(Window(31, 80), agents[0])], COSTLY)
    same = backtest(agents[0], market, 30, 80)
    np.testing.assert_array_equal(ledger.times, same.times)
    np.testing.assert_allclose(ledger.equity, same.equity, rtol=1e-6)
    pd.testing.assert_frame_equal(ledger.fills, same.fills, rtol=1e-5)
    whole = play_segments("x", market, [(Window(0, market.num_bars), agents[0])], COSTLY)
    np.testing.assert_allclose(whole.equity, backtest(agents[0], market).equity, rtol=1e-6)


@pytest.mark.thorough
def test_an_account_is_handed_over_as_it_stands(market, agents):
    segments = [(Window(1, 30), agents[0]), (Window(30, 60), agents[1]), (Window(60, 90), agents[0])]
    ledger = play_segments("x", market, segments, COSTLY)
    money, equity = account_by_hand(ledger, market)
    np.testing.assert_allclose(ledger.equity, equity, rtol=1e-5)
    np.testing.assert_allclose(ledger.cash, money, rtol=1e-5, atol=1)
    alone = backtest(agents[0], market, 0, 30)
    np.testing.assert_allclose(ledger.equity[:30], alone.equity, rtol=1e-6)
    assert ledger.gross_exposure[29] > 0, "there must be something to hand over"
    other = backtest(agents[0], market, 0, 90)
    assert not np.allclose(ledger.equity[30:], other.equity[30:]), "the second agent must act differently"


def test_the_past_begins_anew_with_a_turn(market, agents):
    env = TradingEnv(dataclasses.replace(COSTLY, episode_length=market.num_bars - 1, reward="differential_sharpe"))
    params = env.default_params(market)
    runner, _ = hand_over(env, params, None, 0)
    step = jax.jit(env.step_env)
    state = jax.tree.map(lambda x: x[0], runner.state)
    for _ in range(12):
        _, state, *_ = step(jax.random.key(0), state, np.ones(3, int), params)
    runner = runner.replace(state=jax.tree.map(lambda x: x[None], state))
    handed, numbers = hand_over(env, params, runner, 0)
    after = jax.tree.map(lambda x: x[0], handed.state)
    for field in ("t", "cash", "shares", "entry_price", "entry_bar", "equity"):
        np.testing.assert_array_equal(getattr(after, field), getattr(state, field))
    assert float(after.peak_equity) == float(numbers.initial_cash) == float(state.equity)
    assert int(after.stats.count) == 0 and int(state.stats.count) == 12
    account = np.asarray(handed.observation.account[0])
    assert account[1] == account[2] == 0, "no drawdown and no growth yet"
    assert account[3] > 0, "the positions are still there"


def test_turns_with_a_gap_are_refused(market, agents):
    with pytest.raises(ValueError, match="end to end"):
        play_segments("x", market, [(Window(1, 30), agents[0]), (Window(31, 60), agents[1])], COSTLY)


def test_accounts_side_by_side_are_one(market, agents):
    ledgers = [play_segments(f"seed {i}", market, [(Window(1, 90), agent)], COSTLY) for i, agent in enumerate(agents)]
    both = combine("both", ledgers)
    np.testing.assert_allclose(both.equity, ledgers[0].equity + ledgers[1].equity)
    assert both.initial_cash == 200_000 and both.cost.sum() == pytest.approx(sum(x.cost.sum() for x in ledgers))
    traded = [ledger.turnover[1:] * ledger.equity[:-1] for ledger in ledgers]
    np.testing.assert_allclose(both.turnover[1:] * both.equity[:-1], traded[0] + traded[1])
    assert summarize(both)["total_return"] == pytest.approx(np.mean([total_return(x.returns) for x in ledgers]))
    assert both.trades["pnl"].sum() == pytest.approx(sum(ledger.trades["pnl"].sum() for ledger in ledgers), rel=1e-6)


def test_scores_are_those_of_backtests(market, agents):
    scores = score_on(agents, market, Window(41, 70), TradingEnv(COSTLY))
    for agent, score in zip(agents, scores, strict=True):
        figures = summarize(backtest(agent, market, 40, 70))
        assert score["sharpe"] == pytest.approx(figures["sharpe"], abs=1e-3)
        assert score["total_return"] == pytest.approx(figures["total_return"], abs=1e-5)


@pytest.fixture(scope="module")
def validated(market, tmp_path_factory):
    """Two walk-forward folds, stopped after the first and taken up again."""
    output = tmp_path_factory.mktemp("validation")
    plan = PLAN.plan(market.times)
    assert len(plan.splits) == 2
    told, answers = [], iter([False, True])
    run = lambda **more: run_folds(plan, market, ENV, CONFIG, PLAN, output, settings="num_seeds: 2\n", **more)  # noqa: E731
    assert run(should_stop=lambda: next(answers), observer=lambda *given: told.append(given)) is None
    assert told == [(0, 1, 2), (0, 2, 2)]
    first = {path: path.read_bytes() for path in fold_folder(output, 0).rglob("*") if path.is_file()}
    assert not fold_folder(output, 1).exists()
    expected = []
    folds = run(announce=expected.append)
    (estimate,) = expected
    assert (estimate.folds, estimate.updates) == (1, CONFIG.num_updates) and estimate.update_seconds > 0
    assert estimate.seconds == pytest.approx(estimate.update_seconds * CONFIG.num_updates)
    assert {path: path.read_bytes() for path in first} == first
    return plan, folds, output


@pytest.mark.parametrize(
    ("given", "num_bars", "windows"),
    [
        ({}, 2520, ("1260", "252", "252")),
        ({}, 10_000, ("1260", "252", "252")),
        ({}, 900, ("500", "100", "100")),
        ({"least_training": 255}, 400, ("255", "36", "36")),
        ({"year": 98_280}, 90_000, ("50000", "10000", "10000")),
        ({"test_window": "21"}, 900, ("500", "100", "21")),
        ({"test_window": "6m"}, 900, ("5y", "1y", "6m")),
        ({"train_window": "10", "validation_window": "4", "test_window": "5"}, 900, ("10", "4", "5")),
    ],
)
def test_windows_that_are_left_out_fit_the_history(given, num_bars, windows):
    own = {name: value for name, value in given.items() if name.endswith("window")}
    others = {name: value for name, value in given.items() if name not in own}
    fitted = ValidationConfig(**own).fitted(num_bars, **others)
    assert (fitted.train_window, fitted.validation_window, fitted.test_window) == windows
    assert fitted.fitted(7) == fitted
    if not own:
        assert len(fitted.plan(np.arange(num_bars)).splits) >= 3


def test_a_short_history_is_validated_without_a_word_about_windows(tmp_path):
    data = DataConfig(str(write_bars(tmp_path / "bars.csv")), features="minimal")
    history = read_history(data, ValidationConfig(), episode_length=252)
    assert history.validation.train_window == "255" and len(history.plan.splits) == 3
    assert all(split.train[0].size > 252 for split in history.plan.splits), "an episode fits in"


@pytest.mark.thorough
def test_checkpoint_and_seed_are_chosen_in_validation(validated, market):
    plan, folds, output = validated
    for i, (split, fold) in enumerate(zip(plan.splits, folds, strict=True)):
        lines = (fold_folder(output, i) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        scores = np.array([json.loads(line)["held_out_sharpe"] for line in lines], float)
        assert scores.shape == (2, 2)
        # A seed that never traded has no Sharpe ratio.
        best = np.nan_to_num(scores, nan=-np.inf).max(axis=0)
        assert fold.chosen == int(best.argmax()) and np.isfinite(best).any()
        told = [-np.inf if value is None else value for value in fold.facts["validation_sharpe_by_seed"]]
        assert told == pytest.approx(best)
        again = [score["sharpe"] for score in score_on(fold.agents, market, split.validation, ENV)]
        assert np.nan_to_num(again, nan=-np.inf) == pytest.approx(best, abs=1e-3)
        for agent, stage in zip(fold.agents, fold.facts["stage_by_seed"], strict=True):
            assert agent.step == json.loads(lines[stage - 1])["update"]
            assert agent.trained_to < agent.chosen_on[0] <= agent.chosen_on[1] < fold.facts["test"][0][0]
    assert count_trials(output) == 2 * 2 * 2


@pytest.mark.thorough
def test_nothing_of_the_test_reaches_an_agent(validated, market, tmp_path):
    """Other bars and features from the first tested one on: the same agents, the same choice, to the last bit."""
    plan, folds, _ = validated
    begins = plan.splits[0].test[0].start
    rng = np.random.default_rng(5)
    changed = market.replace(
        features=market.features.at[begins:].set(rng.normal(0, 3, market.features[begins:].shape)),
        **{
            name: getattr(market, name).at[begins:].multiply(rng.uniform(0.5, 2))
            for name in ("open", "high", "low", "close")
        },
    )
    first = dataclasses.replace(plan, splits=plan.splits[:1])
    (fold,) = run_folds(first, changed, ENV, CONFIG, PLAN, tmp_path) or []
    assert fold.facts["stage_by_seed"] == folds[0].facts["stage_by_seed"] and fold.chosen == folds[0].chosen
    for mine, other in zip(fold.agents, folds[0].agents, strict=True):
        jax.tree.map(np.testing.assert_array_equal, mine.params, other.params)


@pytest.mark.thorough
def test_folds_are_put_together(validated, market, tmp_path):
    plan, folds, _ = validated
    (way,) = stitch_paths(plan, folds, market, ENV.config)
    assert list(way.strategies) == [CHOSEN, ALL_SEEDS] and len(way.seeds) == 2
    ledger = way.strategies[CHOSEN]
    begins, ends = plan.splits[0].test[0].start, plan.splits[-1].test[0].stop
    for one in (*way.strategies.values(), *way.seeds, *way.baselines.values()):
        np.testing.assert_array_equal(one.times, market.times[begins - 1 : ends])
    rows = fold_rows([way], folds, market)
    assert np.prod(1 + rows["return"]) - 1 == pytest.approx(total_return(ledger.returns))
    assert np.prod(1 + rows["rival_return"]) - 1 == pytest.approx(total_return(way.baselines[RIVAL].returns))
    assert list(rows["test_from"]) == [fold.facts["test"][0][0] for fold in folds]
    verdict = judge(way, num_trials=8, resamples=200)
    assert verdict[CHOSEN]["deflated_sharpe_independent"] <= verdict[CHOSEN]["probabilistic_sharpe"]
    low, high = verdict[CHOSEN]["sharpe_difference_interval_95"]
    assert low <= verdict[CHOSEN]["sharpe_difference"] <= high
    content = write_result(tmp_path, [way], rows, [verdict], {"scheme": "walk-forward"})
    equity = pd.read_parquet(tmp_path / "equity.parquet")
    assert set(equity["strategy"]) == {CHOSEN, ALL_SEEDS, "seed 0", "seed 1", *way.baselines}
    assert json.loads((tmp_path / "validation.json").read_text(encoding="utf-8")) == content
    page = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "| chosen seed |" in page and "| equal weight |" in page and page.count("\n| 2 |") == 1


def test_the_most_traded_are_those_of_the_rows_given():
    panel = make_panel(num_bars=20)
    volume = np.full((20, 3), 1e6)
    volume[:10, 2], volume[10:, 2], volume[:6, 1] = 1e9, 1.0, 0
    tradable = volume > 0
    panel = panel.replace(volume=volume, tradable=tradable)
    assert most_traded(panel.window(0, 10), 2) == ("C", "A"), "B did not trade in most of the bars"
    assert most_traded(panel.window(10, 20), 2) != ("C", "A")


@pytest.mark.parametrize(("scheme", "is_tested"), [("walk-forward", False), ("k-fold", True), ("combinatorial", True)])
def test_tickers_chosen_on_rows_that_folds_test_are_told(tmp_path, scheme, is_tested):
    data = DataConfig(str(write_bars(tmp_path / "bars.csv")), features="minimal")
    windows = {"train_window": "150", "validation_window": "50", "test_window": "100"}
    validation = ValidationConfig(scheme=scheme, folds=4, embargo=5, liquid=2, **windows)
    history = read_history(data, validation)
    assert history.market.num_assets == 2 and "Of 3 tickers the 2" in history.notes[-1]
    assert (history.chosen_on is not None) == is_tested == ("which other folds test" in history.notes[-1])
    # The number may come from the settings of training, too; where all are kept nothing is chosen.
    again = read_history(dataclasses.replace(data, liquid=2), dataclasses.replace(validation, liquid=None))
    assert again.market.symbols == history.market.symbols and again.chosen_on == history.chosen_on
    assert read_history(data, dataclasses.replace(validation, liquid=3)).chosen_on is None


@pytest.mark.thorough
def test_plans_follow_the_settings(market):
    plan = ValidationConfig(scheme="combinatorial", folds=4, test_folds=2, embargo=3).plan(market.times)
    assert len(plan.splits) == 6 and plan.embargo == 3
    kept = ValidationConfig(scheme="k-fold", folds=2).plan(np.arange(2000), ["momentum_252_21"])
    assert kept.embargo == 253
    for wrong in ({"stages": 0}, {"folds_at_once": 0}, {"liquid": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            ValidationConfig(**wrong)
    assert EnvConfig().episode_length > 0
