package tlsport

import (
	"context"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/rollcallhq/rollcall/certs"
)

// Info is the AuthInfo of a connection: what the handshake has shown of the other side. An API connection makes it once.
type Info struct {
	credentials.CommonAuthInfo
	// Identity is who the certificate says that the other side is, as certs.Identity has it; "" without one.
	Identity string
	// Expires is when the certificate of Identity does; zero without one.
	Expires time.Time
}

// AuthType implements credentials.AuthInfo.
func (i *Info) AuthType() string {
	if i.SecurityLevel == credentials.NoSecurity {
		return "insecure"
	}
	return "tls"
}

// Credentials returns the port for a gRPC server, which bounds the handshakes by its ConnectionTimeout. The AuthInfo of
// a connection is an *Info.
func (p *Port) Credentials() credentials.TransportCredentials { return serverCredentials{p} }

type serverCredentials struct{ port *Port }

// ServerHandshake implements credentials.TransportCredentials.
func (s serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c := s.port.Accept(raw)
	if err := c.Handshake(); err != nil {
		return nil, nil, err
	}
	return c, c.Info(), nil
}

// Info is what the handshake has shown of the other side, once it is over.
func (c *Conn) Info() *Info {
	info := &Info{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}
	if c.TLS() {
		info.SecurityLevel = credentials.PrivacyAndIntegrity
	}
	if chain := c.Certificates(); len(chain) > 0 {
		if info.Identity, _ = certs.Identity(chain[0]); info.Identity != "" {
			info.Expires = chain[0].NotAfter
		}
	}
	return info
}

// ClientHandshake implements credentials.TransportCredentials.
func (serverCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are the credentials of a server")
}

// Info implements credentials.TransportCredentials.
func (serverCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (s serverCredentials) Clone() credentials.TransportCredentials { return s }

// OverrideServerName implements credentials.TransportCredentials.
func (serverCredentials) OverrideServerName(string) error { return nil }
