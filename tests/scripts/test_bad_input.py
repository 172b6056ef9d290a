"""Bad input to the scripts: exit code 2, one clear message, nothing written or changed."""

import shutil

import pytest

from tests.scripts.command_line import call, snapshot, start, train_args, wait, write_bars

YAML_FILES = {
    "typo.yaml": "learning_rat: 1e-4\n",
    "nested_typo.yaml": "train:\n  policy:\n    torzo: flat\n",
    "wrong_type.yaml": "train:\n  num_envs: many\n",
    "half.yaml": "num_envs: 8.5\n",
    "list.yaml": "- num_envs\n- 8\n",
    "broken.yaml": "train: {num_envs: 8\n",
    "section.yaml": "env: 5\n",
    "reward.yaml": "reward: sharp\n",
    "preset.yaml": "preset: [quick]\n",
    "choice.yaml": "torso: round\n",
    "date.yaml": "start: someday\n",
    "batch.yaml": "num_minibatches: 2\nbatch_size: 16\nnum_envs: 8\nrollout_length: 8\n",
    "old.yaml": "preset: plutos\n",
    "alias.yaml": "timesteps: many\n",
    "fees.yaml": "fees: {kinds: 3}\n",
    "rule.yaml": "stop_loss: tight\n",
}


@pytest.fixture(scope="module")
def place(finished, tmp_path_factory):
    """A folder with a finished run `run`, one without checkpoints, a report, good and bad files."""
    place = tmp_path_factory.mktemp("bad_input")
    bars = write_bars(place / "bars.csv")
    write_bars(place / "others.csv", tickers=("XXX", "YYY", "ZZZ"))
    lines = bars.read_text().splitlines()
    (place / "no_close.csv").write_text("\n".join(line.rsplit(",", 2)[0] for line in lines))
    (place / "words.csv").write_text("\n".join([*lines[:40], lines[40].replace(lines[40].split(",")[2], "cheap")]))
    (place / "empty.csv").write_text("")
    (place / "header.csv").write_text(lines[0] + "\n")
    (place / "bars.doc").write_text("no table")
    (place / "empty_folder").mkdir()
    (place / "file").write_text("not a folder")
    (place / "members.csv").write_text("ticker,start,end\nQQQ,2015-01-01,\n")
    for name, text in YAML_FILES.items():
        (place / name).write_text(text)
    for name in ("run", "no_steps"):
        copy_run(finished, place / name)
    for step in (place / "no_steps" / "checkpoints").iterdir():
        shutil.rmtree(step)
    (place / "report").mkdir()
    (place / "report" / "metrics.json").write_text("{}")
    return place


def copy_run(finished, folder):
    """Copy a run as if it had been started beside `bars.csv`."""
    shutil.copytree(finished.folder, folder)
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    (folder / "config.yaml").write_text(config.replace(str(finished.data), "bars.csv"), encoding="utf-8")


