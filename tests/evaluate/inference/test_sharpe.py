"""Statistics against printed test vectors, brute force, simulation, and the library arch."""

import itertools

import numpy as np
import pytest
import scipy.stats
from arch.bootstrap import SPA, StationaryBootstrap, optimal_block_length
from arch.covariance.kernel import QuadraticSpectral

from ploutos_jax.evaluate.inference import sharpe as st
from ploutos_jax.evaluate.metrics.returns import sharpe

RNG = np.random.default_rng(5)


def draw(num, sharpe_a_day=0.05, seed=0):
    return np.random.default_rng(seed).normal(sharpe_a_day * 0.01, 0.01, num)


def test_vectors_of_the_probabilistic_sharpe_ratio():
    assert round(st.probabilistic_sharpe_of(0.458, 24, -2.448, 10.164), 4) == 0.9134
    assert round(st.probabilistic_sharpe_of(0.458, 24), 4) == 0.9817


def test_vectors_of_the_deflated_sharpe_ratio():
    own, variance = 2.5 / np.sqrt(250), 0.5 / 250
    expected = st.expected_maximum_sharpe(variance, 100)
    assert round(expected, 5) == 0.11317
    assert round(st.probabilistic_sharpe_of(own, 1250, -3, 10, expected), 4) == 0.9004
    fewer = st.expected_maximum_sharpe(variance, 46)
    assert round(st.probabilistic_sharpe_of(own, 1250, -3, 10, fewer), 4) == 0.9505


def test_returns_give_the_same_as_their_moments():
    returns = np.where(RNG.random(400) < 0.05, np.nan, RNG.standard_t(5, 400) * 0.01 + 6e-4)
    known = returns[np.isfinite(returns)]
    own = known.mean() / known.std(ddof=1)
    moments = own, known.size, scipy.stats.skew(known), scipy.stats.kurtosis(known) + 3
    for benchmark in (0.0, 0.02):
        expected = st.probabilistic_sharpe_of(*moments, benchmark_sharpe=benchmark)
        assert st.probabilistic_sharpe(returns, benchmark) == pytest.approx(expected, rel=1e-12)
    trials = RNG.normal(0, 0.03, 40)
    bar = st.expected_maximum_sharpe(trials.var(ddof=1), 40)
    assert st.deflated_sharpe(returns, trials) == pytest.approx(st.probabilistic_sharpe(returns, bar), rel=1e-12)
    assert st.deflated_sharpe(returns, trials, 400) < st.deflated_sharpe(returns, trials)
    # One trial, nothing to deflate by; more trials of unknown scores: the sampling variance stands in.
    assert st.deflated_sharpe(returns, [own]) == pytest.approx(st.probabilistic_sharpe(returns), rel=1e-12)
    stand_in = st.expected_maximum_sharpe(1 / (known.size - 1), 30)
    assert st.deflated_sharpe(returns, [], 30) == pytest.approx(st.probabilistic_sharpe(returns, stand_in), rel=1e-12)


def test_the_expected_maximum_is_that_of_simulated_trials():
    draws = np.random.default_rng(0).normal(0, 0.03, (20_000, 50)).max(axis=1)
    assert st.expected_maximum_sharpe(0.03**2, 50) == pytest.approx(draws.mean(), rel=0.02)
    assert st.expected_maximum_sharpe(0.03**2, 1) == 0
    for variance, number in ((0.1, 0), (-0.1, 5), (np.nan, 5)):
        with pytest.raises(ValueError, match="must be at least 1 and the variance"):
            st.expected_maximum_sharpe(variance, number)


