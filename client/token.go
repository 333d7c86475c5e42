package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/rollcallhq/rollcall/client/internal/credential"
)

// ErrTokenOverPlainText is wrapped by the error of New for a token that would be sent in plain text to other machines.
var ErrTokenOverPlainText = errors.New("a token is never sent in plain text to another machine")

// CheckToken returns what New would say of TokenFile, Token and where they would be sent: it reads the file, and makes
// nothing. Nil if there is no token.
func (c Config) CheckToken() error {
	_, err := c.newToken()
	return err
}

// TokenCredentials returns what gives the token of TokenFile or Token to the calls of connections that no Client makes,
// to one of the Endpoints; nil if there is no token. It says what New would say.
func (c Config) TokenCredentials(endpoint string) (credentials.PerRPCCredentials, error) {
	source, err := c.newToken()
	if source == nil || err != nil {
		return nil, err
	}
	return tokenCredentials{source: source, address: endpoint, loopback: isLoopback(endpoint)}, nil
}

// newToken returns where the calls' token comes from; nil: there is none.
func (c Config) newToken() (*credential.Source, error) {
	if c.TokenFile == "" && c.Token == nil {
		return nil, nil
	}
	if plainText(dialOptions(c)) {
		for _, e := range c.Endpoints {
			if !isLoopback(e) {
				return nil, fmt.Errorf("client: the token is not used: endpoint %q is beyond this machine and without TLS, and everybody on the way could read it there: %w; connect with TLS", e, ErrTokenOverPlainText)
			}
		}
	}
	logger := c.logger()
	if c.Token != nil {
		return credential.FromFunc(c.Token, logger), nil
	}
	source, err := credential.FromFile(c.TokenFile, logger)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return source, nil
}

// plainText reports whether connections made with these options are surely plain text. gRPC tells nobody which
// credentials options bring, but refuses, without connecting, those of calls that need TLS where there is none.
func plainText(options []grpc.DialOption) bool {
	conn, err := grpc.NewClient("passthrough:///none", options...)
	if err != nil {
		return false // impossible options: calls say so
	}
	_ = conn.Close()
	conn, err = grpc.NewClient("passthrough:///none", append(options[:len(options):len(options)], grpc.WithPerRPCCredentials(needsTLS{}))...)
	if err == nil {
		_ = conn.Close()
	}
	return err != nil
}

// needsTLS are credentials that are never used.
type needsTLS struct{}

func (needsTLS) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return nil, nil
}
func (needsTLS) RequireTransportSecurity() bool { return true }

// isLoopback reports whether an endpoint leads to this machine alone, as far as its text tells.
func isLoopback(endpoint string) bool {
	if strings.HasPrefix(endpoint, "unix:") || strings.HasPrefix(endpoint, "unix-abstract:") {
		return true
	}
	if strings.Contains(endpoint, "://") {
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != "passthrough" && u.Scheme != "dns" {
			return false // what resolves it may return anything
		}
		endpoint = strings.TrimPrefix(u.Path, "/")
	}
	host, _, err := net.SplitHostPort(endpoint)
	if err != nil {
		host = strings.Trim(endpoint, "[]")
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// tokenCredentials add the token to the calls of one endpoint. gRPC asks them for each call when its connection is
// known, and sends nothing of a call for which they return an error.
type tokenCredentials struct {
	source   *credential.Source
	address  string
	loopback bool // the endpoint is this machine, as far as its text tells
}

// RequireTransportSecurity is false, because GetRequestMetadata sees to it: gRPC would refuse loopback, too, and would
// say it as a connection that fails and is dialed again and again.
func (tokenCredentials) RequireTransportSecurity() bool { return false }

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (t tokenCredentials) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if !t.safe(ctx) {
		return nil, unauthenticated(ReasonTokenOverPlainText, "the token is not sent to "+t.address+": the connection is plain text, which everybody on the way can read; connect with TLS")
	}
	held, err := t.source.Get(ctx)
	if err != nil {
		return nil, tokenError(err)
	}
	noteCredential(ctx, held.Generation)
	return held.Metadata, nil
}

// safe reports whether nobody beyond this machine can read what the connection of a call carries.
func (t tokenCredentials) safe(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	if a, ok := p.AuthInfo.(interface {
		GetCommonAuthInfo() credentials.CommonAuthInfo
	}); ok && a.GetCommonAuthInfo().SecurityLevel == credentials.PrivacyAndIntegrity {
		return true
	}
	if !t.loopback {
		return false // a proxy on this machine is not where the call goes
	}
	switch a := p.Addr.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

// tokenError is the error of a call for which there is no token.
func tokenError(err error) error {
	if _, ok := errors.AsType[*credential.DamagedError](err); ok {
		return unauthenticated(ReasonTokenDamaged, err.Error())
	}
	return unauthenticated(ReasonNoCredentials, "there is no token to send: "+err.Error())
}

// unauthenticated is an error of the client's own in the form of a node's.
func unauthenticated(reason, message string) error {
	st, err := status.New(codes.Unauthenticated, message).WithDetails(&errdetails.ErrorInfo{
		Domain: errorDomain, Reason: reason, Metadata: map[string]string{writtenKey: WrittenNo.String()},
	})
	if err != nil {
		return err
	}
	return st.Err()
}

// renewedToken reports whether err is a node's refusal of the token of a generation, and the calls have another one now.
func (c *Client) renewedToken(ctx context.Context, err *Error, generation uint64) bool {
	return c.token != nil && generation > 0 && err.Code == codes.Unauthenticated && c.token.Renewed(ctx, generation)
}

// credential returns the generation of the token that calls carry now; 0: they carry none.
func (c *Client) credential() uint64 {
	if c.token == nil {
		return 0
	}
	return c.token.Generation()
}
