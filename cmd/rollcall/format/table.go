package format

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// Table writes rows of cells in aligned columns. Cells are escaped: see Printable.
func Table(w io.Writer, write func(row func(cells ...string))) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	write(func(cells ...string) {
		fmt.Fprintln(t, strings.Join(printable(cells), "\t"))
	})
	return t.Flush()
}

func printable(cells []string) []string {
	out := make([]string, len(cells))
	for i, cell := range cells {
		out[i] = Printable(cell)
	}
	return out
}

// Columns aligns rows that are written some at a time. Cells are escaped: see Printable. A column is as wide as its widest cell so far.
type Columns struct {
	W      io.Writer
	Header []string

	widths []int // nil: nothing is written yet
}

// Write writes rows, with the header before the first ones.
func (c *Columns) Write(rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	if c.widths == nil {
		c.widths = make([]int, len(c.Header))
		rows = append([][]string{c.Header}, rows...)
	} else {
		rows = slices.Clone(rows)
	}
	for n, row := range rows {
		rows[n] = printable(row)
		for i, cell := range rows[n] {
			c.widths[i] = max(c.widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				const between = 2
				b.WriteString(strings.Repeat(" ", c.widths[i]-utf8.RuneCountInString(cell)+between))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(c.W, b.String())
	return err
}
