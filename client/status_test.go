package client_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/client"
)

func TestOutcomeOfAnError(t *testing.T) {
	for name, test := range map[string]struct {
		err                 error
		unknown, notWritten bool
	}{
		"none":       {nil, false, false},
		"of others":  {errors.New("disk full"), false, false},
		"context":    {context.DeadlineExceeded, false, false},
		"not done":   {&client.Error{Op: "set", Written: client.WrittenNo}, false, true},
		"unknown":    {&client.Error{Op: "set", Written: client.WrittenUnknown}, true, false},
		"wrapped":    {fmt.Errorf("deploy: %w", &client.Error{Op: "set", Written: client.WrittenUnknown}), true, false},
		"wrapped no": {fmt.Errorf("deploy: %w", &client.Error{Op: "set"}), false, true},
		"joined":     {errors.Join(errors.New("a"), &client.Error{Op: "set", Written: client.WrittenUnknown}), true, false},
	} {
		if u, n := client.IsUnknown(test.err), client.IsNotWritten(test.err); u != test.unknown || n != test.notWritten {
			t.Errorf("%s: unknown %v, not written %v; want %v, %v", name, u, n, test.unknown, test.notWritten)
		}
	}
	if client.Serving.String() != "SERVING" || client.NotServing.String() != "NOT_SERVING" || client.Unknown.String() != "UNKNOWN" || client.ServiceUnknown.String() != "SERVICE_UNKNOWN" {
		t.Error("the names of statuses are not those of grpc.health.v1")
	}
}

// The program at the top of the package's comment is that of Example, which is compiled and run.
func TestTheProgramOfThePackageComment(t *testing.T) {
	files := token.NewFileSet()
	doc, err := parser.ParseFile(files, "doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var program []string
	for line := range strings.Lines(doc.Doc.Text()) {
		if strings.HasPrefix(line, "\t") {
			program = append(program, strings.TrimSpace(line))
		} else if len(program) > 0 && strings.TrimSpace(line) != "" {
			break
		}
	}
	source := functionBody(t, "example_program_test.go", "reportAndWatch")
	if got, want := strings.Join(program, "\n"), strings.Join(source, "\n"); got != want || got == "" {
		t.Errorf("doc.go has\n%s\nand reportAndWatch of example_program_test.go\n%s", got, want)
	}
}

// functionBody returns the lines of a function, without their indents and without empty lines.
func functionBody(t *testing.T, file, name string) []string {
	t.Helper()
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range parsed.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != name {
			continue
		}
		first, last := files.Position(f.Body.Lbrace).Line+1, files.Position(f.Body.Rbrace).Line-1
		return linesOf(t, file, first, last)
	}
	t.Fatalf("%s has no function %s", file, name)
	return nil
}
