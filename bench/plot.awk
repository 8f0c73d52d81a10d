# plot.awk - the figures of each plot, as gnuplot wants them; run by bench/plot.sh.
#
#     awk -v from=DIRECTORY -v to=DIRECTORY -f bench/plot.awk bench/plots.txt
#
# Writes NAME.data and, for lines, NAME.labels to a directory. Prints for each plot its kind, its
# name and gnuplot's variables, separated by tabs. A plot without figures is left out.
BEGIN {
    # The palette of Okabe and Ito, as far as it contrasts with white and with black.
    colour["red"] = "#d55e00"
    colour["thinred"] = "#d55e00" # lines: thin
    colour["lightred"] = "#e69f60"
    colour["blue"] = "#3a8fd0"
    colour["green"] = "#009e73"
    colour["orange"] = "#c9a000"
    colour["purple"] = "#c06aa8"
    colour["teal"] = "#5aa9c0"
    colour["grey"] = "#767c84"
    split("7 5 9 11 13 4 6 8", mark, " ")
}
/^(#|$)/ { next }
$1 == "lines" || $1 == "bars" || $1 == "panels" {
    finish()
    kind = $1; name = $2; table = $3; what = $4; axis = $5
    count = groups = 0
    next
}
{ text = $0; sub(/^[^ ]+ /, "", text) }
$1 == "title" { title = text }
$1 == "x" { x_label = text }
$1 == "y" { y_label = text }
$1 == "group" {
    sub(/^[^ ]+ /, "", text)
    group[++groups] = $2
    group_label[groups] = text
}
$1 == "line" {
    sub(/^[^ ]+ [^ ]+ /, "", text)
    subject[++count] = $2; tint[count] = colour[$3]; label[count] = text
    floor_line[count] = $3 == "grey"
}
END { finish() }

function finish() {
    if (!kind) return
    if (kind == "panels") { draw_panels(); return }
    read_table()
    if (kind == "lines") draw_lines()
    else draw_bars()
}

# value[subject, x], xs[1..x_count]: the medians; subjects that were not measured have none.
function read_table(  file, row, part, x, i, seen) {
    split("", value)
    split("", has)
    x_count = 0
    file = from "/" table ".tsv"
    while ((getline row <file) > 0) {
        if (row ~ /^(#|workload\t)/) continue
        split(row, part, "\t")
        if (part[6] == "nan") continue
        if (kind == "bars") {
            if (part[5] != what) continue
            x = part[1]
        } else {
            if (part[1] != what || part[5] != "ns/op") continue
            x = axis == "threads" ? part[3] : part[4]
        }
        if (!(x in seen)) { seen[x] = 1; xs[++x_count] = x }
        value[part[2], x] = part[6]
        has[part[2]] = 1
    }
    close(file)
}

function quoted(text) { gsub(/'/, "", text); return "'" text "'" }

function draw_lines(  i, j, n, least, most, first, last, data, v, log_x, tics, y_tics, end_at) {
    data = to "/" name ".data"
    n = 0
    least = 1e300; most = 0; first = 1e300; last = 0
    colours = widths = points = dashes = ""
    for (i = 1; i <= count; i++) {
        if (!(subject[i] in has)) continue
        n++
        for (j = 1; j <= x_count; j++) {
            if (!((subject[i], xs[j]) in value)) continue
            v = value[subject[i], xs[j]] + 0
            print xs[j], v >data
            if (v < least) least = v
            if (v > most) most = v
            if (xs[j] + 0 < first) first = xs[j] + 0
            if (xs[j] + 0 > last) last = xs[j] + 0
            end_at[n] = v
        }
        print "\n" >data
        colours = colours " " tint[i]
        widths = widths (i == 1 ? " 3.5" : " 2")
        points = points " " (floor_line[i] ? 0 : mark[n])
        dashes = dashes (floor_line[i] ? " 2" : " 1")
        at_label[n] = i
    }
    close(data)
    if (n == 0) return
    log_x = axis == "amount"
    for (j = 1; j <= x_count; j++)
        tics = tics (j > 1 ? ", " : "") "\"" xs[j] "\" " xs[j]
    if (log_x) tics = ""
    least = least / 1.3; most = most * 1.3
    y_tics = log_tics(least, most)
    place_labels(n, end_at, least, most)
    printf "lines\t%s\ttitle=%s; xlabel=%s; ylabel=%s; log_x=%d; first=%s; last=%s; ", name, \
        quoted(title), quoted(x_label), quoted(y_label), log_x, first, last
    printf "bottom=%g; top=%g; lines=%d; xtics=%s; ytics=%s; ", least, most, n, quoted(tics), \
        quoted(y_tics)
    printf "colours=%s; widths=%s; points=%s; dashes=%s\n", quoted(colours), quoted(widths), \
        quoted(points), quoted(dashes)
}

function grouped(digits) {
    while (match(digits, /[0-9][0-9][0-9][0-9](,|$)/))
        digits = substr(digits, 1, RSTART) "," substr(digits, RSTART + 1)
    return digits
}

# 1, 2, 5, 10, 20 ... where that is not too many, else powers of ten.
function log_tics(least, most,  text, decade, step) {
    step = most / least > 300 ? 9 : 1
    for (decade = 0.01; decade <= most; decade *= 10) {
        text = text tic(decade, least, most)
        if (step == 1) text = text tic(2 * decade, least, most) tic(5 * decade, least, most)
    }
    return substr(text, 3)
}
function tic(at, least, most) {
    if (at < least || at > most) return ""
    return ", \"" (at < 1 ? at : grouped(sprintf("%.0f", at))) "\" " at
}

# Labels stand at the right of their lines' ends, moved apart where they would overlap: from 0 to 1
# on the logarithmic axis, in the order of the ends.
function place_labels(n, end_at, least, most,  i, j, order, at, gap, moved, file, swap) {
    file = to "/" name ".labels"
    gap = 0.058
    for (i = 1; i <= n; i++) {
        at[i] = log(end_at[i] / least) / log(most / least)
        order[i] = i
        for (j = i; j > 1 && at[order[j - 1]] > at[order[j]]; j--) {
            swap = order[j]; order[j] = order[j - 1]; order[j - 1] = swap
        }
    }
    for (moved = 0; moved < 200; moved++) for (i = 2; i <= n; i++)
        if (at[order[i]] - at[order[i - 1]] < gap) {
            swap = (gap - (at[order[i]] - at[order[i - 1]])) / 2
            at[order[i]] += swap; at[order[i - 1]] -= swap
        }
    for (i = 1; i <= n; i++)
        printf "set label %d %s at graph 1.02, graph %.4f left textcolor rgb %s font ',14'\n", i, \
            quoted(label[at_label[i]]), at[i], quoted(tint[at_label[i]]) >file
    close(file)
}

function draw_bars(  i, g, data, n, any, most, shown) {
    data = to "/" name ".data"
    colours = ""
    printf "trace" >data
    for (i = 1; i <= count; i++) if (subject[i] in has) {
        n++
        printf "\t\"%s\"", label[i] >data
        colours = colours " " tint[i]
    }
    print "" >data
    for (g = 1; g <= groups; g++) {
        any = 0
        for (i = 1; i <= count; i++) if ((subject[i], group[g]) in value) any = 1
        if (!any) continue
        shown++
        printf "\"%s\"", group_label[g] >data
        for (i = 1; i <= count; i++) if (subject[i] in has) {
            any = (subject[i], group[g]) in value ? value[subject[i], group[g]] : "nan"
            printf "\t%s", any >data
            if (any + 0 > most) most = any + 0
        }
        print "" >data
    }
    close(data)
    if (n == 0 || shown == 0) return
    printf "bars\t%s\ttitle=%s; xlabel=%s; ylabel=%s; columns=%d; top=%g; ", name, \
        quoted(title), quoted(x_label), quoted(y_label), n + 1, most <= 1 ? 1 : most * 1.05
    printf "colours=%s\n", quoted(colours)
}

# A panel for each group, a line for each subject through its variants SUBJECT-N, in the order of
# the table. what is the measure of the y axis, axis that of the x axis.
function draw_panels(  file, row, part, x, y, at, order, n, i, g, p, data, family, known) {
    file = from "/" table ".tsv"
    data = to "/" name ".data"
    while ((getline row <file) > 0) {
        if (row ~ /^(#|workload\t)/) continue
        split(row, part, "\t")
        if (part[6] == "nan") continue
        at = part[1] SUBSEP part[2]
        if (part[5] == what) y[at] = part[6]
        if (part[5] == axis) { x[at] = part[6]; order[++n] = at; known[part[1]] = 1 }
    }
    close(file)
    if (n == 0) return
    colours = panels = titles = ""
    for (g = 1; g <= groups; g++) for (i = 1; i <= count && (group[g] in known); i++) {
        for (p = 1; p <= n; p++) {
            split(order[p], part, SUBSEP)
            family = part[2]
            sub(/-[0-9]+$/, "", family)
            if (part[1] == group[g] && family == subject[i] && (order[p] in y))
                print x[order[p]] * 1e-6, y[order[p]], (part[2] == subject[i] ? 1.3 : 0.7) >data
        }
        print "nan nan nan\n\n" >data
    }
    close(data)
    for (i = 1; i <= count; i++) {
        colours = colours " " tint[i]
        titles = titles (i > 1 ? "|" : "") label[i]
    }
    n = 0
    for (g = 1; g <= groups; g++)
        if (group[g] in known) panels = panels (n++ > 0 ? "|" : "") group_label[g]
    printf "panels\t%s\ttitle=%s; xlabel=%s; ylabel=%s; lines=%d; panels=%d; ", name, \
        quoted(title), quoted(x_label), quoted(y_label), count, n
    printf "colours=%s; titles=%s; names=%s\n", quoted(colours), quoted(titles), quoted(panels)
}
