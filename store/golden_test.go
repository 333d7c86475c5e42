package store

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// With -golden, the files under testdata/format1 are written anew. They are what format 1 looks like
// in data directories out there: only a format that was never released may change them.
var writeGolden = flag.Bool("golden", false, "write testdata/format1")

const golden = "testdata/format1"

var goldenEntry = &logv1.Entry{Time: 1700000000000000000, Commands: []*logv1.Command{{
	Actor: &logv1.Actor{Name: "deploy"}, Reason: "release", RequestId: "r1",
	Kind: &logv1.Command_Write{Write: &logv1.Write{Changes: []*logv1.Change{{Service: "shop/cart", Status: logv1.Status_STATUS_SERVING}}}},
}}}

// goldenContent is what journal.db and snapshot hold.
var goldenContent = content{
	Meta: &logv1.JournalMeta{Format: 1, ClusterId: "3f9a", Index: 5, Term: 2, Revision: 2, LogTime: 1700000000000000000, Horizon: 1},
	Services: map[string]*logv1.ServiceRecord{
		"shop/cart": {Service: "shop/cart", Report: &logv1.Report{Status: logv1.Status_STATUS_SERVING, Reason: "release", Revision: 1}},
		"shop/pay":  {Service: "shop/pay", Report: &logv1.Report{Status: logv1.Status_STATUS_NOT_SERVING, Revision: 2}},
	},
	Members: map[string]*logv1.Member{"n1": {Name: "n1", ApiAddress: "10.0.0.1:7600", MaxFormat: 1}},
}

func makeGolden(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(golden, 0o755); err != nil {
		t.Fatal(err)
	}
	d := openDisk(t, t.TempDir(), lazy)
	id := Identity{Node: "n1", DirectoryID: d.dir.Identity().DirectoryID, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Founding: &Founding{ClusterID: "3f9a", Members: []FoundingMember{{Name: "n1", PeerAddress: "10.0.0.1:7601", DirectoryID: d.dir.Identity().DirectoryID}}}}
	if err := id.write(golden); err != nil {
		t.Fatal(err)
	}
	entry, err := logv1.Seal(goldenEntry)
	if err != nil {
		t.Fatal(err)
	}
	d.fill(1, 5)
	if err := d.log.SetUint64([]byte("CurrentTerm"), 2); err != nil {
		t.Fatal(err)
	}
	delta := &logv1.Delta{Index: 5, Term: 2, Revision: 2, LogTime: 1700000000000000000, ClusterID: "3f9a"}
	for _, r := range goldenContent.Services {
		delta.Services = append(delta.Services, r)
		delta.Events = append(delta.Events, &logv1.Event{Revision: r.GetReport().GetRevision(), Service: r.GetService()})
	}
	for _, m := range goldenContent.Members {
		delta.Members = append(delta.Members, m)
	}
	d.journal.Append(delta)
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

func TestGoldenFilesOfFormat1(t *testing.T) {
	if *writeGolden {
		makeGolden(t)
	}
	path := t.TempDir()
	for _, name := range []string{identityName, logName, journalName} {
		if err := copyFile(filepath.Join(golden, name), filepath.Join(path, name)); err != nil {
			t.Fatal(err)
		}
	}
	d := openDisk(t, path, lazy)
	defer d.close()
	if d.logged.Len() > 0 {
		t.Errorf("the journal was not believed: %s", d.logged)
	}
	same(t, d.load(), goldenContent)
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
	same(t, d.load(), goldenContent)

	sealedEntry, err := os.ReadFile(filepath.Join(golden, "entry"))
	if err != nil {
		t.Fatal(err)
	}
	entry := new(logv1.Entry)
	if err := logv1.Open(sealedEntry, entry); err != nil || !proto.Equal(entry, goldenEntry) {
		t.Errorf("entry %v, %v", entry, err)
	}
}
