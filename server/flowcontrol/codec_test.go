package flowcontrol

import (
	"strings"
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// TestCodecIsGRPCsOwn: the shorter ways give what gRPC's codec gives.
func TestCodecIsGRPCsOwn(t *testing.T) {
	ours := NewCodec()
	theirs := ours.CodecV2
	for s := Status(-1); s < 6; s++ {
		msg := &healthpb.HealthCheckResponse{Status: s}
		for range 2 { // the prepared bytes outlive their first use
			got, err := ours.Marshal(msg)
			want, wantErr := theirs.Marshal(msg)
			if err != nil || wantErr != nil || string(got.Materialize()) != string(want.Materialize()) {
				t.Errorf("%v: %v %v, want %v %v", s, got, err, want, wantErr)
			}
			got.Free()
		}
	}
	named := func(name string) []byte { return protowire.AppendString([]byte{1<<3 | 2}, name) }
	for what, b := range map[string][]byte{
		"a name":             named("team/service"),
		"an empty name":      named(""),
		"nothing":            {},
		"127 bytes":          named(strings.Repeat("x", 127)),
		"128 bytes":          named(strings.Repeat("x", 128)),
		"not UTF-8":          named("a\xff"),
		"two names":          append(named("a"), named("b")...),
		"an unknown field":   append(named("a"), 2<<3, 1),
		"another field only": {2<<3 | 2, 1, 'a'},
		"cut off":            named("team/service")[:5],
		"a tag alone":        {1<<3 | 2},
		"a long length":      {1<<3 | 2, 0x81, 0x00, 'a'},
		"a number":           {1 << 3, 1},
	} {
		for how, data := range map[string]mem.BufferSlice{
			"whole":     {mem.SliceBuffer(b)},
			"in pieces": {mem.SliceBuffer(b[:len(b)/2]), mem.SliceBuffer(b[len(b)/2:])},
		} {
			// What was in the message before is gone.
			got := &healthpb.HealthCheckRequest{Service: "before"}
			want := &healthpb.HealthCheckRequest{Service: "before"}
			err, wantErr := ours.Unmarshal(data, got), theirs.Unmarshal(data, want)
			if (err == nil) != (wantErr == nil) || err == nil && !proto.Equal(got, want) {
				t.Errorf("%s, %s: %v %v, want %v %v", what, how, got, err, want, wantErr)
			}
		}
	}
}
