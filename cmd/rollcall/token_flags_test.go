package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
)

// tokenFile makes a file with a token.
func tokenFile(t *testing.T) (string, accesstoken.Token) {
	t.Helper()
	file, secret := filepath.Join(t.TempDir(), "ci.token"), accesstoken.New()
	if err := writeToken(file, secret); err != nil {
		t.Fatal(err)
	}
	return file, secret
}

const filteredLine = "! only what this caller may read is shown; \"rollcall whoami\" says what that is\n"

// Every command that reads says, once, that something is left out; programs read it, too.
func TestWhatIsFilteredIsSaid(t *testing.T) {
	for _, line := range []string{
		"list", "get shop/cart", "events", "events --follow --limit 1 --from 1", "history shop/cart", "override list", "rule list", "why shop/cart", "lease list",
	} {
		t.Run(line, func(t *testing.T) {
			f, run := shop(t)
			f.access.filtered = true
			r := run(strings.Fields(line)...)
			if r.code != 0 || strings.Count(r.stderr, filteredLine) != 1 {
				t.Error(r)
			}
			r = run(append(strings.Fields(line), "-o", "json")...)
			const notice = `{"notice":"FILTERED","message":"only what this caller may read is shown; \"rollcall whoami\" says what that is"}` + "\n"
			if r.code != 0 || r.stderr != notice {
				t.Error(r)
			}
			f.mu.Lock()
			f.access.filtered = false
			f.mu.Unlock()
			if r := run(strings.Fields(line)...); strings.Contains(r.stderr, filteredLine) {
				t.Error(r)
			}
		})
	}
	// What a shell offers is no place for it.
	f, run := shop(t)
	f.access.filtered = true
	run("__complete", "get", "").want(t, 0, "shop/cart\nshop/pay/a\nshop/pay/b\n:4\n", "Completion ended with directive: ShellCompDirectiveNoFileComp\n")
}

func TestTheTokenIsSent(t *testing.T) {
	f, run := shop(t)
	file, secret := tokenFile(t)
	run("whoami", "--token-file", file).want(t, 0, "…", "")
	t.Setenv("ROLLCALL_TOKEN_FILE", file)
	run("whoami").want(t, 0, "…", "")
	run("auth", "enable").want(t, 0, "…", "")
	for _, sent := range f.access.seen {
		if sent != "Bearer "+secret.Text() {
			t.Errorf("sent %q", sent)
		}
	}
	if len(f.access.seen) != 3 {
		t.Errorf("%d calls", len(f.access.seen))
	}
}

// A token goes to the nodes of the variable's cluster, and to another server only if the command line says so.
func TestWhomProbeSendsTheToken(t *testing.T) {
	f, run := shop(t)
	file, secret := tokenFile(t)
	for _, test := range []struct {
		variable string
		args     []string
		sent     bool
	}{
		{"", nil, false}, {file, nil, true}, {file, []string{"--addr", f.address}, false}, {file, []string{"--addr", f.address, "--token-file", file}, true}, {"", []string{"--token-file", file}, true},
	} {
		t.Setenv("ROLLCALL_TOKEN_FILE", test.variable)
		f.seen.Store("")
		run(append([]string{"probe", "shop/cart"}, test.args...)...).want(t, 0, "shop/cart SERVING\n", "")
		if got, want := f.seen.Load(), map[bool]string{true: "Bearer " + secret.Text()}[test.sent]; got != want {
			t.Errorf("variable %q, %q: sent %q, want %q", test.variable, test.args, got, want)
		}
	}
}

func TestBenchSendsTheToken(t *testing.T) {
	f, run := shop(t)
	file, secret := tokenFile(t)
	f.seen.Store("")
	if r := run("bench", "check", "shop/cart", "--duration", "100ms", "--callers", "1", "--token-file", file); r.code != 0 || f.seen.Load() != "Bearer "+secret.Text() {
		t.Error(r, f.seen.Load())
	}
}

// A token file that cannot be used is one clear error, before anything is sent, in every command.
func TestTokenFilesThatCannotBeUsed(t *testing.T) {
	f, run := shop(t)
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := accesstoken.New().Text()
	seen := len(f.access.seen)
	for _, test := range []struct{ file, want string }{
		{filepath.Join(dir, "no"), "no such file or directory"},
		{dir, "is a directory"},
		{write("empty", "", 0o600), "is empty"},
		{write("damaged", secret[:len(secret)-1]+"!", 0o600), "a character that no token has"},
		{write("cut", secret[:30], 0o600), "it was cut"},
		{write("open", secret, 0o644), "chmod 600"},
	} {
		for _, line := range [][]string{{"whoami"}, {"get", "shop/cart"}, {"watch", "shop/cart"}, {"probe", "shop/cart"}, {"bench", "check"}, {"events", "--follow"}, {"snapshot", "save", filepath.Join(dir, "s")}} {
			r := run(append(line, "--token-file", test.file)...)
			if r.code != 1 || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "rollcall: --token-file: ") || !strings.Contains(r.stderr, test.want) || strings.Contains(r.stderr, secret[20:]) {
				t.Errorf("%s: %v", line, r)
			}
			checkWords(t, line, r)
		}
	}
	const plain = "; connect with TLS: name the file of the CA of the nodes with --ca\n"
	r := run("whoami", "--token-file", write("good", secret, 0o600), "-e", "192.0.2.1:7600")
	if r.code != 1 || !strings.HasSuffix(r.stderr, plain) || strings.Count(r.stderr, "connect with TLS") != 1 {
		t.Error(r)
	}
	if len(f.access.seen) != seen {
		t.Error("something was sent")
	}
}

// A node's refusal of the caller ends what waits: time does not change it.
func TestARefusalEndsWhatWaits(t *testing.T) {
	f, run := shop(t)
	gone := refusal(codes.Unauthenticated, "TOKEN_REVOKED", "the token of token:ci was revoked", map[string]string{"written": "no"})
	f.refuseReads(gone)
	f.noStatus = gone
	const another = "an administrator makes another one with \"rollcall token create\"\n"
	run("status", "--wait", "1h").want(t, 1, "", "rollcall: cannot get the status of the cluster: the token of token:ci was revoked; "+another)
	run("get", "shop/cart").want(t, 1, "", "rollcall: cannot get shop/cart: the token of token:ci was revoked; "+another)
}
