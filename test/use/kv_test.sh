#!/bin/sh
# Goal: kv-server loses nothing that it acknowledged, serves every byte, from memory and from its
# file, through io_uring and through epoll, and refuses bad arguments; and kvdemo, its client,
# notices when a byte is wrong.
# Method: kvdemo loads a tree of some megabytes into a server with a quarter of the memory, kills it
# and verifies. Then bad arguments. Unless ONLY_COMPILER is set: under AddressSanitizer; kv_plane.c,
# which counts what a data plane does; and servers that are broken on purpose, each of which kvdemo
# or kv_plane must find out.
#
#   test/use/kv_test.sh WORKDIR
# shellcheck disable=SC2086,SC2317  # CFLAGS is a list of words; check calls functions
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/tap.sh"
tap_begin "$1"

build() { # output, sources and flags...
    build_output=$1
    shift
    $CC -std=c11 -D_GNU_SOURCE $CFLAGS -I"$root" -pthread "$@" -o "$build_output"
}
demo() { # server's flags...
    printf '#!/bin/sh\nexec "%s" "$@" %s\n' "$PWD/$server" "$*" >flagged
    chmod +x flagged
    run ./kvdemo --server ./flagged tree
}
verified() { [ $status -eq 0 ] && tail -n 1 out | grep -q '^kvdemo: [1-9][0-9]* verified, 0 wrong$'; }
refused() { # line: status 2, and that on stderr
    [ $status -eq 2 ] && [ ! -s out ] && [ "$(head -n 1 err)" = "kv-server: $1" ]
}

try 'the server compiles' build server "$root"/examples/kv/*.c
try 'the demo compiles' build kvdemo "$root/examples/kvdemo.c"
[ $tap_failed -eq 0 ] || tap_end
mkdir tree
for copy in 1 2 3 4 5 6; do cp -r "$root/test" "$root"/*.h tree/ && mv tree/test "tree/test$copy"; done
for copy in 1 2 3 4 5 6; do for h in "$root"/*.h; do cp "$h" "tree/$copy${h##*/}"; done; done

server=server
demo
check 'every byte is verified, also after kill -9' verified
check 'the rest was served from the file' [ "$(sed -n 's/^evicted *\([0-9]*\) .*/\1/p' out)" -gt 0 ]
demo --no-ring --sync 0
check 'with epoll, and a sync after each batch' verified
printf '# op key size\ns 0 100 0 0 0\ng 1 30000 0 0 0\ns 0 200 0 0 0\n' >trace
run ./kvdemo --server ./flagged --trace trace
check 'a trace' verified
run ./kvdemo --server /nonexistent tree
check 'a server that does not start' [ $status -eq 1 ]
mkdir empty
run ./kvdemo --server ./flagged empty
check 'a tree without files' [ $status -eq 2 ]

# ---- Arguments ----

run ./server --durable
check '--durable without a file' refused '--durable needs --spill FILE'
run ./server --port 65536
check 'a port that is none' refused '--port 65536: out of range'
run ./server --memory 5q
check 'a size that is none' refused '--memory 5q: not a number of bytes'
run ./server --memory 99999999999g
check 'a size that is too large' refused '--memory 99999999999g: too large'
run ./server --sync -1
check 'a time that is none' refused '--sync -1: not a number of seconds'
run ./server --cap x=
check 'a cap that is none' refused '--cap : not a number of bytes'
run ./server --cap =8m
check 'a cap for nobody' refused '--cap =8m: not a name of an account'
run ./server --planes 2
check 'more planes than there can be' refused '--planes 2: only 1 is supported'
run ./server --io-threads 1
check 'more I/O threads than there can be' refused '--io-threads 1: only 0 is supported'
cp "$root/README.md" region
run ./server --port 0 --spill region
check 'a file that is no region' [ "$(cat err)" = 'kv-server: --spill region: not a region file' ]
check 'which is left as it was' cmp -s "$root/README.md" region

# ---- Broken servers ----

if [ -z "${ONLY_COMPILER:-}" ]; then
    sanitize='-fsanitize=address,undefined -fno-sanitize-recover=all'
    if build asan -O1 $sanitize "$root"/examples/kv/*.c >out 2>err; then
        server=asan
        demo
        check 'under AddressSanitizer' verified
        demo --no-ring
        check 'under AddressSanitizer with epoll' verified
    fi
    build_plane() { # output, the folder of its sources, flags...
        plane_output=$1 plane_sources=$2
        shift 2
        build "$plane_output" "-I$plane_sources" "$root/test/use/kv_plane.c" \
            "$plane_sources/index.c" "$plane_sources/spill.c" "$@"
    }
    if build_plane plane "$root/examples/kv" -O1 $sanitize >out 2>err; then
        run ./plane
        check 'a plane keeps its values, and each write does bounded work' [ $status -eq 0 ]
    else not_ok 'the test of a plane does not compile' err; fi
    broken() { # what, file, sed script: the sources, with that broken
        mutant_what=$1
        cp "$root"/examples/kv/*.[ch] . && sed "$3" "$root/examples/kv/$2" >"$2"
        cmp -s "$2" "$root/examples/kv/$2" || return 0
        not_ok "$1: nothing to break"
        return 1
    }
    mutant() { # what, file, sed script, server's flags...
        broken "$1" "$2" "$3" || return
        build mutant -O0 -I. ./*.c >out 2>err || { not_ok "$1: does not compile" err; return; }
        server=mutant
        shift 3
        demo "$@"
        check "noticed: $mutant_what" [ $status -ne 0 ]
    }
    plane_mutant() { # what, sed script for plane.c
        broken "$1" plane.c "$2" || return
        build_plane mutant . -O0 >out 2>err || { not_ok "$1: does not compile" err; return; }
        run timeout 60 ./mutant
        check "noticed: $mutant_what" [ $status -ne 0 ]
    }
    plane_mutant 'a move is not noted' '/^static void moved/,/^}/s/if (!entry) return;/return;/'
    plane_mutant 'nothing is moved' 's/MOVES  *= 2/MOVES = 0/'
    plane_mutant 'no record gets a second chance' \
        '/^static size_t evicted/,/^}/s/\*entry & INDEX_RECENT/(0 \& *entry)/'
    plane_mutant 'a second chance is forgotten' \
        '/^static bool make_room/,/^}/s/place(entry, at);/(void)at;/'
    plane_mutant 'all memory is evicted at once' 's/EVICT_BYTES  *= 64/EVICT_BYTES = 640/'
    plane_mutant 'one write evicts all that the index has grown by' \
        's/share + LIMIT_STEP > in_use ? share : in_use - LIMIT_STEP/share/'
    plane_mutant 'the index is not within the budget' 's/limit(plane);//'
    plane_mutant 'the tiers stay as they are' 's/++plane->writes % FIT_EVERY == 0/0/'
    mutant 'a write is not in the file' plane.c \
        's/plane->config.durable ? file_write/plane->config.durable \&\& key.len % 5 ? file_write/'
    mutant 'the older value counts' plane.c \
        's/record.serial > value.serial/record.serial < value.serial/' --sync 60
    mutant 'a delete is forgotten' plane.c \
        '/^static void drop/,/^}/s/release(plane, old, record, ENDED);/(void)old;/' --sync 0.05
    mutant 'a byte is lost on the way' client.c 's/in_len = buf ? len : 0;/in_len = buf ? len - 1 : 0;/'
fi
tap_end
