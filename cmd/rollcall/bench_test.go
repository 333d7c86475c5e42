package main

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/loadgen"
)

// drainWrites takes what the fake reports of single writes, and gives each to look.
func drainWrites(t *testing.T, f *fake, look func(*rollcallv1.SetServingStatusRequest)) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case req := <-f.wrote:
				look(req)
			case <-end:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(end)
		<-ended
	})
}

func (f *fake) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.services))
}

func TestBenchCheck(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		f.health.SetServingStatus("shop/cart", notServing)
		// The time is over in the middle of a call, which is made to its end.
		r := run("bench", "check", "shop/cart", "--callers", "4", "--connections", "2", "--duration", "49500us", "--linearizable")
		r.want(t, exitDone, "linearizable check of shop/cart: 4 callers on 2 connections to "+f.address+", 50ms\n…", "")
		if !regexp.MustCompile(`(?m)^CALLS +CALLS/S +P50 +P99 +MAX +ERRORS\n200 +4,000 +1ms +1ms +1ms +0\n$`).MatchString(r.stdout) {
			t.Errorf("stdout:\n%s", r.stdout)
		}

		r = run("bench", "check", "--duration", "55ms", "--rate", "100", "-o", "json")
		var got checkJSON
		if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != 0 || r.stderr != "" {
			t.Fatalf("exit status %d, %v, stderr %q", r.code, err, r.stderr)
		}
		if got.Bench != "check" || got.Calls != 6 || got.RateLimit != 100 || got.Connections != 1 || got.Latency.Max <= 0 ||
			got.Latency.P50 > got.Latency.P99 || got.Seconds < 0.05 || got.Errors != 0 || got.ErrorsBy == nil || got.Interrupted {
			t.Errorf("%+v", got)
		}
	})
}

func TestBenchWriteTouchesOnlyItsOwnAndDeletesIt(t *testing.T) {
	f := startFake(t)
	f.put("shop/cart", serving, "", "")
	f.put("rollcall-benchmark", serving, "", "")
	for _, batch := range []string{"1", "3"} {
		t.Run("batch "+batch, func(t *testing.T) {
			wrong := make(chan string, 1)
			drainWrites(t, f, func(req *rollcallv1.SetServingStatusRequest) {
				if !strings.HasPrefix(req.GetService(), "rollcall-bench/mine/") || req.GetReason() != loadgen.Reason || req.GetActor() != "alice" {
					select {
					case wrong <- req.String():
					default:
					}
				}
			})
			r := rollcall(t, "bench", "write", "--writers", "4", "--services", "10", "--batch", batch, "--duration", "50ms", "--actor", "alice", "--prefix", "rollcall-bench/mine")
			r.want(t, exitDone, "write: 4 writers of …", "bench: this writes services below rollcall-bench/mine/…")
			if !regexp.MustCompile(`\nbench: deleted [1-9]\d* services? below rollcall-bench/mine/[0-9a-f]{16}/\n$`).MatchString(r.stderr) {
				t.Errorf("stderr: %s", r.stderr)
			}
			if got := f.names(); !slices.Equal(got, []string{"rollcall-benchmark", "shop/cart"}) {
				t.Errorf("left: %v", got)
			}
			select {
			case w := <-wrong:
				t.Errorf("wrote %s", w)
			default:
			}
		})
	}
}

func TestBenchWriteTellsHowCallsFailed(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		first := true
		drainWrites(t, f, func(*rollcallv1.SetServingStatusRequest) {
			if first { // the one that finds out whether writes work at all
				first = false
				go f.refuseWrites(refusal(codes.Unavailable, reasonNotWritten, "no leader is known", nil))
			}
		})
		r := run("bench", "write", "--writers", "2", "--duration", "500ms", "--timeout", "700ms")
		if r.code != exitNotAsAsked || !regexp.MustCompile(`\n! \d+ × UNAVAILABLE NOT_WRITTEN: no leader is known\n$`).MatchString(r.stdout) {
			t.Errorf("exit status %d, stdout:\n%s", r.code, r.stdout)
		}
		if !regexp.MustCompile(`\nrollcall: cannot delete what it wrote: .*no leader is known; "rollcall bench clean --prefix rollcall-bench/[0-9a-f]{16}/" does\n$`).MatchString(r.stderr) {
			t.Errorf("stderr: %s", r.stderr)
		}
		f.refuseWrites(nil)
		r = run("bench", "clean", "-o", "json")
		if r.code != 0 || len(f.names()) != 0 || !strings.Contains(r.stdout, `"prefix": "rollcall-bench/"`) {
			t.Errorf("exit status %d, %s; left: %v", r.code, r.stdout, f.names())
		}
	})
}

