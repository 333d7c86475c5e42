package follow

import (
	"fmt"
	"runtime"
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/fsm/history"
)

// emptyRegistry holds nothing and never changes.
type emptyRegistry struct{}

func (emptyRegistry) Horizon() int64                                            { return 1 }
func (r emptyRegistry) Newest() Cut                                             { return r }
func (emptyRegistry) Revision() int64                                           { return 7 }
func (emptyRegistry) ServiceCount() int                                         { return 0 }
func (emptyRegistry) RightsSince() int64                                        { return 0 }
func (emptyRegistry) Service(string, bool) (*rollcallv1.ServiceRecord, int64)   { return nil, 0 }
func (emptyRegistry) Ascend(string, bool, func(*rollcallv1.ServiceRecord) bool) {}

// TestNamesTakeLittleMemory: beside the names themselves, of which a caller of 10,000 has as many strings.
func TestNamesTakeLittleMemory(t *testing.T) {
	const count = 10_000
	f := New(Config{Registry: emptyRegistry{}, Page: history.PageLimits{Count: 1000, Bytes: 192 << 10}})
	defer f.Close()
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for _, tt := range []struct {
		about string
		most  int64
		name  func(stream, i int) string
	}{
		{"names that nobody else follows", 192, func(stream, i int) string { return fmt.Sprintf("%d/%08d", stream, i) }},
		{"names that all follow", 64, func(_, i int) string { return fmt.Sprintf("0/%08d", i) }},
	} {
		t.Run(tt.about, func(t *testing.T) {
			const streams = 10
			all := make([][]string, streams)
			for stream := range all {
				for i := range count {
					all[stream] = append(all[stream], tt.name(stream, i))
				}
			}
			var following []*Named
			before := heap()
			for _, names := range all {
				following = append(following, f.Follow(names, logv1.Following{}))
			}
			first := (heap() - before) / (streams * count)
			for _, n := range following {
				for {
					m, err := n.Next(t.Context(), true)
					if err != nil {
						t.Fatal(err)
					}
					if m.GetSynced() {
						break
					}
				}
			}
			rest := (heap() - before) / (streams * count)
			t.Logf("a name takes %d bytes before the first state is sent, %d bytes after", first, rest)
			if first > tt.most+16 || rest > tt.most {
				t.Errorf("want at most %d, and %d after", tt.most+16, tt.most)
			}
			for _, n := range following {
				n.Close()
			}
			if f.Topics() != 0 {
				t.Errorf("%d topics are left", f.Topics())
			}
			runtime.KeepAlive(all)
		})
	}
}
