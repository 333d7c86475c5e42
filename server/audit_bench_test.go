package server

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/server/auditlog"
)

// BenchmarkAuditedWrites compares writes with an audit log and a limit for each caller with writes without. The
// registry and the agreement are fakes, which take no time: in a cluster a write takes a hundred times as long.
func BenchmarkAuditedWrites(b *testing.B) {
	for _, with := range []struct {
		name         string
		audit, limit bool
	}{{"nothing", false, false}, {"audit", true, false}, {"limit", false, true}} {
		node := func(b *testing.B) *testNode {
			c := newTestCluster(b, 1, func(cfg *Config) {
				if with.limit {
					cfg.WritesPerSecond = 1 << 30
				}
				if !with.audit {
					return
				}
				var err error
				cfg.Audit, err = auditlog.Open(auditlog.Config{File: filepath.Join(b.TempDir(), "audit.log"), Node: "n1", Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { cfg.Audit.Close(context.Background()) })
			})
			c.elect("n1")
			return c.nodes["n1"]
		}
		b.Run("unary/with="+with.name, func(b *testing.B) {
			admin, req := node(b).admin(), setRequest("a", serving)
			req.Reason, req.RequestId = "deploy 42", "2b5bb248-5089-4b16-a61e-311e36800136"
			b.ReportAllocs()
			for b.Loop() {
				if _, err := admin.SetServingStatus(b.Context(), req); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("stream/with="+with.name, func(b *testing.B) {
			stream, err := node(b).admin().WriteStream(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				b.Fatal(err)
			}
			const each = 100
			message := &rollcallv1.WriteStreamRequest{}
			for i := range each {
				message.Writes = append(message.Writes, streamedSet(uint64(i), "a", serving))
			}
			b.ReportAllocs()
			for b.Loop() {
				for _, w := range message.Writes {
					w.Id += each // the id of an answer that has just come may still be in use
				}
				if err := stream.Send(message); err != nil {
					b.Fatal(err)
				}
				for left := each; left > 0; {
					res, err := stream.Recv()
					if err != nil {
						b.Fatal(err)
					}
					left -= len(res.GetResults())
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*each), "ns/write")
		})
	}
}