def test_the_minimum_track_record_is_where_the_probability_reaches_the_confidence():
    for moments in ((0.1, 0.0, 3.0), (0.458, -2.448, 10.164)):
        needed = st.minimum_track_record_of(*moments, benchmark_sharpe=0.01)
        own, skewness, kurtosis = moments
        error = np.sqrt((1 - skewness * own + (kurtosis - 1) / 4 * own**2) / (needed - 1))
        assert (own - 0.01) / error == pytest.approx(scipy.stats.norm.ppf(0.95), rel=1e-12)
        assert st.probabilistic_sharpe_of(own, int(np.ceil(needed)), skewness, kurtosis, 0.01) >= 0.95
        assert st.probabilistic_sharpe_of(own, int(np.floor(needed)), skewness, kurtosis, 0.01) < 0.95
    assert st.minimum_track_record(-draw(300, 0.2)) == np.inf


def test_statistics_of_too_little_are_undefined():
    for returns in (np.zeros(0), np.array([0.01]), np.full(30, 0.001), np.full(4, np.nan)):
        for figure in (st.probabilistic_sharpe, st.minimum_track_record, lambda r: st.deflated_sharpe(r, [0.1, 0.2])):
            assert np.isnan(figure(returns))
        interval = st.bootstrap_interval(returns, resamples=50)
        assert np.isnan([interval.low, interval.high]).all()
        assert np.isnan(st.sharpe_difference(returns, returns, resamples=50).p_value)
        assert st.block_length(returns) == 1
    assert np.isnan(st.annual_factor(np.zeros(30)))


def test_effective_trials_lie_between_one_and_all():
    common = RNG.normal(0, 0.01, (2000, 1))
    own = RNG.normal(0, 0.01, (2000, 20))
    assert st.effective_trials(own) == pytest.approx(20, abs=0.6)
    assert st.effective_trials(np.repeat(common, 20, axis=1)) == pytest.approx(1)
    half = st.effective_trials(common + own)
    assert half == pytest.approx(0.5 + 0.5 * 20, abs=0.8)
    assert st.effective_trials(common) == 1
    idle = np.concatenate([own[:, :1], np.zeros((2000, 1))], axis=1)
    assert st.effective_trials(idle) == 2


def test_the_annual_factor_is_that_of_an_autoregression():
    """For an AR(1) of coefficient φ the sum over lags has a closed form (Lo 2002)."""
    phi, periods, rng = 0.2, 12, np.random.default_rng(1)
    noise, values = rng.normal(0, 0.01, 400_000), np.empty(400_000)
    values[0] = 0.0
    for i in range(1, len(values)):
        values[i] = phi * values[i - 1] + noise[i]
    exact = np.sqrt(periods) / np.sqrt(1 + 2 * phi / (1 - phi) * (1 - (1 - phi**periods) / (periods * (1 - phi))))
    assert st.annual_factor(values, periods) == pytest.approx(exact, rel=0.01)
    assert st.annual_factor(noise, periods) == pytest.approx(np.sqrt(periods), rel=0.02)
    assert st.annual_factor(values, periods, num_lags=0) == pytest.approx(np.sqrt(periods))


def test_the_block_length_is_that_of_arch():
    values = np.abs(draw(2000)) ** 2 + np.convolve(draw(2010, seed=3), np.ones(11), "valid") ** 2
    table = optimal_block_length(values)
    assert st.block_length(values) == pytest.approx(float(table["stationary"].iloc[0]))
    assert st.block_length(values, circular=True) == pytest.approx(float(table["circular"].iloc[0]))
    assert st.block_length(values) > 2


@pytest.mark.realdata
def test_block_lengths_of_daily_index_returns(data_dir):
    """Printed: about 9 for daily S&P 500 returns, more than 100 for their squares."""
    import pandas as pd

    index = pd.read_parquet(data_dir / "index_daily.parquet")
    close = index[index["ticker"] == "SPY"].sort_values("date")["close"].to_numpy(np.float64)
    returns = close[1:] / close[:-1] - 1
    assert 4 < st.block_length(returns) < 25
    assert st.block_length(returns**2) > 60


