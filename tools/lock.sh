#!/usr/bin/env bash
# Resolves pyproject.toml anew in an empty environment and writes requirements.lock.
set -euo pipefail
cd "$(dirname "$0")/.."
environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
python3 -m venv "$environment"
"$environment/bin/python" -m pip install --quiet --upgrade "pip>=25"
"$environment/bin/python" -m pip install --quiet torch==2.13.0 zarr==3.1.6
"$environment/bin/python" -m pip install --quiet --editable ".[emoji,dev]"
{
  echo "# Everything that make install installs, at the version it was tested with; written by tools/lock.sh."
  # A local build's suffix (+cpu) isn't a version that others have.
  "$environment/bin/python" -m pip freeze --exclude-editable --exclude pip --exclude reelstore | sed 's/+cpu$//'
} > requirements.lock
