package cluster_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rollcallhq/rollcall/"

// rooms says what of this module each package may import: the arrows of docs/architecture.md.
var rooms = map[string][]string{
	"api/rollcall/v1":      {},
	"api/rollcall/log/v1":  {},
	"api/rollcall/peer/v1": {"api/rollcall/log/v1"},
	"fsm":                  {"api/rollcall/v1", "api/rollcall/log/v1"},
	"store":                {"api/rollcall/log/v1", "store/boltfile", "store/raftlog", "store/registry", "store/snapshot", "store/vfs"},
	"store/vfs":            {},
	"store/boltfile":       {"store/vfs"},
	"store/raftlog":        {"api/rollcall/log/v1", "store/boltfile", "store/vfs"},
	"store/snapshot":       {"api/rollcall/log/v1", "store/vfs"},
	"store/registry":       {"api/rollcall/log/v1", "store/boltfile", "store/snapshot", "store/vfs"},
	"store/verify":         {"api/rollcall/log/v1", "store", "store/raftlog", "store/registry", "store/snapshot", "store/vfs"},
	"store/storetest":      {"api/rollcall/log/v1"},                                                                                               // test support
	"store/disktest":       {"api/rollcall/log/v1", "store", "store/raftlog", "store/registry", "store/snapshot", "store/storetest", "store/vfs"}, // test support
	"raftnode":             {"api/rollcall/log/v1", "api/rollcall/peer/v1", "store", "store/raftlog"},
	"server":               {"api/rollcall/v1", "api/rollcall/log/v1", "api/rollcall/peer/v1"},
	"client":               {"api/rollcall/v1"},
	"metrics":              {},
	"node":                 {"api/rollcall/v1", "api/rollcall/log/v1", "fsm", "store", "store/raftlog", "store/registry", "store/snapshot", "store/verify", "raftnode", "server", "metrics"},
	"cmd/rollcall":         {"api/rollcall/v1", "client", "node", "metrics", "store", "store/snapshot", "store/verify", "store/vfs"},
}

func TestImportArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := map[string]bool{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(pkg.ImportPath, module)
		if name == "cluster_test" {
			continue
		}
		allowed, ok := rooms[name]
		if !ok {
			t.Errorf("package %s stands in no room: name it here and in docs/architecture.md", name)
			continue
		}
		seen[name] = true
		for _, imp := range pkg.Imports {
			if rest, ours := strings.CutPrefix(imp, module); ours && !slices.Contains(allowed, rest) {
				t.Errorf("%s imports %s; it may import %v", name, rest, allowed)
			}
		}
	}
	for name := range rooms {
		if !seen[name] {
			t.Errorf("room %s is gone", name)
		}
	}
}
