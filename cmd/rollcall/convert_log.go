package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/node"
)

var logStoreUsage = fmt.Sprintf("where the raft log stands: %s (default: where it does; %s in a new data directory)",
	strings.Join(node.LogStores(), " or "), node.DefaultLogStore)

type logConversion struct {
	Data    string `json:"data"`
	From    string `json:"from"`
	To      string `json:"to"`
	Entries int    `json:"entries"`
}

func newConvertLogCommand(a *app) *cobra.Command {
	var data, to string
	cmd := &cobra.Command{
		Use:   "convert-log",
		Short: "Move a stopped node's raft log to another log store",
		Long: `Moves the raft log of a stopped node from one log store to another: boltdb keeps it in raft.db, wal in
segment files under wal/. Votes and term stay in raft.db. A node keeps the log store that its data
directory was made with until then; the nodes of a cluster need not have the same.

All entries are copied, read again and compared before the one step that switches. If it is
interrupted the log is in one or the other, whole; run it again. It needs as much free disk as the
log takes.`,
		Example: `  rollcall convert-log --data /var/lib/rollcall --to wal`,
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			if data == "" || to == "" {
				return withNext(invalid("convert-log needs --data and --to"), `see "rollcall convert-log --help"`)
			}
			c, err := node.ConvertLog(data, to)
			if err != nil {
				return &failure{exit: exitNotDone, code: codes.FailedPrecondition, reason: reasonConvertLog, err: err}
			}
			switch {
			case a.json():
				return a.printObject(logConversion{Data: data, From: c.From, To: c.To, Entries: c.Entries})
			case c.From == c.To:
				_, err = fmt.Fprintf(a.stdout, "the log of %s is in %s already\n", data, c.To)
			default:
				_, err = fmt.Fprintf(a.stdout, "the log of %s, %d entries, is in %s now\n", data, c.Entries, c.To)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&data, "data", "", "`directory` of the stopped node's data")
	f.StringVar(&to, "to", "", "log store to move to: "+strings.Join(node.LogStores(), " or "))
	complete(cmd, "to", node.LogStores()...)
	f.SetAnnotation("data", cobra.BashCompSubdirsInDir, nil)
	return cmd
}
