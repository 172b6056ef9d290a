"""Settings of a run: precedence, what a YAML file may hold, messages, what may differ on resuming."""

import dataclasses

import pytest
import yaml

from ploutos_jax.datasets.config import DataConfig
from ploutos_jax.env.broker.fees import resolve_schedule
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.runs.presets import PRESETS
from ploutos_jax.runs.settings import RunSettings, data_of_run, differences, merge, parse_settings, read_yaml
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.run.folder import CONFIG_FILE, plain


def write(folder, text, name="settings.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def merged(text):
    return merge(RunSettings(), yaml.safe_load(text), "f.yaml")


def test_defaults_preset_file_and_flags_win_in_this_order(tmp_path):
    quick = PRESETS["quick"]["train"]
    default = parse_settings([])
    assert dataclasses.replace(default, data=DataConfig(), env=EnvConfig(), train=TrainConfig()) == RunSettings()
    assert quick["num_envs"] != TrainConfig().num_envs

    preset = parse_settings(["--preset", "quick"])
    assert (preset.train.num_envs, preset.train.total_timesteps) == (quick["num_envs"], quick["total_timesteps"])
    assert preset.train.gamma == TrainConfig().gamma

    file = write(tmp_path, "preset: quick\nnum_envs: 32\nlearning_rate: 0.0025\n")
    both = parse_settings(["--config", file])
    assert (both.train.num_envs, both.train.total_timesteps) == (32, quick["total_timesteps"])
    assert both.train.learning_rate == 0.0025

    flags = parse_settings(["--config", file, "--num-envs", "16", "--preset=default"])
    assert flags.train.num_envs == 16
    assert flags.train.total_timesteps == default.train.total_timesteps, "the flag --preset wins over the file's"
    assert flags.train.learning_rate == 0.0025
    assert flags.config == file


def test_every_setting_survives_its_own_file(tmp_path):
    settings = parse_settings(
        ["--data", "bars.csv", "--tickers", "A", "B", "--hidden", "8", "4", "--start", "2017-01-01", "--stop-loss"]
        + ["None", "--minutes", "5", "--learning-rate", "1e-5", "--torso", "flat", "--seed", "7"]
    )
    file = write(tmp_path, yaml.safe_dump(dataclasses.asdict(settings)).replace("!!python/tuple", ""))
    assert dataclasses.replace(parse_settings(["--config", file]), config=None) == settings
    assert settings.data.tickers == ("A", "B") and settings.train.policy.hidden == (8, 4)
    assert settings.env.stop_loss is None


@pytest.mark.parametrize("preset", PRESETS)
def test_the_settings_of_every_preset_survive_their_own_file(tmp_path, preset):
    settings = parse_settings(["--preset", preset, "--trailing-stop", "0.1", "--target-kl", "none", "--tickers", "A"])
    file = write(tmp_path, yaml.safe_dump(plain(dataclasses.asdict(settings)), sort_keys=False))
    assert dataclasses.replace(parse_settings(["--config", file]), config=None) == settings
    again = parse_settings(["--config", file, "--episodes", "9"])
    assert dataclasses.replace(again, config=None, episodes=None) == settings and again.episodes == 9


def test_a_written_out_fee_schedule_is_read_back(tmp_path):
    schedule = resolve_schedule("alpaca")
    file = write(tmp_path, yaml.safe_dump(plain({"fees": dataclasses.asdict(schedule)})))
    assert parse_settings(["--config", file]).env.fees == schedule
    with pytest.raises(ValueError, match="fees=.* has the wrong type"):
        parse_settings(["--config", write(tmp_path, "fees: {kinds: 3}")])


def test_presets_hold_data_and_rules_too_and_give_way_to_files_and_flags(tmp_path):
    file = write(tmp_path, "take_profit: 0.5\nlearning_rate: 0.5\n")
    settings = parse_settings(["--preset", "ploutos", "--config", file, "--learning-rate", "0.25"])
    assert settings.env.stop_loss == 0.02 and settings.data.features == "standard"
    assert settings.env.take_profit == 0.5 and settings.train.learning_rate == 0.25


@pytest.mark.parametrize("flags", [["--timesteps", "640000"], ["--timesteps=640000"], ["--total_timesteps", "640000"]])
def test_steps_of_the_run_have_two_names(tmp_path, flags):
    assert parse_settings(flags).train.total_timesteps == 640_000
    assert parse_settings(["--config", write(tmp_path, "timesteps: 640000")]).train.total_timesteps == 640_000


def test_number_and_size_of_minibatches_take_each_others_place(tmp_path):
    ploutos = ["--preset", "ploutos"]
    assert parse_settings([*ploutos, "--num-minibatches", "8"]).train.num_minibatches == 8
    assert parse_settings([*ploutos, "--num-minibatches", "8"]).train.batch_size is None
    assert parse_settings([*ploutos, "--batch-size", "4096"]).train.num_minibatches == 16
    assert parse_settings([*ploutos, "--num-envs", "16"]).train.num_minibatches == 16
    file = write(tmp_path, "num_minibatches: 8")
    assert parse_settings([*ploutos, "--config", file]).train.num_minibatches == 8
    assert parse_settings(["--config", file, "--batch-size", "256"]).train.batch_size == 256
    with pytest.raises(ValueError, match="num_minibatches=8 and batch_size=2048 contradict each other"):
        parse_settings(["--config", write(tmp_path, "num_minibatches: 8\nbatch_size: 2048")])


@pytest.mark.parametrize(
    "text",
    [
        "num_envs: 64\nepisode_length: 100\ntorso: flat\nstart: 2017-01-01",
        "train: {num_envs: 64, policy: {torso: flat}}\nenv: {episode_length: 100}\ndata: {start: 2017-01-01}",
        "num-envs: 64\nepisode-length: 100\ntrain:\n  torso: flat\ndata:\n  start: '2017-01-01'",
    ],
    ids=["flat", "nested", "dashes and both"],
)
def test_keys_may_be_flat_or_nested(text):
    settings = merged(text)
    assert settings.train.num_envs == 64
    assert settings.env.episode_length == 100
    assert settings.train.policy.torso == "flat"
    assert settings.data.start == "2017-01-01"


@pytest.mark.parametrize("text", ["data: bars.csv\nstart: 2017-01-01", "start: 2017-01-01\ndata: bars.csv"])
def test_data_may_be_the_file_alone_beside_its_section(text):
    data = merged(text).data
    assert (data.data, data.start) == ("bars.csv", "2017-01-01")


def test_sections_left_empty_change_nothing():
    assert merged("train:\nenv:\n") == RunSettings()
    assert merged("{}") == RunSettings()


def test_yaml_reads_dates_and_exponents_its_own_way():
    settings = merged(
        "learning_rate: 1e-4\nstart: 2017-01-01\nend: 2018-02-03 15:30:00\nspread_bps: 3\nstop_loss: 5e-2"
    )
    assert settings.train.learning_rate == 1e-4
    assert settings.data.start == "2017-01-01"
    assert settings.data.end == "2018-02-03T15:30:00"
    assert settings.env.spread_bps == 3.0 and isinstance(settings.env.spread_bps, float)
    assert settings.env.stop_loss == 0.05


def test_lists_become_tuples():
    settings = merged("hidden: [32, 16, 8]\ntickers: [AAPL, 'ON']\ntrain: {rollout_length: null, target_kl: 0.02}")
    assert settings.train.policy.hidden == (32, 16, 8)
    assert settings.data.tickers == ("AAPL", "ON")
    assert settings.train.rollout_length is None and settings.train.target_kl == 0.02
    assert hash(settings.train) is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("num_env: 8", "f.yaml: unknown setting 'num_env'; did you mean 'num_envs'"),
        ("env: {take_profits: 0.1}", "unknown setting 'take_profits'; did you mean 'take_profit'"),
        ("train: {policy: {layers: [3]}}", "f.yaml: unknown setting 'layers'"),
        ("5: 6", "unknown setting 5"),
        ("num_envs: many", "f.yaml: num_envs='many' has the wrong type; it takes int"),
        ("num_envs: true", "num_envs=True has the wrong type"),
        ("num_envs: 8.0", "num_envs=8.0 has the wrong type"),
        ("num_envs: null", "num_envs=None has the wrong type"),
        ("learning_rate: fast", "learning_rate='fast' has the wrong type; it takes float"),
        ("learning_rate: true", "learning_rate=True has the wrong type"),
        ("deterministic: 1", "deterministic=1 has the wrong type; it takes bool"),
        ("hidden: 64", "hidden=64 has the wrong type"),
        ("hidden: [64, wide]", "hidden=[64, 'wide'] has the wrong type"),
        ("tickers: [AAPL, ON]", "tickers=['AAPL', True] has the wrong type"),
        ("torso: round", "torso='round' has the wrong type; it takes one of 'shared', 'flat'"),
        ("start: 2017", "start=2017 has the wrong type"),
        ("start: soon", "f.yaml: start='soon' is not a date"),
        ("train: fast", "f.yaml: train is a section; give its settings, found 'fast'"),
        ("data: 5", "data=5 has the wrong type"),
        ("spread_bps: -1", "f.yaml: spread_bps=-1.0 must not be negative"),
        ("num_envs: 6\nrollout_length: 8", "f.yaml: num_minibatches=4 does not divide"),
    ],
)
def test_what_is_wrong_is_named(text, said):
    with pytest.raises(ValueError) as error:
        merged(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("preset: qick", "preset='qick' is unknown; did you mean 'quick'"),
        ("preset: [quick]", "preset=['quick'] is unknown"),
        ("minutes: .nan", "minutes=nan must be above 0"),
        ("entropy_coef: .inf", "entropy_coef=inf is not a finite number"),
    ],
)
def test_what_is_wrong_in_the_whole_is_named(tmp_path, text, said):
    with pytest.raises(ValueError) as error:
        parse_settings(["--config", write(tmp_path, text)])
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"), [("- a\n- b", "found list"), ("[a", "is not a YAML file"), ("words", "found str")]
)
def test_files_that_hold_no_settings(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(ValueError) as error:
        read_yaml(path)
    assert said in str(error.value) and path in str(error.value)


def test_missing_and_empty_files(tmp_path):
    assert read_yaml(write(tmp_path, "# nothing\n")) == {}
    with pytest.raises(ValueError, match="No such configuration file"):
        read_yaml(str(tmp_path / "nowhere.yaml"))
    with pytest.raises(ValueError, match="No such configuration file"):
        read_yaml(str(tmp_path))


@pytest.fixture
def run_folder(tmp_path):
    settings = parse_settings(["--data", "bars.csv", "--num-envs", "64", "--tickers", "A"])
    text = yaml.safe_dump(dataclasses.asdict(settings)).replace("!!python/tuple", "")
    write(tmp_path, text, CONFIG_FILE)
    return tmp_path


def test_differences_name_what_changed(run_folder):
    same = ["--data", "bars.csv", "--num-envs", "64", "--tickers", "A"]
    assert differences(parse_settings(same), run_folder) == []
    of_one_call = ["--resume", "--quiet", "--minutes", "3", "--device", "cpu", "--output", "elsewhere"]
    assert differences(parse_settings(same + of_one_call), run_folder) == []
    changed = parse_settings([*same[:-1], "B", "--seed", "5"])
    assert sorted(differences(changed, run_folder)) == ["seed: 0 -> 5", "tickers: ('A',) -> ('B',)"]


def test_data_of_a_run(run_folder, tmp_path_factory):
    assert data_of_run(run_folder) == DataConfig(data="bars.csv", tickers=("A",))
    assert data_of_run(run_folder, data="new.csv", tickers=()) == DataConfig(data="new.csv")
    from_python = tmp_path_factory.mktemp("from_python")
    write(from_python, "train: {num_envs: 64}", CONFIG_FILE)
    with pytest.raises(ValueError, match="does not say which data"):
        data_of_run(from_python)
    assert data_of_run(from_python, data="bars.csv") == DataConfig(data="bars.csv")
    with pytest.raises(ValueError, match="No such configuration file"):
        data_of_run(from_python / "nowhere")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("[AAA, ON]", ("AAA", "ON")),
        ("[NO, off, y, 600519]", ("NO", "off", "y", "600519")),
        ("[000001, 1e3, 0x10, 1_0]", ("000001", "1e3", "0x10", "1_0")),
        ("\n- TRUE\n- 2024-01-02\n- 12:30:00", ("TRUE", "2024-01-02", "12:30:00")),
    ],
)
@pytest.mark.parametrize("section", ["", "data:\n  data: bars.csv\n  "])
def test_tickers_in_yaml_are_as_written(tmp_path, written, read, section):
    text = f"{section}tickers: {written}".replace("\n-", "\n  -" if section else "\n-")
    path = write(tmp_path, text if section else f"data: bars.csv\n{text}", "c.yaml")
    assert parse_settings(["--config", str(path)]).data.tickers == read


def test_columns_of_a_file_are_a_setting(tmp_path):
    mapping = "close=Close/Last,date=Date"
    assert parse_settings(["--data", "x.csv", "--columns", mapping]).data.columns == mapping
    path = write(tmp_path, f"data: x.csv\ncolumns: {mapping}\n", "c.yaml")
    assert parse_settings(["--config", str(path)]).data.columns == mapping
    with pytest.raises(ValueError, match="did you mean 'close'"):
        DataConfig(data="x.csv", columns="closing=Last")


def test_sizes_that_are_auto_are_to_be_measured(tmp_path):
    found = parse_settings(["--num-envs", "auto", "--minibatches=auto", "--seed", "3"])
    assert found.measure == ("num_envs", "num_minibatches") and found.train.seed == 3
    assert found.train.batch_size is None, "a size of minibatches would set their number"
    file = tmp_path / "run.yaml"
    file.write_text("train: {num_envs: auto, seed: 4}\n", encoding="utf-8")
    assert parse_settings(["--config", str(file)]).measure == ("num_envs",)
    assert parse_settings(["--config", str(file), "--num-envs", "8"]).measure == ()
    with pytest.raises(SystemExit):
        parse_settings(["--seed", "auto"])
