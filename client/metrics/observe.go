package metrics

import (
	"errors"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
)

// Published implements healthserver.Observer.
func (m *Metrics) Published(err error) { m.published.WithLabelValues(result(err)).Inc() }

// LeaseLost implements healthserver.Observer.
func (m *Metrics) LeaseLost() { m.lost.Inc() }

// Refused implements aware.Observer.
func (m *Metrics) Refused(service string) { m.refused.WithLabelValues(service).Inc() }

// Endpoints implements resolver.Observer. All are shown as 0 when none is left, and when no channel is.
func (m *Metrics) Endpoints(service string, serving, skipped, panicked int) {
	m.endpoints.WithLabelValues(service, "serving").Set(float64(serving))
	m.endpoints.WithLabelValues(service, "panicked").Set(float64(panicked))
	m.endpoints.WithLabelValues(service, "skipped").Set(float64(skipped))
}

// result is the label of a report's outcome.
func result(err error) string {
	if err == nil {
		return "ok"
	}
	if e, ok := errors.AsType[*client.Error](err); ok {
		switch e.Code {
		case codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition, codes.OutOfRange,
			codes.AlreadyExists, codes.Unimplemented:
			return "refused"
		}
	}
	return "failed"
}
