package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/internal/tlstest"
	"github.com/rollcallhq/rollcall/tlsport"
)

// A token is refused before anything is connected to, if it would be sent in plain text to another machine.
func TestEndpointsThatAreSentNoToken(t *testing.T) {
	file, _ := newTokenFile(t)
	ca := tlstest.NewCA(t, "ca")
	tls := grpc.WithTransportCredentials(tlsport.ClientCredentials(tlstest.Open(t, ca.Issue([]string{"127.0.0.1"}))))
	plain := grpc.WithTransportCredentials(insecure.NewCredentials())
	for _, test := range []struct {
		endpoints string
		options   []grpc.DialOption
		refused   string // the endpoint; "": none
	}{
		{endpoints: "127.0.0.1:7600"},
		{endpoints: "127.8.9.1:7600"},
		{endpoints: "[::1]:7600"},
		{endpoints: "[::ffff:127.0.0.1]:7600"},
		{endpoints: "localhost:7600"},
		{endpoints: "LOCALHOST:7600"},
		{endpoints: "unix:/run/rollcall.sock"},
		{endpoints: "unix:///run/rollcall.sock"},
		{endpoints: "unix-abstract:rollcall"},
		{endpoints: "passthrough:///127.0.0.1:7600"},
		{endpoints: "dns:///localhost:7600"},
		{endpoints: "127.0.0.1:7600,[::1]:7600,localhost:7600"},
		{endpoints: "127.0.0.1:7600", options: []grpc.DialOption{plain}},
		{endpoints: "10.0.0.1:7600,node2:7600", options: []grpc.DialOption{tls}},
		{endpoints: "10.0.0.1:7600", options: []grpc.DialOption{grpc.WithCredentialsBundle(bundle{credentials.NewTLS(nil)})}},

		{endpoints: "10.0.0.1:7600", refused: "10.0.0.1:7600"},
		{endpoints: "node1:7600", refused: "node1:7600"},
		{endpoints: "localhost.example.org:7600", refused: "localhost.example.org:7600"},
		{endpoints: "127.0.0.1.example.org:7600", refused: "127.0.0.1.example.org:7600"},
		{endpoints: "0.0.0.0:7600", refused: "0.0.0.0:7600"},
		{endpoints: "[fe80::1%lo]:7600", refused: "[fe80::1%lo]:7600"},
		{endpoints: "[::ffff:10.0.0.1]:7600", refused: "[::ffff:10.0.0.1]:7600"},
		{endpoints: "passthrough:///10.0.0.1:7600", refused: "passthrough:///10.0.0.1:7600"},
		{endpoints: "passthrough://127.0.0.1/10.0.0.1:7600", refused: "passthrough://127.0.0.1/10.0.0.1:7600"},
		{endpoints: "xds:///127.0.0.1:7600", refused: "xds:///127.0.0.1:7600"}, // it may lead anywhere
		{endpoints: "dns:///node1:7600", refused: "dns:///node1:7600"},
		{endpoints: "127.0.0.1:7600,10.0.0.1:7600", refused: "10.0.0.1:7600"},
		{endpoints: "10.0.0.1:7600,127.0.0.1:7600", refused: "10.0.0.1:7600"},
		{endpoints: "10.0.0.1:7600", options: []grpc.DialOption{tls, plain}, refused: "10.0.0.1:7600"},
		{endpoints: "10.0.0.1:7600", options: []grpc.DialOption{grpc.WithTransportCredentials(nil), grpc.WithCredentialsBundle(bundle{insecure.NewCredentials()})}, refused: "10.0.0.1:7600"},
	} {
		cfg := client.DefaultConfig()
		cfg.Endpoints = strings.Split(test.endpoints, ",")
		cfg.DialOptions = append([]grpc.DialOption{grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			t.Error("something was dialed")
			return nil, errors.New("no")
		})}, test.options...)
		if err := cfg.CheckToken(); err != nil {
			t.Errorf("%s without a token: %v", test.endpoints, err)
		}
		for _, with := range []func(*client.Config){
			func(cfg *client.Config) { cfg.TokenFile = file.path },
			func(cfg *client.Config) { cfg.Token = func(context.Context) (string, error) { return "", nil } },
		} {
			cfg := cfg
			with(&cfg)
			err := cfg.CheckToken()
			switch {
			case test.refused == "" && err != nil:
				t.Errorf("%s: %v", test.endpoints, err)
			case test.refused != "" && (!errors.Is(err, client.ErrTokenOverPlainText) || !strings.Contains(fmt.Sprint(err), fmt.Sprintf("%q", test.refused))):
				t.Errorf("%s: %v, want that %s is refused", test.endpoints, err, test.refused)
			}
			c, newErr := client.New(cfg)
			if fmt.Sprint(newErr) != fmt.Sprint(err) {
				t.Errorf("%s: New says %v, CheckToken %v", test.endpoints, newErr, err)
			}
			if c != nil {
				c.Close()
			}
		}
	}
}

