package main

import (
	"context"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/text/unicode/norm"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
)

// readFlags are the flags of commands that read: how fresh the answer must be, and whose.
type readFlags struct {
	cluster      string
	linearizable bool
	minRevision  int64
	maxStaleness time.Duration
	cmd          *cobra.Command
}

func addReadFlags(cmd *cobra.Command) *readFlags {
	r := &readFlags{cmd: cmd}
	f := cmd.Flags()
	f.BoolVar(&r.linearizable, "linearizable", false, "show every change that was acknowledged before this call; needs a quorum")
	f.Int64Var(&r.minRevision, "min-revision", 0, "wait until the node has this `revision`")
	cliflag.DurationVar(f, &r.maxStaleness, "max-staleness", 0, "show every change that was acknowledged longer ago than this, as 2s")
	f.StringVar(&r.cluster, "cluster", "", "`id` of the cluster that must answer; another cluster refuses")
	cliflag.NotEmpty(f, "cluster")
	return r
}

// freshness reports whether the answer must be fresh in some way.
func (r *readFlags) freshness() bool {
	f := r.cmd.Flags()
	return r.linearizable || f.Changed("min-revision") || f.Changed("max-staleness")
}

// options returns what is asked for; nil if nothing is. Its Info is set.
func (r *readFlags) options() (*client.ReadOptions, error) {
	if !r.freshness() && r.cluster == "" {
		return nil, nil
	}
	o := &client.ReadOptions{MinRevision: r.minRevision, Cluster: r.cluster, Info: new(client.ReadInfo)}
	if r.linearizable {
		o.Consistency = client.Linearizable
	}
	if r.minRevision < 0 {
		return nil, invalid("--min-revision is %d; it must be a revision, a number from 0", r.minRevision)
	}
	if r.cmd.Flags().Changed("max-staleness") {
		if r.maxStaleness < 0 {
			return nil, invalid("--max-staleness is %s; it must be a duration from 0s", r.maxStaleness)
		}
		o.MaxStaleness = &r.maxStaleness
	}
	return o, nil
}

// reading returns the context of a client's reads with options, if there are any.
func reading(ctx context.Context, o *client.ReadOptions) context.Context {
	if o == nil {
		return ctx
	}
	return client.WithReadOptions(ctx, *o)
}

// readJSON says where an answer came from.
type readJSON struct {
	Node     string           `json:"node"`
	Cluster  string           `json:"cluster_id"`
	Revision int64            `json:"revision"`
	Age      *apijson.Seconds `json:"age_seconds,omitempty"` // what was acknowledged longer ago is shown
}

// readOf returns nil if nothing was asked.
func readOf(o *client.ReadOptions) *readJSON {
	if o == nil {
		return nil
	}
	r := &readJSON{Node: o.Info.Node, Cluster: o.Info.Cluster, Revision: o.Info.Revision}
	if o.Info.Age != nil {
		seconds := apijson.Seconds(o.Info.Age.Truncate(time.Millisecond))
		r.Age = &seconds
	}
	return r
}

// writeFlags are the flags of every command that changes something.
type writeFlags struct {
	cluster    string
	reason     string
	actor      string
	requestID  string
	ifRevision int64
}

func (w *writeFlags) register(cmd *cobra.Command) {
	w.identify(cmd)
	cmd.Flags().Int64Var(&w.ifRevision, "if-revision", 0, "change it only if it has this `revision`; 0: only if it does not exist")
}

// identify is register for changes that depend on no revision.
func (w *writeFlags) identify(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&w.reason, "reason", "", "why; stands in the history, at most 1 KiB")
	f.StringVar(&w.actor, "actor", defaultActor(), "who makes the change; it is not verified")
	f.StringVar(&w.requestID, "request-id", "", "`id` of this change: the same command with the same id is done once within ten minutes; for exit status 5, the id that was printed (default: a new id)")
	f.StringVar(&w.cluster, "cluster", "", "`id` of the cluster that must make the change; another cluster refuses")
	cliflag.NotEmpty(f, "actor", "request-id", "cluster")
	// The account differs from machine to machine, so it is not shown as the default.
	f.Lookup("actor").DefValue = "you@this-host"
}

// condition says what --if-revision compares with, if it is not a report.
func (w *writeFlags) condition(cmd *cobra.Command, what string) {
	cmd.Flags().Lookup("if-revision").Usage = "change it only if " + what + " has this revision; 0: only if there is none"
}

func (w *writeFlags) options(cmd *cobra.Command) (client.WriteOptions, error) {
	o := client.WriteOptions{Reason: w.reason, Actor: w.actor, RequestID: w.requestID, Cluster: w.cluster}
	if cmd.Flags().Changed("if-revision") {
		if w.ifRevision < 0 {
			return o, invalid("--if-revision is %d; revisions are 1, 2, 3 …, and 0 means: does not exist", w.ifRevision)
		}
		o.IfRevision = &w.ifRevision
	}
	return o, nil
}

// defaultActor returns the account at this machine: alice@laptop.
func defaultActor() string {
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
	name = norm.NFC.String(strings.Map(func(r rune) rune {
		if r != ' ' && !limits.Shows(r) {
			return -1
		}
		return r
	}, name))
	for len(name) > limits.MaxActorBytes {
		name = strings.ToValidUTF8(name[:limits.MaxActorBytes], "")
	}
	if limits.Actor(name) != nil {
		return "unknown"
	}
	return name
}
