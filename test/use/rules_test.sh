#!/bin/sh
# Goal:   each check of lint.sh text notices what it is there for.
# Method: in a copy of the tree breaks one thing at a time, and looks for the line that reports it,
#         which must not have been there before.
# shellcheck disable=SC2016  # the dollars are sed's
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/tap.sh"
tap_begin "$1"

mkdir tree tree/docs tree/bench tree/bench/results
for item in slab.h overflow.h fixedpool.h bufpool.h Makefile LICENSE test README.md CHANGELOG.md \
    CONTRIBUTING.md CMakeLists.txt meson.build; do
    [ ! -e "$root/$item" ] || cp -r "$root/$item" tree
done
cat >tree/docs/sample.md <<'END'
# A page

<!-- table: machine/sample.txt -->
```
get  12.5 ns
put  30.1 ns
```
<!-- end -->

<!-- figures: bench/results/machine/sample.txt -->
| workload | ns |
|---|---|
| get | 12.5 |

| one | two |
|---|---|
| a cell | another |
END
mkdir tree/bench/results/machine
printf 'get  12.5 ns\nput  30.1 ns\n' >tree/bench/results/machine/sample.txt
export LINT_LINES=100000
tree/test/lint.sh text >before 2>&1
try 'the sample page is in order' sh -c '! grep docs/sample.md before'

notices() { # what, file, sed script, what lint must print
    what=$1 file=tree/$2
    : >err
    : >out
    cp "$file" saved
    sed "$3" saved >"$file"
    if cmp -s saved "$file"; then
        not_ok "$what: the file is as before"
        return
    fi
    tree/test/lint.sh text >after 2>&1
    cp saved "$file"
    if grep -qE "$4" before; then not_ok "$what: reported before it was broken"
    elif grep -qE "$4" after; then ok "$what"
    else
        grep -vxFf before after >new
        not_ok "$what: not noticed" new
    fi
}

long=$(printf '%0101d' 0)
notices 'a line of 101 columns in a header' slab.h "\$s|\$|/* $long */|" \
    'slab.h:[0-9]+: has [0-9]+ columns'
notices 'a line of 111 columns in a script' test/lint.sh "\$s|\$|# $long 11 letters|" \
    'lint.sh:[0-9]+: has [0-9]+ columns'
notices 'an atomic access without an order' slab.h \
    's/atomic_load_explicit(hint, memory_order_seq_cst)/atomic_load(hint)/' \
    'not ok.*slab.h: every atomic'
notices 'an order without a comment' bufpool.h \
    '/acquire, pairs with the release in bufpool__give_back: it is as/d' \
    'acquire in bufpool__try: no comment'
notices 'a fence without a comment' fixedpool.h \
    's|FIXEDPOOL_LIGHT_FENCE(); /\* light.*|FIXEDPOOL_LIGHT_FENCE();|' \
    'light in fixedpool__absorb: no comment'
notices 'an order that the comment does not name' overflow.h \
    's/word, head, memory_order_release/word, head, memory_order_seq_cst/' \
    'seq_cst in overflow__poke_head: no comment'
notices 'an order that only the partner has' fixedpool.h \
    's/release, \(pairs with the acquire in fixedpool__lent\)/\1/' \
    'release in fixedpool__take_back: no comment'
notices 'a partner without the order' overflow.h \
    's/word, head, memory_order_release/word, head, memory_order_relaxed/' \
    'names overflow__poke_head, which has no release'
notices 'a partner that is not there' slab.h \
    's/pairs with the release in slab__pool_format/pairs with the release in slab__shape_it/' \
    'names slab__shape_it, which is no function'
notices 'a partner without its fence' bufpool.h 's/= BUFPOOL_HEAVY_FENCE()/= true/' \
    'names bufpool__seize, which has no heavy'
notices 'a partner described and not named' slab.h \
    's/pairs with the release in slab__pool_format/pairs with the release of the creator/' \
    'not of the form'
notices 'a word more in a prelude section' fixedpool.h \
    's/(munmap(memory, size) != 0)/(munmap(memory, size) < 0)/' 'prelude memory: "<" is'
notices 'a number changed in a prelude section' overflow.h \
    's/OVERFLOW__MADV_HUGEPAGE *= 14/OVERFLOW__MADV_HUGEPAGE = 15/' 'prelude kernel: "15,"'
notices 'a comment changed in a prelude section' slab.h \
    's/and the content is undefined/and the content undefined/' 'prelude sanitizers'
notices 'a prelude section that is gone' bufpool.h \
    's/---- prelude: assert ----/---- asserts ----/' \
    'bufpool.h: has no section "prelude: assert"'
notices 'something left for later' bufpool.h '$s|$|/* TO''DO: more */|' 'bufpool.h.*TO''DO'
notices 'a phrase to avoid' slab.h '$s|$|/* the frame of who frees it */|' 'slab.h.*"who frees"'
notices 'a phrase across two lines' docs/sample.md '$s|$|\nIt is returned in\nwhatever state.|' \
    'sample.md:.*"in whatever"'
notices 'a comment that says nothing' fixedpool.h '$s|$|/* The same. */|' 'fixedpool.h.*"the same."'
notices 'a heading that is a clause' docs/sample.md '$s|$|\n## And what it is not|' \
    'sample.md.*"and what it is not"'
notices 'a line of 121 columns in a document' docs/sample.md "\$s|\$|\\n$long$long|" \
    'sample.md:[0-9]+: has 202 columns'
notices 'README of more than 220 lines' README.md "\$s|\$|$(printf '%0250d' 0 | sed 's/0/\\n/g')|" \
    "README.md: has $(($(wc -l <"$root/README.md") + 250)) lines"
notices 'a table of seven columns' docs/sample.md '$s/$/\n\n| 1 | 2 | 3 | 4 | 5 | 6 | 7 |/' \
    'sample.md:[0-9]+: a table of 7'
notices 'a cell of 121 characters' docs/sample.md "\$s/\$/\\n| a | $long$long |/" \
    'sample.md:[0-9]+: a cell of 202'
notices 'a table that differs from the results' docs/sample.md 's/^put  30.1/put  31.0/' \
    'sample.md:.*line 2 of the table'
notices 'a row that the results lack' docs/sample.md 's/^put  30.1 ns/&\nfree 1.0 ns/' \
    'sample.md:.*line 3 of the table'
notices 'a row of the results that is left out' docs/sample.md '/^put  30.1/d' \
    'sample.md:.*line 2 of the table'
notices 'a table without its end' docs/sample.md '/<!-- end/d' 'sample.md: no <!-- end -->'
notices 'a table whose file is not there' docs/sample.md 's/table: machine/table: other/' \
    'there is no bench/results/other/sample.txt'
notices 'a figure that the results lack' docs/sample.md 's/get | 12.5/get | 12.6/' \
    'sample.md:.*12.6 does not stand in machine/sample.txt'
notices 'another version in a header' slab.h 's/^#define SLAB_H$/&\n#define SLAB_VERSION 90000/' \
    'slab.h:[0-9]+: the comment does not say 9.0.0'
notices 'another version in Makefile' Makefile 's/^version *=.*/version = 77.0.0/' \
    'Makefile.*version is 77.0.0'
tap_end
