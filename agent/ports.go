package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/internal/grpcstop"
)

// maxRequest bounds what a gRPC client may send, in bytes: the name of a service, and some room.
const maxRequest = 16 << 10

// httpServer is an http.Server, or what takes its place.
type httpServer interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
	Close() error
}

// ports are the two ports of an agent.
type ports struct {
	grpcAt, httpAt net.Listener // nil: not served
	grpc           *grpc.Server
	http           httpServer
	serving        sync.WaitGroup
}

// listen begins to listen.
func listen(cfg *config.Config, b *board, h httpServer, listener func(address string) (net.Listener, error)) (*ports, error) {
	p := &ports{grpc: grpc.NewServer(grpc.MaxRecvMsgSize(maxRequest)), http: h}
	healthpb.RegisterHealthServer(p.grpc, health{board: b})
	for _, one := range []struct {
		key, address string
		to           *net.Listener
	}{{"listen.grpc", cfg.GRPC, &p.grpcAt}, {"listen.http", cfg.HTTP, &p.httpAt}} {
		if one.address == "" {
			continue
		}
		l, err := listener(one.address)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("%s: cannot listen at %s: %w", one.key, one.address, err)
		}
		*one.to = l
	}
	return p, nil
}

func (p *ports) addresses() (grpc, http string) {
	if p.grpcAt != nil {
		grpc = p.grpcAt.Addr().String()
	}
	if p.httpAt != nil {
		http = p.httpAt.Addr().String()
	}
	return grpc, http
}

// serve serves until stop. The channel gets what ended a port before.
func (p *ports) serve() <-chan error {
	failed := make(chan error, 2) // one for each port, and nobody may wait
	if p.grpcAt != nil {
		p.serving.Go(func() {
			if err := p.grpc.Serve(p.grpcAt); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				failed <- fmt.Errorf("listen.grpc: %w", err)
			}
		})
	}
	if p.httpAt != nil {
		p.serving.Go(func() {
			if err := p.http.Serve(p.httpAt); err != nil && !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("listen.http: %w", err)
			}
		})
	}
	return failed
}

// stop ends both ports, until ctx ends at the latest. endWatches ends the Watches, after their clients were told that
// the server stops.
func (p *ports) stop(ctx context.Context, endWatches func()) {
	var stopping sync.WaitGroup
	stopping.Go(func() {
		if err := p.http.Shutdown(ctx); err != nil {
			p.http.Close()
		}
	})
	_ = grpcstop.Stop(ctx, p.grpc, endWatches) // nobody has a call that is worth a line
	stopping.Wait()
	p.close()
	p.serving.Wait()
}

// close frees the addresses of ports that do not serve.
func (p *ports) close() {
	for _, l := range []net.Listener{p.grpcAt, p.httpAt} {
		if l != nil {
			l.Close()
		}
	}
}
