package loadgen

import (
	"context"
	"sync/atomic"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// WriteLoad flips the status of services of its own.
type WriteLoad struct {
	Load
	Batch    int // changes in one write
	Services int // at least Callers times Batch
	Own      *Services
	Conns    *Connections
	Changes  atomic.Uint64 // made so far

	next []int // by writer, who alone uses it: its next change
}

// Run makes the load until its duration is over or ctx ends.
func (w *WriteLoad) Run(ctx context.Context) {
	w.next = make([]int, w.Callers)
	w.run(ctx, w.call)
}

// call writes the writer's next services.
func (w *WriteLoad) call(ctx context.Context, writer int) error {
	first := w.next[writer]
	w.next[writer] += w.Batch
	admin := rollcallv1.NewAdminClient(w.Conns.at(writer))
	if w.Batch == 1 {
		service, status := w.change(writer, first)
		resp, err := admin.SetServingStatus(ctx, &rollcallv1.SetServingStatusRequest{
			Service: service, Status: &status, Reason: Reason, Actor: w.Own.Actor,
		})
		if resp.GetChanged() {
			w.Changes.Add(1)
		}
		return err
	}
	req := &rollcallv1.BatchSetServingStatusRequest{Reason: Reason, Actor: w.Own.Actor}
	for n := first; n < first+w.Batch; n++ {
		service, status := w.change(writer, n)
		req.Changes = append(req.Changes, &rollcallv1.StatusChange{Service: service, Status: &status})
	}
	resp, err := admin.BatchSetServingStatus(ctx, req)
	w.Changes.Add(uint64(resp.GetChangedCount()))
	return err
}

// change returns the n-th change of a writer. It sets all of its services SERVING, then all NOT_SERVING, and
// so on. Each service has one writer, so that every write changes something whatever overtakes what.
func (w *WriteLoad) change(writer, n int) (string, client.Status) {
	own := (w.Services - writer + w.Callers - 1) / w.Callers // writer, writer+callers, …
	service := w.Own.Name(writer + n%own*w.Callers)
	if n/own%2 == 0 {
		return service, healthpb.HealthCheckResponse_SERVING
	}
	return service, healthpb.HealthCheckResponse_NOT_SERVING
}
