//go:build unix

package server

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm"
	"github.com/rollcallhq/rollcall/server/fence"
	"github.com/rollcallhq/rollcall/server/freshness"
)

// foldedRegistry returns an fsm in which the named services are SERVING.
func foldedRegistry(b *testing.B, names []string) *fsm.FSM {
	b.Helper()
	f, err := fsm.New(fsm.Config{RegistryFile: noRegistryFile{}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	const size = 10_000
	for at := 0; at < len(names); at += size {
		write := &logv1.Write{}
		for _, name := range names[at:min(at+size, len(names))] {
			write.Changes = append(write.Changes, &logv1.Change{Service: name, Status: logv1.Status_STATUS_SERVING})
		}
		data, err := logv1.Seal(&logv1.Entry{Commands: []*logv1.Command{{Kind: &logv1.Command_Write{Write: write}}}})
		if err != nil {
			b.Fatal(err)
		}
		f.Apply(&raft.Log{Index: uint64(at/size + 1), Term: 1, Type: raft.LogCommand, Data: data})
	}
	return f
}

// BenchmarkInProcessCheck is Check without gRPC, over a registry that the fold filled, and that of
// grpc-go's health.Server. Services are asked for out of order, with the metadata that a client sends.
// With -cpu=1,2 it shows what a second core brings. The least of many short counts, the two in turn, is
// what to compare.
func BenchmarkInProcessCheck(b *testing.B) {
	run := func(b *testing.B, h healthpb.HealthServer, ctx context.Context, names []string) {
		requests := make([]*healthpb.HealthCheckRequest, len(names))
		for i := range requests {
			// A copy, as from the wire: comparing a string with itself would not look at its bytes.
			requests[i] = &healthpb.HealthCheckRequest{Service: strings.Clone(names[i*7919%len(names)])}
		}
		b.ReportAllocs()
		b.ResetTimer()
		var begun atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			// Each core elsewhere: none finds what another has just brought into the cache.
			for i := int(begun.Add(1)) * len(requests) / 3; pb.Next(); i++ {
				res, err := h.Check(ctx, requests[i%len(requests)])
				if err != nil || res.GetStatus() != serving {
					b.Error(res, err)
					return
				}
			}
		})
	}
	_, ctx := hotHealth()
	for _, contestant := range []struct {
		name   string
		server func(b *testing.B, names []string) healthpb.HealthServer
	}{
		{"rollcall", func(b *testing.B, names []string) healthpb.HealthServer {
			r := freshness.Reads{Node: "n1", Registry: newFakeRegistry(), Fence: fence.New(), Incoming: freshness.NewIncoming(), Timeout: time.Second}
			return newHealth(readsOf(r, &fakeAccess{}), foldedRegistry(b, names), 100)
		}},
		{"grpc-go", func(b *testing.B, names []string) healthpb.HealthServer {
			theirs := grpchealth.NewServer()
			for _, name := range names {
				theirs.SetServingStatus(name, serving)
			}
			return theirs
		}},
	} {
		b.Run(contestant.name, func(b *testing.B) {
			for _, services := range []int{10, 1000, 100_000, 1_000_000} {
				b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
					names := make([]string, services)
					for i := range names {
						names[i] = fmt.Sprintf("team-%02d/service-%07d", i%100, i)
					}
					run(b, contestant.server(b, names), ctx, names)
				})
			}
		})
	}
}
