package layers

import (
	"strings"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tidwall/btree"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/api/rollcall/pattern"
)

// Status is the standard's status.
type Status = healthpb.HealthCheckResponse_ServingStatus

// Override is an override with its pattern. It never changes once it is in Layers.
type Override struct {
	Pattern string
	*logv1.Override
	status Status
}

// NewOverride returns the override of a pattern.
func NewOverride(p string, o *logv1.Override) *Override {
	return &Override{p, o, Status(o.GetStatus())}
}

// Says is the status that o shows.
func (o *Override) Says() Status { return o.status }

// Serves says whether o shows SERVING.
func (o *Override) Serves() bool { return o.status == healthpb.HealthCheckResponse_SERVING }

// Ended says whether o decides over nothing any more.
func (o *Override) Ended() bool { return o.GetEndedRevision() != 0 }

// Layers are all overrides, those that have ended and are still kept among them. It never changes. nil has
// none.
type Layers struct {
	live, ended index
	order       *btree.Map[string, *Override] // the live ones, see orderKey; nobody writes to it
}

var none = &Layers{order: new(btree.Map[string, *Override])}

// Live is how many overrides have not ended.
func (l *Layers) Live() int {
	if l == nil {
		return 0
	}
	return l.live.count()
}

// LivePrefixes is how many of them cover a prefix.
func (l *Layers) LivePrefixes() int {
	if l == nil {
		return 0
	}
	return l.live.prefixes
}

// Decides returns the override that decides over a service; nil if none does. It allocates nothing.
func (l *Layers) Decides(service string) *Override {
	if l == nil {
		return nil
	}
	return l.live.decides(service)
}

// Each visits the overrides that have not ended and cover a service, the one that decides first, until visit
// returns false.
func (l *Layers) Each(service string, visit func(*Override) (more bool)) {
	if l != nil {
		l.live.each(service, visit)
	}
}

// Effective returns what is shown of a service that is reported as status since a time, and since when.
//
// That is when the override that decides was given its status or, if later, when one ended that decided over
// it. Without one that decides it is the report's time or, if later, when the last one ended.
func (l *Layers) Effective(service string, status Status, since int64) (Status, int64) {
	if l == nil {
		return status, since
	}
	decides := l.live.decides(service)
	if decides != nil {
		status, since = decides.status, decides.GetStatusTime()
	}
	if l.ended.count() == 0 {
		return status, since
	}
	l.ended.each(service, func(o *Override) bool {
		if decides != nil && !pattern.Over(o.Pattern, decides.Pattern) {
			return false // nor do those that come after
		}
		since = max(since, o.GetEndedTime())
		return true
	})
	return status, since
}

// Ended is how many overrides have ended and are still kept.
func (l *Layers) Ended() int {
	if l == nil {
		return 0
	}
	return l.ended.count()
}

// Find returns the override of a pattern if it has not ended.
func (l *Layers) Find(p string) *Override {
	if l == nil {
		return nil
	}
	return l.live.find(p)
}

// New returns the layers of all these overrides, at most one of each pattern.
func New(all []*Override) *Layers {
	l := &Layers{order: new(btree.Map[string, *Override])}
	for _, o := range all {
		if o.Ended() {
			l.ended.put(o.Pattern, o)
			continue
		}
		l.live.put(o.Pattern, o)
		l.order.Set(orderKey(o.Pattern), o)
	}
	return l
}

// Same says whether two Layers hold the same overrides.
func (l *Layers) Same(other *Layers) bool {
	if l.Live() != other.Live() || l.Ended() != other.Ended() || l.LivePrefixes() != other.LivePrefixes() {
		return false
	}
	same := true
	for _, of := range [...]func(*Layers) *index{func(l *Layers) *index { return &l.live }, func(l *Layers) *index { return &l.ended }} {
		if l == nil || other == nil {
			continue // both are empty
		}
		of(l).visit(func(o *Override) {
			found := of(other).find(o.Pattern)
			same = same && found != nil && found.Override == o.Override
		})
	}
	return same && (l.Live() == 0 || l.order.Len() == other.order.Len())
}

// With returns l with o, which has ended or not, as the override of its pattern.
func (l *Layers) With(o *Override) *Layers { return l.change(o.Pattern, o) }

// Without returns l without the override of a pattern.
func (l *Layers) Without(p string) *Layers { return l.change(p, nil) }

func (l *Layers) change(p string, o *Override) *Layers {
	if l == nil {
		l = none
	}
	live, ended := o, (*Override)(nil)
	if o != nil && o.Ended() {
		live, ended = nil, o
	}
	next := &Layers{live: l.live, ended: l.ended, order: l.order}
	if live != nil || l.live.find(p) != nil {
		next.live = *l.live.with(p, live)
		order := *l.order // Copy writes to what it copies, and others may read or copy that now
		next.order = order.Copy()
		if live != nil {
			next.order.Set(orderKey(p), live)
		} else {
			next.order.Delete(orderKey(p))
		}
	}
	if ended != nil || l.ended.find(p) != nil {
		next.ended = *l.ended.with(p, ended)
	}
	return next
}

// Scan visits the overrides that have not ended, until visit returns false.
func (l *Layers) Scan(visit func(*Override) (more bool)) {
	if l != nil {
		l.order.Scan(func(_ string, o *Override) bool { return visit(o) })
	}
}

// Within visits the overrides that have not ended, and of which p contains the pattern, but not its own.
func (l *Layers) Within(p string, visit func(*Override)) {
	prefix, many := pattern.Prefix(p)
	if l == nil || !many {
		return
	}
	l.order.Ascend(prefix+"\x00\x00", func(_ string, o *Override) bool {
		if q, _ := pattern.Prefix(o.Pattern); !strings.HasPrefix(q, prefix) {
			return false
		}
		visit(o)
		return true
	})
}

// orderKey has a pattern sort before those that it contains, and after those before which its names come.
// Names hold no control characters.
func orderKey(p string) string {
	switch prefix, many := pattern.Prefix(p); {
	case p == pattern.Switch:
		return ""
	case many:
		return prefix + "\x00"
	default:
		return p + "\x01"
	}
}

// Covering returns the override that decides over all that p covers, as far as none within p does: the most
// specific one that contains p. nil: there is none.
func (l *Layers) Covering(p string) *Override {
	if l == nil {
		return nil
	}
	if l.live.toggle != nil {
		return l.live.toggle
	}
	prefix, many := pattern.Prefix(p)
	if !many {
		return l.live.decides(p)
	}
	if l.live.prefixes > 0 {
		if o := l.live.longest(prefix, len(prefix)); o != nil {
			return o
		}
	}
	return l.live.all
}

// Inner visits the overrides that have not ended, and of which p contains the pattern, but not its own nor
// that of another one that is visited.
func (l *Layers) Inner(p string, visit func(*Override)) {
	if l == nil || l.order.Len() == 0 {
		return
	}
	prefix, many := pattern.Prefix(p)
	if !many {
		return
	}
	from := prefix + "\x00\x00" // after p's own
	for {
		var inner *Override
		l.order.Ascend(from, func(_ string, o *Override) bool {
			inner = o
			return false
		})
		if inner == nil || inner.Pattern == pattern.Switch {
			return
		}
		q, several := pattern.Prefix(inner.Pattern)
		if !strings.HasPrefix(q, prefix) {
			return
		}
		visit(inner)
		if !several {
			from = q + "\x01\x00"
			continue
		}
		if from = pattern.After(q); from == "" {
			return
		}
	}
}
