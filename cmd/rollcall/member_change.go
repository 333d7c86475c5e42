package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
)

func newMemberAddCommand(a *app) *cobra.Command {
	var (
		m       memberFlags
		peer    string
		replica bool
	)
	cmd := named(&cobra.Command{
		Use:   "add NAME --peer HOST:PORT",
		Short: "Make a node that waits a member",
		Long: `Makes a node a member of the cluster. Start it first, with an empty data directory: "rollcall serve --node
NAME --data DIR --join PEER". It then waits for this command. The cluster connects to it at --peer, and
sees that it is the node of that name, that its directory is empty and that its version fits.

The node first gets a copy of everything and does not vote. It votes as soon as it has caught up; a
--replica never does. The command waits for that, at most --timeout, and says how far it is. Exit status
4: the node is added, and not so far yet.`,
		Example: `  rollcall member add n4 --peer 10.0.0.4:7601 --reason "grow to five"
  rollcall member add r1 --peer 10.1.0.1:7601 --replica`,
		Args: exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if err := checkNode(name); err != nil {
				return err
			}
			if peer == "" {
				return invalid("--peer is missing: the peer address of %s, host:port", name)
			}
			if err := checkPeerAddress(peer); err != nil {
				return err
			}
			return a.changeMember(cmd, &m, memberChange{
				name: name, what: "add " + name,
				call: func(ctx context.Context, c *client.Client, o client.WriteOptions) (memberAnswer, error) {
					return answered(c.AddMember(ctx, client.MemberChange{Name: name, PeerAddress: peer, Replica: replica}, o))
				},
				describe: func(r memberAnswer) string { return describeAdded(name, r, m.dryRun) },
			})
		},
	})
	f := cmd.Flags()
	f.StringVar(&peer, "peer", "", "peer `address` of the node, host:port")
	f.BoolVar(&replica, "replica", false, "it never votes; also if the node says so itself (serve --replica)")
	cliflag.FlagOnly(f, "peer", "replica")
	cliflag.NotEmpty(f, "peer")
	m.register(cmd)
	return cmd
}

func describeAdded(name string, r memberAnswer, dryRun bool) string {
	as := ""
	if r.GetMember().GetReplica() {
		as = " as a replica"
	}
	if dryRun {
		return fmt.Sprintf("%s would be added%s; dry run, nothing changed", name, as)
	}
	return fmt.Sprintf("%s added%s, revision %d", name, as, r.GetRevision())
}

func newMemberRemoveCommand(a *app) *cobra.Command {
	var (
		m     memberFlags
		force bool
	)
	cmd := named(&cobra.Command{
		Use:        "remove NAME",
		Aliases:    []string{"rm"},
		SuggestFor: []string{"delete", "del"},
		Short:      "Take a member out of the cluster, for ever",
		Long: `Takes a member out of the cluster. Its process ends and says why. Its data directory never belongs to
this cluster again; the node can come back with an empty one. A leader hands leadership over first.

It is refused if the voters that are left were no quorum that answers: changes would stop. Bring members
back first, or replace them. --force removes it all the same.

The command waits until the others do without the member, at most --timeout. Exit status 4: it is
removed, and the others are not so far yet.`,
		Example: `  rollcall member remove n3 --reason "the machine is given back"
  rollcall member remove n3 --dry-run`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeMembers(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if err := checkNode(name); err != nil {
				return err
			}
			return a.changeMember(cmd, &m, memberChange{
				name: name, what: "remove " + name, gone: true,
				call: func(ctx context.Context, c *client.Client, o client.WriteOptions) (memberAnswer, error) {
					return answered(c.RemoveMember(ctx, client.MemberChange{Name: name, Force: force}, o))
				},
				describe: func(r memberAnswer) string {
					return describeRemoval(name, "removed", r.GetRevision(), m.dryRun, false)
				},
			})
		},
	})
	f := cmd.Flags()
	f.BoolVar(&force, "force", false, "also if the members that are left may not be a quorum that answers")
	cliflag.FlagOnly(f, "force")
	m.register(cmd)
	return cmd
}

