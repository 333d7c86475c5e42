package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// shop is three services under a rule, as seen from the day of the fake's reports.
func shop(t *testing.T) (*fake, func(args ...string) result) {
	f := startFake(t)
	run := func(args ...string) result {
		t.Helper()
		return rollcallAt(t, clock(), args...)
	}
	t.Setenv("ROLLCALL_ACTOR", "ann")
	run("set", "shop/cart=serving", "shop/pay/a=serving", "shop/pay/b=serving").want(t, 0, "…", "")
	run("rule", "add", "pay-min", "shop/pay/*", "--min", "1").want(t, 0, "rule pay-min: at least 1 of shop/pay/*, revision 4\n2 of 2 are SERVING, 1 more may stop\n", "")
	return f, run
}

func TestOverrideSetAndClear(t *testing.T) {
	_, run := shop(t)
	run("override", "set", "shop/*", "not_serving", "--reason", "disk swap", "--break-glass", "*").
		want(t, 0, "override shop/* NOT_SERVING until 11:00, revision 5; covers 3 services\n! it broke pay-min (shop/pay/*: 1 needed, 0 of 2 serve), as --break-glass allows\n", "")
	run("override", "set", "shop/cart", "serving", "--forever").want(t, 0, "override shop/cart SERVING without end, revision 6; covers 1 service\n", "")
	run("override", "set", "shop/cart", "serving", "--forever").want(t, 0, "override shop/cart SERVING already without end since revision 6; nothing changed\n", "")
	run("override", "set", "zoo.*", "unknown", "--for", "5s").want(t, 0, "override zoo.* UNKNOWN overdue since 10:00:05, revision 7; covers no service yet\n", "")
	run("override", "set", "shop/pay", "not_serving", "--dry-run").want(t, 0, "0 of 0 services would change; dry run, nothing changed\n"+
		"! nobody reports shop/pay itself, and its instances are not covered (2 services); they are by: rollcall override set 'shop/pay/*' not_serving\n", "")
	run("override", "clear", "shop/*", "--dry-run").want(t, 0, ""+
		"SERVICE     NOW          THEN\n"+
		"shop/pay/a  NOT_SERVING  SERVING\n"+
		"shop/pay/b  NOT_SERVING  SERVING\n"+
		"2 of 3 services would change; dry run, nothing changed\n", "")
	run("override", "clear", "shop/*").want(t, 0, "override shop/* cleared, revision 8; covered 3 services\n", "")
	run("override", "clear", "shop/*").want(t, 1, "", "rollcall: cannot clear override shop/*: an override of \"shop/*\" does not exist; \"rollcall override list\" shows the overrides\n")
	run("override", "clear", "shop/*", "--allow-missing").want(t, 0, "there is no override shop/*; nothing changed\n", "")
}

func TestShutdownAndResume(t *testing.T) {
	_, run := shop(t)
	run("resume").want(t, 1, "", "rollcall: cannot resume: the registry is not shut down; \"rollcall override list\" shows the overrides\n")
	run("resume", "-o", "json", "--request-id", "r1").want(t, 1, "",
		`{"code":"NOT_FOUND","reason":"NOT_FOUND","message":"cannot resume: the registry is not shut down; \"rollcall override list\" shows the overrides","written":"no","request_id":"r1"}`+"\n")
	run("resume", "--break-glass", "nosuch", "--reason", "r").want(t, 1, "", "rollcall: cannot resume: …")
	run("resume", "--allow-missing").want(t, 0, "the registry is not shut down; nothing changed\n", "")
	run("shutdown").want(t, 1, "", "rollcall: shutdown needs a --reason; it stands in the history, and everybody whose service is down reads it\n")
	run("shutdown", "--reason", "drill").want(t, 1, "", "rollcall: not written: breaks pay-min (shop/pay/*: 1 needed, 0 of 2 would serve); to do it all the same: --break-glass pay-min and a --reason\n")
	run("shutdown", "--reason", "drill", "--break-glass", "pay-min").want(t, 0,
		"shut down until 11:00, revision 5; covers 3 services\nit ends by itself then, \"rollcall resume\" ends it before\n! it broke pay-min (shop/pay/*: 1 needed, 0 of 2 serve), as --break-glass allows\n", "")
	run("set", "shop/cart", "unknown").want(t, 0, "shop/cart UNKNOWN, revision 6; shown as NOT_SERVING by override ** by ann until 11:00: drill\n", "")
	run("resume", "--dry-run").want(t, 0, "SERVICE     NOW          THEN\nshop/cart   NOT_SERVING  UNKNOWN\nshop/pay/a  NOT_SERVING  SERVING\nshop/pay/b  NOT_SERVING  SERVING\n3 of 3 services would change; dry run, nothing changed\n", "")
	run("resume", "--reason", "over").want(t, 0, "resumed, revision 7; covered 3 services\n", "")
	run("shutdown", "--reason", "drill", "--forever", "--break-glass", "*").want(t, 0,
		"shut down without end, revision 8; covers 3 services\nit does not end by itself, only \"rollcall resume\" ends it\n! it broke pay-min (shop/pay/*: 1 needed, 0 of 2 serve), as --break-glass allows\n", "")
	run("shutdown", "--reason", "drill", "--forever").want(t, 0,
		"already shut down without end since revision 8; nothing changed\nit does not end by itself, only \"rollcall resume\" ends it\n", "")
}

