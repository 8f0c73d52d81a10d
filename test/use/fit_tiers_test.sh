#!/bin/sh
# Goal: fit_tiers prints a table that a store takes, tells the truth about it, and refuses what is
# not a list of sizes.
# Method: small inputs with known answers; the same values written in several ways; each kind of bad
# line; the output compiled and given to a store; every figure computed again by awk.
#
#   test/use/fit_tiers_test.sh WORKDIR
# shellcheck disable=SC2086  # CFLAGS is a list of words
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$1/fit_tiers
: "${CC:=cc}" "${CFLAGS:=-O2 -g}"
rm -rf "$work"
mkdir -p "$work" && cd "$work" || exit 2
count=0 failed=0

check() { # what, whether
    count=$((count + 1))
    if [ "$2" -eq 0 ]; then printf 'ok %d - %s\n' $count "$1"; else
        failed=1
        sed 's/^/# /' out err
        printf 'not ok %d - %s\n' $count "$1"
    fi
}
run() { timeout 60 ./fit_tiers "$@" >out 2>err; status=$?; }
tiers() { # the table that was printed, on one line
    awk '/^static const slab/ { exit }
         { gsub(/.*[{]|[}].*/, ""); gsub(/^ +/, " "); printf "%s", $0 }' out
}
gives() { [ $status -eq 0 ] && [ "$(tiers)" = "$1" ] && ! [ -s err ]; }
refuses() { # with this status, saying this
    [ $status -eq "$1" ] && ! [ -s out ] && grep -qF -e "$2" err
}
same() { run "$@" && cmp -s out want; }

if ! $CC -std=c11 $CFLAGS "$root/tools/fit_tiers.c" -o fit_tiers >out 2>err; then
    check 'it compiles' 1
    echo '1..1'
    exit 1
fi
: >out

# ---- What it computes ----

printf '100\n100\n100\n100\n100\n104\n200\n1000\n1000\n' >small
run -n 2 small
gives '200, 1000'
check 'the best two tiers' $?
grep -qxF 'static const slab_store_config config = {.tier_sizes = tiers, .tier_count = 2};' out
check 'and their config' $?
run -s 1G small
gives '104, 200, 1000'
check 'no more tiers than there are sizes' $?
[ "$(grep -cE '^ [*] +(default|[0-9]+) +[0-9]+ +[0-9]+ +[0-9.]+ %' out)" -eq 2 ]
check 'and no comparison with more' $?
run -n 1 small
gives 1000
check 'one tier' $?

awk 'BEGIN { for (i = 1; i <= 3000; i++) print i * i % 5003 + 1 }' >many
run -n 15 many
cp out want
sort -n many >sorted
same -n 15 sorted
check 'the order makes no difference' $?
sort many | uniq -c | awk '{ print $2, $1 }' >counted
same -n 15 counted
check 'a size and a count is as many sizes' $?
awk '{ print $1 "\t " $2 - 1 " "; print " " $1; print $1, 0 }' counted >in_parts
same -n 15 in_parts
check 'counts add up' $?
sed 's/$/\r/' many >crlf
same -n 15 crlf
check 'CRLF is a line end' $?
{ printf '# value sizes\n\n  \n\r\n  # in bytes\r\n'; cat many; printf '#'; } >commented
same -n 15 commented
check 'comments and blank lines say nothing' $?
head -n 1000 many >first
sed -n '1001,2000p' many >second
tail -n 1000 many | awk 'NR > 1 { print last } { last = $0 } END { printf "%s", last }' >third
same -n 15 first second third
check 'several files, the last without an end' $?
same first -n 15 - - third <second
check 'a minus is standard input' $?
same -n 15 <many
check 'so is no file at all' $?

