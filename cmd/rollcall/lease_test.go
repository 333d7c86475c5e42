package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

func TestLeaseGrantAndRevoke(t *testing.T) {
	_, run := shop(t)
	one, two, three := leaseID(1), leaseID(2), leaseID(3)
	run("lease", "grant", "--dry-run").want(t, 0, "a lease with a ttl of 10s would be granted; dry run, nothing changed\n", "")
	run("lease", "grant").want(t, 0, "lease "+one+" granted, ttl 10s, then NOT_SERVING, revision 5\n\"rollcall lease keep-alive "+one+"\" renews it\n", "")
	run("lease", "grant", "--ttl", "90s", "--on-expiry", "delete").want(t, 0, "lease "+two+" granted, ttl 1m30s, then deleted, revision 6\n…", "")
	run("lease", "grant", "--ttl", "24h", "--on-expiry", "down", "--forget-after", "30d", "-o", "name").want(t, 0, three+"\n", "")
	run("set", "host1/a=up", "host1/b=up", "host1/c=up", "--lease", one).want(t, 0, "…", "")
	run("lease", "revoke", one, "--dry-run").want(t, 0, "revoking lease "+one+" changes 3 services; dry run, nothing changed\n", "")
	run("lease", "revoke", one, "--status", "delete", "--dry-run").want(t, 0, "revoking lease "+one+" deletes 3 services; dry run, nothing changed\n", "")
	run("lease", "revoke", one, "--status", "unknown").want(t, 0, "lease "+one+" revoked, revision 14; that turns 3 services to UNKNOWN, within the next seconds\n", "")
	run("get", "host1/a").want(t, 0, "…", "")
	run("set", "host1/a", "up", "--lease", two).want(t, 0, "host1/a SERVING, revision 15\n", "")
	run("lease", "revoke", two, "--keep-reports").want(t, 0, "lease "+two+" revoked, revision 16; that keeps the reports of 1 service\n", "")
	run("lease", "revoke", two).want(t, 1, "", "rollcall: cannot revoke lease "+two+": lease \""+two+"\" does not exist; it may have ended; \"rollcall lease list --all\" shows the leases\n")
	run("lease", "revoke", two, "--allow-missing").want(t, 0, "lease "+two+" does not live any more, revision 16\n", "")
	run("lease", "revoke", three).want(t, 0, "lease "+three+" revoked, revision 17; that changes 0 services\n", "")
}

func TestLeaseList(t *testing.T) {
	f, run := shop(t)
	run("lease", "list").want(t, 0, "", "no lease lives\n")
	run("lease", "list", "-o", "name").want(t, 0, "", "")
	run("lease", "grant", "--reason", "agent of host1").want(t, 0, "…", "")
	run("lease", "grant", "--on-expiry", "unknown", "--forget-after", "1d").want(t, 0, "…", "")
	run("set", "host1/a=up", "host1/b=up", "--lease", leaseID(1)).want(t, 0, "…", "")
	const table = "" +
		"LEASE             TTL  LEFT  SERVICES  THEN                       GRANTED  ACTOR  REASON\n" +
		"00000000000000a1  10s  5s    2         NOT_SERVING                3m ago   ann    agent of host1\n" +
		"00000000000000a2  10s  6s    0         UNKNOWN, deleted 1d later  3m ago   ann    -\n"
	run("lease", "list").want(t, 0, table, "")
	run("lease", "list", leaseID(2), "-o", "name").want(t, 0, leaseID(2)+"\n", "")
	run("lease", "list", leaseID(9)).want(t, 1, "", "rollcall: lease "+leaseID(9)+" does not exist; it may have ended; \"rollcall lease list --all\" shows the leases\n")
	f.leases.guard = &rollcallv1.LeaseGuard{Engaged: true, Time: timestamppb.New(reported), Late: 41, Live: 52}
	run("lease", "list").want(t, 0, table+"! leases are held since 10:00:00: 41 of 52 were late; \"rollcall lease release-guard\" lets them expire\n", "")
	run("lease", "release-guard", "--dry-run").want(t, 0, "the lease guard would be released, 41 of 52 were late when it engaged; dry run, nothing changed\n", "")
	run("lease", "release-guard", "--reason", "rack 4 is off").want(t, 0, "lease guard released, revision 9; 41 of 52 were late when it engaged, those that are due expire now\n", "")
	run("lease", "release-guard").want(t, 0, "the lease guard holds no leases; nothing changed\n", "")
	run("lease", "list").want(t, 0, table, "")
}

