#!/bin/sh
# Goal: overflow_inspect and the reader in Python see in a region file what overflow.h sees, slots
# and damage, and nothing changes the file.
# Method: files whose owner was killed or closed them, by format_values.c; the list of overflow_next,
# that of format_reader.py, which was written from docs/overflow.md alone, and overflow_inspect's table
# must be equal, also after a bit was flipped in each part of a slot, a hole and the header. The map
# is drawn again by awk from the list in Python. Each exit status.
#
#   test/use/overflow_inspect_test.sh WORKDIR
# shellcheck disable=SC2086  # CFLAGS is a list of words
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=/dev/null
. "$root/test/tap.sh"
umount "$1/overflow inspect/disk" 2>/dev/null
tap_begin "$1/overflow inspect"
owner=
trap '[ -z "$owner" ] || kill -s KILL "$owner" 2>/dev/null; umount disk 2>/dev/null' EXIT
trap 'exit 1' HUP INT TERM

# ---- Three lists of a file ----

in_python() { timeout 60 python3 "$root/test/overflow/format_reader.py" "$1" >"$1.py" 2>>err; }
# The pieces in overflow_inspect's table, as format_reader.py prints them.
pieces() {
    awk '$3 == "what" && $1 == "offset" { table = 1; next }
         !table || $3 == "header" { next }
         $3 == "slot" { printf "slot %d %d %s %s\n", $1 + 32, $4, $5, $6; next }
         { sub(/damage:/, "damage"); printf "%s %d %d%s\n", $3, $1, $1 + $2, $3 == "damage" ? " " $4 : "" }' \
        "$1"
}
agree() { # file, how many times damaged: passes if all three say the same
    : >out
    : >err
    ./format_values list "$1" >"$1.c" 2>>err || return
    in_python "$1"
    python_status=$?
    timeout 60 ./overflow_inspect "$1" >"$1.table" 2>>err
    status=$?
    grep '^slot' "$1.c" >"$1.c.slots"
    awk '$1 == "slot" { print $1, $2, $3, $4, $5 % 536870912, $6 }' "$1.py" >"$1.py.slots"
    sed 's/\(slot .*\) .*/\1/' "$1.py" >"$1.py.pieces"
    pieces "$1.table" >"$1.pieces"
    diff "$1.c.slots" "$1.py.slots" >>out && diff "$1.py.pieces" "$1.pieces" >>out || return
    echo "damaged: $(tail -n 1 "$1.c"), $(grep -c '^damage' "$1.py"), status $status" >>out
    [ "$(tail -n 1 "$1.c")" = "damaged $2" ] && [ "$(grep -c '^damage' "$1.py")" -eq "$2" ] &&
        [ $status -eq $(($2 > 0)) ] && [ $python_status -eq $status ]
}
# The map, drawn from the list in Python: BYTES of the file for each character.
draw() { # file, BYTES
    awk -v bytes="$2" -v size="$(wc -c <"$1")" '
        function mark(kind, from, to,    cell) {
            for (cell = int(from / bytes); cell * bytes < to; cell++) is[cell, kind] = 1
        }
        BEGIN { mark("header", 0, 8192) }
        $1 == "slot" { mark("slot", $2 - 32, $2 + int(($3 + 31) / 32) * 32); next }
        { mark($1, $2, $3) }
        END {
            for (cell = 0; cell * bytes < size; cell++) {
                if ((cell, "damage") in is) c = "!"
                else if ((cell, "header") in is) c = "H"
                else if ((cell, "slot") in is) c = (cell, "hole") in is ? "+" : "#"
                else c = (cell, "hole") in is ? "." : "-"
                printf "%s", c
            }
            print ""
        }' "$1.py"
}
same_map() { # file, BYTES
    run ./overflow_inspect -n 0 -b "$2" "$1"
    awk '/ bytes a character$/ { map = 1; next } map { printf "%s", $2 } END { print "" }' out >map
    draw "$1" "$2" | cmp - map >>err 2>&1
}
says() { # status, words on stderr
    [ $status -eq "$1" ] && [ ! -s out ] && grep -qF -e "$2" err
}

# ---- Programs and files ----

try 'overflow_inspect compiles' $CC -std=c11 $CFLAGS "$root/tools/overflow_inspect.c" -o overflow_inspect
try 'format_values compiles' $CC -std=c11 $CFLAGS "$root/test/overflow/format_values.c" -o format_values
if [ ! -x overflow_inspect ] || [ ! -x format_values ]; then tap_end; fi
killed() { run ./format_values write "$1" "$2"; [ $status -gt 128 ]; } # file, steps

