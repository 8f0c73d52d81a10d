#!/usr/bin/env bash
# Publishes measured tables: copies them to the tracked results, makes the text, the Markdown tables
# and the plots anew, and puts the tables into the documents that show them.
#
#   bench/publish.sh                        from BUILD/bench/MACHINE/ to bench/results/MACHINE/, and
#                                           into README.md and docs/*.md
#   bench/publish.sh FROM TO [DOCUMENT...]  from one directory to another, and into these documents
#
# Only NAME.tsv files of FROM are published: whole programs and sweeps, no single workloads. Results
# of TO that FROM does not have stay as they are.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

refuse() { echo "publish: $1; try bench/publish.sh --help" >&2; exit 2; }

case ${1:-} in
-h | --help) sed -n '/^# Publishes/,/^set/s/^# \{0,1\}//p' "$0"; exit ;;
-*) refuse "there is no option '$1'" ;;
esac
if [ $# -eq 0 ]; then
    cd "$root"
    # shellcheck source=/dev/null
    . "$root/bench/machine.sh"
    # shellcheck disable=SC2154  # machine.sh sets it
    set -- "${BUILD:-build}/bench/$machine_directory" "bench/results/$machine_directory" \
        README.md docs/*.md
fi
[ $# -ge 2 ] || refuse 'expected FROM and TO'
from=$1 to=$2
shift 2
compgen -G "$from/*.tsv" >/dev/null || refuse "$from has no tables"
for table in "$from"/*.tsv; do
    [ "$(sed -n '2s/\t.*//p' "$table")" = workload ] || refuse "$table is not a table of figures"
done

mkdir -p "$to"
cp "$from"/*.tsv "$to/"
"$root/bench/tables.sh" make "$to"
"$root/bench/plot.sh" "$to"
for document; do
    [ ! -f "$document" ] || "$root/bench/tables.sh" insert "$document"
done
echo "published: $to"
