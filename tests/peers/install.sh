#!/usr/bin/env bash
# Install the Debian servers and clients that the tests meet, where that is possible and something is missing.
# Says what is left out elsewhere; never fails for that: the tests skip what they cannot have, or with
# MAILPROBE_REQUIRE_PEERS=1 fail.
set -euo pipefail

packages=(postfix dovecot-core dovecot-imapd dovecot-pop3d dovecot-lmtpd nsd unbound bind9-dnsutils
          swaks libnet-ssleay-perl libauthen-sasl-perl libdigest-hmac-perl curl openssl nmap
          monitoring-plugins-basic mutt)
policy=/usr/sbin/policy-rc.d
guard=""

missing() {
    local package
    for package in "${packages[@]}"; do
        dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            echo "$package"
    done
}

install_missing() {
    # Nothing that is installed here may start by itself, so that no port is taken behind anybody's back.
    if [ ! -e "$policy" ]; then
        guard=$policy
        trap 'rm -f "$guard"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    if command -v debconf-set-selections >/dev/null; then
        echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
    fi
    apt-get update -qq
    apt-get install -qq --yes --no-install-recommends "$@"
}

if ! command -v dpkg-query >/dev/null; then
    echo "peers: this is no Debian; tests/peers runs with the servers and clients it finds and skips the rest"
    exit 0
fi
mapfile -t absent < <(missing)
if [ "${#absent[@]}" -gt 0 ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "peers: installing ${absent[*]}"
    install_missing "${absent[@]}"
elif [ "${#absent[@]}" -gt 0 ]; then
    echo "peers: not installed, and only root can: ${absent[*]}"
    echo "peers: the tests that need them are left out; pytest names each below"
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "peers: not root: Postfix and Dovecot cannot start, so the tests on a real mail host are left out"
fi
