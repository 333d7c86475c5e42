package top

import (
	"bytes"
	"unicode/utf8"
)

// Key is one that was pressed: a character, or one of the constants.
type Key rune

// Keys that are no characters.
const (
	Up Key = -1 - iota
	Down
	Left
	Right
	PageUp
	PageDown
	Home
	End
	Enter
	Backspace
	Tab
	Escape
	CtrlC
	CtrlU
	CtrlL
)

// sequences are what terminals send for keys, in both of their modes.
var sequences = []struct {
	bytes string
	key   Key
}{
	{"\x1b[A", Up}, {"\x1bOA", Up}, {"\x1b[B", Down}, {"\x1bOB", Down}, {"\x1b[C", Right}, {"\x1bOC", Right}, {"\x1b[D", Left}, {"\x1bOD", Left},
	{"\x1b[5~", PageUp}, {"\x1b[6~", PageDown}, {"\x1b[H", Home}, {"\x1bOH", Home}, {"\x1b[1~", Home}, {"\x1b[7~", Home},
	{"\x1b[F", End}, {"\x1bOF", End}, {"\x1b[4~", End}, {"\x1b[8~", End},
	{"\r", Enter}, {"\n", Enter}, {"\x7f", Backspace}, {"\b", Backspace}, {"\t", Tab}, {"\x03", CtrlC}, {"\x04", CtrlC}, {"\x15", CtrlU}, {"\x0c", CtrlL},
}

// Keys returns the keys that a terminal has sent at once. What it does not know it leaves out.
func Keys(sent []byte) []Key {
	var keys []Key
next:
	for len(sent) > 0 {
		for _, s := range sequences {
			if bytes.HasPrefix(sent, []byte(s.bytes)) {
				keys = append(keys, s.key)
				sent = sent[len(s.bytes):]
				continue next
			}
		}
		if sent[0] == 0x1b {
			n := unknownSequence(sent)
			if n == 1 {
				keys = append(keys, Escape)
			}
			sent = sent[n:]
			continue
		}
		r, size := utf8.DecodeRune(sent)
		if r >= ' ' && (r != utf8.RuneError || size > 1) {
			keys = append(keys, Key(r))
		}
		sent = sent[size:]
	}
	return keys
}

// unknownSequence returns how long a sequence is that begins with an escape; 1: it is the key alone.
func unknownSequence(b []byte) int {
	if len(b) < 2 || b[1] != '[' && b[1] != 'O' {
		return 1
	}
	for i := 2; i < len(b); i++ {
		if b[i] >= '@' && b[i] <= '~' {
			return i + 1
		}
	}
	return len(b)
}
