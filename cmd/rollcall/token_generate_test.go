package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/server/authn"
)

// A token is made without a node, and a node takes it for that of its administrator.
func TestTokenGenerate(t *testing.T) {
	run := func(args ...string) result {
		return rollcall(t, append([]string{"token", "generate"}, args...)...)
	}
	const next = "no cluster knows it; next: start one node with --admin-token-file, and call that node with --token-file\n"
	file := filepath.Join(t.TempDir(), "rescue.token")
	r := run("--out", file)
	secret, err := readToken(file)
	if err != nil {
		t.Fatal(r, err)
	}
	sum := secret.SHA256()
	r.want(t, 0, "token made (id "+secret.ID()+"); the SHA-256 of its secret is "+hex.EncodeToString(sum[:])+"; its text is in "+file+"\n"+next, "")
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	hash := filepath.Join(filepath.Dir(file), "rescue.sha256")
	if err := os.WriteFile(hash, []byte(hex.EncodeToString(sum[:])+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, hash} {
		if _, err := authn.NewStatic(nil, name); err != nil {
			t.Errorf("a node does not take %s: %v", name, err)
		}
	}
	run("--out", file).want(t, 1, "", "rollcall: "+file+" is there already, and is not replaced; move it away first, or name another file\n")
	run("--out", filepath.Join(file, "..", "no", "x")).want(t, 1, "", "…")
	run().want(t, 1, "", "rollcall: --out is missing: the file that the token is written to; \"--out -\" prints it\n")
	if again, err := readToken(file); err != nil || again.Text() != secret.Text() {
		t.Errorf("the file was replaced: %v", err)
	}
}

func TestTokenGenerateToTheOutput(t *testing.T) {
	r := rollcall(t, "token", "generate", "--out", "-")
	secret, err := accesstoken.Parse(strings.TrimSuffix(r.stdout, "\n"))
	if err != nil || r.code != 0 || !strings.Contains(r.stderr, "(id "+secret.ID()+")") || strings.Contains(r.stderr, secret.Text()) {
		t.Error(r, err)
	}
	r = rollcall(t, "token", "generate", "--out", "-", "-o", "json")
	var made map[string]string
	if err := json.Unmarshal([]byte(r.stdout), &made); err != nil || len(made) != 3 || r.stderr != "" {
		t.Fatal(r, err)
	}
	if secret, err = accesstoken.Parse(made["token_text"]); err != nil || secret.ID() != made["id"] {
		t.Error(made, err)
	}
	file := filepath.Join(t.TempDir(), "x.token")
	r = rollcall(t, "token", "generate", "--out", file, "-o", "json")
	made = nil
	if err := json.Unmarshal([]byte(r.stdout), &made); err != nil || made["file"] != file || made["token_text"] != "" || made["secret_sha256"] == "" {
		t.Error(r, err)
	}
}
