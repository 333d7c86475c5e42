package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rollcallhq/rollcall/api/rollcall/apijson"
	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/explain"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newWatchCommand(a *app) *cobra.Command {
	var ignored time.Duration
	var prefixes []string
	cmd := named(&cobra.Command{
		Use:   "watch SERVICE | --prefix PREFIX",
		Short: "Follow the status of a service, or of many, until Ctrl-C",
		Long: `Prints the status of a service, and then each newer one, until Ctrl-C. The time is that of the change;
"-" means that it is not known. A service that does not exist is SERVICE_UNKNOWN, and the watch goes on
when it is made. If the node stops, the watch goes on at another node. It never goes back in time.
States that pass quickly may be skipped; "rollcall events --follow" skips nothing.

--prefix follows all services whose names begin with a prefix; --prefix '' follows all. First comes
the state of each, then a line with its revision, then every change.

With -o json, a deleted service has the status SERVICE_UNKNOWN. An object with "synced" says: all that
was printed so far is the registry at this revision. One with "reset" says: the cluster was replaced,
forget what was printed before.

If the cluster is restored from a backup or founded anew, the watch says so and goes on with the new
one. Its revisions begin anew. There is no --timeout.`,
		Example: `  rollcall watch shop/cart
  rollcall watch shop/cart -o json
  rollcall watch --prefix shop/ --prefix pay/`,
		Args:              between(0, "SERVICE"),
		ValidArgsFunction: a.completeServices(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Lookup("timeout").Changed {
				return invalid("watch goes on until it is interrupted and has no --timeout; use \"rollcall wait\"")
			}
			many := cmd.Flags().Changed("prefix")
			switch {
			case many && len(args) > 0:
				return invalid("%q is one service, and --prefix is for many: give one of them", args[0])
			case !many && len(args) == 0:
				return invalid("SERVICE is missing; --prefix PREFIX follows all that begin with it, and --prefix '' every service")
			}
			for _, name := range append(args, prefixes...) {
				if err := checkLookup(name); err != nil {
					return err
				}
			}
			c, err := a.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			if many {
				return a.watchPrefixes(cmd.Context(), c, prefixes)
			}
			return a.watch(cmd.Context(), c, args[0])
		},
	})
	cmd.Flags().StringArrayVar(&prefixes, "prefix", nil, "follow all services whose names begin with this `prefix`; repeated: with any of them")
	cliflag.FlagOnly(cmd.Flags(), "prefix")
	a.completeFlag(cmd, "prefix", a.completeFlagService)
	hideTimeout(cmd, &ignored)
	return cmd
}

// watch prints updates until ctx ends, which is no error.
func (a *app) watch(ctx context.Context, c *client.Client, service string) error {
	silent := a.noteSilence(ctx, c)
	defer silent()
	for u, err := range c.Watch(ctx, service) {
		silent()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return doing("watch "+format.Service(service), err)
		}
		if u.ClusterChanged {
			a.noteClusterChanged(u.Cluster)
		}
		if err := a.printUpdate(u, a.changeOf(ctx, c, u)); err != nil {
			return err
		}
	}
	return nil
}

// noteClusterChanged tells people that what follows is of another cluster. Programs read it in the output.
func (a *app) noteClusterChanged(id string) {
	if !a.forPrograms() {
		fmt.Fprintf(a.stderr, "the cluster changed: it is %s now, restored from a backup or founded anew; revisions begin anew\n", format.Printable(id))
	}
}

// noteSilence reports once, after a while, that no node has answered, while the caller goes on trying. The
// function that it returns cancels that.
func (a *app) noteSilence(ctx context.Context, c *client.Client) (stop func()) {
	const silence = 3 * time.Second
	ctx, cancel := context.WithCancel(ctx)
	t := time.AfterFunc(silence, func() {
		f := a.nobodyAnswers(ctx, c, "")
		f.next = "still trying; " + f.next
		if ctx.Err() == nil {
			a.report(f, a.forPrograms())
		}
	})
	return func() {
		t.Stop()
		cancel()
	}
}