// Whoever changes a report that a lease holds learns what to do instead.
func TestAHeldReportSaysWhatToDo(t *testing.T) {
	_, run := shop(t)
	id := leaseID(1)
	run("lease", "grant").want(t, 0, "…", "")
	run("set", "shop/cart", "up", "--lease", id).want(t, 0, "shop/cart SERVING, revision 6\n", "")
	refused := "rollcall: not written: lease " + id + ` holds the report of shop/cart, and its reporter lives; "rollcall override set shop/cart STATUS" decides over what it reports; its reporter gives --lease ` + id + "\n"
	run("set", "shop/cart", "down").want(t, 1, "", refused)
	run("set", "shop/cart=down", "shop/new=up").want(t, 1, "", refused)
	run("delete", "shop/cart").want(t, 1, "", refused)
	run("set", "shop/cart", "down", "-o", "json", "--request-id", "r1").want(t, 1, "",
		`{"code":"FAILED_PRECONDITION","reason":"LEASE_HELD","message":"not written: lease `+id+` holds the report of shop/cart, and its reporter lives; \"rollcall override set shop/cart STATUS\" decides over what it reports; its reporter gives --lease `+id+`","written":"no","request_id":"r1","lease_id":"`+id+`"}`+"\n")
	run("set", "shop/cart", "down", "--lease", "nosuch").want(t, 1, "", `rollcall: cannot set shop/cart: lease "nosuch" does not exist; it may have ended; "rollcall lease list --all" shows the leases`+"\n")
	run("set", "shop/cart=down", "shop/new=up", "--lease", id).want(t, 0, "…", "")
	run("delete", "shop/cart", "--lease", id).want(t, 0, "shop/cart deleted, revision 9\n", "")
}

func TestSetOnANewLease(t *testing.T) {
	f, run := shop(t)
	id := leaseID(1)
	run("set", "host1/a", "up", "--ttl", "30s", "--on-expiry", "unknown", "--reason", "boot", "--request-id", "r1").want(t, 0,
		"host1/a SERVING, revision 6\nlease "+id+" expires in 30s unless it is renewed: then UNKNOWN; \"rollcall lease keep-alive "+id+"\" renews it\n", "")
	if got, want := fmt.Sprint(f.leases.asked[0]), `ttl:{seconds:30} on_expiry:UNKNOWN actor:"ann" request_id:"r1/lease" reason:"boot"`; strings.ReplaceAll(got, "  ", " ") != want {
		t.Errorf("granted %s, want %s", got, want)
	}
	run("get", "host1/a").want(t, 0, ""+
		"SERVICE   host1/a\n"+
		"STATUS    SERVING for 3m\n"+
		"REASON    boot\n"+
		"ACTOR     ann from 127.0.0.1:4711 (unverified)\n"+
		"TIME      2026-11-22T10:00:00Z (3m ago)\n"+
		"REVISION  6\n"+
		"LEASE     "+id+" by ann, ttl 30s: expires in 5s unless it is renewed; then UNKNOWN\n", "")
	run("get", "host1/a", "--at", "6").want(t, 0, "…", "")
	if r := run("why", "host1/a"); !strings.Contains(r.stdout, "The report lives as long as lease "+id+" (ttl 30s), which expires in 5s unless it is renewed.\n") {
		t.Error(r)
	}
	if r := run("why", "host1/a", "-o", "json"); !strings.Contains(r.stdout, `"time_left_seconds": 5,`) || !strings.Contains(r.stdout, `"service_count": 1,`) {
		t.Error(r)
	}
	// Without an answer about the lease, the service is shown all the same.
	f.mu.Lock()
	f.leases.live = map[string]*rollcallv1.Lease{}
	f.mu.Unlock()
	run("get", "host1/a").want(t, 0, "SERVICE   host1/a\n…", "")
}

