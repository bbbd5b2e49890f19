# Fresh virtual environments, outside the checkout.
#
# bjoern is in no extra: pip builds it, which would ask every developer for a compiler.

# It runs (a version manager's stub may not), can make environments, and can build what is in C.
is_usable() { # interpreter
    "$1" -c '
import ensurepip, os, sqlite3, ssl, sys, sysconfig, venv
header = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(sys.version_info < (3, 10) or not os.path.exists(header))
' 2>/dev/null
}

# The system's own first: a distribution builds it with profiles of use, a version manager without, and
# the tests wait for the processor.
newest_python() {
    local candidate
    for candidate in ${S2S_CI_PYTHON:-/usr/bin/python3 python3 python}; do
        if is_usable "$candidate"; then
            echo "$candidate"
            return 0
        fi
    done
    echo "Python 3.10 or newer is needed, with its headers: set S2S_CI_PYTHON to one" >&2
    return 1
}

# The oldest supported Python where the machine has one, else the same as for the other run.
oldest_python() {
    local candidate candidates=(${S2S_CI_OLDEST_PYTHON:-python3.10})
    if command -v pyenv >/dev/null; then
        candidates+=("$(pyenv root)"/versions/3.10.*/bin/python)
    fi
    for candidate in "${candidates[@]}"; do
        if is_usable "$candidate"; then
            echo "$candidate"
            return 0
        fi
    done
    newest_python
}

make_newest() { # where
    local python
    python=$(newest_python)
    "$python" -m venv "$1"
    "$1/bin/python" -m pip install -qq --upgrade pip build
    "$1/bin/python" -m pip install -qq --editable ".[lint]" bjoern
    describe "$1"
}

# The wheel with every declared dependency at its lower bound; what only the tests need is free.
make_oldest() { # where, the folder with the wheel
    local python wheel
    python=$(oldest_python)
    wheel=$(ls "$2"/*.whl)
    "$python" -m venv "$1"
    "$1/bin/python" -m pip install -qq --upgrade pip packaging
    "$1/bin/python" "$here/lower_bounds.py" "$wheel" >"$1/constraints.txt"
    cat "$1/constraints.txt"
    "$1/bin/python" -m pip install -qq --constraint "$1/constraints.txt" "$wheel[test]"
    describe "$1"
}

describe() { # where
    "$1/bin/python" --version
    "$1/bin/python" -m pip list --format freeze |
        grep -iE '^(flask|werkzeug|sqlalchemy|requests|itsdangerous|blinker|psycopg|pymysql|pytest)' |
        tr '\n' ' '
    echo
}
