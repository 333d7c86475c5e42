package healthserver

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client"
)

var (
	errStreamEnded  = status.Error(codes.Canceled, "Stream has ended.") // as the original's
	errWatchesEnded = status.Error(codes.Unavailable, "the server is stopping")
)

// Watch sends what Check would answer, at once and then whenever it changes, as the original does: the newest status
// wins, the same one is not sent twice in a row, and a name that was never set is SERVICE_UNKNOWN. It ends with the
// stream, and by EndWatches.
func (s *Server) Watch(in *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	said := s.follow(ctx, in.GetService())
	defer said.Wait() // after cancel
	defer cancel()
	sent := client.Status(-1)
	for {
		_, changed := s.changes() // before what is sent is looked at
		select {
		case <-s.ends:
			return errWatchesEnded
		default:
		}
		if shown, ok := said.status(); ok {
			if shown = s.overlay(in.GetService(), shown); shown != sent {
				sent = shown
				if err := stream.Send(&healthpb.HealthCheckResponse{Status: shown}); err != nil {
					return errStreamEnded
				}
			}
		}
		select {
		case <-said.changed:
		case <-changed:
		case <-s.ends:
		case <-ctx.Done():
			return errStreamEnded
		}
	}
}

// EndWatches ends every Watch with UNAVAILABLE, and from then on each new one before its first message. An open
// Watch is a call under way, for which GracefulStop would wait. [Server.Stop] does this at the right moment. A
// client that gets no GOAWAY before opens the Watch again at once: do not call it while the process serves. It cannot
// be undone.
func (s *Server) EndWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended = true
		close(s.ends)
	}
}

// saying follows what the process says of one name. The original is watched for it.
type saying struct {
	s       *Server
	name    string
	changed chan struct{} // capacity 1: there may be something new
	sync.WaitGroup

	mu  sync.Mutex
	own *client.Status // of name; nil: not told yet
	all *client.Status // of "", if name answers for it until it is set
}

// follow starts to follow a name, until ctx ends. Wait for it then.
func (s *Server) follow(ctx context.Context, name string) *saying {
	f := &saying{s: s, name: name, changed: make(chan struct{}, 1)}
	f.watch(ctx, name, &f.own)
	if name == s.service {
		f.watch(ctx, "", &f.all)
	}
	return f
}

// watch keeps to at what the process says of name.
func (f *saying) watch(ctx context.Context, name string, to **client.Status) {
	f.Go(func() {
		_ = f.s.Server.Watch(&healthpb.HealthCheckRequest{Service: name}, &listener{ctx: ctx, take: func(st client.Status) {
			f.mu.Lock()
			*to = &st
			f.mu.Unlock()
			select {
			case f.changed <- struct{}{}:
			default:
			}
		}})
	})
}

// status is what the process says of the name, without the registry. It is not ok before the process was asked.
func (f *saying) status() (st client.Status, ok bool) {
	f.mu.Lock()
	own, all := f.own, f.all
	f.mu.Unlock()
	switch {
	case own == nil:
		return 0, false
	case *own != client.ServiceUnknown:
		return *own, true
	case !f.s.unmerged[f.name] && f.name != f.s.service || f.isSet():
		return *own, true
	case f.s.unmerged[f.name]:
		return client.Serving, true
	case all == nil:
		return 0, false
	}
	return *all, true
}

// isSet reports whether the process has set the name. A Watch says SERVICE_UNKNOWN also if it was set to that.
func (f *saying) isSet() bool {
	_, err := f.s.Server.Check(context.Background(), &healthpb.HealthCheckRequest{Service: f.name})
	return err == nil
}

// listener is the stream of a Watch of the original, within the process.
type listener struct {
	grpc.ServerStream
	ctx  context.Context
	take func(client.Status)
}

func (l *listener) Context() context.Context { return l.ctx }

func (l *listener) Send(resp *healthpb.HealthCheckResponse) error {
	l.take(resp.GetStatus())
	return nil
}
