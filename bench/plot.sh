#!/usr/bin/env bash
# Plots of the benchmarks' figures, by gnuplot.
#
#   bench/plot.sh DIRECTORY    writes NAME.svg for each plot of bench/plots.txt of which DIRECTORY
#                              has the table, from its .tsv files
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

case ${1:-} in
-h | --help) sed -n '/^# Plots/,/^set/s/^# \{0,1\}//p' "$0"; exit ;;
esac
if [ $# -ne 1 ] || [ ! -d "$1" ]; then
    echo 'plot: expected one directory; try bench/plot.sh --help' >&2
    exit 2
fi
directory=$1
if ! command -v gnuplot >/dev/null; then
    echo 'plot: SKIP package gnuplot-nox is not installed'
    [ -z "${STRICT:-}" ]
    exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# For each plot: NAME.data and, of lines, NAME.labels; on stdout the settings, one plot a line.
awk -v to="$work" -v from="$directory" -f "$here/plot.awk" "$here/plots.txt" >"$work/plots"
while IFS=$'\t' read -r kind name settings; do
    gnuplot -e "style='$here/plots/style.gp'; data='$work/$name.data'; labels='$work/$name.labels'" \
        -e "svg='$work/plot.svg'; $settings" "$here/plots/$kind.gp"
    # Without gnuplot's own name and version, so that the same figures give the same file.
    sed '/<desc>Produced by GNUPLOT/d' "$work/plot.svg" >"$directory/$name.svg"
done <"$work/plots"
