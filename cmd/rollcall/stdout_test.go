package main

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// brokenOutput fails as standard output does: os.File gives such errors.
type brokenOutput struct{ err error }

func (b brokenOutput) Write([]byte) (int, error) {
	return 0, &fs.PathError{Op: "write", Path: "/dev/stdout", Err: b.err}
}

// printsTo runs one command line whose output is broken.
func printsTo(t *testing.T, problem error, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var stderr bytes.Buffer
	code := run(ctx, args, strings.NewReader(""), brokenOutput{problem}, &stderr)
	return ended(t, ctx, args, &bytes.Buffer{}, &stderr, code)
}

// everyCommand is a command line of every command, on what shopWithNodes makes. Those with "change" make
// one.
var everyCommand = []struct {
	change bool
	args   string
}{
	{true, "set a serving"},
	{true, "set a=serving b=unknown"},
	{true, "put a not_serving"},
	{true, "delete shop/cart"},
	{true, "override set shop/cart serving"},
	{true, "override clear shop/pay/*"},
	{true, "shutdown --reason drill --break-glass *"},
	{false, "resume --allow-missing"},
	{true, "rule add one shop/* --min 1"},
	{true, "rule remove pay-min"},
	{true, "lease grant"},
	{true, "lease revoke 00000000000000a1"},
	{true, "lease release-guard"},
	{true, "set a serving --ttl 10s"},
	{true, "auth enable --anonymous viewer"},
	{true, "auth disable"},
	{true, "token create a --role viewer --on * --out -"},
	{true, "token generate --out -"},
	{true, "token revoke ci"},
	{true, "role set a read"},
	{true, "role remove deployer"},
	{true, "grant add cert:a --role viewer --on *"},
	{true, "grant remove cert:shop"},
	{true, "grant deny cert:a"},
	{true, "grant allow cert:off"},
	{true, "member add n4 --peer h:1 --no-wait"},
	{true, "member add n4 --peer h:1"},
	{true, "member remove n2"},
	{true, "member replace n2"},
	{true, "member promote n2"},
	{true, "transfer-leader"},
	{false, "member list"},
	{false, "member remove n2 --dry-run"},
	{false, "whoami"},
	{false, "auth status"},
	{false, "auth can read a --identity cert:shop"},
	{false, "token list"},
	{false, "token create a --role viewer --on * --dry-run"},
	{false, "role list"},
	{false, "grant list"},
	{false, "grant allow cert:a"}, // is so already
	{true, "compact --data DATA"},
	{true, "bench clean"},
	{false, "set a serving --dry-run"},
	{false, "set shop/cart serving"}, // is so already
	{false, "override clear zoo --allow-missing"},
	{false, "delete shop/cart --dry-run"},
	{false, "get shop/cart"},
	{false, "get rollcall.live"},
	{false, "get shop/cart --at 3"},
	{false, "list"},
	{false, "list --sort status --limit 1"},
	{false, "watch shop/cart"},
	{false, "watch --prefix shop/"},
	{false, "events"},
	{false, "events --follow --from 1"},
	{false, "history shop/cart"},
	{false, "wait shop/cart"},
	{false, "probe rollcall.live"},
	{false, "override list"},
	{false, "rule list"},
	{false, "lease list"},
	{false, "rule check"},
	{false, "why shop/cart"},
	{false, "status"},
	{false, "status --wait 10s"},
	{false, "top --once"},
	{false, "status --watch"},
	{false, "verify --data DATA"},
	{false, "version"},
	{false, "--version"},
	{false, "--help"},
	{false, "help set"},
	{false, "completion bash"},
}

// noOutputTest says why a command is not in everyCommand.
var noOutputTest = map[string]string{
	"dev": "runs nodes", "serve": "is a node", "agent": "goes on", "bench check": "needs a load", "bench watch": "needs a load", "bench write": "needs a load",
	"verify": "asks real nodes", "snapshot save": "asks a real node", "snapshot inspect": "needs a backup", "snapshot restore": "needs a backup", "recover": "needs the data of a node that has run: see TestRecover",
	"cert ca": "makes files: see TestCertWithABrokenOutput", "cert node": "as cert ca", "cert client": "as cert ca",
	"lease keep-alive": "goes on: see TestRenewalsOutliveTheirReader",
	"completion zsh":   "as bash", "completion fish": "as bash", "completion powershell": "as bash",
}

