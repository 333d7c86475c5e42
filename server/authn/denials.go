package authn

import (
	"strings"
	"sync"

	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// Denials counts what callers were refused because they may not do it. The zero value is ready. Its methods may be
// called from anywhere.
type Denials struct {
	mu     sync.Mutex // guards counts
	counts map[string]uint64
}

// Count counts a failure if it is a refusal of what its caller may not do: for each verb that it names.
func (d *Denials) Count(f *rpcerror.Failure) {
	switch f.Reason {
	case rpcerror.ReasonDenied, rpcerror.ReasonEscalation, rpcerror.ReasonNoCredentials:
	default:
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counts == nil {
		d.counts = make(map[string]uint64)
	}
	for verb := range strings.SplitSeq(f.Meta[rpcerror.MetaVerb], ",") {
		if verb != "" {
			d.counts[verb]++
		}
	}
}

// ByVerb returns how many were counted so far of each verb. Verbs of which none was are left out.
func (d *Denials) ByVerb() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	counts := make(map[string]uint64, len(d.counts))
	for verb, n := range d.counts {
		counts[verb] = n
	}
	return counts
}
