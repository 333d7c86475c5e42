package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// What happened to overrides and rules stands among the events, with whom they concerned and what broke.
func TestEventsOfLayers(t *testing.T) {
	_, run := shop(t)
	run("override", "set", "shop/*", "not_serving", "--reason", "disk swap", "--break-glass", "pay-min").want(t, 0, "…", "")
	run("set", "shop/cart", "unknown").want(t, 0, "…", "")
	run("override", "clear", "shop/*", "--reason", "swapped").want(t, 0, "…", "")
	run("rule", "remove", "pay-min").want(t, 0, "…", "")
	r := run("events", "--from", "4")
	r.want(t, 0, "…", "")
	golden(t, "events_layers.txt", []byte(regexp.MustCompile(local(4)[:10]+`[^ ]* [0-9:.]+`).ReplaceAllString(r.stdout, "TIME                   ")))
	if r := run("events", "--type", "override-set,rule-removed", "-o", "json"); revisions(t, r.stdout) != "5 8" {
		t.Error(r)
	}
}

// Of a service's events are those of the overrides that cover it, whether they are listed or followed.
func TestEventsOfAServiceAndWhatCoversIt(t *testing.T) {
	_, run := shop(t)
	for _, p := range []string{"shop/*", "shop/cart", "shop/cart2/*", "shop/pay/a", "*"} { // 5 to 9
		run("override", "set", p, "serving").want(t, 0, "…", "")
	}
	run("override", "clear", "shop/*").want(t, 0, "…", "") // 10
	run("set", "shop/cart", "unknown").want(t, 0, "…", "") // 11
	for _, args := range []string{"events --service shop/cart --from 4 -o json", "events --service shop/cart --from 4 -o json --follow --limit 5"} {
		if r := run(strings.Fields(args)...); revisions(t, r.stdout) != "5 6 9 10 11" {
			t.Errorf("%s: %s%s", args, r.stdout, r.stderr)
		}
	}
	if r := run("events", "shop/cart", "--from", "4", "-o", "json"); revisions(t, r.stdout) != "5 6 7 9 10 11" {
		t.Errorf("of a prefix: %s%s", r.stdout, r.stderr)
	}
}

func TestWatchShowsTheOverride(t *testing.T) {
	var out bytes.Buffer
	a := testApp(&out)
	if got, want := a.describeUpdate(client.Update{Service: "shop/cart", Status: notServing, Record: overridden()}, nil),
		`shop/cart NOT_SERVING, override shop/* by bob until 11:00: disk\nswap (reports SERVING)`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A timeline has the overrides that decided, and what was reported beneath them.
func TestHistoryWithOverrides(t *testing.T) {
	_, run := shop(t)
	run("override", "set", "*", "unknown", "--forever", "--break-glass", "*", "--reason", "r").want(t, 0, "…", "") // 5
	run("override", "set", "shop/*", "serving", "--reason", "disk swap", "--forever").want(t, 0, "…", "")          // 6
	run("set", "shop/cart", "not_serving", "--reason", "hot").want(t, 0, "…", "")                                  // 7
	run("override", "set", "other", "serving").want(t, 0, "…", "")                                                 // 8
	run("override", "clear", "*").want(t, 0, "…", "")                                                              // 9
	run("override", "clear", "shop/*").want(t, 0, "…", "")                                                         // 10
	all := []string{"1 SERVING", "5 UNKNOWN* by * over SERVING", "6 SERVING* by shop/* over SERVING", "7 SERVING* by shop/* over NOT_SERVING", "10 NOT_SERVING"}
	for _, test := range []struct {
		args string
		want []string
	}{
		{"", all}, {"--limit 1", all[4:]}, {"--limit 2", all[3:]}, {"--limit 3", all[2:]}, {"--limit 4", all[1:]}, {"--limit 9", all},
		{"--since " + timeOf(8).Format(time.RFC3339), []string{"7 SERVING* by shop/* over NOT_SERVING", "10 NOT_SERVING"}},
		{"--until " + timeOf(3).Format(time.RFC3339), all[:1]},
	} {
		r := run(append([]string{"history", "shop/cart", "-o", "json"}, strings.Fields(test.args)...)...)
		var got []string
		for line := range strings.Lines(r.stdout) {
			var l struct {
				Revision         int64
				Status           string
				Override, Report *struct{ Pattern, Status string }
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err, line)
			}
			text := fmt.Sprint(l.Revision, " ", l.Status)
			if l.Override != nil {
				text += "* by " + l.Override.Pattern + " over " + l.Report.Status
			}
			got = append(got, text)
		}
		// Of what held before --since only the record is known, and not the event that made it decide.
		if test.args != "" && strings.HasPrefix(test.args, "--since") {
			got[0] = strings.Replace(got[0], "6 ", "7 ", 1)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.args, got, test.want)
		}
	}
	r := run("history", "shop/cart", "--limit", "2")
	r.want(t, 0, "…", "")
	if want := "SERVING*     ann  override shop/*: disk swap (reports NOT_SERVING)\n"; !strings.Contains(r.stdout, want) {
		t.Errorf("no %q in\n%s", want, r.stdout)
	}
	// Overrides make nothing exist.
	run("history", "other").want(t, exitNotDone, "", "rollcall: cannot show the history of other: other does not exist; \"rollcall list\" shows the services\n")
}