TRAIN_CASES = {
    "data file missing": ("--data nowhere.csv", "No such file or folder: nowhere.csv"),
    "data of no known kind": ("--data bars.doc", "bars.doc is of no known kind"),
    "data folder empty": ("--data empty_folder", "The folder empty_folder holds no data file"),
    "column missing": ("--data no_close.csv", "no_close.csv has no close column"),
    "words for numbers": ("--data words.csv", "words.csv, column 'open', row 40 (line 41)"),
    "file empty": ("--data empty.csv", "empty.csv is empty"),
    "file without rows": ("--data header.csv", "header.csv holds no rows"),
    "ticker unknown": ("--tickers AAA NOPE", "Unknown ticker: NOPE"),
    "synthetic without assets": ("--data synthetic:0", "synthetic:N"),
    "universe missing": ("--universe nowhere.csv", "No such file: nowhere.csv"),
    "universe of others": ("--universe members.csv", "members.csv knows none of the tickers"),
    "sectors missing": ("--sectors nowhere.csv", "No such file: nowhere.csv"),
    "time zone unknown": ("--exchange-timezone Mars", "'Mars' is no IANA time zone"),
    "start after end": ("--start 2016-01-01 --end 2015-06-01", "start=2016-01-01 lies after end=2015-06-01"),
    "start is no date": ("--start someday", "start='someday' is not a date"),
    "start as a number": ("--start 20150601", "start='20150601' is not a date"),
    "no date at all": ("--end NaT", "end='NaT' is not a date"),
    "span without bars": ("--start 2030-01-01", "holds no bar; the data covers 2015-01-05"),
    "scored in sample": ("--eval-start 2015-06-01", "lies within the training bars, 2015-01-05 to"),
    "scored on too few bars": ("--eval-start 2016-07-01 --eval-end 2016-07-04", "give at least"),
    "scores end before they start": (
        "--eval-start 2016-07-01 --eval-end 2016-01-01",
        "eval_start=2016-07-01 lies after",
    ),
    "checkpoints too often": ("--checkpoint-every 0", "checkpoint_every=0 must be at least 1"),
    "no checkpoint kept": ("--keep-checkpoints 0", "keep_checkpoints=0 must be at least 1"),
    "scores too often": ("--eval-every 0", "eval_every=0 must be at least 1"),
    "holdout is no share": ("--holdout 20", "holdout=20.0 must lie in [0, 1)"),
    "features unknown": ("--features standart", "did you mean 'standard'"),
    "features need more bars": (
        "--end 2015-12-01 --features standard",
        "bars to warm up, but up to",
    ),
    "features nearest": ("--end 2015-03-20 --features core", "or features=sentio"),
    "dropout is no share": ("--dropout 1.5", "dropout=1.5 must lie in [0, 1)"),
    "size of batch not divisible": ("--batch-size 17", "The nearest size that does is 16"),
    "size of batch too large": ("--batch-size 4096", "The nearest size that does is 64"),
    "size and number of minibatches": ("--config batch.yaml", "num_minibatches=2 and batch_size=16 contradict"),
    "KL of zero": ("--target-kl 0", "target_kl=0.0 must be above 0, such as 0.02"),
    "values clipped at zero": ("--value-clip 0", "value_clip=0.0 must be above 0"),
    "clip range negative": ("--clip-range -0.1", "clip_range=-0.1 must be above 0"),
    "discount above 1": ("--gamma 1.5", "gamma=1.5 must lie in [0, 1]"),
    "lambda below 0": ("--gae-lambda -1", "gae_lambda=-1.0 must lie in [0, 1]"),
    "entropy negative": ("--entropy-coef -0.1", "entropy_coef=-0.1 must not be negative"),
    "gradient of norm 0": ("--max-grad-norm 0", "max_grad_norm=0.0 must be above 0"),
    "no environments": ("--num-envs 0", "num_envs=0 must be at least 1"),
    "no epochs": ("--num-epochs 0", "num_epochs=0 must be at least 1"),
    "no seeds": ("--num-seeds 0", "num_seeds=0 must be at least 1"),
    "rollout of no step": ("--rollout-length 0", "rollout_length=0 must be at least 1"),
    "layers of no unit": ("--hidden 0", "must be layer widths of at least 1"),
    "ratio and credit disagree": ("--ratio joint", "it needs credit='joint' too"),
    "no episodes": ("--episodes 0", "episodes=0 must be at least 1"),
    "episodes as a fraction": ("--episodes 2.5", "--episodes"),
    "episode of no bar": ("--episode-length 0", "episode_length=0 must be at least 1 bar"),
    "no cash": ("--initial-cash 0", "initial_cash=0.0 must be above 0 dollars"),
    "buys above all": ("--buy-pct 20", "buy_pct=20.0 must lie in (0, 1]: it is a fraction"),
    "reward of no name": ("--reward sharpe", "reward='sharpe' is unknown"),
    "weight of a reward": ("--reward x*turnover", "'x' is not a finite number"),
    "fees of no name": ("--fees alpacca", "fees='alpacca' is unknown"),
    "fees of no day": ("--fees alpaca@someday", "'someday' is not a date"),
    "carry without a cap": ("--remainder carry", "remainder='carry' has nothing to carry"),
    "settlement of a fraction": ("--settlement-days 9", "settlement_days=9 must be a whole number from 0 to 5"),
    "costs above all": ("--slippage-bps 20000", "must stay below 10,000"),
    "choice unknown": ("--fill yesterday", "--fill"),
    "preset in a file unknown": ("--config old.yaml", "preset='plutos' is unknown; did you mean 'ploutos'"),
    "duplicate words": ("--config alias.yaml", "total_timesteps='many' has the wrong type"),
    "fees written wrongly": ("--config fees.yaml", "fees={'kinds': 3} has the wrong type"),
    "rule of another type": ("--config rule.yaml", "stop_loss='tight' has the wrong type; it takes"),
    "episode too long": ("--episode-length 5000", "An episode of 5000 bars does not fit"),
    "preset unknown": ("--preset quik", "preset='quik' is unknown; did you mean 'quick'"),
    "flag unknown": ("--num-env 8", "--num-env"),
    "flag of wrong type": ("--num-envs many", "--num-envs"),
    "flag without value": ("--config", "--config"),
    "batch not divisible": ("--num-envs 7", "num_minibatches=2 does not divide"),
    "spread negative": ("--spread-bps -1", "spread_bps=-1.0 must not be negative"),
    "stop above 1": ("--stop-loss 2", "stop_loss=2.0 must lie in (0, 1)"),
    "rate not finite": ("--learning-rate inf", "learning_rate=inf is not a finite number"),
    "no timesteps": ("--total-timesteps 0", "total_timesteps=0 must be at least 1"),
    "no minutes": ("--minutes 0", "minutes=0.0 must be above 0"),
    "no GPU": ("--device gpu", "--device gpu, but JAX finds no GPU"),
    "configuration missing": ("--config nowhere.yaml", "No such configuration file: nowhere.yaml"),
    "key unknown": ("--config typo.yaml", "typo.yaml: unknown setting 'learning_rat'; did you mean 'learning_rate'"),
    "nested key unknown": ("--config nested_typo.yaml", "unknown setting 'torzo'; did you mean 'torso'"),
    "value of wrong type": ("--config wrong_type.yaml", "wrong_type.yaml: num_envs='many' has the wrong type"),
    "fraction for a count": ("--config half.yaml", "num_envs=8.5 has the wrong type; it takes int"),
    "value not among choices": ("--config choice.yaml", "torso='round' has the wrong type; it takes one of"),
    "date that is none": ("--config date.yaml", "date.yaml: start='someday' is not a date"),
    "list for settings": ("--config list.yaml", "list.yaml must hold settings as `name: value`"),
    "no YAML": ("--config broken.yaml", "broken.yaml is not a YAML file"),
    "section of wrong type": ("--config section.yaml", "env is a section"),
    "reward unknown": ("--config reward.yaml", "reward='sharp' is unknown"),
    "preset of wrong type": ("--config preset.yaml", "preset=['quick'] is unknown"),
    "output holds a run": ("--output run", "The output folder run already holds a run"),
    "output is a file": ("--output file", "The output file is a file; give a folder"),
    "brackets in the output": ("--output new[1]", "has square brackets in its path"),
    "nothing to resume": ("--output new --resume", "There is no run to resume in new"),
    "resume without checkpoint": ("--output no_steps --resume", "There is no checkpoint to resume from"),
    "resume with other settings": ("--output run --resume --num-epochs 2", "num_epochs: 4 -> 2"),
    "resume on other data": (
        "--output run --resume --data others.csv",
        "trained on other data: symbols was 3 names (AAA",
    ),
}


