package format

import (
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Columns aligns rows that are written some at a time. Cells are escaped: see Printable. A column is as wide as
// its widest cell so far.
type Columns struct {
	W      io.Writer
	Header []string // none: no header is written
	Color  bool     // cells are shown in their tones

	widths []int
	begun  bool
}

// Write writes rows, with the header before the first ones.
func (c *Columns) Write(rows [][]Cell) error {
	if len(rows) == 0 {
		return nil
	}
	if !c.begun && len(c.Header) > 0 {
		rows = append([][]Cell{Cells(c.Header...)}, rows...)
	} else {
		rows = slices.Clone(rows)
	}
	c.begun = true
	for n, row := range rows {
		rows[n] = slices.Clone(row)
		for i := range row {
			cell := &rows[n][i]
			cell.Text = Printable(cell.Text)
			if i == len(c.widths) {
				c.widths = append(c.widths, 0)
			}
			c.widths[i] = max(c.widths[i], utf8.RuneCountInString(cell.Text))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			text := cell.Text
			if c.Color {
				text = Paint(text, cell.Tone)
			}
			b.WriteString(text)
			if i < len(row)-1 {
				const between = 2
				b.WriteString(strings.Repeat(" ", c.widths[i]-utf8.RuneCountInString(cell.Text)+between))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(c.W, b.String())
	return err
}

// Table writes rows of cells in aligned columns, all at once. Cells are escaped: see Printable.
func Table(w io.Writer, write func(row func(cells ...string))) error {
	var rows [][]Cell
	write(func(cells ...string) { rows = append(rows, Cells(cells...)) })
	c := Columns{W: w}
	return c.Write(rows)
}
