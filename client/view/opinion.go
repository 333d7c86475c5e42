package view

import (
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// Opinion is what the registry last said of a name. The zero Opinion is that of a name that was not heard of yet: it
// switches nothing off.
type Opinion struct {
	Off   bool // effectively NOT_SERVING: by the override that decides, else by what is reported
	Heard bool // the registry said so, or WithInitial did
	// Held: the endpoints serve another cluster, which does not speak of the name, and what an older cluster said
	// stays. All other fields are the older cluster's. Only what is Off is held.
	Held   bool
	Status client.Status // effective; ServiceUnknown: there is no such service. Unknown if not Heard
	// Record has the report, and the override that decides. Nil: there is no such service. It is shared: do not change
	// it.
	Record   *rollcallv1.ServiceRecord
	Revision int64     // the registry's revision that this opinion is as of
	Cluster  string    // that Revision belongs to
	HeardAt  time.Time // when a watch last said so; other fields may have been the same before
}

// OffByOverride reports whether an override has switched the name off. A program goes by it for a name that it
// reports itself: its own NOT_SERVING there is no opinion of the registry's.
func (o *Opinion) OffByOverride() bool { return o.Off && o.Record.GetOverride() != nil }
