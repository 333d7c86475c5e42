package main

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// startHeaders serves fakes that note the metadata of reads, and answer with a node's headers.
func startHeaders(t *testing.T) (asked func() string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("ROLLCALL_ENDPOINTS", l.Addr().String())
	var mu sync.Mutex
	var got []string
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		mu.Lock()
		for k, v := range md {
			if strings.HasPrefix(k, "rollcall-") {
				got = append(got, k+"="+strings.Join(v, "+"))
			}
		}
		mu.Unlock()
		if err := grpc.SetHeader(ctx, metadata.Pairs("rollcall-node", "n2", "rollcall-cluster", "3f9a", "rollcall-revision", "9", "rollcall-age-ms", "12")); err != nil {
			return nil, err
		}
		return handler(ctx, req)
	}))
	f := &fake{health: health.NewServer(), services: map[string]*rollcallv1.ServiceRecord{}}
	f.put("a", serving, "", "alice")
	f.health.SetServingStatus("rollcall.reads", serving)
	rollcallv1.RegisterRegistryServer(s, f)
	healthpb.RegisterHealthServer(s, f.health)
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-served
	})
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(got)
		all := strings.Join(got, " ")
		got = nil
		return all
	}
}

func TestReadFlags(t *testing.T) {
	asked := startHeaders(t)
	for _, command := range [][]string{{"get", "a"}, {"get", "rollcall.reads"}, {"list"}, {"probe", "a"}} {
		for _, tt := range []struct{ args, want string }{
			{"", ""},
			{"--linearizable", "rollcall-consistency=linearizable"},
			{"--min-revision 7", "rollcall-min-revision=7"},
			{"--min-revision 0", "rollcall-consistency=local"},
			{"--cluster 3f9a", "rollcall-cluster=3f9a"},
			{"--cluster 3f9a --min-revision 7", "rollcall-cluster=3f9a rollcall-min-revision=7"},
			{"--max-staleness 2s", "rollcall-max-staleness=2s"},
			{"--max-staleness 0", "rollcall-max-staleness=0s"},
			{"--linearizable --min-revision 7 --max-staleness 1m30s", "rollcall-consistency=linearizable rollcall-max-staleness=1m30s rollcall-min-revision=7"},
		} {
			r := rollcall(t, append(command, strings.Fields(tt.args)...)...)
			if got := asked(); r.code != 0 || got != tt.want {
				t.Errorf("%v %s: exit status %d, %s; asked %q, want %q", command, tt.args, r.code, r.stderr, got, tt.want)
			}
		}
		r := rollcall(t, append(command, "--min-revision", "-1")...)
		if r.code == 0 || !strings.Contains(r.stderr, "--min-revision is -1") {
			t.Errorf("%v: %d %s", command, r.code, r.stderr)
		}
		r = rollcall(t, append(command, "--max-staleness", "-1s")...)
		if r.code == 0 || !strings.Contains(r.stderr, "--max-staleness is -1s") {
			t.Errorf("%v: %d %s", command, r.code, r.stderr)
		}
	}
	const read = "\n  \"read\": {\n    \"node\": \"n2\",\n    \"cluster_id\": \"3f9a\",\n    \"revision\": 9,\n    \"age_seconds\": 0.012\n  }\n}\n"
	for _, service := range []string{"a", "rollcall.reads"} {
		if r := rollcall(t, "get", service, "--linearizable", "-o", "json"); !strings.HasSuffix(r.stdout, read) {
			t.Errorf("get %s: %s", service, r.stdout)
		}
		if r := rollcall(t, "get", service, "-o", "json"); strings.Contains(r.stdout, `"read"`) {
			t.Errorf("get %s, nothing asked: %s", service, r.stdout)
		}
	}
}
