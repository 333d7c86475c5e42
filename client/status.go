package client

import (
	"errors"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// The statuses that a service can have. A report is Serving, NotServing or Unknown.
const (
	Serving    = healthpb.HealthCheckResponse_SERVING
	NotServing = healthpb.HealthCheckResponse_NOT_SERVING
	// Unknown is a status that is reported like the others: the service exists, and nobody knows how it is. It
	// has nothing to do with an unknown outcome (IsUnknown).
	Unknown = healthpb.HealthCheckResponse_UNKNOWN
	// ServiceUnknown is what watches say of a service that does not exist.
	ServiceUnknown = healthpb.HealthCheckResponse_SERVICE_UNKNOWN
)

// IsUnknown reports whether err says that the outcome of a write is unknown: it may have been done, or may
// still be. The same call with the same WriteOptions.RequestID, which Error.RequestID tells, asks again; the
// package's comment says until when.
func IsUnknown(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Written == WrittenUnknown
}

// IsNotWritten reports whether err says that a call surely changed nothing, and will not. That holds for a write
// that was refused, or never left this process, and for every failed read. It is false for nil, and for errors
// that do not come from this package.
func IsNotWritten(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Written == WrittenNo
}
