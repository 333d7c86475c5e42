package main

import (
	"context"
	"errors"
	"fmt"
	"io"

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
	cmd := &cobra.Command{
		Use:   "verify [--data DIR]",
		Short: "Prove that all members hold the same, or that a stopped node's data is intact",
		Long: `Without --data it has a node ask every member for the hash of its registry after one log entry. The
exit status is 0 if every member answered and all hashes are the same, 4 otherwise.

With --data it reads all of a stopped node's data directory, and changes nothing: every checksum, whether
the registry has the state hash that was stored with it, whether the events are complete and in the
index, whether they fold to the registry, whether the raft log continues the registry file, and the
snapshots. The exit status is 1 if anything is wrong.`,
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
	}
	cmd.Flags().StringVar(&data, "data", "", "`directory` of a stopped node's data")
	cmd.Flags().SetAnnotation("data", cobra.BashCompSubdirsInDir, nil)
	cliflag.FlagOnly(cmd.Flags(), "data") // ROLLCALL_DATA is for serve
	cliflag.NotEmpty(cmd.Flags(), "data")
	return cmd
}

func (a *app) printVerified(v *rollcallv1.VerifyResponse) error {
	var err error
	if a.json() {
		err = a.printMessage(v)
	} else {
		err = format.Table(a.stdout, func(row func(...string)) {
			row("NODE", "STATE HASH", "REVISION", "PROBLEM")
			for _, m := range v.GetMembers() {
				revision := "-"
				if m.GetRevision() > 0 || m.GetError() == "" {
					revision = fmt.Sprint(m.GetRevision())
				}
				hash := m.GetStateHash()
				row(m.GetNode(), format.OrDash(hash[:min(len(hash), 16)]), revision, format.OrDash(plain.Text(format.OneLine(m.GetError()))))
			}
		})
		if err == nil && v.GetAgree() {
			_, err = fmt.Fprintln(a.stdout, format.Printable(format.OneLine(v.GetVerdict())))
		}
	}
	if err == nil && !v.GetAgree() {
		err = notAsAsked(errors.New(v.GetVerdict()))
	}
	return err
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
	if a.json() {
		err = a.printObject(dataReport{data, problems == 0, reports})
	} else {
		err = writeChecks(a.stdout, reports)
		if err == nil && problems == 0 {
			_, err = fmt.Fprintf(a.stdout, "%s is intact\n", data)
		}
	}
	if err == nil && problems > 0 {
		err = damaged(data, `see "Disaster recovery" in docs/history.md`)
	}
	return err
}

func damaged(what, next string) *failure {
	return &failure{exit: exitNotDone, code: codes.DataLoss, reason: reasonDamaged, err: fmt.Errorf("%s is damaged", what), next: next}
}

func writeChecks(w io.Writer, checks []checkReport) error {
	err := format.Table(w, func(row func(...string)) {
		row("CHECK", "RESULT", "LOOKED AT")
		for _, c := range checks {
			result := "ok"
			if len(c.Problems) > 0 {
				result = "WRONG"
			}
			row(c.Check, result, format.OrDash(c.Looked))
		}
	})
	for _, c := range checks {
		for _, p := range c.Problems {
			_, printErr := fmt.Fprintf(w, "! %s: %s\n", c.Check, format.Printable(format.OneLine(p)))
			err = errors.Join(err, printErr)
		}
	}
	return err
}
