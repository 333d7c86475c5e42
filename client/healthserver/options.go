package healthserver

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc/health"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
)

// Option is an option of [New].
type Option func(*options) error

type options struct {
	health      *health.Server
	registry    *registry
	instance    string
	initialWait time.Duration
	stateFile   string
	unmerged    map[string]bool
	drain       time.Duration
	publish     *Publish
	logger      *slog.Logger
	observer    Observer
}

// Publish says how a Server publishes what the process says. The zero value is useful.
type Publish struct {
	// TTL is how long after the last sign of life the registry takes this process for dead: its report turns
	// NOT_SERVING. 1 s to 24 h; 0 means 10 s.
	TTL time.Duration
	// OnStop is what becomes of the report when the process stops in order: it turns NOT_SERVING
	// (client.StopNotServing, the default), is deleted (client.StopWithdraw), or stays (client.StopLeave). As Stop
	// calls Shutdown first, what stays is NOT_SERVING too, and nothing deletes it.
	OnStop client.OnStop
	// ForgetAfter is how long after the end of the process its report is deleted, unless somebody has changed it: so
	// addresses that never come back do not pile up. 1 s to 365 days; 0 means 24 h, client.Forever never.
	ForgetAfter time.Duration
}

const (
	defaultInitialWait = 500 * time.Millisecond
	defaultDrain       = 2 * time.Second
	defaultTTL         = 10 * time.Second
	defaultForgetAfter = 24 * time.Hour
	livenessName       = "liveness"
)

// WithHealthServer sets the grpc-go server that keeps what the process says, for a process that has one already.
// Register the Server in place of it. The default is a new one.
func WithHealthServer(h *health.Server) Option {
	return func(o *options) error {
		if h == nil {
			return errors.New("the health server is nil")
		}
		o.health = h
		return nil
	}
}

// WithClient sets the client of the registry. It is used by the Server, and closed by its owner, after Run has
// returned.
func WithClient(c *client.Client) Option {
	return func(o *options) error {
		if c == nil {
			return errors.New("the client is nil")
		}
		o.registry = newRegistry(c)
		return nil
	}
}

// WithInstance sets the address at which others reach this process, HOST:PORT; not one to listen at, as 0.0.0.0:8080
// or port 0. SERVICE/INSTANCE is then the name of this process in the registry: an operator can switch off this
// process alone.
func WithInstance(hostport string) Option {
	return func(o *options) error {
		if err := checkInstance(hostport); err != nil {
			return err
		}
		o.instance = hostport
		return nil
	}
}

// WithInitialWait sets how long names show NOT_SERVING at most while the registry was not heard since the start: so a
// process that is restarted while it is switched off takes no call. The wait begins with Run, or when somebody asks
// first. The default is 500 ms; 0: no wait.
func WithInitialWait(d time.Duration) Option {
	return func(o *options) error {
		if d < 0 {
			return fmt.Errorf("the initial wait is %v; it must not be negative", d)
		}
		o.initialWait = d
		return nil
	}
}

// WithStateFile sets a file that keeps whether the process is switched off, for a restart while the registry cannot
// be reached. Each process needs its own, in a directory that exists. A file that cannot be used is logged once, and
// the process serves without it; a file that belongs to something else is left as it is. It needs WithClient.
func WithStateFile(path string) Option {
	return func(o *options) error {
		if path == "" {
			return errors.New("the path of the state file is empty")
		}
		o.stateFile = path
		return nil
	}
}

// WithUnmerged adds names that the registry does not switch off, as it never does "liveness": whoever restarts a
// process that is not alive asks for such a name. It is SERVING until the process sets it. "" and SERVICE cannot be
// among them.
func WithUnmerged(names ...string) Option {
	return func(o *options) error {
		for _, name := range names {
			if name == "" {
				return errors.New(`"" cannot be unmerged: the registry could not switch the process off`)
			}
			o.unmerged[name] = true
		}
		return nil
	}
}

