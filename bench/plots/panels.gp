# panels.gp - a panel for each group of subjects, small: five in a row; see bench/plot.sh for the
# variables. The data has a block for each panel and line: x, y and the size of the point.
load style
across = 5
down = (panels + across - 1) / across
set terminal svg size 1100,90 + 250 * down font 'sans-serif,12' dynamic noenhanced
set output svg
unset title
unset xlabel
unset ylabel
set logscale x
set autoscale xfix
set xtics (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
set yrange [0:1]
set ytics 0.2
set offsets graph 0.1, graph 0.1, 0, 0
word_of(list, n) = n == 1 ? list[1:(strstrt(list.'|', '|') - 1)] : \
    word_of(list[(strstrt(list, '|') + 1):], n - 1)
set label 1 title at screen 0.5, screen 1 - 20.0 / (90 + 250 * down) center textcolor rgb ink font ',16'
set label 2 xlabel at screen 0.5, screen 34.0 / (90 + 250 * down) center textcolor rgb ink
set label 3 ylabel at screen 0.012, screen 0.5 center rotate textcolor rgb ink
do for [i=1:lines] {
    set label 3 + i word_of(titles, i) at screen 0.15 * i, screen 12.0 / (90 + 250 * down) center \
        textcolor rgb word(colours, i) font ',14'
}
set multiplot
do for [g=1:panels] {
    column = (g - 1) % across
    row = (g - 1) / across
    set lmargin at screen 0.045 + 0.19 * column
    set rmargin at screen 0.045 + 0.19 * column + 0.165
    set tmargin at screen 1 - (60.0 + 250 * row) / (90 + 250 * down)
    set bmargin at screen 1 - (245.0 + 250 * row) / (90 + 250 * down)
    set title word_of(names, g) textcolor rgb ink offset 0, -0.7 font ',13'
    plot for [i=1:lines] data index ((g - 1) * lines + i - 1) using 1:2:3 with linespoints \
        linecolor rgb word(colours, i) linewidth (i == 1 ? 2.5 : 1.2) pointtype 7 \
        pointsize variable
    if (g == 1) { do for [i=1:3 + lines] { unset label i } }
}
unset multiplot
