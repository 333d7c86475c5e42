package resolver

import (
	"strings"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// instance is what the registry says of one SERVICE/INSTANCE.
type instance struct {
	address string // INSTANCE
	skipped bool   // INSTANCE is not HOST:PORT
	serving bool
	// drained means that an operator's override shows it as not SERVING, until drainedUntil (zero: until the override
	// is cleared).
	drained      bool
	drainedUntil time.Time
	// decided means that an operator's word shows: an override, or a report of SERVING without a lease. (Of NOT_SERVING
	// without a lease is what a lease leaves that expired.)
	decided bool
}

// newInstance reads a record whose name begins with service + "/".
func newInstance(service string, r *rollcallv1.ServiceRecord) instance {
	i := instance{
		address: strings.TrimPrefix(r.GetService(), service+"/"),
		serving: r.GetStatus() == client.Serving,
		decided: r.GetOverride() != nil || r.GetReport().GetLeaseId() == "" && r.GetReport().GetStatus() == client.Serving,
	}
	i.skipped = checkAddress(i.address) != nil
	if o := r.GetOverride(); o != nil && !i.serving {
		i.drained = true
		if end := o.GetExpireTime(); end != nil {
			i.drainedUntil = end.AsTime()
		}
	}
	return i
}

// observation is all instances of a service as of one revision. It does not change.
type observation struct {
	cluster   string
	revision  int64
	instances map[string]instance // by address
}

// spokenOf reports whether the registry has any instance that can be given.
func (o *observation) spokenOf() bool {
	for _, i := range o.instances {
		if !i.skipped {
			return true
		}
	}
	return false
}
