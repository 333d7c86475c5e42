package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/healthserver"
)

// Bounds of a file.
const (
	MaxServices = 10_000
	maxBytes    = 64 << 20
)

// Defaults of keys that a file leaves out.
const (
	DefaultTTL         = 30 * time.Second
	DefaultForgetAfter = 24 * time.Hour
)

// Config is what an agent does.
type Config struct {
	Endpoints   []string      // of the registry's nodes
	TTL         time.Duration // of the leases
	ForgetAfter time.Duration // after an agent died, until what it reported is deleted
	GRPC, HTTP  string        // addresses to serve at; "": it does not serve
	Services    []Service     // sorted by name
}

// Service is one service that the agent watches on this machine.
type Service struct {
	Name     string // in the registry, and in grpc.health.v1 of the agent
	Instance string // where others reach it on this machine, host:port
	OnStop   client.OnStop
	Checks   []Check // none: its status is pushed
	Push     bool    // a status may be pushed though it has checks
}

// Pushable reports whether a status of the service may be pushed: if Push says so, if it has a ttl check, or if it has
// no checks.
func (s *Service) Pushable() bool {
	return s.Push || len(s.Checks) == 0 || slices.ContainsFunc(s.Checks, func(c Check) bool { return c.TTL > 0 })
}

// Reported is the name under which the agent reports the service: SERVICE/INSTANCE.
func (s *Service) Reported() string { return s.Name + "/" + s.Instance }

// Options are what a command line adds to a file.
type Options struct {
	Insecure bool // addresses beyond loopback are allowed
}

// Load reads a file. Its errors are *[Error]s.
func Load(path string, o Options) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &Error{File: path, Text: reasonOf(err)}
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > maxBytes {
		return nil, &Error{File: path, Text: fmt.Sprintf("it has %d bytes; at most %d are read", info.Size(), maxBytes)}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &Error{File: path, Text: reasonOf(err)}
	}
	return Parse(path, text, o)
}

func reasonOf(err error) string {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "there is no such file"
	case errors.Is(err, os.ErrPermission):
		return "this user may not read it"
	}
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return "it cannot be read: " + err.Error()
}

// Parse reads the text of a file, which errors call by its name. Its errors are *[Error]s.
func Parse(name string, text []byte, o Options) (*Config, error) {
	cfg, err := parse(text, o)
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{Text: err.Error()}
		}
		e.File = name
		return nil, e
	}
	return cfg, nil
}

func parse(text []byte, o Options) (*Config, error) {
	node, err := document(text)
	if err != nil {
		return nil, err
	}
	var f fileLayout
	d := newDecoder()
	if err := d.decode(node, reflect.ValueOf(&f).Elem(), "the file"); err != nil {
		return nil, err
	}
	return f.config(o)
}

