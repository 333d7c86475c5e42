package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/node"
)

func TestMistakesAreOneLine(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"sett a serving", `unknown command "sett" for "rollcall"; did you mean "set" or "cert" or "get"? see "rollcall --help"`},
		{"frobnicate", `unknown command "frobnicate" for "rollcall"; see "rollcall --help"`},
		{"set a serving --reson x", `unknown flag: --reson; did you mean --reason? see "rollcall set --help"`},
		{"set a serving --zzzzzz x", `unknown flag: --zzzzzz; see "rollcall set --help"`},
		{"set a serving --if-revision x", `--if-revision: "x" is no whole number; see "rollcall set --help"`},
		{"set a serving --if-revision -1", `--if-revision is -1; revisions are 1, 2, 3 …, and 0 means: does not exist`},
		{"set", `nothing to set; write SERVICE STATUS, or SERVICE=STATUS for each`},
		{"set a", `no status given for "a"; write SERVICE STATUS, or SERVICE=STATUS for each`},
		{"set a serving b", `"a" is not SERVICE=STATUS; write SERVICE STATUS, or SERVICE=STATUS for each`},
		{"set a=serving serving", `"serving" is not SERVICE=STATUS; write SERVICE STATUS, or SERVICE=STATUS for each`},
		{"set a servng", `a: "servng" is no status; use serving (or up), not_serving (or down) or unknown`},
		{"set a service_unknown", `a: "service_unknown" is no status; use serving (or up), not_serving (or down) or unknown`},
		{"set a=serving a=unknown", `a is given twice`},
		{"set a=serving b=serving --if-revision 1", `--if-revision compares the revision of one service; 2 are given`},
		{"set rollcall.live serving", `service name "rollcall.live" begins with "rollcall.", which is kept for the node's own names`},
		{"set =serving", `service name is empty; "" is the node's own`},
		{"set pay\u200bments serving", `service name "pay\u200bments": U+200B at byte 4 is not allowed: it does not show`},
		{"set cafe\u0301 serving", `service name "cafe\u0301": U+0301 at byte 5 is written otherwise in Unicode Normalization Form C (NFC); send the text in that form`},
		{"set shop* serving", `service name "shop*": '*' at byte 5 is not allowed: '*', '=' and ',' are kept for patterns and lists`},
		{"get", `SERVICE is missing; see "rollcall get --help"`},
		{"get a b", `"b" is one argument too many; see "rollcall get --help"`},
		{"list a b", `"b" is one argument too many; see "rollcall list --help"`},
		{"status now", `"now" is one argument too many; see "rollcall status --help"`},
		{"status --wait 0s", `--wait is 0s; it must be more than 0`},
		{"get a -o xml", `--output: "xml" is no output format; use table, wide, name, json or yaml; see "rollcall get --help"`},
		{"get a --timeout 0s", `--timeout is 0s; it must be more than 0`},
		{"get a -e nonsense", `--endpoints: endpoint "nonsense" is not host:port`},
		{"get a -e ,", `--endpoints is empty: name at least one node, host:port`},
		{"watch a --timeout 5s", `watch goes on until it is interrupted and has no --timeout; use "rollcall wait"`},
		{"watch", `SERVICE is missing; --prefix PREFIX follows all that begin with it, and --prefix '' every service`},
		{"watch a --prefix b", `"a" is one service, and --prefix is for many: give one of them`},
		{"events --from 0", `--from is 0; revisions are 1, 2, 3 …`},
		{"events --to -1", `--to is -1; revisions are 1, 2, 3 …`},
		{"events --from 3 --to 2", `--to is 2, before --from, which is 3`},
		{"events --since 1m --until 2m", `--until is before --since`},
		{"events --since 42", `--since: "42" is a revision; a time is wanted: ` + cliflag.TimeForms + `; see "rollcall events --help"`},
		{"events --limit -1", `--limit is -1; it must be a number of events, or 0 for all`},
		{"events --follow --to 3", `--follow has no end and cannot be given with --to`},
		{"events --follow --until 1m", `--follow has no end and cannot be given with --until`},
		{"events --follow --reverse", `--follow has no end and cannot be given with --reverse`},
		{"events --follow --linearizable", `--follow shows every event sooner or later and cannot be given with --linearizable, --min-revision or --max-staleness; use --from`},
		{"events --follow --timeout 5s", `--follow goes on until it is interrupted, or has shown --limit events, and has no --timeout`},
		{"events shop/ --service shop/cart", `--service is exactly one service and cannot be given with a PREFIX`},
		{"events --service=", `service name is empty; "" is the node's own`},
		{"events --type gone", `--type: "gone" is no type of event; use reported, deleted, expired, override-set, override-cleared, override-expired, lease-granted, lease-ended, member-changed, lease-guard, rule-set, rule-removed, lease-ending, lease-forgotten, access-changed or member-removed; see "rollcall events --help"`},
		{"history", `SERVICE is missing; see "rollcall history --help"`},
		{"snapshot save -", `a snapshot is checked as a file and is not written to the output; name a file`},
		{"history rollcall.live", `rollcall.live is a name that nodes answer for themselves, and has no history`},
		{"history a --limit -1", `--limit is -1; it must be a number of lines, or 0 for all`},
		{"history a --since 1m --until 2m", `--until is before --since`},
		{"get rollcall.live --at 1", `rollcall.live is a name that nodes answer for themselves, and has no past`},
		{"get a --at soon", `--at: "soon" is no point in time; use a revision, ` + cliflag.TimeForms + `; see "rollcall get --help"`},
		{"wait a --for gone", `--for: "gone" is no status; use serving (or up), not_serving (or down), unknown or service_unknown; see "rollcall wait --help"`},
		{"serve", `serve needs --node, --data, --member or --join; see "rollcall serve --help"; a cluster to try things on: "rollcall dev"`},
		{"serve --node n1 --data d --member n1,host=10.0.0.1", `API address of member n1 10.0.0.1:7600 is beyond loopback and its traffic would be plain text; use --tls, or --insecure to allow it`},
		{"serve --node n9 --data d --member n1,host=localhost", `node "n9" is not in the member list`},
		{"serve --node n1 --data d --member n1,host=localhost --member n1,host=127.0.0.1", `member n1 is listed twice`},
		{"serve --node n1 --data d --member n1,host=localhost --log-level loud", `--log-level is "loud"; use debug, info, warn or error`},
		{"serve --node n1 --data d --member n1,host=localhost --log-format xml", `--log-format is "xml"; use text or json`},
		{"serve --node n1 --data d --member n1,host=localhost --log-store leveldb", `log-store is "leveldb"; it must be one of boltdb, wal`},
		{"agent", `agent needs --config; name its YAML file, see "rollcall agent --help"`},
		{"agent --config " + nowhere, nowhere + `: there is no such file`},
		{"agent --config f --ca ca.pem", `--ca is not for the agent; its file says how it reaches the registry: cluster.endpoints, ca, cert and key`},
		{"agent --config f -e 10.0.0.1:7600", `--endpoints is not for the agent; its file says how it reaches the registry: cluster.endpoints, ca, cert and key`},
		{"agent --config f --log-level loud", `--log-level is "loud"; use debug, info, warn or error`},
		{"dev --nodes 0", `--nodes is 0; use 1 to 9, 3 or 5 for choice`},
		{"dev --log-level loud", `--log-level is "loud"; use debug, info, warn or error`},
	} {
		t.Run(test.args, func(t *testing.T) {
			rollcall(t, strings.Fields(test.args)...).want(t, exitNotDone, "", "rollcall: "+test.want+"\n")
		})
	}
}