func TestRules(t *testing.T) {
	_, run := shop(t)
	run("rule", "add", "pay-min", "shop/pay/*", "--min", "1").want(t, 0, "rule pay-min: at least 1 of shop/pay/*, already since revision 4; nothing changed\n2 of 2 are SERVING, 1 more may stop\n", "")
	run("rule", "add", "half", "*", "--percent", "50", "--dry-run").want(t, 0, "rule half: at least 50 % of *; dry run, nothing changed\nit holds now\n", "")
	run("rule", "check").want(t, 0, "…", "")
	run("rule", "add", "four", "*", "--min", "4", "--enforce-reports").want(t, 0, "rule four: at least 4 of *, revision 5\n! broken: 3 of 3 are SERVING, 1 too few\n", "")
	run("rule", "check", "pay-min").want(t, 0, "…", "")
	run("rule", "check").want(t, exitNotAsAsked, "…", "rollcall: broken: four\n")
	run("rule", "check", "nosuch").want(t, 1, "", "rollcall: rule nosuch does not exist; \"rollcall rule list\" shows the rules\n")
	run("rule", "list").want(t, 0, ""+
		"RULE     PATTERN     ASKS FOR    NEEDED  SERVING  OF  MAY STOP  REVISION  ACTOR  REASON\n"+
		"four     *           at least 4  4       3        3   BROKEN    5         ann    -\n"+
		"pay-min  shop/pay/*  at least 1  1       2        2   1         4         ann    -\n", "")
	run("rule", "remove", "four", "--dry-run").want(t, 0, "rule four would be removed; dry run, nothing changed\n", "")
	run("rule", "remove", "four").want(t, 0, "rule four removed, revision 6\n", "")
	run("rule", "remove", "four").want(t, 1, "", "rollcall: cannot remove rule four: rule \"four\" does not exist; \"rollcall rule list\" shows the rules\n")
	run("rule", "remove", "four", "--allow-missing").want(t, 0, "rule four does not exist any more, revision 6\n", "")
}

