#!/bin/sh
# Sets up querydet in a virtual environment; running it again only does what is missing or has changed.
#
#   tools/install.sh [VENV]        default .venv; PYTHON=python3.12 tools/install.sh chooses the Python for a new one
#
# Detectron2 has no release on PyPI under its own name. One that is importable in the environment is used; else a wheel
# of upstream's commit a59f0563 with two small fixes is installed, which needs neither a compiler nor git. Its compiled
# part is for Python 3.10 only and is not used here. Upstream's own way, into the same environment beforehand:
#   pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'
set -eu

cd "$(dirname "$0")/.."
venv=${1:-.venv}
base=${PYTHON:-python3}
python=$venv/bin/python

say() { printf 'install: %s\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }

if [ ! -x "$python" ]; then
    command -v "$base" >/dev/null || fail "$base not found: install Python 3.10 to 3.13, or set PYTHON=/path/of/python"
    "$base" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' ||
        fail "$("$base" --version) is not one of Python 3.10 to 3.13: set PYTHON=/path/of/another"
    say "creating $venv with $("$base" --version)"
    "$base" -m venv "$venv" || fail "$base cannot create environments (on Debian: apt-get install python3-venv)"
fi

pip() { "$python" -m pip --disable-pip-version-check "$@"; }

# A stamp holds the digest of what was installed; it is written last, so an interrupted installation is repeated.
digest() { cat "$@" | cksum; }
stamp=$venv/querydet-requirements.stamp
wanted=$(digest requirements.txt requirements-dev.txt)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    say "installing the pinned requirements; torch with CUDA is about 5 GB on the disk"
    # setuptools first: a requirement that is published as source only is built by it.
    pip install --quiet "$(grep '^setuptools' requirements.txt)" "$(grep '^wheel' requirements.txt)"
    pip install --quiet -r requirements-dev.txt
    printf '%s\n' "$wanted" >"$stamp"
fi

has() { "$python" -c "import sys, importlib.util as u; sys.exit(u.find_spec('$1') is None)"; }
if ! has detectron2; then
    say "installing Detectron2"
    # Without dependencies: its metadata asks for an older numpy than it runs with.
    pip install --quiet --no-deps --only-binary=:all: --python-version 3.10 \
        --target "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" sal-detectron2==0.7.2
    "$python" -W ignore -c 'import detectron2.engine' || fail "Detectron2 was installed but cannot be imported"
fi

# Detectron2's Swin Transformer takes its stochastic depth from timm, which needs nothing else for that.
has timm || pip install --quiet --no-deps timm==1.0.31

# The package itself, editable; this builds the extension inside querydet/. Without a compiler it goes without.
stamp=$venv/querydet-package.stamp
# The compiler belongs to the digest: where one is installed later, the extension is built then.
wanted=$(digest setup.py pyproject.toml $(find ops -type f | sort) && pwd && command -v "${CXX:-c++}" || echo "no compiler")
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    say "building the extension and installing querydet (editable)"
    pip install --quiet --no-build-isolation --no-deps -e .
    "$python" -W ignore -c 'import querydet.config' || fail "querydet cannot be imported: remove $venv and try again"
    printf '%s\n' "$wanted" >"$stamp"
fi
[ -n "$(ls querydet/_C*.so 2>/dev/null)" ] || say "no extension was built (is there a C++ compiler?): slower, same results"
say "$venv is ready"
