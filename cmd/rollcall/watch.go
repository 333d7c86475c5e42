package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

func newWatchCommand(a *app) *cobra.Command {
	var ignored time.Duration
	var prefixes []string
	cmd := &cobra.Command{
		Use:   "watch SERVICE | --prefix PREFIX",
		Short: "Follow the status of a service, or of many, until Ctrl-C",
		Long: `Prints the status of a service, then every newer one, until it is interrupted. A service that does
not exist is SERVICE_UNKNOWN, and is followed into existence. If a node goes, the watch goes on at
another; it never goes back in time. States that pass quickly may be skipped; "rollcall events
--follow" skips nothing. --timeout does not apply. If the cluster is restored from a backup, or founded
anew, it says so and goes on with the new cluster, whose revisions begin anew.

With --prefix it follows all services whose names begin with a prefix; --prefix '' is every service.
First comes their state, then a line with the revision at which it is whole, then each newer record
and each deletion. With -o json a deleted service has the status SERVICE_UNKNOWN, and an object with
"synced" comes whenever all that was printed so far is exactly the registry at that revision. One with
"reset" comes when the cluster changed: what was printed before does not count any more.`,
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
	}
	cmd.Flags().StringArrayVar(&prefixes, "prefix", nil, "follow all services whose names begin with this `prefix`; repeated: with any of them")
	cliflag.FlagOnly(cmd.Flags(), "prefix")
	completeFlag(cmd, "prefix", a.completeFlagService)
	// Hides the global flag: ROLLCALL_TIMEOUT must not end watches.
	cliflag.DurationVar(cmd.Flags(), &ignored, "timeout", 0, "does not apply")
	cmd.Flags().Lookup("timeout").Hidden = true
	cliflag.FlagOnly(cmd.Flags(), "timeout")
	return cmd
}

// watch prints updates until ctx ends, which is no error.
func (a *app) watch(ctx context.Context, c *client.Client, service string) error {
	silent := a.noteSilence()
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
		if err := a.printUpdate(u); err != nil {
			return err
		}
	}
	return nil
}

// noteClusterChanged tells people that what follows is of another cluster. Programs read it in the output.
func (a *app) noteClusterChanged(id string) {
	if !a.json() {
		fmt.Fprintf(a.stderr, "the cluster changed: it is %s now, restored from a backup or founded anew; revisions begin anew\n", format.Printable(id))
	}
}

// noteSilence reports once, after a while, that no node has answered, while the caller goes on trying. The
// function that it returns cancels that.
func (a *app) noteSilence() (stop func()) {
	const silence = 3 * time.Second
	t := time.AfterFunc(silence, func() {
		f := a.noNodeAnswers("")
		f.next = "still trying; " + f.next
		a.report(f, a.json())
	})
	return func() { t.Stop() }
}

// update is the JSON form of client.Update.
type update struct {
	Service  string          `json:"service"`
	Status   string          `json:"status"`
	Revision int64           `json:"revision"`
	Cluster  string          `json:"cluster_id"`
	Changed  bool            `json:"cluster_changed,omitempty"`
	Endpoint string          `json:"endpoint"`
	Record   json.RawMessage `json:"record,omitempty"`
}

func (a *app) printUpdate(u client.Update) error {
	if a.json() {
		out := update{Service: u.Service, Status: u.Status.String(), Revision: u.Revision, Cluster: u.Cluster, Changed: u.ClusterChanged, Endpoint: u.Endpoint}
		if u.Record != nil {
			b, err := format.Message(u.Record)
			if err != nil {
				return err
			}
			out.Record = b
		}
		return a.printJSONLine(out)
	}
	_, err := fmt.Fprintf(a.stdout, "%s  %s\n", a.now().Format(time.TimeOnly), describeUpdate(u))
	return err
}

func describeUpdate(u client.Update) string {
	line := fmt.Sprintf("%s %s", format.Service(u.Service), u.Status)
	report := u.Record.GetReport()
	if report == nil {
		if rollcallv1.IsOwn(u.Service) && u.Endpoint != "" {
			line += " at " + u.Endpoint
		}
		return line
	}
	line += fmt.Sprintf(", revision %d", report.GetRevision())
	if reason := report.GetReason(); reason != "" {
		line += fmt.Sprintf(": %s", format.Printable(reason))
	}
	if name := report.GetActor().GetName(); name != "" {
		line += fmt.Sprintf(" (%s)", format.Printable(name))
	}
	return line
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
	silent := a.noteSilence()
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
			if a.noteClusterChanged(u.Cluster); a.json() {
				if err := a.printJSONLine(resetJSON{true, u.Cluster}); err != nil {
					return err
				}
			}
		}
		for _, r := range u.Services {
			one := client.Update{Service: r.GetService(), Status: r.GetStatus(), Record: r, Revision: r.GetReport().GetRevision(), Cluster: u.Cluster, Endpoint: u.Endpoint}
			if err := a.printUpdate(one); err != nil {
				return err
			}
		}
		for _, name := range u.Deleted {
			if err := a.printDeleted(name, u); err != nil {
				return err
			}
		}
		switch {
		case a.json() && u.Synced:
			err = a.printJSONLine(syncedJSON{true, u.Revision, u.Cluster, u.Endpoint})
		case u.Synced && !synced:
			_, err = fmt.Fprintf(a.stderr, "synced at revision %d\n", u.Revision)
		}
		if err != nil {
			return err
		}
		synced = u.Synced
	}
	return nil
}

func (a *app) printDeleted(name string, u client.ServicesUpdate) error {
	if a.json() {
		return a.printUpdate(client.Update{Service: name, Status: healthpb.HealthCheckResponse_SERVICE_UNKNOWN, Revision: u.Revision, Cluster: u.Cluster, Endpoint: u.Endpoint})
	}
	_, err := fmt.Fprintf(a.stdout, "%s  %s deleted, revision %d\n", a.now().Format(time.TimeOnly), format.Service(name), u.Revision)
	return err
}
