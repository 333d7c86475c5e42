package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// TestYAMLSaysWhatJSONSays, in the same order, for every command that prints.
func TestYAMLSaysWhatJSONSays(t *testing.T) {
	for _, test := range everyCommand {
		if strings.HasPrefix(test.args, "completion") || strings.Contains(test.args, "help") || strings.HasPrefix(test.args, "--") ||
			strings.Contains(test.args, "watch") || strings.Contains(test.args, "follow") {
			continue
		}
		t.Run(test.args, func(t *testing.T) {
			fromJSON := rollcallAt(t, clock(), append(shopWithNodes(t, test.args), "-o", "json")...)
			fromYAML := rollcallAt(t, clock(), append(shopWithNodes(t, test.args), "-o", "yaml")...)
			if fromJSON.code != 0 || fromYAML.code != 0 {
				t.Fatal(fromJSON, fromYAML)
			}
			asJSON, asYAML := json.NewDecoder(strings.NewReader(fromJSON.stdout)), yaml.NewDecoder(strings.NewReader(fromYAML.stdout))
			n := 0
			for ; asJSON.More(); n++ {
				var a, b any
				if err := asJSON.Decode(&a); err != nil {
					t.Fatal(err)
				}
				if err := asYAML.Decode(&b); err != nil {
					t.Fatal(err)
				}
				// Through JSON, in which a time is text and all numbers are alike.
				want, err1 := json.Marshal(a)
				got, err2 := json.Marshal(b)
				if changing := regexp.MustCompile(`"(id|secret_sha256|duration_seconds)":[^,}]*|[0-9a-f-]{36}|:\d{4,5}"|/tmp/[^"]*|rct_\w+`); err1 != nil || err2 != nil ||
					changing.ReplaceAllString(string(want), "") != changing.ReplaceAllString(string(got), "") {
					t.Errorf("%s\nis in YAML\n%s", want, got)
				}
			}
			if n == 0 {
				t.Error("nothing was printed")
			}
		})
	}
}

func TestYAMLKeepsTextAsItIs(t *testing.T) {
	for _, s := range []string{"", "yes", "null", "1.5", "2026-11-22T10:00:00Z", "a: b", "# c", " x ", "two\nlines", "\x7f\u0085\ufeff\u2028", "- a", "💥", "'\"\\", "=", "<<", "0x1f", "1_000"} {
		b, err := format.YAML(map[string]string{"reason": s})
		if err != nil {
			t.Fatal(err)
		}
		var back map[string]any
		if err := yaml.Unmarshal(b, &back); err != nil || back["reason"] != s {
			t.Errorf("%q is %q in YAML, and then %q: %v", s, b, back["reason"], err)
		}
	}
}

func TestNames(t *testing.T) {
	for line, want := range map[string]string{
		"list":                           "shop/cart shop/pay/a shop/pay/b",
		"list --limit 2":                 "shop/cart shop/pay/a",
		"get shop/cart":                  "shop/cart",
		"get rollcall.live":              "rollcall.live",
		"set a=serving b=unknown":        "a b",
		"set a serving":                  "a",
		"delete shop/cart":               "shop/cart",
		"wait shop/cart":                 "shop/cart",
		"probe rollcall.live":            "rollcall.live",
		"status":                         "n1 n2",
		"rule list":                      "pay-min",
		"override list":                  "shop/pay/*",
		"override set shop/cart serving": "shop/cart",
		"why shop/cart":                  "shop/cart",
		"set a serving --ttl 10s":        "a",
		"lease list":                     leaseID(1),
		"lease grant":                    leaseID(2),
		"lease grant --dry-run":          "",
		"lease revoke " + leaseID(1):     leaseID(1),
		"member list":                    "n1 n2",
		"member add n4 --peer h:1":       "n4",
		"member remove n2":               "n2",
		"transfer-leader":                "n2",
	} {
		r := rollcallAt(t, clock(), append(shopWithNodes(t, line), "-o", "name")...)
		if got := strings.Join(strings.Fields(r.stdout), " "); got != want || r.code != 0 || r.stderr != "" {
			t.Errorf("%s: %q, want %q; %+v", line, got, want, r)
		}
	}
	r := rollcallAt(t, clock(), append(shopWithNodes(t, "list nothing"), "-o", "name")...)
	r.want(t, 0, "", "")
	for _, line := range []string{"events", "history shop/cart", "version", "compact --data DATA", "bench clean", "lease release-guard"} {
		r := rollcall(t, append(shopWithNodes(t, line), "-o", "name")...)
		if r.code != exitNotDone || !strings.Contains(r.stderr, "has no names to print") {
			t.Errorf("%s: %+v", line, r)
		}
	}
}

func TestWideAndHeaders(t *testing.T) {
	for _, line := range []string{"list", "get shop/cart", "events", "history shop/cart", "status", "member list", "rule list", "override list", "lease list"} {
		plain := rollcallAt(t, clock(), shopWithNodes(t, line)...)
		wide := rollcallAt(t, clock(), append(shopWithNodes(t, line), "-o", "wide")...)
		bare := rollcallAt(t, clock(), append(shopWithNodes(t, line), "-o", "wide", "--no-headers")...)
		if plain.code+wide.code+bare.code != 0 {
			t.Fatal(plain, wide, bare)
		}
		lines := strings.SplitAfter(wide.stdout, "\n")
		header := 0
		if line == "status" {
			header = 1 // after the line of the cluster
		}
		if w := len(strings.Fields(lines[header])); line != "get shop/cart" && w <= len(strings.Fields(strings.SplitAfter(plain.stdout, "\n")[header])) {
			t.Errorf("%s: wide is no wider:\n%s%s", line, plain.stdout, wide.stdout)
		}
		if lines[header] != strings.ToUpper(lines[header]) {
			t.Errorf("%s: no header: %s", line, lines[header])
		}
		if got, want := strings.Count(bare.stdout, "\n"), strings.Count(wide.stdout, "\n")-1; got != want || strings.Contains(bare.stdout, "REVISION") {
			t.Errorf("%s --no-headers: %d lines, want %d:\n%s", line, got, want, bare.stdout)
		}
	}
}

