package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/store"
	"github.com/rollcallhq/rollcall/store/raftlog"
	"github.com/rollcallhq/rollcall/store/registry"
)

// runningNode is the data directory of a node as a running one has it; stop closes it.
func runningNode(t *testing.T) (path string, stop func()) {
	path = t.TempDir()
	d, err := store.OpenDirectory(path, "n1")
	if err != nil {
		t.Fatal(err)
	}
	log, err := store.OpenLog(d, raftlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	snapshots, err := store.OpenSnapshots(d, nil)
	if err != nil {
		t.Fatal(err)
	}
	registryFile, err := store.OpenRegistry(d, log, snapshots, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return path, func() {
		for _, close := range []func() error{registryFile.Close, log.Close, d.Close} {
			if err := close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func stoppedNode(t *testing.T) string {
	path, stop := runningNode(t)
	stop()
	return path
}

func TestCompact(t *testing.T) {
	path, stop := runningNode(t)
	rollcall(t, "compact", "--data", path).want(t, exitNotDone, "",
		"rollcall: data directory "+path+" is in use by another rollcall process; stop the node first\n")
	stop()
	rollcall(t, "compact", "--data", path).want(t, exitDone, "registry file rewritten: …", "")
	r := rollcall(t, "compact", "--data", path, "-o", "json")
	var sizes map[string]int64
	if err := json.Unmarshal([]byte(r.stdout), &sizes); err != nil || r.code != exitDone || sizes["before_bytes"] == 0 || sizes["after_bytes"] == 0 {
		t.Errorf("%+v: %v", r, err)
	}
	if err := os.Truncate(filepath.Join(path, "registry.db"), 100); err != nil {
		t.Fatal(err)
	}
	r = rollcall(t, "compact", "--data", path)
	if r.code != exitNotDone || !strings.Contains(r.stderr, "damaged") || !strings.HasSuffix(r.stderr, "; start the node: it makes the registry file anew from its newest snapshot and the log\n") {
		t.Errorf("a damaged registry file: %+v", r)
	}
	rollcall(t, "compact", "--data", filepath.Join(path, "nothing")).want(t, exitNotDone, "",
		"rollcall: "+filepath.Join(path, "nothing")+" is not the data directory of a node: it has no identity.json\n")
	rollcall(t, "compact").want(t, exitNotDone, "", "rollcall: compact needs --data; see \"rollcall compact --help\"\n")
}
