package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcallhq/rollcall/client"
)

// readFlags are those of commands that read: how fresh the answer must be.
type readFlags struct {
	linearizable bool
	minRevision  int64
	maxStaleness time.Duration
	cmd          *cobra.Command
}

func addReadFlags(cmd *cobra.Command) *readFlags {
	r := &readFlags{cmd: cmd}
	f := cmd.Flags()
	f.BoolVar(&r.linearizable, "linearizable", false, "show every change acknowledged before; needs a quorum")
	f.Int64Var(&r.minRevision, "min-revision", 0, "wait until the node has reached `revision`")
	f.DurationVar(&r.maxStaleness, "max-staleness", 0, "show every change acknowledged longer ago than this, as 2s")
	return r
}

// asked says whether any of them is given.
func (r *readFlags) asked() bool {
	f := r.cmd.Flags()
	return r.linearizable || f.Changed("min-revision") || f.Changed("max-staleness")
}

// options are nil if nothing is asked. Their Info is set.
func (r *readFlags) options() (*client.ReadOptions, error) {
	if !r.asked() {
		return nil, nil
	}
	o := &client.ReadOptions{MinRevision: r.minRevision, Info: new(client.ReadInfo)}
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

// reading is the context of a client's reads with options, if there are any.
func reading(ctx context.Context, o *client.ReadOptions) context.Context {
	if o == nil {
		return ctx
	}
	return client.WithReadOptions(ctx, *o)
}

// readJSON is what is known of where an answer came from.
type readJSON struct {
	Node     string `json:"node"`
	Revision int64  `json:"revision"`
	AgeMS    *int64 `json:"age_ms,omitempty"` // what was acknowledged longer ago is shown
}

// readOf is nil if nothing was asked.
func readOf(o *client.ReadOptions) *readJSON {
	if o == nil {
		return nil
	}
	r := &readJSON{Node: o.Info.Node, Revision: o.Info.Revision}
	if o.Info.Age != nil {
		ms := o.Info.Age.Milliseconds()
		r.AgeMS = &ms
	}
	return r
}
