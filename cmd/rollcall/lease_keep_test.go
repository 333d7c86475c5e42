package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
)

// goingOn is a command that goes on, in a bubble.
type goingOn struct {
	t         *testing.T
	out, err  *growing
	interrupt context.CancelFunc
	ended     chan int
}

// growing is output that is read while it grows.
type growing struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (g *growing) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.Write(p)
}

func (g *growing) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.String()
}

// goOn runs a command until it is interrupted. stdout is its output; nil: what goingOn has.
func goOn(t *testing.T, f *fake, stdout io.Writer, args ...string) *goingOn {
	t.Helper()
	r := &goingOn{t: t, out: &growing{}, err: &growing{}, ended: make(chan int, 1)}
	if stdout == nil {
		stdout = r.out
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.interrupt = cancel
	a := &app{stdin: strings.NewReader(""), stdout: stdout, stderr: &lockedWriter{w: r.err}, now: time.Now, dialer: f.dialer}
	go func() { r.ended <- a.run(ctx, args) }()
	return r
}

// stop interrupts the command and waits for its end.
func (r *goingOn) stop() result {
	r.interrupt()
	return r.end()
}

// end waits for the end of the command, which must come by itself.
func (r *goingOn) end() result {
	r.t.Helper()
	select {
	case code := <-r.ended:
		return result{r.out.String(), r.err.String(), code}
	case <-time.After(time.Hour): // of the bubble
		r.interrupt()
		r.t.Fatalf("it does not end:\n%s%s", r.out, r.err)
		return result{}
	}
}

// changes are the lines that were printed, without their times.
func (r *goingOn) changes() string { return withoutTimes(r.out.String()) }

func withoutTimes(s string) string {
	return regexp.MustCompile(`(?m)^[0-9-]+ [0-9:.]+  `).ReplaceAllString(s, "")
}

func passes(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestKeepAliveTellsWhatChanges(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		one, two := leaseID(1), leaseID(2)
		run("lease", "grant").want(t, 0, "…", "")
		run("lease", "grant").want(t, 0, "…", "")
		r := goOn(t, f, nil, "lease", "keep-alive", one, two, one) // twice is once
		passes(60 * time.Second)
		if n := f.leases.renewed; n < 15 || n > 60 {
			t.Errorf("%d messages in a minute; a lease of 10s is renewed every 3.3s", n)
		}
		for _, id := range []string{one, two} {
			if !strings.Contains(r.changes(), "lease "+id+" renewed\n") {
				t.Errorf("nothing of lease %s in\n%s", id, r.changes())
			}
		}
		told := r.changes()
		f.wait(true)
		passes(20 * time.Second)
		if added := strings.TrimPrefix(r.changes(), told); strings.Count(added, " overdue: no renewal was acknowledged for its whole ttl, it may be lost\n") != 2 {
			t.Errorf("without a leader:\n%s", added)
		}
		f.wait(false)
		f.lose(two)
		passes(10 * time.Second)
		for _, line := range []string{"lease " + one + " renewed\n", "lease " + two + " lost: it has ended, or never was\n"} {
			if added := strings.TrimPrefix(r.changes(), told); strings.Count(added, line) != 1 {
				t.Errorf("no %q in\n%s", line, added)
			}
		}
		end := r.stop()
		if want := "renewing 2 leases; Ctrl-C stops it, and what is not renewed expires\nrollcall: lost: " + two + "\n"; end.code != exitNotAsAsked || end.stderr != want {
			t.Errorf("exit status %d: %s", end.code, end.stderr)
		}
	})
}

func TestKeepAliveEnds(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		id := leaseID(1)
		run("lease", "grant").want(t, 0, "…", "")
		r := goOn(t, f, nil, "lease", "keep-alive", id, "-o", "json")
		passes(5 * time.Second)
		end := r.stop()
		if end.code != 0 || end.stderr != "" || !regexp.MustCompile(`^{"time":"[^"]*","lease_id":"`+id+`","change":"renewed","until_time":"[^"]*"}\n$`).MatchString(end.stdout) {
			t.Errorf("interrupted: %+v", end)
		}
		end = goOn(t, f, nil, "lease", "keep-alive", "nosuch", "nosuch").end()
		if end.code != exitNotAsAsked || withoutTimes(end.stdout) != "lease nosuch lost: it has ended, or never was\n" || !strings.HasSuffix(end.stderr, "\nrollcall: lost: nosuch\n") {
			t.Errorf("all are lost: %+v", end)
		}
	})
}

