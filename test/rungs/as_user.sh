#!/bin/sh
# as_user.sh COMMAND...: runs it with 8 MiB of locked memory, and as nobody if we are root.
# shellcheck disable=SC3045  # dash and bash have it
ulimit -l 8192 || exit 2
[ "$(id -u)" -eq 0 ] || exec "$@"
exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs "$@"
