package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// auditLine is what these tests read of a line.
type auditLine struct {
	Identity  string   `json:"identity"`
	Node      string   `json:"node"`
	Method    string   `json:"method"`
	Names     []string `json:"names"`
	RequestID string   `json:"request_id"`
	Outcome   string   `json:"outcome"`
	Refusal   string   `json:"refusal"`
	Revision  int64    `json:"revision"`
	Lost      int64    `json:"lost"`
}

// auditLines returns the lines of a file, which must be whole; none if there is no file.
func auditLines(t *testing.T, path string) []auditLine {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var all []auditLine
	for text := range strings.Lines(string(b)) {
		var l auditLine
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%s holds the line %q: %v", path, text, err)
		}
		all = append(all, l)
	}
	return all
}

// metric returns the value of a sample of a node's metrics; its labels are given as they stand there.
func (p *process) metric(name, labels string) float64 {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for line := range strings.Lines(p.get(ctx, "/metrics")) {
		if text, ok := strings.CutPrefix(line, name+"{"+labels+"} "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return value
		}
	}
	p.t.Fatalf("%s has no sample %s{%s}", p.name, name, labels)
	return 0
}

// audited returns the lines that name a service.
func audited(t *testing.T, path, service string) (all []auditLine) {
	t.Helper()
	for _, l := range auditLines(t, path) {
		if len(l.Names) > 0 && l.Names[0] == service {
			all = append(all, l)
		}
	}
	return all
}

// TestProcessAuditLog: a forwarded write is in the log of the node that took it, with its outcome. The file is followed
// when it is moved, and a node that is killed leaves whole lines: all but the last ones.
func TestProcessAuditLog(t *testing.T) {
	beside(t, ofProcesses)
	// A signal that is ignored here, as by nohup, would be ignored by what is started, too.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	c := newProcesses(t, processOptions{})
	files := map[*process]string{}
	for _, p := range c.nodes {
		files[p] = filepath.Join(t.TempDir(), "audit.log")
		p.args = append(p.args, "--audit-log", files[p])
	}
	c.start()
	c.waitReady()
	leader := c.leader()
	entry := c.others(leader)[0]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cl := c.client(entry)
	set := func(service string, o client.WriteOptions) (int64, error) {
		res, err := cl.Set(ctx, service, serving, o)
		return res.GetRevision(), err
	}
	must := func(service string) int64 {
		t.Helper()
		revision, err := set(service, client.WriteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return revision
	}
	logged := func(service string) auditLine {
		t.Helper()
		eventually(t, "a line of "+service, func(context.Context) bool { return len(audited(t, files[entry], service)) > 0 })
		return audited(t, files[entry], service)[0]
	}

	revision := must("forwarded")
	if l := logged("forwarded"); l.Outcome != "done" || l.Revision != revision || l.Identity != "anonymous" || l.Node != entry.name || l.Method != "rollcall.v1.Admin/SetServingStatus" {
		t.Errorf("the line of a forwarded write is %+v", l)
	}
	none := int64(0)
	if _, err := set("forwarded", client.WriteOptions{IfRevision: &none, RequestID: "refused"}); err == nil {
		t.Fatal("a write that must be refused was done")
	}
	must("after")
	logged("after")
	if all := audited(t, files[entry], "forwarded"); len(all) != 2 || all[1].Outcome != "refused" || all[1].Refusal != "REVISION_MISMATCH" || all[1].RequestID != "refused" || all[1].Revision != 0 {
		t.Errorf("the lines of the service are %+v", all)
	}
	for _, p := range c.others(entry) {
		if all := audited(t, files[p], "forwarded"); len(all) > 0 {
			t.Errorf("%s has lines of a write that %s took: %+v", p.name, entry.name, all)
		}
	}

	// Rotation, as logrotate does it.
	old := files[entry] + ".1"
	if err := os.Rename(files[entry], old); err != nil {
		t.Fatal(err)
	}
	must("rotated")
	logged("rotated")
	if len(audited(t, old, "after")) != 1 || len(audited(t, files[entry], "after")) != 0 {
		t.Error("the lines before the rotation are not in the old file alone")
	}
	if err := os.Remove(files[entry]); err != nil {
		t.Fatal(err)
	}
	entry.signal(syscall.SIGHUP)
	eventually(t, "a new file after SIGHUP", func(context.Context) bool {
		info, err := os.Stat(files[entry])
		return err == nil && info.Mode().Perm() == 0o600
	})
	eventually(t, "a line about SIGHUP", func(context.Context) bool {
		return strings.Contains(entry.log.String(), "the audit log is opened again")
	})

	// SIGKILL in the middle of writes.
	for i := range 50 {
		must(fmt.Sprint("kept", i))
	}
	logged("kept49")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			if _, err := set(fmt.Sprint("late", i), client.WriteOptions{}); err != nil {
				return
			}
		}
	}()
	logged("late5")
	entry.kill()
	cancel()
	<-ended
	for i := range 50 {
		if all := audited(t, files[entry], fmt.Sprint("kept", i)); len(all) != 1 {
			t.Errorf("%d lines of kept%d", len(all), i)
		}
	}
	entry.start()
	entry.waitStatus("", serving)
	c.set("restarted", serving, entry)
	logged("restarted")
	if got := entry.metric("rollcall_audit_dropped_total", `why="not-written"`); got != 0 {
		t.Errorf("%v lines are lost", got)
	}
}

