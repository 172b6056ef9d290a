#!/usr/bin/env bash
# For a GPU machine without a package index, with Python 3.12 and jax[cuda13], Flax, Optax, chex, Orbax, pandas, pyarrow,
# SciPy, Matplotlib, PyYAML, Rich and pytest already there: fetch the eleven wheels (10 MB) that the package still needs
# into first_light_wheels/. Run it where pip reaches the index; on the other machine:
#   python3 -m pip install --no-deps --no-index --find-links first_light_wheels first_light_wheels/*.whl
set -euo pipefail
folder=${1:-first_light_wheels}
mkdir -p "$folder"
options=(--no-deps --only-binary=:all: --python-version 3.12 --implementation cp
  --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_24_x86_64
  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform manylinux1_x86_64)
for package in distrax==0.1.9 tfp-nightly==0.26.0.dev20261027 dm-tree==0.1.10 gast==0.7.0 decorator==5.3.1 \
  tyro==1.0.17 docstring-parser==0.18.0 typeguard==4.6.1 tensorboardX==2.6.5 arch==8.0.0 beartype==0.23.1; do
  python3 -m pip download -q "${options[@]}" -d "$folder" "$package"
done
du -sh "$folder"
