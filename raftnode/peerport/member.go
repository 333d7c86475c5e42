package peerport

// Member is a node as the configuration lists it.
type Member struct {
	Name        string
	PeerAddress string // host:port
	APIAddress  string // host:port; not used here
}

// These keep a hello with all members, twice, below maxHello.
const (
	MaxMembers = 64
)
