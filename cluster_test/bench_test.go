package cluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/raftnode/memnet"
)

// BenchmarkReads checks a service on a leader and on a follower of three nodes in this process, over
// connections in memory. reads/round is how many shared a read-index round.
func BenchmarkReads(b *testing.B) {
	network := memnet.New()
	var members []node.Member
	for i := range 3 {
		host := fmt.Sprintf("127.0.0.%d", i+1)
		members = append(members, node.Member{Name: fmt.Sprintf("n%d", i+1), APIAddress: host + ":7600", PeerAddress: host + ":7601"})
	}
	at := map[string]*node.Node{}
	dir := b.TempDir()
	var nodes []*node.Node
	for _, m := range members {
		cfg := node.DefaultConfig()
		cfg.Name, cfg.DataDir, cfg.Members = m.Name, filepath.Join(dir, m.Name), members
		cfg.Network, cfg.Logger = network.Host(m.Name), slog.New(slog.DiscardHandler)
		n, err := node.Open(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		defer n.Close(context.Background())
		nodes = append(nodes, n)
	}
	conns := map[*node.Node]*grpc.ClientConn{}
	for i, n := range nodes {
		conn, err := grpc.NewClient(members[i].APIAddress, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(network.Dial))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		conns[n] = conn
		for _, name := range []string{rollcallv1.OwnReady, rollcallv1.OwnLeader} {
			stream, err := healthpb.NewHealthClient(conn).Watch(b.Context(), &healthpb.HealthCheckRequest{Service: name}, grpc.WaitForReady(true))
			if err != nil {
				b.Fatal(err)
			}
			for name == rollcallv1.OwnReady { // until it is
				s, err := stream.Recv()
				if err != nil {
					b.Fatal(err)
				}
				if s.GetStatus() == serving {
					break
				}
			}
			if name == rollcallv1.OwnLeader {
				s, err := stream.Recv()
				if err != nil {
					b.Fatal(err)
				}
				if s.GetStatus() == serving {
					at["leader"] = n
				} else {
					at["follower"] = n
				}
			}
		}
	}
	for _, role := range []string{"leader", "follower"} {
		for _, consistency := range []string{"", "local", "linearizable"} {
			for _, readers := range []int{1, 64} {
				name := consistency
				if name == "" {
					name = "plain"
				}
				b.Run(fmt.Sprintf("%s/%s/readers=%d", role, name, readers), func(b *testing.B) {
					ctx := context.Background()
					if consistency != "" {
						ctx = metadata.AppendToOutgoingContext(ctx, "rollcall-consistency", consistency)
					}
					n := at[role]
					h := healthpb.NewHealthClient(conns[n])
					work := make(chan struct{}, readers)
					var wg sync.WaitGroup
					for range readers {
						wg.Go(func() {
							for range work {
								if _, err := h.Check(ctx, &healthpb.HealthCheckRequest{Service: rollcallv1.OwnLive}); err != nil {
									b.Error(err)
								}
							}
						})
					}
					rounds := n.ReadIndexRounds()
					b.ResetTimer()
					begin := time.Now()
					for range b.N {
						work <- struct{}{}
					}
					close(work)
					wg.Wait()
					b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "reads/s")
					if consistency == "linearizable" {
						b.ReportMetric(float64(b.N)/float64(max(n.ReadIndexRounds()-rounds, 1)), "reads/round")
					}
				})
			}
		}
	}
}