func TestUsageErrorsAreJSONIfAsked(t *testing.T) {
	const line = `{"code":"INVALID_ARGUMENT","reason":"USAGE","message":"unknown flag: --nope; see \"rollcall get --help\"","written":"no","request_id":""}` + "\n"
	for _, args := range []string{"get --nope -o json", "get --nope -ojson", "get --nope -o=json", "get --nope --output=json", "-o json get --nope"} {
		rollcall(t, strings.Fields(args)...).want(t, exitNotDone, "", line)
	}
	t.Setenv("ROLLCALL_OUTPUT", "json")
	rollcall(t, "get", "--nope").want(t, exitNotDone, "", line)
	rollcall(t, "get", "--nope", "-o", "table").want(t, exitNotDone, "", "rollcall: unknown flag: --nope; see \"rollcall get --help\"\n")
}

func TestEveryFlagIsAVariable(t *testing.T) {
	f := startFake(t)
	t.Setenv("ROLLCALL_REASON", "from the environment")
	t.Setenv("ROLLCALL_IF_REVISION", "0")
	t.Setenv("ROLLCALL_ACTOR", "env")
	t.Setenv("ROLLCALL_REQUEST_ID", "")
	rollcall(t, "set", "a", "serving", "--actor", "flag").want(t, 0, "a SERVING, revision 1\n", "")
	req := <-f.wrote
	if req.GetReason() != "from the environment" || req.GetActor() != "flag" || req.IfRevision == nil || req.GetRequestId() == "" {
		t.Errorf("sent %v", req)
	}

	// The lists in variables: not added to by flags.
	t.Setenv("ROLLCALL_ENDPOINTS", "127.0.0.1:1, 127.0.0.1:2")
	r := rollcall(t, "get", "a")
	if !strings.Contains(r.stderr, "127.0.0.1:1, 127.0.0.1:2") {
		t.Errorf("asked others: %s", r.stderr)
	}
	r = rollcall(t, "get", "a", "-e", f.address)
	if r.code != 0 {
		t.Errorf("the flag does not win: %s", r.stderr)
	}
}