printf '0\n0 3\n9\n9\n' >zero
run -s 1G zero
gives '8, 16' && grep -q '^ \* *8 *4 ' out
check 'no bytes take the smallest slot' $?
printf '65536\n65537\n100000 2\n' >large
run large
gives 65536 && grep -qF '1 values, 65536 bytes' out && grep -qF '3 over 64 KiB, 265537 bytes' out
check 'more than 64 KiB is told apart' $?
grep -qF "waste $(awk 'BEGIN { printf "%.2f", 100 * (1 - 265537 / (129 + 2 * 196) / 512) }') %" out
check 'and held in pages' $?
awk 'BEGIN {
    for (i = 64; i <= 1024; i *= 2) print i, 1000
    for (i = 1; i < 65; i++) print i * 1000
}' >outliers
run -n 7 -l 65536 outliers
grep -q 'default wastes less: it leaves 60 values over 4096' out
check 'a table worse than the default says so' $?
run -n 1 -l 5000 outliers
grep -q 'default wastes less' out
check 'also with a limit' $?
run -n 1 -l 4096 outliers
grep -q 'default wastes less' out
check 'but not if nothing is to be gained' $((! $?))
run -n 7 -l 4096 outliers
[ "$(tiers | sed 's/.* //')" = 4000 ] && grep -q '^ \* *large *60 ' out
check 'a limit leaves the rest to large objects' $?
printf '98\n99\n100\n104\n105\n' >around
run -s 1G -l 99 around
gives 104 && grep -q '^ \* *large *1 ' out
check 'and what still fits the last tier to that' $?

# ---- Its figures ----

