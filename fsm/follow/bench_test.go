package follow

import (
	"fmt"
	"slices"
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/history"
)

// BenchmarkPublish is what followers of names add to applying a change of one name: without any, of a name that
// nobody follows, and of one that very many follow.
func BenchmarkPublish(b *testing.B) {
	for _, tt := range []struct {
		name      string
		followers int // of 100 names each
		changed   string
	}{
		{"nobody-follows", 0, "other"},
		{"others-are-followed", 100, "other"},
		{"one-follower", 100, "7/7"},
		{"thousand-followers", 1000, "all"},
	} {
		b.Run(tt.name, func(b *testing.B) {
			w := newWorld(history.PageLimits{Count: 1000, Bytes: 1 << 20})
			w.f = New(Config{Registry: w, Page: w.f.cfg.Page})
			defer w.f.Close()
			for i := range tt.followers {
				names := []string{"all"}
				for j := range 99 {
					names = append(names, fmt.Sprintf("%d/%d", i, j))
				}
				n := w.f.Follow(names, logv1.Following{})
				defer n.Close()
			}
			changed := []string{tt.changed}
			b.ReportAllocs()
			for b.Loop() {
				w.f.Publish(slices.Values(changed), nil)
			}
		})
	}
}
