package agent

import (
	"log/slog"
	"os"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/view"
)

// registry is what an Agent needs of the registry.
type registry struct {
	newView  func(names []string, known map[string]view.Opinion) (source, error)
	newLease func(stop client.OnStop, onEvent func(client.LeaseEvent)) (lease, error)
	close    func() error
}

// actor is who reports, as the registry's history shows it: agent@HOST.
func actor() string {
	if host, err := os.Hostname(); err == nil {
		if name := "agent@" + host; limits.Actor(name) == nil {
			return name
		}
	}
	return "agent"
}

func newRegistry(c *client.Client, cfg *config.Config, logger *slog.Logger) registry {
	return registry{
		newView: func(names []string, known map[string]view.Opinion) (source, error) {
			return view.New(c, names, view.WithLogger(logger), view.WithInitial(known))
		},
		newLease: func(stop client.OnStop, onEvent func(client.LeaseEvent)) (lease, error) {
			return c.KeepLease(client.LeaseOptions{TTL: cfg.TTL, ForgetAfter: cfg.ForgetAfter}, client.KeepOptions{
				Reason: "rollcall agent", OnStop: stop, StopReason: "rollcall agent stopped", OnEvent: onEvent,
			})
		},
		close: c.Close,
	}
}
