# version.awk - checks that the version is the same everywhere, by SLAB_VERSION.
#
#     awk -f version.awk slab.h overflow.h fixedpool.h bufpool.h Makefile CMakeLists.txt ...
#
# A build file may read SLAB_VERSION out of the header instead of repeating the number. Of the
# changelog the first heading with a number counts, of other documents each "version 0.N.N".

function is(where, found) {
    seen[FILENAME] = 1
    if (found != version && version != "")
        print FILENAME ":" FNR ": " where " is " found ", SLAB_VERSION " version
}
function first_number(text) {
    return match(text, /[0-9]+\.[0-9]+\.[0-9]+/) ? substr(text, RSTART, RLENGTH) : "unknown"
}

FNR == 1 { files[++count] = FILENAME }
/^#define [A-Z]+_VERSION[ \t]/ && FILENAME ~ /\.h$/ {
    found = int($3 / 10000) "." int($3 / 100) % 100 "." $3 % 100
    if (version == "") version = found
    is($2, found)
    if (index($0, "/* " found ":") == 0) print FILENAME ":" FNR ": the comment does not say " found
    next
}
FILENAME ~ /(Makefile|CMakeLists\.txt|meson\.build)$/ && /SLAB_VERSION/ { seen[FILENAME] = 1 }
FILENAME ~ /Makefile$/ && /^version *:?=.*[0-9]/ { is("version", first_number($0)) }
FILENAME ~ /CMakeLists\.txt$/ && /VERSION +[0-9]+\.[0-9]+\.[0-9]+/ && !/cmake_minimum/ {
    is("VERSION", first_number($0))
}
FILENAME ~ /meson\.build$/ && /(^|[^_a-z])version *: *'[0-9]/ { is("version", first_number($0)) }
FILENAME ~ /CHANGELOG\.md$/ && /^#+ .*[0-9]+\.[0-9]+\.[0-9]+/ && !(FILENAME in seen) {
    is("the first heading", first_number($0))
}
FILENAME ~ /\.md$/ && FILENAME !~ /CHANGELOG/ && /[Vv]ersion 0\.[0-9]+\.[0-9]+/ {
    is("the version", first_number(substr($0, match($0, /[Vv]ersion 0\./))))
}
END {
    if (version == "") print "no header defines SLAB_VERSION"
    for (i = 1; i <= count; i++)
        if (!(files[i] in seen) && files[i] !~ /README\.md$/) print files[i] ": names no version"
}
