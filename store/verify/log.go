package verify

import (
	"fmt"

	"github.com/hashicorp/raft"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/vfs"
)

// checkLog reads all of raft's log and says whether it continues the registry file. It comes after the registry file
// and the snapshots.
func (v *verification) checkLog() Check {
	check := Check{Name: "raft log"}
	path := v.file(raftlog.FileName)
	there, err := vfs.Exists(path)
	if err == nil && !there && v.id.Founding == nil {
		check.Looked = "none yet"
		return check
	}
	if err != nil || !there {
		check.Fail("%s is missing or cannot be read: this node has lost its votes and its log", path)
		return check
	}
	terms := &termCheck{check: &check, meta: v.meta, base: v.base}
	l, err := raftlog.Read(v.dir.Path(), v.dir.LogOwner(), terms.visit)
	if err != nil {
		check.Fail("%v", err)
		return check
	}
	check.Looked = fmt.Sprintf("no entries (%s)", l.Kind)
	if l.Entries > 0 {
		check.Looked = fmt.Sprintf("%d entries up to %d (%s)", l.Entries, l.Last, l.Kind)
	}
	registryFile := v.meta.GetIndex()
	held := max(registryFile, v.base)
	switch {
	case l.Entries > 0 && l.Last > held && l.Contiguous > held+1:
		check.Fail("the entries %d to %d are missing: the registry file ends at %d, the snapshots at %d", held+1, l.Contiguous-1, registryFile, v.base)
	case registryFile > max(l.Last, v.base):
		check.Fail("the registry file holds log entry %d, but the log and the snapshots end at %d: they are not of the same time", registryFile, max(l.Last, v.base))
	}
	return check
}

// termCheck compares the log with the registry file.
type termCheck struct {
	check *Check
	meta  *logv1.RegistryMeta // nil: not known
	base  uint64              // of the newest snapshot: below, entries may be left that were never committed
	term  uint64              // of the entry before, from the registry file's end on
}

func (t *termCheck) visit(entry *raft.Log) {
	index, term := t.meta.GetIndex(), t.meta.GetTerm()
	switch {
	case entry.Index == index && entry.Term != term:
		t.check.Fail("entry %d is of term %d, the registry file holds it of term %d: they come from different histories", index, entry.Term, term)
	case entry.Index > max(index, t.base) && entry.Term < max(t.term, term):
		t.check.Fail("entry %d of term %d follows one of term %d", entry.Index, entry.Term, max(t.term, term))
	}
	if entry.Index >= index {
		t.term = max(t.term, entry.Term)
	}
}
