package main

import (
	"net"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
)

func newMemberCommand(a *app) *cobra.Command {
	return grouping(&cobra.Command{
		Use:   "member list|add|remove|replace|promote",
		Short: "Show and change who belongs to the cluster",
		Long: `A member is a node that has a place in the cluster: a voter, which counts for the quorum, or a replica,
which follows and answers reads, and never votes. Members are changed while the cluster runs. A change is
made once a majority holds it. From then on the leader carries it out step by step; if the leader fails,
the next one goes on.`,
		Example: `  rollcall member list
  rollcall member add n4 --peer 10.0.0.4:7601
  rollcall member replace n3 --reason "its disk died"
  rollcall member remove n3`,
	}, newMemberListCommand(a), newMemberAddCommand(a), newMemberRemoveCommand(a), newMemberReplaceCommand(a), newMemberPromoteCommand(a))
}

// Without --timeout, a change of a member must be made as soon as that. To wait for its end takes longer, as a new
// member gets a copy of everything.
const (
	memberChangeTime = 10 * time.Second
	memberWaitTime   = 10 * time.Minute
)

// memberFlags are the flags of commands that change members.
type memberFlags struct {
	writeFlags
	dryRun  bool
	noWait  bool
	timeout time.Duration
}

func (m *memberFlags) register(cmd *cobra.Command) {
	m.identify(cmd)
	f := cmd.Flags()
	f.BoolVar(&m.dryRun, "dry-run", false, "say whether it would be refused, and change nothing")
	f.BoolVar(&m.noWait, "no-wait", false, "end as soon as the change is made; the cluster carries it out all the same")
	cliflag.DurationVar(f, &m.timeout, "timeout", memberWaitTime, "most time the whole command may take; if it is not given, the change itself must be made within 10s")
	cliflag.FlagOnly(f, "dry-run", "no-wait", "timeout") // ROLLCALL_TIMEOUT is for what is quick
	cliflag.Once(f)
}

// checkNode refuses a name that no node can have, before anything is sent.
func checkNode(name string) error {
	if !limits.NodeName(name) {
		return invalid("%q is not a node name: %s", name, limits.NodeNameRule)
	}
	return nil
}

// checkPeerAddress refuses an address that no node could connect to.
func checkPeerAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return invalid("--peer is %q; it must be host:port, as 10.0.0.4:7601 or [::1]:7601", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return invalid("--peer is %q; its port must be a number from 1 to 65535", address)
	}
	if bad := limits.Address(address); bad != nil {
		return invalid("--peer %w", bad)
	}
	return nil
}
