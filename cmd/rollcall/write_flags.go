package main

import (
	"os"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/client"
)

// writeFlags are what every change can say.
type writeFlags struct {
	reason     string
	actor      string
	requestID  string
	ifRevision int64
}

func (w *writeFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&w.reason, "reason", "", "why, for those who read it later; at most 1 KiB")
	f.StringVar(&w.actor, "actor", defaultActor(), "who changes it; recorded as your word, not verified")
	f.StringVar(&w.requestID, "request-id", "", "repeated with the same id within ten minutes, the same change is done once and answered as the first time; use the id that a command of unknown outcome printed (default: a fresh one)")
	f.Int64Var(&w.ifRevision, "if-revision", 0, "change it only if its report has this revision; 0: only if it does not exist")
	// An account that differs by machine is no default to document.
	f.Lookup("actor").DefValue = "you@this-host"
}

func (w *writeFlags) options(cmd *cobra.Command) (client.WriteOptions, error) {
	o := client.WriteOptions{Reason: w.reason, Actor: w.actor, RequestID: w.requestID}
	if cmd.Flags().Lookup("if-revision").Changed {
		if w.ifRevision < 0 {
			return o, invalid("--if-revision is %d; revisions are 1, 2, 3 …, and 0 means: does not exist", w.ifRevision)
		}
		o.IfRevision = &w.ifRevision
	}
	return o, nil
}

// defaultActor is the account at this machine: alice@laptop.
func defaultActor() string {
	const most = 256 // bytes, of the API
	name := os.Getenv("USER")
	if name == "" {
		name = os.Getenv("LOGNAME")
	}
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	if name == "" {
		name = "unknown"
	}
	if host, err := os.Hostname(); err == nil && host != "" {
		name += "@" + host
	}
	name = strings.ToValidUTF8(name, "")
	for len(name) > most {
		name = strings.ToValidUTF8(name[:most], "")
	}
	return name
}
