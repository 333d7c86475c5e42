package inprocess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// registry answers with what the test sets.
type registry struct {
	rollcallv1.UnimplementedRegistryServer
	get   func(context.Context, *rollcallv1.GetServiceRequest) (*rollcallv1.GetServiceResponse, error)
	watch func(*rollcallv1.WatchServicesRequest, grpc.ServerStreamingServer[rollcallv1.WatchServicesResponse]) error
}

func (r *registry) GetService(ctx context.Context, req *rollcallv1.GetServiceRequest) (*rollcallv1.GetServiceResponse, error) {
	return r.get(ctx, req)
}

func (r *registry) WatchServices(req *rollcallv1.WatchServicesRequest, s grpc.ServerStreamingServer[rollcallv1.WatchServicesResponse]) error {
	return r.watch(req, s)
}

func serve(r *registry) *Conn {
	c := &Conn{}
	rollcallv1.RegisterRegistryServer(c, r)
	return c
}

// text is metadata as text: its own String tells no values.
func text(md metadata.MD) string { return fmt.Sprint(map[string][]string(md)) }

// TestACallHasWhatItsContextHas: the caller's address, the metadata and the deadline come from the context, and what
// would go out to other servers stays.
func TestACallHasWhatItsContextHas(t *testing.T) {
	address := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7}
	at := t.Context()
	at = peer.NewContext(at, &peer.Peer{Addr: address})
	at = metadata.NewIncomingContext(at, metadata.Pairs("rollcall-min-revision", "7"))
	at = metadata.AppendToOutgoingContext(at, "authorization", "secret")
	c := serve(&registry{get: func(ctx context.Context, req *rollcallv1.GetServiceRequest) (*rollcallv1.GetServiceResponse, error) {
		if p, ok := peer.FromContext(ctx); !ok || p.Addr != address {
			t.Errorf("the peer is %v", p)
		}
		if got := metadata.ValueFromIncomingContext(ctx, "rollcall-min-revision"); len(got) != 1 || got[0] != "7" {
			t.Errorf("the metadata is %v", got)
		}
		if out, _ := metadata.FromOutgoingContext(ctx); len(out) > 0 {
			t.Errorf("calls of the handler would send %v", out)
		}
		if name, _ := grpc.Method(ctx); name != rollcallv1.Registry_GetService_FullMethodName {
			t.Errorf("the method is %q", name)
		}
		if err := grpc.SetHeader(ctx, metadata.Pairs("rollcall-revision", "8")); err != nil {
			t.Error(err)
		}
		if err := grpc.SetHeader(ctx, metadata.Pairs("rollcall-node", "n1")); err != nil {
			t.Error(err)
		}
		if err := grpc.SetTrailer(ctx, metadata.Pairs("end", "1")); err != nil {
			t.Error(err)
		}
		return &rollcallv1.GetServiceResponse{Service: &rollcallv1.ServiceRecord{Service: req.GetService()}, Revision: 8}, nil
	}})
	var header, trailer metadata.MD
	res, err := rollcallv1.NewRegistryClient(c).GetService(at, &rollcallv1.GetServiceRequest{Service: "shop/cart"}, grpc.Header(&header), grpc.Trailer(&trailer))
	want := &rollcallv1.GetServiceResponse{Service: &rollcallv1.ServiceRecord{Service: "shop/cart"}, Revision: 8}
	if err != nil || !proto.Equal(res, want) {
		t.Errorf("the answer is %v, %v; want %v", res, err, want)
	}
	if text(header) != "map[rollcall-node:[n1] rollcall-revision:[8]]" || text(trailer) != "map[end:[1]]" {
		t.Errorf("the headers are %s, the trailers %s", text(header), text(trailer))
	}
}

func TestACallEndsWithTheCodeThatGRPCWouldSend(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want codes.Code
	}{
		{status.Error(codes.NotFound, "none"), codes.NotFound},
		{context.Canceled, codes.Canceled},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{errors.New("odd"), codes.Unknown},
	} {
		c := serve(&registry{
			get: func(ctx context.Context, _ *rollcallv1.GetServiceRequest) (*rollcallv1.GetServiceResponse, error) {
				_ = grpc.SetHeader(ctx, metadata.Pairs("k", "v"))
				return nil, tc.err
			},
			watch: func(*rollcallv1.WatchServicesRequest, grpc.ServerStreamingServer[rollcallv1.WatchServicesResponse]) error {
				return tc.err
			},
		})
		var header metadata.MD
		_, err := rollcallv1.NewRegistryClient(c).GetService(t.Context(), &rollcallv1.GetServiceRequest{}, grpc.Header(&header))
		if s, ok := status.FromError(err); !ok || s.Code() != tc.want {
			t.Errorf("%v: the call ends with %v", tc.err, err)
		}
		if len(header) != 1 {
			t.Errorf("%v: the headers are %v", tc.err, header)
		}
		err = c.Stream(t.Context(), rollcallv1.Registry_WatchServices_FullMethodName, &rollcallv1.WatchServicesRequest{}, nil)
		if s, ok := status.FromError(err); !ok || s.Code() != tc.want {
			t.Errorf("%v: the stream ends with %v", tc.err, err)
		}
	}
}

