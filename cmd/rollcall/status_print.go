package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// watchStatus prints the status again and again until ctx ends, which is no error. That no node answers is an
// error only at the begin: a cluster may come back.
func (a *app) watchStatus(cmd *cobra.Command) error {
	const every = 2 * time.Second
	begun := false
	redraw := a.forPeople() && format.IsTerminal(terminalOf(a.stdout))
	for ctx := cmd.Context(); ; pause(ctx, every) {
		err := a.call(cmd, func(ctx context.Context, c *client.Client) error {
			s, err := a.clusterStatus(ctx, c)
			if err != nil {
				return doing("get the status of the cluster", err)
			}
			switch {
			case redraw:
				io.WriteString(a.stdout, clearScreen)
			case begun && a.forPeople():
				fmt.Fprintln(a.stdout)
			}
			begun = true
			return a.printPart(apijson.Message{Message: s}, memberNames(s), func() error { return a.writeStatus(s) })
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (!begun || onlyOutput(err)):
			return err
		case err != nil:
			a.report(a.explain(err), a.forPrograms())
		}
	}
}

const clearScreen = "\x1b[H\x1b[2J"

func memberNames(s *rollcallv1.GetStatusResponse) []string {
	names := make([]string, len(s.GetMembers()))
	for i, m := range s.GetMembers() {
		names[i] = m.GetMember().GetName()
	}
	return names
}

func (a *app) printStatus(s *rollcallv1.GetStatusResponse) error {
	return a.printMessage(s, memberNames(s), func() error { return a.writeStatus(s) })
}

func (a *app) writeStatus(s *rollcallv1.GetStatusResponse) error {
	header := format.Printable(statusHeader(s))
	if s.GetLeader() == "" || !s.GetWritable() {
		header = a.paint(header, format.Bad)
	}
	if _, err := fmt.Fprintln(a.stdout, header); err != nil {
		return err
	}
	if err := newGrid(a, statusColumns(s)).write(s.GetMembers()); err != nil {
		return err
	}
	if err := a.writePhases(s, true); err != nil {
		return err
	}
	if held := s.GetLevelHeld(); held != "" {
		if _, err := fmt.Fprintf(a.stdout, "feature level %d: %s\n", s.GetLevel(), format.Printable(format.OneLine(held))); err != nil {
			return err
		}
	}
	for _, p := range s.GetProblems() {
		if err := a.writeProblem(p); err != nil {
			return err
		}
	}
	return nil
}

func statusHeader(s *rollcallv1.GetStatusResponse) string {
	cluster := "no cluster yet"
	if id := s.GetClusterId(); id != "" {
		cluster = "cluster " + shortID(id)
	}
	leader := "no leader"
	if s.GetLeader() != "" {
		leader = "leader " + s.GetLeader()
	}
	writes := "writes refused"
	if s.GetWritable() {
		writes = "writes ok"
	}
	level := ""
	if s.GetLevel() > 0 {
		level = fmt.Sprintf(" · level %d", s.GetLevel())
	}
	access := ""
	if s.GetAccessEnforced() {
		access = " · access enforced"
	}
	return fmt.Sprintf("%s · %s (term %d) · revision %d%s · %s%s", cluster, leader, s.GetTerm(), s.GetRevision(), level, writes, access)
}

func roleCell(_ view, m *rollcallv1.MemberStatus) format.Cell {
	if v := m.GetRole().Descriptor().Values().ByNumber(m.GetRole().Number()); v != nil && m.GetRole() != rollcallv1.Role_ROLE_UNSPECIFIED {
		return text(apijson.EnumName(v))
	}
	return text("-")
}

const phaseHeader = "PHASE"

// statusColumns are memberColumns; without the phase if every member is a voter.
func statusColumns(s *rollcallv1.GetStatusResponse) []column[*rollcallv1.MemberStatus] {
	if slices.ContainsFunc(s.GetMembers(), func(m *rollcallv1.MemberStatus) bool {
		return inChange(m.GetMember()) || m.GetMember().GetPhase() == rollcallv1.MemberPhase_MEMBER_PHASE_REPLICA
	}) {
		return memberColumns
	}
	return slices.DeleteFunc(slices.Clone(memberColumns), func(c column[*rollcallv1.MemberStatus]) bool { return c.header == phaseHeader })
}

// memberColumns are those of status.
var memberColumns = []column[*rollcallv1.MemberStatus]{
	{header: "NODE", cell: func(_ view, m *rollcallv1.MemberStatus) format.Cell { return text(m.GetMember().GetName()) }},
	{header: "ROLE", cell: roleCell},
	{header: phaseHeader, cell: phaseCell},
	{header: "READY", cell: func(_ view, m *rollcallv1.MemberStatus) format.Cell {
		if m.GetReady() {
			return format.Cell{Text: "yes", Tone: format.Good}
		}
		return format.Cell{Text: "no", Tone: format.Bad}
	}},
	{header: "REVISION", cell: ifAnswered(func(_ view, m *rollcallv1.MemberStatus) string { return fmt.Sprint(m.GetRevision()) })},
	{header: "LAG", cell: ifAnswered(func(_ view, m *rollcallv1.MemberStatus) string { return fmt.Sprint(m.GetLagEntries()) })},
	{header: "API", cell: func(_ view, m *rollcallv1.MemberStatus) format.Cell {
		return text(format.OrDash(m.GetMember().GetApiAddress()))
	}},
	{header: "PEER", wide: true, cell: func(_ view, m *rollcallv1.MemberStatus) format.Cell {
		return text(format.OrDash(m.GetMember().GetPeerAddress()))
	}},
	{header: "DIRECTORY", wide: true, cell: directoryCell},
	{header: "VERSION", cell: func(_ view, m *rollcallv1.MemberStatus) format.Cell { return text(format.OrDash(m.GetVersion())) }},
	{header: "LEVEL", wide: true, cell: ifAnswered(func(_ view, m *rollcallv1.MemberStatus) string { return fmt.Sprint(m.GetMaxLevel()) })},
	{header: "CLOCK", wide: true, cell: func(_ view, m *rollcallv1.MemberStatus) format.Cell {
		if m.GetClockOffset() == nil {
			return text("-")
		}
		return text(format.ThreeDigits(m.GetClockOffset().AsDuration()))
	}},
	{header: "CERTIFICATE", wide: true, cell: func(v view, m *rollcallv1.MemberStatus) format.Cell {
		if m.GetCertificateExpires() == nil {
			return text("-")
		}
		return text(explain.Expiry(v.now, m.GetCertificateExpires()))
	}},
	{header: "UP", cell: func(v view, m *rollcallv1.MemberStatus) format.Cell { return text(format.Age(v.now, m.GetStartTime())) }},
	{header: "REGISTRY", cell: ifStored(func(s *rollcallv1.Storage) string { return format.Bytes(s.GetRegistryBytes()) })},
	{header: "LOG", cell: ifStored(func(s *rollcallv1.Storage) string { return format.Bytes(s.GetLogBytes()) })},
	{header: "SNAPSHOTS", wide: true, cell: ifStored(func(s *rollcallv1.Storage) string { return format.Bytes(s.GetSnapshotBytes()) })},
	{header: "FREE", cell: ifStored(func(s *rollcallv1.Storage) string {
		if s.FreeBytes == nil {
			return "-"
		}
		return format.Bytes(s.GetFreeBytes())
	})},
}

// ifAnswered is a cell that only a member which answered has.
func ifAnswered(cell func(view, *rollcallv1.MemberStatus) string) func(view, *rollcallv1.MemberStatus) format.Cell {
	return func(v view, m *rollcallv1.MemberStatus) format.Cell {
		if m.GetStartTime() == nil {
			return text("-")
		}
		return text(cell(v, m))
	}
}

func ifStored(cell func(*rollcallv1.Storage) string) func(view, *rollcallv1.MemberStatus) format.Cell {
	return func(_ view, m *rollcallv1.MemberStatus) format.Cell {
		if m.GetStorage() == nil {
			return text("-")
		}
		return text(cell(m.GetStorage()))
	}
}
