package main

import (
	"fmt"
	"strings"
	"testing"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// The table of bad input, as it is found on the command line: nothing is sent.
func TestMistakesWithLayersAreOneLine(t *testing.T) {
	const hint = `: it would cover "shopx", too; use "shop/*" or "shop.*"`
	long := strings.Repeat("a", 257)
	for _, test := range []struct{ args, want string }{
		{"override set a", `STATUS is missing; see "rollcall override set --help"`},
		{"override set", `PATTERN and STATUS are missing; see "rollcall override set --help"`},
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
