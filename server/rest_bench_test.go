package server

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// BenchmarkGetService reads one service over HTTP and over gRPC, each on one connection of TCP, call after call, and
// within the process without either. http-nothing is an HTTP server that does nothing.
func BenchmarkGetService(b *testing.B) {
	c := newTestCluster(b, 1)
	c.elect("n1")
	n := web(b, c.nodes["n1"])
	n.registry.set("team-01/service-0001", serving)
	get := func(b *testing.B, url string) {
		req, err := http.NewRequestWithContext(b.Context(), "GET", url, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			res, err := n.client.Do(req)
			if err != nil || res.StatusCode != http.StatusOK {
				b.Fatal(res, err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	}
	b.Run("http", func(b *testing.B) { get(b, n.url+"/api/v1/services/team-01/service-0001") })
	b.Run("http-nothing", func(b *testing.B) {
		nothing := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		defer nothing.Close()
		get(b, nothing.URL)
	})
	b.Run("grpc", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		served := make(chan struct{})
		go func() { defer close(served); _ = n.api.Serve(l) }()
		defer func() { l.Close(); <-served }()
		conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		registry, req := rollcallv1.NewRegistryClient(conn), &rollcallv1.GetServiceRequest{Service: "team-01/service-0001"}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := registry.GetService(b.Context(), req); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("inprocess", func(b *testing.B) {
		registry, req := rollcallv1.NewRegistryClient(&n.local), &rollcallv1.GetServiceRequest{Service: "team-01/service-0001"}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := registry.GetService(b.Context(), req); err != nil {
				b.Fatal(err)
			}
		}
	})
}
