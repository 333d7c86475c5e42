package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
)

// storied fills a fake with a service that was deleted and came back: revisions 1, 2, 4 and 6.
func storied(t *testing.T) *fake {
	t.Helper()
	f := startFake(t)
	for _, args := range []string{
		"set shop/cart serving --actor alice --reason deployed",
		"set shop/cart not_serving --actor bob --reason drain",
		"set other serving",
		"delete shop/cart --actor alice --reason retired",
		"set other not_serving",
		"set shop/cart serving --actor carol",
	} {
		if r := rollcall(t, strings.Fields(args)...); r.code != 0 {
			t.Fatal(args, r)
		}
	}
	return f
}

func TestHistoryTable(t *testing.T) {
	f := storied(t)
	forNow := regexp.MustCompile(`(now +)\S+ +`)
	check := func(r result, stderr string, want ...string) {
		t.Helper()
		r.stdout = forNow.ReplaceAllString(r.stdout, "${1}FOR ")
		for _, row := range want {
			if !strings.Contains(r.stdout, row) {
				t.Errorf("no %q in\n%s", row, r.stdout)
			}
		}
		r.want(t, 0, "FROM  …", stderr)
		if n := strings.Count(r.stdout, "\n"); n != len(want)+1 {
			t.Errorf("%d lines, want %d and a header:\n%s", n, len(want), r.stdout)
		}
	}
	ended := local(1) + "  " + local(2) + "  1m0s"
	check(rollcall(t, "history", "shop/cart"), "",
		ended, "SERVING      alice  deployed\n"+local(2)+"  "+local(4)+"  2m0s",
		"NOT_SERVING  bob    drain\n"+local(4)+"  "+local(6)+"  2m0s",
		"deleted      alice  retired\n"+local(6)+"  now                      FOR SERVING      carol  -\n")
	f.compact(3)
	const note = "earlier history is not kept: events are kept from revision 3 on\n"
	// What held at the horizon is kept, with its own time.
	check(rollcall(t, "history", "shop/cart"), note, local(2)+"  "+local(4), local(4)+"  "+local(6), local(6))
	check(rollcall(t, "history", "shop/cart", "--limit", "2"), "", local(4)+"  "+local(6), local(6))
	check(rollcall(t, "history", "shop/cart", "--limit", "3"), note, local(2)+"  "+local(4), local(4)+"  "+local(6), local(6))
}

