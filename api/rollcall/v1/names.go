package rollcallv1

import "strings"

// OwnPrefix begins the names that a node answers for itself; so is "". They are never replicated
// and cannot be set.
const OwnPrefix = "rollcall."

// The node's own names.
const (
	OwnReady  = ""                // reads, and a leader confirmed lately
	OwnLive   = "rollcall.live"   // the process answers
	OwnReads  = "rollcall.reads"  // the map is loaded, not draining
	OwnLeader = "rollcall.leader" // this node leads
)

// IsOwn reports whether nodes answer name for themselves: "" and all that begin with OwnPrefix.
func IsOwn(name string) bool { return name == "" || strings.HasPrefix(name, OwnPrefix) }