# Reads the output and then the values; every number in the comment must be what the table gives.
cat >figures.awk <<'EOF'
function near(what, got, want, digits) {
    if (got - want > 0.6 / digits || want - got > 0.6 / digits) {
        print what " is " got ", not " want
        bad = 1
    }
}
function held_by(size, table, n,   i) {
    for (i = 1; i <= n; i++) if (size <= table[i]) return table[i]
    return int((size + 511) / 512) * 512
}
# With room for the rounding of what was printed.
BEGIN { usual = split("64 128 256 512 1024 2048 4096", default_table, " ") }
FNR == NR && /^static const uint32_t/ { table_text = ""; in_table = 1 }
FNR == NR && in_table { table_text = table_text " " $0; if (/};$/) in_table = 0; next }
FNR == NR && / values, .* bytes of payload/ {
    for (i = 1; $i != "values,"; i++) said_values = $i
    said_payload = $(i + 1)
}
FNR == NR && /for a store of/ { for (i = 1; $i != "bytes"; i++) store = $i }
FNR == NR && /<- above$/ {
    said_tiers = $3; said_held = $4; said_waste = $5; said_share = $7; said_whole = $8
}
FNR == NR && /^ \*  default / {
    usual_held = $4; usual_waste = $5; usual_share = $7; usual_whole = $8
}
FNR == NR && /#$/ {
    slot[++rows] = $2
    row_values[rows] = $3
    row_share[rows] = $4
    row_waste[rows] = $6
}
FNR == NR { next }
!tier_count {
    sub(/.*\{/, "", table_text)
    sub(/\}.*/, "", table_text)
    tier_count = split(table_text, table, ",")
    for (i = 1; i <= tier_count; i++) table[i] += 0
}
{
    size = $1 ? $1 : 1
    n = NF > 1 ? $2 : 1
    takes = held_by(size, table, tier_count)
    at = size > table[tier_count] ? "large" : takes
    values += n
    payload += n * size
    held += n * takes
    usually += n * held_by(size, default_table, usual)
    in_tier[at] += n
    tier_payload[at] += n * size
    tier_held[at] += n * takes
}
END {
    near("values", said_values, values, 1)
    near("payload", said_payload, payload, 1)
    near("tiers", said_tiers, tier_count, 1)
    near("bytes held", said_held, held, 1)
    near("waste", said_waste, 100 * (1 - payload / held), 100)
    near("share", said_share, payload / held, 10000)
    near("bytes held by default", usual_held, usually, 1)
    near("waste by default", usual_waste, 100 * (1 - payload / usually), 100)
    near("share by default", usual_share, payload / usually, 10000)
    near("in the store", said_whole, 1 / (held / payload + tier_count * 8192 / store), 10000)
    near("default in the store", usual_whole, 1 / (usually / payload + usual * 8192 / store), 10000)
    near("rows", rows, tier_count + ("large" in in_tier), 1)
    for (i = 1; i <= rows; i++) {
        at = slot[i]
        near("values of " at, row_values[i], in_tier[at], 1)
        near("share of " at, row_share[i], 100 * in_tier[at] / values, 10)
        near("waste of " at, row_waste[i], 100 * (1 - tier_payload[at] / tier_held[at]), 10)
    }
    exit bad
}
EOF
awk 'BEGIN { for (i = 1; i <= 65536; i += 7) print i, int(1e8 / i / i) + 1 }' >wide
awk 'BEGIN { for (i = 1; i <= 2000; i++) print 500 + i }' >narrow
awk 'BEGIN { for (i = 1; i <= 600; i++) print 1000 + i }' >narrower
for case in many counted outliers wide narrow '-s 1G narrower' '-s 2M wide' '-l 2048 wide' '-n 63 many' \
    '-n 1 many'; do
    set -- $case
    run "$@"
    while [ $# -gt 1 ]; do shift; done
    awk -f figures.awk out "$1" >err
    check "every figure for $case" $?
    awk 'length > 100 || (/#$/ && length > 80) { bad = 1 } /#$/ && length == 80 { full = 1 }
         END { exit bad || !full }' out
    check 'within a hundred columns, the chart within eighty' $?
done
run -s 1G small
awk -F '  +' '/#$/ { print length($NF) }' out | tr '\n' ' ' >bars
[ "$(awk '{ print ($1 > 2.4 * $3 && $3 > 1.9 * $2 && $2 > 3) }' bars)" -eq 1 ]
check 'bars are as long as their share' $?

if script -qec true /dev/null </dev/null >/dev/null 2>&1; then
    script -qec 'stty cols 123; ./fit_tiers many' /dev/null </dev/null 2>err | tr -d '\r' >out
    [ "$(awk '/#$/ && length > most { most = length } END { print most }' out)" -eq 123 ]
    check 'and the longest as wide as the terminal' $?
elif [ -n "${STRICT:-}" ] && ! command -v script >/dev/null 2>&1; then
    false
    check 'package bsdutils is not installed' $?
else
    count=$((count + 1))
    echo "ok $count - the longest bar # SKIP package bsdutils is not installed, or no terminal"
fi

chosen() { # arguments: how many tiers were chosen; 0 if another row is better
    run "$@"
    awk '
        /^ \* +[0-9]+ +[0-9]+ +[0-9]+ +[0-9.]+ %/ {
            tiers[++n] = $3
            whole[n] = 1 / $8
            if (/above/) best = n
        }
        END {
            for (i = 1; i <= n; i++)
                if (whole[i] < whole[best] - (tiers[i] > tiers[best] ? 0.0051 : 0)) bad = 1
            print (best && n > 1 && !bad ? tiers[best] : 0)
        }' out
}
[ "$(chosen narrow)" = 15 ]
check 'a small store has few tiers' $?
[ "$(chosen -s 1G narrow)" = 47 ]
check 'a large store of the same values has more' $?
[ "$(chosen -s 1G wide)" = 63 ]
check 'and 63 where nothing will do' $?
sooner=0
for store in 100K 1M 10M 100M 1G 10G; do
    now=$(chosen -s $store many)
    [ "$now" -ge "$sooner" ] || sooner=999
    sooner=$now
done
[ "$sooner" -gt 7 ] && [ "$sooner" -le 63 ]
check 'never fewer in a larger store' $?
run -s 2M wide
[ "$(tiers | sed 's/.* //')" -le 8192 ]
check 'a small store leaves large values to large objects' $?
run -s 100G -l 65536 wide
cp out want
run -s 100G -l 65536 -n 63 wide
[ "$(tiers)" = "$(cp out got; cp want out; tiers; cp got out)" ]
check 'the size of the store chooses between tables of slab_fit_tiers' $?

# ---- Its output is C ----

cat >user.c <<'EOF'
#include "slab.h"
#ifdef OUTSIDE
#include "out.h"
#endif
int main(void)
{
#ifndef OUTSIDE
#include "out.h"
#endif
    slab_store *store;
    if (slab_store_create(&store, &config) != 0) return 1;
    slab_store_destroy(store);
    return sizeof tiers / sizeof *tiers != config.tier_count || tiers[0] == 0;
}
EOF
builds() {
    $CC -std=c11 $CFLAGS -Wall -Wextra -Werror -I"$root" -I. "$@" user.c body.o -o user 2>err
}
printf '#define SLAB_IMPLEMENTATION\n#include "slab.h"\n' >body.c
$CC -std=c11 $CFLAGS -I"$root" -c body.c -o body.o 2>err
for case in many '-n 63 wide' large '-l 99 outliers'; do
    run $case
    cp out out.h
    builds -DOUTSIDE && ./user
    check "a file that includes it, for $case" $?
    builds && ./user
    check 'a function that it is pasted into' $?
done

# ---- What it refuses ----

bad() { # what, a line, what it says
    printf '1\n2 2\n%b\n4\n' "$2" >bad.txt
    run bad.txt
    refuses 1 "bad.txt:3: $3"
    check "$1" $?
}
for line in x 12x 1,2 1.5 -1 +3 0x10 '1 x' '1 -2' '1 2 3' '1 2x' '1 # no' '1# no' '\0' '1\0' \
    '1\r2' '\0303\0251'; do
    bad "no size: $line" "$line" 'expected SIZE'
done
bad 'a size of more than 64 bits' 18446744073709551616 'a size over 64'
bad 'a count of more than 64 bits' '1 99999999999999999999' 'a count over 64'
bad 'a size that no value has' 4294967296 'no value is larger than 4294967295'
run <bad.txt
refuses 1 'stdin:3: '
check 'standard input has a name' $?
run small bad.txt
refuses 1 'bad.txt:3: '
check 'each file has its own lines' $?

bad 'counts that wrap' '5 18446744073709551615' 'more than 2^48 - 1'
bad 'counts of one too many' '5 281474976710653' 'more than 2^48 - 1'
printf '5 281474976710654\n80000 1\n' >most
run most
gives 8 && grep -qF ' 281474976710654 values, 1407374883553270 bytes' out
check 'as many as there can be' $?
bad 'large objects of more than 64 bits' '4294967295 4294967296' 'more than 2^64 bytes'
printf '4294967295 4294967295\n1\n' >most
run most
gives 8 && grep -qF '4294967295 over 64 KiB, 18446744065119617025 bytes' out
check 'large objects of just so many' $?

for nothing in '' '\n\n' '# 12\n' '12 0\n'; do
    printf '%b' "$nothing" >nothing
    run nothing
    refuses 1 'no values'
    check "nothing to fit in '$nothing'" $?
done
echo 70000 >only_large
run only_large
refuses 1 'small enough'
check 'nothing but large objects' $?
for s in 0 x 5Q 1KK '' -1 99999999999G; do
    run -s "$s" small
    refuses 2 "-s $s: not a number of bytes"
    check "-s '$s'" $?
done
run -l 50 small
refuses 1 'small enough'
check 'nothing below the limit' $?
run missing
refuses 1 'missing: No such file'
check 'a missing file' $?
run .
refuses 1 '.: Is a directory'
check 'a directory' $?
run small .
refuses 1 '.: Is a directory'
check 'among files' $?
for n in 0 64 -1 x 7x '' ' 7' 4294967303 99999999999999999999; do
    run -n "$n" small
    refuses 2 "-n $n: not a number from 1 to 63"
    check "-n '$n'" $?
done
for l in 0 65537; do
    run -l $l small
    refuses 2 "-l $l: not a number from 1 to 65536"
    check "-l $l" $?
done
run --nonsense
refuses 2 usage
check 'an unknown option' $?
run -h
[ $status -eq 0 ] && grep -q '^usage' out && ! [ -s err ]
check 'help' $?
timeout 60 ./fit_tiers many >/dev/full 2>err
[ $? -eq 1 ] && grep -q 'No space' err
check 'a full disk' $?
echo "1..$count"
exit $failed
