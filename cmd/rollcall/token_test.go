package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// create is the command line of a token that is written to a file.
func create(name, file string, more ...string) []string {
	return append([]string{"token", "create", name, "--role", "reporter", "--on", "shop/*", "--out", file}, more...)
}

func TestTokenCreateListRevoke(t *testing.T) {
	f, run := shop(t)
	file := filepath.Join(t.TempDir(), "ci.token")
	run("token", "list").want(t, 0, "", "there are no tokens; \"rollcall token create\" makes one\n")
	run(create("ci", file, "--dry-run")...).want(t, 0, "token ci could be created: reporter on shop/*; dry run, nothing changed\n", "")
	if fileExists(file) {
		t.Fatal("a dry run made the file")
	}
	r := run(create("ci", file, "--ttl", "90d", "--description", "the build", "--reason", "asked for")...)
	secret, err := readToken(file)
	if err != nil {
		t.Fatal(r, err)
	}
	r.want(t, 0, "token ci (id "+secret.ID()+"): reporter on shop/*, until 2027-02-20 10:00, revision 5; its text is in "+file+"\n", "")
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if b, _ := os.ReadFile(file); string(b) != secret.Text()+"\n" {
		t.Errorf("the file holds %q", b)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "*")); len(left) != 1 {
		t.Errorf("files are left: %v", left)
	}
	if strings.Contains(r.stdout+r.stderr, secret.Text()) {
		t.Error("the text is shown, too")
	}
	sum := secret.SHA256()
	if asked := f.access.asked[len(f.access.asked)-1].(*rollcallv1.CreateTokenRequest); string(asked.GetSecretSha256()) != string(sum[:]) {
		t.Error("the cluster was told of another token")
	}
	run(create("ci", file)...).want(t, 1, "", "rollcall: "+file+" is there already, and is not replaced; move it away first, or name another file\n")
	run(create("ops", filepath.Join(filepath.Dir(file), "no", "ops.token"))...).want(t, 1, "", "rollcall: the directory "+filepath.Dir(file)+"/no does not exist; make it first\n")
	r = run("token", "create", "ops", "--role", "admin", "--on", "*", "--out", "-")
	printed, err := accesstoken.Parse(strings.TrimSuffix(r.stdout, "\n"))
	if err != nil {
		t.Fatal(r)
	}
	r.want(t, 0, printed.Text()+"\n", "token ops (id "+printed.ID()+"): admin on *, until it is revoked, revision 6\n")
	run("token", "list").want(t, 0, ""+
		"TOKEN  ID                MAY                 EXPIRES                      REVISION  ACTOR                DESCRIPTION\n"+
		"ci     "+secret.ID()+"  reporter on shop/*  2027-02-20 10:00, in 89d23h  5         token:admin for ann  the build\n"+
		"ops    "+printed.ID()+"  admin on *          never                        6         token:admin for ann  -\n", "")
	run("token", "revoke", "ci", "--dry-run").want(t, 0, "token ci would be revoked; dry run, nothing changed\n", "")
	run("token", "revoke", "ci").want(t, 0, "token ci revoked, revision 7\n", "")
	run("token", "revoke", "ci").want(t, 1, "", "rollcall: cannot revoke token ci: token \"ci\" does not exist; \"rollcall token list\" shows the tokens\n")
	run("token", "revoke", "ci", "--allow-missing").want(t, 0, "token ci does not exist any more, revision 8\n", "")
	run("token", "revoke", "--id", printed.ID()).want(t, 0, "token "+printed.ID()+" revoked, revision 9\n", "")
	// Somebody may give the whole text for the id: it is not shown again.
	if r := run("token", "revoke", "--id", printed.Text()); r.code != 1 || strings.Contains(r.stderr, printed.Text()) {
		t.Error(r)
	}
	run("events", "--type", "access-changed", "--limit", "2").want(t, 0, ""+
		"REVISION  TIME                     SERVICE   FROM→TO                                  ACTOR                REASON\n"+
		"5         2026-11-22 10:05:00.000  token:ci  token created, expires 2027-02-20 10:00  token:admin for ann  asked for\n"+
		"5         2026-11-22 10:05:00.000  token:ci  grants: reporter on shop/*               token:admin for ann  asked for\n", "")
}

func TestTokenAsJSON(t *testing.T) {
	_, run := shop(t)
	r := run("token", "create", "ci", "--role", "viewer", "--on", "*", "--out", "-", "-o", "json")
	var got struct {
		Text  string `json:"token_text"`
		Token struct{ Name, ID string }
	}
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.stderr != "" {
		t.Fatal(r, err)
	}
	if secret, err := accesstoken.Parse(got.Text); err != nil || secret.ID() != got.Token.ID || got.Token.Name != "ci" {
		t.Error(r, err)
	}
}

