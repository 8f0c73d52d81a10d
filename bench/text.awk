# text.awk - a table of figures.awk as text to be read: columns aligned, with the ratio to Ashlar.
#
#     awk -f bench/text.awk TABLE.tsv
#
# The ratio is that of medians of the same workload, threads, amount and measure.
BEGIN { FS = "\t" }
/^#/ { print substr($0, 3); next }
$1 == "workload" { next }
{
    rows++
    for (i = 1; i <= 6; i++) cell[rows, i] = $i
    middle[rows] = $6 == "nan" ? "" : short($7) " to " short($8)
    for (i = 1; i <= 2; i++) if (length($i) > width[i]) width[i] = length($i)
    if (length($5) > width[5]) width[5] = length($5)
    if ($3 != "-" || $4 != "-") swept = 1
    if ($2 == "ashlar" || $2 == "store") base[$1, $3, $4, $5] = $6
}
function short(number) {
    if (number == "nan") return "FAILED"
    return sprintf(number >= 10000 ? "%.0f" : "%.5g", number)
}
function line(workload, subject, threads, amount, measure, median, quartiles, ratio,  text) {
    text = sprintf("%-*s  %-*s", width[1] < 8 ? 8 : width[1], workload, \
        width[2] < 8 ? 8 : width[2], subject)
    if (swept) text = text sprintf(" %7s %9s", threads, amount)
    text = text sprintf("  %-*s %12s  %-24s %8s", width[5] < 7 ? 7 : width[5], measure, median, \
        quartiles, ratio)
    sub(/ +$/, "", text)
    print text
}
END {
    line("workload", "subject", "threads", "amount", "measure", "median", "quartiles", "ratio")
    for (r = 1; r <= rows; r++) {
        at = cell[r, 1] SUBSEP cell[r, 3] SUBSEP cell[r, 4] SUBSEP cell[r, 5]
        ratio = (at in base) && base[at] > 0 && cell[r, 6] != "nan" ? \
            sprintf("%.2f", cell[r, 6] / base[at]) : ""
        line(cell[r, 1], cell[r, 2], cell[r, 3], cell[r, 4], cell[r, 5], short(cell[r, 6]), \
            middle[r], ratio)
    }
}
