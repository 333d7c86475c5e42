package store

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// With -golden=DIRECTORY, that one of testdata is written anew. They are what data directories out
// there look like: what was ever released is never written again, a new content gets a directory of
// its own.
var writeGolden = flag.String("golden", "", "write this directory of testdata")

// generation is what one stage of this program wrote.
type generation struct {
	directory string
	entry     *logv1.Entry
	content   content        // of journal.db and snapshot
	events    []*logv1.Event // nil: one of each service, which says little
}

// history is what the journal is to hold of events.
func (g generation) history() []*logv1.Event {
	if g.events != nil {
		return g.events
	}
	var events []*logv1.Event
	for _, r := range g.content.Services {
		events = append(events, &logv1.Event{Revision: r.GetReport().GetRevision(), Service: r.GetService()})
	}
	slices.SortFunc(events, func(a, b *logv1.Event) int { return int(a.GetRevision() - b.GetRevision()) })
	return events
}

var goldens = []generation{
	{
		directory: "format1",
		entry: &logv1.Entry{Time: goldenTime, Commands: []*logv1.Command{{
			Actor: &logv1.Actor{Name: "deploy"}, Reason: "release", RequestId: "r1",
			Kind: &logv1.Command_Write{Write: &logv1.Write{Changes: []*logv1.Change{{Service: "shop/cart", Status: logv1.Status_STATUS_SERVING}}}},
		}}},
		content: content{
			Meta:     &logv1.JournalMeta{Format: 1, ClusterId: "3f9a", Index: 5, Term: 2, Revision: 2, LogTime: goldenTime, Horizon: 1},
			Services: goldenServices,
			Members:  goldenMembers,
		},
	},
	{
		// Events stand in blocks; services and members are as before.
		directory: "format2",
		entry:     &logv1.Entry{Time: goldenTime, Commands: []*logv1.Command{{Kind: &logv1.Command_Compact{Compact: &logv1.Compact{Horizon: 4}}}}},
		content: content{
			Meta: &logv1.JournalMeta{Format: 2, ClusterId: "3f9a", Index: 5, Term: 2, Revision: 5, LogTime: goldenTime, Horizon: 4, Compacted: 4},
			Services: map[string]*logv1.ServiceRecord{
				"shop/cart": {Service: "shop/cart", Report: &logv1.Report{Status: logv1.Status_STATUS_SERVING, Reason: "release", Actor: goldenActor,
					RequestId: "r1", Time: goldenTime - 9, Revision: 1}, StatusTime: goldenTime - 9},
				"shop/pay": {Service: "shop/pay", Report: &logv1.Report{Actor: goldenActor, LeaseId: "l1", Time: goldenTime, Revision: 5}, StatusTime: goldenTime - 5},
			},
			Members: goldenMembers,
		},
		events: goldenEvents,
	},
}

// A block that grew, and what a compaction to revision 4 left.
var goldenEvents = []*logv1.Event{
	{Revision: 1, CommitRevision: 2, Type: logv1.EventType_EVENT_TYPE_REPORTED, Time: goldenTime - 9, Actor: goldenActor, Reason: "release",
		RequestId: "r1", Service: "shop/cart", PreviousStatus: logv1.Status_STATUS_SERVICE_UNKNOWN, Status: logv1.Status_STATUS_SERVING,
		EffectiveStatus: logv1.Status_STATUS_SERVING, StatusTime: goldenTime - 9},
	{Revision: 2, CommitRevision: 2, Type: logv1.EventType_EVENT_TYPE_REPORTED, Time: goldenTime - 9, Actor: goldenActor, Reason: "release",
		RequestId: "r1", Service: "shop/old", PreviousStatus: logv1.Status_STATUS_SERVICE_UNKNOWN, Status: logv1.Status_STATUS_NOT_SERVING,
		EffectiveStatus: logv1.Status_STATUS_NOT_SERVING, StatusTime: goldenTime - 9},
	{Revision: 3, CommitRevision: 3, Type: logv1.EventType_EVENT_TYPE_MEMBER_CHANGED, Time: goldenTime - 8,
		Actor: &logv1.Actor{Name: "node n1", Verified: true}, Member: goldenMembers["n1"]},
	{Revision: 4, CommitRevision: 5, Type: logv1.EventType_EVENT_TYPE_DELETED, Time: goldenTime, Actor: goldenActor, Service: "shop/old",
		PreviousStatus: logv1.Status_STATUS_NOT_SERVING, Status: logv1.Status_STATUS_SERVICE_UNKNOWN,
		EffectiveStatus: logv1.Status_STATUS_SERVICE_UNKNOWN, StatusTime: goldenTime},
	{Revision: 5, CommitRevision: 5, Type: logv1.EventType_EVENT_TYPE_REPORTED, Time: goldenTime, Actor: goldenActor, Service: "shop/pay",
		Status: logv1.Status_STATUS_UNKNOWN, EffectiveStatus: logv1.Status_STATUS_UNKNOWN, LeaseId: "l1", StatusTime: goldenTime - 5},
}

var goldenActor = &logv1.Actor{Name: "deploy", Peer: "10.0.0.9:5000"}

const goldenTime = 1700000000000000000

var (
	// The store keeps it as it is; what it has to be is a matter of the fold.
	goldenHash     = &logv1.StateHash{Version: 1, Index: 5, Hash: []byte("thirty-two bytes of a state hash")}
	goldenServices = map[string]*logv1.ServiceRecord{
		"shop/cart": {Service: "shop/cart", Report: &logv1.Report{Status: logv1.Status_STATUS_SERVING, Reason: "release", Revision: 1}},
		"shop/pay":  {Service: "shop/pay", Report: &logv1.Report{Status: logv1.Status_STATUS_NOT_SERVING, Revision: 2}},
	}
	goldenMembers = map[string]*logv1.Member{"n1": {Name: "n1", ApiAddress: "10.0.0.1:7600", Level: 1}}
)

