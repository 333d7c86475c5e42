package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

const unreleased = "v0.1.0-dev"

// buildVersion is the released version of this binary, or unreleased.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unreleased
	}
	// A build in a checkout has a pseudo-version. It names a commit and no release.
	if v := info.Main.Version; v != "" && v != "(devel)" && !strings.HasPrefix(v, "v0.0.0-") && !strings.Contains(v, "+dirty") {
		return v
	}
	return unreleased
}

type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func currentVersion() versionInfo {
	v := versionInfo{Version: buildVersion(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	return v
}

func (v versionInfo) String() string {
	line := fmt.Sprintf("rollcall %s (%s, %s", v.Version, v.Go, v.Platform)
	if v.Commit != "" {
		line += ", commit " + v.Commit[:min(len(v.Commit), 12)]
		if v.Modified {
			line += " with changes"
		}
	}
	return line + ")"
}

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary",
		Long:  `Prints the version of this binary, the Go version and the commit that it was built from.`,
		Example: `  rollcall version
  rollcall version -o json`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			return a.printObject(currentVersion(), func() error {
				_, err := fmt.Fprintln(a.stdout, currentVersion())
				return err
			})
		},
	}
}
