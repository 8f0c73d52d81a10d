# lines.gp - time against threads or an amount of work; see bench/plot.sh for the variables.
load style
set lmargin 10
set rmargin at screen 0.70
set xrange [first:last]
if (log_x) set logscale x
if (log_x) set format x '%.0s %c'
set logscale y
set yrange [bottom:top]
eval 'set ytics ('.ytics.')'
if (strlen(xtics)) eval 'set xtics ('.xtics.')'
load labels
plot for [i=0:lines-1] data index i using 1:2 with linespoints \
    linecolor rgb word(colours, i + 1) linewidth 0 + word(widths, i + 1) \
    pointtype 0 + word(points, i + 1) pointsize 0.7 dashtype 0 + word(dashes, i + 1)
