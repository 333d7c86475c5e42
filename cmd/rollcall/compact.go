package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/store"
)

// reasonDisk: an operation on the data directory of a stopped node, or on a file, failed.
const reasonDisk = "DATA_DIRECTORY"

func newCompactCommand(a *app) *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "compact --data DIR",
		Short: "Give back the space that deleted history has left in a stopped node's registry file",
		Long: `Rewrites the registry file of a stopped node without the free space in it. The content stays the same.
A running node uses that space again, so you need this only after you made --history-events or
--history-age much smaller. The disk must have room for both files.`,
		Example: `  rollcall compact --data /var/lib/rollcall`,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			if data == "" {
				return withNext(invalid("compact needs --data"), `see "rollcall compact --help"`)
			}
			sizes, err := store.Defragment(data)
			if err != nil {
				return dataFailure(err)
			}
			a.did = fmt.Sprintf("registry file rewritten: %.1f MiB before, %.1f MiB now", format.Mebibytes(sizes.Before), format.Mebibytes(sizes.After))
			out := struct {
				Before int64 `json:"before_bytes"`
				After  int64 `json:"after_bytes"`
			}{sizes.Before, sizes.After}
			return a.printObject(out, func() error {
				_, err := fmt.Fprintln(a.stdout, a.did)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "`directory` of the stopped node's data")
	cmd.Flags().SetAnnotation("data", cobra.BashCompSubdirsInDir, nil)
	return cmd
}

// dataFailure is the failure of an operation on the data of a stopped node.
func dataFailure(err error) *failure {
	f := &failure{exit: exitNotDone, code: codes.FailedPrecondition, reason: reasonDisk, err: err}
	switch {
	case errors.Is(err, store.ErrInUse):
		f.next = "stop the node first"
	case errors.As(err, new(*store.IdentityError)): // it says what to do
	case errors.Is(err, store.ErrDamaged):
		f.next = "start the node: it makes the registry file anew from its newest snapshot and the log"
	}
	return f
}