@pytest.mark.parametrize(("flags", "said"), TRAIN_CASES.values(), ids=TRAIN_CASES)
def test_train_refuses(place, flags, said):
    before = snapshot(place)
    outcome = call("train", [*train_args("bars.csv", "new", 4), *flags.split()], place)
    check_refusal(outcome, said)
    assert snapshot(place) == before


EVALUATE_CASES = {
    "run missing": ("--checkpoint nowhere", "No checkpoint in"),
    "run without steps": ("--checkpoint no_steps", "No finished checkpoint in"),
    "step unknown": ("--checkpoint run --step 77", "No checkpoint of step 77"),
    "step and best": ("--checkpoint run --step 4 --best", "name two checkpoints"),
    "no run given": ("", "--checkpoint"),
    "one run to compare": ("--compare run", "two and more as --compare"),
    "run and comparison": ("--checkpoint run --compare run no_steps", "two and more as --compare"),
    "run to compare missing": ("--compare run nowhere", "No checkpoint in"),
    "tickers of others": ("--checkpoint run --data others.csv", "The data lacks 3 of the agent's 3 tickers"),
    "data missing": ("--checkpoint run --data nowhere.csv", "No such file or folder: nowhere.csv"),
    "start is no date": ("--checkpoint run --start someday", "start='someday' is not a date"),
    "start as a number": ("--checkpoint run --start 20150601", "start='20150601' is not a date"),
    "start after end": ("--checkpoint run --start 2016-05-01 --end 2016-04-01", "holds no bar"),
    "span without bars": ("--checkpoint run --start 2030-01-01", "holds no bar; the data covers 2015-01-05"),
    "span of one bar": ("--checkpoint run --start 2016-05-02 --end 2016-05-02", "a backtest needs at least two"),
    "benchmark unknown": ("--checkpoint run --benchmark NOPE", "Unknown ticker: NOPE"),
    "ticker to plot unknown": ("--checkpoint run --tickers AAA,NOPE", "'NOPE' to plot is not among the 3"),
    "universe missing": ("--checkpoint run --universe nowhere.csv", "No such file: nowhere.csv"),
    "report exists": ("--checkpoint run --output report", "The folder report already holds a report"),
    "report is a file": ("--checkpoint run --output file", "The report folder file is a file"),
    "flag unknown": ("--checkpoint run --stepp 3", "--stepp"),
    "no GPU": ("--checkpoint run --device gpu", "--device gpu, but JAX finds no GPU"),
}


