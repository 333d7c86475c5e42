package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// local is the time of the event of a revision, as people see it.
func local(revision int64) string { return timeOf(revision).Local().Format("2006-01-02 15:04:05.000") }

// eventful fills a fake: revisions 1 to 6.
func eventful(t *testing.T) *fake {
	t.Helper()
	f := startFake(t)
	f.member("n1", "127.0.0.1:7600")
	for _, args := range []string{
		"set shop/cart serving --actor alice --reason deployed",
		"set shop/cart=not_serving shop/pay=serving --actor bob --reason shift",
		"delete shop/pay --actor alice --reason retired",
		"set shop/cartoon serving --actor bob",
	} {
		if r := rollcall(t, strings.Fields(args)...); r.code != 0 {
			t.Fatal(args, r)
		}
	}
	return f
}

func TestEventsTable(t *testing.T) {
	eventful(t)
	want := "REVISION  TIME                     SERVICE       FROM→TO                      ACTOR  REASON\n" +
		"1         " + local(1) + "  -             member n1 at 127.0.0.1:7600  -      -\n" +
		"2         " + local(2) + "  shop/cart     -→SERVING                    alice  deployed\n" +
		"3         " + local(3) + "  shop/cart     SERVING→NOT_SERVING          bob    shift\n" +
		"4         " + local(4) + "  shop/pay      -→SERVING                    bob    shift\n" +
		"5         " + local(5) + "  shop/pay      SERVING→deleted              alice  retired\n" +
		"6         " + local(6) + "  shop/cartoon  -→SERVING                    bob    -\n"
	rollcall(t, "events").want(t, 0, want, "")
	rollcall(t, "events", "none/").want(t, 0, "", "no event matches\n")
	rollcall(t, "events", "none/", "-o", "json").want(t, 0, "", "")
}

func TestEventsAsJSONAreALineEach(t *testing.T) {
	eventful(t)
	r := rollcall(t, "events", "--from", "5", "--to", "5", "-o", "json")
	r.want(t, 0, `{"revision":5,"commit_revision":5,"type":"deleted","time":"2026-11-22T10:05:00Z","actor":{"name":"alice","verified":false,"peer":"127.0.0.1:4711","on_behalf_of":""},`+
		`"reason":"retired","request_id":"","service":"shop/pay","previous_status":"SERVING","status":"SERVICE_UNKNOWN","effective_status":"SERVICE_UNKNOWN"}`+"\n", "")
	if r := rollcall(t, "events", "-o", "json"); strings.Count(r.stdout, "\n") != 6 {
		t.Errorf("%s", r.stdout)
	}
}

// revisions reads events as JSON.
func revisions(t *testing.T, out string) string {
	t.Helper()
	var got []string
	for line := range strings.Lines(out) {
		var e struct{ Revision int64 }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		got = append(got, fmt.Sprint(e.Revision))
	}
	return strings.Join(got, " ")
}

func TestEventsAreChosen(t *testing.T) {
	eventful(t)
	at := func(revision int64) string { return timeOf(revision).Format(time.RFC3339) }
	for args, want := range map[string]string{
		"":                                     "1 2 3 4 5 6",
		"--reverse":                            "6 5 4 3 2 1",
		"--limit 2":                            "1 2",
		"--limit 2 --reverse":                  "6 5",
		"--limit 9":                            "1 2 3 4 5 6",
		"shop/":                                "2 3 4 5 6",
		"shop/cart":                            "2 3 6",
		"shop/pay shop/cartoon":                "4 5 6",
		"--service shop/cart":                  "2 3",
		"--from 3":                             "3 4 5 6",
		"--to 3":                               "1 2 3",
		"--from 3 --to 4":                      "3 4",
		"--since " + at(4):                     "4 5 6",
		"--until " + at(4):                     "1 2 3 4",
		"--actor alice":                        "2 5",
		"--type deleted":                       "5",
		"--type deleted,member-changed":        "1 5",
		"--type DELETED --type member_changed": "1 5",
		"shop/ --type reported --actor bob --from 4 --reverse --limit 1": "6",
	} {
		r := rollcall(t, append([]string{"events", "-o", "json"}, strings.Fields(args)...)...)
		if got := revisions(t, r.stdout); r.code != 0 || got != want {
			t.Errorf("%s: exit status %d, %q, want %q; %s", args, r.code, got, want, r.stderr)
		}
	}
}

