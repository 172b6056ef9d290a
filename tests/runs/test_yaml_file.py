"""YAML files from anybody: aliases without end, numbers without end, days that are none; all refused at once."""

import time

import pytest

from ploutos_jax.runs.settings import parse_settings
from ploutos_jax.runs.yaml_file import read_yaml
from tests.scripts.command_line import call

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
KEYS = "a0: &a0 {k0: 1, k1: 2}\n" + "".join(f"a{i}: &a{i} {{k0: *a{i - 1}, k1: *a{i - 1}}}\n" for i in range(1, 40))
MERGED = "a0: &a0 {k: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 9)}], k{i}: 1}}\n" for i in range(1, 9)
)

FILES = {
    "aliases of lists": (BOMB, "its aliases stand for more than 100,000 values"),
    "aliases of mappings": (KEYS, "its aliases stand for more than 100,000 values"),
    "merged aliases": (MERGED, "its aliases stand for more than 100,000 values"),
    "a value that holds itself": ("data: &a [*a]\n", "a value holds itself"),
    "a mapping that holds itself": ("data: &a {b: *a}\n", "a value holds itself"),
    "5,000 digits": ("num_envs: 1" + "0" * 5000 + "\n", "a number of 5001 digits is none"),
    "100,000 digits in base 2": ("num_envs: 0b" + "1" * 100_000 + "\n", "a number of 100002 digits is none"),
    "month 13": ("end: 2020-13-45\n", "2020-13-45 is no date: month must be in 1..12"),
    "30 February": ("start: 2020-02-30\n", "2020-02-30 is no date: day is out of range"),
    "hour 25": ("start: 2020-02-03 25:00:00\n", "2020-02-03 25:00:00 is no date: hour must be in 0..23"),
    "brackets without end": ("data: " + "[" * 20_000 + "\n", "brackets are nested too deeply|not a YAML file"),
    "two megabytes": ("# x\n" * 500_000, "has 2,000,000 bytes, settings at most"),
    "zero bytes": ("\0" * 100, "is not a YAML file"),
    "Python objects": ("data: !!python/object/apply:os.system [echo]\n", "could not determine a constructor"),
}


@pytest.mark.parametrize(("text", "said"), FILES.values(), ids=FILES)
def test_a_hostile_file_is_refused_at_once_in_one_line(tmp_path, text, said):
    (tmp_path / "c.yaml").write_text(text)
    began = time.monotonic()
    with pytest.raises(ValueError, match=said) as refused:
        read_yaml(str(tmp_path / "c.yaml"))
    assert time.monotonic() - began < 10
    assert len(str(refused.value)) < 500 and "\n" not in str(refused.value)


SETTINGS = {
    "a number of 399 digits": ("num_envs: 1" + "0" * 398, "num_envs=a number of about 399 digits must be"),
    "the same where a float is wanted": ("learning_rate: 1" + "0" * 398, "learning_rate"),
    "many lists for a number": ("num_envs: " + str([["x"] * 50] * 50), "num_envs=.* has the wrong type; it takes int"),
    "text of a megabyte": ("num_envs: " + "x" * 10**6, "num_envs=.* has the wrong type; it takes int"),
    "a name of a megabyte": ("? " + "x" * 10**5 + "\n: 1", "unknown setting 'x"),
    "scaling that is text": ("reward_scaling: much", "reward_scaling='much' has the wrong type; it takes float"),
    "scaling that is no number": ("reward_scaling: .nan", "reward_scaling=nan must be a finite number"),
    "bars beyond all integers": ("min_holding_bars: 1099511627776", "min_holding_bars=1099511627776 must be"),
    "rate of a megabyte": ("cash_rate: 1.0e+30", r"cash_rate=1e\+30 must be a number in \[0, 10\]"),
    "a day that is text": ("start: '2020-02-30'", "2020-02-30"),
}


@pytest.mark.parametrize(("text", "said"), SETTINGS.values(), ids=SETTINGS)
def test_what_is_wrong_in_a_file_is_said_in_short(tmp_path, text, said):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError, match=said) as refused:
        parse_settings(["--config", str(tmp_path / "c.yaml")])
    assert len(str(refused.value)) < 500 and "\n" not in str(refused.value)


@pytest.mark.parametrize("flag", ["--num-envs", "--learning-rate", "--min-holding-bars", "--hidden", "--minutes"])
def test_a_flag_of_5000_digits_is_refused_in_short(tmp_path, flag):
    outcome = call("train", [flag, "1" + "0" * 5000, "--output", "run"], tmp_path)
    assert outcome.code == 2 and "Traceback" not in outcome.err
    assert flag[2:].replace("-", "_") in outcome.message.replace("-", "_")
    assert list(tmp_path.iterdir()) == []


def test_aliases_that_people_use_are_read(tmp_path):
    (tmp_path / "c.yaml").write_text("x: &x {a: 1, b: [1, 2]}\ny: {<<: *x, a: 3}\nz: [*x, *x]\n")
    assert read_yaml(str(tmp_path / "c.yaml")) == {
        "x": {"a": 1, "b": [1, 2]},
        "y": {"a": 3, "b": [1, 2]},
        "z": [{"a": 1, "b": [1, 2]}] * 2,
    }
