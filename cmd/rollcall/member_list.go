package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newMemberListCommand(a *app) *cobra.Command {
	return named(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the members, and how far changes of them are",
		Long: `Lists the members of the cluster, as the first node that answers knows them. The phase of a member is
joining (it was added or replaced, and catches up), voter, replica, or leaving (it was removed, and the
others do not do without it yet). DIRECTORY is the begin of the id of its data directory: what the others
know it by. "rollcall status" shows how the members are.`,
		Example: `  rollcall member list
  rollcall member list -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				s, err := a.clusterStatus(ctx, c)
				if err != nil {
					return doing("list the members", err)
				}
				return a.print(membersOf(s), memberNames(s), func() error {
					if err := newGrid(a, membershipColumns).write(s.GetMembers()); err != nil {
						return err
					}
					return a.writePhases(s, false)
				})
			})
		},
	})
}

// membersJSON is who belongs to a cluster.
type membersJSON struct {
	Cluster  string            `json:"cluster_id"`
	Revision int64             `json:"revision"`
	Leader   string            `json:"leader"`
	Members  []apijson.Message `json:"members"`
}

func membersOf(s *rollcallv1.GetStatusResponse) membersJSON {
	list := membersJSON{Cluster: s.GetClusterId(), Revision: s.GetRevision(), Leader: s.GetLeader(), Members: []apijson.Message{}}
	for _, m := range s.GetMembers() {
		list.Members = append(list.Members, apijson.Message{Message: m.GetMember()})
	}
	return list
}

// detailWaits begins what nodes say of a change that does not go on until somebody does something. The problems of a
// status name it.
const detailWaits = "waits: "

// writePhases says of each member that is to become something else how far it is; not what the problems say, if those
// are shown too.
func (a *app) writePhases(s *rollcallv1.GetStatusResponse, problems bool) error {
	for _, m := range s.GetMembers() {
		detail := m.GetMember().GetPhaseDetail()
		if detail == "" || problems && strings.HasPrefix(detail, detailWaits) {
			continue
		}
		if _, err := fmt.Fprintln(a.stdout, format.Printable(format.OneLine(explain.Member(m.GetMember())))); err != nil {
			return err
		}
	}
	return nil
}

// inChange reports whether a member is on the way to what it is to be.
func inChange(m *rollcallv1.Member) bool {
	return m.GetPhase() == rollcallv1.MemberPhase_MEMBER_PHASE_JOINING || m.GetPhase() == rollcallv1.MemberPhase_MEMBER_PHASE_LEAVING
}

// phaseCell is the phase of a member.
func phaseCell(_ view, m *rollcallv1.MemberStatus) format.Cell {
	return format.Cell{Text: explain.Phase(m.GetMember()), Tone: toneIf(inChange(m.GetMember()), format.Doubtful)}
}

// directoryCell is the data directory of a member, as the others know it.
func directoryCell(_ view, m *rollcallv1.MemberStatus) format.Cell {
	return text(format.OrDash(m.GetMember().GetDirectoryId()))
}

// membershipColumns are those of member list.
var membershipColumns = []column[*rollcallv1.MemberStatus]{
	{header: "MEMBER", cell: func(_ view, m *rollcallv1.MemberStatus) format.Cell { return text(m.GetMember().GetName()) }},
	{header: "PHASE", cell: phaseCell},
	{header: "PEER", cell: func(_ view, m *rollcallv1.MemberStatus) format.Cell {
		return text(format.OrDash(m.GetMember().GetPeerAddress()))
	}},
	{header: "API", cell: func(_ view, m *rollcallv1.MemberStatus) format.Cell {
		return text(format.OrDash(m.GetMember().GetApiAddress()))
	}},
	{header: "DIRECTORY", cell: directoryCell},
	{header: "ROLE", wide: true, cell: roleCell},
	{header: "VERSION", wide: true, cell: func(_ view, m *rollcallv1.MemberStatus) format.Cell { return text(format.OrDash(m.GetVersion())) }},
}