func TestEventsThatAreNotKept(t *testing.T) {
	f := eventful(t)
	f.compact(4)
	const next = `--from 4 begins with the oldest, and "rollcall list --at 3" shows the state before it`
	for _, follow := range [][]string{nil, {"--follow"}} {
		what := map[bool]string{true: "list", false: "follow"}[follow == nil]
		line := "cannot " + what + " events: events before revision 4 are not kept any more; " + next
		args := append([]string{"events", "--from", "2"}, follow...)
		rollcall(t, args...).want(t, exitNotDone, "", "rollcall: "+line+"\n")
		message, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		rollcall(t, append(args, "-o", "json")...).want(t, exitNotDone, "",
			`{"code":"OUT_OF_RANGE","reason":"COMPACTED","message":`+string(message)+`,"written":"no","request_id":"","oldest_revision":4}`+"\n")
	}
	if r := rollcall(t, "events", "-o", "json"); revisions(t, r.stdout) != "4 5 6" {
		t.Error(r)
	}
}

func TestEventsOfANodeThatSaysNothing(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for what, args := range map[string][]string{"list events": {"events"}, "show the history of a": {"history", "a"}} {
		rollcall(t, append(args, "-e", silent.Addr().String(), "--timeout", "100ms")...).want(t, exitNotDone, "", "rollcall: cannot "+what+": nothing came within 100ms…")
	}
}

// running is a command line that goes on.
type running struct {
	*bufio.Scanner
	t         *testing.T
	interrupt func()
	stderr    bytes.Buffer
	ended     chan int
}

func start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, interrupt := context.WithCancel(context.Background())
	r, w := io.Pipe()
	c := &running{Scanner: bufio.NewScanner(r), t: t, interrupt: interrupt, ended: make(chan int, 1)}
	t.Cleanup(func() {
		interrupt()
		r.Close()
	})
	go func() {
		code := run(ctx, args, strings.NewReader(""), w, &c.stderr)
		w.Close()
		c.ended <- code
	}()
	return c
}

func (c *running) next(want string) {
	c.t.Helper()
	if !c.Scan() {
		c.t.Fatalf("no line; exit status %d, stderr: %s", <-c.ended, c.stderr.String())
	}
	if c.Text() != want {
		c.t.Errorf("%s, want %s", c.Text(), want)
	}
}

func (c *running) nextRevision(want string) {
	c.t.Helper()
	if !c.Scan() {
		c.t.Fatalf("no line; exit status %d, stderr: %s", <-c.ended, c.stderr.String())
	}
	if got := revisions(c.t, c.Text()); got != want {
		c.t.Errorf("%s, want %s", got, want)
	}
}

// end interrupts it, unless it has to end by itself, and wants it to have printed no more.
func (c *running) end(stderr string, byItself bool) {
	c.t.Helper()
	if !byItself {
		c.interrupt()
	}
	for c.Scan() {
		c.t.Errorf("one line more: %s", c.Text())
	}
	if code := <-c.ended; code != 0 || c.stderr.String() != stderr {
		c.t.Errorf("exit status %d, stderr %q, want %q", code, c.stderr.String(), stderr)
	}
}

func TestFollowEvents(t *testing.T) {
	eventful(t)
	c := start(t, "events", "--follow", "--from", "4", "-o", "json")
	for _, r := range []string{"4", "5", "6"} {
		c.nextRevision(r)
	}
	rollcall(t, "set", "a", "serving").want(t, 0, "…", "")
	c.nextRevision("7")
	c.end("", false)

	c = start(t, "events", "-f", "--from", "6", "shop/")
	c.next("REVISION  TIME                     SERVICE       FROM→TO    ACTOR  REASON")
	c.next("6         " + local(6) + "  shop/cartoon  -→SERVING  bob    -")
	c.end("following events after revision 5; Ctrl-C ends it\n", false)
}

