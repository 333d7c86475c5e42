package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/cmd/rollcall/plain"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/store/verify"
)

// reasonDamaged: a data directory or a backup is not as it was written.
const reasonDamaged = "DAMAGED"

func newVerifyCommand(a *app) *cobra.Command {
	var data string
	cmd := named(&cobra.Command{
		Use:   "verify [--data DIR]",
		Short: "Prove that all members hold the same, or that a stopped node's data is intact",
		Long: `Without --data, a node asks every member for the hash of its registry at the same log entry. Exit
status: 0 all members answered and have the same hash; 4 they did not.

With --data, all data of a stopped node are read. Nothing is changed. These are checked: all checksums;
the registry against its hash; the events, whether they are complete and lead to the registry; the raft
log; the snapshots. The exit status is 1 if anything is wrong. ROLLCALL_DATA is not used here.`,
		Example: `  rollcall verify
  rollcall verify --data /var/lib/rollcall`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("data") { // by the flag only: see cliflag.FlagOnly
				return a.verifyData(data)
			}
			return a.call(cmd, func(ctx context.Context, c *client.Client) error {
				v, err := c.Verify(ctx)
				if err != nil {
					return doing("verify the cluster", err)
				}
				return a.printVerified(v)
			})
		},
	})
	cmd.Flags().StringVar(&data, "data", "", "`directory` of a stopped node's data")
	cmd.Flags().SetAnnotation("data", cobra.BashCompSubdirsInDir, nil)
	cliflag.FlagOnly(cmd.Flags(), "data") // ROLLCALL_DATA is for serve
	cliflag.NotEmpty(cmd.Flags(), "data")
	return cmd
}

func (a *app) printVerified(v *rollcallv1.VerifyResponse) error {
	names := make([]string, len(v.GetMembers()))
	for i, m := range v.GetMembers() {
		names[i] = m.GetNode()
	}
	err := a.printMessage(v, names, func() error {
		err := newGrid(a, hashColumns).write(v.GetMembers())
		if err == nil && v.GetAgree() {
			_, err = fmt.Fprintln(a.stdout, format.Printable(format.OneLine(v.GetVerdict())))
		}
		return err
	})
	if !v.GetAgree() {
		err = errors.Join(err, notAsAsked(errors.New(v.GetVerdict())))
	}
	return err
}

var hashColumns = []column[*rollcallv1.MemberHash]{
	{header: "NODE", cell: func(_ view, m *rollcallv1.MemberHash) format.Cell { return text(m.GetNode()) }},
	{header: "STATE HASH", cell: func(v view, m *rollcallv1.MemberHash) format.Cell {
		hash := m.GetStateHash()
		if !v.wide {
			hash = hash[:min(len(hash), 16)]
		}
		return text(format.OrDash(hash))
	}},
	{header: "REVISION", cell: func(_ view, m *rollcallv1.MemberHash) format.Cell {
		if m.GetRevision() > 0 || m.GetError() == "" {
			return text(fmt.Sprint(m.GetRevision()))
		}
		return text("-")
	}},
	{header: "PROBLEM", cell: func(_ view, m *rollcallv1.MemberHash) format.Cell {
		return format.Cell{Text: format.OrDash(plain.Text(format.OneLine(m.GetError()))), Tone: toneIf(m.GetError() != "", format.Bad)}
	}},
}

type dataReport struct {
	Data   string        `json:"data,omitempty"`
	OK     bool          `json:"ok"`
	Checks []checkReport `json:"checks"`
}

type checkReport struct {
	Check    string   `json:"check"`
	Looked   string   `json:"looked_at"`
	Problems []string `json:"problems"`
}

func reportOf(checks []verify.Check) (reports []checkReport, problems int) {
	for _, c := range checks {
		reports = append(reports, checkReport{c.Name, c.Looked, plainAll(c.Problems)})
		problems += len(c.Problems)
	}
	return reports, problems
}

func plainAll(problems []string) []string {
	all := []string{} // JSON has a list
	for _, p := range problems {
		all = append(all, plain.Text(p))
	}
	return all
}

func (a *app) verifyData(data string) error {
	checks, err := node.VerifyData(data)
	if err != nil {
		return dataFailure(err)
	}
	reports, problems := reportOf(checks)
	err = a.printObject(dataReport{data, problems == 0, reports}, func() error {
		err := a.writeChecks(reports)
		if err == nil && problems == 0 {
			_, err = fmt.Fprintf(a.stdout, "%s is intact\n", data)
		}
		return err
	})
	if problems > 0 {
		err = errors.Join(err, damaged(data, `see "Disaster recovery" in docs/history.md`))
	}
	return err
}

func damaged(what, next string) *failure {
	return &failure{exit: exitNotDone, code: codes.DataLoss, reason: reasonDamaged, err: fmt.Errorf("%s is damaged", what), next: next}
}

var checkColumns = []column[checkReport]{
	{header: "CHECK", cell: func(_ view, c checkReport) format.Cell { return text(c.Check) }},
	{header: "RESULT", cell: func(_ view, c checkReport) format.Cell {
		if len(c.Problems) > 0 {
			return format.Cell{Text: "WRONG", Tone: format.Bad}
		}
		return format.Cell{Text: "ok", Tone: format.Good}
	}},
	{header: "LOOKED AT", cell: func(_ view, c checkReport) format.Cell { return text(format.OrDash(c.Looked)) }},
}

func (a *app) writeChecks(checks []checkReport) error {
	if err := newGrid(a, checkColumns).write(checks); err != nil {
		return err
	}
	for _, c := range checks {
		for _, p := range c.Problems {
			if err := a.writeProblem(c.Check + ": " + p); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeProblem writes a line that stands out.
func (a *app) writeProblem(p string) error {
	_, err := fmt.Fprintln(a.stdout, a.paint("! "+format.Printable(format.OneLine(p)), format.Bad))
	return err
}
