package store

import (
	"fmt"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// checkLog reads all of raft's log and says whether it continues the journal. It comes after the journal
// and the snapshots.
func (v *verification) checkLog() Check {
	check := Check{Name: "raft log"}
	l := &Log{path: v.dir.file(logName)}
	there, err := exists(l.path)
	if err == nil && !there && v.id.Founding == nil {
		check.Looked = "none yet"
		return check
	}
	if err != nil || !there {
		check.Fail("%s is missing or cannot be read: this node has lost its votes and its log", l.path)
		return check
	}
	terms := &termCheck{check: &check, meta: v.meta, base: v.base}
	count, kind, err := l.read(v.dir, v.id, terms.visit)
	if err != nil {
		check.Fail("%v", err)
		return check
	}
	check.Looked = fmt.Sprintf("no entries (%s)", kind)
	if count > 0 {
		check.Looked = fmt.Sprintf("%d entries up to %d (%s)", count, l.seen, kind)
	}
	journal := v.meta.GetIndex()
	held := max(journal, v.base)
	switch {
	case count > 0 && l.seen > held && l.contiguous > held+1:
		check.Fail("the entries %d to %d are missing: the journal ends at %d, the snapshots at %d", held+1, l.contiguous-1, journal, v.base)
	case journal > max(l.seen, v.base):
		check.Fail("the journal holds log entry %d, but the log and the snapshots end at %d: they are not of the same time", journal, max(l.seen, v.base))
	}
	return check
}

// termCheck compares the log with the journal.
type termCheck struct {
	check *Check
	meta  *logv1.JournalMeta // nil: not known
	base  uint64             // of the newest snapshot: below, entries may be left that were never committed
	term  uint64             // of the entry before, from the journal's end on
}

func (t *termCheck) visit(entry *raft.Log) {
	index, term := t.meta.GetIndex(), t.meta.GetTerm()
	switch {
	case entry.Index == index && entry.Term != term:
		t.check.Fail("entry %d is of term %d, the journal holds it of term %d: they come from different histories", index, entry.Term, term)
	case entry.Index > max(index, t.base) && entry.Term < max(t.term, term):
		t.check.Fail("entry %d of term %d follows one of term %d", entry.Index, entry.Term, max(t.term, term))
	}
	if entry.Index >= index {
		t.term = max(t.term, entry.Term)
	}
}

// read checks what OpenLog does, without changing anything, and shows each entry.
func (l *Log) read(d *Directory, id Identity, visit func(*raft.Log)) (count int, kind LogKind, err error) {
	indexes, err := surveyLog(l.path)
	if err != nil {
		return 0, "", err
	}
	o := logBoltOptions()
	o.ReadOnly = true
	err = guard(func() (err error) {
		l.stable, err = raftboltdb.New(raftboltdb.Options{Path: l.path, BoltOptions: &o})
		return err
	})
	if err != nil {
		return 0, "", fmt.Errorf("%s: %w", l.path, err)
	}
	defer func() { _ = guard(l.stable.Close) }()
	if err := l.checkStable(id); err != nil {
		return 0, "", err
	}
	kind, meta, err := l.readKind()
	if err != nil {
		return 0, "", err
	}
	each := func(entry *raft.Log) error {
		if err := checkEntry(entry.Index, entry); err != nil {
			return err
		}
		l.saw(entry.Index)
		count++
		visit(entry)
		return nil
	}
	if kind == LogWAL {
		if len(indexes) > 0 {
			return 0, kind, fmt.Errorf("%s: %w: it holds entries, but says that they are in %s", l.path, ErrDamaged, walName)
		}
		return count, kind, readWAL(d.file(walName), meta, each)
	}
	for _, index := range indexes {
		var entry raft.Log
		err := guard(func() error { return l.stable.GetLog(index, &entry) })
		if err == nil && entry.Index != index {
			err = fmt.Errorf("%w: it says that it is entry %d", ErrDamaged, entry.Index)
		}
		if err == nil {
			err = each(&entry)
		}
		if err != nil {
			return count, kind, fmt.Errorf("%s: entry %d: %w", l.path, index, err)
		}
	}
	return count, kind, nil
}
