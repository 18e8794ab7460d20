# Makes one Markdown table of what run.sh has printed: a line for each case, a column for each server and
# protocol. `make peers | tee RUN; awk -f tests/peers/table.awk RUN`

/^==> / { server = $2; sub(/,$/, "", server) }

/^ *[0-9]+ [a-z]/ && $3 != "-" {
    protocol = $3
    field = 4
    if ($4 == "TLS") { protocol = protocol " TLS"; field = 5 }
    column = server " " protocol
    if (!(column in known_column)) { known_column[column] = 1; columns[++width] = column }
    if (!($2 in number)) { number[$2] = $1; names[++height] = $2 }
    cell = ""
    if ($(field + 2) > 0) cell = cell " lost " $(field + 2)
    if ($(field + 3) > 0) cell = cell " again " $(field + 3)
    if ($(field + 4) > 0) cell = cell " failed " $(field + 4)
    cells[$2, column] = cell == "" ? " ok" : cell
    if ($1 > last) last = $1
}

END {
    line = "| case |"; rule = "|---|"
    for (c = 1; c <= width; c++) { line = line " " columns[c] " |"; rule = rule "---|" }
    print line; print rule
    for (n = 0; n <= last; n++) for (h = 1; h <= height; h++) {
        name = names[h]
        if (number[name] != n) continue
        line = "| " n " " name " |"
        for (c = 1; c <= width; c++) line = line ((name, columns[c]) in cells ? cells[name, columns[c]] : " -") " |"
        print line
    }
}