// nobodyAnswers is noNodeAnswers for a watch. A watch goes on trying and does not say why, so this asks for
// something else, for a moment: a node that does not know the registry says so.
func (a *app) nobodyAnswers(ctx context.Context, c *client.Client, within string) *failure {
	const patience = time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, err := range c.List(ctx, client.ListOptions{PageSize: 1}) {
		e, ok := errors.AsType[*client.Error](err)
		if ok && e.Reason == client.ReasonNoEndpoint && a.connectAdvice(e.Message) != noNodeAdvice {
			f := a.noNodeAnswers(within)
			f.err = fmt.Errorf("no node answers%s: %s", within, strings.TrimPrefix(e.Message, "no endpoint answers: "))
			f.next = a.connectAdvice(e.Message)
			return f
		}
		if !ok || e.Reason == client.ReasonNoEndpoint {
			break
		}
		said := e.Message
		if _, last, ok := strings.Cut(said, "; last: "); ok {
			said = last
		}
		f := a.noNodeAnswers(within)
		f.err = fmt.Errorf("no node can answer%s: %s", within, said)
		f.next = `"rollcall status" shows what is wrong`
		return f
	}
	return a.noNodeAnswers(within)
}

// updateChange is the change that made an update what it is.
type updateChange struct {
	time  time.Time         // zero: not known
	event *rollcallv1.Event // of a deletion, if it is kept: no record tells of it
}

// changeOf finds the change that an update shows. The records of a service tell when they changed; of a deletion
// only its event does. The node's own names have no past, so what changed is taken to have changed now.
func (a *app) changeOf(ctx context.Context, c *client.Client, u client.Update) updateChange {
	switch {
	case rollcallv1.IsOwn(u.Service):
		return updateChange{time: a.now()}
	case u.Record != nil:
		return updateChange{time: changeTime(u.Record)}
	}
	return deletionChange(deletions(ctx, c, nil, []string{u.Service}, u.Revision, u.Cluster)[u.Service])
}

// changeTime returns when a record became what it is: when its report, its override or its status did.
func changeTime(r *rollcallv1.ServiceRecord) (newest time.Time) {
	for _, t := range []*timestamppb.Timestamp{r.GetStatusTime(), r.GetReport().GetTime(), r.GetOverride().GetTime()} {
		if t != nil && t.AsTime().After(newest) {
			newest = t.AsTime()
		}
	}
	return newest
}

func deletionChange(e *rollcallv1.Event) updateChange {
	if e == nil {
		return updateChange{}
	}
	return updateChange{e.GetTime().AsTime(), e}
}

// deletions returns the events by which services were deleted that do not exist at a revision, by name. Those
// that are not kept, or not told in time, are missing. prefixes are of the names; none are needed for one name.
func deletions(ctx context.Context, c *client.Client, prefixes, names []string, revision int64, cluster string) map[string]*rollcallv1.Event {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ctx = client.WithReadOptions(ctx, client.ReadOptions{MinRevision: revision, Cluster: cluster, Info: new(client.ReadInfo)})
	o := client.ListEventsOptions{
		Prefixes: prefixes, To: revision, NewestFirst: true, Types: []rollcallv1.EventType{rollcallv1.EventType_EVENT_TYPE_DELETED},
	}
	if len(names) == 1 {
		o.Prefixes, o.Service, o.PageSize = nil, names[0], 1
	}
	wanted := make(map[string]bool, len(names))
	for _, n := range names {
		wanted[n] = true
	}
	found := map[string]*rollcallv1.Event{}
	if revision == 0 {
		return found
	}
	for e, err := range c.ListEvents(ctx, o) {
		if err != nil {
			break
		}
		if name := e.GetService(); wanted[name] {
			found[name] = e
			delete(wanted, name)
		}
		if len(wanted) == 0 {
			break
		}
	}
	return found
}

// update is the JSON form of client.Update.
type update struct {
	Service  string           `json:"service"`
	Status   string           `json:"status"`
	Time     *apijson.Time    `json:"time,omitempty"` // of the change
	Revision int64            `json:"revision"`
	Cluster  string           `json:"cluster_id"`
	Changed  bool             `json:"cluster_changed,omitempty"`
	Endpoint string           `json:"endpoint"`
	Record   *apijson.Message `json:"record,omitempty"`
	Event    *apijson.Message `json:"event,omitempty"` // that deleted it
}

func (a *app) printUpdate(u client.Update, change updateChange) error {
	out := update{Service: u.Service, Status: u.Status.String(), Revision: u.Revision, Cluster: u.Cluster, Changed: u.ClusterChanged, Endpoint: u.Endpoint}
	if !change.time.IsZero() {
		out.Time = &apijson.Time{Time: change.time}
	}
	if u.Record != nil {
		out.Record = &apijson.Message{Message: u.Record}
	}
	if change.event != nil {
		out.Event = &apijson.Message{Message: change.event}
	}
	return a.printPart(out, []string{u.Service}, func() error {
		_, err := fmt.Fprintf(a.stdout, "%s  %s\n", a.changeTime(change.time), a.describeUpdate(u, change.event))
		return err
	})
}

