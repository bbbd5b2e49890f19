# Services on this machine's loopback, started only where nothing listens on their port. One that
# an S2S_TEST_* variable places elsewhere is left alone.

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

start_postgresql() {
    pg_ctlcluster --skip-systemctl-redirect "$(ls /etc/postgresql | sort -V | tail -1)" main start
}

start_mariadb() {
    start-stop-daemon --start --oknodo --background --exec /usr/sbin/mariadbd
}

start_redis() {
    redis-server --daemonize yes --bind 127.0.0.1 --port 6379 --save "" --appendonly no --dir /tmp
}

start_rabbitmq() {
    rabbitmq-server -detached
}

ensure() { # name, port, what places it elsewhere
    local name=$1 port=$2 elsewhere=$3
    if [ -n "$elsewhere" ]; then
        echo "$name: placed by its S2S_TEST_ variable"
    elif is_listening "$port"; then
        echo "$name: listening on port $port"
    else
        echo "$name: starting"
        "start_$name" </dev/null || true
        if ! wait_for_port "$port" 60; then
            echo "$name: nothing listens on port $port after 60 s. Install and start it, or set" \
                "S2S_TEST_${name^^} to the address of one."
            return 1
        fi
    fi
}

start_services() {
    ensure postgresql 5432 "${S2S_TEST_POSTGRESQL:-}"
    ensure mariadb 3306 "${S2S_TEST_MARIADB:-}"
    ensure redis 6379 "${S2S_TEST_REDIS:-}"
    ensure rabbitmq 5672 "${S2S_TEST_RABBITMQ:-}"
}
