"""What is loaded when: the package alone loads nothing, the simulator nothing but JAX and Flax, the command nothing.

Structure is asked for, not time: which modules a fresh process holds.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ploutos_jax

ROOT = Path(__file__).resolve().parents[1]

HEAVY = {
    *("arch", "chex", "distrax", "matplotlib", "optax", "orbax", "pandas", "pyarrow", "scipy.cluster", "scipy.linalg"),
    *("tensorboardX", "tensorflow_probability", "tyro"),
}
JAX = {"flax", "jax", "jaxlib", "numpy"}
FIRST_USE = {
    "import ploutos_jax": JAX | HEAVY,
    "import ploutos_jax; dir(ploutos_jax); ploutos_jax.__version__": JAX | HEAVY,
    "import ploutos_jax as pj; pj.TradingEnv(pj.EnvConfig()).default_params": HEAVY,
    "import ploutos_jax as pj; pj.train; pj.TrainConfig(); pj.restore": HEAVY - {"optax"},
    "import ploutos_jax as pj; pj.run_experiment; pj.backtest": {
        "distrax",
        "matplotlib",
        "orbax",
        "tensorboardX",
        "arch",
    },
    "import ploutos_jax.cli.train": {"distrax", "matplotlib", "orbax", "tensorboardX", "arch"},
}
CALLS = {
    ("--help",): (0, "usage: ploutos COMMAND"),
    ("--version",): (0, f"ploutos {ploutos_jax.__version__}"),
    (): (2, "usage: ploutos COMMAND"),
    ("trian", "--num-envs", "8"): (2, "did you mean 'train'?"),
    ("--num-envs", "8"): (2, "option --num-envs is unknown before a command"),
}


def loaded_after(code: str) -> tuple[set[str], str]:
    """Return the heavy modules that a fresh process holds after some code, and what it printed."""
    listing = f"import json, sys; print('\\n' + json.dumps([m for m in {sorted(HEAVY | JAX)} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{listing}"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    *said, found = done.stdout.splitlines()
    return set(json.loads(found)), "\n".join(said) + done.stderr


@pytest.mark.thorough
@pytest.mark.parametrize(("code", "unloaded"), FIRST_USE.items(), ids=FIRST_USE)
def test_what_is_not_used_is_not_loaded(code, unloaded):
    assert loaded_after(code)[0] & unloaded == set()


@pytest.mark.parametrize(("args", "expected"), CALLS.items(), ids=map(str, CALLS))
def test_the_command_answers_without_jax(args, expected):
    found, said = loaded_after(f"from ploutos_jax.cli.main import main\nprint(main({list(args)}))")
    assert found == set()
    assert expected[1] in said and str(expected[0]) in said.splitlines()


@pytest.mark.parametrize("name", ploutos_jax._NAMES)
def test_every_public_name_resolves(name):
    assert name in dir(ploutos_jax)
    value = getattr(ploutos_jax, name)
    module = f"ploutos_jax.{ploutos_jax._NAMES[name]}"
    assert getattr(value, "__module__", module) == module, "the name is listed with a module that only imports it"


def test_every_public_name_is_shown_to_type_checkers():
    source = (ROOT / "ploutos_jax" / "__init__.py").read_text(encoding="utf-8")
    for name, module in ploutos_jax._NAMES.items():
        assert f"    from ploutos_jax.{module} import {name} as {name}\n" in source
    assert source.count("    from ploutos_jax.") == len(ploutos_jax._NAMES)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'ploutos_jax' has no attribute 'tradingenv'"):
        ploutos_jax.tradingenv  # noqa: B018


def test_the_version_has_one_source():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"] and "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "ploutos_jax.version.__version__"
    assert f"\nversion: {ploutos_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert project["project"]["scripts"]["ploutos"] == "ploutos_jax.cli.main:main"


@pytest.mark.thorough
@pytest.mark.parametrize(
    "before", ["", "import ploutos_jax.train.loop", "from ploutos_jax.train import config", "pj.TrainConfig()"]
)
def test_a_public_function_is_not_hidden_by_a_package_of_its_name(before):
    code = f"import ploutos_jax as pj\n{before}\nimport ploutos_jax.train.config\nprint(pj.train.__module__)"
    assert "ploutos_jax.train.loop" in loaded_after(code)[1]
