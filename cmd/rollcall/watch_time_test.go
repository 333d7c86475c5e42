package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// A watch shows when the change was made, however late it is shown.
func TestWatchShowsWhenTheChangeWasMade(t *testing.T) {
	startFake(t)
	c := start(t, "watch", "a")
	c.next("-                        a SERVICE_UNKNOWN")
	rollcall(t, "set", "a", "serving", "--actor", "ann").want(t, 0, "…", "")
	c.next(reported.Local().Format("2006-01-02 15:04:05.000") + "  a SERVING, revision 1 (ann)")
	rollcall(t, "delete", "a", "--actor", "bob", "--reason", "retired").want(t, 0, "…", "")
	c.next(local(2) + "  a deleted, revision 2: retired (bob)")
	c.end("", false)

	// One that begins after the deletion finds it too.
	c = start(t, "watch", "a")
	c.next(local(2) + "  a deleted, revision 2: retired (bob)")
	c.end("", false)
	c = start(t, "watch", "a", "-o", "json")
	if !c.Scan() {
		t.Fatal(c.stderr.String())
	}
	var u struct {
		Time  time.Time
		Event struct{ Type, Reason string }
	}
	if err := json.Unmarshal(c.Bytes(), &u); err != nil || !u.Time.Equal(timeOf(2)) || u.Event.Type != "deleted" || u.Event.Reason != "retired" {
		t.Errorf("%+v, %v: %s", u, err, c.Text())
	}
	c.end("", false)
}

func TestADeletionThatIsNotKeptHasNoTime(t *testing.T) {
	f := startFake(t)
	rollcall(t, "set", "a", "serving").want(t, 0, "…", "")
	rollcall(t, "delete", "a").want(t, 0, "…", "")
	rollcall(t, "set", "b", "serving").want(t, 0, "…", "")
	f.compact(3)
	c := start(t, "watch", "a")
	c.next("-                        a SERVICE_UNKNOWN")
	c.end("", false)
}

// Several that went between two messages are shown in the order in which they went.
func TestDeletionsOfOneMessageAreInOrder(t *testing.T) {
	startFake(t)
	rollcall(t, "set", "s/a=serving", "s/b=serving", "s/c=serving").want(t, 0, "…", "")
	c := start(t, "watch", "--prefix", "s/")
	for range 3 {
		if !c.Scan() {
			t.Fatal(c.stderr.String())
		}
	}
	me := defaultActor()
	for _, name := range []string{"s/c", "s/a"} {
		rollcall(t, "delete", name).want(t, 0, "…", "")
	}
	c.next(local(4) + "  s/c deleted, revision 4 (" + me + ")")
	c.next(local(5) + "  s/a deleted, revision 5 (" + me + ")")
	c.end("synced at revision 3\n", false)
}

// The time of a change is that of the newest of what makes a status.
func TestTimeOfAChange(t *testing.T) {
	at := func(minute int64) *timestamppb.Timestamp { return timestamppb.New(timeOf(minute)) }
	for name, tt := range map[string]struct {
		r    *rollcallv1.ServiceRecord
		want int64
	}{
		"a report":                  {&rollcallv1.ServiceRecord{StatusTime: at(2), Report: &rollcallv1.Report{Time: at(2)}}, 2},
		"a new reason":              {&rollcallv1.ServiceRecord{StatusTime: at(1), Report: &rollcallv1.Report{Time: at(3)}}, 3},
		"an override":               {&rollcallv1.ServiceRecord{StatusTime: at(4), Report: &rollcallv1.Report{Time: at(1)}, Override: &rollcallv1.Override{Time: at(4)}}, 4},
		"an override that was set":  {&rollcallv1.ServiceRecord{StatusTime: at(1), Report: &rollcallv1.Report{Time: at(1)}, Override: &rollcallv1.Override{Time: at(5)}}, 5},
		"an override that has gone": {&rollcallv1.ServiceRecord{StatusTime: at(6), Report: &rollcallv1.Report{Time: at(1)}}, 6},
	} {
		if got := changeTime(tt.r); !got.Equal(timeOf(tt.want)) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if !changeTime(nil).IsZero() {
		t.Error("nothing has a time")
	}
}

func TestStatusWatch(t *testing.T) {
	virtual(t, func(t *testing.T, f *fake, run func(...string) result) {
		f.setStatus(sampleStatus())
		for _, args := range [][]string{{"status", "--watch", "-o", "json"}, {"status", "-w", "--no-headers"}} {
			ctx, interrupt := context.WithTimeout(t.Context(), 11*time.Second)
			var stdout, stderr bytes.Buffer
			a := &app{stdout: &stdout, stderr: &stderr, now: time.Now, dialer: f.dialer}
			code := a.run(ctx, args)
			interrupt()
			n := strings.Count(stdout.String(), "3f9a")
			if code != 0 || stderr.Len() > 0 || n != 6 {
				t.Errorf("%v: exit status %d, %d answers in 11 s, stderr %s", args, code, n, stderr.String())
			}
			if args[1] == "--watch" && strings.Count(stdout.String(), "\n") != n {
				t.Errorf("not an object a line:\n%s", stdout.String())
			}
		}
		run("status", "--watch", "--wait", "1s").want(t, exitNotDone, "", "rollcall: --watch goes on until it is interrupted, and --wait ends: give one of them\n")
		run("status", "--watch", "-e", closedPort()).want(t, exitNotDone, "", "rollcall: no endpoint answers: …")
	})
}
