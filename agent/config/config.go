package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/limits"
	"github.com/rollcallhq/rollcall/client"
)

// Bounds of a file.
const (
	MaxServices = 10_000
	MaxBytes    = 16 << 20
	MaxChecks   = 100 // of one service
)

// Defaults of keys that a file leaves out.
const (
	DefaultTTL         = 30 * time.Second
	DefaultForgetAfter = 24 * time.Hour
)

// Config is what an agent does.
type Config struct {
	Endpoints       []string      // of the registry's nodes
	TLS             TLS           // with which the agent connects to them
	TokenFile       string        // holds the token that says who the agent is; "": it has none
	Instance        string        // of services that name none, host:port; "": each service names its own
	TTL             time.Duration // of the leases
	ForgetAfter     time.Duration // after an agent died, until what it reported is deleted
	GRPC, HTTP      string        // addresses to serve at; "": it does not serve
	AllowRemotePush bool          // callers beyond loopback may push
	Kubernetes      Kubernetes
	Services        []Service // sorted by name
}

// SystemCAs, in the place of the one file of TLS.CA, are the CAs that the machine believes.
const SystemCAs = "system"

// TLS names the files with which the agent connects to the registry. Without CA it connects in plain text.
type TLS struct {
	CA        []string // that the nodes' certificates are verified against; only SystemCAs: those of the machine
	Cert, Key string   // that the agent shows; "": none
}

func (t TLS) equal(o TLS) bool { return slices.Equal(t.CA, o.CA) && t.Cert == o.Cert && t.Key == o.Key }

// Kubernetes says where a pod finds its own things. "" is the place that Kubernetes gives them by default.
type Kubernetes struct {
	ServiceAccount string // directory of the token and the authority of the API server
	PodInfo        string // directory of the pod's name and namespace
}

// NeedsRestart returns the keys in which next differs and that a running agent cannot change.
func (c *Config) NeedsRestart(next *Config) (keys []string) {
	for _, one := range []struct {
		key  string
		same bool
	}{
		{"cluster.endpoints", slices.Equal(c.Endpoints, next.Endpoints)},
		{"cluster.ca, cert or key", c.TLS.equal(next.TLS)},
		{"cluster.token_file", c.TokenFile == next.TokenFile},
		{"instance", c.Instance == next.Instance},
		{"ttl", c.TTL == next.TTL},
		{"forget_after", c.ForgetAfter == next.ForgetAfter},
		{"listen.grpc", c.GRPC == next.GRPC},
		{"listen.http", c.HTTP == next.HTTP},
		{"listen.allow_remote_push", c.AllowRemotePush == next.AllowRemotePush},
		{"kubernetes", c.Kubernetes == next.Kubernetes},
		{"readiness_gate", slices.Equal(c.gates(), next.gates())},
	} {
		if !one.same {
			keys = append(keys, one.key)
		}
	}
	return keys
}

// gates are the services with a readiness gate, each with its gate.
func (c *Config) gates() (all []string) {
	for i := range c.Services {
		if s := &c.Services[i]; s.ReadinessGate != "" {
			all = append(all, s.Name+" "+s.ReadinessGate)
		}
	}
	return all
}

// Options are what a command line adds to a file.
type Options struct {
	Insecure bool   // addresses beyond loopback are allowed
	Instance string // is used instead of the file's own instance; "": the file decides
}

// Load reads a file, MaxBytes at most. Its error is an *[Error], or [Errors] if more than one thing is wrong.
func Load(path string, o Options) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &Error{File: path, Text: reasonOf(err)}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
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
	case errors.Is(err, syscall.EINVAL):
		return "no file can have that name"
	}
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return "it cannot be read: " + err.Error()
}

// Parse reads the text of a file, which errors call by its name. Its errors are those of Load.
func Parse(name string, text []byte, o Options) (*Config, error) {
	if len(text) > MaxBytes {
		return nil, &Error{File: name, Text: fmt.Sprintf("it is too large; a file has at most %d MiB", MaxBytes>>20)}
	}
	node, e := document(text)
	if e != nil {
		one := faults{all: []*Error{e}}
		return nil, one.err(name, text)
	}
	var f fileLayout
	d := decoder{}
	d.decode(node, reflect.ValueOf(&f).Elem(), "the file")
	b := builder{file: &f, options: o, faults: d.faults, read: len(d.all) == 0}
	cfg := b.config()
	if err := b.err(name, text); err != nil {
		return nil, err
	}
	return cfg, nil
}

// builder makes a Config of a file, and collects what is wrong.
type builder struct {
	file    *fileLayout
	options Options
	faults
	read bool // the file was read without a fault, so that a key that is not there is missing
}

// missing adds the fault that a key is missing. If the file has other faults the key may be there, mistyped.
func (b *builder) missing(p place, format string, args ...any) {
	if b.read {
		b.at(p, format, args...)
	}
}

