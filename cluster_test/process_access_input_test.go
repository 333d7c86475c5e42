package cluster_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// TestProcessAccessBadInput: each bad input to what is about access is one line, and changes nothing.
func TestProcessAccessBadInput(t *testing.T) {
	beside(t, ofProcesses)
	s := startSecured(t)
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := s.token("viewer")
	last := good[len(good)-1:]
	other := "A"
	if last == "A" {
		other = "B"
	}
	before := len(s.events(s.nodes[0]))
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"token", "create", "x", "--role", "reporter", "--on", "shop*", "--out", filepath.Join(dir, "o1")}, `shop*`},
		{[]string{"token", "create", "x", "--role", "nosuch", "--on", "*", "--out", filepath.Join(dir, "o2")}, "nosuch"},
		{[]string{"token", "create", "x", "--role", "reporter", "--on", "*", "--ttl", "0s", "--out", filepath.Join(dir, "o3")}, "ttl"},
		{[]string{"token", "create", "x", "--role", "reporter", "--on", "*", "--ttl", "3660d", "--out", filepath.Join(dir, "o4")}, "ttl"},
		{[]string{"token", "create", "x", "--role", "reporter", "--on", "*", "--ttl", "-1s", "--out", filepath.Join(dir, "o5")}, "ttl"},
		{[]string{"token", "create", "of-viewer", "--role", "viewer", "--on", "*", "--out", filepath.Join(dir, "o6")}, "of-viewer"},
		{[]string{"token", "create", "x y", "--role", "viewer", "--on", "*", "--out", filepath.Join(dir, "o7")}, "x y"},
		{[]string{"token", "create", "x", "--role", "viewer", "--on", "*", "--out", file("taken", "mine", 0o600)}, "taken"},
		{[]string{"token", "create", "x", "--role", "viewer", "--on", "*", "--out", filepath.Join(dir, "no", "o8")}, "does not exist"},
		{[]string{"token", "create", "x", "--role", "viewer", "--on", "*"}, "--out"},
		{[]string{"token", "revoke", "nosuch"}, "nosuch"},
		{[]string{"role", "set", "viewer", "read", "report"}, "viewer"},
		{[]string{"role", "remove", "admin"}, "admin"},
		{[]string{"role", "set", "x", "write"}, "write"},
		{[]string{"role", "set", "x"}, "VERB"},
		{[]string{"role", "remove", "nosuch"}, "nosuch"},
		{[]string{"grant", "add", "someone", "--role", "viewer", "--on", "*"}, "someone"},
		{[]string{"grant", "add", "static:root", "--role", "admin", "--on", "*"}, "static:root"},
		{[]string{"grant", "add", "cert:x", "--role", "viewer"}, "--on"},
		{[]string{"auth", "enable", "--anonymous", "nosuch"}, "nosuch"},
		{[]string{"auth", "can", "write", "shop/cart"}, "write"},
	} {
		_, stderr, code := s.asAdmin(tc.args...)
		if code == 0 || !strings.Contains(stderr, tc.want) || strings.Count(strings.TrimSpace(stderr), "\n") != 0 {
			t.Errorf("rollcall %s: exit %d: %s", strings.Join(tc.args, " "), code, stderr)
		}
	}
	for what, tc := range map[string]struct{ path, want string }{
		"another last character": {file("slip", good[:len(good)-1]+other+"\n", 0o600), "slip"},
		"half of it":             {file("half", good[:30], 0o600), "half"},
		"nothing":                {file("empty", "", 0o600), "empty"},
		"two":                    {file("two", good+"\n"+good+"\n", 0o600), "two"},
		"that others can read":   {file("open", good, 0o644), "open"},
		"that is not there":      {filepath.Join(dir, "nosuch"), "nosuch"},
	} {
		_, stderr, code := s.rollcall("get", "payments", "--ca", s.ca, "--token-file", tc.path)
		if code == 0 || !strings.Contains(stderr, tc.want) || strings.Count(strings.TrimSpace(stderr), "\n") != 0 {
			t.Errorf("a token file with %s: exit %d: %s", what, code, stderr)
		}
		if strings.Contains(stderr, good[len(good)-20:len(good)-1]) {
			t.Errorf("a token file with %s: the secret is printed: %s", what, stderr)
		}
	}
	if _, stderr, code := s.rollcall("get", "payments", "-e", "192.0.2.1:7600", "--token-file", s.tokens["viewer"]); code == 0 || !strings.Contains(stderr, "plain text") {
		t.Errorf("a token in plain text: exit %d: %s", code, stderr)
	}
	// What no command of ours sends.
	for what, tc := range map[string]struct {
		headers []string
		want    string
	}{
		"damaged":         {[]string{"authorization", "Bearer " + good[:len(good)-1] + other}, "TOKEN_DAMAGED"},
		"of no token":     {[]string{"authorization", "Bearer x"}, "TOKEN_DAMAGED"},
		"empty":           {[]string{"authorization", ""}, "TOKEN_DAMAGED"},
		"another scheme":  {[]string{"authorization", "Basic dXNlcjpwYXNz"}, "TOKEN_DAMAGED"},
		"two":             {[]string{"authorization", "Bearer " + good, "authorization", "Bearer " + s.token("admin")}, "TOKEN_DAMAGED"},
		"one that is not": {[]string{"authorization", "Bearer rct_5feceb66ffc86f38_0"}, "TOKEN_DAMAGED"},
	} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), tc.headers...)
		_, err := rollcallv1.NewRegistryClient(s.nodes[1].dial()).GetService(ctx, &rollcallv1.GetServiceRequest{Service: "payments"})
		if status.Code(err) != codes.Unauthenticated || reason(err) != tc.want {
			t.Errorf("a header that is %s: %s %v", what, reason(err), err)
		}
	}
	if after := len(s.events(s.nodes[0])); after != before {
		t.Errorf("%d events were made", after-before)
	}
}
