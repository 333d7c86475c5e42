package peerport

// Member is a node as the configuration lists it.
type Member struct {
	Name        string
	PeerAddress string // host:port
	APIAddress  string // host:port; not used here
}

// MaxMembers keeps a hello with all members, three times, below maxHello.
const MaxMembers = 48
