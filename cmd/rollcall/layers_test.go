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

	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
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
	run("shutdown", "--reason", "drill").want(t, 1, "", "rollcall: not written: breaks pay-min (shop/pay/*: 1 needed, 0 of 2 would serve); to do it all the same: --break-glass pay-min\n")
	run("shutdown", "--reason", "drill", "--break-glass", "pay-min").want(t, 0,
		"override ** NOT_SERVING until 11:00, revision 5; covers 3 services\n! it broke pay-min (shop/pay/*: 1 needed, 0 of 2 serve), as --break-glass allows\n", "")
	run("set", "shop/cart", "unknown").want(t, 0, "shop/cart UNKNOWN, revision 6; shown as NOT_SERVING by override ** by ann until 11:00: drill\n", "")
	run("resume", "--dry-run").want(t, 0, "SERVICE     NOW          THEN\nshop/cart   NOT_SERVING  UNKNOWN\nshop/pay/a  NOT_SERVING  SERVING\nshop/pay/b  NOT_SERVING  SERVING\n3 of 3 services would change; dry run, nothing changed\n", "")
	run("resume", "--reason", "over").want(t, 0, "resumed, revision 7; covered 3 services\n", "")
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
	const refused = "rollcall: not written: breaks pay-min (shop/pay/*: 1 needed, 0 of 1 would serve); to do it all the same: --break-glass pay-min\n"
	const refusedTwo = "rollcall: not written: breaks pay-min (shop/pay/*: 1 needed, 0 of 2 would serve); to do it all the same: --break-glass pay-min\n"
	run("delete", "shop/pay/b", "--dry-run").want(t, 0, "shop/pay/b would be deleted; dry run, nothing changed\n", "")
	run("set", "shop/pay/a=not_serving", "shop/pay/b=not_serving").want(t, 1, "", refusedTwo)
	run("set", "shop/pay/a=not_serving", "shop/pay/b=not_serving", "--dry-run").want(t, 1, "", refusedTwo)
	run("delete", "shop/pay/b").want(t, 0, "shop/pay/b deleted, revision 5\n", "")
	run("set", "shop/pay/a", "not_serving").want(t, 1, "", refused)
	run("override", "set", "shop/pay/*", "not_serving").want(t, 1, "", refused)
	run("set", "shop/pay/a", "not_serving", "-o", "json", "--request-id", "r1").want(t, 1, "",
		`{"code":"FAILED_PRECONDITION","reason":"RULE_BROKEN","message":"not written: breaks pay-min (shop/pay/*: 1 needed, 0 of 1 would serve); to do it all the same: --break-glass pay-min",`+
			`"written":"no","request_id":"r1","broken_rules":[{"rule":"pay-min","pattern":"shop/pay/*","needed":1,"serving":0,"total":1}]}`+"\n")
	run("set", "shop/pay/a", "not_serving", "--break-glass", "pay-min", "--reason", "corrupt", "--dry-run").want(t, 0,
		"shop/pay/a would be NOT_SERVING; dry run, nothing changed\n! it would break pay-min (shop/pay/*: 1 needed, 0 of 1 would serve), as --break-glass allows\n", "")
	run("set", "shop/pay/a", "not_serving", "--break-glass", "nosuch", "--reason", "corrupt").want(t, 1, "", "rollcall: cannot set shop/pay/a: break_glass names rule \"nosuch\", which does not exist; \"rollcall rule list\" shows the rules\n")
	run("set", "shop/pay/a", "not_serving", "--break-glass", "pay-min", "--reason", "corrupt").want(t, 0,
		"shop/pay/a NOT_SERVING, revision 6\n! it broke pay-min (shop/pay/*: 1 needed, 0 of 1 serve), as --break-glass allows\n", "")
}

