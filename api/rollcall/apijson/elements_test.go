package apijson

import (
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestDecodeReadsNoMoreValuesThanARequestNeeds: an empty object is three bytes of JSON and much more as a message, so
// the size of a body does not bound what it becomes.
func TestDecodeReadsNoMoreValuesThanARequestNeeds(t *testing.T) {
	list := func(value string, n int) string { return "[" + strings.Repeat(value+",", n-1) + value + "]" }
	for name, c := range map[string]struct {
		in    string
		m     proto.Message
		field string // "": it is taken
	}{
		"the largest batch":    {`{"changes":` + list("{}", 10_000) + `}`, &rollcallv1.BatchSetServingStatusRequest{}, ""},
		"as many as there may": {`{"changes":` + list("{}", 10_000) + `,"break_glass":` + list(`""`, 10_000) + `}`, &rollcallv1.BatchSetServingStatusRequest{}, ""},
		"one too many":         {`{"changes":` + list("{}", 10_000) + `,"break_glass":` + list(`""`, 10_001) + `}`, &rollcallv1.BatchSetServingStatusRequest{}, "break_glass"},
		"4 MiB of objects":     {`{"changes":` + list("{}", 1_390_000) + `}`, &rollcallv1.BatchSetServingStatusRequest{}, "changes"},
		"4 MiB of texts":       {`{"break_glass":` + list(`""`, 1_390_000) + `}`, &rollcallv1.BatchSetServingStatusRequest{}, "break_glass"},
		"lists of lists":       {`{"grants":` + list(`{"patterns":["",""]}`, 9_999) + `}`, &rollcallv1.CreateTokenRequest{}, "grants[6666].patterns"},
	} {
		t.Run(name, func(t *testing.T) {
			in := []byte(c.in)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := Decode(in, c.m)
			runtime.ReadMemStats(&after)
			if c.field == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := c.field + ": the lists of a request may have 20000 values; send several requests"; err == nil || err.Error() != want {
				t.Errorf("%v\nwant %s", err, want)
			}
			if made := after.TotalAlloc - before.TotalAlloc; made > 24<<20 {
				t.Errorf("%d bytes were made of %d", made, len(in))
			}
		})
	}
}