def test_the_interval_is_that_of_a_loop_over_arch():
    returns = draw(300)
    interval = st.bootstrap_interval(returns, sharpe, mean_block=7, resamples=400, seed=3)
    source = StationaryBootstrap(7, returns, seed=np.random.default_rng(3))
    figures = [sharpe(sample[0]) for sample, _ in source.bootstrap(400)]
    np.testing.assert_allclose(interval[:2], np.percentile(figures, [2.5, 97.5]), rtol=1e-12)
    assert interval.estimate == sharpe(returns) and interval.block_length == 7
    assert st.bootstrap_interval(returns, mean_block=7, resamples=400, seed=3) == interval
    assert st.bootstrap_interval(returns, mean_block=7, resamples=400, seed=4) != interval


def test_an_interval_of_several_series_draws_whole_bars():
    pair = np.stack([draw(200), draw(200)], axis=1)
    interval = st.bootstrap_interval(pair, lambda x: float(np.abs(x[:, 0] - x[:, 1]).max()), resamples=50)
    assert interval.low == interval.high == 0
    pair[7, 1] = np.nan
    assert np.isfinite(st.bootstrap_interval(pair, lambda x: float(x.mean()), resamples=50)[:2]).all()
    with pytest.raises(ValueError, match="level=1.5"):
        st.bootstrap_interval(pair, level=1.5)


def test_the_interval_of_independent_normal_returns_has_the_known_width():
    interval = st.bootstrap_interval(draw(2000), mean_block=1, resamples=2000)
    error = np.sqrt(252 / 2000)
    assert (interval.high - interval.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.08)
    assert interval.low < interval.estimate < interval.high


def studentised_by_hand(pair, block, resamples, seed):
    """Ledoit and Wolf's test by its formulas with 4 x 4 matrices, resample by resample."""
    num = len(pair)
    num_blocks = num // block

    def difference(sample):
        return sample[:, 0].mean() / sample[:, 0].std(ddof=1) - sample[:, 1].mean() / sample[:, 1].std(ddof=1)

    def gradient(sample):
        (m1, m2), (g1, g2) = sample.mean(axis=0), (sample**2).mean(axis=0)
        v1, v2, shrink = g1 - m1**2, g2 - m2**2, np.sqrt((num - 1) / num)
        return shrink * np.array([g1 / v1**1.5, -g2 / v2**1.5, -m1 / (2 * v1**1.5), m2 / (2 * v2**1.5)])

    def deviations(sample):
        moments = np.concatenate([sample, sample**2], axis=1)
        return moments - moments.mean(axis=0)

    slope = gradient(pair)
    kernel = QuadraticSpectral(deviations(pair) @ slope, df_adjust=0)
    error = np.sqrt(float(np.squeeze(kernel.cov.long_run)) / num)
    observed = difference(pair)
    starts = np.random.default_rng(seed).integers(0, num, (resamples, num_blocks))
    extreme = []
    for row in starts:
        sample = pair[(row[:, None] + np.arange(block)).ravel() % num]
        parts = deviations(sample).reshape(num_blocks, block, 4).sum(axis=1) / np.sqrt(block)
        covariance = parts.T @ parts / num_blocks
        own, length = gradient(sample), len(sample)
        # ddof 1 of the whole series, as the estimate has it.
        shift = np.sqrt((num - 1) / num) / np.sqrt((length - 1) / length)
        extreme.append(abs(difference(sample) * shift - observed) / np.sqrt(own @ covariance @ own / length))
    p_value = (1 + np.sum(np.array(extreme) >= abs(observed) / error)) / (resamples + 1)
    return observed, p_value, np.quantile(extreme, 0.95) * error


@pytest.mark.parametrize("block", [1, 5, 8])
def test_the_difference_of_sharpe_ratios_equals_the_formulas_by_hand(block):
    market = RNG.standard_t(5, 240) * 0.01
    pair = np.stack([market + draw(240, 0.2), market * 1.2 + draw(240, 0.0, seed=1)], axis=1)
    observed, p_value, reach = studentised_by_hand(pair, block, 199, seed=9)
    test = st.sharpe_difference(pair[:, 0], pair[:, 1], block=block, resamples=199, seed=9)
    scale = np.sqrt(252)
    assert test.difference == pytest.approx(observed * scale, rel=1e-9)
    assert test.p_value == pytest.approx(p_value)
    np.testing.assert_allclose(
        [test.low, test.high], [(observed - reach) * scale, (observed + reach) * scale], rtol=1e-7
    )


