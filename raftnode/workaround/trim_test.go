package workaround

import (
	"testing"

	"github.com/hashicorp/raft"
)

func TestTrimEntries(t *testing.T) {
	for name, tt := range map[string]struct {
		sizes []int
		want  int
	}{
		"none":                        {nil, 0},
		"all fit":                     {[]int{3, 3, 4}, 3},
		"one too many":                {[]int{3, 3, 4, 1}, 3},
		"one that is too large alone": {[]int{11}, 1},
		"a large one after another":   {[]int{1, 11}, 1},
		"a large one first":           {[]int{11, 1}, 1},
		"empty ones":                  {[]int{0, 0, 0, 10, 0}, 5},
	} {
		req := &raft.AppendEntriesRequest{}
		for i, size := range tt.sizes {
			req.Entries = append(req.Entries, &raft.Log{Index: uint64(i + 1), Data: make([]byte, size/2), Extensions: make([]byte, size-size/2)})
		}
		if TrimEntries(req, 10); len(req.Entries) != tt.want {
			t.Errorf("%s: %d entries are left, want %d", name, len(req.Entries), tt.want)
		}
	}
}