// changeTime returns a time as events shows it; "-", as wide, for none.
func (a *app) changeTime(t time.Time) string {
	if t.IsZero() {
		return fmt.Sprintf("%-*s", len(format.Local(a.now(), time.UTC)), "-")
	}
	return a.localTime(t)
}

func (a *app) describeUpdate(u client.Update, deletion *rollcallv1.Event) string {
	line := fmt.Sprintf("%s %s", format.Service(u.Service), a.paint(u.Status.String(), format.StatusTone(u.Status)))
	report := u.Record.GetReport()
	switch {
	case u.Record.GetOverride() != nil:
		return line + ", " + explain.Reason(a.now(), u.Record)
	case report != nil:
		return line + fmt.Sprintf(", revision %d", report.GetRevision()) + whyAndWho(report.GetReason(), report.GetActor())
	case deletion != nil:
		return fmt.Sprintf("%s %s, revision %d", format.Service(u.Service), a.paint("deleted", format.Faint), deletion.GetRevision()) +
			whyAndWho(deletion.GetReason(), deletion.GetActor())
	case rollcallv1.IsOwn(u.Service) && u.Endpoint != "":
		line += " at " + u.Endpoint
	}
	return line
}

func whyAndWho(reason string, actor *rollcallv1.Actor) string {
	text := ""
	if reason != "" {
		text = ": " + format.Printable(reason)
	}
	if name := explain.Actor(actor); name != "" {
		text += fmt.Sprintf(" (%s)", name)
	}
	return text
}

// syncedJSON says that all that was printed so far is exactly the registry at a revision.
type syncedJSON struct {
	Synced   bool   `json:"synced"`
	Revision int64  `json:"revision"`
	Cluster  string `json:"cluster_id"`
	Endpoint string `json:"endpoint"`
}

// resetJSON says that nothing that was printed so far counts any more: what follows is the state of another
// cluster.
type resetJSON struct {
	Reset   bool   `json:"reset"`
	Cluster string `json:"cluster_id"`
}

// watchPrefixes prints the state of many services, and then its changes, until ctx ends, which is no error.
func (a *app) watchPrefixes(ctx context.Context, c *client.Client, prefixes []string) error {
	silent := a.noteSilence(ctx, c)
	defer silent()
	synced := false
	for u, err := range c.WatchServices(ctx, prefixes...) {
		silent()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return doing("watch services", err)
		}
		if u.Reset {
			synced = false
			a.noteClusterChanged(u.Cluster)
			if err := a.printSign(resetJSON{true, u.Cluster}); err != nil {
				return err
			}
		}
		for _, r := range u.Services {
			one := client.Update{Service: r.GetService(), Status: r.GetStatus(), Record: r, Revision: r.GetReport().GetRevision(), Cluster: u.Cluster, Endpoint: u.Endpoint}
			if err := a.printUpdate(one, updateChange{time: changeTime(r)}); err != nil {
				return err
			}
		}
		if len(u.Deleted) > 0 {
			if err := a.printDeleted(u, deletions(ctx, c, prefixes, u.Deleted, u.Revision, u.Cluster)); err != nil {
				return err
			}
		}
		if u.Synced {
			if err := a.printSign(syncedJSON{true, u.Revision, u.Cluster, u.Endpoint}); err != nil {
				return err
			}
		}
		if u.Synced && !synced && !a.forPrograms() {
			fmt.Fprintf(a.stderr, "synced at revision %d\n", u.Revision)
		}
		synced = u.Synced
	}
	return nil
}

// printSign writes v for programs. People read it elsewhere.
func (a *app) printSign(v any) error {
	return a.printPart(v, nil, func() error { return nil })
}

// printDeleted writes the services that an update says are gone, in the order in which they went.
func (a *app) printDeleted(u client.ServicesUpdate, events map[string]*rollcallv1.Event) error {
	names := slices.Clone(u.Deleted)
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(events[a].GetRevision(), events[b].GetRevision())
	})
	for _, name := range names {
		one := client.Update{Service: name, Status: healthpb.HealthCheckResponse_SERVICE_UNKNOWN, Revision: u.Revision, Cluster: u.Cluster, Endpoint: u.Endpoint}
		if err := a.printUpdate(one, deletionChange(events[name])); err != nil {
			return err
		}
	}
	return nil
}
