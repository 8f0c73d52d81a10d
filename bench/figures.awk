# figures.awk - figures, one a line for each round, to a table of medians and quartiles.
#
#     awk -f bench/figures.awk FIGURES >TABLE.tsv
#
# Input: workload, subject, threads, amount, number, measure; blanks between them, "-" for threads
# or an amount that was not chosen; FAILED and a reason in place of number and measure. Lines that
# begin with # are copied. Output: tab-separated, rows in the order in which the workloads, and of
# a workload the subjects, first appear. Of n sorted rounds the quartiles are those numbered
# floor((n + 3) / 4) and n + 1 - floor((n + 3) / 4). A row that failed has "nan" for its figures and
# the reason as its measure.
BEGIN { OFMT = CONVFMT = "%.10g" }
function median(key,  n) {
    n = rounds[key]
    return n % 2 ? v[key, (n + 1) / 2] : (v[key, n / 2] + v[key, n / 2 + 1]) / 2
}
function unit_of(measure) {
    if (measure ~ /^ns\/|-ns$|_ns$/) return "ns"
    if (measure ~ /^us\/|-us$/) return "us"
    if (measure ~ /^ms$|-ms$/) return "ms"
    if (measure ~ /%$/) return "%"
    if (measure ~ /ppm$/) return "ppm"
    if (measure ~ /_per_s$/) return "1/s"
    if (measure == "bytes") return "bytes"
    if (measure ~ /^payload|ratio$/) return "ratio"
    return "count"
}
/^#/ { print; next }
NF != 6 { print "figures.awk: line " FNR " has not 6 fields: " $0 >"/dev/stderr"; bad = 1; exit 1 }
{
    if (!($1 in workload_known)) { workload_known[$1] = 1; workloads[++workload_count] = $1 }
    row = $1 "\t" $2 "\t" $3 "\t" $4
    if ($5 == "FAILED") key = row "\t" $6
    else key = row "\t" $6
    if (!(key in rounds)) keys[$1, ++key_count[$1]] = key
    rounds[key]++
    if ($5 == "FAILED") { failed[key] = 1; next }
    for (i = rounds[key]; i > 1 && v[key, i - 1] > $5 + 0; i--) v[key, i] = v[key, i - 1]
    v[key, i] = $5 + 0
}
END {
    if (bad) exit 1
    OFS = "\t"
    print "workload", "subject", "threads", "amount", "measure", "median", "quartile1", \
        "quartile3", "least", "most", "rounds", "unit"
    for (w = 1; w <= workload_count; w++) for (k = 1; k <= key_count[workloads[w]]; k++) {
        key = keys[workloads[w], k]
        n = rounds[key]
        low = int((n + 3) / 4)
        split(key, part, "\t")
        if (failed[key]) print key, "nan", "nan", "nan", "nan", "nan", n, "failed"
        else print key, sprintf("%.10g", median(key)), v[key, low], v[key, n + 1 - low], \
            v[key, 1], v[key, n], n, unit_of(part[5])
    }
}
