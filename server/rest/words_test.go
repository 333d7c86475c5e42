package rest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// ofOthers finds what means nothing to a caller over HTTP: flags and commands of the command line, and words of gRPC.
var ofOthers = regexp.MustCompile(`--[a-z]|\bmetadata\b|\bgRPC\b|\bRPCs?\b|rollcall\.v1\.|\brollcall (access|agent|auth|cert|cluster|compact|delete|events|get|grant|history|lease|list|member|override|probe|recover|restore|resume|role|rule|serve|set|shutdown|snapshot|status|token|top|transfer-leader|verify|wait|watch|whoami|why)\b`)

// forOthers are the sentences with such words that a caller over HTTP may read, or never does, and why.
var forOthers = map[string]string{
	"rollcall grant allow %s":                   "an administrator is to run it",
	"rollcall grant add %s --role %s --on %s":   "an administrator is to run it",
	"with an --advertise-api of its own":        "it is about how a node is started",
	"start it with --join in place of --member": "it is about how a node is started",
	"rollcall serve --node %s --data DIR":       "it is about how a node is started",
	"(--tls permissive or required)":            "it is about how a node is started",
	"half of its --max-http-connections":        "it names a setting of the node",
	"(--writes-per-second)":                     "it names a setting of the node",
	"(--client-memory)":                         "it names a setting of the node",
	"start the node with --http-host %s":        "it is about how a node is started",
	"for a node on this machine alone there is": "it is about how a node is started",
	"--max-watches":                             "it names a setting of the node",
	"--max-watches-per-connection":              "it names a setting of the node",
	"--max-connections":                         "it stands in the log",
	"which is this node's --health-list-limit":  "grpc.health.v1 is not reachable over HTTP",
	"use rollcall.v1.Registry.ListServices":     "grpc.health.v1 is not reachable over HTTP",
	"start it with --join and the peer address": "it is about how a node is started",
	`"rollcall resume" ends it`:                 "a problem of the cluster, which is worded as in the command line",
	`"rollcall recover --help"`:                 "a problem of the cluster, which is worded as in the command line",
	`"rollcall lease release-guard" lets them`:  "a problem of the cluster, which is worded as in the command line",
	"rollcall.v1.GrantLeaseRequest.on_expiry":   "a field's name, by which apijson finds it",
	"rollcall.v1.RevokeLeaseRequest.status":     "a field's name, by which apijson finds it",
}

// TestSentencesAreForCallersOverHTTP: what the server's packages can say names nothing that only the command line or gRPC
// has, once it is an answer over HTTP. A new sentence that does fails here: word it for all callers, have overHTTP word it
// anew, or write down why it may stay.
func TestSentencesAreForCallersOverHTTP(t *testing.T) {
	found := map[string]bool{}
	sentences := 0
	for _, root := range []string{"..", "../../fsm", "../../api/rollcall"} {
		for at, text := range sentencesIn(t, root) {
			sentences++
			word := ofOthers.FindString(overHTTP(text))
			if word == "" {
				continue
			}
			known := false
			for part := range forOthers {
				if strings.Contains(text, part) {
					found[part], known = true, true
				}
			}
			if !known {
				t.Errorf("%s: a caller over HTTP reads %q, which has %q", at, overHTTP(text), word)
			}
		}
	}
	if sentences < 1000 {
		t.Errorf("only %d texts were found", sentences)
	}
	for part := range forOthers {
		if !found[part] {
			t.Errorf("nothing says %q any more", part)
		}
	}
}

// sentencesIn returns the texts in the Go files below a directory, by where they stand: whole ones, where they are put
// together with +. Tests, what is generated and what is written for the log only are left out.
func sentencesIn(t *testing.T, root string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "words.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		if ast.IsGenerated(file) {
			return nil
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ImportSpec:
				return false
			case *ast.Field:
				if n.Tag != nil {
					return false
				}
			case *ast.BinaryExpr, *ast.BasicLit:
				if text := textOf(n.(ast.Expr)); text != "" {
					texts[files.Position(n.Pos()).String()] = text
					return false
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// textOf is the text of a literal, or of several that are put together; what is no literal in it is "…".
func textOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return ""
		}
		text, err := strconv.Unquote(e.Value)
		if err != nil {
			return ""
		}
		return text
	case *ast.BinaryExpr:
		left, right := textOf(e.X), textOf(e.Y)
		if e.Op != token.ADD || left == "" && right == "" {
			return ""
		}
		if left == "" {
			left = "…"
		}
		if right == "" {
			right = "…"
		}
		return left + right
	}
	return ""
}

func TestOverHTTP(t *testing.T) {
	for sentence, want := range map[string]string{
		`denied: anonymous lacks the verb read over "a"; show a token (--token-file) or a certificate (--cert and --key)`:         `denied: anonymous lacks the verb read over "a"; send "Authorization: Bearer" and a token, or show a certificate`,
		"make a token with the role admin first, and show it (--token-file)":                                                      `make a token with the role admin first, and send it with "Authorization: Bearer"`,
		"wait until that is done (rollcall member list), or go on with --force":                                                   `wait until that is done (GET /api/v1/cluster), or go on with the field "force"`,
		`not written: n4 is a member already; if that is lost, replace it: rollcall member replace n4; else give it another name`: "not written: n4 is a member already; if that is lost, replace it: POST /api/v1/members/n4:replace; else give it another name",
		"replace it: rollcall member replace n4 --peer 10.0.0.4:7601; else give the new node another name":                        "replace it: POST /api/v1/members/n4:replace; else give the new node another name",
		`member "n4" does not exist, so nobody can take its place; add it: rollcall member add n4 --peer HOST:PORT`:               `member "n4" does not exist, so nobody can take its place; add it: POST /api/v1/members`,
		"remove one first, or add the node as a replica (--replica)":                                                              `remove one first, or add the node as a replica (the field "replica")`,
		`an administrator can allow it with: rollcall grant add ann --role viewer --on "a"`:                                       `an administrator can allow it with: rollcall grant add ann --role viewer --on "a"`,
		`service "a--b" does not exist`: `service "a--b" does not exist`,
	} {
		if got := overHTTP(sentence); got != want {
			t.Errorf("%s\nbecomes %s\nwant    %s", sentence, got, want)
		}
	}
}
