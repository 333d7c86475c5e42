package peerconn

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Caller is the AuthInfo of a connection from another member: who it is, as its hello said, and with TLS its
// certificate.
type Caller struct {
	credentials.CommonAuthInfo
	Member string
}

// AuthType implements credentials.AuthInfo.
func (Caller) AuthType() string { return "rollcall-peer" }

// CallerOf returns the member that a call came from; "": it is not known.
func CallerOf(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	caller, _ := p.AuthInfo.(Caller)
	return caller.Member
}

// ServerCredentials are those of a server for other members. The peer port has done the handshake: its connections
// have a method Member.
func ServerCredentials() credentials.TransportCredentials { return greeted{} }

type greeted struct{}

// ServerHandshake implements credentials.TransportCredentials.
func (greeted) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	caller := Caller{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}
	if from, ok := conn.(interface{ Member() string }); ok {
		caller.Member = from.Member()
	}
	return conn, caller, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (greeted) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are the credentials of a server")
}

// Info implements credentials.TransportCredentials.
func (greeted) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "rollcall-peer"}
}

// Clone implements credentials.TransportCredentials.
func (greeted) Clone() credentials.TransportCredentials { return greeted{} }

// OverrideServerName implements credentials.TransportCredentials.
func (greeted) OverrideServerName(string) error { return nil }
