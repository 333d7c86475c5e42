package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
)

// walk calls f with every command that people can call.
func walk(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			walk(c, f)
		}
	}
}

func testRoot() *cobra.Command { return newRootCommand(&app{stdout: io.Discard, stderr: io.Discard}) }

// flagsOf returns all flags that a command takes.
func flagsOf(cmd *cobra.Command) []*pflag.Flag {
	cmd.InheritedFlags() // merges those of parents into Flags
	var all []*pflag.Flag
	cmd.Flags().VisitAll(func(f *pflag.Flag) { all = append(all, f) })
	return all
}

// A variable is set for all commands at once. So a variable of several commands must mean the same to all of
// them, and none may choose what a command does. Whoever adds a flag decides here which it is.
func TestWhichVariableServesWhichCommands(t *testing.T) {
	shared := map[string][]string{}
	var only []string
	walk(testRoot(), func(cmd *cobra.Command) {
		if !cmd.Runnable() || cmd.HasSubCommands() {
			return
		}
		path := strings.TrimPrefix(cmd.CommandPath(), "rollcall ")
		for _, f := range flagsOf(cmd) {
			switch {
			case f.Name == "help" || f.Annotations[doesNotApply] != nil:
			case cliflag.FromEnvironment(f):
				shared[f.Name] = append(shared[f.Name], path)
			default:
				only = append(only, path+" --"+f.Name)
			}
		}
	})
	for name, paths := range shared {
		if len(paths) < 2 {
			delete(shared, name)
		}
	}
	want := map[string]string{
		"actor":         "auth disable, auth enable, bench clean, bench watch, bench write, delete, grant add, grant allow, grant deny, grant remove, lease grant, lease release-guard, lease revoke, member add, member promote, member remove, member replace, override clear, override set, resume, role remove, role set, rule add, rule remove, set, shutdown, token create, token revoke", // who writes
		"allow-missing": "delete, grant remove, lease revoke, override clear, resume, role remove, rule remove, token revoke",
		"cluster":       "auth disable, auth enable, delete, events, get, grant add, grant allow, grant deny, grant remove, history, lease grant, lease list, lease release-guard, lease revoke, list, member add, member promote, member remove, member replace, override clear, override list, override set, probe, resume, role remove, role set, rule add, rule check, rule list, rule remove, set, shutdown, token create, token revoke, why", // that must answer
		"connections":   "bench check, bench watch, bench write",
		"duration":      "bench check, bench write",
		"if-revision":   "auth disable, auth enable, delete, grant add, grant allow, grant deny, grant remove, override clear, override set, resume, role remove, role set, rule add, rule remove, set, shutdown",
		"insecure":      "agent, serve, snapshot restore",
		"limit":         "events, history, list",
		"linearizable":  "bench check, events, get, history, lease list, list, override list, probe, rule check, rule list, why",
		"log-format":    "agent, serve",
		"log-level":     "agent, dev, serve",
		"log-store":     "recover, serve, snapshot restore",
		"max-staleness": "events, get, history, lease list, list, override list, probe, rule check, rule list, why",
		"member":        "recover, serve, snapshot restore",
		"min-revision":  "events, get, history, lease list, list, override list, probe, rule check, rule list, why",
		"node":          "recover, serve, snapshot restore",
		"rate":          "bench check, bench write",
		"reason":        "auth disable, auth enable, delete, grant add, grant allow, grant deny, grant remove, lease grant, lease release-guard, lease revoke, member add, member promote, member remove, member replace, override clear, override set, resume, role remove, role set, rule add, rule remove, set, shutdown, token create, token revoke",
		"request-id":    "auth disable, auth enable, delete, grant add, grant allow, grant deny, grant remove, lease grant, lease release-guard, lease revoke, member add, member promote, member remove, member replace, override clear, override set, resume, role remove, role set, rule add, rule remove, set, shutdown, token create, token revoke",
		"reverse":       "events, history",
		"since":         "events, history",
		"until":         "events, history",
		// The data of one stopped or running node.
		"data": "compact, recover, serve, snapshot restore",
	}
	for name, paths := range shared {
		switch name {
		case "endpoints", "output", "color", "no-headers", "timeout", "ca", "cert", "key", "token-file":
			continue // of all commands that ask nodes or print
		}
		if got := strings.Join(paths, ", "); got != want[name] {
			t.Errorf("ROLLCALL_%s serves %s, want %s", name, got, want[name])
		}
	}
	slices.Sort(only)
	wantOnly := []string{
		"agent --check-config",
		"auth can --identity", "auth can --when-enforced", "auth disable --dry-run", "auth enable --anonymous", "auth enable --dry-run",
		"bench clean --prefix", "bench watch --prefix", "bench write --prefix",
		"cert ca --days", "cert ca --dir", "cert client --days", "cert client --dir", "cert node --days", "cert node --dir", "cert node --host",
		"delete --break-glass", "delete --dry-run", "delete --lease", "dev --auth", "dev --data", "dev --fresh", "dev --tls",
		"events --actor", "events --follow", "events --service", "get --at",
		"grant add --dry-run", "grant add --on", "grant add --role", "grant allow --dry-run", "grant deny --dry-run", "grant remove --dry-run", "grant remove --on", "grant remove --role",
		"lease grant --dry-run", "lease grant --forget-after", "lease grant --on-expiry", "lease grant --ttl", "lease keep-alive --timeout", "lease list --all", "lease release-guard --dry-run",
		"lease revoke --dry-run", "lease revoke --keep-reports", "lease revoke --status", "list --at",
		"member add --dry-run", "member add --no-wait", "member add --peer", "member add --replica", "member add --timeout",
		"member promote --dry-run", "member promote --no-wait", "member promote --timeout",
		"member remove --dry-run", "member remove --force", "member remove --no-wait", "member remove --timeout",
		"member replace --dry-run", "member replace --force", "member replace --no-wait", "member replace --peer", "member replace --timeout",
		"override clear --break-glass", "override clear --dry-run",
		"override set --break-glass", "override set --dry-run", "override set --for", "override set --forever",
		"probe --addr", "probe --gzip", "probe --rpc-header", "probe --service", "probe --tls", "probe --tls-ca-cert", "probe --tls-client-cert", "probe --tls-client-key",
		"probe --tls-no-verify", "probe --tls-server-name", "probe --user-agent", "probe --verbose",
		"recover --committed-only", "recover --dry-run", "recover --force", "recover --inspect",
		"resume --break-glass", "resume --dry-run",
		"role remove --dry-run", "role set --dry-run",
		"rule add --dry-run", "rule add --enforce-reports", "rule add --min", "rule add --percent", "rule remove --dry-run",
		"set --break-glass", "set --dry-run", "set --forget-after", "set --keep-alive", "set --lease", "set --on-expiry", "set --on-stop", "set --ttl",
		"shutdown --break-glass", "shutdown --dry-run", "shutdown --for", "shutdown --forever",
		"snapshot save --committed-only", "snapshot save --data", "snapshot save --force", "status --wait", "status --watch", "token create --description", "token create --dry-run", "token create --on", "token create --out", "token create --role", "token create --ttl", "token generate --out",
		"token revoke --dry-run", "token revoke --id", "top --group-depth", "top --once", "top --prefix", "verify --data", "wait --timeout", "watch --prefix", "watch --timeout",
	}
	if !slices.Equal(only, wantOnly) {
		t.Errorf("flags without a variable:\n%s\nwant:\n%s", strings.Join(only, "\n"), strings.Join(wantOnly, "\n"))
	}
}

