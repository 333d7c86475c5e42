package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/store/storetest"
)

// ranNode is the data directory of the only node of a cluster, which holds the services a, b and c.
func ranNode(t *testing.T) (data string, m node.Member) {
	t.Helper()
	data = filepath.Join(t.TempDir(), "n1")
	cfg := node.DefaultConfig()
	m.Name = "n1"
	for _, address := range []*string{&m.APIAddress, &m.PeerAddress} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*address = l.Addr().String()
		l.Close()
	}
	cfg.Name, cfg.DataDir, cfg.Members, cfg.Logger, cfg.DrainDelay = m.Name, data, []node.Member{m}, slog.New(slog.DiscardHandler), 0
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	n, err := node.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	clientConfig := client.DefaultConfig()
	clientConfig.Endpoints = []string{m.APIAddress}
	c, err := client.New(clientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, name := range []string{"a", "b", "c"} {
		for {
			if _, err = c.Set(ctx, name, grpc_health_v1.HealthCheckResponse_SERVING, client.WriteOptions{}); err == nil || ctx.Err() != nil {
				break
			}
		}
	}
	if err == nil {
		rollcall(t, "snapshot", "save", "--data", data, filepath.Join(t.TempDir(), "x")).want(t, exitNotDone, "",
			"rollcall: data directory "+data+` is in use by another rollcall process; "rollcall snapshot save" without --data asks the node that runs`+"\n")
		rollcall(t, "recover", "--data", data).want(t, exitNotDone, "",
			"rollcall: data directory "+data+" is in use by another rollcall process; stop the node first; while a majority of the members can run, nothing has to be recovered\n")
		r := rollcall(t, "recover", "--inspect", data)
		if r.code != exitNotDone || !strings.Contains(r.stdout, "! "+data+": a node runs on it: stop it first, and it is compared with the others\n") || r.stderr != "rollcall: none of them can be read; stop the nodes that run first; while a majority of the members can run, nothing has to be recovered\n" {
			t.Errorf("%+v", r)
		}
		err = n.Close(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data, m
}

func matches(t *testing.T, r result, code int, want string) {
	t.Helper()
	if r.code != code || !regexp.MustCompile("^(?s)"+want+"$").MatchString(r.stdout) {
		t.Errorf("exit status %d, %s, printed\n%s\nwant\n%s", r.code, r.stderr, r.stdout, want)
	}
}

func TestRecover(t *testing.T) {
	whole, m := ranNode(t)
	dir := filepath.Dir(whole)
	damaged := filepath.Join(dir, "damaged")
	storetest.CopyDir(t, whole, damaged)
	if err := os.Remove(filepath.Join(damaged, "raft.db")); err != nil {
		t.Fatal(err)
	}

	// Save.
	backup := filepath.Join(dir, "s.snapshot")
	matches(t, rollcall(t, "snapshot", "save", "--data", whole, backup), exitDone,
		`saved \S+s.snapshot from \S+n1: n1 of cluster [0-9a-f]{4}, revision \d+, log entry \d+ of term 2, \d+ bytes, SHA-256 [0-9a-f]{64}\nall of it is known to be committed\n`)
	rollcall(t, "snapshot", "inspect", backup).want(t, exitDone, "…", "")
	rollcall(t, "snapshot", "save", "--data", whole, backup).want(t, exitNotDone, "", "rollcall: "+backup+" is there already; --force replaces it\n")
	r := rollcall(t, "snapshot", "save", "--data", damaged, filepath.Join(dir, "d.snapshot"))
	matches(t, r, exitNotAsAsked, `saved .*\nnote: \S+raft.db is missing\n! the raft log is damaged: entries after \d+, if there were any, are missing\n`)
	if r.stderr != "rollcall: "+damaged+` is damaged: changes may be missing in what was made of it; "rollcall recover --inspect" on the data of all nodes that are left shows whether another one has more`+"\n" {
		t.Errorf("%s", r.stderr)
	}
	rollcall(t, "snapshot", "save", "--committed-only", backup).want(t, exitNotDone, "",
		"rollcall: --committed-only is for --data: a node that runs saves what it has applied, and that is committed\n")
	r = rollcall(t, "snapshot", "save", "--data", whole, backup, "--force", "--committed-only", "-o", "json")
	var saved map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &saved); err != nil || saved["node"] != "n1" || saved["committed_only"] != true || saved["entries_not_known_committed"] != 0.0 || saved["file"] != backup {
		t.Errorf("%v, %s", err, r.stdout)
	}

	// Inspect.
	r = rollcall(t, "recover", "--inspect", damaged, whole, dir)
	matches(t, r, exitDone, `NODE  CLUSTER  DIRECTORY  VOTES  TERM  ENTRY  REVISION  COMMITTED  WRITTEN +DAMAGE    DATA
n1    [0-9a-f]{4}     [0-9a-f]{8}   no     2     \d+ .* MISSING   \S+damaged
n1    [0-9a-f]{4}     [0-9a-f]{8}   yes    2     \d+ .* -         \S+n1
-     .* NOT READ  \S+
note: .*raft.db is missing
! \S+damaged: the raft log is damaged: .*
! \S+: \S+ is not the data directory of a node: it has no identity.json
of cluster [0-9a-f]{4}, n1 is the only member that votes: start it, nothing needs to be recovered
1 directory was not read, and may have more
`)
	var table struct {
		Survivors []survivorReport
		Choices   []choiceReport
	}
	r = rollcall(t, "recover", "--inspect", damaged, "-o", "json")
	if err := json.Unmarshal([]byte(r.stdout), &table); err != nil || len(table.Survivors) != 1 || table.Survivors[0].Missing == nil || len(table.Choices) != 1 || table.Choices[0].Why == "" || table.Choices[0].Majority != "" {
		t.Errorf("%v, %s", err, r.stdout)
	}
	matches(t, rollcall(t, "recover", "--inspect", damaged), exitDone, `.*\nof cluster [0-9a-f]{4}, recover n1 \(\S+damaged\): its log ends at entry \d+ of term 2, and there is no other of its cluster\n`)

	// Recover.
	for _, more := range []string{"--dry-run", "--committed-only"} {
		r = rollcall(t, "recover", "--data", whole, more)
		wantError(t, r, `nothing has to be recovered: n1 is the only voter of cluster [0-9a-f]{16}, and its data are whole; nothing was changed; start it as before; --force makes a new cluster of it all the same`)
	}
	matches(t, rollcall(t, "recover", "--data", whole, "--force", "--dry-run"), exitDone,
		`n1 would be recovered in \S+n1, at revision \d+; it was of cluster [0-9a-f]{4}, and ends at log entry \d+ of term 2\nall of it is known to be committed\nthe old directory would be kept beside it; dry run, nothing changed\n`)
	rollcall(t, "recover", "--data", whole, "--force", "--member", "n2,host=10.0.0.2").want(t, exitNotDone, "",
		"rollcall: no --member is n1: give the addresses of that node, or another name by --node\n")
	matches(t, rollcall(t, "recover", "--data", whole, "--force"), exitDone, `n1 recovered in \S+n1: cluster [0-9a-f]{16}, revision \d+
it was of cluster [0-9a-f]{4}, and ends at log entry \d+ of term 2
all of it is known to be committed
the old directory is kept as \S+n1.before-recover-\d{8}T\d{6}Z

Start it:
  rollcall serve --node n1 --data \S+n1 --member n1,api=`+regexp.QuoteMeta(m.APIAddress)+`,peer=`+regexp.QuoteMeta(m.PeerAddress)+`
Then let the others join, one after the other, each on an EMPTY directory:
  rollcall serve --node n2 --data DIR --join `+regexp.QuoteMeta(m.PeerAddress)+` --advertise-api HOST:7600 --advertise-peer HOST:7601
  rollcall member add n2 --peer HOST:7601
Never start a node on an old directory of cluster [0-9a-f]{4} again: it would serve the old registry.
`)
	rollcall(t, "verify", "--data", whole).want(t, exitDone, "…", "")
	recoveredAgain(t, whole, m)
	r = rollcall(t, "recover", "--data", damaged, "-o", "json")
	var recovered map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &recovered); err != nil || r.code != exitNotAsAsked || recovered["kept"] == "" || recovered["entries_not_known_committed"] != 0.0 || len(recovered["next"].([]any)) != 3 || len(recovered["missing"].([]any)) != 1 {
		t.Errorf("%v, %+v", err, r)
	}
}

