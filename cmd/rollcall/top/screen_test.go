package top

import (
	"bytes"
	"testing"
)

// Only lines that changed are sent.
func TestTheScreenIsSentWhatChanged(t *testing.T) {
	var sent bytes.Buffer
	s := Screen{W: &sent}
	for _, c := range []struct {
		lines  []string
		height int
		want   string
	}{
		{[]string{"a", "b"}, 3, "\x1b[2J\x1b[1;1Ha\x1b[K\x1b[2;1Hb\x1b[K"},
		{[]string{"a", "b"}, 3, ""},
		{[]string{"a", "c"}, 3, "\x1b[2;1Hc\x1b[K"},
		{[]string{"a", "c", "d"}, 3, "\x1b[3;1Hd\x1b[K"},
		{[]string{"a"}, 3, "\x1b[2;1H\x1b[K\x1b[3;1H\x1b[K"},
		{[]string{"a", "c", "d"}, 2, "\x1b[2J\x1b[1;1Ha\x1b[K\x1b[2;1Hc\x1b[K"},
	} {
		sent.Reset()
		if err := s.Show(c.lines, c.height); err != nil || sent.String() != c.want {
			t.Errorf("%q: %q, want %q; %v", c.lines, sent.String(), c.want, err)
		}
	}
	s.Forget()
	sent.Reset()
	s.Show([]string{"a", "c"}, 2)
	if want := "\x1b[2J\x1b[1;1Ha\x1b[K\x1b[2;1Hc\x1b[K"; sent.String() != want {
		t.Errorf("%q, want %q", sent.String(), want)
	}
}