func TestLayersSendTheirFlags(t *testing.T) {
	f, run := shop(t)
	last := func() string { return fmt.Sprint(f.layers.asked[len(f.layers.asked)-1]) }
	for _, test := range []struct{ args, want string }{
		{"override set a/* serving --reason r --request-id i --if-revision 0 --for 1d", `pattern:"a/*" status:SERVING reason:"r" actor:"ann" request_id:"i" if_revision:0 ttl:{seconds:86400}`},
		{"override set a/* serving --request-id i --forever", `pattern:"a/*" status:SERVING actor:"ann" request_id:"i" forever:true`},
		{"override set a/* serving --request-id i --dry-run --reason r --break-glass pay-min,* --break-glass *", `pattern:"a/*" status:SERVING reason:"r" actor:"ann" request_id:"i" validate_only:true break_glass:"pay-min" break_glass:"*" break_glass:"*"`},
		{"override clear a/* --request-id i --if-revision 7 --allow-missing --dry-run", `pattern:"a/*" actor:"ann" request_id:"i" if_revision:7 allow_missing:true validate_only:true`},
		{"shutdown --reason r --request-id i --for 30s --break-glass *", `pattern:"**" status:NOT_SERVING reason:"r" actor:"ann" request_id:"i" ttl:{seconds:30} break_glass:"*"`},
		{"resume --reason r --request-id i --if-revision 3 --break-glass * --allow-missing", `pattern:"**" reason:"r" actor:"ann" request_id:"i" if_revision:3 allow_missing:true break_glass:"*"`},
		{"rule add n a/* --min 2 --percent 30 --enforce-reports --reason r --request-id i --if-revision 0 --dry-run", `name:"n" pattern:"a/*" min_serving:2 min_percent:30 enforce_reports:true reason:"r" actor:"ann" request_id:"i" if_revision:0 validate_only:true`},
		{"rule remove n --reason r --request-id i --if-revision 4 --allow-missing --dry-run", `name:"n" reason:"r" actor:"ann" request_id:"i" if_revision:4 allow_missing:true validate_only:true`},
	} {
		n := len(f.layers.asked)
		run(strings.Fields(test.args)...)
		// The text form has one space or two.
		if got := strings.Join(strings.Fields(last()), " "); len(f.layers.asked) != n+1 || got != test.want {
			t.Errorf("%s\nsent %s\nwant %s", test.args, got, test.want)
		}
	}
}

