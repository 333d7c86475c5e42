package verify_test

import (
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/disktest"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/verify"
)

func inspectNothing(*registry.Reader) verify.Check { return verify.Check{Name: "registry"} }

func problemsOf(checks []verify.Check) (all []string) {
	for _, c := range checks {
		for _, p := range c.Problems {
			all = append(all, c.Name+": "+p)
		}
	}
	return all
}

// TestVerifyLog: the raft log is read entry by entry, and has to continue the registry file.
func TestVerifyLog(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(t *testing.T, d *disktest.Disk)
		want string
	}{
		{"right", func(*testing.T, *disktest.Disk) {}, ""},
		{"a gap", func(t *testing.T, d *disktest.Disk) {
			logs := storetest.Entries(t, 60, 65)
			if err := d.Log.StoreLogs(logs); err != nil {
				t.Fatal(err)
			}
		}, "raft log: the entries 51 to 59 are missing"},
		{"another term", func(t *testing.T, d *disktest.Disk) {
			logs := storetest.Entries(t, 50, 50)
			logs[0].Term = 2
			if err := d.Log.StoreLogs(logs); err != nil {
				t.Fatal(err)
			}
		}, "different histories"},
		{"terms fall", func(t *testing.T, d *disktest.Disk) {
			logs := storetest.Entries(t, 51, 53)
			logs[0].Term, logs[1].Term = 3, 2
			if err := d.Log.StoreLogs(logs); err != nil {
				t.Fatal(err)
			}
		}, "entry 52 of term 2 follows one of term 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := t.TempDir()
			d := disktest.Open(t, path, disktest.Lazy)
			if d.Log.Kind() == raftlog.WAL && tt.name == "another term" {
				d.Close()
				t.Skip("a segment is only appended to")
			}
			if err := d.Dir.SetFounding(store.Founding{ClusterID: "3f9a"}); err != nil {
				t.Fatal(err)
			}
			d.Fill(1, 50)
			d.Changes(1, 50)
			d.Flush()
			tt.make(t, d)
			if _, err := verify.Directory(path, storetest.Kinds{}, inspectNothing); err == nil || !strings.Contains(err.Error(), "in use") {
				t.Errorf("while it is open: %v", err)
			}
			d.Close()
			checks, err := verify.Directory(path, storetest.Kinds{}, inspectNothing)
			if err != nil {
				t.Fatal(err)
			}
			problems := problemsOf(checks)
			if tt.want == "" && len(problems) > 0 || tt.want != "" && !strings.Contains(strings.Join(problems, "\n"), tt.want) {
				t.Errorf("problems %q, want %q", problems, tt.want)
			}
		})
	}
}