func TestHistoryAsJSON(t *testing.T) {
	f := storied(t)
	at := func(minute string) string { return "2026-11-22T10:0" + minute + ":00Z" }
	type line struct {
		Service, Status, Reason string

		Actor     struct{ Name string }
		Start     string  `json:"start_time"`
		End       *string `json:"end_time"`
		Seconds   float64 `json:"duration_seconds"`
		Revision  int64
		Compacted bool `json:"earlier_compacted"`
	}
	for _, test := range []struct {
		args   string
		oldest int64
		want   string
	}{
		{"", 0, "1:01-02 SERVING|2:02-04 NOT_SERVING|4:04-06 SERVICE_UNKNOWN|6:06- SERVING"},
		{"--reverse", 0, "6:06- SERVING|4:04-06 SERVICE_UNKNOWN|2:02-04 NOT_SERVING|1:01-02 SERVING"},
		{"--limit 2", 0, "4:04-06 SERVICE_UNKNOWN|6:06- SERVING"},
		{"--limit 1 --reverse", 0, "6:06- SERVING"},
		{"--limit 4", 0, "1:01-02 SERVING|2:02-04 NOT_SERVING|4:04-06 SERVICE_UNKNOWN|6:06- SERVING"},
		{"--since " + at("3"), 0, "2:02-04 NOT_SERVING|4:04-06 SERVICE_UNKNOWN|6:06- SERVING"},
		{"--since " + at("2"), 0, "1:01-02 SERVING|2:02-04 NOT_SERVING|4:04-06 SERVICE_UNKNOWN|6:06- SERVING"},
		{"--since " + at("3") + " --limit 2", 0, "4:04-06 SERVICE_UNKNOWN|6:06- SERVING"},
		{"--since " + at("8"), 0, "6:00- SERVING"}, // the record, which the fake gives a time of its own
		{"--until " + at("3"), 0, "1:01-02 SERVING|2:02-03 NOT_SERVING"},
		{"--since " + at("3") + " --until " + at("3"), 0, "2:02-03 NOT_SERVING"},
		{"--until 2200-01-01", 0, "1:01-02 SERVING|2:02-04 NOT_SERVING|4:04-06 SERVICE_UNKNOWN|6:06- SERVING"},
		{"", 3, "2:02-04 NOT_SERVING compacted|4:04-06 SERVICE_UNKNOWN|6:06- SERVING"},
		{"--since " + at("1"), 3, "2:02-04 NOT_SERVING compacted|4:04-06 SERVICE_UNKNOWN|6:06- SERVING"},
		{"--since " + at("3"), 3, "2:02-04 NOT_SERVING|4:04-06 SERVICE_UNKNOWN|6:06- SERVING"},
		{"--limit 3", 3, "2:02-04 NOT_SERVING compacted|4:04-06 SERVICE_UNKNOWN|6:06- SERVING"},
		{"--limit 2", 3, "4:04-06 SERVICE_UNKNOWN|6:06- SERVING"},
		{"", 6, "6:06- SERVING compacted"},
		{"", 7, "6:00- SERVING compacted"},
		{"--limit 1", 7, "6:00- SERVING compacted"},
	} {
		f.compact(test.oldest)
		r := rollcall(t, append([]string{"history", "shop/cart", "-o", "json"}, strings.Fields(test.args)...)...)
		var got []string
		for text := range strings.Lines(r.stdout) {
			var l line
			if err := json.Unmarshal([]byte(text), &l); err != nil {
				t.Fatal(err, text)
			}
			minute := func(s string) string {
				m, err := time.Parse(time.RFC3339, s)
				if err != nil {
					t.Error(err)
				}
				return m.UTC().Format("04")
			}
			end := ""
			if l.End != nil {
				end = minute(*l.End)
				a, _ := time.Parse(time.RFC3339, l.Start)
				b, _ := time.Parse(time.RFC3339, *l.End)
				if l.Seconds != b.Sub(a).Seconds() {
					t.Errorf("%v seconds: %s", l.Seconds, text)
				}
			}
			s := fmt.Sprintf("%d:%s-%s %s", l.Revision, minute(l.Start), end, l.Status)
			if l.Compacted {
				s += " compacted"
			}
			got = append(got, s)
		}
		if all := strings.Join(got, "|"); r.code != 0 || r.stderr != "" || all != test.want {
			t.Errorf("%s, oldest %d: exit status %d %s\n%s, want\n%s", test.args, test.oldest, r.code, r.stderr, all, test.want)
		}
	}
	f.compact(0)
	r := rollcall(t, "history", "shop/cart", "-o", "json", "--until", at("2"), "--reverse", "--limit", "1")
	r.want(t, 0, `{"service":"shop/cart","start_time":"2026-11-22T10:02:00Z","end_time":"2026-11-22T10:02:00Z","duration_seconds":0,"status":"NOT_SERVING","actor":{"name":"bob","verified":false,"peer":"127.0.0.1:4711","on_behalf_of":""},"reason":"drain","revision":2}`+"\n", "")
}

func TestNoHistory(t *testing.T) {
	f := storied(t)
	rollcall(t, "history", "none").want(t, exitNotDone, "", "rollcall: cannot show the history of none: none does not exist; \"rollcall list\" shows the services\n")
	f.compact(5)
	rollcall(t, "history", "shop/cart", "--until", "2026-11-22T10:01:00Z").want(t, exitNotDone, "",
		"rollcall: cannot show the history of shop/cart: that is too long ago, events before revision 5 are not kept any more; revision 4 is the oldest state that is kept\n")
}