// Who renews goes on when nobody reads what it prints.
func TestRenewalsOutliveTheirReader(t *testing.T) {
	for _, problem := range []error{syscall.EPIPE, syscall.ENOSPC} {
		virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
			run("lease", "grant").want(t, 0, "…", "")
			r := goOn(t, f, brokenOutput{problem}, "lease", "keep-alive", leaseID(1))
			passes(time.Minute)
			f.mu.Lock()
			n := f.leases.renewed
			f.mu.Unlock()
			end := r.stop()
			if told := strings.Contains(end.stderr, "no space left"); n < 15 || told != (problem == syscall.ENOSPC) || (end.code == exitDone) == told {
				t.Errorf("%v: %d messages, exit status %d: %s", problem, n, end.code, end.stderr)
			}
		})
	}
}

func TestSetKeepsItsReportAlive(t *testing.T) {
	for _, test := range []struct {
		flags, stops, did, request string
		then                       string // of the service
	}{
		{"", "reports NOT_SERVING", "its services are NOT_SERVING", `status:NOT_SERVING`, "NOT_SERVING"},
		{"--on-stop withdraw", "deletes what is reported", "its services are deleted", `status:SERVICE_UNKNOWN`, "SERVICE_UNKNOWN"},
		{"--on-stop leave", "leaves what is reported, without a lease", "its services stay as they are", `keep_reports:true`, "SERVING"},
	} {
		t.Run(test.flags, func(t *testing.T) {
			virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
				id := leaseID(1)
				r := goOn(t, f, nil, append([]string{"set", "host1/a", "up", "--ttl", "10s", "--keep-alive", "--actor", "agent@host1", "--reason", "boot"}, strings.Fields(test.flags)...)...)
				passes(30 * time.Second)
				if got, want := r.changes(), "lease "+id+" has the report of host1/a SERVING\n"; got != want {
					t.Errorf("%s, want %s", got, want)
				}
				run("get", "host1/a").want(t, 0, "SERVICE   host1/a\nSTATUS    SERVING for …", "")
				end := r.stop()
				if want := "renewing it; Ctrl-C " + test.stops + "; if nobody renews it for 10s: NOT_SERVING\n"; end.code != 0 || end.stderr != want {
					t.Errorf("exit status %d: %s", end.code, end.stderr)
				}
				if want := "lease " + id + " has the report of host1/a SERVING\nlease " + id + " revoked: " + test.did + "\n"; withoutTimes(end.stdout) != want {
					t.Errorf("%s, want %s", end.stdout, want)
				}
				if last := fmt.Sprint(f.leases.asked[len(f.leases.asked)-1]); len(f.leases.asked) != 2 || !strings.Contains(last, test.request) || !strings.Contains(last, `actor:"agent@host1"`) {
					t.Errorf("asked for %v", f.leases.asked)
				}
				run("wait", "host1/a", "--for", test.then, "--timeout", "1s").want(t, 0, "…", "")
			})
		})
	}
}

// A lease that is lost is replaced, and the reporter is told.
func TestSetReportsAgain(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		r := goOn(t, f, nil, "set", "host1/a=up", "host1/b=down", "--ttl", "10s", "--keep-alive", "-o", "json")
		passes(time.Second)
		f.lose(leaseID(1))
		passes(20 * time.Second)
		end := r.stop()
		got := regexp.MustCompile(`"time":"[^"]*",|,"error":"[^"]*"`).ReplaceAllString(end.stdout, "")
		want := `{"lease_id":"` + leaseID(1) + `","change":"granted","revision":1}` + "\n" +
			`{"lease_id":"` + leaseID(1) + `","change":"reported"}` + "\n" +
			`{"lease_id":"` + leaseID(1) + `","change":"lost"}` + "\n" +
			`{"lease_id":"` + leaseID(2) + `","change":"granted","revision":7}` + "\n" +
			`{"lease_id":"` + leaseID(2) + `","change":"reported"}` + "\n" +
			`{"lease_id":"` + leaseID(2) + `","change":"revoked"}` + "\n"
		if got != want || end.code != 0 || end.stderr != "" {
			t.Errorf("exit status %d: %s\n%s\nwant\n%s", end.code, end.stderr, got, want)
		}
	})
}

// A rule may bind leased reports too. What goes on cannot be told to break it.
func TestSetSaysHowALeasedReportBreaksARule(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		run("set", "host1/a", "up").want(t, 0, "…", "")
		run("rule", "add", "host1-min", "host1/*", "--min", "1", "--enforce-reports").want(t, 0, "…", "")
		for _, stop := range []string{"not_serving", "leave"} {
			f.leases.granted = 0
			r := goOn(t, f, nil, "set", "host1/a", "down", "--ttl", "10s", "--keep-alive", "--on-stop", stop)
			end := r.end()
			const why = "not written: breaks host1-min (host1/*: 1 needed, 0 of 1 would serve)"
			want := "lease " + leaseID(1) + ": host1/a is not reported: " + why + "\n"
			if stop != "leave" { // which tries to leave the report to the end
				want += "lease " + leaseID(1) + " revoked\n"
			}
			if end.code != exitNotDone || end.stderr != "rollcall: "+why+"; to do it all the same, report without --keep-alive: --break-glass host1-min and a --reason; \"rollcall lease keep-alive\" renews its lease then\n" ||
				r.changes() != want {
				t.Errorf("--on-stop %s: %d\n%s\n%s", stop, end.code, r.changes(), end.stderr)
			}
		}
		run("set", "host1/a", "down", "--ttl", "10s").want(t, 1, "", "rollcall: not written: breaks host1-min (host1/*: 1 needed, 0 of 1 would serve); to do it all the same: --break-glass host1-min and a --reason\n")
	})
}