func newMemberReplaceCommand(a *app) *cobra.Command {
	var (
		m     memberFlags
		peer  string
		force bool
	)
	cmd := named(&cobra.Command{
		Use:   "replace NAME",
		Short: "Give the place of a member that lost its data to a new node of its name",
		Long: `Gives the place of a member to a node of the same name with an empty data directory. That is for a member
that has lost its disk. Start the node again first, with an empty directory and the flags that it had: it
finds that the cluster knows it by another directory, and waits for this command. The lost directory never
belongs to this cluster again.

The node first gets a copy of everything and does not vote. The command waits until it votes, at most
--timeout. Exit status 4: the node is replaced, and not so far yet.

A machine that is gone for good is not replaced but exchanged: add a node with another name ("rollcall
member add"), then remove the old one ("rollcall member remove").`,
		Example: `  rollcall member replace n3 --reason "its disk died"
  rollcall member replace n3 --peer 10.0.0.9:7601`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeMembers(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if err := checkNode(name); err != nil {
				return err
			}
			if peer != "" {
				if err := checkPeerAddress(peer); err != nil {
					return err
				}
			}
			return a.changeMember(cmd, &m, memberChange{
				name: name, what: "replace " + name,
				call: func(ctx context.Context, c *client.Client, o client.WriteOptions) (memberAnswer, error) {
					return answered(c.ReplaceMember(ctx, client.MemberChange{Name: name, PeerAddress: peer, Force: force}, o))
				},
				describe: func(r memberAnswer) string {
					if m.dryRun {
						return name + " would be replaced; dry run, nothing changed"
					}
					return fmt.Sprintf("%s replaced, revision %d", name, r.GetRevision())
				},
			})
		},
	})
	f := cmd.Flags()
	f.StringVar(&peer, "peer", "", "peer `address` of the new node, host:port, if it is not the member's")
	f.BoolVar(&force, "force", false, "also if the members that are left may not be a quorum that answers, or the member itself still answers")
	cliflag.FlagOnly(f, "peer", "force")
	cliflag.NotEmpty(f, "peer")
	m.register(cmd)
	return cmd
}

func newMemberPromoteCommand(a *app) *cobra.Command {
	var m memberFlags
	cmd := named(&cobra.Command{
		Use:   "promote NAME",
		Short: "Make a replica a voter",
		Long: `Makes a read replica a voter, as soon as it has caught up. A voter counts for the quorum and can lead. The
command waits for that, at most --timeout. Exit status 4: it is to vote, and is not so far yet.`,
		Example:           `  rollcall member promote r1 --reason "n3 is given back"`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeReplicas(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if err := checkNode(name); err != nil {
				return err
			}
			return a.changeMember(cmd, &m, memberChange{
				name: name, what: "promote " + name,
				call: func(ctx context.Context, c *client.Client, o client.WriteOptions) (memberAnswer, error) {
					return answered(c.PromoteMember(ctx, name, o))
				},
				describe: func(r memberAnswer) string {
					if m.dryRun {
						return name + " would be promoted; dry run, nothing changed"
					}
					if r.GetMember().GetPhase() == rollcallv1.MemberPhase_MEMBER_PHASE_VOTER {
						return fmt.Sprintf("%s votes already, revision %d", name, r.GetRevision())
					}
					return fmt.Sprintf("%s promoted, revision %d", name, r.GetRevision())
				},
			})
		},
	})
	m.register(cmd)
	return cmd
}

// memberAnswer is the answer to a change of a member.
type memberAnswer interface {
	proto.Message
	GetMember() *rollcallv1.Member
	GetRevision() int64
}

// answered makes a memberAnswer of one of the client's, and nil of none.
func answered[R memberAnswer](r R, err error) (memberAnswer, error) {
	if err != nil {
		return nil, err
	}
	return r, nil
}
