package main

import (
	"context"
	"fmt"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcallhq/rollcall/client"
)

// syncedJSON says that all that was printed so far is exactly the registry at a revision.
type syncedJSON struct {
	Synced   bool   `json:"synced"`
	Revision int64  `json:"revision"`
	Endpoint string `json:"endpoint"`
}

// watchPrefixes prints the state of many services and what changes in it until ctx ends, which is its
// orderly end.
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
		for _, r := range u.Services {
			one := client.Update{Service: r.GetService(), Status: r.GetStatus(), Record: r, Revision: r.GetReport().GetRevision(), Endpoint: u.Endpoint}
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
			err = a.printJSONLine(syncedJSON{true, u.Revision, u.Endpoint})
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
		return a.printUpdate(client.Update{Service: name, Status: healthpb.HealthCheckResponse_SERVICE_UNKNOWN, Revision: u.Revision, Endpoint: u.Endpoint})
	}
	_, err := fmt.Fprintf(a.stdout, "%s  %s deleted, revision %d\n", a.now().Format(time.TimeOnly), shown(name), u.Revision)
	return err
}