// wantError wants a command to have failed with one line, which matches.
func wantError(t *testing.T, r result, want string) {
	t.Helper()
	if r.code != exitNotDone || r.stdout != "" || !regexp.MustCompile("^rollcall: "+want+"\n$").MatchString(r.stderr) {
		t.Errorf("%+v\nwant %s", r, want)
	}
}

// recoveredAgain has data, which were just recovered, recovered and inspected again.
func recoveredAgain(t *testing.T, data string, m node.Member) {
	t.Helper()
	found, err := filepath.Glob(data + ".before-recover-*")
	if err != nil || len(found) != 1 {
		t.Fatalf("kept: %q, %v", found, err)
	}
	kept := found[0]
	serve := regexp.QuoteMeta("rollcall serve --node n1 --data " + data + " --member n1,api=" + m.APIAddress + ",peer=" + m.PeerAddress)
	again := regexp.QuoteMeta(data) + ` was recovered already, at \S+Z, as the only voter of cluster [0-9a-f]{16}, and has not run since; nothing was changed now; start it: ` + serve +
		`; to recover in another way, move it away, rename ` + regexp.QuoteMeta(kept) + ` to ` + regexp.QuoteMeta(data) + `, and recover that; --force makes one more cluster of it`
	wantError(t, rollcall(t, "recover", "--data", data), again)
	wantError(t, rollcall(t, "recover", "--data", data+"/"), again)
	wantError(t, rollcall(t, "recover", "--data", data, "--dry-run"), again)
	wantError(t, rollcall(t, "recover", "--data", kept), regexp.QuoteMeta(kept+" is the old directory that the recovery of "+data+" has kept; nothing was changed; start the node that is in "+data)+".*")
	if found, _ := filepath.Glob(data + ".*"); len(found) != 1 {
		t.Errorf("made by runs that were refused: %q", found)
	}

	copied, link := filepath.Join(t.TempDir(), "copy"), filepath.Join(t.TempDir(), "link")
	storetest.CopyDir(t, kept, copied)
	if err := os.Symlink(data, link); err != nil {
		t.Fatal(err)
	}
	matches(t, rollcall(t, "recover", "--inspect", kept, data, data+"/", link, copied), exitDone, `NODE .*
n1 +[0-9a-f]{4} +[0-9a-f]{8} +kept [^\n]*before-recover[^\n]*
n1 +[0-9a-f]{4} +[0-9a-f]{8} +yes [^\n]*/n1
n1 +[0-9a-f]{4} +[0-9a-f]{8} +kept [^\n]*copy
`+regexp.QuoteMeta(kept+" is the old directory that the recovery of "+data+" has kept, and does not count; if the node that is in "+data+" is lost, too, give this one its name back\n"+
		copied+" is the old directory that the recovery of "+data+" has kept, and does not count; if the node that is in "+data+" is lost, too, give this one its name back\n")+
		`of cluster [0-9a-f]{4}, n1 is the only member that votes: start it, nothing needs to be recovered
2 directories were named more than once
`)
	r := rollcall(t, "recover", "--inspect", kept)
	if r.code != exitDone || strings.Contains(r.stdout, "of cluster") || !strings.Contains(r.stdout, "does not count") {
		t.Errorf("%+v", r)
	}

	// A backup is none of what a node needs, and must not replace it.
	for _, file := range []string{filepath.Join(data, "registry.db"), filepath.Join(link, "new"), filepath.Join(data, "wal", "new")} {
		wantError(t, rollcall(t, "snapshot", "save", "--data", data, file, "--force"),
			regexp.QuoteMeta(file+" is in the data directory of a node, "+data+": nothing was written; name a file in another directory, best on another disk"))
	}
	rollcall(t, "verify", "--data", data).want(t, exitDone, "…", "")
}

