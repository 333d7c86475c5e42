package devcluster

import (
	"strings"
	"testing"
)

func TestLinePrefixer(t *testing.T) {
	var out strings.Builder
	l := &linePrefixer{w: &out, prefix: "n1 | "}
	for _, s := range []string{"a\nb", "c\n\n", "d"} {
		if n, err := l.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	l.finish(false)
	l.finish(true)
	if got, want := out.String(), "n1 | a\nn1 | bc\nn1 | \nn1 | d\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	out.Reset()
	l.Write(make([]byte, maxLineBytes+1))
	if out.Len() < maxLineBytes {
		t.Error("a line without an end is kept for ever")
	}
	for _, show := range []bool{false, true} {
		out.Reset()
		l := &linePrefixer{w: &out, prefix: "n1 | "}
		l.Write([]byte("before\n"))
		l.hold()
		l.Write([]byte("after\nrest"))
		l.finish(show)
		want := "n1 | before\n"
		if show {
			want += "n1 | after\nn1 | rest\n"
		}
		if out.String() != want {
			t.Errorf("held back, then shown=%t: %q, want %q", show, out.String(), want)
		}
	}
}
