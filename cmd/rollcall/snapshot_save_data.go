package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/cmd/rollcall/plain"
	"github.com/rollcallhq/rollcall/node/survivor"
	"github.com/rollcallhq/rollcall/store"
)

// savedReport is what was saved of a stopped node, in JSON.
type savedReport struct {
	backupReport
	Node        string `json:"node"`
	DirectoryID string `json:"directory_id"`
	uncertainReport
	Notes   []string `json:"notes"`
	Missing []string `json:"missing"`
}

// uncertainReport is what of a stopped node's data is not known to be committed, in JSON.
type uncertainReport struct {
	After         uint64 `json:"entries_after_registry_file"`
	Uncertain     uint64 `json:"entries_not_known_committed"`
	Revisions     int64  `json:"revisions_not_known_committed"`
	CommittedOnly bool   `json:"committed_only"`
}

func uncertainOf(s *survivor.Survivor, committedOnly bool) uncertainReport {
	return uncertainReport{s.After(), s.Uncertain(), s.Last.Revision - s.Committed.Revision, committedOnly}
}

// say tells people what is not known to be committed.
func (u uncertainReport) say() string {
	entries, them := "the last log entry", "it"
	if u.Uncertain > 1 {
		entries, them = fmt.Sprintf("the last %d log entries", u.Uncertain), "them"
	}
	entries += " (" + format.Count(int(u.Revisions), "revision", "revisions") + ")"
	switch {
	case u.Uncertain == 0:
		return "all of it is known to be committed"
	case u.CommittedOnly:
		return entries + " may never have been committed: left out"
	}
	return fmt.Sprintf("%s may never have been committed; --committed-only leaves %s out", entries, them)
}

// saveData saves what a stopped node holds.
func (a *app) saveData(ctx context.Context, data, file string, force, committedOnly bool) error {
	s, err := survivor.Read(data, nil)
	if err != nil {
		return survivorFailure(err, `"rollcall snapshot save" without --data asks the node that runs`)
	}
	defer s.Close()
	b, err := s.Save(ctx, file, force, committedOnly)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrExist):
		return fileThere(file)
	default:
		return backupFailure(err)
	}
	r := savedReport{
		backupReport: backupReportOf(file, b), Node: s.Node, DirectoryID: s.Directory,
		uncertainReport: uncertainOf(s, committedOnly), Notes: plainAll(s.Notes), Missing: plainAll(s.Missing),
	}
	a.did = fmt.Sprintf("saved %s from %s: %s of cluster %s, revision %d, log entry %d of term %d, %d bytes, SHA-256 %s",
		file, data, nodeOr(s.Node), shortID(b.Meta.GetClusterId()), r.Revision, r.Index, r.Term, b.Bytes, b.SHA256)
	err = a.printObject(r, func() error {
		if _, err := fmt.Fprintf(a.stdout, "%s\n%s\n", a.did, r.say()); err != nil {
			return err
		}
		return a.writeDamage(r.Notes, r.Missing)
	})
	return errors.Join(err, missingFailure(data, s))
}

// writeDamage writes what is damaged, and what may be lost with it.
func (a *app) writeDamage(notes, missing []string) error {
	for _, line := range notes {
		if _, err := fmt.Fprintf(a.stdout, "note: %s\n", format.Printable(format.OneLine(line))); err != nil {
			return err
		}
	}
	for _, line := range missing {
		if err := a.writeProblem(line); err != nil {
			return err
		}
	}
	return nil
}

// missingFailure is the failure of what was done with damaged data; nil: nothing is missing.
func missingFailure(data string, s *survivor.Survivor) error {
	if len(s.Missing) == 0 {
		return nil
	}
	f := notAsAsked(fmt.Errorf("%s is damaged: changes may be missing in what was made of it", data))
	f.code, f.reason, f.made = codes.DataLoss, reasonDamaged, true
	f.next = `"rollcall recover --inspect" on the data of all nodes that are left shows whether another one has more`
	return f
}

// survivorFailure is the failure of reading the data of a stopped node.
func survivorFailure(err error, running string) *failure {
	f := &failure{exit: exitNotDone, code: codes.FailedPrecondition, reason: reasonDisk, err: errors.New(plain.Text(err.Error()))}
	switch {
	case errors.Is(err, store.ErrInUse):
		f.next = running
	case errors.Is(err, survivor.ErrNothing):
		f.code, f.reason, f.next = codes.DataLoss, reasonDamaged, "use another node's data, or a backup"
	case errors.Is(err, fs.ErrNotExist):
		f.code = codes.NotFound
	case errors.Is(err, syscall.EROFS):
		f.next = "make a copy of the directory where something can be written, and use that"
	case errors.Is(err, fs.ErrPermission):
		f.code, f.next = codes.PermissionDenied, "run this as the user of the node, or as root"
	}
	return f
}

func nodeOr(name string) string {
	if name == "" {
		return "a node"
	}
	return name
}
