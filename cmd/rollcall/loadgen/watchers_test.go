package loadgen

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// A watcher that falls out is an error once, and is waited for no more.
func TestWatchersGoOnWithoutThoseGivenUp(t *testing.T) {
	w := newWatchers(3)
	for i := range w.alive {
		w.alive[i], w.cancels[i] = true, func() {}
	}
	f := w.expect(healthpb.HealthCheckResponse_SERVING)
	f.settle(0, 5)
	f.settle(0, 6)
	w.giveUp(1, refusal(codes.Unavailable, "", "gone"))
	w.giveUp(1, refusal(codes.Unavailable, "", "gone"))
	w.await(f, 1) // the third is late
	<-f.all
	if got := fmt.Sprint(f.delays[0].Load(), f.delays[1].Load(), f.delays[2].Load(), w.errors.Count()); got != "5 -1 -1 2" {
		t.Error(got)
	}
	f = w.expect(healthpb.HealthCheckResponse_NOT_SERVING)
	f.settle(0, 1)
	<-f.all
}
