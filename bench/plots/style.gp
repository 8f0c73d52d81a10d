# style.gp - the looks of all plots: no background, and text and lines of middle brightness, so that
# they can be read on white and on black; colours that colour-blind readers can tell apart.
set terminal svg size 860,480 font 'sans-serif,15' dynamic noenhanced
set output svg
set datafile missing 'nan'
ink = '#767c84'
set title title textcolor rgb ink font ',17'
set border 3 linecolor rgb ink
set tics nomirror textcolor rgb ink
set grid ytics linecolor rgb ink linewidth 0.4 dashtype 3
set xlabel xlabel textcolor rgb ink
set ylabel ylabel textcolor rgb ink
unset key