need python3 python3 && {
    for steps in 0 1 7 300 3000; do
        check "an owner killed after $steps steps" killed killed.$steps $steps
        check "after $steps steps: three lists are equal" agree killed.$steps 0
    done
    ./format_values write late 1000000000 >late.out 2>&1 &
    owner=$!
    sleep 0.1
    kill -s KILL $owner
    wait $owner 2>>late.out
    owner=
    check 'killed at any time: three lists are equal' agree late 0
    run ./format_values close closed 300
    check 'a closed file: three lists are equal' agree closed 0
    check 'the sizes are many' [ "$(awk '/^slot/ { print $3 }' killed.3000.py | sort -u | wc -l)" -gt 50 ]
    check 'there are holes' [ "$(grep -c '^hole' killed.300.py)" -gt 5 ]
    for bytes in 32 96 4096; do
        check "the map of $bytes bytes a character is that of the list" same_map killed.300 $bytes
    done

    # ---- Damage ----

    # One bit of a copy of the file, and how much damage that is.
    flipped() { # offset, damage
        cp killed.300 flipped && ./format_values flip flipped "$1" && agree flipped "$2"
    }
    # The slot in the middle that is longer than a page and not full to its end; a hole.
    slot=$(awk '/^slot/ && $3 > 40 && $3 % 32 > 0 && $3 % 32 < 24 { print $2, $3; exit }' killed.300.py)
    last=$(awk '/^slot/ { at = $2 } END { print at }' killed.300.py)
    at=${slot% *} size=${slot#* }
    hole=$(awk '/^hole/ && $3 - $2 >= 96 { print $2; exit }' killed.300.py)
    for part in "head:$((at - 32))" "kind:$((at - 32))+" "serial:$((at - 24))" "tag:$((at - 16))" \
        "sum:$((at - 12))" "check:$((at - 8))" "zeros behind the check:$((at - 3))" \
        "first byte:$at" "last byte:$((at + size - 1))" "zeros behind the value:$((at + size))"; do
        offset=${part##*:}
        case $offset in *+) offset=$((${offset%+} + 7)) ;; esac
        check "a flipped bit, ${part%%:*}: damage" flipped "$offset" 1
    done
    check 'a flipped bit, head of the last slot: damage' flipped $((last - 32)) 1
    check 'a flipped bit, head of a hole: damage' flipped "$hole" 1
    check 'a flipped bit in a hole: none' flipped $((hole + 40)) 0
    check 'a flipped bit in a copy of the header: none' flipped 4120 0
    check 'two damaged slots' eval "cp killed.300 two && ./format_values flip two $at &&
        ./format_values flip two $((last - 8)) && agree two 2"
    check 'damage is on the map' same_map two 64
    run ./format_values close unwritten 0
    ./format_values flip unwritten 8200
    ./format_values flip unwritten 8192
    check 'leftovers in a file without a value are none' agree unwritten 0

    # The other byte order, written by a machine of that order.
    need gcc-s390x-linux-gnu s390x-linux-gnu-gcc && need qemu-user qemu-s390x && {
        try 'format_values compiles for s390x' s390x-linux-gnu-gcc -static -std=c11 -O1 \
            "$root/test/overflow/format_values.c" -o format_other
        run qemu-s390x ./format_other close other 300
        run qemu-s390x ./format_other list other
        grep '^slot' out >other.c
        in_python other
        awk '$1 == "slot" { print $1, $2, $3, $4, $5 % 536870912, $6 }' other.py >other.slots
        check 'the other byte order: the lists are equal' eval '[ -s other.c ] && cmp other.c other.slots'
        run ./overflow_inspect other
        check 'the other byte order: status 5' says 5 'byte order'
    }
}

# ---- Use of the tool ----

[ -f killed.300 ] || killed killed.300 300
before=$(cksum <killed.300; stat -c %y killed.300)
run ./overflow_inspect killed.300
check 'it finds no damage: status 0' [ $status -eq 0 ]
# shellcheck disable=SC2317  # called through check
adds_up() { # the bytes of all kinds and of all rows are those of the file
    awk -v size="$(wc -c <killed.300)" '
        $1 ~ /^(header|slots|holes|damage|free)$/ && NF == 3 { totals += $3 }
        $1 == "offset" { table = 1; next } table { if ($1 != rows) exit 1; rows += $2 }
        END { exit totals != size || rows != size }' out
}
check 'totals and rows add up to the file' adds_up
highest_turn() { # the copy of the header that counts
    awk '$1 == "copy" && $4 + 0 > turn { turn = $4 + 0; which = $0 } END { exit which !~ /in force/ }' out &&
        [ "$(grep -c 'in force' out)" -eq 1 ] && [ "$(grep -c older out)" -ge 1 ]
}
check 'of the copies of the header the one with the highest turn is in force' highest_turn
cp out want
run ./overflow_inspect -s killed.300
check 'a salvage of a good file is the same' cmp out want
check 'the file is unchanged' [ "$before" = "$(cksum <killed.300; stat -c %y killed.300)" ]
chmod 400 killed.300
run ./overflow_inspect -n 3 killed.300
check 'a file that may only be read; -n 3' eval "[ $status -eq 0 ] &&
    [ \$(sed -n '/offset .*bytes .*what/,\$p' out | wc -l) -eq 5 ] && tail -n 1 out | grep -q '^and .* more'"

run ./overflow_inspect missing
check 'a missing file: status 3' says 3 'No such file'
ln -s killed.300 link
run ./overflow_inspect link
check 'a symbolic link: status 3' says 3 'symbolic link'
./format_values write owned 1000000000 >owned.out 2>&1 &
owner=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -s owned ] || sleep 0.1; done
run ./overflow_inspect owned
check 'a file with an owner: status 3' says 3 'an owner'
kill -s KILL $owner
wait $owner 2>/dev/null
owner=
: >empty
run ./overflow_inspect empty
check 'an empty file: status 4' says 4 'not a region file'
run ./overflow_inspect "$root/Makefile"
check 'another file: status 4' says 4 'not a region file'
run ./overflow_inspect .
check 'a folder: status 4' says 4 'not a region file'
chmod 600 killed.300
copies() { # file, offset: flips a bit in each copy of the header
    cp killed.300 "$1"
    for copy in 0 4096 6144; do ./format_values flip "$1" $((copy + $2)); done
}
copies torn 32
run ./overflow_inspect torn
check 'no copy of the header holds: status 4' says 4 'no copy holds'
head -c 5000 killed.300 >short
run ./overflow_inspect short
check 'a file that ends in its header: status 4' says 4 'at least 8,192 bytes'
little=$(printf '\1\0' | od -An -d | tr -d ' ')
copies foreign $((little == 1 ? 16 : 23))
run ./overflow_inspect foreign
check 'another version: status 5' says 5 'version 18'
# ---- A disk that cannot read: its image was cut short in the file ----