// A token that surely is none leaves no file, and whose outcome is unknown is used again by the same command.
func TestATokenWhoseOutcomeIsUnknown(t *testing.T) {
	f, run := shop(t)
	file := filepath.Join(t.TempDir(), "ci.token")
	f.refuseWrites(refusal(codes.FailedPrecondition, "AUTH_LOCKOUT", "not now", map[string]string{"written": "no"}))
	run(create("ci", file)...).want(t, 1, "", "rollcall: cannot create token ci: not now\n")
	if fileExists(file) {
		t.Error("a file is left of a token that is none")
	}
	f.refuseWrites(refusal(codes.Unknown, "OUTCOME_UNKNOWN", "the leader has gone", map[string]string{"written": "unknown"}))
	run(create("ci", file, "--timeout", "300ms", "--request-id", "r1")...).want(t, 5, "", "rollcall: outcome of create token ci unknown: …")
	first, err := readToken(file)
	if err != nil {
		t.Fatal(err)
	}
	r := run(create("ci", file, "--timeout", "300ms", "--request-id", "r1")...)
	if want := "--request-id r1 within ten minutes, and it is done once; the token in " + file + " is used again then\n"; r.code != 5 || !strings.HasSuffix(r.stderr, want) {
		t.Error(r)
	}
	f.refuseWrites(nil)
	run(create("ci", file, "--request-id", "r1")...).want(t, 0, "token ci (id "+first.ID()+"): …", "")
	run(create("ci", file, "--request-id", "r1")...).want(t, 0, "token ci (id "+first.ID()+"): reporter on shop/*, until it is revoked, already since revision 5; nothing changed; its text is in "+file+"\n", "")
	// A refusal does not remove the file of an earlier try.
	f.refuseWrites(refusal(codes.FailedPrecondition, "AUTH_LOCKOUT", "not now", map[string]string{"written": "no"}))
	run(create("ci", file, "--request-id", "r1")...).want(t, 1, "", "…")
	if again, err := readToken(file); err != nil || again.Text() != first.Text() {
		t.Error("the file of an earlier try is gone")
	}
	if err := os.WriteFile(file, []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(create("ci", file, "--request-id", "r1")...).want(t, 1, "", "rollcall: "+file+" is there already, and holds no token: the token does not begin with \"rct_\": it is not one of Rollcall's; move it away first, or name another file\n")
	f.refuseWrites(refusal(codes.Unknown, "OUTCOME_UNKNOWN", "the leader has gone", map[string]string{"written": "unknown"}))
	r = run("token", "create", "ci", "--role", "viewer", "--on", "*", "--out", "-", "--timeout", "300ms")
	if want := "nobody has its text, so if it was made it is of no use: \"rollcall token revoke ci --allow-missing\", and create it again\n"; r.code != 5 || r.stdout != "" || !strings.HasSuffix(r.stderr, want) {
		t.Error(r)
	}
}

func TestBadTokens(t *testing.T) {
	_, run := shop(t)
	file := filepath.Join(t.TempDir(), "a")
	const ttl = "; it must be from 1s to 3650d, or left out: then the token is valid until it is revoked\n"
	run(create("a", file, "--ttl", "0")...).want(t, 1, "", "rollcall: --ttl is 0"+ttl)
	run(create("a", file, "--ttl", "999ms")...).want(t, 1, "", "rollcall: --ttl is 999ms"+ttl)
	run(create("a", file, "--ttl", "3651d")...).want(t, 1, "", "rollcall: --ttl is 3651d"+ttl)
	run(create("a", file, "--ttl", "-1s")...).want(t, 1, "", "rollcall: --ttl is -1s"+ttl)
	run(create(strings.Repeat("x", 65), file)...).want(t, 1, "", "rollcall: token name …")
	run("token", "create", "a", "--out", file).want(t, 1, "", "rollcall: --role is missing; \"rollcall role list\" shows the roles\n")
	run("token", "create", "a", "--role", "viewer", "--on", "*").want(t, 1, "", "rollcall: --out is missing: the file that the token is written to; \"--out -\" prints it\n")
	run("token", "create", "a", "--role", "nosuch", "--on", "*", "--out", file).want(t, 1, "", "rollcall: cannot create token a: role \"nosuch\" does not exist; \"rollcall role list\" shows the roles\n")
	run("token", "revoke").want(t, 1, "", "rollcall: NAME is missing; --id names a token by its id\n")
	run("token", "revoke", "a", "--id", "0123456789abcdef").want(t, 1, "", "rollcall: NAME and --id name two tokens; give one of them\n")
	run("token", "revoke", "--id", "xyz").want(t, 1, "", "rollcall: --id is no id of a token: one has 16 hexadecimal digits; \"rollcall token list\" shows the ids\n")
	if fileExists(file) {
		t.Error("a file was made")
	}
}