func TestBenchWithErrorsIsNotAsAsked(t *testing.T) {
	errs := new(loadgen.Errors)
	if err := benchOutcome(errs, 10, "calls"); err != nil {
		t.Error(err)
	}
	errs.Add(refusal(codes.Internal, "", "x", nil))
	err := benchOutcome(errs, 10, "calls")
	if f := new(app).explain(err); f.exit != exitNotAsAsked || f.Error() != "1 of 11 calls failed" {
		t.Errorf("exit status %d, %s", f.exit, f.Error())
	}
}

func TestBenchWatch(t *testing.T) {
	f := startFake(t)
	drainWrites(t, f, func(*rollcallv1.SetServingStatusRequest) {})
	r := rollcall(t, "bench", "watch", "--watches", "20", "--connections", "3", "--flips", "5")
	r.want(t, exitDone, "watch: 20 watches on 3 connections to "+f.address+", 5 flips, …", "…")
	if !strings.Contains(r.stdout, "\n100 messages, ") || len(f.names()) != 0 {
		t.Errorf("left %v, stdout:\n%s", f.names(), r.stdout)
	}
	r = rollcall(t, "bench", "watch", "--watches", "7", "--flips", "4", "-o", "json")
	var got watchJSON
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != 0 {
		t.Fatalf("exit status %d, %v, stderr %q", r.code, err, r.stderr)
	}
	if got.Messages != 28 || got.Flips != 4 || got.Watches != 7 || got.Connections != 7 || got.Errors != 0 || got.ErrorsBy == nil ||
		got.Delay.Max <= 0 || got.Delay.Max != got.Last.Max || got.After.Max > got.Delay.Max || got.Write.P50 <= 0 {
		t.Errorf("%+v", got)
	}
}

func TestBenchThatCannotRunIsOneLine(t *testing.T) {
	f := startFake(t)
	dead := closedPort()
	for _, test := range []struct{ args, want string }{
		{"check nosuch", "cannot check nosuch at " + f.address + `: NOT_FOUND: unknown service; "rollcall list" shows the services`},
		{"chek", `unknown command "chek" for "rollcall bench"; did you mean "check"? see "rollcall bench --help"`},
		{"nonsense", `unknown command "nonsense" for "rollcall bench"; use check, clean, watch or write; see "rollcall bench --help"`},
		{"check --duration 11m", "--duration is 11m; it must be more than 0 and at most 10m"},
		{"check --duration 0s", "--duration is 0s; it must be more than 0 and at most 10m"},
		{"check --callers 0", "--callers is 0; it must be from 1 to 10000"},
		{"check --connections 1001", "--connections is 1001; it must be from 1 to 1000"},
		{"check --rate -1", "--rate is -1; it must be from 0 to 1000000"},
		{"check --timeout 0s", "--timeout is 0s; it must be more than 0"},
		{"write --writers 10001", "--writers is 10001; it must be from 1 to 10000"},
		{"write --services 0", "--services is 0; it must be from 1 to 100000"},
		{"write --batch 10001", "--batch is 10001; it must be from 1 to 10000"},
		{"write --batch 10000", "--writers times --batch is 160000; as each writer has services of its own, it must be at most 100000"},
		{"write --prefix shop/", `--prefix is "shop/"; bench writes and deletes only services within "rollcall-bench/"`},
		{"write --prefix rollcall-benchmark", `--prefix is "rollcall-benchmark"; bench writes and deletes only services within "rollcall-bench/"`},
		{"watch --prefix=", `--prefix is empty; give it a value, or leave it out`},
		{"clean --prefix shop", `--prefix is "shop"; bench writes and deletes only services within "rollcall-bench/"`},
		{"write --prefix rollcall-bench/" + strings.Repeat("x", 230), "--prefix: …"},
		{"watch --watches 0", "--watches is 0; it must be from 1 to 100000"},
		{"watch --flips 1001", "--flips is 1001; it must be from 1 to 1000"},
	} {
		want := "rollcall: " + test.want + "\n"
		if strings.HasSuffix(test.want, "…") {
			want = "rollcall: " + test.want
		}
		rollcall(t, append([]string{"bench"}, strings.Fields(test.args)...)...).want(t, exitNotDone, "", want)
	}
	if len(f.wrote) != 0 {
		t.Error("something was written")
	}
	for _, kind := range []string{"check", "write", "watch"} {
		r := rollcall(t, "bench", kind, "-e", dead)
		r.want(t, exitNotDone, "", "bench: no load on "+dead+": …")
		if !strings.HasSuffix(r.stderr, "\nrollcall: no node answers: tried "+dead+"; "+noNodeAdvice+"\n") {
			t.Errorf("%s: %s", kind, r.stderr)
		}
	}
}

