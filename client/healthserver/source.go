package healthserver

import (
	"context"
	"log/slog"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

// registry is what a Server needs of the registry.
type registry struct {
	newSource func(names []string, initial map[string]view.Opinion, logger *slog.Logger) (source, error)
	keepLease func(client.LeaseOptions, client.KeepOptions) (lease, error)
}

// source is what the registry last said: a view.View.
type source interface {
	Run(ctx context.Context) error
	Get(name string) view.Opinion
	Changed() <-chan struct{}
}

// lease reports under a lease: a client.Lease.
type lease interface {
	Submit(reports ...client.Report) error
	Acknowledged(service string) (client.Acknowledged, bool)
	Rewrite(services ...string)
	Close(ctx context.Context) error
}

func newRegistry(c *client.Client) *registry {
	return &registry{
		newSource: func(names []string, initial map[string]view.Opinion, logger *slog.Logger) (source, error) {
			return view.New(c, names, view.WithLogger(logger), view.WithInitial(initial))
		},
		keepLease: func(terms client.LeaseOptions, o client.KeepOptions) (lease, error) { return c.KeepLease(terms, o) },
	}
}

// View returns the view that the Server stands on, of SERVICE and SERVICE/INSTANCE: who switched the process off, and
// for how long the registry has not been heard. It is nil without WithClient. Run runs it.
func (s *Server) View() *view.View {
	v, _ := s.source.(*view.View)
	return v
}
