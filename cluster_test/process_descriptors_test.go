package cluster_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestP8DescriptorsAreKeptForTheNode has 600 connections that do nothing on each port of a node which may
// have 256 files open. The node goes on: it answers probes and clients, and its log gets new segments.
func TestP8DescriptorsAreKeptForTheNode(t *testing.T) {
	needProcesses(t)
	c := newProcesses(t, processOptions{nodes: 1})
	p := c.nodes[0]
	p.wrap = []string{"sh", "-c", `ulimit -n 256 && exec "$@"`, "sh"}
	c.start()
	c.waitReady()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()

	idle := func(address string) (all []net.Conn) {
		for range 600 {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			all = append(all, conn)
		}
		return all
	}
	probe := func(when string) {
		t.Helper()
		probes := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
		for _, path := range []string{"/livez", "/readyz", "/metrics"} {
			res, err := probes.Get("http://" + p.http + path)
			if err != nil {
				t.Fatalf("%s: %s: %v", when, path, err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode != http.StatusOK {
				t.Errorf("%s: %s answers %d", when, path, res.StatusCode)
			}
		}
	}
	conn := p.dial() // opened before
	admin := rollcallv1.NewAdminClient(conn)
	writes := 0
	// write needs more than a segment of the log, which has 64 MiB.
	write := func(when string, batches int) {
		t.Helper()
		for range batches {
			writes++
			status := []healthpb.HealthCheckResponse_ServingStatus{serving, notServing}[writes%2]
			req := &rollcallv1.BatchSetServingStatusRequest{}
			for i := range 10_000 {
				name := fmt.Sprintf("%05d/%s", i, strings.Repeat("n", 250))
				req.Changes = append(req.Changes, &rollcallv1.StatusChange{Service: name, Status: status.Enum()})
			}
			if _, err := admin.BatchSetServingStatus(ctx, req); err != nil {
				t.Fatalf("%s: write %d: %v", when, writes, err)
			}
		}
	}
	write("before", 1)

	idle(p.http)
	probe("idle connections to the HTTP port")
	idle(p.peer)
	fresh, err := grpc.NewClient(p.api, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if res, err := healthpb.NewHealthClient(fresh).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil || res.GetStatus() != serving {
		t.Fatalf("a new client: %v, %v", res, err)
	}
	clients := idle(p.api)
	if res, err := healthpb.NewHealthClient(fresh).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil || res.GetStatus() != serving {
		t.Fatalf("a client among many connections: %v, %v", res, err)
	}
	probe("idle connections to all ports")
	write("idle connections to all ports", 26)
	if !p.running() {
		t.Fatal("the node has ended")
	}
	for _, conn := range clients {
		conn.Close()
	}
	eventually(t, "room for a new client", func(ctx context.Context) bool {
		late, err := grpc.NewClient(p.api, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer late.Close()
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = healthpb.NewHealthClient(late).Check(ctx, &healthpb.HealthCheckRequest{})
		return err == nil
	})
	if log := p.log.String(); !strings.Contains(log, "the system's limit on open files leaves fewer connections") || strings.Contains(log, "too many open files") {
		t.Errorf("the log does not say that connections are fewer, or that files ran out:\n%s", log)
	}
}
