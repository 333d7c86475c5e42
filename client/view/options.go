package view

import (
	"errors"
	"log/slog"
	"maps"

	"github.com/rollcallhq/rollcall/client"
)

// Option is an option of [New].
type Option func(*options) error

type options struct {
	logger  *slog.Logger
	initial map[string]Opinion
}

// WithLogger sets the logger. It gets a line when no node is heard, when nodes refuse the View, and when the cluster
// changes. The default logs nothing.
func WithLogger(l *slog.Logger) Option {
	return func(o *options) error {
		if l == nil {
			return errors.New("view: the logger is nil")
		}
		o.logger = l
		return nil
	}
}

// WithInitial begins with opinions that the program kept from an earlier run. They count as what the registry said
// last, and as soon as it says anything of a name, that counts. An opinion of another cluster than the one that then
// answers is held, if it is Off. Names that are not of the View are ignored.
func WithInitial(opinions map[string]Opinion) Option {
	opinions = maps.Clone(opinions)
	return func(o *options) error {
		for name, initial := range opinions {
			if initial.Off {
				initial.Status = client.NotServing
			}
			initial.Off = initial.Status == client.NotServing
			initial.Held = initial.Held && initial.Off
			opinions[name] = initial
		}
		o.initial = opinions
		return nil
	}
}