func (b *builder) config() *Config {
	f := b.file
	cfg := &Config{
		TTL: f.TTL.or(DefaultTTL), ForgetAfter: f.ForgetAfter.or(DefaultForgetAfter),
		GRPC: f.Listen.GRPC.value, HTTP: f.Listen.HTTP.value, AllowRemotePush: f.Listen.AllowRemotePush.value,
		Kubernetes: Kubernetes{ServiceAccount: f.Kubernetes.ServiceAccount.value, PodInfo: f.Kubernetes.PodInfo.value},
	}
	if cfg.TTL < limits.MinLeaseTTL || cfg.TTL > limits.MaxLeaseTTL {
		b.at(f.TTL.place, "ttl is %s; it must be from %s to %s", short(cfg.TTL), short(limits.MinLeaseTTL), short(limits.MaxLeaseTTL))
	}
	if cfg.ForgetAfter < limits.MinForgetAfter || cfg.ForgetAfter > limits.MaxForgetAfter {
		b.at(f.ForgetAfter.place, "forget_after is %s; it must be from %s to %s", short(cfg.ForgetAfter), short(limits.MinForgetAfter), short(limits.MaxForgetAfter))
	}
	b.cluster(cfg)
	b.tls(cfg)
	b.token(cfg)
	b.listen("listen.grpc", f.Listen.GRPC)
	b.listen("listen.http", f.Listen.HTTP)
	if cfg.GRPC != "" && cfg.GRPC == cfg.HTTP && !strings.HasSuffix(cfg.GRPC, ":0") {
		b.at(f.Listen.HTTP.place, "listen.http and listen.grpc are the same address; each needs its own")
	}
	if f.Listen.AllowRemotePush.value && !f.Listen.HTTP.ok() {
		b.missing(f.Listen.AllowRemotePush.place, "listen.allow_remote_push needs listen.http, at which the agent takes pushes")
	}
	f.Defaults.check(&b.faults)
	b.instance(cfg)
	b.services(cfg)
	return cfg
}

// short writes a duration as the file would have it.
func short(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (b *builder) cluster(cfg *Config) {
	c := &b.file.Cluster
	if len(c.Endpoints) == 0 {
		at := c.listPlace("endpoints")
		if at.line == 0 {
			at = b.file.place
		}
		b.missing(at, "cluster.endpoints is missing or empty; name the API addresses of the registry's nodes, as cluster: {endpoints: [10.0.0.1:7600]}")
	}
	for _, e := range c.Endpoints {
		if !e.ok() {
			continue // a fault that stands already
		}
		if err := (client.Config{Endpoints: []string{e.value}}).Validate(); err != nil {
			b.at(e.place, "cluster.endpoints: %s", plainText(err))
		}
		if slices.Contains(cfg.Endpoints, e.value) {
			b.at(e.place, "cluster.endpoints has %s twice", e.value)
		}
		cfg.Endpoints = append(cfg.Endpoints, e.value)
	}
}

// token looks at where a token would be sent. It does not read its file: that is for who connects.
func (b *builder) token(cfg *Config) {
	c := &b.file.Cluster
	cfg.TokenFile = c.TokenFile.value
	if !c.TokenFile.ok() || c.CA.ok() {
		return
	}
	for _, e := range cfg.Endpoints {
		plain := client.Config{Endpoints: []string{e}, Token: func(context.Context) (string, error) { return "", nil }}
		if errors.Is(plain.CheckToken(), client.ErrTokenOverPlainText) {
			b.missing(c.TokenFile.place, "token_file needs ca: endpoint %s is beyond this machine and without TLS, and everybody on the way could read the token", e)
			return
		}
	}
}

// tls looks at the files for TLS. It does not read them: that is for who connects.
func (b *builder) tls(cfg *Config) {
	c := &b.file.Cluster
	cfg.TLS = TLS{CA: c.CA.values, Cert: c.Cert.value, Key: c.Key.value}
	switch {
	case len(cfg.TLS.CA) > 1 && slices.Contains(cfg.TLS.CA, SystemCAs):
		b.at(c.CA.place, "ca is %q and files beside it; name either", SystemCAs)
	case c.Cert.ok() && !c.Key.ok():
		b.missing(c.Cert.place, "cert needs key, the file of its key")
	case c.Key.ok() && !c.Cert.ok():
		b.missing(c.Key.place, "key needs cert, the file of its certificate")
	case c.Cert.ok() && !c.CA.ok():
		b.missing(c.Cert.place, "cert and key need ca, the files of the CAs that the nodes' certificates are verified against; system are those of this machine")
	}
}

// listen looks at an address to serve at.
func (b *builder) listen(key string, address text) {
	if !address.ok() {
		return
	}
	host, port, err := net.SplitHostPort(address.value)
	if err != nil {
		b.at(address.place, "%s is %q, which is not HOST:PORT; an IPv6 address stands in brackets", key, address.value)
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		b.at(address.place, "%s is %q; its port must be a number from 0 to 65535", key, address.value)
		return
	}
	ip := net.ParseIP(host)
	if ip == nil && (strings.Contains(host, ":") || host != "" && strings.Trim(host, "0123456789.") == "" || strings.ContainsAny(host, "/@ ?#")) {
		b.at(address.place, "%s is %q; its host is no address of this machine", key, address.value)
		return
	}
	if !b.options.Insecure && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		b.at(address.place, "%s is %q, which is beyond loopback, and its traffic is plain text; --insecure allows it", key, address.value)
	}
}

// plainText is the text of an error of a package of the client, without the package's name.
func plainText(err error) string {
	t := err.Error()
	for _, prefix := range []string{"healthserver: ", "checks: ", "client: "} {
		t = strings.TrimPrefix(t, prefix)
	}
	return t
}