// Whoever writes under a name of their own still sees what others did.
func TestTheActorOfWritesChoosesNoEvents(t *testing.T) {
	eventful(t)
	t.Setenv("ROLLCALL_ACTOR", "alice")
	if r := rollcall(t, "events", "-o", "json"); revisions(t, r.stdout) != "1 2 3 4 5 6" {
		t.Error(r)
	}
	t.Setenv("ROLLCALL_SINCE", timeOf(5).Format(time.RFC3339))
	t.Setenv("ROLLCALL_TYPE", "reported")
	if r := rollcall(t, "events", "-o", "json"); revisions(t, r.stdout) != "6" {
		t.Error(r)
	}
}

func TestABadVariableIsOneLineThatNamesIt(t *testing.T) {
	t.Setenv("ROLLCALL_TIMEOUT", "soon")
	rollcall(t, "get", "a").want(t, exitNotDone, "", `rollcall: environment variable ROLLCALL_TIMEOUT, which stands for --timeout: "soon" is no duration; use a number with a unit, …`)
	// Nobody wants watches that end because all other commands are quick.
	t.Setenv("ROLLCALL_ENDPOINTS", closedPort())
	rollcall(t, "watch", "a").want(t, exitNotDone, "", "rollcall: no endpoint answers: …")
	t.Setenv("ROLLCALL_TIMEOUT", "1h")
	rollcall(t, "events", "--follow").want(t, exitNotDone, "", "rollcall: no endpoint answers: …")
	t.Setenv("ROLLCALL_TIMEOUT", "")
	const endpoints = "environment variable ROLLCALL_ENDPOINTS, which stands for --endpoints"
	t.Setenv("ROLLCALL_ENDPOINTS", "http://a:1")
	rollcall(t, "get", "a").want(t, exitNotDone, "", "rollcall: "+endpoints+`: endpoint "http://a:1" is not host:port: leave out http://`+"\n")
	rollcall(t, "get", "a", "-e", "b").want(t, exitNotDone, "", `rollcall: --endpoints: endpoint "b" is not host:port`+"\n")
	t.Setenv("ROLLCALL_ENDPOINTS", ",")
	rollcall(t, "get", "a").want(t, exitNotDone, "", "rollcall: "+endpoints+" is empty: name at least one node, host:port\n")
}

func TestMembersFromTheEnvironment(t *testing.T) {
	t.Setenv("ROLLCALL_MEMBER", "n1,host=localhost n2")
	rollcall(t, "serve", "--node", "n1", "--data", "d").want(t, exitNotDone, "",
		`rollcall: environment variable ROLLCALL_MEMBER, which stands for --member: "n2" has no address; write NAME,host=HOST or NAME,api=HOST:PORT,peer=HOST:PORT`+"\n")
}

