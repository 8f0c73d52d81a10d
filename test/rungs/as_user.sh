#!/bin/sh
# as_user.sh COMMAND...: runs it with 8 MiB of locked memory, and without privileges. For root, the
# user is one that nothing else runs as: locked memory is counted by user, and the kernel returns
# that of a process some time after its end.
# shellcheck disable=SC3045  # dash and bash have it
ulimit -l 8192 || exit 2
[ "$(id -u)" -eq 0 ] || exec "$@"
user=$((60000 + $$ % 5000))
exec setpriv --reuid=$user --regid=$user --clear-groups --no-new-privs "$@"
