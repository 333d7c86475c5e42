package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/snapshot"
)

func newSnapshotCommand(a *app) *cobra.Command {
	return grouping(&cobra.Command{
		Use:   "snapshot save|inspect|restore",
		Short: "Save, inspect and restore backups",
		Long: `A backup is one file. It holds the registry and the history of one node at one moment, with a SHA-256.
"save" makes one from a running cluster. "restore" makes the data directories of a new cluster from it,
while no node of that runs.`,
		Example: `  rollcall snapshot save /backup/rollcall.snapshot
  rollcall snapshot inspect /backup/rollcall.snapshot`,
	}, newSnapshotSaveCommand(a), newSnapshotInspectCommand(a), newSnapshotRestoreCommand(a))
}

// backupReport is a backup in JSON.
type backupReport struct {
	File      string        `json:"file"`
	ClusterID string        `json:"cluster_id"`
	Revision  int64         `json:"revision"`
	Index     uint64        `json:"index"`
	Term      uint64        `json:"term"`
	LogTime   string        `json:"log_time"`
	Horizon   int64         `json:"horizon"`
	StateHash string        `json:"state_hash"`
	Bytes     int64         `json:"size_bytes"`
	SHA256    string        `json:"sha256"`
	Services  *int          `json:"services,omitempty"`
	Events    *int          `json:"events,omitempty"`
	OK        *bool         `json:"ok,omitempty"`
	Checks    []checkReport `json:"checks,omitempty"`
}

func backupReportOf(file string, b snapshot.Backup) backupReport {
	m := b.Meta
	return backupReport{
		File: file, ClusterID: m.GetClusterId(), Revision: m.GetRevision(), Index: m.GetIndex(), Term: m.GetTerm(),
		LogTime: time.Unix(0, m.GetLogTime()).UTC().Format(time.RFC3339Nano), Horizon: max(m.GetHorizon(), 1),
		StateHash: fmt.Sprintf("%x", m.GetStateHash().GetHash()), Bytes: b.Bytes, SHA256: b.SHA256,
	}
}

func newSnapshotInspectCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "Say what a backup holds, and whether it is intact",
		Long: `Reads a backup and checks it: its SHA-256, every checksum in it, whether its events are complete and lead
to its registry, and whether that has the stored hash. It needs room for the content in the directory for
temporary files (TMPDIR). The exit status is 1 if anything is wrong.`,
		Example: `  rollcall snapshot inspect /backup/rollcall.snapshot`,
		Args:    exactly("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := node.InspectBackup(args[0])
			if err != nil {
				return backupFailure(err)
			}
			r := backupReportOf(args[0], c.Backup)
			checks, problems := reportOf(c.Checks)
			ok := problems == 0
			r.Services, r.Events, r.OK, r.Checks = &c.Services, &c.Events, &ok, checks
			err = a.printObject(r, func() error { return a.writeBackup(r) })
			if !ok {
				err = errors.Join(err, damaged(args[0], "use another backup"))
			}
			return err
		},
	}
}

func (a *app) writeBackup(r backupReport) error {
	err := format.Table(a.stdout, func(row func(...string)) {
		row("cluster", r.ClusterID)
		row("revision", fmt.Sprint(r.Revision))
		row("log entry", fmt.Sprintf("%d of term %d", r.Index, r.Term))
		row("log time", r.LogTime)
		row("services", fmt.Sprint(*r.Services))
		row("events", fmt.Sprintf("%d, complete from revision %d on", *r.Events, r.Horizon))
		row("state hash", r.StateHash)
		row("size", fmt.Sprintf("%d bytes", r.Bytes))
		row("SHA-256", r.SHA256+", right")
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(a.stdout); err != nil {
		return err
	}
	return a.writeChecks(r.Checks)
}

// backupFailure is the failure of an operation on a backup file or a data directory.
func backupFailure(err error) *failure {
	f := &failure{exit: exitNotDone, code: codes.FailedPrecondition, reason: reasonDisk, err: err}
	switch {
	case errors.Is(err, store.ErrDamaged):
		f.code, f.reason, f.next = codes.DataLoss, reasonDamaged, "use another backup"
	case errors.Is(err, fs.ErrNotExist):
		f.code = codes.NotFound
	}
	return f
}

func newSnapshotRestoreCommand(a *app) *cobra.Command {
	cfg := node.DefaultConfig()
	var members cliflag.Members
	var token string
	cmd := &cobra.Command{
		Use:   "restore FILE --node NAME --data DIR --member ...",
		Short: "Make the data directory of a member of a new cluster from a backup",
		Long: `Makes the data directory of one member of a new cluster from a backup. The new cluster begins with the
registry and the history of the backup, at its revision. It has another id, so that its nodes and those of
the old cluster refuse each other.

Run it once for each member, with the same file and the same --member list. The first run prints a token.
Give it to the other runs by --token, within an hour. Then start all nodes with "rollcall serve".

Never restore one member of a cluster that has run since: it would have forgotten its votes. If a member
lost its data, go on without it, or restore all members.

The directory must be missing or empty. A damaged file is refused, and nothing is left behind.`,
		Example: `  rollcall snapshot restore rollcall.snapshot --node n1 --data /var/lib/rollcall --insecure \
    --member n1,host=10.0.0.1 --member n2,host=10.0.0.2 --member n3,host=10.0.0.3
  rollcall snapshot restore rollcall.snapshot --node n2 --data /var/lib/rollcall --insecure --token TOKEN \
    --member n1,host=10.0.0.1 --member n2,host=10.0.0.2 --member n3,host=10.0.0.3`,
		Args: exactly("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			if cfg.Name == "" || cfg.DataDir == "" || len(members) == 0 {
				return withNext(invalid("restore needs --node, --data and --member"), `see "rollcall snapshot restore --help"`)
			}
			cfg.Members = members
			if err := cfg.Validate(); err != nil {
				return invalid("%w", err)
			}
			first := token == ""
			r, err := node.Restore(args[0], cfg, token)
			if err != nil {
				return backupFailure(err)
			}
			out := struct {
				Data      string `json:"data"`
				Node      string `json:"node"`
				ClusterID string `json:"cluster_id"`
				Revision  int64  `json:"revision"`
				Token     string `json:"token"`
			}{cfg.DataDir, cfg.Name, r.ClusterID, r.Meta.GetRevision(), r.Token}
			a.did = fmt.Sprintf("%s restored in %s: cluster %s, revision %d", cfg.Name, cfg.DataDir, r.ClusterID, r.Meta.GetRevision())
			if first && len(members) > 1 {
				a.did += fmt.Sprintf("\nrestore the other members with --token %s, then start all of them", r.Token)
			}
			return a.printObject(out, func() error {
				_, err := fmt.Fprintln(a.stdout, a.did)
				return err
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Name, "node", "", "name of the node, one of the members")
	f.StringVar(&cfg.DataDir, "data", "", "`directory` of the node's data; missing or empty")
	f.Var(&members, "member", "a `member` of the new cluster, as for serve; once for each")
	f.StringVar(&token, "token", "", "what restoring the first member printed")
	f.StringVar(&cfg.LogStore, "log-store", "", logStoreUsage)
	f.BoolVar(&cfg.Insecure, "insecure", false, "allow addresses beyond loopback, as serve --insecure does")
	cliflag.NotEmpty(f, "token")
	a.complete(cmd, "log-store", node.LogStores()...)
	f.SetAnnotation("data", cobra.BashCompSubdirsInDir, nil)
	return cmd
}

func fileExists(name string) bool {
	_, err := os.Lstat(name)
	return !errors.Is(err, fs.ErrNotExist)
}
