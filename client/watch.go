package client

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Update is one status that a watch saw.
type Update struct {
	Service string
	Status  Status // SERVICE_UNKNOWN: it does not exist
	// Record is nil if the service does not exist, and of the node's own names.
	Record *rollcallv1.ServiceRecord
	// Revision is that of the record's report, whether or not an override decides; if there is none, one at
	// which the service did not exist; 0 for the node's own names.
	Revision int64
	// AsOf is the registry's revision that the update shows. Unlike Revision it grows with an override too: of two
	// updates of one cluster, also from two watches, the one with the higher AsOf is newer. 0 for the node's own
	// names.
	AsOf    int64
	Cluster string // that Revision and AsOf belong to; "" for the node's own names
	// ClusterChanged means that the endpoints serve another cluster than the update before came from: it was
	// restored from a backup, or founded anew. Revisions are those of the new cluster from here on, and can
	// be lower. Such an update comes also if the status is the same.
	ClusterChanged bool
	Endpoint       string // that answered
}

// Watch gives the status of service at once, then whenever it differs; the package's comment says what holds
// across nodes. It moves to another node when its own goes away or falls silent (a stopped process is noticed
// within 15 s), and goes on trying until ctx ends, giving nothing while no node answers. An error is the last
// that it gives, with a zero Update: that of ctx, a node's refusal that no other node would change
// (INVALID_ARGUMENT, for example), or ReasonNoEndpoint if the very first round could not connect to any
// endpoint.
//
// If the cluster changes, the watch goes on with the new one, and says so by Update.ClusterChanged.
//
// The node's own names ("" and rollcall.…) are the status of whichever node the watch is on.
//
// A slow consumer delays nobody else; it misses states in between, and not the last.
func (c *Client) Watch(ctx context.Context, service string) iter.Seq2[Update, error] {
	return c.watch(ctx, operation{name: "watch", service: service, about: true})
}

// WaitFor watches service until its status is s, and returns the update that said so. With an error
// comes the last update before it, which is zero if there was none. Errors are those of Watch.
func (c *Client) WaitFor(ctx context.Context, service string, s Status) (Update, error) {
	var latest Update
	for u, err := range c.watch(ctx, operation{name: "wait", service: service, about: true}) {
		if err != nil {
			return latest, err
		}
		latest = u
		if u.Status == s {
			break
		}
	}
	return latest, nil
}

func (c *Client) watch(ctx context.Context, op operation) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		ctx, done := c.begin(ctx)
		defer done()
		w := &watch{failover: failover{c: c, op: op}, yield: yield}
		w.onClusterChanged = func(*Error) error {
			w.changed = w.delivered
			return nil
		}
		if err := w.run(ctx, w.follow); err != nil {
			yield(Update{}, err)
		}
	}
}

// watch is one run of a Watch.
type watch struct {
	failover
	yield   func(Update, error) bool
	status  Status // the last one given, if delivered
	changed bool   // the next update is from another cluster
}

// follow watches at one endpoint until that fails.
func (w *watch) follow(ctx context.Context, e *endpoint, timeout time.Duration) error {
	return receive(ctx, &w.failover, e, timeout,
		func(ctx context.Context, conn grpc.ClientConnInterface) (grpc.ServerStreamingClient[healthpb.HealthCheckResponse], error) {
			if !rollcallv1.IsOwn(w.op.service) && w.minRevision == 0 {
				ctx = askRevision(ctx, 0) // for the header that names the cluster
			}
			return healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{Service: w.op.service})
		},
		func(ctx context.Context, conn grpc.ClientConnInterface, m *healthpb.HealthCheckResponse) error {
			return w.handle(ctx, e, conn, m.GetStatus())
		})
}

// handle takes a status that the stream sent. The status says that something changed. When it changed is in
// the record, which may be newer.
//
// Between two messages of the stream, the last one must equal the last update. If the record was ahead of
// the stream, and the status then goes back to what the stream sent last, the stream sends nothing. So it is
// opened again.
func (w *watch) handle(ctx context.Context, e *endpoint, conn grpc.ClientConnInterface, s Status) error {
	u := Update{Service: w.op.service, Status: s, Cluster: w.cluster, ClusterChanged: w.changed, Endpoint: e.address}
	if !rollcallv1.IsOwn(w.op.service) && (!w.delivered || w.changed || s != w.status) {
		record, revision, err := w.readRecord(ctx, conn)
		if err != nil {
			return err
		}
		if revision < w.minRevision {
			return status.Error(codes.Unavailable, fmt.Sprintf("is at revision %d, behind %d", revision, w.minRevision))
		}
		w.minRevision = revision
		u.Record, u.Status, u.Revision, u.AsOf = record, record.GetStatus(), record.GetReport().GetRevision(), revision
		if record == nil {
			u.Status, u.Revision = healthpb.HealthCheckResponse_SERVICE_UNKNOWN, revision
		}
	}
	if !w.delivered || w.changed || u.Status != w.status {
		w.delivered, w.status, w.changed = true, u.Status, false
		if !w.yield(u, nil) {
			return errStopped
		}
	}
	if u.Status != s {
		return errReopen
	}
	w.reopens = 0
	return nil
}

// readRecord reads the service's record, nil if there is none, and a revision that the node has reached.
func (w *watch) readRecord(ctx context.Context, conn grpc.ClientConnInterface) (*rollcallv1.ServiceRecord, int64, error) {
	ctx, cancel := context.WithTimeout(withCluster(askRevision(ctx, w.minRevision), w.cluster), w.c.cfg.AttemptTimeout)
	defer cancel()
	registry := rollcallv1.NewRegistryClient(conn)
	resp, err := registry.GetService(ctx, &rollcallv1.GetServiceRequest{Service: w.op.service})
	if err == nil {
		record := resp.GetService()
		return record, max(resp.GetRevision(), record.GetReport().GetRevision()), nil
	}
	if status.Code(err) != codes.NotFound {
		return nil, 0, err
	}
	revision, err := strconv.ParseInt(errorInfo(status.Convert(err)).GetMetadata()["revision"], 10, 64)
	if err != nil || revision < 0 {
		// Without it the answer cannot be ordered with those of other nodes.
		return nil, 0, status.Error(codes.Unimplemented, "the node does not say at which revision the service does not exist")
	}
	return nil, revision, nil
}