// WithDrain sets how long Stop goes on serving after it told everybody NOT_SERVING, so that callers move away. It should be
// longer than callers need to notice: those that watch take milliseconds, those that ask take as long as they pause.
// The default is 2 s; 0: Stop does not wait.
func WithDrain(d time.Duration) Option {
	return func(o *options) error {
		if d < 0 {
			return fmt.Errorf("the drain is %v; it must not be negative", d)
		}
		o.drain = d
		return nil
	}
}

// WithPublish has what the process says of "" reported as SERVICE/INSTANCE, under a lease. It needs WithClient and
// WithInstance. The actor of the reports is that of the client's Config.
func WithPublish(p Publish) Option {
	return func(o *options) error {
		if p.TTL == 0 {
			p.TTL = defaultTTL
		}
		if p.TTL < limits.MinLeaseTTL || p.TTL > limits.MaxLeaseTTL {
			return fmt.Errorf("the TTL of publishing is %v; it must be from %v to %v", p.TTL, limits.MinLeaseTTL, limits.MaxLeaseTTL)
		}
		switch {
		case p.ForgetAfter == 0:
			p.ForgetAfter = defaultForgetAfter
		case p.ForgetAfter == client.Forever:
			p.ForgetAfter = 0
		case p.ForgetAfter < limits.MinForgetAfter || p.ForgetAfter > limits.MaxForgetAfter:
			return fmt.Errorf("ForgetAfter of publishing is %v; it must be from %v to %v, or client.Forever",
				p.ForgetAfter, limits.MinForgetAfter, limits.MaxForgetAfter)
		}
		if p.OnStop < client.StopNotServing || p.OnStop > client.StopLeave {
			return fmt.Errorf("%v of publishing is not known", p.OnStop)
		}
		o.publish = &p
		return nil
	}
}

// WithLogger sets the logger. It gets a line when the process is switched off or on, when publishing begins or fails,
// and when the process stops. The default logs nothing.
func WithLogger(l *slog.Logger) Option {
	return func(o *options) error {
		if l == nil {
			return errors.New("the logger is nil")
		}
		o.logger = l
		return nil
	}
}

// WithObserver sets the [Observer], for metrics. There is none by default.
func WithObserver(observer Observer) Option {
	return func(o *options) error {
		if observer == nil {
			return errors.New("the observer is nil")
		}
		o.observer = observer
		return nil
	}
}

// newOptions applies opts and checks that they fit together.
func newOptions(service string, opts []Option) (*options, error) {
	o := &options{
		initialWait: defaultInitialWait,
		drain:       defaultDrain,
		unmerged:    map[string]bool{livenessName: true},
		logger:      slog.New(slog.DiscardHandler),
	}
	if err := limits.Name(service); err != nil {
		return nil, fmt.Errorf("the service's name %w", err)
	}
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("an option is nil")
		}
		if err := opt(o); err != nil {
			return nil, err
		}
	}
	switch {
	case service == livenessName || o.unmerged[service]:
		return nil, fmt.Errorf("the service %q cannot be unmerged: the registry could not switch the process off", service)
	case o.stateFile != "" && o.registry == nil:
		return nil, errors.New("a state file needs WithClient: it keeps what the registry said")
	case o.publish != nil && o.registry == nil:
		return nil, errors.New("publishing needs WithClient")
	case o.publish != nil && o.instance == "":
		return nil, errors.New("publishing needs WithInstance: the address at which others reach this process")
	}
	if o.instance != "" {
		if err := limits.Name(o.instanceName(service)); err != nil {
			return nil, fmt.Errorf("the instance's name, SERVICE/INSTANCE, %w", err)
		}
	}
	return o, nil
}

// instanceName is SERVICE/INSTANCE; "" without an instance.
func (o *options) instanceName(service string) string {
	if o.instance == "" {
		return ""
	}
	return service + "/" + o.instance
}