func TestFollowChoosesToo(t *testing.T) {
	f := eventful(t)
	rollcall(t, "set", "shop/cart", "serving", "--actor", "alice").want(t, 0, "shop/cart SERVING, revision 7\n", "")
	for args, want := range map[string]string{
		"--from 1 --limit 3":                                "1 2 3",
		"--from 1 --service shop/cart":                      "2 3 7",
		"--from 1 shop/cart":                                "2 3 6 7",
		"--from 1 --actor alice":                            "2 5 7",
		"--from 1 --type deleted":                           "5",
		"--since 2026-11-22T10:05:00Z":                      "5 6 7",
		"--since 2026-11-22T10:04:30Z":                      "5 6 7",
		"--since 2026-11-22T10:03:00Z --from 5 --actor bob": "6",
		"--since 2020-01-01":                                "1 2 3 4 5 6 7",
	} {
		limit := fmt.Sprint(len(strings.Fields(want)))
		c := start(t, append(strings.Fields("events --follow -o json --limit "+limit), strings.Fields(args)...)...)
		for _, r := range strings.Fields(want) {
			c.nextRevision(r)
		}
		c.end("", true)
	}
	// Since a time at which nothing had happened yet: what comes counts if its time does.
	c := start(t, "events", "--follow", "-o", "json", "--since", timeOf(9).Format(time.RFC3339), "--limit", "1")
	f.member("n2", "a")
	f.member("n3", "b")
	c.nextRevision("9")
	c.end("", true)
	f.compact(5)
	c = start(t, "events", "--follow", "-o", "json", "--since", "2020-01-01", "--limit", "1")
	c.nextRevision("5")
	c.end("", true)
}

func TestWatchPrefixes(t *testing.T) {
	startFake(t)
	rollcall(t, "set", "shop/a=serving", "shop/b=not_serving", "pay=serving", "--actor", "alice").want(t, 0, "…", "")
	c := start(t, "watch", "--prefix", "shop/", "-o", "json")
	next := func(want string) {
		t.Helper()
		if !c.Scan() {
			t.Fatalf("no line; stderr: %s", c.stderr.String())
		}
		var u struct {
			update
			Synced bool
		}
		if err := json.Unmarshal(c.Bytes(), &u); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%s %s %d record=%t synced=%t", u.Service, u.Status, u.Revision, u.Record != nil, u.Synced); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	next("shop/a SERVING 1 record=true synced=false")
	next("shop/b NOT_SERVING 2 record=true synced=false")
	next("  3 record=false synced=true")
	rollcall(t, "set", "pay", "not_serving").want(t, 0, "…", "")
	rollcall(t, "set", "shop/a", "not_serving").want(t, 0, "…", "")
	next("shop/a NOT_SERVING 5 record=true synced=false")
	next("  5 record=false synced=true")
	rollcall(t, "delete", "shop/b").want(t, 0, "…", "")
	next("shop/b SERVICE_UNKNOWN 6 record=false synced=false")
	next("  6 record=false synced=true")
	c.end("", false)

	c = start(t, "watch", "--prefix", "")
	me := defaultActor()
	was := reported.Local().Format("2006-01-02 15:04:05.000") // of every record of the fake
	c.next(was + "  pay NOT_SERVING, revision 4 (" + me + ")")
	c.next(was + "  shop/a NOT_SERVING, revision 5 (" + me + ")")
	rollcall(t, "delete", "pay", "--reason", "retired").want(t, 0, "…", "")
	c.next(local(7) + "  pay deleted, revision 7: retired (" + me + ")")
	c.end("synced at revision 6\n", false)
}

// TestEventsOnWhoseBehalf: an event is found by its actor, and by whom that one acted for.
func TestEventsOnWhoseBehalf(t *testing.T) {
	e := &rollcallv1.Event{Actor: &rollcallv1.Actor{Name: "token:ci", Verified: true, OnBehalfOf: "eve"}}
	for actor, want := range map[string]bool{"": true, "token:ci": true, "eve": true, "ann": false} {
		if got := (&eventFlags{actor: actor}).wants(e); got != want {
			t.Errorf("--actor %q: %v", actor, got)
		}
	}
}
