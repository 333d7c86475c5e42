package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// A flag of one value that is given twice is not obeyed by halves: the last role over all patterns is nobody's wish.
func TestFlagsOfAccessAreTakenOnce(t *testing.T) {
	f, run := shop(t)
	out := filepath.Join(t.TempDir(), "t.token")
	run("token", "create", "t", "--role", "viewer", "--on", "pay/*", "--role", "admin", "--on", "shop/*", "--out", out).
		want(t, 1, "", "rollcall: --role is given twice; another grant is added with \"rollcall grant add token:NAME\"; see \"rollcall token create --help\"\n")
	run("grant", "add", "cert:shop", "--role", "viewer", "--on", "pay/*", "--role", "admin", "--on", "shop/*").
		want(t, 1, "", "rollcall: --role is given twice; another grant is added with another \"rollcall grant add\"; see \"rollcall grant add --help\"\n")
	run("grant", "remove", "cert:shop", "--role", "viewer", "--role", "admin").
		want(t, 1, "", "rollcall: --role is given twice; another grant is taken away with another \"rollcall grant remove\"; see \"rollcall grant remove --help\"\n")
	for flag, args := range map[string]string{
		"--ttl":         "token create t --role viewer --on * --out - --ttl 1h --ttl 90d",
		"--out":         "token create t --role viewer --on * --out - --out -",
		"--description": "token create t --role viewer --on * --out - --description a --description b",
		"--id":          "token revoke --id 0123456789abcdef --id 0123456789abcdef",
		"--identity":    "auth can read a --identity cert:a --identity cert:b",
		"--anonymous":   "auth enable --anonymous viewer --anonymous none",
		"--if-revision": "auth disable --if-revision 1 --if-revision 2",
		"--reason":      "role set deployer read --reason a --reason b",
		"--actor":       "grant deny cert:a --actor a --actor b",
		"--request-id":  "grant allow cert:a --request-id a --request-id b",
		"--cluster":     "role remove deployer --cluster a --cluster b",
	} {
		if r := run(strings.Fields(args)...); r.code != 1 || !strings.HasPrefix(r.stderr, "rollcall: "+flag+" is given twice; give it once; see ") {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if len(f.access.asked) > 0 || fileExists(out) {
		t.Errorf("something was done: %v", f.access.asked)
	}
	run("token", "create", "t", "--role", "viewer", "--on", "pay/*", "--on", "shop/*", "--dry-run", "--dry-run").want(t, 0, "…", "")
}
