# tools.sh - the part of lint.sh that asks clang-tidy, cppcheck and shellcheck.
# shellcheck shell=sh disable=SC2086,SC2154  # lists of files, which lint.sh sets

tools() {
    if tool clang-tidy clang-tidy; then
        # Not memcpy_s, which Linux lacks; not the analyzer's padding: cache lines ask for it.
        checks='-*,bugprone-*,clang-analyzer-*,cert-*'
        for not in bugprone-easily-swappable-parameters bugprone-reserved-identifier cert-dcl37-c \
            cert-dcl51-cpp bugprone-macro-parentheses bugprone-assignment-in-if-condition \
            clang-analyzer-optin.performance.Padding \
            clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling; do
            checks="$checks,-$not"
        done
        for header in $headers; do
            check "clang-tidy $header" clang-tidy -quiet -checks="$checks" \
                -warnings-as-errors='*' "$header" -- \
                -x c -std=c11 -DSLAB_IMPLEMENTATION -DOVERFLOW_IMPLEMENTATION \
                -DFIXEDPOOL_IMPLEMENTATION -DBUFPOOL_IMPLEMENTATION
        done
    fi
    if tool cppcheck cppcheck; then
        for header in $headers; do
            check "cppcheck $header" cppcheck --quiet --std=c11 --language=c --error-exitcode=1 \
                --enable=warning,portability,performance -DSLAB_IMPLEMENTATION \
                -DOVERFLOW_IMPLEMENTATION -DFIXEDPOOL_IMPLEMENTATION -DBUFPOOL_IMPLEMENTATION \
                -D__BYTE_ORDER__=1 -D__ORDER_LITTLE_ENDIAN__=1 "$header"
        done
    fi
    if tool shellcheck shellcheck; then
        for script in $scripts; do
            check "shellcheck $script" shellcheck -x "$script"
        done
    fi
}
