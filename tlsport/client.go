package tlsport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"

	"github.com/rollcallhq/rollcall/certs"
)

// ClientCredentials are those of a gRPC client. The server's certificate must be for the host that is dialed. The files
// of source are read again for each connection; if they are wrong, what was read before is used.
func ClientCredentials(source *certs.Source) credentials.TransportCredentials {
	return &clientCredentials{source: source}
}

type clientCredentials struct {
	source     *certs.Source
	serverName string // "": the host that is dialed
}

// ClientHandshake implements credentials.TransportCredentials.
func (c *clientCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	_ = c.source.Reload() // it says what is wrong in the log
	name := c.serverName
	if name == "" {
		var err error
		if name, _, err = net.SplitHostPort(authority); err != nil {
			name = authority
		}
	}
	conn := tls.Client(raw, c.source.Client(certs.Dial{ServerName: name, NextProtos: []string{"h2"}}))
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, nil, newHandshakeError(err)
	}
	info := &Info{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
	if conn.ConnectionState().NegotiatedProtocol != "h2" {
		_ = raw.Close()
		return nil, nil, newHandshakeError(errProtocol)
	}
	return conn, info, nil
}

// ServerHandshake implements credentials.TransportCredentials.
func (*clientCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are the credentials of a client")
}

// Info implements credentials.TransportCredentials.
func (c *clientCredentials) Info() credentials.ProtocolInfo {
	//lint:ignore SA1019 gRPC takes the authority from it
	return credentials.ProtocolInfo{SecurityProtocol: "tls", ServerName: c.serverName}
}

// Clone implements credentials.TransportCredentials.
func (c *clientCredentials) Clone() credentials.TransportCredentials {
	clone := *c
	return &clone
}

// OverrideServerName implements credentials.TransportCredentials.
func (c *clientCredentials) OverrideServerName(name string) error {
	c.serverName = name
	return nil
}
