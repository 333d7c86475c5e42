package devcluster

import (
	"context"
	"fmt"
	"io"
	"net"
)

// MaxNodes is how many nodes a dev cluster can have.
const MaxNodes = 9

// Node is a member of a dev cluster.
type Node struct {
	Name        string `json:"name"`
	PID         int    `json:"pid"`
	APIAddress  string `json:"api_address"`
	PeerAddress string `json:"peer_address"`
	HTTPAddress string `json:"http_address"`
}

// Nodes returns n nodes. Node i listens at basePort + 10 (i - 1) and the two ports after it.
func Nodes(n, basePort int) []Node {
	nodes := make([]Node, n)
	for i := range nodes {
		at := func(offset int) string { return fmt.Sprintf("127.0.0.1:%d", basePort+10*i+offset) }
		nodes[i] = Node{Name: nodeName(i + 1), APIAddress: at(0), PeerAddress: at(1), HTTPAddress: at(2)}
	}
	return nodes
}

func nodeName(i int) string { return fmt.Sprintf("n%d", i) }

// LastPort returns the highest port that n nodes use.
func LastPort(n, basePort int) int { return basePort + 10*(n-1) + 2 }

// CheckPorts returns an error if one of the nodes' ports is in use. It is called before anything is
// started, because a cluster that is half started gives poor explanations.
func CheckPorts(nodes []Node) error {
	var (
		first error
		more  int
	)
	for _, n := range nodes {
		for _, address := range []string{n.APIAddress, n.PeerAddress, n.HTTPAddress} {
			l, err := net.Listen("tcp", address)
			switch {
			case err == nil:
				l.Close()
			case first == nil:
				first = err
			default:
				more++
			}
		}
	}
	if first == nil {
		return nil
	}
	others := ""
	if more > 0 {
		others = fmt.Sprintf(" (and %d more)", more)
	}
	return fmt.Errorf(`%w%s; if another "rollcall dev" runs, stop it, or choose other ports with --base-port`, first, others)
}

// EndWithParent calls cancel when stdin ends, as it does when the parent of a child process is gone.
func EndWithParent(stdin io.Reader, cancel context.CancelFunc) {
	ignoreBrokenPipe() // else the first log line after the parent's death ends the process at once
	go func() {
		io.Copy(io.Discard, stdin)
		cancel()
	}()
}
