package checks

import (
	"fmt"
	"strings"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
)

// Reporter is told the status of services. A *health.Server of gRPC is one, and so is everything that embeds one.
//
// A Runner tells each Reporter every change of a service, in order and from one goroutine of this Reporter's own.
// A Reporter that blocks delays nobody else; when it returns, it is told the newest status of each service and not
// those in between. It is never told the same status of a service twice in a row.
type Reporter interface {
	// SetServingStatus is called with SERVING, NOT_SERVING, UNKNOWN, or SERVICE_UNKNOWN when the last check of
	// the service was removed.
	SetServingStatus(service string, status client.Status)
}

// ReasonReporter is a [Reporter] that also takes the reason. A Runner calls Report instead of SetServingStatus.
type ReasonReporter interface {
	Reporter
	// Report takes a status as SetServingStatus does. The reason is one line of at most 1 KiB: it holds names of
	// checks, never what they measured. The Runner logs an error, and does not repeat the report.
	Report(service string, status client.Status, reason string) error
}

// Observer is told what happens, for metrics. A Runner calls it from one goroutine of the Observer's own, so an
// Observer that blocks delays nobody; then it misses what is no longer the newest of a check or a service.
type Observer interface {
	// CheckDone is called after each run of a check with its result: when the run returned, or at its timeout if
	// it did not return. While a check is stuck it is called each time that counts as one more failure.
	CheckDone(r Result)
	// CheckRemoved is called when a check was removed.
	CheckRemoved(service, check string)
	// StatusChanged is called when the status of a service changes, with the names of the checks that made it
	// NOT_SERVING or UNKNOWN, sorted. SERVICE_UNKNOWN means that its last check was removed.
	StatusChanged(service string, s client.Status, reasons []string)
}

// ToRegistry makes a [Reporter] that reports under a lease: if this process dies, the registry turns its services
// NOT_SERVING. The reason of each report names the checks that made it. A service whose last check was removed is
// withdrawn.
//
// The name function says under which name the registry has a service of the Runner; for "" that service is not
// reported. nil means that each service has its own name there, and that the service "" is not reported. A process
// that checks itself as "" gives the name of its instance:
//
//	checks.ToRegistry(lease, func(string) string { return "shop/cart/10.0.0.7:8080" })
//
// It never waits for the registry. The program closes the lease after [Runner.Run] has returned. A nil lease makes a
// nil Reporter, which the Runner refuses.
func ToRegistry(lease *client.Lease, name func(service string) string) Reporter {
	if lease == nil {
		return nil
	}
	return newRegistryReporter(lease, name)
}

// submitter is a *client.Lease.
type submitter interface {
	Submit(reports ...client.Report) error
}

type registryReporter struct {
	lease submitter
	name  func(string) string
}

func newRegistryReporter(lease submitter, name func(string) string) *registryReporter {
	if name == nil {
		name = func(service string) string { return service }
	}
	return &registryReporter{lease, name}
}

// SetServingStatus is Report without a reason.
func (r *registryReporter) SetServingStatus(service string, s client.Status) {
	_ = r.Report(service, s, "")
}

func (r *registryReporter) Report(service string, s client.Status, reason string) error {
	name := r.name(service)
	if name == "" {
		return nil
	}
	return r.lease.Submit(client.Report{Service: name, Status: s, Reason: reason})
}

// reasonText says in one line why a service has a status.
func reasonText(s client.Status, names []string) string {
	switch s {
	case client.NotServing:
		return listed("failing: ", names)
	case client.Unknown:
		return listed("not run yet: ", names)
	case client.ServiceUnknown:
		return "it has no checks any more"
	}
	return "no critical check is failing"
}

// listed writes whole names only, and counts those that find no room in a reason.
func listed(head string, names []string) string {
	const reserve = len(" and 1000000000 more")
	var b strings.Builder
	b.WriteString(head)
	for i, name := range names {
		if i > 0 {
			name = ", " + name
		}
		if last := i == len(names)-1; b.Len()+len(name) > limits.MaxReasonBytes-reserve && !(last && b.Len()+len(name) <= limits.MaxReasonBytes) {
			fmt.Fprintf(&b, " and %d more", len(names)-i)
			break
		}
		b.WriteString(name)
	}
	return b.String()
}