def test_the_difference_sees_what_is_there_and_not_what_is_not():
    market = draw(1000, 0.03)
    better, same = market * 0.5 + 6e-4, market + draw(1000, 0.0, seed=8) * 0.2
    assert st.sharpe_difference(better, market, resamples=500).p_value < 0.01
    assert st.sharpe_difference(market, better, resamples=500).high < 0
    assert st.sharpe_difference(same, market, resamples=500).p_value > 0.05
    assert st.sharpe_difference(market, market)[:2] == (0.0, 1.0)
    # The Sharpe ratio does not care about leverage.
    assert abs(st.sharpe_difference(2 * same, same, resamples=200).difference) < 1e-9
    with pytest.raises(ValueError, match="999 returns, the benchmark 1000"):
        st.sharpe_difference(market[1:], market)
    with pytest.raises(ValueError, match="block=600"):
        st.sharpe_difference(market, better, block=600)


@pytest.mark.slow
def test_the_difference_is_seldom_found_where_there_is_none():
    """Rejections at 5 % over 400 pairs with volatility that clusters, and equal Sharpe ratios."""
    rng, rejected = np.random.default_rng(2), 0
    for _ in range(400):
        volatility = np.exp(0.3 * np.convolve(rng.normal(0, 1, 529), np.ones(30) / np.sqrt(30), "valid"))
        common = rng.normal(0, 1, 500)
        pair = [0.01 * volatility * (0.7 * common + 0.7 * rng.normal(0, 1, 500)) + 3e-4 for _ in range(2)]
        rejected += st.sharpe_difference(pair[0], pair[1], resamples=300).p_value < 0.05
    assert 5 <= rejected <= 34, f"{rejected} of 400"


def superior_by_hand(lead, mean_block, resamples, seed, studentised):
    """Hansen's consistent p-value and White's, from the same resamples as arch draws."""
    num = len(lead)
    spread = np.ones(lead.shape[1])
    if studentised:
        lags, keep = np.arange(1, num), 1 - 1 / mean_block
        weights = (1 - lags / num) * keep**lags + lags / num * keep ** (num - lags)
        centred = lead - lead.mean(axis=0)
        covariances = np.array([(centred[k:] * centred[:-k]).sum(axis=0) / num for k in lags])
        spread = np.sqrt((centred**2).mean(axis=0) + 2 * weights @ covariances)
    means = lead.mean(axis=0)
    source = StationaryBootstrap(mean_block, lead, seed=np.random.default_rng(seed))
    drawn = np.array([sample[0].mean(axis=0) for sample, _ in source.bootstrap(resamples)])
    near = np.sqrt(num) * means / spread >= -np.sqrt(2 * np.log(np.log(num)))
    recentred = means * near if studentised else means
    return np.mean(((drawn - recentred) / spread).max(axis=1) > (means / spread).max())


def test_superior_ability_equals_the_formulas_by_hand_and_tells_luck_from_skill():
    benchmark = draw(400, 0.02)
    luck = {f"trial {i}": draw(400, 0.02, seed=20 + i) * (1 + i / 3) for i in range(12)}
    lead = np.stack(list(luck.values()), axis=1) - benchmark[:, None]
    for studentised in (True, False):
        p_value = st.superior_ability(luck, benchmark, mean_block=4, resamples=300, seed=1, studentised=studentised)
        assert p_value == superior_by_hand(lead, 4, 300, 1, studentised)
        assert p_value > 0.05
    skilled = {**luck, "skill": benchmark + 1e-3 + 0.3 * draw(400, 0, seed=77)}
    assert st.superior_ability(skilled, benchmark, mean_block=4, resamples=300) < 0.05
    assert st.superior_ability({"copy": benchmark}, benchmark) == 1.0


