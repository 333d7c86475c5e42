package connlimit

// Connections are the most connections that each port of a node has open.
type Connections struct {
	API, Peer, HTTP int
	Handshakes      int // of the TLS handshakes of all ports that are not over; 0: there are none
}

// The node's own files: its log, whose segments come and go, its registry file, snapshots, a spool file;
// and the connections that it dials. ownFiles is plenty, and half of what the system allows must do where
// that is little.
const ownFiles = 256

// Plan divides what the system lets a process have open. The node's own files come first: a node that
// cannot open one ends. Then come the other members, then probes and clients. files 0 is no limit.
func Plan(files int, want Connections) Connections {
	if files == 0 {
		return want
	}
	left := files - min(ownFiles, files/2)
	plan := Connections{Peer: max(1, min(want.Peer, left/4)), HTTP: max(1, min(want.HTTP, left/4)), Handshakes: min(want.Handshakes, left/4)}
	plan.API = max(1, min(want.API, left-plan.Peer-plan.HTTP-plan.Handshakes))
	return plan
}
