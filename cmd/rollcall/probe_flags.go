package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
)

// grpcHealthProbe is the name of the program that probe takes the place of.
const grpcHealthProbe = "grpc_health_probe"

// probeNames are the flags of grpc_health_probe, which are written with one dash there.
var probeNames = []string{
	"addr", "service", "user-agent", "connect-timeout", "rpc-timeout", "rpc-header", "gzip", "verbose",
	"tls", "tls-no-verify", "tls-ca-cert", "tls-client-cert", "tls-client-key", "tls-server-name",
}

// probeFlags are what the flags of probe say, before it is checked.
type probeFlags struct {
	cmd        *cobra.Command
	service    string
	headers    []string
	tls        bool
	noVerify   bool
	ca         string
	cert, key  string
	serverName string
}

func (f *probeFlags) add(cmd *cobra.Command, p *probe) {
	f.cmd = cmd
	flags := cmd.Flags()
	flags.StringVar(&p.address, "addr", "", "`host:port` of the server to ask, in place of the first of the --endpoints; or unix:PATH")
	flags.StringVar(&f.service, "service", "", "another way to give SERVICE")
	cliflag.DurationVar(flags, &p.connectTimeout, "connect-timeout", time.Second, "how long to wait for a connection")
	cliflag.DurationVar(flags, &p.rpcTimeout, "rpc-timeout", time.Second, "how long to wait for the answer")
	flags.StringArrayVar(&f.headers, "rpc-header", nil, "metadata to send, `\"name: value\"`; may be repeated")
	flags.StringVar(&p.userAgent, "user-agent", "", "`text` that names the caller")
	flags.BoolVar(&p.gzip, "gzip", false, "compress the request")
	flags.BoolVarP(&p.verbose, "verbose", "v", false, "say how long connecting and answering took")
	flags.BoolVar(&f.tls, "tls", false, "connect with TLS; the server's certificate is verified against the system's authorities")
	flags.BoolVar(&f.noVerify, "tls-no-verify", false, "with --tls: do not verify the server's certificate")
	flags.StringVar(&f.ca, "tls-ca-cert", "", "with --tls: `file` of the authorities to verify against")
	flags.StringVar(&f.cert, "tls-client-cert", "", "with --tls: `file` of the certificate to show; needs --tls-client-key")
	flags.StringVar(&f.key, "tls-client-key", "", "with --tls: `file` of its key")
	flags.StringVar(&f.serverName, "tls-server-name", "", "with --tls: the `name` that the server's certificate must have")
	cliflag.FlagOnly(flags, "addr", "service", "rpc-header", "user-agent", "gzip", "verbose",
		"tls", "tls-no-verify", "tls-ca-cert", "tls-client-cert", "tls-client-key", "tls-server-name")
	cliflag.NotEmpty(flags, "addr", "tls-ca-cert", "tls-client-cert", "tls-client-key", "tls-server-name")
}

// read checks the command line and completes p.
func (f *probeFlags) read(a *app, args []string, p *probe) error {
	p.service = f.service
	if len(args) == 1 {
		if f.cmd.Flags().Changed("service") && f.service != args[0] {
			return invalid("two services are given, %q and --service %q; give one", args[0], f.service)
		}
		p.service = args[0]
	}
	if f.cmd.Flags().Changed("addr") {
		if err := (client.Config{Endpoints: []string{p.address}}).Validate(); err != nil {
			return invalid("--addr: %s", strings.TrimPrefix(err.Error(), "client: "))
		}
	} else {
		endpoints, err := a.endpointList()
		if err != nil {
			return err
		}
		p.address = endpoints[0]
	}
	if p.connectTimeout <= 0 {
		return invalid("--connect-timeout is %s; it must be more than 0", p.connectTimeout)
	}
	if p.rpcTimeout <= 0 {
		return invalid("--rpc-timeout is %s; it must be more than 0", p.rpcTimeout)
	}
	// --timeout bounds the whole; who gives the two parts means them.
	if flags := f.cmd.Flags(); !flags.Changed("timeout") {
		a.timeout = max(a.timeout, p.connectTimeout+p.rpcTimeout)
	}
	// The variable names the token of a cluster, and --addr any server.
	p.token = !f.cmd.Flags().Changed("addr") || cliflag.Given(f.cmd.Flags(), tokenFlagName)
	var err error
	if p.headers, err = readHeaders(f.headers); err != nil {
		return err
	}
	p.credentials, err = f.readTLS(a)
	return err
}