@pytest.mark.parametrize(("flags", "said"), EVALUATE_CASES.values(), ids=EVALUATE_CASES)
def test_evaluate_refuses(place, flags, said):
    before = snapshot(place)
    outcome = call("evaluate", ["--output", "new", *flags.split()], place)
    check_refusal(outcome, said)
    assert snapshot(place) == before


def check_refusal(outcome, said):
    assert outcome.code == 2, outcome
    assert said in outcome.message, outcome.err
    assert "Error" not in outcome.out and "Score" not in outcome.out
    assert "Traceback" not in outcome.err
    assert outcome.message.count("Error: ") + outcome.message.lower().startswith(("usage", "value error")) <= 1


def test_resume_refuses_changed_data(finished, tmp_path):
    copy_run(finished, tmp_path / "run")
    write_bars(tmp_path / "bars.csv", tickers=("AAA", "BBB", "DDD"))
    before = snapshot(tmp_path)
    outcome = call("train", train_args("bars.csv", "run", 4, "--resume"), tmp_path)
    check_refusal(outcome, "symbols was 3 names (AAA, BBB, CCC")
    assert snapshot(tmp_path) == before


def test_run_from_python_does_not_name_its_data(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text("train:\n  num_envs: 8\n")
    before = snapshot(tmp_path)
    outcome = call("evaluate", ["--checkpoint", "run", "--output", "new"], tmp_path)
    check_refusal(outcome, "does not say which data the run was trained on")
    assert snapshot(tmp_path) == before


@pytest.mark.thorough
def test_a_process_ends_with_code_2(place):
    before = snapshot(place)
    outcome = wait(start("train", ["--data", "nowhere.csv", "--output", "new"], place))
    check_refusal(outcome, "Error: No such file or folder: nowhere.csv")
    assert len(outcome.err.splitlines()) == 1
    assert snapshot(place) == before


DOWNLOAD_CASES = {
    "no tickers": ("--tickers , --output new.parquet", "tickers names none"),
    "tickers not given": ("--output new.parquet", "--tickers"),
    "output not given": ("--tickers AAA", "--output"),
    "output of another kind": ("--tickers AAA --output new.csv", "output=new.csv must end in .parquet"),
    "interval unknown": ("--tickers AAA --output new.parquet --interval 1day", "interval='1day' is unknown"),
    "period unknown": ("--tickers AAA --output new.parquet --period 5years", "period='5years' is unknown"),
    "flag unknown": ("--tickers AAA --output new.parquet --perod 5y", "--perod"),
    "retries negative": ("--tickers AAA --output new.parquet --retries -1", "must not be negative"),
    "list missing": ("--tickers SP500 --output new.parquet --list-url nowhere.csv", "cannot be read"),
    "file of another kind": ("--tickers AAA --output bars.txt.parquet", "cannot be read as Parquet"),
    "vendor out of reach": (
        "--tickers AAA --output new.parquet --retries 0 --base-url http://127.0.0.1:9",
        "Not a single bar was served, nothing is written. AAA: ",
    ),
}


@pytest.mark.parametrize(("flags", "said"), DOWNLOAD_CASES.values(), ids=DOWNLOAD_CASES)
def test_download_refuses(place, flags, said):
    pytest.importorskip("yfinance")
    (place / "bars.txt.parquet").write_text("no table")
    before = snapshot(place)
    outcome = call("download", flags.split(), place)
    check_refusal(outcome, said)
    assert snapshot(place) == before
