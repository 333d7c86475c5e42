package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/store/storetest"
	"github.com/rollcallhq/rollcall/store/vfs"
)

const (
	firstID  = "6b1a5f0e-3a3f-4bb5-9d60-6d9a1a1c2f00"
	secondID = "0d3f6c3e-7c1c-4c8e-8a86-8a7a0f4be001"
)

func openTestDirectory(t *testing.T, path string) *Directory {
	t.Helper()
	d, err := OpenDirectory(path, "n1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// reopened returns the identity as the next process finds it.
func reopened(t *testing.T, d *Directory) Identity {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenDirectory(d.Path(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	return again.Identity()
}

func writtenFormat(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path, identityName))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(data), `"format": `)
	return after[:1]
}

var testFounding = Founding{ClusterID: "3f9a", Members: []FoundingMember{{Name: "n1", PeerAddress: "10.0.0.1:7601", DirectoryID: firstID}}}

// TestIdentityFormats: a directory keeps format 1, which older binaries read, until it must hold what only the newer one
// has. Each addition makes it format 2, and all is there for the next process.
func TestIdentityFormats(t *testing.T) {
	roster := Roster{Revision: 7, Members: []RosterMember{
		{Name: "n1", PeerAddress: "10.0.0.1:7601", DirectoryID: firstID}, {Name: "n4", DirectoryID: secondID}, {Name: "n5"}}}
	removal := Removal{Revision: 9, Time: time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC), Actor: "cert:ops", Reason: "disk", ReplacedBy: "0d3f6c3e"}
	for name, test := range map[string]struct {
		change func(d *Directory) error
		format string
		want   func(*Identity)
	}{
		"new":     {func(*Directory) error { return nil }, "1", func(*Identity) {}},
		"founded": {func(d *Directory) error { return d.SetFounding(testFounding) }, "1", func(id *Identity) { id.Founding = &testFounding }},
		"with a roster": {func(d *Directory) error { return errors.Join(d.SetFounding(testFounding), d.SetRoster(roster)) }, "2",
			func(id *Identity) { id.Founding, id.Roster = &testFounding, &roster }},
		"joined": {func(d *Directory) error { return d.SetJoined(testFounding, &roster) }, "2",
			func(id *Identity) { id.Founding, id.Joined, id.Roster = &testFounding, true, &roster }},
		"joined without a roster": {func(d *Directory) error { return d.SetJoined(testFounding, nil) }, "2",
			func(id *Identity) { id.Founding, id.Joined = &testFounding, true }},
		"removed": {func(d *Directory) error { return errors.Join(d.SetFounding(testFounding), d.SetRemoved(removal)) }, "2",
			func(id *Identity) { id.Founding, id.Removed = &testFounding, &removal }},
		"removed before it joined": {func(d *Directory) error { return d.SetRemoved(removal) }, "2",
			func(id *Identity) { id.Removed = &removal }},
	} {
		t.Run(name, func(t *testing.T) {
			d := openTestDirectory(t, t.TempDir())
			want := d.Identity()
			if err := test.change(d); err != nil {
				t.Fatal(err)
			}
			test.want(&want)
			if got := d.Identity(); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			if got := reopened(t, d); !reflect.DeepEqual(got, want) {
				t.Errorf("read again: %+v\nwant %+v", got, want)
			}
			if got := writtenFormat(t, d.Path()); got != test.format {
				t.Errorf("format %s, want %s", got, test.format)
			}
		})
	}
}

// TestIdentityGolden: format 2 is written as it has always been.
func TestIdentityGolden(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "identity-format2.json"))
	if err != nil {
		t.Fatal(err)
	}
	id, err := parseIdentity(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !id.Joined || id.Roster == nil || id.Removed == nil || id.Founding == nil || len(id.Roster.Members) != 2 {
		t.Errorf("it holds %+v", id)
	}
	path := t.TempDir()
	if err := id.write(path); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(path, identityName)); err != nil || !bytes.Equal(got, golden) {
		t.Errorf("%v; written:\n%s\nwant:\n%s", err, got, golden)
	}
}

func TestIdentityRefusesWhatNobodyWrote(t *testing.T) {
	const head = `"node":"n1","directory_id":"` + firstID + `","founding":{"cluster_id":"3f9a","members":[]}`
	for name, test := range map[string]struct {
		data string
		is   error
		want string
	}{
		"joined in format 1":           {`{"format":1,` + head + `,"joined":true}`, vfs.ErrNewer, "joined"},
		"an unknown field":             {`{"format":2,` + head + `,"zone":"a"}`, vfs.ErrNewer, "zone"},
		"an unknown field of a member": {`{"format":2,` + head + `,"roster":{"revision":3,"members":[{"name":"n1","zone":"a"}]}}`, vfs.ErrNewer, "zone"},
		"joined no cluster":            {`{"format":2,"node":"n1","directory_id":"` + firstID + `","joined":true}`, vfs.ErrDamaged, "which cluster"},
		"a roster of no cluster": {`{"format":2,"node":"n1","directory_id":"` + firstID + `","roster":{"revision":3,"members":[{"name":"n1"}]}}`,
			vfs.ErrDamaged, "which cluster"},
		"a roster without a revision": {`{"format":2,` + head + `,"roster":{"revision":0,"members":[{"name":"n1"}]}}`, vfs.ErrDamaged, "revision 0"},
		"a roster of nobody":          {`{"format":2,` + head + `,"roster":{"revision":3,"members":[]}}`, vfs.ErrDamaged, "0 members"},
		"a member twice": {`{"format":2,` + head + `,"roster":{"revision":3,"members":[{"name":"n1"},{"name":"n1"}]}}`,
			vfs.ErrDamaged, `not in order at "n1"`},
		"a directory that is none": {`{"format":2,` + head + `,"roster":{"revision":3,"members":[{"name":"n1","directory_id":"another"}]}}`,
			vfs.ErrDamaged, "no UUID"},
		"a roster that is a list": {`{"format":2,` + head + `,"roster":[]}`, vfs.ErrDamaged, "overwritten"},
		"no node":                 {`{"format":2,"directory_id":"` + firstID + `"}`, vfs.ErrDamaged, "no node name"},
	} {
		_, err := parseIdentity([]byte(test.data))
		if !errors.Is(err, test.is) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		storetest.Mention(t, err, test.want)
	}
}