// Every change of services can break a rule, and says which.
func TestChangesUnderARule(t *testing.T) {
	_, run := shop(t)
	const refused = "rollcall: not written: breaks pay-min (shop/pay/*: 1 needed, 0 of 1 would serve); to do it all the same: --break-glass pay-min and a --reason\n"
	const refusedTwo = "rollcall: not written: breaks pay-min (shop/pay/*: 1 needed, 0 of 2 would serve); to do it all the same: --break-glass pay-min and a --reason\n"
	run("delete", "shop/pay/b", "--dry-run").want(t, 0, "shop/pay/b would be deleted; dry run, nothing changed\n", "")
	run("set", "shop/pay/a=not_serving", "shop/pay/b=not_serving").want(t, 1, "", refusedTwo)
	run("set", "shop/pay/a=not_serving", "shop/pay/b=not_serving", "--dry-run").want(t, 1, "", refusedTwo)
	run("delete", "shop/pay/b").want(t, 0, "shop/pay/b deleted, revision 5\n", "")
	run("set", "shop/pay/a", "not_serving").want(t, 1, "", refused)
	run("override", "set", "shop/pay/*", "not_serving").want(t, 1, "", refused)
	run("set", "shop/pay/a", "not_serving", "-o", "json", "--request-id", "r1").want(t, 1, "",
		`{"code":"FAILED_PRECONDITION","reason":"RULE_BROKEN","message":"not written: breaks pay-min (shop/pay/*: 1 needed, 0 of 1 would serve); to do it all the same: --break-glass pay-min and a --reason",`+
			`"written":"no","request_id":"r1","broken_rules":[{"rule":"pay-min","pattern":"shop/pay/*","needed":1,"serving":0,"total":1}]}`+"\n")
	run("set", "shop/pay/a", "not_serving", "--break-glass", "pay-min", "--reason", "corrupt", "--dry-run").want(t, 0,
		"shop/pay/a would be NOT_SERVING; dry run, nothing changed\n! it would break pay-min (shop/pay/*: 1 needed, 0 of 1 would serve), as --break-glass allows\n", "")
	run("set", "shop/pay/a", "not_serving", "--break-glass", "nosuch", "--reason", "corrupt").want(t, 1, "", "rollcall: cannot set shop/pay/a: break_glass names rule \"nosuch\", which does not exist; \"rollcall rule list\" shows the rules\n")
	run("set", "shop/pay/a", "not_serving", "--break-glass", "pay-min", "--reason", "corrupt").want(t, 0,
		"shop/pay/a NOT_SERVING, revision 6\n! it broke pay-min (shop/pay/*: 1 needed, 0 of 1 serve), as --break-glass allows\n", "")
}

