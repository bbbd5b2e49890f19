# Services on this machine's loopback. One that an S2S_TEST_* variable places elsewhere is left alone.
#
# Redis and RabbitMQ are started where nothing listens on their port. The databases are the run's own,
# in memory where the machine has room there: nearly every test makes tables, each table waits for the
# disk several times, and all tests wait for one disk. Where no server of the run's own can be had, one
# that listens on the usual port will do.

is_listening() { # port
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

wait_for_port() { # port, seconds
    local deadline=$((SECONDS + $2))
    until is_listening "$1"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

folder_in_memory() { # where there is no room in memory: this folder
    local free folder=$1
    free=$(df --output=avail -k /dev/shm 2>/dev/null | tail -1)
    if [ "${free:-0}" -gt 8000000 ] && [ -w /dev/shm ]; then
        folder=$(mktemp -d /dev/shm/flask-s2s-ci.XXXXXX)
    else
        mkdir "$folder"
    fi
    # The databases' users look for their own folders in it.
    chmod 711 "$folder"
    echo "$folder"
}

free_port() {
    "$(newest_python)" -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])'
}

# A folder of its user's; a database server refuses to be root's.
folder_of() { # user, folder
    mkdir "$2"
    [ "$(id -u)" -ne 0 ] || chown "$1" "$2"
}

as() { # user, command
    if [ "$(id -u)" -eq 0 ]; then runuser -u "$1" -- "${@:2}"; else "${@:2}"; fi
}

own_postgresql() { # folder, port
    local programs
    programs=$(dirname "$(ls /usr/lib/postgresql/*/bin/initdb | sort -V | tail -1)") || return 1
    folder_of postgres "$1" &&
        as postgres "$programs/initdb" --auth trust --username postgres --encoding UTF8 \
            -D "$1/data" >"$1/log" &&
        as postgres "$programs/pg_ctl" -w -D "$1/data" -l "$1/data/log" \
            -o "-p $2 -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=300" start >>"$1/log" &&
        echo "postgresql+psycopg://postgres@127.0.0.1:$2/postgres"
}

own_mariadb() { # folder, port
    command -v mariadb-install-db >/dev/null || return 1
    folder_of mysql "$1" &&
        as mysql mariadb-install-db --no-defaults --datadir="$1/data" --skip-test-db \
            --auth-root-authentication-method=normal >"$1/log" || return 1
    as mysql mariadbd --no-defaults --datadir="$1/data" --port="$2" --bind-address=127.0.0.1 \
        --socket="$1/data/socket" --character-set-server=utf8mb4 </dev/null >>"$1/log" 2>&1 &
    wait_for_port "$2" 60 && echo "mariadb+pymysql://root@127.0.0.1:$2/?charset=utf8mb4&ssl_disabled=true"
}

start_redis() {
    redis-server --daemonize yes --bind 127.0.0.1 --port 6379 --save "" --appendonly no --dir /tmp
}

start_rabbitmq() {
    rabbitmq-server -detached
}

# Start one, or say that it cannot be had.
had() { # name, port, what places it elsewhere
    local name=$1 port=$2 elsewhere=$3
    if [ -n "$elsewhere" ]; then
        echo "$name: placed by its S2S_TEST_ variable"
    elif is_listening "$port"; then
        echo "$name: listening on port $port"
    else
        echo "$name: starting"
        ! command -v "start_$name" >/dev/null || "start_$name" </dev/null || true
        if ! wait_for_port "$port" 60; then
            echo "$name: nothing listens on port $port after 60 s. Install and start it, or set" \
                "S2S_TEST_${name^^} to the address of one."
            return 1
        fi
    fi
}

# Databases of the run's own, in a folder; the addresses are written there, to be read by the caller.
start_services() { # folder
    local name port address variable
    for name in postgresql:5432 mariadb:3306; do
        port=${name#*:} name=${name%:*} variable=S2S_TEST_${name^^}
        if [ -z "${!variable:-}" ] && address=$("own_$name" "$1/$name" "$(free_port)"); then
            echo "$name: the run's own, in $1"
            echo "export $variable='$address'" >>"$1/addresses"
        else
            had "$name" "$port" "${!variable:-}"
        fi
    done
    had redis 6379 "${S2S_TEST_REDIS:-}"
    had rabbitmq 5672 "${S2S_TEST_RABBITMQ:-}"
}

stop_own_databases() { # folder
    pkill -INT -f -- "$1/postgresql/data" || true
    pkill -TERM -f -- "$1/mariadb/data" || true
    for _ in 1 2 3 4 5; do
        rm -rf "$1" 2>/dev/null && return 0
        sleep 1
    done
}