// bundle brings credentials in another way.
type bundle struct {
	transport credentials.TransportCredentials
}

func (b bundle) TransportCredentials() credentials.TransportCredentials { return b.transport }
func (b bundle) PerRPCCredentials() credentials.PerRPCCredentials       { return nil }
func (b bundle) NewWithMode(string) (credentials.Bundle, error)         { return b, nil }

// A connection that turns out to be plain text, though the options promised TLS, carries no token and no call.
func TestAPlainConnectionCarriesNoToken(t *testing.T) {
	for _, test := range []struct {
		name     string
		endpoint string
		remote   net.Addr
		level    credentials.SecurityLevel
		carried  bool
	}{
		{"TLS to another machine", "10.0.0.1:1", beyond, credentials.PrivacyAndIntegrity, true},
		{"TLS through something on this machine", "10.0.0.1:1", loopback, credentials.PrivacyAndIntegrity, true},
		{"plain text to another machine", "10.0.0.1:1", beyond, credentials.NoSecurity, false},
		{"no secret kept", "10.0.0.1:1", beyond, credentials.IntegrityOnly, false},
		{"nothing known", "10.0.0.1:1", beyond, credentials.InvalidSecurityLevel, false},
		{"plain text through a proxy on this machine", "10.0.0.1:1", loopback, credentials.NoSecurity, false},
		{"plain text on this machine", "127.0.0.1:1", loopback, credentials.NoSecurity, true},
		{"a name of this machine that leads elsewhere", "localhost:1", beyond, credentials.NoSecurity, false},
		{"a socket", "127.0.0.1:1", &net.UnixAddr{Name: "@rollcall", Net: "unix"}, credentials.NoSecurity, true},
		{"an address of an unknown kind", "127.0.0.1:1", &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)}, credentials.NoSecurity, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startGuarded(t, 1)
				f.nodes[0].name = test.endpoint
				file, token := newTokenFile(t)
				cfg := f.config()
				cfg.TokenFile = file.path
				cfg.DialOptions = []grpc.DialOption{
					grpc.WithTransportCredentials(promised{insecure.NewCredentials(), test.level}),
					grpc.WithContextDialer(func(ctx context.Context, name string) (net.Conn, error) {
						conn, err := f.dial(ctx, name)
						return addressed{conn, test.remote}, err
					}),
				}
				f.write(event{"shop/cart", serving, ""})
				c := newClient(t, cfg)
				s, err := c.Check(t.Context(), "shop/cart")
				if test.carried {
					if err != nil || s != serving || !slices.Equal(f.used("Check"), []string{"Check " + token.ID()}) {
						t.Errorf("%v, %v, %q", s, err, f.used("Check"))
					}
					return
				}
				e := failure(t, err)
				if e.Reason != client.ReasonTokenOverPlainText || !client.IsUnauthenticated(err) || !strings.Contains(e.Message, test.endpoint) {
					t.Errorf("%v", err)
				}
				_, err = c.Set(t.Context(), "shop/cart", serving, client.WriteOptions{})
				if e := failure(t, err); e.Reason != client.ReasonTokenOverPlainText || !client.IsNotWritten(err) {
					t.Errorf("%v", err)
				}
				for _, err := range c.Watch(t.Context(), "shop/cart") {
					if e := failure(t, err); e.Reason != client.ReasonTokenOverPlainText {
						t.Errorf("%v", err)
					}
				}
				if calls := f.nodes[0].seen("Check"); len(calls) > 0 || len(f.allUsed()) > 0 {
					t.Errorf("the node saw %v, %q", calls, f.allUsed())
				}
			})
		})
	}
}

