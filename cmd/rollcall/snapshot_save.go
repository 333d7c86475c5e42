package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/vfs"
)

func newSnapshotSaveCommand(a *app) *cobra.Command {
	var force, committedOnly bool
	var data string
	cmd := &cobra.Command{
		Use:   "save FILE [--data DIR]",
		Short: "Back up a running cluster, or a stopped node's data, into a file",
		Long: `Asks the first node that answers for a copy of its registry and history, and writes it to FILE. FILE is
written whole and checked, or not at all. The node goes on serving. It need not be the leader, and needs
no quorum: it saves what it has applied. There is no time limit unless you give --timeout.

With --data, the data of a stopped node are saved, damaged or not. Nothing in them is changed. That is
for a cluster whose quorum is lost. The backup holds all that the node has on disk. The last entries of
its raft log may never have been committed; the command tells how many, and --committed-only leaves out
what is not known to be committed. If anything may be missing, it is said, and the exit status is 4.
There must be room for the data three times beside FILE. ROLLCALL_DATA is not used here.`,
		Example: `  rollcall snapshot save /backup/rollcall-$(date +%F).snapshot
  rollcall snapshot save --endpoints 10.0.0.3:7600 survivor.snapshot
  rollcall snapshot save --data /var/lib/rollcall survivor.snapshot`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := args[0]
			if file == "-" {
				return invalid("a snapshot is checked as a file and is not written to the output; name a file")
			}
			offline := cmd.Flags().Changed("data") // by the flag only: see cliflag.FlagOnly
			if committedOnly && !offline {
				return invalid("--committed-only is for --data: a node that runs saves what it has applied, and that is committed")
			}
			if err := checkTarget(file); err != nil {
				return err
			}
			if !force && fileExists(file) {
				return fileThere(file)
			}
			if dir := filepath.Dir(file); !fileExists(dir) {
				return &failure{exit: exitNotDone, code: codes.NotFound, reason: reasonDisk, err: fmt.Errorf("the directory %s does not exist", dir), next: "make it first"}
			}
			ctx := cmd.Context()
			if cliflag.Given(cmd.Flags(), "timeout") { // ROLLCALL_TIMEOUT is for what is quick
				bounded, cancel, err := a.withTimeout(ctx)
				if err != nil {
					return err
				}
				defer cancel()
				ctx = bounded
			}
			if offline {
				return a.saveData(ctx, data, file, force, committedOnly)
			}
			c, err := a.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			return a.saveSnapshot(ctx, c, file, force)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE if it is there")
	cmd.Flags().StringVar(&data, "data", "", "`directory` of a stopped node's data, to be saved in place of a running node's")
	cmd.Flags().SetAnnotation("data", cobra.BashCompSubdirsInDir, nil)
	cmd.Flags().BoolVar(&committedOnly, "committed-only", false, "with --data: only what is known to be committed")
	cliflag.FlagOnly(cmd.Flags(), "force", "data", "committed-only") // ROLLCALL_DATA is for serve
	cliflag.NotEmpty(cmd.Flags(), "data")
	return cmd
}

func fileThere(file string) *failure {
	return &failure{exit: exitNotDone, code: codes.AlreadyExists, reason: reasonDisk, err: fmt.Errorf("%s is there already", file), next: "--force replaces it"}
}

func (a *app) saveSnapshot(ctx context.Context, c *client.Client, file string, force bool) error {
	var (
		got    client.Export
		backup snapshot.Backup
	)
	bar := &format.ProgressBar{W: a.stderr, Shown: a.stderrIsTerminal()}
	err := vfs.WriteFile(file, force, func(f *os.File) (err error) {
		defer bar.End()
		if got, err = c.ExportSnapshot(ctx, f, client.ExportOptions{Progress: bar.Update}); err != nil {
			return err
		}
		backup, err = snapshot.CheckBackup(f.Name())
		return err
	})
	var answered *client.Error
	switch {
	case err == nil:
	case errors.As(err, &answered):
		return doing("save a snapshot", err)
	case errors.Is(err, fs.ErrExist):
		return fileThere(file)
	default:
		return backupFailure(err)
	}
	a.did = fmt.Sprintf("saved %s from %s: cluster %s, revision %d, %d bytes, SHA-256 %s",
		file, got.Endpoint, shortID(backup.Meta.GetClusterId()), backup.Meta.GetRevision(), backup.Bytes, backup.SHA256)
	return a.printObject(backupReportOf(file, backup), func() error {
		_, err := fmt.Fprintln(a.stdout, a.did)
		return err
	})
}
