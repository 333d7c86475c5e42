package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

func TestRewriteJournalGivesSpaceBackAndKeepsAll(t *testing.T) {
	path := t.TempDir()
	o := lazy
	o.compactByHand = true
	d := openDisk(t, path, o)
	d.fill(1, 1000)
	for i := range 1000 {
		delta := hundredChangesOf(i, 50)
		delta.Horizon = max(1, delta.Revision-500)
		d.journal.Append(delta)
	}
	d.flush()
	d.compact()
	content := d.load()
	events, span, err := listEvents(d.journal, logv1.EventQuery{From: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RewriteJournal(path); !errors.Is(err, ErrInUse) {
		t.Errorf("the journal of a node that runs: %v", err)
	}
	d.close()

	sizes, err := RewriteJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", sizes)
	if info, err := os.Stat(filepath.Join(path, journalName)); err != nil || info.Size() != sizes.After || sizes.After*4 > sizes.Before {
		t.Errorf("%+v, but the file says %v, %v", sizes, info, err)
	}
	noSpool(t, path)
	d = openDisk(t, path, o)
	defer d.close()
	if d.logged.Len() > 0 {
		t.Errorf("the journal was not believed: %s", d.logged)
	}
	same(t, d.load(), content)
	again, spanAgain, err := listEvents(d.journal, logv1.EventQuery{From: 1})
	if err != nil || span != spanAgain || !slices.EqualFunc(again, events, func(a, b *logv1.Event) bool { return proto.Equal(a, b) }) {
		t.Errorf("events %+v, %v; were %+v", spanAgain, err, span)
	}
	of, _, err := listEvents(d.journal, logv1.EventQuery{From: 1, Service: "shop/svc-7"})
	if err != nil || len(of) == 0 {
		t.Errorf("events of one service: %v, %v", of, err)
	}
}

func TestRewriteJournalRefuses(t *testing.T) {
	t.Run("no directory", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "n1")
		_, err := RewriteJournal(path)
		mention(t, err, path, "not the data directory of a node")
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it was made: %v", err)
		}
	})
	t.Run("no journal", func(t *testing.T) {
		d := openDisk(t, t.TempDir(), lazy)
		d.close()
		if err := os.Remove(filepath.Join(d.path, journalName)); err != nil {
			t.Fatal(err)
		}
		_, err := RewriteJournal(d.path)
		mention(t, err, journalName)
		noSpool(t, d.path)
	})
	t.Run("a damaged journal, and leaves it", func(t *testing.T) {
		d := openDisk(t, t.TempDir(), lazy)
		d.fill(1, 100)
		d.changes(1, 60)
		d.close()
		name := filepath.Join(d.path, journalName)
		flip(t, name, []byte("shop/svc-7"))
		before, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = RewriteJournal(d.path)
		mention(t, err, journalName, "damaged")
		after, err := os.ReadFile(name)
		if err != nil || !slices.Equal(after, before) {
			t.Error("the journal was changed", err)
		}
		noSpool(t, d.path)
	})
}
