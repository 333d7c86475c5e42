package forming

import (
	"fmt"
	"strings"

	"github.com/rollcallhq/rollcall/raftnode/peerport"
)

// describeUnknown says what a node waits for that the cluster does not know by its data directory, listed: but by
// another one. Who answered belongs to the cluster.
func (n Node) describeUnknown(who Answer, listed bool) string {
	cluster := peerport.ShortClusterID(who.Hello.GetClusterId())
	if listed {
		return fmt.Sprintf("cluster %s knows %s by another data directory than %s, which is empty; start %s with that one; if it is lost, %s",
			cluster, n.View.Node, n.Directory, n.View.Node, n.replaceAdvice())
	}
	return fmt.Sprintf("%s is not a member of cluster %s, to which %s belongs; to make it one, run \"rollcall member add %s --peer %s\"",
		n.View.Node, cluster, who.at(), n.View.Node, n.PeerAddress)
}

// replaceAdvice is how this node's empty data directory takes the place of one that is lost.
func (n Node) replaceAdvice() string {
	if n.Joins {
		return fmt.Sprintf("run \"rollcall member replace %s --peer %s\"", n.View.Node, n.PeerAddress)
	}
	return fmt.Sprintf("run \"rollcall member replace %s\"", n.View.Node)
}

// describeJoining says why a node that waits to be made a member has found no cluster yet.
func describeJoining(answers []Answer) string {
	if len(answers) == 0 {
		return "waiting for a member of a cluster: each address of --join is this node's own"
	}
	names := make([]string, len(answers))
	reasons := make([]string, len(answers))
	for i, a := range answers {
		names[i] = a.Member.PeerAddress
		if a.Hello != nil {
			reasons[i] = a.at() + " belongs to no cluster yet"
		} else {
			reasons[i] = a.name() + ": " + peerport.Reason(a.Err)
		}
	}
	return "waiting for a member of a cluster at " + strings.Join(names, ", ") + ": " + strings.Join(reasons, "; ")
}