// shopWithNodes is what everyCommand is run on. It returns the arguments of a command line.
func shopWithNodes(t *testing.T, line string) []string {
	f, run := shop(t)
	run("override", "set", "shop/pay/*", "serving").want(t, 0, "…", "")
	run("lease", "grant").want(t, 0, "…", "")
	f.leases.guard = &rollcallv1.LeaseGuard{Engaged: true, Time: timestamppb.New(reported), Late: 41, Live: 52}
	run("token", "create", "ci", "--role", "reporter", "--on", "shop/*", "--out", "-").want(t, 0, "…", "…")
	run("role", "set", "deployer", "read", "report").want(t, 0, "…", "")
	run("grant", "add", "cert:shop", "--role", "reporter", "--on", "*").want(t, 0, "…", "")
	run("grant", "deny", "cert:off").want(t, 0, "…", "")
	run("auth", "enable", "--anonymous", "none").want(t, 0, "…", "")
	f.health.SetServingStatus("rollcall.live", serving)
	whole := sampleStatus()
	whole.Members = whole.Members[:2]
	f.setStatus(whole)
	f.members.steps = []fakeStep{func(f *fake) error {
		for _, m := range f.status.Members {
			m.Member.Phase = voter
		}
		return nil
	}}
	if strings.HasPrefix(line, "member remove") {
		f.members.steps = []fakeStep{without("n2")}
	}
	args := strings.Fields(line)
	if i := slices.Index(args, "DATA"); i >= 0 {
		args[i] = stoppedNode(t)
	}
	return args
}

func TestEveryCommandIsTriedWithABrokenOutput(t *testing.T) {
	walk(testRoot(), func(cmd *cobra.Command) {
		path := strings.TrimPrefix(cmd.CommandPath(), "rollcall ")
		tried := slices.ContainsFunc(everyCommand, func(c struct {
			change bool
			args   string
		}) bool {
			return c.args == path || strings.HasPrefix(c.args, path+" ")
		})
		if cmd.Runnable() && !cmd.HasSubCommands() && !tried && noOutputTest[path] == "" {
			t.Errorf("%s is not in everyCommand", path)
		}
	})
}

// TestAFullDiskIsToldOnce: "rollcall … >/dev/full". Whoever changed something must learn that the change is made.
func TestAFullDiskIsToldOnce(t *testing.T) {
	for _, test := range everyCommand {
		for _, format := range []string{"table", "json"} {
			if format != "table" && (strings.HasPrefix(test.args, "completion") || strings.HasPrefix(test.args, "help") || strings.HasPrefix(test.args, "--")) {
				continue
			}
			t.Run(test.args+" -o "+format, func(t *testing.T) {
				args := shopWithNodes(t, test.args)
				if format != "table" {
					args = append(args, "-o", format)
				}
				r := printsTo(t, syscall.ENOSPC, args...)
				code := exitNotDone
				if test.change {
					code = exitNotPrinted
				}
				if r.code != code || strings.Count(r.stderr, "no space left on device") != 1 || !strings.Contains(r.stderr, "the output cannot be written: no space left on device") {
					t.Errorf("exit status %d, want %d; stderr:\n%s", r.code, code, r.stderr)
				}
				if strings.Contains(r.stderr, "the change was made: ") != test.change {
					t.Errorf("whether the change was made:\n%s", r.stderr)
				}
				if written := strings.Contains(r.stderr, `"written":"yes"`); format == "json" && written != test.change {
					t.Errorf("written: %t\n%s", written, r.stderr)
				}
			})
		}
	}
}

// TestAReaderThatHasGoneIsNoError: "rollcall … | head -0".
func TestAReaderThatHasGoneIsNoError(t *testing.T) {
	for _, test := range everyCommand {
		t.Run(test.args, func(t *testing.T) {
			r := printsTo(t, syscall.EPIPE, shopWithNodes(t, test.args)...)
			if r.code != exitDone || strings.Contains(r.stderr, "pipe") || strings.Contains(r.stderr, "rollcall:") {
				t.Errorf("exit status %d, stderr:\n%s", r.code, r.stderr)
			}
		})
	}
}

// What a command found out counts also when nobody reads it.
func TestABrokenOutputHidesNoVerdict(t *testing.T) {
	_, run := shop(t)
	run("set", "shop/pay/a=not_serving", "shop/pay/b=not_serving", "--break-glass", "*", "--reason", "drill").want(t, 0, "…", "…")
	for _, args := range []string{"rule check", "rule check pay-min"} {
		for _, problem := range []error{syscall.EPIPE, syscall.ENOSPC} {
			r := printsTo(t, problem, strings.Fields(args)...)
			if r.code != exitNotAsAsked || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("%s, %v: exit status %d, stderr:\n%s", args, problem, r.code, r.stderr)
			}
			if told := strings.Contains(r.stderr, "no space left"); told != (problem == syscall.ENOSPC) {
				t.Errorf("%s, %v: %s", args, problem, r.stderr)
			}
		}
	}
	var stderr bytes.Buffer
	out := &output{w: brokenOutput{syscall.EPIPE}}
	a := &app{stdout: out, stderr: &stderr, now: clock}
	err := a.printVerified(&rollcallv1.VerifyResponse{Verdict: "they differ"})
	if code := a.finish(err, out.failed(), false); code != exitNotAsAsked || stderr.String() != "rollcall: they differ\n" {
		t.Errorf("exit status %d: %s", code, stderr.String())
	}
}

func TestTheOutputStopsAtItsFirstError(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	out := &output{w: w}
	_, first := out.Write([]byte("a"))
	_, second := out.Write([]byte("b"))
	if first == nil || first != second || !hungUp(out.failed()) {
		t.Errorf("%v, %v", first, second)
	}
}
