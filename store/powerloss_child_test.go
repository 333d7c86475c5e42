package store_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/snapshot"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/verify"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// The process that uses the disk is told in its environment what to do.
const (
	childMode = "ROLLCALL_POWERLOSS_CHILD" // what powerLossChild knows
	childPath = "ROLLCALL_POWERLOSS_PATH"
	childKind = "ROLLCALL_POWERLOSS_KIND"
)

// say tells the test that something is durable, or, with "read", what is there.
func say(what string, value any) { fmt.Println(what, value) }

func powerLossChild(mode string) int {
	d := &directory{path: os.Getenv(childPath), kind: raftlog.Kind(os.Getenv(childKind))}
	do := map[string]func() error{"write": d.write, "look": d.look, "read": d.read, "restore": d.restore,
		"source": d.source, "recover": d.recoverIt, "recover in two": d.recoverInTwo, "settle": d.settle}[mode]
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// directory is an open data directory in the process that uses the disk.
type directory struct {
	path string
	kind raftlog.Kind

	dir    *store.Directory
	log    *raftlog.Log
	snaps  *snapshot.Store
	file   *registry.File
	logged bytes.Buffer
	quiet  bool // it says nothing
}

func (d *directory) open() (err error) {
	if d.dir, err = store.OpenDirectory(d.path, "n1"); err != nil {
		return err
	}
	if !d.quiet {
		say("identity", d.dir.Identity().DirectoryID)
	}
	fail := func(err error) { fmt.Fprintln(os.Stderr, "failed:", err) }
	// Small segments: new ones are needed all the time.
	if d.log, err = store.OpenLog(d.dir, raftlog.Options{Kind: d.kind, SegmentSize: 16 << 10, OnFailure: fail}); err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(&d.logged, nil))
	if d.snaps, err = store.OpenSnapshots(d.dir, logger); err != nil {
		return err
	}
	d.file, err = store.OpenRegistry(d.dir, d.log, d.snaps, registry.Options{OnFailure: fail, Logger: logger})
	return err
}

func (d *directory) close() error {
	return errors.Join(d.file.Close(), d.log.Close(), d.dir.Close())
}

func number(key string) []byte { return []byte(key) }

func (d *directory) term() (uint64, error) {
	term, err := d.log.GetUint64(number("CurrentTerm"))
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		err = nil
	}
	return term, err
}

// write does all that a node does with its disk, over and over, and says what is done.
func (d *directory) write() error {
	say("reopening", 1)
	if err := d.open(); err != nil {
		return err
	}
	say("opened", 1)
	// What is read now is built on, and must not be lost later.
	if err := d.report(); err != nil {
		return err
	}
	if d.dir.Identity().Founding == nil {
		if err := d.dir.SetFounding(store.Founding{ClusterID: "3f9a", Members: []store.FoundingMember{{Name: "n1"}}}); err != nil {
			return err
		}
	}
	say("founded", 1)
	for round := 1; round <= 12; round++ {
		for _, step := range []func() error{d.vote, d.append, d.catchUp} {
			if err := step(); err != nil {
				return err
			}
		}
		var err error
		switch round % 4 {
		case 1:
			err = d.compact()
		case 2:
			err = d.replace()
		case 3:
			err = d.quarantine()
		}
		if err != nil {
			return err
		}
	}
	return d.close()
}