def test_arch_does_not_studentise_its_test():
    """Why the difference is divided by its spread before it goes there; once this fails, it need not be."""
    benchmark, small, wild = draw(400, 0.02), draw(400, 0.1, seed=4) * 0.1, draw(400, 0.0, seed=5) * 9
    p_values = []
    for studentised in (True, False):
        models = np.stack([benchmark + small, benchmark + wild], axis=1)
        test = SPA(-benchmark, -models, block_size=1, reps=200, studentize=studentised, seed=3)
        test.compute()
        p_values.append(test.pvalues["upper"])
    assert p_values[0] == p_values[1]


def overfitting_by_hand(matrix, num_blocks):
    """Every split in turn, on the returns themselves."""
    edges = np.linspace(0, len(matrix), num_blocks + 1).round().astype(int)
    blocks = [matrix[a:b] for a, b in itertools.pairwise(edges)]
    logits = []
    for chosen in itertools.combinations(range(num_blocks), num_blocks // 2):
        inside = np.concatenate([blocks[i] for i in chosen])
        outside = np.concatenate([blocks[i] for i in range(num_blocks) if i not in chosen])
        best = np.argmax(inside.mean(axis=0) / inside.std(axis=0, ddof=1))
        scores = outside.mean(axis=0) / outside.std(axis=0, ddof=1)
        share = scipy.stats.rankdata(scores)[best] / (matrix.shape[1] + 1)
        logits.append(np.log(share / (1 - share)))
    return np.array(logits)


@pytest.mark.parametrize(("num", "strategies", "num_blocks"), [(100, 7, 6), (163, 3, 8), (64, 12, 2)])
def test_overfitting_equals_every_split_by_hand(num, strategies, num_blocks):
    matrix = RNG.normal(0.01, 0.01, (num, strategies))
    np.testing.assert_allclose(
        st.overfitting_logits(matrix, num_blocks), overfitting_by_hand(matrix, num_blocks), rtol=1e-9, atol=1e-12
    )


def test_sixteen_blocks_make_12870_splits():
    assert st.overfitting_logits(RNG.normal(0, 0.01, (320, 5))).shape == (12_870,)


def test_overfitting_tells_noise_from_skill():
    noise = np.mean(
        [st.overfitting_probability(np.random.default_rng(i).normal(0, 0.01, (512, 30)), 8) for i in range(40)]
    )
    assert 0.4 < noise < 0.75
    skilled = RNG.normal(0, 0.01, (512, 30))
    skilled[:, 11] += 3e-3
    assert st.overfitting_probability(skilled) < 0.01
    # What wins in one half because it loses in the other: the choice is always wrong.
    turned = np.outer(np.where(np.arange(64) < 32, 1, -1), [1.0, -1.0]) * 0.01 + RNG.normal(0, 1e-3, (64, 2))
    assert st.overfitting_probability(turned, 2) == 1


def test_strategies_that_tie_share_a_rank():
    one = RNG.normal(0, 0.01, (64, 1))
    assert set(st.overfitting_logits(np.repeat(one, 3, axis=1), 4)) == {0.0}
    idle = st.overfitting_logits(np.concatenate([one + 1, np.zeros((64, 1))], axis=1), 4)
    np.testing.assert_allclose(idle, np.log(2))


@pytest.mark.parametrize(
    ("matrix", "num_blocks", "said"),
    [
        (np.zeros(5), 2, "shape \\(5,\\)"),
        (np.zeros((50, 1)), 2, "at least two strategies"),
        (np.zeros((50, 2)), 5, "num_blocks=5 must be an even number"),
        (np.zeros((20, 2)), 16, "20 periods are too few for num_blocks=16"),
        (np.full((50, 2), np.nan), 2, "nan in period 0 of strategy 0"),
    ],
)
def test_a_matrix_that_cannot_be_split_is_refused(matrix, num_blocks, said):
    with pytest.raises(ValueError, match=said):
        st.overfitting_probability(matrix, num_blocks)