// get -o wide is the row of list -o wide.
func TestGetWideIsARowOfList(t *testing.T) {
	_, run := shop(t)
	get, list := run("get", "shop/cart", "-o", "wide").stdout, run("list", "shop/cart", "-o", "wide").stdout
	if get != list || get == "" {
		t.Errorf("get:\n%slist:\n%s", get, list)
	}
}

func TestListOrderAndLimit(t *testing.T) {
	_, run := shop(t)
	run("set", "b=not_serving", "c=unknown", "d=not_serving").want(t, 0, "…", "")
	names := func(args ...string) string {
		return strings.Join(strings.Fields(run(append(append([]string{"list"}, args...), "-o", "name")...).stdout), " ")
	}
	for args, want := range map[string]string{
		"--sort status":              "b d c shop/cart shop/pay/a shop/pay/b",
		"--sort status --limit 2":    "b d",
		"--sort STATUS --limit 3":    "b d c",
		"--sort name --limit 3":      "b c d",
		"--limit 0":                  "b c d shop/cart shop/pay/a shop/pay/b",
		"--limit 99":                 "b c d shop/cart shop/pay/a shop/pay/b",
		"shop/ --limit 1":            "shop/cart",
		"--status unknown --limit 1": "c",
	} {
		if got := names(strings.Fields(args)...); got != want {
			t.Errorf("list %s: %q, want %q", args, got, want)
		}
	}
	run("list", "--limit", "1").want(t, 0, "SERVICE  STATUS       …", "these are the first 1; there are more\n")
	run("list", "--limit", "6").want(t, 0, "…", "")
	if r := run("list", "--limit", "1", "-o", "json"); !strings.Contains(r.stdout, `"more": true`) || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	if r := run("list", "--limit", "6", "-o", "json"); strings.Contains(r.stdout, `"more"`) {
		t.Errorf("%+v", r)
	}
	run("list", "--limit", "-1").want(t, 1, "", "rollcall: --limit is -1; it must be a number of services, or 0 for all\n")
	run("list", "--sort", "age").want(t, 1, "", "rollcall: --sort: \"age\" is no order; use name, status or time; see \"rollcall list --help\"\n")
}

func TestADryRunSaysSo(t *testing.T) {
	_, run := shop(t)
	for _, args := range [][]string{{"set", "shop/cart", "not_serving"}, {"set", "new", "serving"}, {"set", "a=serving", "b=unknown"}, {"delete", "shop/cart"}, {"override", "set", "shop/*", "unknown", "--break-glass", "*", "--reason", "drill"}, {"rule", "remove", "pay-min"}} {
		r := run(append(args, "--dry-run", "-o", "json")...)
		var out map[string]any
		if err := json.Unmarshal([]byte(r.stdout), &out); err != nil || r.code != 0 {
			t.Fatal(args, err, r)
		}
		if _, has := out["revision"]; has || out["dry_run"] != true {
			t.Errorf("%v: %s", args, r.stdout)
		}
	}
	r := run("set", "new", "serving", "--dry-run", "-o", "json")
	if strings.Contains(r.stdout, "revision") || strings.Contains(r.stdout, "time") {
		t.Errorf("of a report that is not made: %s", r.stdout)
	}
	if r := run("set", "new", "serving", "-o", "json"); strings.Contains(r.stdout, "dry_run") || !strings.Contains(r.stdout, `"revision"`) {
		t.Errorf("of a change: %s", r.stdout)
	}
}

// TestWhatAnEventHasNot: the zero of a status is UNKNOWN, which an event of a member has not.
func TestWhatAnEventHasNot(t *testing.T) {
	f := eventful(t)
	f.member("n7", "127.0.0.1:1")
	r := rollcall(t, "events", "--type", "member-changed", "-o", "json")
	if strings.Contains(r.stdout, "status") || strings.Contains(r.stdout, "service") || strings.Contains(r.stdout, "pattern") || !strings.Contains(r.stdout, `"type":"member-changed"`) {
		t.Error(r.stdout)
	}
	for typ, want := range map[rollcallv1.EventType]string{
		rollcallv1.EventType_EVENT_TYPE_REPORTED:     `"service":"","previous_status":"UNKNOWN","status":"UNKNOWN","effective_status":"UNKNOWN"}`,
		rollcallv1.EventType_EVENT_TYPE_OVERRIDE_SET: `"pattern":"","status":"UNKNOWN","matched_count":0}`,
		99: `"request_id":""}`,
	} {
		b, err := apijson.Marshal(apijson.Message{Message: &rollcallv1.Event{Type: typ}})
		if err != nil || !strings.HasSuffix(string(b), want) {
			t.Errorf("%s, %v", b, err)
		}
	}
}