func TestListMarksLeases(t *testing.T) {
	_, run := shop(t)
	run("list", "shop/cart").want(t, 0, "SERVICE    STATUS   SINCE   REVISION  ACTOR  REASON\nshop/cart  SERVING  3m ago  1         ann    -\n", "")
	run("set", "shop/new", "up", "--ttl", "30s").want(t, 0, "…", "")
	run("list", "shop/").want(t, 0, ""+
		"SERVICE     STATUS   SINCE   REVISION  LEASE    ACTOR  REASON\n"+
		"shop/cart   SERVING  3m ago  1         -        ann    -\n"+
		"shop/new    SERVING  3m ago  6         ttl 30s  ann    -\n"+
		"shop/pay/a  SERVING  3m ago  2         -        ann    -\n"+
		"shop/pay/b  SERVING  3m ago  3         -        ann    -\n", "")
	r := run("list", "shop/new", "-o", "wide")
	for _, want := range []string{"LEASE", "LEASE ID", leaseID(1), "ttl 30s"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	if get := run("get", "shop/new", "-o", "wide"); get.stdout != r.stdout {
		t.Errorf("get:\n%slist:\n%s", get.stdout, r.stdout)
	}
}

func TestEventsAndHistoryOfALease(t *testing.T) {
	f, run := shop(t)
	id := leaseID(1)
	run("set", "host1/a", "up", "--ttl", "30s").want(t, 0, "…", "")
	f.lose(id)
	run("set", "host1/b", "up", "--ttl", "30s", "--on-expiry", "delete").want(t, 0, "…", "")
	f.lose(leaseID(2))
	f.leases.guard = &rollcallv1.LeaseGuard{Engaged: true, Time: timestamppb.New(reported), Late: 41, Live: 52}
	run("lease", "release-guard", "--reason", "rack 4 is off").want(t, 0, "…", "")
	run("events", "--from", "5").want(t, 0, ""+
		"REVISION  TIME                     SERVICE           FROM→TO                                   ACTOR    REASON\n"+
		"5         2026-11-22 10:05:00.000  "+id+"  lease granted, ttl 30s, then NOT_SERVING  ann      -\n"+
		"6         2026-11-22 10:06:00.000  host1/a           -→SERVING                                 ann      -\n"+
		"7         2026-11-22 10:07:00.000  host1/a           SERVING→NOT_SERVING                       node n1  lease expired\n"+
		"8         2026-11-22 10:08:00.000  "+id+"  lease ended, 1 service                    node n1  lease expired\n"+
		"9         2026-11-22 10:09:00.000  "+leaseID(2)+"  lease granted, ttl 30s, then deleted      ann      -\n"+
		"10        2026-11-22 10:10:00.000  host1/b           -→SERVING                                 ann      -\n"+
		"11        2026-11-22 10:11:00.000  host1/b           SERVING→deleted                           node n1  lease expired\n"+
		"12        2026-11-22 10:12:00.000  "+leaseID(2)+"  lease ended, 1 service                    node n1  lease expired\n"+
		"13        2026-11-22 10:13:00.000  -                 lease guard released                      ann      rack 4 is off\n", "")
	run("events", "--type", "lease-granted,LEASE_ENDED", "--limit", "1", "--reverse", "-o", "json").want(t, 0,
		`{"revision":12,"commit_revision":12,"type":"lease-ended","time":"2026-11-22T10:12:00Z","actor":{"name":"node n1","verified":false,"peer":"","on_behalf_of":""},"reason":"lease expired","request_id":"","lease_id":"`+leaseID(2)+`","matched_count":1,"lease":{"lease_id":"`+leaseID(2)+`"}}`+"\n", "")
	run("events", "--service", "host1/a", "--type", "expired", "-o", "json").want(t, 0,
		`{"revision":7,"commit_revision":7,"type":"expired","time":"2026-11-22T10:07:00Z","actor":{"name":"node n1","verified":false,"peer":"127.0.0.1:4711","on_behalf_of":""},"reason":"lease expired","request_id":"","service":"host1/a","previous_status":"SERVING","status":"NOT_SERVING","effective_status":"NOT_SERVING","lease_id":"`+id+`"}`+"\n", "")
	run("history", "host1/a", "--until", "2026-11-22 10:03").want(t, 1, "", "…")
	r := rollcallAt(t, reported.Add(20*time.Minute), "history", "host1/a")
	r.want(t, 0, ""+
		"FROM                     UNTIL                    FOR    STATUS       WHO      WHY\n"+
		"2026-11-22 10:06:00.000  2026-11-22 10:07:00.000  1m0s   SERVING      ann      -\n"+
		"2026-11-22 10:07:00.000  now                      13m0s  NOT_SERVING  node n1  lease expired\n", "")
}

func sampleLeases() []*rollcallv1.Lease {
	ann := &rollcallv1.Actor{Name: "ann", Peer: "127.0.0.1:4711"}
	ttl := durationpb.New(10 * time.Second)
	return []*rollcallv1.Lease{
		{LeaseId: leaseID(1), Ttl: ttl, OnExpiry: notServing, Reason: "agent of\nhost1", Actor: ann, Time: timestamppb.New(reported), Revision: 5, ServiceCount: 2, TimeLeft: durationpb.New(7250 * time.Millisecond)},
		{LeaseId: leaseID(2), Ttl: ttl, OnExpiry: none, Actor: ann, Time: timestamppb.New(reported), Revision: 6, TimeLeft: durationpb.New(time.Second), Late: true},
		{LeaseId: leaseID(3), Ttl: ttl, OnExpiry: unknown, ForgetAfter: durationpb.New(24 * time.Hour), Actor: ann, Time: timestamppb.New(reported), Revision: 1 << 60, ServiceCount: 100_000, TimeLeft: durationpb.New(-3 * time.Minute), Late: true},
		{LeaseId: leaseID(4), Ttl: ttl, OnExpiry: unknown, ForgetAfter: durationpb.New(24 * time.Hour), Actor: ann, Time: timestamppb.New(reported), Revision: 8, ServiceCount: 1,
			EndTime: timestamppb.New(reported.Add(time.Minute)), Revoked: true, ForgetTime: timestamppb.New(reported.Add(24*time.Hour + time.Minute))},
		{LeaseId: leaseID(5), Ttl: ttl, OnExpiry: notServing, Actor: ann, Time: timestamppb.New(reported), Revision: 9},
	}
}

func TestLeasesForPrograms(t *testing.T) {
	list := &rollcallv1.ListLeasesResponse{Leases: sampleLeases(), Revision: 9, ClusterId: "3f9a", Guard: &rollcallv1.LeaseGuard{Engaged: true, Time: timestamppb.New(reported), Late: 3, Live: 4}}
	leased := func(l *rollcallv1.Lease) *rollcallv1.ServiceRecord {
		rec := record("shop/cart", serving, "deployed 1.4.2", "cart@host1")
		rec.Report.LeaseId, rec.Lease = l.GetLeaseId(), l
		return rec
	}
	for _, test := range []struct {
		file  string
		write func(a *app) error
	}{
		{"lease_list", func(a *app) error { return a.printLeases(list) }},
		{"why_leased", func(a *app) error {
			return a.printWhy(&rollcallv1.GetServiceResponse{Service: leased(sampleLeases()[2]), Revision: 9, ClusterId: "3f9a"}, list.GetGuard(), nil)
		}},
		{"get_ended_lease", func(a *app) error {
			return a.printRecord(&rollcallv1.GetServiceResponse{Service: leased(sampleLeases()[3]), Revision: 9, ClusterId: "3f9a"}, nil, false, nil)
		}},
		{"list_leased", func(a *app) error {
			records := []*rollcallv1.ServiceRecord{record("pay", serving, "", "bob"), leased(sampleLeases()[0]), leased(sampleLeases()[3])}
			return a.printList(&listed{Services: apijson.Messages(records), Revision: 9, Cluster: "3f9a", records: records}, &listFlags{})
		}},
	} {
		for _, o := range []outputFormat{formatTable, formatJSON} {
			t.Run(test.file+"/"+o.String(), func(t *testing.T) {
				var out bytes.Buffer
				a := testApp(&out)
				a.output = o
				if err := test.write(a); err != nil {
					t.Fatal(err)
				}
				golden(t, test.file+map[outputFormat]string{formatTable: ".txt", formatJSON: ".json"}[o], out.Bytes())
			})
		}
	}
}

func TestCompletionOffersLeases(t *testing.T) {
	_, run := shop(t)
	run("lease", "grant").want(t, 0, "…", "")
	run("lease", "grant").want(t, 0, "…", "")
	one, two := leaseID(1), leaseID(2)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"lease", "revoke", ""}, one + "\n" + two + "\n:4\n"},
		{[]string{"lease", "revoke", one, ""}, ":4\n"},
		{[]string{"lease", "keep-alive", one, ""}, two + "\n:4\n"},
		{[]string{"set", "a", "up", "--lease", two}, two + "\n:4\n"},
		{[]string{"delete", "a", "--lease", ""}, one + "\n" + two + "\n:4\n"},
		{[]string{"set", "a", "up", "--on-stop", ""}, "not_serving\nwithdraw\nleave\n:4\n"},
		{[]string{"lease", "grant", "--on-expiry", ""}, "not_serving\nunknown\nserving\ndelete\n:4\n"},
	} {
		r := rollcall(t, append([]string{"__complete"}, test.args...)...)
		if r.code != 0 || r.stdout != test.want {
			t.Errorf("%q: exit status %d, %q, want %q", test.args, r.code, r.stdout, test.want)
		}
	}
}