func (g generation) make(t *testing.T) {
	t.Helper()
	if g.content.Meta.GetFormat() != journalFormat {
		t.Fatalf("this code cannot write journals of format %d any more", g.content.Meta.GetFormat())
	}
	golden := filepath.Join("testdata", g.directory)
	if err := os.MkdirAll(golden, 0o755); err != nil {
		t.Fatal(err)
	}
	byHand := lazy
	byHand.compactByHand = true
	d := openDisk(t, t.TempDir(), byHand)
	id := Identity{Node: "n1", DirectoryID: d.dir.Identity().DirectoryID, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Founding: &Founding{ClusterID: "3f9a", Members: []FoundingMember{{Name: "n1", PeerAddress: "10.0.0.1:7601", DirectoryID: d.dir.Identity().DirectoryID}}}}
	if err := id.write(golden); err != nil {
		t.Fatal(err)
	}
	entry, err := logv1.Seal(g.entry)
	if err != nil {
		t.Fatal(err)
	}
	d.fill(1, 5)
	if err := d.log.SetUint64([]byte("CurrentTerm"), 2); err != nil {
		t.Fatal(err)
	}
	meta := g.content.Meta
	delta := &logv1.Delta{Index: meta.GetIndex(), Term: meta.GetTerm(), Revision: meta.GetRevision(), LogTime: meta.GetLogTime(),
		ClusterID: meta.GetClusterId(), StateHash: meta.GetStateHash(), Horizon: meta.GetHorizon()}
	for _, r := range g.content.Services {
		delta.Services = append(delta.Services, r)
	}
	events := g.history()
	delta.Events = events[1:]
	for _, m := range g.content.Members {
		delta.Members = append(delta.Members, m)
	}
	for _, key := range slices.Sorted(maps.Keys(g.content.Requests)) {
		delta.Requests = append(delta.Requests, g.content.Requests[key])
	}
	first := events[0].GetRevision()
	d.journal.Append(&logv1.Delta{Index: 1, Term: 1, Revision: first, ClusterID: meta.GetClusterId(), Events: events[:1]})
	d.flush()
	d.journal.Append(delta)
	d.flush()
	d.compact()
	stream := d.stream()
	d.close()
	for name, data := range map[string][]byte{"entry": entry, "snapshot": stream, journalName: journalIn(t, stream)} {
		if err := os.WriteFile(filepath.Join(golden, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyFile(d.dir.file(logName), filepath.Join(golden, logName)); err != nil {
		t.Fatal(err)
	}
}

func TestGoldenFiles(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.directory, func(t *testing.T) {
			if *writeGolden == g.directory {
				g.make(t)
			}
			g.test(t)
		})
	}
}

func (g generation) test(t *testing.T) {
	golden := filepath.Join("testdata", g.directory)
	path := t.TempDir()
	for _, name := range []string{identityName, logName, journalName} {
		if err := copyFile(filepath.Join(golden, name), filepath.Join(path, name)); err != nil {
			t.Fatal(err)
		}
	}
	d := openDisk(t, path, lazy)
	defer d.close()
	want := g.content
	want.Meta = proto.CloneOf(want.Meta)
	want.Meta.Format = journalFormat
	if said := d.logged.String(); g.content.Meta.GetFormat() == journalFormat && said != "" ||
		g.content.Meta.GetFormat() < journalFormat && (strings.Count(said, "\n") != 1 || !strings.Contains(said, "journal migrated to a newer format")) {
		t.Errorf("the journal was not believed: %s", said)
	}
	noSpool(t, path)
	same(t, d.load(), want)
	sameHistory(t, d.journal, g.history())
	if f := d.dir.Identity().Founding; f == nil || f.ClusterID != "3f9a" || len(f.Members) != 1 {
		t.Errorf("founding %+v", f)
	}
	if term, err := d.log.GetUint64([]byte("CurrentTerm")); term != 2 || err != nil {
		t.Errorf("term %d, %v", term, err)
	}
	if last, err := d.log.LastIndex(); last != 5 || err != nil {
		t.Errorf("last entry %d, %v", last, err)
	}

	stream, err := os.ReadFile(filepath.Join(golden, "snapshot"))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.journal.Replace(bytes.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	same(t, d.load(), want)
	sameHistory(t, d.journal, g.history())
	noSpool(t, path)

	backup, file, err := ExtractBackup(filepath.Join(golden, "snapshot"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	n, err := file.Events()
	if n != len(g.history()) || err != nil || backup.Meta.GetFormat() != journalFormat {
		t.Errorf("the backup holds %d events, %v; %v", n, err, backup.Meta)
	}
	if err := file.Remove(); err != nil {
		t.Error(err)
	}

	sealedEntry, err := os.ReadFile(filepath.Join(golden, "entry"))
	if err != nil {
		t.Fatal(err)
	}
	entry := new(logv1.Entry)
	if err := logv1.Open(sealedEntry, entry); err != nil || !proto.Equal(entry, g.entry) {
		t.Errorf("entry %v, %v", entry, err)
	}
}

// sameHistory requires the journal to hold exactly these events, and to check well as a file of its own.
func sameHistory(t *testing.T, j *Journal, want []*logv1.Event) {
	t.Helper()
	have, _, err := listEvents(j, logv1.EventQuery{From: 1})
	if err != nil || !slices.EqualFunc(have, want, func(a, b *logv1.Event) bool { return proto.Equal(a, b) }) {
		t.Errorf("events %v, %v; want %v", have, err, want)
	}
}