func TestBenchWithoutAQuorumIsOneClearError(t *testing.T) {
	for _, kind := range []string{"write", "watch"} {
		virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
			f.refuseWrites(refusal(codes.Unavailable, reasonNotWritten, "no leader is known", nil))
			r := run("bench", kind, "--timeout", "300ms")
			want := "\nrollcall: cannot write at all: not done within 300ms; last: " + f.address + `: no leader is known; nothing was written, so it can be repeated; "rollcall status" shows what is wrong` + "\n"
			if r.code != exitNotDone || r.stdout != "" || !strings.HasSuffix(r.stderr, want) {
				t.Errorf("%s: exit status %d, stderr %s", kind, r.code, r.stderr)
			}
		})
	}
}

// Ctrl-C ends ctx.
func TestBenchEndsEarlyWithASummaryAndCleansUp(t *testing.T) {
	f := startFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	writes := 0
	drainWrites(t, f, func(*rollcallv1.SetServingStatusRequest) {
		if writes++; writes == 50 {
			cancel()
		}
	})
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"bench", "write", "--duration", "10m", "--services", "5", "-o", "json"}, strings.NewReader(""), &stdout, &stderr)
	var got writeJSON
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil || code != exitDone {
		t.Fatalf("exit status %d, %v, stderr %s", code, err, stderr.String())
	}
	if !got.Interrupted || got.Writes < 49 || got.Changes != got.Writes || len(f.names()) != 0 {
		t.Errorf("left %v; %+v", f.names(), got)
	}
}

func TestBenchCompletion(t *testing.T) {
	startFake(t)
	rollcall(t, "set", "shop/a=serving", "shop/b=serving").want(t, 0, "…", "")
	for args, want := range map[string]string{
		"bench check shop/": "shop/a\nshop/b\n:4\n",
		"bench write ":      ":4\n",
	} {
		if r := rollcall(t, append([]string{"__complete"}, strings.Split(args, " ")...)...); r.code != 0 || r.stdout != want {
			t.Errorf("%q: exit status %d, %q, want %q", args, r.code, r.stdout, want)
		}
	}
	if r := rollcall(t, "__complete", "bench", ""); !strings.Contains(r.stdout, "check\t") || !strings.Contains(r.stdout, "clean\t") {
		t.Errorf("%q", r.stdout)
	}
}

func TestBenchHelpOfEveryLoad(t *testing.T) {
	cmd := newBenchCommand(new(app))
	for _, c := range cmd.Commands() {
		if c.Short == "" || c.Long == "" || c.Example == "" {
			t.Errorf("bench %s does not say what it does", c.Name())
		}
	}
	if r := rollcall(t, "bench"); r.code != 0 || !strings.Contains(r.stdout, "Exit status: 0 done; 1 not run; 4 run") {
		t.Errorf("exit status %d, %q", r.code, r.stdout)
	}
}
