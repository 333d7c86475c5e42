package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

const (
	maxFaults    = 20  // of one file that are told; the rest is counted
	enoughFaults = 100 // after these nobody looks for more
)

// Error says what is wrong with a file, and where.
type Error struct {
	File         string
	Line, Column int // from 1, columns in characters; 0: the file as a whole
	Text         string
	Source       string // the line of the file with a mark under the place, two lines without a newline at the end; may be ""
}

// Error is one line, FILE:LINE:COLUMN: what is wrong.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, cmp.Or(e.Column, 1), e.Text)
}

// Errors are the faults of a file, two at least, in the order in which they stand there; at most 21: the last one
// may say that there are more.
type Errors []*Error

// Error has a line for each fault.
func (e Errors) Error() string {
	var lines []string
	for _, one := range e {
		lines = append(lines, one.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the faults, for errors.As.
func (e Errors) Unwrap() (all []error) {
	for _, one := range e {
		all = append(all, one)
	}
	return all
}

// place is where something stands in the file.
type place struct{ line, column int }

func (p place) errorf(format string, args ...any) *Error {
	return &Error{Line: p.line, Column: p.column, Text: oneLine(fmt.Sprintf(format, args...))}
}

// oneLine makes a text with parts of the file fit for a line of a terminal or a log.
func oneLine(s string) string {
	const longest = 500 // characters
	n := 0
	for i := range s {
		if n++; n > longest {
			s = s[:i] + "…"
			break
		}
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return unicode.ReplacementChar
	}, s)
}

// faults collects what is wrong with a file.
type faults struct{ all []*Error }

// add adds a fault; nil is none.
func (f *faults) add(e *Error) {
	if e != nil {
		f.all = append(f.all, e)
	}
}

func (f *faults) at(p place, format string, args ...any) { f.add(p.errorf(format, args...)) }

// full reports whether there are so many faults that it makes no sense to look for more.
func (f *faults) full() bool { return len(f.all) >= enoughFaults }

// err returns the faults as an error: nil, an *Error or Errors.
func (f *faults) err(file string, text []byte) error {
	if len(f.all) == 0 {
		return nil
	}
	slices.SortStableFunc(f.all, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	all := slices.CompactFunc(f.all, func(a, b *Error) bool { return *a == *b })
	if more := len(all) - maxFaults; more > 0 {
		text := fmt.Sprintf("there are %d more faults", more)
		if f.full() {
			text = "there are many more faults"
		}
		all = append(all[:maxFaults:maxFaults], &Error{Text: text})
	}
	lines := strings.Split(string(text), "\n")
	for _, e := range all {
		e.File = file
		if e.Line == 0 {
			continue
		}
		if e.Line > len(lines) { // the end of the file: the library puts a value that is missing there
			e.Line, e.Column = len(lines), len(lines[len(lines)-1])+1
		}
		e.Source = excerpt(lines[e.Line-1], e.Line, max(e.Column, 1))
	}
	if len(all) == 1 {
		return all[0]
	}
	return Errors(all)
}

// excerpt shows a line with a mark under a column. A long line is cut to what is near the column.
func excerpt(line string, number, column int) string {
	const before, after = 60, 40
	runes := []rune(strings.TrimRight(line, "\r"))
	column = min(column, len(runes)+1)
	from, to := max(0, column-1-before), min(len(runes), column-1+after)
	shown := slices.Clone(runes[from:to])
	for i, r := range shown {
		switch {
		case r == '\t':
			shown[i] = ' '
		case !unicode.IsPrint(r):
			shown[i] = unicode.ReplacementChar
		}
	}
	head := fmt.Sprintf("%5d | ", number)
	return head + string(shown) + "\n" + strings.Repeat(" ", len(head)-2) + "| " + strings.Repeat(" ", column-1-from) + "^"
}

// oneOf writes words as a sentence has them: a, b or c.
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