func TestWhatIsNotRegisteredIsUnimplemented(t *testing.T) {
	c := serve(&registry{})
	for what, call := range map[string]func() error{
		"a call of another service": func() error {
			_, err := rollcallv1.NewAdminClient(c).SetServingStatus(t.Context(), &rollcallv1.SetServingStatusRequest{})
			return err
		},
		"a stream as gRPC opens it": func() error {
			_, err := rollcallv1.NewRegistryClient(c).WatchServices(t.Context(), &rollcallv1.WatchServicesRequest{})
			return err
		},
		"a stream of another service": func() error {
			return c.Stream(t.Context(), rollcallv1.Admin_KeepAlive_FullMethodName, &rollcallv1.KeepAliveRequest{}, nil)
		},
		"a call as a stream": func() error {
			return c.Stream(t.Context(), rollcallv1.Registry_GetService_FullMethodName, &rollcallv1.GetServiceRequest{}, nil)
		},
		"a call of nothing": func() error {
			return (&Conn{}).Invoke(t.Context(), rollcallv1.Registry_GetService_FullMethodName, nil, nil)
		},
	} {
		if err := call(); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, reply := range map[string]any{"an answer of another type": &rollcallv1.ListServicesResponse{}, "no message": 7} {
		c := serve(&registry{get: func(context.Context, *rollcallv1.GetServiceRequest) (*rollcallv1.GetServiceResponse, error) {
			return &rollcallv1.GetServiceResponse{Revision: 1}, nil
		}})
		if err := c.Invoke(t.Context(), rollcallv1.Registry_GetService_FullMethodName, &rollcallv1.GetServiceRequest{}, reply); status.Code(err) != codes.Internal {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// parcel is a message whose end is counted.
type parcel struct {
	m    proto.Message
	left *int
}

func (p parcel) Open() (proto.Message, func()) { return p.m, func() { *p.left++ } }

// TestAnAnswerIsHeldUntilRelease: what the server counts of an answer stays counted while the caller writes it out.
func TestAnAnswerIsHeldUntilRelease(t *testing.T) {
	left := 0
	c := &Conn{}
	c.RegisterService(&grpc.ServiceDesc{ServiceName: "s", Methods: []grpc.MethodDesc{{MethodName: "m", Handler: func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		return parcel{&rollcallv1.GetServiceResponse{Revision: 3}, &left}, dec(new(rollcallv1.GetServiceRequest))
	}}}}, nil)
	call := func(ctx context.Context) {
		t.Helper()
		res := new(rollcallv1.GetServiceResponse)
		if err := c.Invoke(ctx, "/s/m", &rollcallv1.GetServiceRequest{}, res); err != nil || res.GetRevision() != 3 {
			t.Errorf("%v, %v", res, err)
		}
	}
	call(t.Context())
	if left != 1 {
		t.Errorf("%d answers have left after Invoke, want 1", left)
	}
	ctx, release := Hold(t.Context())
	call(ctx)
	call(ctx)
	if left != 1 {
		t.Errorf("%d answers have left before release, want 1", left)
	}
	release()
	release()
	if left != 3 {
		t.Errorf("%d answers have left, want 3", left)
	}
}

func TestAStreamSendsInItsCallersGoroutine(t *testing.T) {
	gone := errors.New("the browser is gone")
	for _, tc := range []struct {
		what string
		fail int // at this message
		want []int64
		err  error
	}{
		{"to its end", -1, []int64{1, 2, 3}, nil},
		{"to whom leaves", 1, []int64{1, 2}, gone},
	} {
		left := 0
		received := ""
		c := &Conn{}
		c.RegisterService(&grpc.ServiceDesc{ServiceName: "s", Streams: []grpc.StreamDesc{{StreamName: "w", Handler: func(_ any, s grpc.ServerStream) error {
			req := new(rollcallv1.GetServiceRequest)
			if err := s.RecvMsg(req); err != nil {
				return err
			}
			if received = req.GetService(); !errors.Is(s.RecvMsg(req), io.EOF) {
				t.Error("the client's side goes on after the request")
			}
			_ = s.SetHeader(metadata.Pairs("k", "v"))
			for i := range int64(3) {
				if err := s.SendMsg(parcel{&rollcallv1.GetServiceResponse{Revision: i + 1}, &left}); err != nil {
					return fmt.Errorf("as a status: %v", err)
				}
			}
			return nil
		}}}}, nil)
		var got []int64
		err := c.Stream(t.Context(), "/s/w", &rollcallv1.GetServiceRequest{Service: "shop/"}, func(header metadata.MD, m proto.Message) error {
			if text(header) != "map[k:[v]]" {
				t.Errorf("%s: the headers are %s", tc.what, text(header))
			}
			if len(got) != left {
				t.Errorf("%s: %d messages have left while number %d is sent", tc.what, left, len(got))
			}
			got = append(got, m.(*rollcallv1.GetServiceResponse).GetRevision())
			if len(got)-1 == tc.fail {
				return gone
			}
			return nil
		})
		if err != tc.err || received != "shop/" || fmt.Sprint(got) != fmt.Sprint(tc.want) || left != len(tc.want) {
			t.Errorf("%s: received %q, got %v, %d left, %v", tc.what, received, got, left, err)
		}
	}
}

// BenchmarkInvoke is what a call costs beside its handler.
func BenchmarkInvoke(b *testing.B) {
	answer := &rollcallv1.GetServiceResponse{Service: &rollcallv1.ServiceRecord{Service: "shop/cart"}, Revision: 8, ClusterId: "3f9a"}
	c := serve(&registry{get: func(context.Context, *rollcallv1.GetServiceRequest) (*rollcallv1.GetServiceResponse, error) {
		return answer, nil
	}})
	registry := rollcallv1.NewRegistryClient(c)
	req := &rollcallv1.GetServiceRequest{Service: "shop/cart"}
	ctx := metadata.NewIncomingContext(b.Context(), metadata.Pairs("authorization", "x"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := registry.GetService(ctx, req); err != nil {
			b.Fatal(err)
		}
	}
}
