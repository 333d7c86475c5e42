package healthserver

import (
	"context"
	"errors"
	"log/slog"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// registry is what a Server needs of the registry.
type registry struct {
	newSource func(names []string, seed map[string]opinion, logger *slog.Logger) (source, error)
	keepLease func(client.LeaseOptions, client.KeepOptions) (lease, error)
}

// source is what the registry last said: a view.View.
type source interface {
	Run(ctx context.Context) error
	Get(name string) opinion
	Changed() <-chan struct{}
}

// lease reports under a lease: a client.Lease.
type lease interface {
	Submit(reports ...client.Report) error
	Close(ctx context.Context) error
}

func newRegistry(c *client.Client) *registry {
	return &registry{
		newSource: func([]string, map[string]opinion, *slog.Logger) (source, error) { return nil, errors.New("not yet") },
		keepLease: func(terms client.LeaseOptions, o client.KeepOptions) (lease, error) { return c.KeepLease(terms, o) },
	}
}

type opinion struct {
	Off, Heard, Held bool
	Status           client.Status
	Record           *rollcallv1.ServiceRecord
	Revision         int64
	Cluster          string
}