// slow is output that takes a second for each write.
type slow struct{ w io.Writer }

func (s slow) Write(p []byte) (int, error) {
	time.Sleep(time.Second) // of the bubble
	return s.w.Write(p)
}

// A first report that is refused ends the lease before its events are written where the output is slow.
func TestSetTellsWhatEndedItToASlowReader(t *testing.T) {
	for _, stop := range []string{"not_serving", "withdraw", "leave"} {
		for reports, told := range map[string][]string{
			"host1/a=down":                           {leaseGranted, leaseFailed + " host1/a"},
			"host1/a=down host1/b=down host2/c=down": {leaseGranted, leaseFailed + " host1/a", leaseFailed + " host1/b"},
		} {
			virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
				run("set", "host1/a", "up").want(t, 0, "…", "")
				run("set", "host1/b", "up").want(t, 0, "…", "")
				run("rule", "add", "host1-min", "host1/*", "--min", "2", "--enforce-reports").want(t, 0, "…", "")
				var out growing
				args := append(append([]string{"set"}, strings.Fields(reports)...), "--ttl", "10s", "--keep-alive", "--on-stop", stop, "-o", "json")
				if end := goOn(t, f, slow{&out}, args...).end(); end.code != exitNotDone {
					t.Errorf("%s --on-stop %s: %d %s", reports, stop, end.code, end.stderr)
				}
				if stop != "leave" { // which tries to leave the reports to the end
					told = append(told, leaseRevoked)
				}
				var changes []string
				for line := range strings.Lines(out.String()) {
					var change leaseChangeJSON
					if err := json.Unmarshal([]byte(line), &change); err != nil {
						t.Fatal(err)
					}
					changes = append(changes, strings.TrimSpace(change.Change+" "+change.Service))
				}
				if !slices.Equal(changes, told) {
					t.Errorf("%s --on-stop %s: %q; want %q", reports, stop, changes, told)
				}
			})
		}
	}
}

// What is refused ends it; what may come goes on.
func TestSetWithALeaseFails(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		f.refuseWrites(refusal(codes.FailedPrecondition, "UPGRADE_INCOMPLETE", "not written: leases need feature level 2", map[string]string{"written": "no"}))
		run("set", "host1/a", "up", "--ttl", "10s").want(t, 1, "", "rollcall: cannot grant a lease: not written: leases need feature level 2; \"rollcall status\" shows which members are to be upgraded first\n")
		f.refuseWrites(refusal(codes.ResourceExhausted, "TABLE_FULL", "not written: there are 100000 leases, and there cannot be more; remove some first", map[string]string{"written": "no"}))
		end := goOn(t, f, nil, "set", "host1/a", "up", "--ttl", "10s", "--keep-alive").end()
		if end.code != exitNotDone || !strings.HasSuffix(end.stderr, "rollcall: cannot set host1/a: not written: there are 100000 leases, and there cannot be more; remove some first\n") {
			t.Errorf("%+v", end)
		}
		f.refuseWrites(refusal(codes.Unavailable, "NOT_WRITTEN", "not written: no leader is known", map[string]string{"written": "no"}))
		r := goOn(t, f, nil, "set", "host1/a", "up", "--ttl", "10s", "--keep-alive")
		passes(30 * time.Second)
		if !strings.Contains(r.changes(), "no lease yet, it is tried again: ") {
			t.Error(r.changes())
		}
		end = r.stop()
		if end.code != exitNotDone || !strings.HasSuffix(end.stderr, "rollcall: interrupted: set host1/a not done\n") {
			t.Errorf("%+v", end)
		}
		f.refuseWrites(nil)
		r = goOn(t, f, nil, "set", "host1/a", "up", "--ttl", "10s", "--keep-alive")
		passes(time.Second)
		f.refuseWrites(refusal(codes.Unavailable, "NOT_WRITTEN", "not written: no leader is known", map[string]string{"written": "no"}))
		end = r.stop()
		if end.code != exitNotDone || !strings.Contains(end.stderr, "\nrollcall: cannot revoke lease "+leaseID(1)+": ") || !strings.HasSuffix(end.stderr, "; it expires by itself within 10s: then NOT_SERVING\n") {
			t.Errorf("%+v", end)
		}
	})
}
