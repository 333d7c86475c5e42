package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"
)

// Config says whom to talk to, and how.
type Config struct {
	// Endpoints are the API addresses of the nodes, host:port, or targets as gRPC knows them
	// (scheme:...). One is enough to work, all of them to survive the loss of a node. The name of a host is
	// looked up at each dial, so that nodes which moved to other addresses are found within seconds. The list stays as
	// it is: a member that is added to the cluster later is asked when the list names it.
	Endpoints []string
	// KeepOrder has the endpoints tried in the order of Endpoints. Otherwise the order is random, drawn once by
	// New, so that the clients of many processes spread over the nodes.
	KeepOrder bool
	// Actor is who makes the changes, unless WriteOptions says; at most 256 bytes.
	Actor string
	// AttemptTimeout bounds one try at one endpoint: of a read or a write, of connecting, and of the first
	// answer to a watch. Then the try is given up; Hedge is when others are made beside it. Later rounds allow up to
	// five times as much, so that a slow network delays and does not fail. 0 means 2 s.
	AttemptTimeout time.Duration
	// Hedge is how long the endpoints that work on a call may be silent before the next one is asked beside them. The
	// first answer that settles the call counts; the package's comment says more. 0 means 300 ms; less than 0: never,
	// each endpoint has AttemptTimeout for itself.
	Hedge time.Duration
	// TokenFile is a file that holds a token, which every call carries: it proves who this process is, as token:NAME.
	// The file may have white space around the token, and must be closed to users outside of its group. It is read
	// again while the client is in use, once in a second at most: a token is exchanged by writing another one into
	// the file, best by a rename. While the file is unusable the token stays that was read before. "": there is no
	// token.
	//
	// A token is never sent in plain text to another machine. New fails if it would be, also if only one of several
	// endpoints is beyond loopback and without TLS. A connection that turns out to be plain text all the same gets
	// nothing of a call: it ends with [ReasonTokenOverPlainText].
	TokenFile string
	// Token, in place of TokenFile, returns the token of each call. It is called very often and by many goroutines:
	// it must return what it has at hand. Its error, or "", ends the call with [ReasonNoCredentials]: no call goes
	// out without a token.
	Token func(ctx context.Context) (string, error)
	// Logger logs, at debug level, endpoints that failed; at info and warn level, what becomes of TokenFile. Nil logs
	// nothing.
	Logger *slog.Logger
	// DialOptions come after the client's own and so prevail over them, credentials for example
	// (default: plain text). Not over these: gRPC's own retries and service configs are always off.
	// An interceptor that makes calls other ones undoes what this package says of writes. Interceptors of unary calls do
	// not see writes that go over a stream: see UnaryWrites.
	DialOptions []grpc.DialOption
	// UnaryWrites makes each write a call of its own. Otherwise writes that wait at the same time share a stream, which
	// costs a node and this process a fraction.
	UnaryWrites bool
}

const (
	defaultAttemptTimeout = 2 * time.Second
	defaultHedge          = 300 * time.Millisecond
)

// DefaultConfig reaches the three nodes that "rollcall dev" starts: 127.0.0.1:7600, 127.0.0.1:7610, 127.0.0.1:7620.
func DefaultConfig() Config {
	return Config{
		Endpoints:      []string{"127.0.0.1:7600", "127.0.0.1:7610", "127.0.0.1:7620"},
		AttemptTimeout: defaultAttemptTimeout,
	}
}

// Validate says what is wrong with c; nil if nothing is.
func (c Config) Validate() error {
	if len(c.Endpoints) == 0 {
		return errors.New("client: no endpoints are given")
	}
	for i, e := range c.Endpoints {
		if err := c.checkEndpoint(e); err != nil {
			return fmt.Errorf("client: endpoint %q %w", e, err)
		}
		if slices.Contains(c.Endpoints[:i], e) {
			return fmt.Errorf("client: endpoint %q is listed twice", e)
		}
	}
	if slices.Contains(c.DialOptions, nil) {
		return errors.New("client: one of the dial options is nil")
	}
	if c.TokenFile != "" && c.Token != nil {
		return errors.New("client: a token file and a function for tokens are given; give one of them")
	}
	if c.AttemptTimeout < 0 {
		return fmt.Errorf("client: the attempt timeout %v is negative", c.AttemptTimeout)
	}
	return nil
}

func (c Config) checkEndpoint(e string) error {
	if scheme, _, ok := strings.Cut(e, "://"); ok {
		if resolver.Get(scheme) == nil && len(c.DialOptions) == 0 { // options can bring a resolver
			return fmt.Errorf("is not host:port: leave out %s://", scheme)
		}
		return nil // a target of gRPC
	}
	if strings.HasPrefix(e, "unix:") || strings.HasPrefix(e, "unix-abstract:") {
		return nil
	}
	host, port, err := net.SplitHostPort(e)
	switch {
	case err != nil && strings.Count(e, ":") > 1 && !strings.Contains(e, "["):
		return errors.New("is not host:port; an IPv6 address stands in brackets, as [::1]:7600")
	case err != nil || port == "":
		return errors.New("is not host:port")
	case strings.ContainsAny(host, "/ \t"):
		return errors.New("is not host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("has a port that is not a number from 1 to 65535")
	}
	return nil
}

// logger returns the Logger; one that logs nothing in place of nil.
func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}