// Kubernetes sets such variables for a service that is called "rollcall".
func TestVariablesOfOthersAreNoFlags(t *testing.T) {
	walk(testRoot(), func(cmd *cobra.Command) {
		for _, f := range flagsOf(cmd) {
			if name := cliflag.EnvironmentName(f.Name); strings.HasPrefix(name, "ROLLCALL_PORT") || strings.HasPrefix(name, "ROLLCALL_SERVICE_") {
				t.Errorf("%s --%s: Kubernetes sets %s", cmd.CommandPath(), f.Name, name)
			}
		}
	})
}

// No variable makes a command do something else.
func TestVariablesDoNotChangeWhatACommandDoes(t *testing.T) {
	commands := [][]string{
		{"verify"}, {"status", "-o", "json"}, {"get", "shop/cart"}, {"list"}, {"watch", "--prefix", "none/", "--timeout=1s"}, {"events", "-o", "json"},
		{"wait", "shop/cart", "--for", "down"}, {"probe", "shop/cart"}, {"events", "--follow", "--limit", "2", "--from", "1", "-o", "json"},
		{"events", "shop/", "-o", "json"}, {"set", "new/one", "up"}, {"delete", "new/one"},
	}
	run := func(set func()) []string {
		var results []string
		node := eventful(t)
		set()
		for _, args := range commands {
			r := rollcall(t, args...)
			results = append(results, strings.Join(args, " ")+": "+strings.ReplaceAll(r.stdout+r.stderr, node.address, "NODE"))
		}
		return results
	}
	plain := run(func() {})
	changed := run(func() {
		for name, value := range map[string]string{
			"DATA": t.TempDir(), "FOLLOW": "true", "WAIT": "1ns", "AT": "1", "DRY_RUN": "true", "PREFIX": "rollcall-bench/", "FORCE": "true", "FRESH": "true",
			"SERVICE": "shop/pay", "ACTOR": "somebody", "FOR": "   ", "REASON": " ", "REQUEST_ID": "",
		} {
			t.Setenv("ROLLCALL_"+name, value)
		}
	})
	for i := range plain {
		if plain[i] != changed[i] {
			t.Errorf("without variables %s\nwith them %s", plain[i], changed[i])
		}
	}
	// What is given for lists does not contradict following.
	t.Setenv("ROLLCALL_TO", "3")
	t.Setenv("ROLLCALL_UNTIL", "2h")
	t.Setenv("ROLLCALL_REVERSE", "true")
	t.Setenv("ROLLCALL_LINEARIZABLE", "true")
	if r := rollcall(t, "events", "--follow", "--limit", "5", "--from", "1", "-o", "json"); r.code != 0 {
		t.Error(r)
	}
}

