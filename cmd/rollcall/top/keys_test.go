package top

import (
	"slices"
	"testing"
)

func TestKeys(t *testing.T) {
	for sent, want := range map[string][]Key{
		"":                   nil,
		"q":                  {'q'},
		"ä🦊":                 {'ä', '🦊'},
		"\x1b[A\x1bOB\x1b[C": {Up, Down, Right},
		"\x1b":               {Escape},
		"\x1bq":              {Escape, 'q'},
		"\x1b[5~\x1b[6~":     {PageUp, PageDown},
		"\x1b[H\x1b[4~":      {Home, End},
		"\x1b[1;5A":          nil, // control and an arrow: not known
		"\x1b[<0;10;5M":      nil, // a mouse
		"a\x1b[15~b":         {'a', 'b'},
		"\x1b[":              nil, // half of one
		"\r\x7f\t\x03\x04":   {Enter, Backspace, Tab, CtrlC, CtrlC},
		"\x00\x01":           nil,
		"\xffx":              {'x'},
		"/pay\r":             {'/', 'p', 'a', 'y', Enter},
		"\x15\x0c":           {CtrlU, CtrlL},
	} {
		if got := Keys([]byte(sent)); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", sent, got, want)
		}
	}
}