func TestThePast(t *testing.T) {
	f := eventful(t)
	past := func(want string, args ...string) {
		t.Helper()
		r := rollcall(t, append(args, "-o", "json")...)
		var out struct {
			Revision int64
			Services []struct{ Service, Status string }
			Service  struct{ Service, Status string }
		}
		if err := json.Unmarshal([]byte(r.stdout), &out); err != nil {
			t.Fatal(err, r)
		}
		got := fmt.Sprint(out.Revision)
		for _, s := range append(out.Services, out.Service) {
			if s.Service != "" {
				got += " " + s.Service + "=" + s.Status
			}
		}
		if got != want {
			t.Errorf("%v: %s, want %s", args, got, want)
		}
	}
	past("2 shop/cart=SERVING", "list", "--at", "2")
	past("2 shop/cart=SERVING", "list", "--at", "3") // half a batch
	past("4 shop/cart=NOT_SERVING shop/pay=SERVING", "list", "--at", "4")
	past("4 shop/cart=NOT_SERVING shop/pay=SERVING", "list", "--at", "2026-11-22T10:04:30Z")
	past("4 shop/pay=SERVING", "list", "shop/p", "--at", "4")
	past("5 shop/cart=NOT_SERVING", "list", "--at", "5")
	past("2 shop/cart=SERVING", "get", "shop/cart", "--at", "3")
	past("4 shop/pay=SERVING", "get", "shop/pay", "--at", "2026-11-22T10:04:30Z")

	rollcall(t, "list", "--at", "0").want(t, 0, "", "as of revision 0\nthere were no services\n")
	const inside = "revision 3 is inside an atomic write, of which half was never visible: this is before it\n"
	r := rollcall(t, "list", "--at", "3")
	if r.want(t, 0, "…", "as of revision 2\n"+inside); !strings.Contains(r.stdout, "shop/cart  SERVING") {
		t.Error(r.stdout)
	}
	rollcall(t, "get", "shop/cart", "--at", "3").want(t, 0, "SERVICE   shop/cart\nAS OF     revision 2\nSTATUS    SERVING since 2026-11-22T10:02:00Z\nREASON    deployed\n…", inside)
	rollcall(t, "get", "shop/pay", "--at", "2").want(t, exitNotDone, "", "rollcall: cannot get shop/pay as of 2: shop/pay did not exist; \"rollcall history shop/pay\" shows when it did\n")
	rollcall(t, "get", "shop/pay", "--at", "10:03 ago").want(t, exitNotDone, "", "rollcall: --at: \"10:03 ago\" is no point in time; use a revision, "+cliflag.TimeForms+"; see \"rollcall get --help\"\n")
	ahead := "there is no such revision yet, the node is at revision 6; --min-revision waits until a node is there\n"
	rollcall(t, "get", "shop/pay", "--at", "99").want(t, exitNotDone, "", "rollcall: cannot get shop/pay as of 99: "+ahead)
	rollcall(t, "list", "--at", "99").want(t, exitNotDone, "", "rollcall: cannot list services as of 99: "+ahead)
	for what, args := range map[string][]string{"get shop/pay": {"get", "shop/pay"}, "list services": {"list"}} {
		rollcall(t, append(args, "--at", "2200-01-01T00:00:00Z")...).want(t, exitNotDone, "",
			"rollcall: cannot "+what+" as of 2200-01-01T00:00:00Z: that time is in the future; the cluster's clock says 2026\n")
	}
	f.compact(6)
	old := "that is too long ago, events before revision 6 are not kept any more; revision 5 is the oldest state that is kept\n"
	rollcall(t, "get", "shop/pay", "--at", "2").want(t, exitNotDone, "", "rollcall: cannot get shop/pay as of 2: "+old)
	rollcall(t, "list", "--at", "2").want(t, exitNotDone, "", "rollcall: cannot list services as of 2: "+old)
	past("5 shop/cart=NOT_SERVING", "list", "--at", "5")

}
