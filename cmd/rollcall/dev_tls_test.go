package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/cmd/rollcall/devcluster"
)

func TestDevTLSFiles(t *testing.T) {
	cfg := devConfig{data: t.TempDir(), tls: true}
	nodes := devcluster.Nodes(3, 7600)
	now := time.Now()
	contents := func() string { return contentsOf(t, filepath.Join(cfg.data, devTLSDirectory)) }
	begin := func(nodes []devcluster.Node, at time.Time) string {
		t.Helper()
		if err := makeDevTLS(cfg, nodes, at); err != nil {
			t.Fatal(err)
		}
		if !devTLSDoes(cfg, nodes, at) {
			t.Error("what was made does not do")
		}
		return contents()
	}
	first := begin(nodes, now)
	for _, name := range []string{"ca.crt", "n1.crt", "n1.key", "n3.key"} {
		if info, err := os.Stat(filepath.Join(cfg.data, devTLSDirectory, name)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if strings.Contains(first, "ca.key") {
		t.Error("the key of the CA is kept")
	}
	if begin(nodes, now.Add(300*24*time.Hour)) != first {
		t.Error("made anew, though what is there does")
	}
	second := begin(nodes, now.Add(devTLSDays*24*time.Hour-time.Hour))
	if second == first {
		t.Error("not made anew, though it ends within an hour")
	}
	if begin(devcluster.Nodes(5, 7600), now.Add(devTLSDays*24*time.Hour)) == second {
		t.Error("the new nodes have no certificates")
	}
	if err := os.WriteFile(filepath.Join(cfg.data, devTLSDirectory, "n2.key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	third := begin(nodes, now)
	cfg.fresh = true
	if begin(nodes, now) == third {
		t.Error("--fresh keeps certificates")
	}
}

func TestDevTLSArguments(t *testing.T) {
	nodes := devcluster.Nodes(1, 7600)
	args, err := serveArguments(devConfig{data: "/d", logLevel: "info", tls: true}, nodes[0], nodes)
	if err != nil {
		t.Fatal(err)
	}
	want := " --tls required --cert /d/tls/n1.crt --key /d/tls/n1.key --ca /d/tls/ca.crt --peer-name {node} --peer-identity name "
	if got := strings.Join(args, " "); !strings.Contains(got, want) {
		t.Error(got)
	}
	o := &devOutput{ca: "/d/tls/ca.crt"}
	if got := hints(nodes, o.devTLSHint(), o.page(nodes)); !strings.Contains(got, "  export ROLLCALL_CA=/d/tls/ca.crt\n") {
		t.Error(got)
	}
	if got := hints(nodes, "", o.page(nodes)); !strings.Contains(got, "\nin a browser: https://127.0.0.1:7602/ui/\n") {
		t.Error(got)
	}
	o.ca = "/my data/ca.crt"
	if got := o.devTLSHint(); got != "  export ROLLCALL_CA='/my data/ca.crt'\n" {
		t.Error(got)
	}
	o.ca = "/it's"
	if got := o.devTLSHint(); got != `  export ROLLCALL_CA='/it'\''s'`+"\n" {
		t.Error(got)
	}
	if got := (&devOutput{}).devTLSHint(); got != "" {
		t.Error(got)
	}
}
