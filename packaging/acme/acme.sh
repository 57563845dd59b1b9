#!/bin/sh
# Reload command for acme.sh: waits for the staple of what was renewed, then runs the command behind it:
#
#   acme.sh --install-cert -d www.example.org \
#       --key-file /etc/nginx/www.key --fullchain-file /etc/nginx/www.pem \
#       --reloadcmd "/usr/share/staplekeeper/acme/acme.sh systemctl reload nginx"
#
# acme.sh remembers it and runs it again after each renewal. STAPLEKEEPER_DEADLINE ("10m") limits the
# wait; see `staplekeeper hook --help`. A command of more than words (pipes, quotes): sh -c '…'.
set -u

: "${CERT_FULLCHAIN_PATH:?acme.sh sets it: this is a --reloadcmd}"
staplekeeper hook ${STAPLEKEEPER_DEADLINE:+--deadline "$STAPLEKEEPER_DEADLINE"} "$CERT_FULLCHAIN_PATH" ||
    echo "staplekeeper: no staple for $CERT_FULLCHAIN_PATH yet (status $?); a reload now goes without" >&2
[ "$#" -gt 0 ] || exit 0
exec "$@"
