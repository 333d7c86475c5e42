package main

import (
	"fmt"
	"strings"
	"testing"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// Flags that make no sense, or not together, are one line, and nothing is sent.
func TestMistakesWithLeasesAreOneLine(t *testing.T) {
	f, _ := shop(t)
	before := len(f.wrote)
	for _, test := range []struct{ args, want string }{
		{"lease", `…`},
		{"lease renew", `unknown command "renew" for "rollcall lease"; did you mean "keep-alive"? see "rollcall lease --help"`},
		{"lease grant x", `"x" is one argument too many; see "rollcall lease grant --help"`},
		{"lease grant --ttl 999ms", `--ttl is 999ms; it must be from 1s to 24h`},
		{"lease grant --ttl 25h", `--ttl is 1d1h; it must be from 1s to 24h`},
		{"lease grant --ttl -5s", `--ttl is -5s; it must be from 1s to 24h`},
		{"lease grant --ttl 0s", `--ttl is 0; it must be from 1s to 24h`},
		{"lease grant --ttl 10", `--ttl: "10" has no unit; use 10s, 10m, 10h or 10d; see "rollcall lease grant --help"`},
		{"lease grant --on-expiry gone", `--on-expiry: "gone" is no status; use not_serving, unknown, serving or delete; see "rollcall lease grant --help"`},
		{"lease grant --forget-after 999ms", `--forget-after is 999ms; it must be from 1s to 365d, or 0: never`},
		{"lease grant --forget-after 366d", `--forget-after is 366d; it must be from 1s to 365d, or 0: never`},
		{"lease grant --forget-after 1d --on-expiry delete", `--on-expiry delete leaves no reports that --forget-after could delete`},
		{"lease grant --if-revision 5", `unknown flag: --if-revision; …`},
		{"lease revoke", `ID is missing; see "rollcall lease revoke --help"`},
		{"lease revoke a b", `"b" is one argument too many; see "rollcall lease revoke --help"`},
		{"lease revoke " + strings.Repeat("a", 65), `lease id is 65 bytes long; at most 64 are allowed`},
		{"lease revoke a --status down --keep-reports", `--status and --keep-reports exclude each other`},
		{"lease revoke a --status gone", `--status: "gone" is no status; …`},
		{"lease keep-alive", `ID is missing; see "rollcall lease keep-alive --help"`},
		{"lease keep-alive a --timeout 5s", `keep-alive goes on until it is interrupted and has no --timeout`},
		{"lease list a b", `"b" is one argument too many; see "rollcall lease list --help"`},
		{"lease release-guard now", `"now" is one argument too many; see "rollcall lease release-guard --help"`},
		{"set a up --keep-alive", `--keep-alive needs --ttl; it says how soon the reports turn when nobody renews them`},
		{"set a up --lease x --keep-alive", `--keep-alive renews a new lease, of --ttl; "rollcall lease keep-alive" renews one that there is`},
		{"set a up --lease x --ttl 10s", `--ttl makes a new lease, and --lease names one that there is: give one of them`},
		{"set a up --lease=", `--lease is empty; give it a value, or leave it out`},
		{"set a up --lease " + strings.Repeat("a", 65), `lease id is 65 bytes long; at most 64 are allowed`},
		{"delete a --lease " + strings.Repeat("a", 65), `lease id is 65 bytes long; at most 64 are allowed`},
		{"set a up --on-stop leave", `--on-stop says what the end of --keep-alive does, which is not given`},
		{"set a up --ttl 10s --on-stop leave", `--on-stop says what the end of --keep-alive does, which is not given`},
		{"set a up --ttl 10s --keep-alive --on-stop gone", `--on-stop: "gone" is no end; use not_serving, withdraw or leave; see "rollcall set --help"`},
		{"set a up --on-expiry unknown", `--on-expiry says what a new lease is like, and needs --ttl`},
		{"set a up --lease x --forget-after 1d", `--forget-after says what a new lease is like, and needs --ttl`},
		{"set a up --ttl 500ms", `--ttl is 500ms; it must be from 1s to 24h`},
		{"set a up --ttl 0s --keep-alive", `--ttl is 0; it must be from 1s to 24h`},
		{"set a up --ttl 10s --dry-run", `--dry-run cannot be given with --ttl: it makes no lease that the reports could be attached to`},
		{"set a up --ttl 10s --keep-alive --if-revision 0", `--keep-alive reports again whenever it must, and cannot be given with --if-revision`},
		{"set a up --ttl 10s --keep-alive --request-id r", `--keep-alive makes more changes than one, and cannot be given with --request-id`},
		{"set a up --ttl 10s --keep-alive --break-glass * --reason r", `--keep-alive reports again whenever it must, and cannot be given with --break-glass`},
		{"set a up --ttl 10s --keep-alive --timeout 5s", `--keep-alive goes on until it is interrupted and has no --timeout`},
		{"set a up --ttl 10s --request-id " + strings.Repeat("r", 59), `--request-id is 59 bytes long; at most 58 are allowed with --ttl`},
	} {
		if test.args == "lease" {
			continue // the help
		}
		t.Run(test.args, func(t *testing.T) {
			want := test.want
			if !strings.HasSuffix(want, "…") {
				want += "\n"
			}
			rollcall(t, strings.Fields(test.args)...).want(t, exitNotDone, "", "rollcall: "+want)
		})
	}
	rollcall(t, "lease", "revoke", "").want(t, exitNotDone, "", "rollcall: lease id is empty; \"rollcall lease grant\" prints one\n")
	if len(f.wrote) != before || len(f.leases.asked) > 0 {
		t.Error("something was sent")
	}
}

// A variable is set for all commands: none of them may then make leases, or end them otherwise, unseen.
func TestNoVariableMakesALease(t *testing.T) {
	f, run := shop(t)
	for name, value := range map[string]string{
		"TTL": "10s", "KEEP_ALIVE": "true", "LEASE": "x", "ON_STOP": "withdraw", "ON_EXPIRY": "delete", "FORGET_AFTER": "1d", "STATUS": "delete", "KEEP_REPORTS": "true", "ALL": "true",
	} {
		t.Setenv("ROLLCALL_"+name, value)
	}
	run("set", "shop/new", "up").want(t, 0, "shop/new SERVING, revision 5\n", "")
	run("lease", "grant", "--ttl", "20s").want(t, 0, "lease "+leaseID(1)+" granted, ttl 20s, then NOT_SERVING, revision 6\n…", "")
	run("lease", "revoke", leaseID(1)).want(t, 0, "…", "")
	req := f.leases.asked[1].(*rollcallv1.RevokeLeaseRequest)
	if len(f.leases.asked) != 2 || req.Status != nil || req.GetKeepReports() {
		t.Errorf("sent %v", f.leases.asked)
	}
}

func TestLeasesSendTheirFlags(t *testing.T) {
	f, run := shop(t)
	for _, test := range []struct{ args, want string }{
		{"lease grant --request-id i --reason r", `ttl:{seconds:10} actor:"ann" request_id:"i" reason:"r"`},
		{"lease grant --request-id i --ttl 1m --on-expiry delete --dry-run", `ttl:{seconds:60} on_expiry:SERVICE_UNKNOWN actor:"ann" request_id:"i" validate_only:true`},
		{"lease grant --request-id i --forget-after 0 --on-expiry delete", `ttl:{seconds:10} on_expiry:SERVICE_UNKNOWN actor:"ann" request_id:"i"`},
		{"lease grant --request-id i --ttl 1m --on-expiry UNKNOWN --forget-after 1h", `ttl:{seconds:60} on_expiry:UNKNOWN actor:"ann" request_id:"i" forget_after:{seconds:3600}`},
		{"lease revoke x --request-id i --allow-missing", `lease_id:"x" actor:"ann" request_id:"i" allow_missing:true`},
		{"lease revoke x --request-id i --status delete --reason r --allow-missing --dry-run", `lease_id:"x" reason:"r" actor:"ann" request_id:"i" status:SERVICE_UNKNOWN allow_missing:true validate_only:true`},
		{"lease revoke x --request-id i --status down --allow-missing", `lease_id:"x" actor:"ann" request_id:"i" status:NOT_SERVING allow_missing:true`},
		{"lease revoke x --request-id i --keep-reports --allow-missing", `lease_id:"x" actor:"ann" request_id:"i" keep_reports:true allow_missing:true`},
		{"lease release-guard --request-id i --reason r --dry-run", `reason:"r" actor:"ann" request_id:"i" validate_only:true`},
	} {
		run(strings.Fields(test.args)...).want(t, 0, "…", "…")
		if got := strings.ReplaceAll(fmt.Sprint(f.leases.asked[len(f.leases.asked)-1]), "  ", " "); got != test.want {
			t.Errorf("%s sends\n%s, want\n%s", test.args, got, test.want)
		}
	}
}
