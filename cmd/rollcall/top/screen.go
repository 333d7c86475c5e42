package top

import (
	"fmt"
	"io"
	"strings"
)

// Screen is a terminal that shows lines. It is sent those that changed.
type Screen struct {
	W io.Writer

	shown  []string
	height int
}

// What a terminal is told. Lines are cut by us, and by the terminal where its characters are wider than we think: a
// line that went on in the next one would move all others.
const (
	enter = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J" // another screen, no cursor, no wrapping
	leave = "\x1b[?7h\x1b[?25h\x1b[?1049l"
)

// Open takes the whole terminal.
func (s *Screen) Open() error {
	_, err := io.WriteString(s.W, enter)
	return err
}

// Close gives the terminal back as it was.
func (s *Screen) Close() error {
	_, err := io.WriteString(s.W, leave)
	return err
}

// Forget has the next Show write all lines: the terminal has another size, or somebody else has written to it.
func (s *Screen) Forget() { s.shown, s.height = nil, 0 }

// Show writes the lines that differ from those shown, all at once.
func (s *Screen) Show(lines []string, height int) error {
	var b strings.Builder
	if height != s.height {
		b.WriteString("\x1b[2J")
		s.shown, s.height = make([]string, height), height
	}
	for i := range s.height {
		text := ""
		if i < len(lines) {
			text = lines[i]
		}
		if text != s.shown[i] {
			fmt.Fprintf(&b, "\x1b[%d;1H%s\x1b[K", i+1, text)
			s.shown[i] = text
		}
	}
	if b.Len() == 0 {
		return nil
	}
	_, err := io.WriteString(s.W, b.String())
	return err
}
