# System packages, installed only where something is missing.

declare -A debian_packages=(
    [chromium]=chromium
    [chromium-headless-shell]=chromium-headless-shell
    [firefox-esr]=firefox-esr
    [valgrind]=valgrind
    [strace]=strace
    [nginx]=nginx-light
    [pgbouncer]=pgbouncer
    [fc-match]=fontconfig
    [apache2]=apache2-bin
    [gcc]=gcc
    [systemd-analyze]=systemd
)

has_a_font() {
    fc-match -f '%{file}' sans-serif 2>/dev/null | grep -q .
}

install_system_packages() {
    local command missing=()
    for command in "${!debian_packages[@]}"; do
        PATH="$PATH:/usr/sbin" command -v "$command" >/dev/null ||
            missing+=("${debian_packages[$command]}")
    done
    has_a_font || missing+=(fonts-dejavu-core)
    [ -e /usr/lib/apache2/modules/mod_wsgi.so ] || missing+=(libapache2-mod-wsgi-py3)
    # For bjoern, which pip builds.
    [ -e /usr/include/ev.h ] || missing+=(libev-dev)
    if [ ${#missing[@]} -eq 0 ]; then
        echo "nothing is missing"
        return 0
    fi
    echo "missing: ${missing[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        echo "run this as root, or install them first: apt-get install ${missing[*]}"
        return 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}