func TestSetJoined(t *testing.T) {
	d := openTestDirectory(t, t.TempDir())
	bad := Roster{Revision: 7, Members: []RosterMember{{Name: "n2"}, {Name: "n1"}}}
	storetest.Mention(t, d.SetJoined(testFounding, &bad), "not in order")
	if id := d.Identity(); id.Founding != nil || id.Joined {
		t.Errorf("noted in spite of its roster: %+v", id)
	}
	roster := Roster{Revision: 7, Members: []RosterMember{{Name: "n1", DirectoryID: firstID}}}
	for range 2 {
		if err := d.SetJoined(testFounding, &roster); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Mention(t, d.SetJoined(Founding{ClusterID: "4711"}, nil), "already belongs to cluster \"3f9a\"", "4711")
	roster.Members[0].Name = "changed" // what was noted is a copy
	if got := d.Identity().Roster.Members[0].Name; got != "n1" {
		t.Errorf("the roster is %q's", got)
	}
	founded := openTestDirectory(t, t.TempDir())
	if err := founded.SetFounding(testFounding); err != nil {
		t.Fatal(err)
	}
	storetest.Mention(t, founded.SetJoined(testFounding, nil), "already belongs to cluster")
}

func TestSetRoster(t *testing.T) {
	d := openTestDirectory(t, t.TempDir())
	roster := Roster{Revision: 7, Members: []RosterMember{{Name: "n1", DirectoryID: firstID}}}
	storetest.Mention(t, d.SetRoster(roster), "belongs to no cluster")
	if err := d.SetFounding(testFounding); err != nil {
		t.Fatal(err)
	}
	storetest.Mention(t, d.SetRoster(Roster{Revision: 7}), "0 members")
	if err := d.SetRoster(roster); err != nil {
		t.Fatal(err)
	}
	for _, revision := range []int64{6, 7} { // not newer
		if err := d.SetRoster(Roster{Revision: revision, Members: []RosterMember{{Name: "n9"}}}); err != nil {
			t.Fatal(err)
		}
		if got := d.Identity().Roster; !reflect.DeepEqual(*got, roster) {
			t.Errorf("revision %d was taken: %+v", revision, got)
		}
	}
	if err := d.SetRoster(Roster{Revision: 8, Members: []RosterMember{{Name: "n9"}}}); err != nil {
		t.Fatal(err)
	}
	if got := reopened(t, d).Roster; got.Revision != 8 || got.Members[0].Name != "n9" {
		t.Errorf("%+v", got)
	}
	storetest.Mention(t, d.SetRoster(Roster{Revision: 9, Members: roster.Members}), "closed")
}

// TestSetRemoved: the first removal stays, and a directory that was removed can still be looked at.
func TestSetRemoved(t *testing.T) {
	d := openTestDirectory(t, t.TempDir())
	for revision := range int64(2) {
		if err := d.SetRemoved(Removal{Revision: 9 + revision}); err != nil {
			t.Fatal(err)
		}
	}
	if got := reopened(t, d).Removed; got == nil || got.Revision != 9 {
		t.Errorf("%+v", got)
	}
	looked, err := OpenReadOnly(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer looked.Close()
	if looked.Identity().Removed == nil {
		t.Error("it is not removed for who only reads")
	}
}

// TestIdentityThatCannotBeWritten: what stands stays, in memory and on the disk.
func TestIdentityThatCannotBeWritten(t *testing.T) {
	d := openTestDirectory(t, t.TempDir())
	before := d.Identity()
	name := filepath.Join(d.Path(), identityName)
	if err := os.Rename(name, name+".kept"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(name, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func() error{
		"joined":  func() error { return d.SetJoined(testFounding, nil) },
		"removed": func() error { return d.SetRemoved(Removal{Revision: 9}) },
	} {
		if err := change(); err == nil {
			t.Errorf("%s: noted although it cannot be written", what)
		}
		if got := d.Identity(); !reflect.DeepEqual(got, before) {
			t.Errorf("%s: %+v", what, got)
		}
	}
	if err := errors.Join(os.RemoveAll(name), os.Rename(name+".kept", name)); err != nil {
		t.Fatal(err)
	}
	if got := reopened(t, d); !reflect.DeepEqual(got, before) {
		t.Errorf("the next process finds %+v", got)
	}
}