func TestWhyOfAService(t *testing.T) {
	_, run := shop(t)
	run("override", "set", "shop/*", "unknown", "--reason", "disk swap", "--break-glass", "*").want(t, 0, "…", "")
	run("why", "shop/cart").want(t, 0, "shop/cart is UNKNOWN since …", "")
	r := run("why", "shop/pay/a")
	for _, want := range []string{
		"The override shop/* decides: ann set it to UNKNOWN at ", ": disk swap.\nIt ends at 11:00, in 56m40s; \"rollcall override clear 'shop/*'\" ends it now.\n",
		"When it ends, shop/pay/a will be SERVING: the report decides again.\n", "Rule pay-min (at least 1 of shop/pay/*) covers it: broken: 0 of 2 are SERVING, 1 too few. What makes it worse is refused.\n",
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	run("why", "nosuch").want(t, exitNotDone, "", "rollcall: cannot say why nosuch is as it is: nosuch does not exist; an override makes no service exist; \"rollcall list\" shows the services\n")
}

func sampleOverrides() []*rollcallv1.Override {
	return []*rollcallv1.Override{
		{Pattern: "*", Status: notServing, Reason: "maintenance", Actor: &rollcallv1.Actor{Name: "ann", Peer: "127.0.0.1:4711"}, Time: timestamppb.New(reported), StatusTime: timestamppb.New(reported), Revision: 4},
		{Pattern: "shop/*", Status: notServing, Reason: "disk\nswap", Actor: &rollcallv1.Actor{Name: "bob"}, Time: timestamppb.New(reported), Revision: 1 << 60,
			StatusTime: timestamppb.New(reported.Add(time.Minute)), ExpireTime: timestamppb.New(reported.Add(time.Hour))},
	}
}

func sampleRules() []*rollcallv1.Rule {
	return []*rollcallv1.Rule{
		{Name: "half", Pattern: "*", MinPercent: 50, Needed: 2, Serving: 1, Total: 4, Reason: "no more than half", Actor: &rollcallv1.Actor{Name: "ann"}, Time: timestamppb.New(reported), Revision: 5},
		{Name: "pay-min", Pattern: "shop/pay/*", MinServing: 1, Needed: 1, Serving: 2, Total: 3, Actor: &rollcallv1.Actor{Name: "bob"}, Time: timestamppb.New(reported), Revision: 6},
	}
}

// overridden is record beneath the sample's overrides.
func overridden() *rollcallv1.ServiceRecord {
	rec := record("shop/cart", serving, "deployed 1.4.2", "cart@host1")
	all := sampleOverrides()
	rec.Override, rec.Shadowed = all[1], all[:1]
	rec.Status, rec.StatusTime = notServing, all[1].GetStatusTime()
	return rec
}

func TestLayersForPrograms(t *testing.T) {
	overrides := &rollcallv1.ListOverridesResponse{Overrides: sampleOverrides(), Revision: 9, ClusterId: "3f9a"}
	rules := &rollcallv1.ListRulesResponse{Rules: sampleRules(), Revision: 9, ClusterId: "3f9a"}
	for _, test := range []struct {
		file  string
		write func(a *app) error
	}{
		{"override_list", func(a *app) error { return a.printOverrides(overrides) }},
		{"rule_list", func(a *app) error { return a.printRules(rules) }},
		{"why", func(a *app) error {
			return a.printWhy(&rollcallv1.GetServiceResponse{Service: overridden(), Revision: 9, ClusterId: "3f9a"}, nil, sampleRules())
		}},
		{"get_overridden", func(a *app) error {
			return a.printRecord(&rollcallv1.GetServiceResponse{Service: overridden(), Revision: 9, ClusterId: "3f9a"}, nil, false, nil)
		}},
		{"list_overridden", func(a *app) error {
			records := []*rollcallv1.ServiceRecord{record("pay", serving, "", "bob"), overridden()}
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

func TestCompletionOffersPatternsAndRules(t *testing.T) {
	_, run := shop(t)
	run("override", "set", "shop/*", "serving").want(t, 0, "…", "")
	run("override", "set", "zoo", "serving").want(t, 0, "…", "")
	run("rule", "add", "half", "*", "--percent", "50").want(t, 0, "…", "")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"override", "set", "sh"}, "shop/*\nshop/cart\nshop/pay/a\nshop/pay/b\n:4\n"},
		{[]string{"override", "set", "shop/"}, "shop/cart\nshop/pay/*\nshop/pay/a\nshop/pay/b\n:4\n"},
		{[]string{"override", "set", "shop/*", ""}, "serving\nnot_serving\nunknown\n:4\n"},
		{[]string{"override", "clear", ""}, "shop/*\nzoo\n:4\n"},
		{[]string{"override", "clear", "z"}, "zoo\n:4\n"},
		{[]string{"rule", "remove", ""}, "half\npay-min\n:4\n"},
		{[]string{"rule", "check", "half", ""}, "pay-min\n:4\n"},
		{[]string{"rule", "add", "p"}, "pay-min\n:4\n"},
		{[]string{"rule", "add", "n", "shop/p"}, "shop/pay/*\nshop/pay/a\nshop/pay/b\n:4\n"},
		{[]string{"set", "a", "serving", "--break-glass", ""}, "half\npay-min\n:4\n"},
		{[]string{"set", "a", "serving", "--break-glass", "half,"}, "half,pay-min\n:4\n"},
		{[]string{"why", "shop/c"}, "shop/cart\n:4\n"},
	} {
		r := rollcall(t, append([]string{"__complete"}, test.args...)...)
		if r.code != 0 || r.stdout != test.want {
			t.Errorf("%q: exit status %d, %q, want %q", test.args, r.code, r.stdout, test.want)
		}
	}
}

// A real change does not look as if it had affected nobody: only a dry run tells whom it would affect.
func TestOnlyADryRunTellsWhomItAffects(t *testing.T) {
	_, run := shop(t)
	for _, test := range []struct {
		args string
		want bool
	}{{"override set shop/cart not_serving --dry-run", true}, {"override set shop/cart not_serving", false}, {"override clear shop/cart", false}} {
		if r := run(append(strings.Fields(test.args), "-o", "json")...); r.code != 0 || strings.Contains(r.stdout, "affected") != test.want {
			t.Errorf("%s: %s%s", test.args, r.stdout, r.stderr)
		}
	}
}