func (f *fileLayout) config(o Options) (*Config, error) {
	cfg := &Config{TTL: f.TTL.or(DefaultTTL), ForgetAfter: f.ForgetAfter.or(DefaultForgetAfter), GRPC: f.Listen.GRPC.value, HTTP: f.Listen.HTTP.value}
	if cfg.TTL < limits.MinLeaseTTL || cfg.TTL > limits.MaxLeaseTTL {
		return nil, f.TTL.errorf("ttl is %v; it must be from %v to %v", cfg.TTL, limits.MinLeaseTTL, limits.MaxLeaseTTL)
	}
	if cfg.ForgetAfter < limits.MinForgetAfter || cfg.ForgetAfter > limits.MaxForgetAfter {
		return nil, f.ForgetAfter.errorf("forget_after is %v; it must be from %v to 365d", cfg.ForgetAfter, limits.MinForgetAfter)
	}
	if err := f.cluster(cfg); err != nil {
		return nil, err
	}
	for _, l := range []struct {
		key string
		at  text
	}{{"listen.grpc", f.Listen.GRPC}, {"listen.http", f.Listen.HTTP}} {
		if err := checkListen(l.key, l.at, o); err != nil {
			return nil, err
		}
	}
	if len(f.Services) == 0 {
		return nil, &Error{Text: "services is missing or empty; an agent needs at least one"}
	}
	if len(f.Services) > MaxServices {
		return nil, f.Services[MaxServices].errorf("this is one service too many; an agent has at most %d", MaxServices)
	}
	trial := checks.NewRunner()
	named := map[string]bool{}
	for i := range f.Services {
		s, err := f.service(&f.Services[i], trial)
		if err != nil {
			return nil, err
		}
		if named[s.Name] {
			return nil, f.Services[i].Name.errorf("service %q stands in this file twice", s.Name)
		}
		named[s.Name] = true
		cfg.Services = append(cfg.Services, s)
	}
	slices.SortFunc(cfg.Services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	return cfg, nil
}

func (f *fileLayout) cluster(cfg *Config) error {
	if len(f.Cluster.Endpoints) == 0 {
		at := f.Cluster.place
		return at.errorf("cluster.endpoints is missing; name the API addresses of the registry's nodes, as [10.0.0.1:7600]")
	}
	for i, e := range f.Cluster.Endpoints {
		if err := (client.Config{Endpoints: []string{e.value}}).Validate(); err != nil {
			return e.errorf("cluster.endpoints: %s", plainText(err))
		}
		if slices.Contains(cfg.Endpoints[:i], e.value) {
			return e.errorf("cluster.endpoints has %s twice", e.value)
		}
		cfg.Endpoints = append(cfg.Endpoints, e.value)
	}
	return nil
}

// checkListen says what is wrong with an address to serve at.
func checkListen(key string, address text, o Options) error {
	if !address.ok() {
		return nil
	}
	host, port, err := net.SplitHostPort(address.value)
	if err != nil {
		return address.errorf("%s is %q, which is not HOST:PORT", key, address.value)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return address.errorf("%s is %q; its port must be a number from 0 to 65535", key, address.value)
	}
	ip := net.ParseIP(host)
	if !o.Insecure && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return address.errorf("%s is %s, which is beyond loopback, and its traffic is plain text; --insecure allows it", key, address.value)
	}
	return nil
}

var stops = []client.OnStop{client.StopWithdraw, client.StopNotServing, client.StopLeave}

func (f *fileLayout) service(k *serviceKeys, trial *checks.Runner) (Service, error) {
	s := Service{Name: k.Name.value, Instance: k.Instance.value, OnStop: client.StopNotServing}
	if !k.Name.ok() {
		return s, k.errorf("a service has no name")
	}
	at := k.Instance
	if !at.ok() {
		at = f.Instance
		s.Instance = at.value
	}
	if _, err := healthserver.New(s.Name); err != nil {
		return s, k.Name.errorf("%s", plainText(err))
	}
	if !at.ok() {
		return s, k.errorf("service %q has no instance; give it one, or all of them by instance at the top: the address at which others reach it, as 10.0.0.7:8080", s.Name)
	}
	if _, err := healthserver.New(s.Name, healthserver.WithInstance(s.Instance)); err != nil {
		return s, at.errorf("%s", plainText(err))
	}
	if k.OnStop.ok() {
		var names []string
		found := false
		for _, stop := range stops {
			names = append(names, stop.String())
			if stop.String() == k.OnStop.value {
				s.OnStop, found = stop, true
			}
		}
		if !found {
			return s, k.OnStop.errorf("on_stop is %q; use %s", k.OnStop.value, oneOf(names))
		}
	}
	ttls := 0
	for i := range k.Checks {
		keys := &k.Checks[i]
		c, err := keys.check(&f.Defaults)
		if err != nil {
			return s, err
		}
		if keys.TTL != nil {
			if ttls++; ttls > 1 {
				return s, keys.errorf("service %q has two ttl checks; one is fed by all that is pushed", s.Name)
			}
		}
		if err := trial.Add(s.Name, c.New(), c.Options...); err != nil {
			return s, keys.errorf("%s", plainText(err))
		}
		s.Checks = append(s.Checks, c)
	}
	return s, nil
}

// plainText is the text of an error of a package of the client, without the package's name.
func plainText(err error) string {
	t := err.Error()
	for _, prefix := range []string{"healthserver: ", "checks: ", "client: "} {
		t = strings.TrimPrefix(t, prefix)
	}
	return t
}
