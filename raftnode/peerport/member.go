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
	MaxAddress = 262 // a host name and a port, in bytes
)

// ValidName reports whether a node may have this name. It keeps names fit for logs, addresses and command
// lines.
func ValidName(name string) bool {
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
		default:
			return false
		}
	}
	return len(name) >= 1 && len(name) <= 63
}