var headerName = regexp.MustCompile(`^[0-9a-z_.-]+$`)

// readHeaders reads metadata as it is written on the command line.
func readHeaders(given []string) (metadata.MD, error) {
	headers := metadata.MD{}
	for _, h := range given {
		name, value, found := strings.Cut(h, ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		switch {
		case !found:
			return nil, invalid("--rpc-header %q is not \"name: value\"", h)
		case !headerName.MatchString(name):
			return nil, invalid("--rpc-header %q: a name has only letters, digits, '-', '_' and '.'", h)
		case strings.HasPrefix(name, "grpc-"):
			return nil, invalid("--rpc-header %q: names that begin with grpc- are gRPC's own", h)
		case !strings.HasSuffix(name, "-bin") && strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
			return nil, invalid("--rpc-header %q: a value has only printable ASCII characters", h)
		}
		headers.Append(name, value)
	}
	return headers, nil
}

// readTLS returns the credentials that the flags ask for.
func (f *probeFlags) readTLS(a *app) (credentials.TransportCredentials, error) {
	flags := f.cmd.Flags()
	if !f.tls {
		for _, name := range probeNames {
			if strings.HasPrefix(name, "tls-") && flags.Changed(name) {
				return nil, invalid("--%s is given without --tls", name)
			}
		}
		return a.credentials()
	}
	switch {
	case f.noVerify && f.ca != "":
		return nil, invalid("--tls-no-verify verifies nothing, so --tls-ca-cert would have no effect; give one of them")
	case f.noVerify && f.serverName != "":
		return nil, invalid("--tls-no-verify verifies nothing, so --tls-server-name would have no effect; give one of them")
	case f.cert != "" && f.key == "":
		return nil, invalid("--tls-client-cert is given without --tls-client-key")
	case f.key != "" && f.cert == "":
		return nil, invalid("--tls-client-key is given without --tls-client-cert")
	}
	cfg := &tls.Config{InsecureSkipVerify: f.noVerify, ServerName: f.serverName}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, invalid("--tls-ca-cert: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, invalid("--tls-ca-cert: %s holds no certificate in PEM form", f.ca)
		}
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, invalid("--tls-client-cert and --tls-client-key: %s", strings.TrimPrefix(err.Error(), "tls: "))
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(cfg), nil
}

// programArguments returns the arguments of a program of that name: called grpc_health_probe it is the command probe.
func programArguments(program string, args []string) []string {
	if strings.TrimSuffix(filepath.Base(program), ".exe") != grpcHealthProbe {
		return args
	}
	if slices.ContainsFunc(args, func(arg string) bool { return arg == "-version" || arg == "--version" }) {
		return []string{"--version"}
	}
	return append([]string{"probe"}, args...)
}

// probeArguments gives the flags of probe two dashes where they have one, as those of grpc_health_probe do.
func probeArguments(args []string) []string {
	at := slices.Index(args, "probe")
	if at < 0 || slices.ContainsFunc(args[:at], func(arg string) bool { return !strings.HasPrefix(arg, "-") }) {
		return args
	}
	args = slices.Clone(args)
	for i := at + 1; i < len(args) && args[i] != "--"; i++ {
		name, value, given := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		dashes := len(args[i]) - len(strings.TrimLeft(args[i], "-"))
		if dashes != 1 && dashes != 2 || !slices.Contains(probeNames, name) {
			continue
		}
		args[i] = "--" + name
		if given {
			args[i] += "=" + value
		} else if !slices.Contains([]string{"gzip", "verbose", "tls", "tls-no-verify"}, name) {
			i++ // over its value
		}
	}
	return args
}
