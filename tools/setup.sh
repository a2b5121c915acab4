#!/bin/bash
# Set up everything that working on stockade needs: system packages (as root, on Debian and its relatives) and a
# virtual environment with the package installed for editing.
#
#     tools/setup.sh [VENV [PYTHON]]
#
# VENV is .venv unless given. PYTHON is /usr/bin/python3 if that is 3.11 or newer, else python3: the interpreter must be
# one that any user may execute, because the tests run a second time as another user.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${1:-.venv}
python=${2:-}
packages=(
    python3-venv gcc libc6-dev libseccomp2 strace bubblewrap util-linux musl
    # Programs that ready-made policies are made for.
    gzip jq tar bzip2 xz-utils zstd sqlite3 git nodejs perl imagemagick poppler-utils openssl
)

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

missing_packages() {
    local package
    for package in "${packages[@]}"; do
        dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || echo "$package"
    done
}

if command -v dpkg-query >/dev/null; then
    mapfile -t missing < <(missing_packages)
    if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ]; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -q
        apt-get install -q -y --no-install-recommends "${missing[@]}"
    elif [ ${#missing[@]} -gt 0 ]; then
        echo "setup: not installed, and only root can: apt-get install ${missing[*]}" >&2
    fi
else
    echo "setup: no dpkg here; the tests need what Debian calls: ${packages[*]}" >&2
fi

if [ -z "$python" ]; then
    python=python3
    if new_enough /usr/bin/python3; then
        python=/usr/bin/python3
    fi
fi
if ! new_enough "$python"; then
    echo "setup: $python is not Python 3.11 or newer; name one: make setup PYTHON=/path/to/python3" >&2
    exit 1
fi

"$python" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
touch "$venv/.ready"
echo "setup: $venv is ready ($("$venv/bin/python" --version))"