// The table of bad input, as it is found on the command line: nothing is sent.
func TestMistakesWithLayersAreOneLine(t *testing.T) {
	const hint = `: it would cover "shopx", too; use "shop/*" or "shop.*"`
	long := strings.Repeat("a", 257)
	for _, test := range []struct{ args, want string }{
		{"override set a", `STATUS is missing; see "rollcall override set --help"`},
		{"override set", `PATTERN and STATUS is missing; see "rollcall override set --help"`},
		{"override set a/b a/c not_serving", `"not_serving" is one argument too many: quote a pattern, as 'shop/*', or the shell takes it for names of files; see "rollcall override set --help"`},
		{"override set shop* not_serving", `pattern "shop*" is not a pattern` + hint},
		{"override set */x not_serving", `pattern "*/x" is not a pattern: a '*' can stand only at the end, as in "shop/*" and "shop.*"`},
		{"override set *** not_serving", `pattern "***" is not a pattern; for all services use "*"`},
		{"override set /* not_serving", `pattern "/*" is not a pattern; for all services use "*"`},
		{"override set rollcall.* not_serving", `pattern "rollcall.*" begins with "rollcall.", which is kept for the node's own names`},
		{"override set " + long + " not_serving", `pattern is 257 bytes long; at most 256 are allowed`},
		{"override set a/* gone", `"gone" is no status; …`},
		{"override set a/* service_unknown", `"service_unknown" is no status; …`},
		{"override set a/* not_serving --for 999ms", `--for is 999ms; it must be from 1s to 30d, or --forever`},
		{"override set a/* not_serving --for 721h", `--for is 30d1h; it must be from 1s to 30d, or --forever`},
		{"override set a/* not_serving --for -1h", `--for is …`},
		{"override set a/* not_serving --for 0s", `--for is …`},
		{"override set a/* not_serving --for 1h --forever", `--for and --forever exclude each other`},
		{"override set a/* not_serving --break-glass x", `--break-glass needs a --reason; it stands in the history for ever`},
		{"override set a/* not_serving --break-glass x*y --reason r", `--break-glass: rule name "x*y": '*' at byte 2 is not allowed: '*', '=' and ',' are kept for patterns and lists`},
		{"override set a/* not_serving --if-revision -1", `--if-revision is -1; …`},
		{"override sett", `unknown command "sett" for "rollcall override"; did you mean "set"? see "rollcall override --help"`},
		{"override remove", `unknown command "remove" for "rollcall override"; did you mean "clear"? see "rollcall override --help"`},
		{"rule x", `unknown command "x" for "rollcall rule"; use add, check, list or remove; see "rollcall rule --help"`},
		{"override list --dry-run", `unknown flag: --dry-run; see "rollcall override list --help"`},
		{"set a not_serving --break-glass=", `--break-glass is empty; give it a value, or leave it out`},
		{"override clear", `PATTERN is missing; see "rollcall override clear --help"`},
		{"override clear shop*", `pattern "shop*" is not a pattern` + hint},
		{"override clear a b", `"b" is one argument too many: quote a pattern, …`},
		{"override list x", `"x" is one argument too many; see "rollcall override list --help"`},
		{"shutdown now --reason x", `"now" is one argument too many; see "rollcall shutdown --help"`},
		{"shutdown --reason x --for 5", `--for: "5" has no unit; …`},
		{"resume all", `"all" is one argument too many; see "rollcall resume --help"`},
		{"rule add n", `PATTERN is missing; see "rollcall rule add --help"`},
		{"rule add n a/*", `rule n has no bound; give --min N or --percent P`},
		{"rule add n a/* --min 0", `--min is 0; it must be 1 or more`},
		{"rule add n a/* --percent 0", `--percent is 0; it must be from 1 to 100`},
		{"rule add n a/* --percent 101", `--percent is 101; it must be from 1 to 100`},
		{"rule add n a/* --min 1 --percent -3", `--percent is -3; it must be from 1 to 100`},
		{"rule add n ** --min 1", `pattern "**" is the switch of the whole registry, for overrides; use '*' for all services`},
		{"rule add n shop* --min 1", `pattern "shop*" is not a pattern` + hint},
		{"rule add a*b a/* --min 1", `rule name "a*b": '*' at byte 2 is not allowed: …`},
		{"rule add " + long[:65] + " a/* --min 1", `rule name is 65 bytes long; at most 64 are allowed`},
		{"rule add pay=min a/* --min 1", `rule name "pay=min": '=' at byte 4 is not allowed: …`},
		{"rule remove", `NAME is missing; see "rollcall rule remove --help"`},
		{"rule remove a b", `"b" is one argument too many; see "rollcall rule remove --help"`},
		{"rule check a*", `rule name "a*": …`},
		{"why", `SERVICE is missing; see "rollcall why --help"`},
		{"why rollcall.reads", `rollcall.reads is a name that nodes answer for themselves: no report, override or rule is about it`},
		{"set a serving --break-glass x", `--break-glass needs a --reason; it stands in the history for ever`},
		{"delete a --break-glass x", `--break-glass needs a --reason; it stands in the history for ever`},
	} {
		t.Run(test.args, func(t *testing.T) {
			want := test.want
			if !strings.HasSuffix(want, "…") {
				want += "\n"
			}
			rollcall(t, strings.Fields(test.args)...).want(t, exitNotDone, "", "rollcall: "+want)
		})
	}
	rollcall(t, "override", "set", "", "not_serving").want(t, exitNotDone, "", "rollcall: pattern is empty; give the name of a service, or a pattern such as …")
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

// A variable is set for all commands: none of them may then break rules, or last for ever, unseen.
func TestNoVariableBreaksRules(t *testing.T) {
	f, run := shop(t)
	t.Setenv("ROLLCALL_BREAK_GLASS", "*")
	t.Setenv("ROLLCALL_FOREVER", "true")
	t.Setenv("ROLLCALL_FOR", "serving")
	t.Setenv("ROLLCALL_REASON", "r")
	run("override", "set", "shop/cart", "not_serving").want(t, 0, "override shop/cart NOT_SERVING until 11:00, …", "")
	req := f.layers.asked[len(f.layers.asked)-1].(*rollcallv1.SetOverrideRequest)
	if len(req.GetBreakGlass()) > 0 || req.GetForever() || req.GetTtl() != nil || req.GetReason() != "r" {
		t.Errorf("sent %v", req)
	}
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
			return a.printWhy(&rollcallv1.GetServiceResponse{Service: overridden(), Revision: 9, ClusterId: "3f9a"}, sampleRules())
		}},
		{"get_overridden", func(a *app) error {
			return a.printRecord(&rollcallv1.GetServiceResponse{Service: overridden(), Revision: 9, ClusterId: "3f9a"}, false, nil)
		}},
		{"list_overridden", func(a *app) error {
			records := []*rollcallv1.ServiceRecord{record("pay", serving, "", "bob"), overridden()}
			return a.printList(&listed{Services: format.Messages(records), Revision: 9, Cluster: "3f9a", records: records}, &listFlags{})
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
