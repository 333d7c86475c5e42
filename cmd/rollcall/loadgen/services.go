package loadgen

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

const (
	// Prefix begins the name of every service that a load writes or deletes.
	Prefix = "rollcall-bench/"
	// Reason is that of all changes.
	Reason = "rollcall bench"

	cleanBatch = 1000
)

// Services are the services of one run: those whose names begin with Prefix.
type Services struct {
	Prefix string // ends in "/"
	Actor  string
}

// NewServices returns the services of a new run. They are below base, in a name that no other run has.
func NewServices(base, actor string) *Services {
	id := make([]byte, 8)
	rand.Read(id) // never fails
	return &Services{Prefix: base + hex.EncodeToString(id) + "/", Actor: actor}
}

// Name returns the name of the i-th service.
func (s *Services) Name(i int) string { return fmt.Sprintf("%s%06d", s.Prefix, i) }

// Options returns the options of writes through package client.
func (s *Services) Options() client.WriteOptions {
	return client.WriteOptions{Reason: Reason, Actor: s.Actor}
}

// Clean deletes all services below the prefix, in batches, and returns how many it deleted. No call takes
// longer than timeout.
func (s *Services) Clean(ctx context.Context, c *client.Client, timeout time.Duration) (int, error) {
	for deleted := 0; ; {
		n, err := s.cleanOnce(ctx, c, timeout)
		deleted += n
		if err != nil || n == 0 {
			return deleted, err
		}
	}
}

func (s *Services) cleanOnce(ctx context.Context, c *client.Client, timeout time.Duration) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// A node that is behind would not list the services that were written last.
	fresh := client.WithReadOptions(ctx, client.ReadOptions{Consistency: client.Linearizable})
	var batch []client.Change
	for rec, err := range c.List(fresh, client.ListOptions{Prefix: s.Prefix, PageSize: cleanBatch}) {
		if err != nil {
			return 0, err
		}
		batch = append(batch, client.Change{Service: rec.GetService(), Status: healthpb.HealthCheckResponse_SERVICE_UNKNOWN})
		if len(batch) == cleanBatch {
			break
		}
	}
	if len(batch) == 0 {
		return 0, nil
	}
	if _, err := c.SetBatch(ctx, batch, s.Options()); err != nil {
		return 0, err
	}
	return len(batch), nil
}