var (
	loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	beyond   = &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}
)

// addressed is a connection to an address.
type addressed struct {
	net.Conn
	remote net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.remote }

// promised are credentials that say TLS, and keep what level says.
type promised struct {
	credentials.TransportCredentials
	level credentials.SecurityLevel
}

func (p promised) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return conn, level{credentials.CommonAuthInfo{SecurityLevel: p.level}}, nil
}
func (p promised) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}
func (p promised) Clone() credentials.TransportCredentials { return p }

type level struct{ credentials.CommonAuthInfo }

func (level) AuthType() string { return "promised" }

// A token arrives over TLS and over sockets of the machine, with every kind of call.
func TestATokenArrives(t *testing.T) {
	ca := tlstest.NewCA(t, "ca")
	files := ca.Issue([]string{"127.0.0.1"})
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	listen := func(network, address string) net.Listener {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	socket := filepath.Join(t.TempDir(), "s")
	secured := tls.NewListener(listen("tcp", "127.0.0.1:0"), &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}})
	for _, test := range []struct {
		l        net.Listener
		endpoint string
		options  []grpc.DialOption
	}{
		{l: listen("unix", socket), endpoint: "unix:" + socket},
		{l: secured, endpoint: secured.Addr().String(), options: []grpc.DialOption{grpc.WithTransportCredentials(tlsport.ClientCredentials(tlstest.Open(t, files)))}},
	} {
		f := newCluster(test.endpoint)
		f.access = access{enforced: true}
		f.nodes[0].serve(test.l)
		file, token := newTokenFile(t)
		cfg := client.DefaultConfig()
		cfg.Endpoints, cfg.TokenFile, cfg.DialOptions = []string{test.endpoint}, file.path, test.options
		f.write(event{"shop/cart", serving, ""})
		c, err := client.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx := within(t, time.Minute)
		if s, err := c.Check(ctx, "shop/cart"); s != serving || err != nil {
			t.Errorf("%v, %v", s, err)
		}
		if _, err := c.WaitFor(ctx, "shop/cart", serving); err != nil {
			t.Error(err)
		}
		if _, err := c.Set(ctx, "shop/cart", notServing, client.WriteOptions{}); err != nil {
			t.Error(err)
		}
		for _, method := range []string{"Check", "Watch", "GetService", "SetServingStatus"} {
			if got := f.used(method); !slices.Equal(got, []string{method + " " + token.ID()}) {
				t.Errorf("%s: %q", test.endpoint, got)
			}
		}
		c.Close()
		f.stop()
	}
}

