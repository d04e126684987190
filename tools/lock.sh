#!/usr/bin/env bash
# Resolves pyproject.toml anew in empty environments and writes requirements.lock and requirements-bench.lock.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONPATH

# lock FILE EXTRAS COMMENT
lock() {
  local environment
  environment=$(mktemp -d)
  python3 -m venv "$environment"
  "$environment/bin/python" -m pip install --quiet --upgrade "pip>=25"
  "$environment/bin/python" -m pip install --quiet torch==2.13.0 zarr==3.1.6
  "$environment/bin/python" -m pip install --quiet --editable ".[$2]" torch==2.13.0 zarr==3.1.6
  {
    echo "# $3; written by tools/lock.sh."
    # A local build's suffix (+cpu) isn't a version that others have. litdata asks for torchvision without needing it here,
    # and its builds don't go with every build of torch.
    "$environment/bin/python" -m pip freeze --all --exclude-editable --exclude pip --exclude reelstore --exclude torchvision |
      sed 's/+cpu$//'
  } > "$1.partial"
  mv "$1.partial" "$1"
  rm -rf "$environment"
}

lock requirements.lock dev "Everything that make install installs, at the version it was tested with"
lock requirements-bench.lock dev,bench "The same for make bench, which brings what reelstore is measured beside"
