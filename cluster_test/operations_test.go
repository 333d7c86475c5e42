package cluster_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestOperationsDoc compares docs/operations.md with the messages that the source logs at INFO and
// above.
func TestOperationsDoc(t *testing.T) {
	logged := map[string]string{} // message → where
	for _, room := range []string{"certs", "fsm", "node", "raftnode", "server", "store", "tlsport"} {
		err := filepath.WalkDir(filepath.Join("..", room), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			if strings.HasSuffix(filepath.Dir(path), "test") { // support for tests
				return nil
			}
			return messages(path, logged)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(logged) < 20 {
		t.Errorf("found only %d messages", len(logged))
	}
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	row := regexp.MustCompile("(?m)^\\| (`.*?`) \\|")
	for _, cell := range row.FindAllStringSubmatch(string(page), -1) {
		for _, m := range strings.Split(cell[1], "`, `") {
			told = append(told, strings.Trim(m, "`"))
		}
	}
	for message, where := range logged {
		if !slices.Contains(told, message) {
			t.Errorf("%s logs %q: say in docs/operations.md what it means and what to do", where, message)
		}
	}
	for _, m := range told {
		if logged[m] == "" {
			t.Errorf("docs/operations.md tells of %q, which nobody logs", m)
		}
	}
}

// messages finds the calls that log: slog's methods by level, Log, and node's notice.
func messages(path string, into map[string]string) error {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, 0)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"Info", "Warn", "Error", "Log", "warn"}, method.Sel.Name) {
			return true
		}
		if pkg, ok := method.X.(*ast.Ident); ok && pkg.Name == "status" { // status.Error is an answer, no log line
			return true
		}
		args := call.Args
		if name := method.Sel.Name; name != "Log" && name != "warn" { // with these, others come before the message
			args = args[:min(len(args), 1)]
		}
		for _, arg := range args {
			if text, ok := arg.(*ast.BasicLit); ok && text.Kind == token.STRING {
				message, err := strconv.Unquote(text.Value)
				if err == nil {
					into[message] = files.Position(call.Pos()).String()
				}
				break
			}
		}
		return true
	})
	return nil
}