# shellcheck disable=SC2317  # called through check
half_read() { # every piece before the cut is as before, but a value that reaches into it
    [ $status -eq 1 ] && grep -q 'damage: disk' out && pieces out >half &&
        awk 'NR == FNR { before[$0] = 1; next } /^damage/ { exit } { n++ } !($0 in before) { exit 1 }
             END { exit n < 20 }' whole half
}
if [ "$(id -u)" -ne 0 ]; then echo '# a disk that cannot read: only root may mount'
elif need e2fsprogs mkfs.ext2 debugfs; then
    mkdir disk
    truncate -s 8M image
    mkfs.ext2 -q -F -m 0 -b 4096 image >out 2>&1
    if mount -o loop image disk 2>out; then
        ./format_values close disk/region 300
        ./overflow_inspect disk/region >out
        pieces out >whole
        umount disk
        block=$(debugfs -R 'bmap /region 10' image 2>/dev/null)
        mount -o loop,ro image disk && truncate -s $((block * 4096)) image
        run ./overflow_inspect disk/region
        check 'a disk that cannot read: status 3' says 3 'try -s'
        run ./overflow_inspect -s disk/region
        check 'a salvage shows the rest' half_read
        umount disk
    else echo '# a disk that cannot read: this root may not mount'
    fi
fi

# ---- Arguments ----

for arguments in '' '-x killed.300' '-b 31 killed.300' '-b 9z killed.300' '-n -1 killed.300' \
    'killed.300 torn'; do
    run ./overflow_inspect $arguments
    check "bad arguments '$arguments': status 2" says 2 usage:
done
run ./overflow_inspect --help
check 'help' eval "[ $status -eq 0 ] && grep -q usage: out"
[ ! -c /dev/full ] || {
    timeout 60 ./overflow_inspect killed.300 >/dev/full 2>err
    status=$?
    : >out
    check 'output that cannot be written: status 3' says 3 stdout
}
tap_end
