"""benchmarks/real.py: the whole protocol in a tiny form, and its figures by hand."""

import dataclasses
import json

import jax
import numpy as np
import pandas as pd
import pytest

from benchmarks import real, real_protocol
from benchmarks.real_figures import book_of, paired, render, trial_sharpes
from benchmarks.real_protocol import Universes, hash_of, read_arms, settings_of
from ploutos_jax.evaluate.ledger import simple_returns
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.train import updates
from tests.evaluate.accounts import make_ledger

pytestmark = pytest.mark.thorough

SMALL = {
    "data": {"features": "minimal", "feature_cache": False},
    "env": {"episode_length": 20, "action": "weights"},
    "train": {
        "num_envs": 4,
        "rollout_length": 8,
        "num_epochs": 1,
        "num_minibatches": 1,
        "policy": {"hidden": [4, 4], "width": 4},
    },
}
NUM_BARS, BUDGET = 420, ("--seeds", "2", "--steps", "32", "--resamples", "20")
TICKERS = ("--liquid", "6", "--universes", "2", "--size", "3")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A file of seven assets, and arms."""
    place = tmp_path_factory.mktemp("real")
    panel = synthetic_panel(jax.random.key(3), num_assets=7, num_bars=NUM_BARS)
    rows = [
        pd.DataFrame({"date": panel.times, "ticker": symbol, **{
            name: np.asarray(getattr(panel, name))[:, i] for name in ("open", "high", "low", "close", "volume")
        }})
        for i, symbol in enumerate(panel.symbols)
    ]  # fmt: skip
    # One asset begins late, so that windows differ in what is missing.
    rows[2] = rows[2].iloc[30:]
    pd.concat(rows).to_parquet(place / "bars.parquet", index=False)
    # Of the same program, as compiling is what takes time here.
    quick = {**SMALL, "train": {**SMALL["train"], "learning_rate": 0.1}}
    (place / "arms.json").write_text(json.dumps({"quick": quick, "base": SMALL}))
    return place, [str(time)[:10] for time in panel.times]


def flags(place):
    names = ("trials", "results", "work")
    where = [word for name in names for word in (f"--{name}", str(place / name))]
    return ["--data", str(place / "bars.parquet"), "--arms", str(place / "arms.json"), *BUDGET, *TICKERS, *where]


@pytest.fixture(scope="module")
def scored(place):
    place, days = place
    dates = ("--first-test", days[250], "--last-test", days[337])
    sizes = ("--train-bars", "120", "--test-bars", "30", "--folds", "3")
    updates._PROGRAMS.clear()  # only a few are kept: their number would not tell of a new one
    command = ["score", *flags(place), "--candidate", "quick", *dates, *sizes]
    assert real.main(command) == 0
    grown = len(updates._PROGRAMS)
    return place, json.loads((place / "results" / "score-quick.json").read_text()), grown, command


def test_all_windows_share_one_program(scored):
    assert scored[2] == 1 and len(scored[1]["fold_seconds"]) == 6


def test_a_candidate_is_scored_once_on_all_years(scored):
    place, content, _, command = scored
    assert content["num_bars"] == 88  # 30, 30, and 28 up to the last date
    assert set(content["figures"]) > {"ensemble", "mean of the seeds", "seed 0", "seed 1", "equal weight", "momentum"}
    assert len(content["tickers"]) == 2 and len({t for each in content["tickers"] for t in each}) == 6
    ours, rival = (np.array(content["returns"][name]) for name in ("ensemble", "equal weight"))
    lead = content["verdict"]["against"]["equal weight"]["annual_lead"]
    assert lead == pytest.approx((ours - rival).mean() * 252, abs=1e-5)
    low, high = content["verdict"]["against"]["equal weight"]["annual_lead_95"]
    assert low <= lead <= high
    with pytest.raises(ValueError, match="trades the test years once"):
        real.main(command)
    trials = [json.loads(line) for line in (place / "trials").read_text().splitlines()]
    (row,) = [row for row in trials if "universes" in row["scored_on"]]
    assert row["name"] == "quick" and row["seeds"] == [0, 1]
    assert row["sharpe_by_seed"] == [content["figures"][f"seed {i}"]["sharpe"] for i in range(2)]


def test_what_was_trained_is_not_trained_again(scored):
    place, content, _, command = scored
    assert real.main([*command, "--again"]) == 0
    again = json.loads((place / "results" / "score-quick.json").read_text())
    assert again["returns"] == content["returns"] and again["fold_seconds"] == content["fold_seconds"]
    assert again["verdict"]["num_trials"] == content["verdict"]["num_trials"]


def test_arms_are_compared_on_the_same_paths(place, scored, tmp_path):
    place, days = place
    dates = ("--train-start", days[0], "--train-end", days[119], "--score-start", days[120], "--score-end", days[240])
    sizes = ("--paths", "3", "--path-bars", "25", "--warm-up", "30", "--before", days[250])
    before = len(trial_sharpes(place / "trials"))
    with pytest.warns(UserWarning, match="look back"):
        assert real.main(["ablate", *flags(place), *dates, *sizes]) == 0
    content = json.loads((place / "results" / "ablation-ablation.json").read_text())
    assert list(content["arms"]) == ["base", "quick"]
    base, quick = (np.array(content["arms"][name]["sharpe_by_seed_and_path"]) for name in ("base", "quick"))
    assert base.shape == (2, 3) and not np.array_equal(base[:, 0], base[:, 1])
    difference = content["arms"]["quick"]["against"]["base"]["difference"]
    assert difference == pytest.approx(quick.mean() - base.mean())
    assert "equal weight" in content["arms"]["base"]["against"] and "momentum" in content["rules"]
    assert len(trial_sharpes(place / "trials")) == before + 4
    assert real.main(["render", *_where(place), "--page", str(tmp_path / "REAL.md")]) == 0
    page = (tmp_path / "REAL.md").read_text()
    assert "## quick: " in page and "| equal weight |" in page and "less base |" in page
    assert page == render(place / "results", place / "trials")


def _where(place):
    return ["--results", str(place / "results"), "--trials", str(place / "trials")]


def test_ablations_keep_away_from_what_they_must_not_see(place):
    place, days = place
    for dates in (("--score-start", "2008-01-01"), ("--score-end", "2011-01-03"), ("--train-end", "2009-06-01")):
        with pytest.raises(ValueError, match="after those trained on and before 2011-01-01"):
            real.main(["ablate", *flags(place), *dates])
    with pytest.raises(ValueError, match="need 1260 before"):
        real.main(["score", *flags(place), "--candidate", "base", "--first-test", days[250], "--last-test", days[337]])
    with pytest.raises(ValueError, match="Say what to do"):
        real.main(["rank"])


def test_an_arm_has_no_name_of_a_rule(tmp_path):
    """Both are rows of one table."""
    file = tmp_path / "arms.json"
    file.write_text(json.dumps({"base": {}, "cash": {}}))
    with pytest.raises(ValueError, match="an arm is named 'cash', as a rule that it is compared with"):
        read_arms(str(file))


def test_arms_of_the_repository_are_settings():
    arms = read_arms(None)
    made = {name: settings_of(name, arm, "bars.parquet", 1000, 3, 0) for name, arm in arms.items()}
    hashes = {hash_of(settings, "bars.parquet") for settings in made.values()}
    # The preset as it is: `base` was scored before it was what it is now, `default` after.
    assert arms["base"] == arms["default"] == {}
    assert len(hashes) == len(arms) - 1 and made["base"].train.num_seeds == 3
    assert made["bootstrap"].data.data == "bootstrap:bars.parquet"
    elsewhere = settings_of("bootstrap", arms["bootstrap"], "/other/file.parquet", 1000, 5, 7)
    assert hash_of(elsewhere, "/other/file.parquet") == hash_of(made["bootstrap"], "bars.parquet")
    assert list(read_arms("holds cash,base")) == ["holds cash", "base"]
    with pytest.raises(ValueError, match="no arm 'nothing'"):
        read_arms("nothing")
    with pytest.raises(ValueError, match="arm odd: unknown setting 'stop_los'"):
        settings_of("odd", {"env": {"stop_los": 1}}, "f", 1000, 1, 0)
    with pytest.raises(ValueError, match="preset='none' is unknown"):
        settings_of("odd", {"preset": "none"}, "f", 1000, 1, 0)


def test_universes_are_disjoint_and_fixed():
    panel = synthetic_panel(jax.random.key(0), num_assets=12, num_bars=40)
    first, again = (Universes(universes=3, size=3, liquid=10).draw(panel) for _ in range(2))
    assert first == again and len({symbol for each in first for symbol in each}) == 9
    other = Universes(universes=3, size=3, liquid=10, split_seed=1).draw(panel)
    assert other != first
    with pytest.raises(ValueError, match="need 12 tickers; 10 of the 10"):
        Universes(universes=4, size=3, liquid=10).draw(panel)


def test_a_book_is_the_mean_of_its_accounts():
    ledgers = [make_ledger("one", seed=1), make_ledger("two", seed=2)]
    book = book_of(ledgers)
    costs = [ledger.cost[1:] / ledger.equity[:-1] for ledger in ledgers]
    np.testing.assert_allclose(book.returns, np.mean([simple_returns(each.equity) for each in ledgers], axis=0))
    np.testing.assert_allclose(book.gross - book.returns, np.mean(costs, axis=0))
    assert book.cost == pytest.approx(np.sum(costs) / 2 / (60 / 252))


def test_paired_differences_by_hand():
    own, other = np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]), np.array([[1.0, 1.0, 1.0]])
    found = paired(own, other)
    # Leads of paths .5, 1.5, 2.5; seed means 2 and 3.
    assert found["difference"] == pytest.approx(1.5)
    assert found["standard_error"] == pytest.approx(np.sqrt(1 / 3 + 0.5 / 2))
    assert paired(other, other)["p_value"] is None


def test_the_same_trial_twice_counts_once(tmp_path):
    file = tmp_path / "trials.jsonl"
    row = {"settings_hash": "a", "scored_on": "x", "seeds": [0, 1], "sharpe_by_seed": [0.5, None]}
    lines = [row, row, {**row, "scored_on": "y"}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert trial_sharpes(file) == [0.5, 0.0, 0.5, 0.0]
    assert trial_sharpes(tmp_path / "none") == []


def test_windows_of_any_bars_have_parameters_of_one_form(place):
    place, days = place
    settings = settings_of("base", SMALL, str(place / "bars.parquet"), 32, 1, 0)
    forms = []
    for start, end in ((days[0], days[99]), (days[100], days[199])):
        on = real_protocol.on_window(settings, ("A",), start, end)
        on = dataclasses.replace(on, data=dataclasses.replace(on.data, tickers=()))
        data = real_protocol.read_training(on.data)
        params = real_protocol._params(real_protocol.TradingEnv(settings.env), data, 0.0, False)
        forms.append(jax.tree.map(lambda x: (x.shape, x.dtype), params))
    assert forms[0] == forms[1]
