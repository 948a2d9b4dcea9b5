package main

import (
	"regexp"
	"slices"
	"strings"
)

// rowOfLines is what parts the head of a table from its rows, cell for cell.
var rowOfLines = regexp.MustCompile(`^:?-+:?$`)

// leastColumn is the narrowest column into which a table is squeezed.
const leastColumn = 8

// tableLines renders a table of Markdown (GitHub's extension) so that it fits the
// terminal: columns are as wide as what is in them, and in a narrow terminal cells
// have several lines. A table that does not fit at all is shown as it was written.
func tableLines(rows []string, columns int, colours bool) (lines []string) {
	if len(rows) == 0 {
		return nil
	}
	cells := make([][]string, len(rows))
	most := 0
	for i, r := range rows {
		cells[i] = tableCells(r)
		most = max(most, len(cells[i]))
	}
	var right []bool
	headed := len(cells) > 1 && !slices.ContainsFunc(cells[1], func(c string) bool { return !rowOfLines.MatchString(c) })
	if headed {
		for _, c := range cells[1] {
			right = append(right, strings.HasSuffix(c, ":") && !strings.HasPrefix(c, ":"))
		}
		cells = slices.Delete(cells, 1, 2)
	}
	spans := make([][][]span, len(cells))
	widths := make([]int, most)
	for i, r := range cells {
		look := ""
		if headed && i == 0 {
			look = lookBold
		}
		for j, c := range r {
			s := inline(c, look)
			spans[i] = append(spans[i], s)
			width := 0
			for _, part := range s {
				width += textWidth(part.text)
			}
			widths[j] = max(widths[j], width)
		}
	}
	const between = 3
	room := columns - between*(most-1)
	if room < leastColumn*most && total(widths) > room {
		var m markdown
		for _, r := range rows {
			s, indent := m.line(r, true)
			lines = append(lines, wrap(s, columns, indent, colours)...)
		}
		return lines
	}
	for total(widths) > room {
		widths[slices.Index(widths, slices.Max(widths))]--
	}
	st := style{colours}
	for i, r := range spans {
		lines = append(lines, tableRow(r, widths, right, st)...)
		if headed && i == 0 {
			parts := make([]string, most)
			for j, w := range widths {
				parts[j] = strings.Repeat("─", w)
			}
			lines = append(lines, st.dim(strings.Join(parts, "─┼─")))
		}
	}
	return lines
}

// tableRow renders a row, in as many lines as its longest cell has.
func tableRow(cells [][]span, widths []int, right []bool, st style) (lines []string) {
	columns := make([][]string, len(widths))
	height := 1
	for j := range widths {
		columns[j] = []string{""}
		if j < len(cells) {
			columns[j] = wrap(cells[j], widths[j], "", st.on)
		}
		height = max(height, len(columns[j]))
	}
	for k := range height {
		var b strings.Builder
		for j, w := range widths {
			if j > 0 {
				b.WriteString(st.dim(" │ "))
			}
			text := ""
			if k < len(columns[j]) {
				text = columns[j][k]
			}
			pad := strings.Repeat(" ", max(0, w-textWidth(text)))
			if j < len(right) && right[j] {
				text = pad + text
			} else {
				text += pad
			}
			b.WriteString(text)
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return lines
}

// tableCells parts a row into its cells. A "|" behind a backslash, or in code, parts
// nothing.
func tableCells(row string) (cells []string) {
	row = strings.TrimSpace(row)
	row = strings.TrimPrefix(row, "|")
	var b strings.Builder
	code := false
	for i := 0; i < len(row); i++ {
		switch c := row[i]; {
		case c == '\\' && i+1 < len(row) && row[i+1] == '|':
			b.WriteByte('|')
			i++
		case c == '|' && !code:
			cells = append(cells, strings.TrimSpace(b.String()))
			b.Reset()
		default:
			code = code != (c == '`')
			b.WriteByte(c)
		}
	}
	if rest := strings.TrimSpace(b.String()); rest != "" {
		cells = append(cells, rest)
	}
	return cells
}

func total(widths []int) (n int) {
	for _, w := range widths {
		n += w
	}
	return n
}
