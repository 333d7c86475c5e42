package top

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"

	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// columnsOf returns how many columns of a terminal a character takes.
func columnsOf(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r):
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

func widthOf(s string) int {
	n := 0
	for _, r := range s {
		n += columnsOf(r)
	}
	return n
}

// cut returns the begin of s that fits into n columns, with "…" at its end if there is more.
func cut(s string, n int) string {
	if n <= 0 {
		return ""
	}
	if len(s) <= n || widthOf(s) <= n {
		return s
	}
	left := n - 1
	for i, r := range s {
		if left -= columnsOf(r); left < 0 {
			return s[:i] + "…"
		}
	}
	return s
}

// cell is a text in a column: cut or filled up to n columns, with the numbers at the right.
type cell struct {
	text  string
	tone  format.Tone
	n     int // columns; 0: all that are left
	right bool
}

// line puts cells side by side, in at most so many columns.
func line(columns int, paint bool, cells ...cell) string {
	var b strings.Builder
	for i, c := range cells {
		if columns <= 0 {
			break
		}
		n := c.n
		if n == 0 || n > columns {
			n = columns
		}
		text := cut(c.text, n)
		fill := strings.Repeat(" ", max(0, n-widthOf(text)))
		shown := text
		if paint {
			shown = format.Paint(text, c.tone)
		}
		if c.right {
			b.WriteString(fill)
			fill = ""
		}
		b.WriteString(shown)
		columns -= n
		if i < len(cells)-1 && columns > 2 {
			b.WriteString(fill + "  ")
			columns -= 2
		} else {
			break
		}
	}
	return b.String()
}