// TestProcessAuditLogOfAccess: who changes access, who is denied and who fails to log in stands in the audit log, and
// /metrics is for those who have the verb status.
func TestProcessAuditLogOfAccess(t *testing.T) {
	beside(t, ofProcesses)
	c := newProcesses(t, processOptions{nodes: 1})
	n := c.nodes[0]
	dir := t.TempDir()
	file, adminFile := filepath.Join(dir, "audit.log"), filepath.Join(dir, "admin")
	root, scraper, blind := accesstoken.New(), accesstoken.New(), accesstoken.New()
	if err := os.WriteFile(adminFile, []byte(root.Text()), 0o600); err != nil {
		t.Fatal(err)
	}
	n.args = append(n.args, "--audit-log", file, "--admin-token-file", adminFile)
	c.start()
	if _, stderr, code := c.rollcall("status", "--wait", patience.String()); code != 0 { // the feature level has risen
		t.Fatal(stderr)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	as := func(token accesstoken.Token) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token.Text())
	}
	access, admin := rollcallv1.NewAccessClient(n.dial()), rollcallv1.NewAdminClient(n.dial())
	create := func(name, role string, token accesstoken.Token) {
		t.Helper()
		sum := token.SHA256()
		if _, err := access.CreateToken(as(root), &rollcallv1.CreateTokenRequest{Name: name, SecretSha256: sum[:], Grants: []*rollcallv1.Grant{{Role: role, Patterns: []string{"*"}}}}); err != nil {
			t.Fatal(err)
		}
	}
	create("prometheus", "viewer", scraper)
	create("ci", "reporter", blind)
	if _, err := access.SetAuth(as(root), &rollcallv1.SetAuthRequest{Enforced: true, Reason: "the door is shut"}); err != nil {
		t.Fatal(err)
	}
	set := func(token accesstoken.Token) error {
		_, err := admin.SetServingStatus(as(token), &rollcallv1.SetServingStatusRequest{Service: "shop/cart", Status: serving.Enum(), Actor: "ann"})
		return err
	}
	if err := set(blind); err != nil {
		t.Fatal(err)
	}
	if err := set(scraper); status.Code(err) != codes.PermissionDenied {
		t.Fatal(err)
	}
	if err := set(accesstoken.New()); status.Code(err) != codes.Unauthenticated {
		t.Fatal(err)
	}
	for want, authorization := range map[int]string{200: scraper.Text(), 403: blind.Text(), 401: ""} {
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+n.http+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if authorization != "" {
			req.Header.Set("Authorization", "Bearer "+authorization)
		}
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != want || want != 200 && strings.Count(string(body), "\n") != 1 {
			t.Errorf("/metrics with %q: %d %q, want %d", authorization, res.StatusCode, body, want)
		}
	}
	for _, probe := range []string{"/livez", "/readyz"} {
		if got := n.get(ctx, probe); !strings.Contains(got, "ok") {
			t.Errorf("%s: %s", probe, got)
		}
	}
	n.stop() // writes what waits
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []accesstoken.Token{root, scraper, blind} {
		if strings.Contains(string(b), token.Text()[21:]) {
			t.Error("the audit log holds a secret")
		}
	}
	var got []string
	for _, l := range auditLines(t, file) {
		got = append(got, fmt.Sprintf("%s %s %v %s %s", l.Identity, l.Method[strings.LastIndexByte(l.Method, '.')+1:], l.Names, l.Outcome, l.Refusal))
	}
	slices.Sort(got)
	want := []string{
		" Admin/SetServingStatus [shop/cart] unauthenticated TOKEN_UNKNOWN",
		" GET /metrics [] unauthenticated NO_CREDENTIALS",
		"static:admin-token Access/CreateToken [ci] done ",
		"static:admin-token Access/CreateToken [prometheus] done ",
		"static:admin-token Access/SetAuth [] done ",
		"token:ci Admin/SetServingStatus [shop/cart] done ",
		"token:ci GET /metrics [*] denied DENIED",
		"token:prometheus Admin/SetServingStatus [shop/cart] denied DENIED",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the lines are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestProcessAuditLogFullDisk: writes go on as if nothing were, lines that found no room are counted and told of, and
// all is well again when there is room.
func TestProcessAuditLogFullDisk(t *testing.T) {
	needProcesses(t)
	beside(t, ofProcesses)
	unshare := []string{"unshare", "--user", "--map-root-user", "--mount", "sh", "-c"}
	if out, err := exec.Command(unshare[0], append(unshare[1:], "mount -t tmpfs -o size=1m none /mnt")...).CombinedOutput(); err != nil {
		t.Skipf("no file system of our own to fill: %v %s", err, out)
	}
	c := newProcesses(t, processOptions{nodes: 1})
	n := c.nodes[0]
	n.args = append(n.args, "--audit-log", "/mnt/audit.log")
	// There is room for 64 KiB of lines beside the ballast.
	n.wrap = append(unshare, `mount -t tmpfs -o size=24m none /mnt && head -c 25100288 /dev/zero >/mnt/ballast && exec "$0" "$@"`)
	c.start()
	c.waitReady()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	admin := rollcallv1.NewAdminClient(n.dial())
	batch := &rollcallv1.BatchSetServingStatusRequest{Reason: strings.Repeat("y", 1000)}
	for i := range 20 {
		batch.Changes = append(batch.Changes, &rollcallv1.StatusChange{Service: fmt.Sprint(i, strings.Repeat("x", 250)), Status: serving.Enum()})
	}
	dropped := func() float64 { return n.metric("rollcall_audit_dropped_total", `why="not-written"`) }
	// All lines have about 6 KiB, so that about 1,400 wait.
	for written := 0; dropped() == 0; written++ {
		if written > 5000 {
			t.Fatal("no line is lost")
		}
		for range 20 {
			if _, err := admin.BatchSetServingStatus(ctx, batch); err != nil {
				t.Fatalf("with a full disk: %v", err)
			}
		}
	}
	if !strings.Contains(n.log.String(), "the audit log cannot be written") || !strings.Contains(n.log.String(), "no space left on device") {
		t.Errorf("the log says nothing of the full disk: %s", tail(n.log.String(), 2000))
	}
	root := fmt.Sprintf("/proc/%d/root/mnt/", n.cmd.Process.Pid)
	if err := os.Remove(root + "ballast"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the audit log to be written again", func(context.Context) bool {
		return strings.Contains(n.log.String(), "the audit log is written again")
	})
	c.set("after", serving)
	eventually(t, "a line of the write after", func(context.Context) bool { return len(audited(t, root+"audit.log", "after")) == 1 })
	var lost int64
	for _, l := range auditLines(t, root+"audit.log") {
		lost += l.Lost
	}
	if got := dropped(); lost == 0 || float64(lost) != got {
		t.Errorf("lines tell of %d lost ones, the metric of %v", lost, got)
	}
}
