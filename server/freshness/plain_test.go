package freshness

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
)

// arrived notes what a handler finds in the context of a call.
type arrived struct {
	healthpb.UnimplementedHealthServer
	in   Incoming
	md   metadata.MD
	asks bool
}

func (a *arrived) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	a.md, _ = metadata.FromIncomingContext(ctx)
	a.asks = a.in.Asks(ctx)
	return &healthpb.HealthCheckResponse{}, nil
}

// callRaw makes one call with just these headers of a grpc server; nil if it reached no handler.
func callRaw(t *testing.T, headers [][2]string) *arrived {
	t.Helper()
	a := &arrived{in: NewIncoming()}
	lis := bufconn.Listen(256 << 10)
	srv := grpc.NewServer(grpc.WaitForHandlers(true)) // for a is read below
	healthpb.RegisterHealthServer(srv, a)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	conn, err := lis.DialContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fr := http2.NewFramer(conn, conn)
	var head strings.Builder
	enc := hpack.NewEncoder(&head)
	for _, f := range append([][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/grpc.health.v1.Health/Check"}}, headers...) {
		if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			t.Fatal(err)
		}
	}
	go func() { // both ends write before they read
		_, _ = io.WriteString(conn, http2.ClientPreface)
		_ = fr.WriteSettings()
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(head.String()), EndHeaders: true})
		_ = fr.WriteData(1, true, []byte{0, 0, 0, 0, 0})
	}()
	for ended := false; !ended; {
		frame, err := fr.ReadFrame()
		if err != nil {
			break
		}
		switch f := frame.(type) {
		case *http2.HeadersFrame:
			ended = f.StreamEnded()
		case *http2.RSTStreamFrame:
			ended = true
		}
	}
	conn.Close()
	srv.Stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if a.md == nil {
		return nil
	}
	return a
}

var (
	authority   = [2]string{":authority", "localhost:7600"}
	host        = [2]string{"host", "localhost:7600"}
	contentType = [2]string{"content-type", "application/grpc"}
	userAgent   = [2]string{"user-agent", "grpc-go/1.85.0"}
	accepts     = [2]string{"grpc-accept-encoding", "gzip"}
	traceparent = [2]string{"traceparent", "00"}
	te          = [2]string{"te", "trailers"}
	token       = [2]string{"authorization", "Bearer x"}
)

// TestEveryCallHasAuthorityAndContentType is what isPlain relies on: whatever is sent, no handler sees
// a call without, so that a key of ours is never counted as one of these.
func TestEveryCallHasAuthorityAndContentType(t *testing.T) {
	reached := 0
	all := [][2]string{authority, host, contentType, userAgent, {MetadataConsistency, consistencyLinearizable}, {MetadataMinRevision, "1"}}
	for set := range 1 << len(all) {
		var headers [][2]string
		for i, h := range all {
			if set>>i&1 == 1 {
				headers = append(headers, h)
			}
		}
		a := callRaw(t, headers)
		if a == nil {
			continue
		}
		reached++
		if len(a.md["content-type"]) == 0 || len(a.md[":authority"]) == 0 {
			t.Errorf("%v reached a handler as %v", headers, a.md)
		}
		if want := slices.ContainsFunc(headers, isOurs); a.asks != want {
			t.Errorf("%v asks: %v, want %v", headers, a.asks, want)
		}
	}
	if reached < 1<<len(all)*3/8 {
		t.Errorf("%d calls reached a handler", reached)
	}
}

func isOurs(h [2]string) bool { return strings.HasPrefix(h[0], metadataPrefix) }

// TestAsks: a key of this domain is found beside whatever else a client may send.
func TestAsks(t *testing.T) {
	for _, others := range [][][2]string{
		{}, {te}, {userAgent}, {userAgent, te}, {accepts}, {traceparent}, {userAgent, accepts}, {userAgent, traceparent}, {accepts, traceparent}, {userAgent, accepts, traceparent},
		{token}, {userAgent, token}, {userAgent, accepts, token}, {userAgent, traceparent, token}, {userAgent, accepts, traceparent, token},
	} {
		for _, own := range [][][2]string{{}, {{MetadataMinRevision, "1"}}, {{"rollcall-", "?"}}, {{MetadataMinRevision, "1"}, {"rollcall-typo", ""}}} {
			headers := append(append([][2]string{authority, contentType}, others...), own...)
			t.Run(fmt.Sprint(headers), func(t *testing.T) {
				a := callRaw(t, headers)
				if a == nil {
					t.Fatal("reached no handler")
				}
				if a.asks != (len(own) > 0) {
					t.Errorf("asks: %v of %v", a.asks, a.md)
				}
			})
		}
	}
	in := NewIncoming()
	for n := range 5 { // not of the wire
		md := metadata.MD{}
		for i := range n {
			md[fmt.Sprint(metadataPrefix, i)] = nil
		}
		if got := in.Asks(metadata.NewIncomingContext(t.Context(), md)); got != (n > 0) {
			t.Errorf("asks: %v of %v", got, md)
		}
	}
	if in.Asks(t.Context()) {
		t.Error("a context without metadata asks")
	}
}
