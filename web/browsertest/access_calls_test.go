package browsertest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// anonymous sets the role of callers that prove no identity.
func (n *node) anonymous(role string) error {
	conn, err := n.dial()
	if err != nil {
		return err
	}
	if role == "none" {
		role = ""
	}
	_, err = rollcallv1.NewAccessClient(conn).SetAuth(n.call(), &rollcallv1.SetAuthRequest{Enforced: true, Anonymous: role, Reason: "test"})
	return err
}

// token makes a token with a role over a pattern, as an administrator does on the command line. It returns its text.
func (n *node) token(t testing.TB, name, role, pattern string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := rollcall(n.flags("token", "create", name, "--role", role, "--on", pattern, "--out", file, "--reason", "test")...); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func (n *node) revoke(t testing.TB, name string) {
	t.Helper()
	if err := rollcall(n.flags("token", "revoke", name, "--reason", "test")...); err != nil {
		t.Fatal(err)
	}
}

// flags are the arguments of a command that an administrator gives to this node.
func (n *node) flags(args ...string) []string {
	args = append(args, "--endpoints", n.api)
	if n.ca != "" {
		args = append(args, "--ca", n.ca, "--token-file", filepath.Join(n.dir, "admin.token"))
	}
	return args
}