// A flag without a text is most likely a variable of a script that was not set.
func TestFlagsWithoutATextAreRefused(t *testing.T) {
	f := eventful(t)
	before := len(f.wrote)
	for _, args := range []string{
		"set a up --actor", "set a up --lease", "delete a --lease", "set a up --request-id", "set a up --cluster", "delete a --actor", "delete a --request-id", "delete a --cluster",
		"get a --cluster", "list --cluster", "events --actor", "events --cluster", "history a --cluster", "probe a --cluster", "verify --data", "agent --config",
		"snapshot restore x --token", "snapshot save x --data", "bench write --actor", "bench clean --prefix", "dev --data", "whoami --token-file", "auth can read a --identity", "auth enable --anonymous",
		"grant add cert:a --on x --role", "grant add cert:a --role x --on", "token create a --role x --on y --out", "token generate --out", "token revoke --id", "member add n4 --peer", "member replace n3 --peer", "member remove n3 --request-id",
	} {
		flag := args[strings.LastIndex(args, "--"):]
		for _, value := range []string{"", "  ", "\t"} {
			fields := strings.Fields(args)
			fields[len(fields)-1] += "=" + value
			rollcall(t, fields...).want(t, exitNotDone, "", "rollcall: "+flag+" is empty; give it a value, or leave it out\n")
		}
	}
	if len(f.wrote) != before {
		t.Error("something was written")
	}
}