// No call goes out without a token, and no error tells any of one.
func TestTokensOfAFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startGuarded(t, 2)
		token, other := accesstoken.New(), accesstoken.New()
		var now atomic.Pointer[func() (string, error)]
		say := func(text string, err error) {
			ask := func() (string, error) { return text, err }
			now.Store(&ask)
		}
		cfg := f.config()
		cfg.Token = func(context.Context) (string, error) { return (*now.Load())() }
		say(token.Text(), nil)
		c := newClient(t, cfg)
		check := func() error { _, err := c.Check(within(t, time.Minute), ""); return err }
		if err := check(); err != nil {
			t.Fatal(err)
		}
		say(other.Text(), nil)
		if err := check(); err != nil {
			t.Fatal(err)
		}
		away := errors.New("the token service is away")
		for _, test := range []struct {
			text, reason string
			err          error
			says         string
		}{
			{"", client.ReasonNoCredentials, nil, "there is no token to send"},
			{"", client.ReasonNoCredentials, away, "the token service is away"},
			{other.Text()[:63], client.ReasonTokenDamaged, nil, "64 characters"},
			{"rct_" + other.Text()[4:20] + "_" + token.Text()[21:], client.ReasonTokenDamaged, nil, "id does not fit"},
			{other.Text() + "\n", client.ReasonTokenDamaged, nil, "64 characters"},
		} {
			say(test.text, test.err)
			e := failure(t, check())
			if e.Code != codes.Unauthenticated || e.Reason != test.reason || !strings.Contains(e.Message, test.says) || strings.Contains(e.Error(), token.Text()[30:]) || strings.Contains(e.Error(), other.Text()[30:60]) {
				t.Errorf("%q: %v", test.reason, e)
			}
		}
		if got := f.used("Check"); !slices.Equal(got, []string{"Check " + token.ID(), "Check " + other.ID()}) {
			t.Errorf("%q", got)
		}
		// Who waits for a token waits no longer than for an answer.
		cfg.Token = func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }
		waits := newClient(t, cfg)
		began := time.Now()
		_, err := waits.Check(within(t, time.Minute), "")
		if e := failure(t, err); e.Reason != client.ReasonNoCredentials || time.Since(began) > 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if _, err := waits.Check(within(t, time.Second), ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

// A bad file is one clear error, which tells nothing of what is in it.
func TestTokenFilesThatAreRefused(t *testing.T) {
	good := accesstoken.New().Text()
	for _, test := range []struct {
		text string
		mode os.FileMode
		says string
	}{
		{good, 0o600, ""},
		{"\n " + good + " \r\n\n", 0o400, ""},
		{good, 0o640, ""},
		{good, 0o644, "mode 0644"},
		{good, 0o660, "mode 0660"},
		{good, 0o601, "mode 0601"},
		{"", 0o600, "is empty"},
		{"  \n", 0o600, "is empty"},
		{good + "\n" + good, 0o600, "more than one word"},
		{"token: " + good, 0o600, "more than one word"},
		{strings.Repeat("\n", 5000), 0o600, "larger than 4 KiB"},
		{good[:40], 0o600, "64 characters"},
		{"hunter2", 0o600, "does not begin with"},
		{good[:63] + "!", 0o600, "no token has"},
	} {
		file := tokenFile{t, filepath.Join(t.TempDir(), "token")}
		file.write(test.text, test.mode)
		cfg := client.DefaultConfig()
		cfg.TokenFile = file.path
		err := cfg.CheckToken()
		if test.says == "" {
			if err != nil {
				t.Errorf("%q: %v", test.text, err)
			}
			continue
		}
		if text := fmt.Sprint(err); err == nil || !strings.Contains(text, test.says) || !strings.Contains(text, file.path) || strings.Contains(text, good[24:]) || strings.Contains(text, "hunter2") || strings.Contains(text, "\n") {
			t.Errorf("%q, %v: %v", test.text, test.mode, err)
		}
	}
	directory := t.TempDir()
	for path, says := range map[string]string{
		filepath.Join(directory, "none"): "no such file",
		directory:                        "is a directory",
	} {
		cfg := client.DefaultConfig()
		cfg.TokenFile = path
		if err := cfg.CheckToken(); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	cfg := client.DefaultConfig()
	cfg.TokenFile, cfg.Token = "token", func(context.Context) (string, error) { return "", nil }
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "give one of them") {
		t.Errorf("%v", err)
	}
}