// restore makes a data directory from a backup, and gives back its free space.
func (d *directory) restore() error {
	// What the backup is made of is not what loses its power.
	dir, err := os.MkdirTemp("", "rollcall-powerloss-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	source := &directory{path: filepath.Join(dir, "source"), kind: d.kind, quiet: true}
	if err := source.open(); err != nil {
		return err
	}
	for i := range uint64(20) {
		source.file.Append(storetest.Change(i+1, fmt.Sprintf("shop/svc-%d", i)))
	}
	export, err := source.file.Export(context.Background())
	if err != nil {
		return err
	}
	backup := filepath.Join(dir, "backup")
	err = vfs.WriteFile(backup, false, func(f *os.File) error {
		_, err := export.WriteTo(f)
		return err
	})
	if err := errors.Join(err, export.Close(), source.close()); err != nil {
		return err
	}
	_, err = store.Restore(backup, store.Restoration{
		Path: d.path, Node: "n1", DirectoryID: restoredID, LogKind: d.kind, Kinds: storetest.Kinds{},
		Founding: store.Founding{ClusterID: "4a0b", Members: []store.FoundingMember{{Name: "n1", DirectoryID: restoredID}}},
		Rehash:   func(*registry.Reader) (*logv1.StateHash, error) { return nil, nil },
	})
	if err != nil {
		return err
	}
	say("identity", restoredID)
	say("founded", 1)
	say("term", 1)
	say("registry", 20)
	say("snapshot", 20)
	say("restored", 1)
	if _, err := store.Defragment(d.path); err != nil {
		return err
	}
	say("opened", 1) // the registry file is there
	return nil
}

// restoredID is the id of the directory that restore makes.
const restoredID = "5f0c5a3e-6c1d-4f0e-9d59-0d9f2f6f0c11"

// vote is a vote in a new term.
func (d *directory) vote() error {
	term, err := d.term()
	if err != nil {
		return err
	}
	if err := d.log.SetUint64(number("CurrentTerm"), term+1); err != nil {
		return err
	}
	say("term", term+1)
	if err := d.log.Set(number("LastVoteCand"), binary.BigEndian.AppendUint64(nil, term+1)); err != nil {
		return err
	}
	say("vote", term+1)
	return nil
}

// append stores log entries, some in one go.
func (d *directory) append() error {
	for n := range 3 {
		last, err := d.log.LastIndex()
		if err != nil {
			return err
		}
		var entries []*raft.Log
		for i := range uint64(n + 1) {
			data, err := logv1.Seal(&logv1.Entry{Commands: []*logv1.Command{{Reason: strings.Repeat("x", 1000)}}})
			if err != nil {
				return err
			}
			entries = append(entries, &raft.Log{Index: last + 1 + i, Term: 1, Type: raft.LogCommand, Data: data})
		}
		if err := d.log.StoreLogs(entries); err != nil {
			return err
		}
		say("entry", last+uint64(n)+1)
	}
	return nil
}

// catchUp writes to the registry file what the log holds.
func (d *directory) catchUp() error {
	last, err := d.log.LastIndex()
	if err != nil {
		return err
	}
	for i := d.file.Meta().GetIndex() + 1; i <= last; i++ {
		d.file.Append(storetest.Change(i, fmt.Sprintf("shop/svc-%d", i%7)))
		if i%4 == 0 || i == last {
			if err := d.file.Flush(context.Background()); err != nil {
				return err
			}
			say("registry", i)
		}
	}
	return nil
}

// compact takes a snapshot and deletes the entries that it replaces.
func (d *directory) compact() error {
	index := d.file.Meta().GetIndex()
	s, err := d.file.Snapshot()
	if err != nil {
		return err
	}
	defer s.Release()
	sink, err := d.snaps.Create(1, index, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		return err
	}
	if err := s.Persist(sink); err != nil {
		return err
	}
	say("snapshot", index)
	first, err := d.log.FirstIndex()
	if err != nil {
		return err
	}
	if err := d.log.DeleteRange(first, index-2); err != nil {
		return err
	}
	say("compacted", index-2)
	return nil
}

// replace takes in a snapshot, as one that a leader sends.
func (d *directory) replace() error {
	s, err := d.file.Snapshot()
	if err != nil {
		return err
	}
	defer s.Release()
	sink := new(storetest.MemorySink)
	if err := s.Persist(sink); err != nil {
		return err
	}
	if err := d.file.Replace(sink); err != nil {
		return err
	}
	say("registry", d.file.Meta().GetIndex())
	return nil
}

// quarantine has the registry file be rebuilt from the newest snapshot, or the log.
func (d *directory) quarantine() error {
	say("quarantining", 1)
	if err := d.dir.QuarantineRegistry("a test"); err != nil {
		return err
	}
	say("quarantined", 1)
	if err := d.close(); err != nil {
		return err
	}
	say("reopening", 1)
	if err := d.open(); err != nil {
		return err
	}
	say("reopened", 1)
	return d.catchUp()
}

// look says what is there, on which it builds, and does nothing more.
func (d *directory) look() error {
	say("reopening", 1)
	if err := d.open(); err != nil {
		return err
	}
	say("opened", 1)
	if err := d.report(); err != nil {
		return err
	}
	say("looked", 1)
	_, err := io.Copy(io.Discard, os.Stdin) // until it is killed
	return err
}

// report says what is there.
func (d *directory) report() error {
	if d.dir.Identity().Founding != nil {
		say("founded", 1)
	}
	term, err := d.term()
	if err != nil {
		return err
	}
	say("term", term)
	if vote, err := d.log.Get(number("LastVoteCand")); err == nil {
		say("vote", binary.BigEndian.Uint64(vote))
	}
	last, err := d.log.LastIndex()
	if err != nil {
		return err
	}
	say("entry", last)
	say("registry", d.file.Meta().GetIndex())
	if newest, err := d.snaps.Newest(); err != nil {
		return err
	} else if newest != nil {
		say("snapshot", newest.Meta.Index)
	}
	return nil
}

// read says what is there, and what is wrong with it.
func (d *directory) read() error {
	if err := d.open(); err != nil {
		return err
	}
	if err := d.report(); err != nil {
		return err
	}
	if strings.Contains(d.logged.String(), "rebuilt") {
		say("rebuilt", strings.Contains(d.logged.String(), "is quarantined: a test"))
	}
	if err := d.close(); err != nil {
		return err
	}
	checks, err := verify.Directory(d.path, storetest.Kinds{}, func(*registry.Reader) verify.Check { return verify.Check{Name: "registry"} })
	if err != nil {
		return err
	}
	for _, c := range checks {
		for _, problem := range c.Problems {
			return fmt.Errorf("verify: %s: %s", c.Name, problem)
		}
	}
	return nil
}