// A report with a lease breaks rules that do not bind it, without --break-glass.
func TestABrokenRuleSaysWhoAllowedIt(t *testing.T) {
	broken := []*rollcallv1.BrokenRule{{Rule: "pay-min", Pattern: "pay/*", Needed: 2, Serving: 1, Total: 2}}
	for _, test := range []struct {
		breakGlass []string
		dryRun     bool
		want       string
	}{
		{nil, false, "! it broke pay-min (pay/*: 2 needed, 1 of 2 serve)\n"},
		{nil, true, "! it would break pay-min (pay/*: 2 needed, 1 of 2 would serve)\n"},
		{[]string{"*"}, false, "! it broke pay-min (pay/*: 2 needed, 1 of 2 serve), as --break-glass allows\n"},
	} {
		var out bytes.Buffer
		if writeBroken(&out, broken, test.breakGlass, test.dryRun); out.String() != test.want {
			t.Errorf("%v, dry run %v: %s", test.breakGlass, test.dryRun, out.String())
		}
	}
}

// A program reads which lease was not there.
func TestAMissingLeaseIsNamedForPrograms(t *testing.T) {
	_, run := shop(t)
	for _, args := range [][]string{{"set", "a", "up", "--lease", "3f9a"}, {"lease", "revoke", "3f9a"}, {"lease", "list", "3f9a"}} {
		if r := run(append(args, "-o", "json")...); r.code != exitNotDone || !strings.Contains(r.stderr, `"lease_id":"3f9a"}`) {
			t.Errorf("%v: %d %s", args, r.code, r.stderr)
		}
	}
}
