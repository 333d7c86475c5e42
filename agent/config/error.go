package config

import (
	"cmp"
	"fmt"
	"strings"
)

// Error says what is wrong with a file, and where.
type Error struct {
	File         string
	Line, Column int // from 1; 0: the file as a whole
	Text         string
}

// Error is FILE:LINE:COLUMN: what is wrong.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, cmp.Or(e.Column, 1), e.Text)
}

// place is where something stands in the file.
type place struct{ line, column int }

func (p place) errorf(format string, args ...any) error {
	return &Error{Line: p.line, Column: p.column, Text: fmt.Sprintf(format, args...)}
}

// oneOf writes words as a sentence has them: a, b or c.
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
