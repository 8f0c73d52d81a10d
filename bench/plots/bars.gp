# bars.gp - a group of bars for each row of the data, a bar for each column.
load style
set lmargin 10
set rmargin 2
set bmargin 6
set style data histogram
set style histogram clustered gap 1.2
set style fill solid 0.9 border rgb ink
set boxwidth 0.95
set yrange [0:top]
if (top == 1) set ytics 0.2; else set format y '%.0s %c'
set xtics scale 0
set key outside bottom center horizontal maxrows 1 textcolor rgb ink samplen 1.2 font ',14' noautotitle
plot for [i=2:columns] data using i:xtic(1) title columnhead(i) linecolor rgb word(colours, i - 1)
