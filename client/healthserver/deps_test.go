package healthserver

import (
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A program that uses the drop-in instead of the original gains two modules, and no server.
func TestWhatAProgramGains(t *testing.T) {
	const own = "github.com/rollcallhq/rollcall"
	before := dependencies(t, "google.golang.org/grpc", "google.golang.org/grpc/health")
	after := dependencies(t, "google.golang.org/grpc", "google.golang.org/grpc/health", own+"/client/healthserver")
	had := slices.Collect(maps.Values(before))
	gained := map[string]bool{}
	var packages []string
	for pkg, module := range after {
		if module != "" && !slices.Contains(had, module) {
			gained[module] = true
		}
		if module == own {
			packages = append(packages, strings.TrimPrefix(pkg, own+"/"))
		}
	}
	if got, want := slices.Sorted(maps.Keys(gained)), []string{"github.com/google/uuid", own}; !slices.Equal(got, want) {
		t.Errorf("it gains the modules %v, want %v", got, want)
	}
	want := []string{
		"api/rollcall/accesstoken", "api/rollcall/limits", "api/rollcall/pattern", "api/rollcall/v1", "client", "client/healthserver",
		"client/internal/credential", "client/internal/halves", "client/internal/renewal", "client/internal/writestream", "client/view", "internal/connfailure", "internal/grpcstop",
	}
	if slices.Sort(packages); !slices.Equal(packages, want) {
		t.Errorf("it gains our packages %v, want %v", packages, want)
	}
}

// dependencies returns the module of each package that packages need, themselves included.
func dependencies(t *testing.T, packages ...string) map[string]string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-deps", "-f", "{{.ImportPath}} {{with .Module}}{{.Path}}{{end}}"}, packages...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	modules := map[string]string{}
	for line := range strings.Lines(string(out)) {
		pkg, module, _ := strings.Cut(strings.TrimSpace(line), " ")
		modules[pkg] = module
	}
	return modules
}