// TestRecoverWrongPath: one clear line for what is not the data directory of a node.
func TestRecoverWrongPath(t *testing.T) {
	dir := t.TempDir()
	empty, file, none := filepath.Join(dir, "empty"), filepath.Join(dir, "file"), filepath.Join(dir, "none")
	if err := errors.Join(os.Mkdir(empty, 0o700), os.WriteFile(file, []byte("mine"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, why := range map[string]string{empty: "it has no identity.json", file: "it is a file", none: "it does not exist"} {
		want := path + " is not the data directory of a node: " + why
		for _, args := range [][]string{{"recover", "--data", path}, {"recover", "--data", path, "--dry-run"}, {"snapshot", "save", "--data", path, filepath.Join(dir, "s")}, {"verify", "--data", path}} {
			rollcall(t, args...).want(t, exitNotDone, "", "rollcall: "+want+"\n")
		}
		if r := rollcall(t, "recover", "--inspect", path); r.code != exitNotDone || !strings.Contains(r.stdout, "! "+path+": "+want+"\n") || r.stderr != "rollcall: none of them can be read; use a backup\n" {
			t.Errorf("%+v", r)
		}
	}
	wantError(t, rollcall(t, "recover", "--inspect", ""), "the name of a directory is empty")
	if found, err := os.ReadDir(dir); err != nil || len(found) != 2 {
		t.Errorf("made: %v, %v", found, err)
	}
}
