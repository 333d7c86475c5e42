package halves

import (
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOf(t *testing.T) {
	all := []string{"a", "b", "c", "d", "e"}
	for n, want := range [][]int{{0}, {1}, {1, 1}, {2, 1}, {2, 2}, {3, 2}} {
		got := Of(all[:n])
		var sizes []int
		for _, half := range got {
			sizes = append(sizes, len(half))
		}
		if !slices.Equal(sizes, want) || !slices.Equal(slices.Concat(got...), all[:n]) {
			t.Errorf("%d endpoints: %v", n, got)
		}
	}
}
