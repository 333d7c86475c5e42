package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
	"github.com/rollcallhq/rollcall/cmd/rollcall/top"
)

// topFlags are those of top.
type topFlags struct {
	prefix string
	depth  int
	once   bool
}

func newTopCommand(a *app) *cobra.Command {
	var flags topFlags
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show all services by groups, worst first, as they change",
		Long: `Fills the terminal with a picture of the cluster, and keeps it up to date: its nodes and problems, the
services counted by groups, the groups with most services down first, the services that do not serve,
newest first, each with who said so and why, and the last events. A group is all services whose names
have the same first part, up to the first "/".

Arrow keys move, enter goes into a group and backspace out of it, "/" filters by parts of names, tab goes
to the other list, "?" shows all keys, "q" ends. If the node goes away, another one is asked; until one
answers, the picture says since when it is old.

It needs a terminal. "--once" prints one picture and ends, also with -o json; "rollcall watch --prefix ''
-o json" follows all services for programs.`,
		Example: `  rollcall top
  rollcall top --prefix shop/
  rollcall top --once -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			const deepest = 64
			if err := checkLookup(flags.prefix); err != nil {
				return err
			}
			if flags.depth < 1 || flags.depth > deepest {
				return invalid("--group-depth is %d; it is from 1 to %d parts of a name", flags.depth, deepest)
			}
			if flags.once {
				return a.topOnce(cmd, &flags)
			}
			if a.forPrograms() {
				return invalid(`"rollcall top" draws on a terminal, and has no -o %s but with --once; "rollcall watch --prefix '' -o %s" follows all services`, &a.output, &a.output)
			}
			in, isFile := a.stdin.(*os.File)
			if !isFile || !term.IsTerminal(int(in.Fd())) || !format.IsTerminal(terminalOf(a.stdout)) {
				return invalid(`"rollcall top" needs a terminal to draw on, and keys; "rollcall top --once" prints one picture, "rollcall status --watch" goes on`)
			}
			return a.topLive(cmd.Context(), &flags, in, terminalOf(a.stdout).(*os.File))
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.prefix, "prefix", "", "only services whose names begin with this `prefix`")
	f.IntVar(&flags.depth, "group-depth", 1, "how many parts of a name, up to a \"/\", make a group")
	f.BoolVar(&flags.once, "once", false, "print one picture and end")
	cliflag.FlagOnly(f, "prefix", "group-depth", "once")
	a.completeFlag(cmd, "prefix", a.completeFlagService)
	return cmd
}

// prefixes are those to ask a node for.
func (f *topFlags) prefixes() []string {
	if f.prefix == "" {
		return nil
	}
	return []string{f.prefix}
}

// topService is what top keeps of a record.
func topService(now time.Time, r *rollcallv1.ServiceRecord) top.Service {
	s := top.Service{Name: r.GetService(), Status: r.GetStatus()}
	if t := r.GetStatusTime(); t != nil {
		s.Since = t.AsTime()
	}
	if s.Status == healthpb.HealthCheckResponse_SERVING {
		return s
	}
	s.Why, s.Who = explain.Reason(now, r), explain.Actor(r.GetReport().GetActor())
	if o := r.GetOverride(); o != nil {
		s.Who = explain.Actor(o.GetActor())
	}
	return s
}

func (a *app) topEvent(e *rollcallv1.Event) top.Event {
	return top.Event{
		Time: e.GetTime().AsTime(), Subject: explain.Subject(e), Change: transition(a.view(), e),
		Who: explain.Actor(e.GetActor()), Why: explain.EventReason(e),
	}
}

// topEvents are how many events top shows at most.
const topEvents = 20

// lastEvents returns the newest events, newest first.
func lastEvents(ctx context.Context, c *client.Client, flags *topFlags) ([]*rollcallv1.Event, error) {
	var last []*rollcallv1.Event
	for e, err := range c.ListEvents(ctx, client.ListEventsOptions{Prefixes: flags.prefixes(), NewestFirst: true, PageSize: topEvents}) {
		if err != nil {
			return last, err
		}
		if last = append(last, e); len(last) == topEvents {
			break
		}
	}
	return last, nil
}
