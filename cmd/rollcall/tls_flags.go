package main

import (
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rollcallhq/rollcall/certs"
	"github.com/rollcallhq/rollcall/cmd/rollcall/cliflag"
	"github.com/rollcallhq/rollcall/node"
	"github.com/rollcallhq/rollcall/tlsport"
)

// systemCAs, in the place of a file, are the CAs that the machine believes.
const systemCAs = "system"

// tlsFlagNames are the global flags with which commands connect with TLS.
var tlsFlagNames = []string{"ca", "cert", "key"}

func (a *app) addTLSFlags(flags *pflag.FlagSet) {
	cliflag.ListVarP(flags, &a.tls.CA, "ca", "", nil, "connect with TLS; the `files` of the CAs that the nodes' certificates are verified against, comma separated or repeated; system: those of this machine")
	flags.StringVar(&a.tls.Cert, "cert", "", "with TLS: `file` of the certificate that this command shows; needs --key")
	flags.StringVar(&a.tls.Key, "key", "", "with TLS: `file` of its key")
	cliflag.NotEmpty(flags, "ca", "cert", "key")
}

// credentials are those with which a command connects to nodes.
func (a *app) credentials() (credentials.TransportCredentials, error) {
	files := a.tls
	if len(files.CA) == 0 && files.Cert == "" && files.Key == "" {
		return insecure.NewCredentials(), nil
	}
	switch {
	case slices.Equal(files.CA, []string{systemCAs}):
		files.CA = nil
	case slices.Contains(files.CA, systemCAs):
		return nil, invalid("--ca: %s means the CAs of this machine and no others; leave it out, or give it alone", systemCAs)
	}
	source, err := certs.Open(files, certs.Options{})
	if err != nil {
		return nil, invalid("--ca, --cert and --key: %w", err)
	}
	return tlsport.ClientCredentials(source), nil
}

// dialOptions are those of every connection to a node.
func (a *app) dialOptions() ([]grpc.DialOption, error) {
	c, err := a.credentials()
	if err != nil {
		return nil, err
	}
	return append([]grpc.DialOption{grpc.WithTransportCredentials(c)}, a.dialer...), nil
}

// nodeTLS are the flags with which a node secures its ports.
type nodeTLS struct {
	node.TLS
	mode         string
	peerNames    []string
	peerIdentity string
	flags        *pflag.FlagSet // nil: none were given
}

var peerIdentities = []string{"name", "ca"}

func (t *nodeTLS) register(a *app, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.mode, "tls", tlsport.Off.String(), "off, permissive (TLS and plain text, for a change from off to required), or required: TLS on the API, peer and HTTP ports")
	f.StringVar(&t.Files.Cert, "cert", "", "with --tls: `file` of this node's certificate; it is read again when it changes")
	f.StringVar(&t.Files.Key, "key", "", "with --tls: `file` of its key")
	cliflag.ListVarP(f, &t.Files.CA, "ca", "", nil, "with --tls: `files` of the CAs that certificates of members and clients are verified against; comma separated or repeated")
	cliflag.ListVarP(f, &t.peerNames, "peer-name", "", nil, "with --tls: the `name` in a member's certificate, {node} being the member's, as {node}.example.org, {node}.* or spiffe://*/rollcall/{node} (default: {node}); comma separated or repeated: any of them")
	f.StringVar(&t.peerIdentity, "peer-identity", peerIdentities[0], "what proves that a caller is a member: name: its certificate names it; ca: it has a certificate of one of the CAs, so members may share one")
	a.complete(cmd, "tls", tlsport.Modes()...)
	a.complete(cmd, "peer-identity", peerIdentities...)
	cliflag.NotEmpty(f, "ca", "cert", "key")
	t.flags = f
}

// read returns what the flags say.
func (t *nodeTLS) read() (node.TLS, error) {
	cfg := t.TLS
	var err error
	if cfg.Mode, err = tlsport.ParseMode(t.mode); err != nil {
		return cfg, invalid("--tls: %w", err)
	}
	if cfg.PeerNames, err = certs.ParsePeerNames(t.peerNames); err != nil {
		return cfg, invalid("--peer-name: %w", err)
	}
	if name := t.withoutMode(); name != "" {
		return cfg, invalid("--%s is given and --tls is not, so that traffic would be plain text; add --tls required, or --tls off if that is meant", name)
	}
	if cfg.Mode != tlsport.Off && slices.Contains(cfg.Files.CA, systemCAs) {
		return cfg, invalid("--ca %s is for clients; a node believes only CAs whose files are named", systemCAs)
	}
	switch t.peerIdentity {
	case "name":
	case "ca":
		if cliflag.Given(t.flags, "peer-name") {
			return cfg, invalid("with --peer-identity ca nobody looks at names, so --peer-name would have no effect; give one of them")
		}
		cfg.SharedPeerIdentity = true
	default:
		return cfg, invalid("--peer-identity is %q; use name or ca", t.peerIdentity)
	}
	return cfg, nil
}

// withoutMode is a flag that says that TLS is meant, while --tls is not given; "" if there is none. ROLLCALL_CA is set
// for clients, too.
func (t *nodeTLS) withoutMode() string {
	if t.flags == nil || t.flags.Changed("tls") {
		return ""
	}
	for _, name := range []string{"cert", "key"} {
		if t.flags.Changed(name) {
			return name
		}
	}
	for _, name := range []string{"ca", "peer-name", "peer-identity"} {
		if cliflag.Given(t.flags, name) {
			return name
		}
	}
	return ""
}
