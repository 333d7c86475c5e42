package format

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
)

// Printable returns s with everything escaped that does not show or that changes how the rest shows, as Go
// does it: control characters, characters that do not show, white space other than a space. So a cell stays
// on its line and in its column, and nobody can pass off one text as another, whatever a caller wrote.
func Printable(s string) string {
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case hidden(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func hidden(r rune) bool { return r != ' ' && !limits.Shows(r) }

// OrDash returns s as Printable does, and "-" for an empty one.
func OrDash(s string) string {
	if s == "" {
		return "-"
	}
	return Printable(s)
}

// Service returns a service name for people. The empty name is shown as two quotes.
func Service(name string) string {
	if name == "" {
		return `""`
	}
	return Printable(name)
}

// OneLine joins the lines of s.
func OneLine(s string) string { return strings.Join(strings.FieldsFunc(s, isLineBreak), "; ") }

func isLineBreak(r rune) bool { return r == '\n' || r == '\r' }

// Alternatives writes a list as "a, b or c".
func Alternatives(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}

// Code returns a gRPC code as the protocol's documents write it: NOT_FOUND.
func Code(c codes.Code) string {
	switch c {
	case codes.OK:
		return "OK"
	case codes.Canceled:
		return "CANCELLED"
	}
	var b strings.Builder
	for i, r := range c.String() {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

// Grouped writes 1234567 as 1,234,567.
func Grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Count is a number with its noun: "1 watch", "2 watches".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Grouped(uint64(n)) + " " + many
}

// Bytes returns a number of bytes in a unit of 1024, with two or three digits: 4.0KiB, 32MiB.
func Bytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	unit, size := 0, float64(n)
	for size >= 1023.5 && unit < len(units)-1 {
		unit, size = unit+1, size/1024
	}
	if unit > 0 && size < 9.95 {
		return fmt.Sprintf("%.1f%s", size, units[unit])
	}
	return fmt.Sprintf("%.0f%s", size, units[unit])
}

// Mebibytes returns a number of bytes in MiB.
func Mebibytes(n int64) float64 { return float64(n) / (1 << 20) }