func TestServeConfig(t *testing.T) {
	var out strings.Builder
	s := serveFlags{tls: nodeTLS{mode: "off", peerIdentity: "name"}, node: node.DefaultConfig(), log: logFlags{level: "warn", format: "text"}}
	s.node.Name, s.node.DataDir = "n1", "d"
	for _, m := range []string{"n1,host=localhost", "n2,api=127.0.0.1:7610,peer=127.0.0.1:7611"} {
		if err := s.members.Set(m); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := s.config(&out)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.ReadyMaxStaleness != 10*time.Second || cfg.HealthListLimit != 100 || len(cfg.Members) != 2 || cfg.Version != buildVersion() {
		t.Errorf("%+v", cfg)
	}
	if !strings.Contains(out.String(), "2 members survive as few failures as 1: 0; use an odd number") {
		t.Errorf("no advice: %s", out.String())
	}
	if line := servingLine(cfg, "a:1", "a:2", "", ""); line != "n1 serving: api a:1 peer a:2" {
		t.Error(line)
	}
	cfg.HTTPListen = "a:0"
	if line := servingLine(cfg, "a:1", "a:2", "a:3", ""); line != "n1 serving: api a:1 peer a:2 http a:3" {
		t.Error(line)
	}
}

func TestReportStaysOneLine(t *testing.T) {
	f := stopped("n1", errors.Join(errors.New("disk full"), errors.New("close the log: disk full")))
	if got, want := f.Error(), "node n1 stopped: disk full; close the log: disk full"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestVersion(t *testing.T) {
	r := rollcall(t, "version")
	if r.code != 0 || !strings.HasPrefix(r.stdout, "rollcall "+buildVersion()+" (go") {
		t.Errorf("exit status %d, %q", r.code, r.stdout)
	}
	if r := rollcall(t, "version", "-o", "json"); !strings.Contains(r.stdout, `"version": "`+buildVersion()+`"`) {
		t.Errorf("%q", r.stdout)
	}
	if r := rollcall(t, "--version"); r.stdout != "rollcall "+buildVersion()+"\n" {
		t.Errorf("%q", r.stdout)
	}
}

func TestActorIsAtMostTheAPIsLimit(t *testing.T) {
	t.Setenv("USER", strings.Repeat("ü", 200))
	if a := defaultActor(); len(a) > 256 || strings.ToValidUTF8(a, "") != a {
		t.Errorf("%d bytes: %q", len(a), a)
	}
}

func TestHelpOfEveryCommand(t *testing.T) {
	walk(testRoot(), func(c *cobra.Command) {
		if c.Short == "" || c.Long == "" || c.Example == "" {
			t.Errorf("%q does not say what it does, or has no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Long + "\n" + c.Example) {
			if len([]rune(line)) > 110 {
				t.Errorf("%q: a line of the help is longer than 110 characters: %s", c.CommandPath(), line)
			}
		}
	})
	if r := rollcall(t); r.code != 0 || !strings.Contains(r.stdout, "Services:") {
		t.Errorf("without arguments: exit status %d, %q", r.code, r.stdout)
	}
}

// Flags may stand before and after --help and --version.
func TestHelpAmongFlags(t *testing.T) {
	for args, begin := range map[string]string{
		"--help -o json":               "Rollcall keeps the health of services",
		"-h -o json":                   "Rollcall keeps the health of services",
		"-o json --help":               "Rollcall keeps the health of services",
		"--help -e a:1 --timeout 3s":   "Rollcall keeps the health of services",
		"--version -o json":            "rollcall ",
		"-o json --version":            "rollcall ",
		"override --help -o json":      "An override is what an operator says",
		"-o json override set --help":  "Sets an override",
		"--help -o json override set":  "Sets an override",
		"override --help -o json set":  "Sets an override",
		"override set --help -e a:1 x": "Sets an override",
	} {
		if r := rollcall(t, strings.Fields(args)...); r.code != 0 || r.stderr != "" || !strings.HasPrefix(r.stdout, begin) {
			t.Errorf("%s: exit status %d, %q, %q", args, r.code, r.stdout, r.stderr)
		}
	}
}

// Flags that do nothing in a command are not in its help. They are taken, because they may stand in an alias.
func TestHelpHasNoFlagsThatDoNothing(t *testing.T) {
	for command, none := range map[string][]string{
		"serve": {"--endpoints", "--timeout", "--output"}, "dev": {"--endpoints", "--timeout", "--output"}, "compact": {"--endpoints", "--timeout"},
		"version": {"--endpoints", "--timeout"}, "snapshot inspect": {"--endpoints", "--timeout"}, "snapshot restore": {"--endpoints", "--timeout"}, "recover": {"--endpoints", "--timeout"},
		"completion bash": {"--endpoints", "--timeout", "--output"}, "help": {"--endpoints", "--timeout", "--output"}, "watch": {"--timeout"},
	} {
		r := rollcall(t, append(strings.Fields(command), "--help")...)
		for _, flag := range none {
			if r.code != exitDone || strings.Contains(r.stdout, "\n      "+flag+" ") || strings.Contains(r.stdout, ", "+flag+" ") {
				t.Errorf("%s --help has %s:\n%s", command, flag, r.stdout)
			}
		}
	}
	rollcall(t, "-e", "127.0.0.1:1", "--timeout", "1s", "version").want(t, exitDone, "rollcall …", "")
}
