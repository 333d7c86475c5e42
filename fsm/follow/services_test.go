package follow

import (
	"slices"
	"strings"
	"testing"
)

func TestPrefixesAreMadeMinimal(t *testing.T) {
	for in, want := range map[string]string{"": "", "b a": "a b", "a a/b a": "a", "ab a b/ b": "a b", "a ab": "a"} {
		if got := strings.Join(minimal(strings.Fields(in)), " "); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if !slices.Equal(minimal([]string{"x", ""}), []string{""}) {
		t.Error("everything, and x, is everything")
	}
}
