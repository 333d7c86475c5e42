package authn

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/server/rpcerror"
	"github.com/rollcallhq/rollcall/tlsport"
)

// fakeTokens is a registry of tokens.
type fakeTokens struct {
	mu         sync.Mutex
	generation int64
	byID       map[string]string // names
	tokens     map[string]*logv1.Token
	changed    chan struct{}
	lookups    int
}

func newFakeTokens() *fakeTokens {
	return &fakeTokens{byID: map[string]string{}, tokens: map[string]*logv1.Token{}, changed: make(chan struct{})}
}

func (f *fakeTokens) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	f.generation++
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeTokens) add(name string, t accesstoken.Token, expireTime int64) {
	sum := t.SHA256()
	f.change(func() {
		f.byID[t.ID()] = name
		f.tokens[name] = &logv1.Token{SecretSha256: sum[:], ExpireTime: expireTime}
	})
}

func (f *fakeTokens) remove(t accesstoken.Token) {
	f.change(func() {
		delete(f.tokens, f.byID[t.ID()])
		delete(f.byID, t.ID())
	})
}

func (f *fakeTokens) Generation() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.generation
}

func (f *fakeTokens) Token(id string) (string, *logv1.Token) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lookups++
	return f.byID[id], f.tokens[f.byID[id]]
}

func (f *fakeTokens) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// door is an Authenticator under test.
type door struct {
	*Authenticator
	tokens *fakeTokens
	now    int64
	behind func() bool
	log    bytes.Buffer
	ending chan struct{}
}

func newDoor(static *Static) *door {
	d := &door{tokens: newFakeTokens(), ending: make(chan struct{})}
	d.Authenticator = New(Config{
		Tokens: d.tokens, Clock: func() int64 { return d.now }, Static: static, Ending: d.ending,
		Behind: func() bool { return d.behind != nil && d.behind() },
		Logger: slog.New(slog.NewTextHandler(&d.log, nil)),
	})
	return d
}

var (
	loopback  = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711}
	remote    = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
	bufconn   = &net.UnixAddr{Name: "bufconn"}
	loopback6 = &net.TCPAddr{IP: net.IPv6loopback, Port: 1}
	plain     = &tlsport.Info{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}
	overTLS   = &tlsport.Info{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
)

// call is the context of a call from an address with values of authorization.
func call(from net.Addr, info credentials.AuthInfo, authorization ...string) context.Context {
	ctx := peer.NewContext(context.Background(), &peer.Peer{Addr: from, AuthInfo: info})
	md := metadata.MD{":authority": {"a"}, "content-type": {"application/grpc"}, "user-agent": {"test"}}
	if len(authorization) > 0 {
		md["authorization"] = authorization
	}
	return metadata.NewIncomingContext(ctx, md)
}

func certificateOf(identity string) *tlsport.Info {
	info := *overTLS
	info.Identity, info.Expires = identity, time.Unix(5000, 0)
	return &info
}

func TestWhoCalls(t *testing.T) {
	token, admin := accesstoken.New(), accesstoken.New()
	sum := admin.SHA256()
	static := &Static{identities: []string{"cert:root.example"}}
	static.token.Store(&sum)
	d := newDoor(static)
	d.tokens.add("ci", token, int64(9*time.Hour))
	bearer := "Bearer " + token.Text()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		want Caller
	}{
		{"no call at all", context.Background(), Caller{Identity: "anonymous", How: byNothing}},
		{"nobody", call(remote, nil), Caller{Identity: "anonymous", How: byNothing, address: remote}},
		{"nobody with TLS", call(remote, overTLS), Caller{Identity: "anonymous", How: byNothing, TLS: true, address: remote}},
		{"a certificate", call(remote, certificateOf("cert:web")), Caller{Identity: "cert:web", How: byCertificate, Expires: time.Unix(5000, 0), TLS: true, address: remote}},
		{"an administrator's certificate", call(remote, certificateOf("cert:root.example")), Caller{Identity: "static:root.example", How: byStaticCertificate, Expires: time.Unix(5000, 0), StaticAdmin: true, TLS: true, address: remote}},
		{"a token", call(remote, overTLS, bearer), Caller{Identity: "token:ci", How: byToken, Credential: token.ID(), Expires: time.Unix(0, int64(9*time.Hour)), TLS: true, address: remote}},
		{"a token and a certificate", call(remote, certificateOf("cert:root.example"), bearer), Caller{Identity: "token:ci", How: byToken, Credential: token.ID(), Expires: time.Unix(0, int64(9*time.Hour)), TLS: true, address: remote}},
		{"an administrator's token", call(remote, overTLS, "bearer "+admin.Text()), Caller{Identity: "static:admin-token", How: byStaticToken, Credential: admin.ID(), StaticAdmin: true, TLS: true, address: remote}},
		{"a token over loopback", call(loopback, plain, bearer), Caller{Identity: "token:ci", How: byToken, Credential: token.ID(), Expires: time.Unix(0, int64(9*time.Hour)), address: loopback}},
		{"a token over IPv6 loopback", call(loopback6, nil, bearer), Caller{Identity: "token:ci", How: byToken, Credential: token.ID(), Expires: time.Unix(0, int64(9*time.Hour)), address: loopback6}},
		{"a token from within the process", call(bufconn, nil, bearer), Caller{Identity: "token:ci", How: byToken, Credential: token.ID(), Expires: time.Unix(0, int64(9*time.Hour)), address: bufconn}},
		{"upper case", call(loopback, nil, "BEARER "+token.Text()), Caller{Identity: "token:ci", How: byToken, Credential: token.ID(), Expires: time.Unix(0, int64(9*time.Hour)), address: loopback}},
		{"spaces", call(loopback, nil, "  Bearer   "+token.Text()+" "), Caller{Identity: "token:ci", How: byToken, Credential: token.ID(), Expires: time.Unix(0, int64(9*time.Hour)), address: loopback}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, f := d.Caller(tt.ctx)
			if f != nil {
				t.Fatal(f)
			}
			got := *c
			got.sum = tt.want.sum
			if want := addressOf(tt.want.address); c.Address() != want {
				t.Errorf("Address() = %q, want %q", c.Address(), want)
			}
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			if f := d.Still(c); f != nil {
				t.Errorf("Still: %v", f)
			}
		})
	}
}

func TestWhatProvesNothing(t *testing.T) {
	token, stranger := accesstoken.New(), accesstoken.New()
	text := token.Text()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		want string
	}{
		{"unknown", call(remote, overTLS, "Bearer "+stranger.Text()), rpcerror.ReasonTokenUnknown},
		{"unknown, with a certificate", call(remote, certificateOf("cert:web"), "Bearer "+stranger.Text()), rpcerror.ReasonTokenUnknown},
		{"over plain text", call(remote, nil, "Bearer "+text), rpcerror.ReasonTokenOverPlainText},
		{"over plain text of a port with TLS", call(remote, plain, "Bearer "+text), rpcerror.ReasonTokenOverPlainText},
		{"from IPv4 beyond loopback, written as IPv6", call(&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.7")}, nil, "Bearer "+text), rpcerror.ReasonTokenOverPlainText},
		{"over plain text from an address that is not known", call(&net.TCPAddr{}, nil, "Bearer "+text), rpcerror.ReasonTokenOverPlainText},
		{"twice", call(remote, overTLS, "Bearer "+text, "Bearer "+text), rpcerror.ReasonTokenDamaged},
		{"many", call(remote, overTLS, strings.Split(strings.Repeat("Bearer "+text+",", 1000), ",")...), rpcerror.ReasonTokenDamaged},
		{"empty", call(remote, overTLS, ""), rpcerror.ReasonTokenDamaged},
		{"spaces", call(remote, overTLS, "   "), rpcerror.ReasonTokenDamaged},
		{"no token", call(remote, overTLS, "Bearer"), rpcerror.ReasonTokenDamaged},
		{"no scheme", call(remote, overTLS, text), rpcerror.ReasonTokenDamaged},
		{"no space", call(remote, overTLS, "Bearer"+text), rpcerror.ReasonTokenDamaged},
		{"another scheme", call(remote, overTLS, "Basic "+text), rpcerror.ReasonTokenDamaged},
		{"two tokens in one value", call(remote, overTLS, "Bearer "+text+", Bearer "+text), rpcerror.ReasonTokenDamaged},
		{"cut", call(remote, overTLS, "Bearer "+text[:63]), rpcerror.ReasonTokenDamaged},
		{"huge", call(remote, overTLS, "Bearer "+strings.Repeat(text, 1<<16)), rpcerror.ReasonTokenDamaged},
		{"binary", call(remote, overTLS, "Bearer \x00\xff\xfe"+text), rpcerror.ReasonTokenDamaged},
		{"a tab", call(remote, overTLS, "Bearer\t"+text), rpcerror.ReasonTokenDamaged},
		{"another's token", call(remote, overTLS, "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x"), rpcerror.ReasonTokenDamaged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDoor(nil)
				d.tokens.add("ci", token, 0)
				c, f := d.Caller(tt.ctx)
				if f == nil || f.Reason != tt.want || c != nil {
					t.Fatalf("%+v, %v; want %s", c, f, tt.want)
				}
				if f.Meta[rpcerror.MetaWritten] != rpcerror.WrittenNo {
					t.Errorf("metadata: %v", f.Meta)
				}
				for _, secret := range []string{text[21:], stranger.Text()[21:], "eyJ"} {
					if strings.Contains(f.Message, secret) || strings.Contains(d.log.String(), secret) {
						t.Errorf("the secret is told: %s\n%s", f.Message, d.log.String())
					}
				}
				if c, f := d.Caller(call(remote, overTLS, "Bearer "+text)); f != nil || c.Identity != "token:ci" {
					t.Errorf("and then the right one: %v, %v", c, f)
				}
			})
		})
	}
}

func TestATokenIsNoneWhenItIsRevokedOrExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(nil)
		revoked, expiring, unseen := accesstoken.New(), accesstoken.New(), accesstoken.New()
		d.tokens.add("a", revoked, 0)
		d.tokens.add("b", expiring, 1000)
		d.tokens.add("c", unseen, 0)
		a, f := d.Caller(call(remote, overTLS, "Bearer "+revoked.Text()))
		if f != nil {
			t.Fatal(f)
		}
		d.now = 999
		b, f := d.Caller(call(remote, overTLS, "Bearer "+expiring.Text()))
		if f != nil || d.Still(b) != nil {
			t.Fatal(f, d.Still(b))
		}

		d.tokens.remove(revoked)
		d.tokens.remove(unseen)
		d.now = 1000
		for range 2 { // known and told from memory
			for _, tt := range []struct {
				token        accesstoken.Token
				was          *Caller
				reason, name string
			}{
				{revoked, a, rpcerror.ReasonTokenRevoked, "token:a"},
				{expiring, b, rpcerror.ReasonTokenExpired, "token:b"},
				{unseen, nil, rpcerror.ReasonTokenUnknown, ""},
			} {
				if _, f := d.Caller(call(remote, overTLS, "Bearer "+tt.token.Text())); f == nil || f.Reason != tt.reason || f.Meta[rpcerror.MetaIdentity] != tt.name {
					t.Errorf("%s: %v", tt.reason, f)
				}
				if tt.was == nil {
					continue
				}
				if f := d.Still(tt.was); f == nil || f.Reason != tt.reason {
					t.Errorf("Still: %v, want %s", f, tt.reason)
				}
			}
		}

		d.tokens.add("a", revoked, 0) // the same secret, made a token once more
		if c, f := d.Caller(call(remote, overTLS, "Bearer "+revoked.Text())); f != nil || c.Identity != "token:a" {
			t.Errorf("made again: %v, %v", c, f)
		}
		d.tokens.remove(revoked)
		d.tokens.add("a", accesstoken.New(), 0) // another one of its name
		if f := d.Still(a); f == nil || f.Reason != rpcerror.ReasonTokenRevoked {
			t.Errorf("Still, when another token has the name: %v", f)
		}
	})
}

// TestTheWholeHashIsCompared: two secrets whose ids are the same are two tokens.
func TestTheWholeHashIsCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(nil)
		token := accesstoken.New()
		sum := token.SHA256()
		sum[31]++
		d.tokens.change(func() {
			d.tokens.byID[token.ID()] = "other"
			d.tokens.tokens["other"] = &logv1.Token{SecretSha256: sum[:]}
		})
		if c, f := d.Caller(call(remote, overTLS, "Bearer "+token.Text())); f == nil || f.Reason != rpcerror.ReasonTokenUnknown {
			t.Errorf("%v, %v", c, f)
		}
	})
}

func TestATokenIsLookedUpOnceAGeneration(t *testing.T) {
	d := newDoor(nil)
	token := accesstoken.New()
	d.tokens.add("ci", token, 0)
	for range 10 {
		if _, f := d.Caller(call(remote, overTLS, "Bearer "+token.Text())); f != nil {
			t.Fatal(f)
		}
	}
	if d.tokens.lookups != 1 {
		t.Errorf("looked up %d times", d.tokens.lookups)
	}
	d.tokens.add("other", accesstoken.New(), 0)
	for range 10 {
		if _, f := d.Caller(call(remote, overTLS, "Bearer "+token.Text())); f != nil {
			t.Fatal(f)
		}
	}
	if d.tokens.lookups != 2 {
		t.Errorf("looked up %d times after a change", d.tokens.lookups)
	}
}

// TestTokensShareThePlacesOfTheCache: one that lost its place is valid all the same.
func TestTokensShareThePlacesOfTheCache(t *testing.T) {
	d := newDoor(nil)
	var a, b accesstoken.Token
	for a = accesstoken.New(); b.IsZero(); {
		sumA := a.SHA256()
		if c := accesstoken.New(); c.ID() != a.ID() {
			if sum := c.SHA256(); d.cache.slot(&sum) == d.cache.slot(&sumA) {
				b = c
			}
		}
	}
	d.tokens.add("a", a, 0)
	d.tokens.add("b", b, 0)
	for range 3 {
		for name, token := range map[string]accesstoken.Token{"a": a, "b": b} {
			if c, f := d.Caller(call(remote, overTLS, "Bearer "+token.Text())); f != nil || c.Identity != "token:"+name {
				t.Errorf("%s: %v, %v", name, c, f)
			}
		}
	}
}

func TestActor(t *testing.T) {
	for _, tt := range []struct {
		caller Caller
		want   *logv1.Actor
	}{
		{Caller{Identity: "anonymous", address: remote}, &logv1.Actor{Name: "mary", Peer: "192.0.2.7:4711"}},
		{Caller{Identity: "cert:web", address: remote}, &logv1.Actor{Name: "cert:web", Verified: true, Peer: "192.0.2.7:4711", OnBehalfOf: "mary"}},
		{Caller{Identity: "token:ci", Credential: "0123", address: remote}, &logv1.Actor{Name: "token:ci", Verified: true, Peer: "192.0.2.7:4711", OnBehalfOf: "mary", Credential: "0123"}},
		{Caller{Identity: "static:root", StaticAdmin: true}, &logv1.Actor{Name: "static:root", Verified: true, OnBehalfOf: "mary", StaticAdmin: true}},
	} {
		if got := tt.caller.Actor("mary"); !proto.Equal(got, tt.want) {
			t.Errorf("got %v, want %v", got, tt.want)
		}
	}
}

func BenchmarkCaller(b *testing.B) {
	d := newDoor(nil)
	token := accesstoken.New()
	d.tokens.add("ci", token, 1<<62)
	for name, ctx := range map[string]context.Context{
		"anonymous":   call(remote, overTLS),
		"certificate": call(remote, certificateOf("cert:web")),
		"token":       call(remote, overTLS, "Bearer "+token.Text()),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, f := d.Caller(ctx); f != nil {
					b.Fatal(f)
				}
			}
		})
	}
}

// FuzzAuthorization: whatever a call sends, it is taken for the token or refused, and a refusal repeats nothing of it.
func FuzzAuthorization(f *testing.F) {
	token := accesstoken.New()
	f.Add("Bearer "+token.Text(), "")
	f.Add("bearer  "+token.Text()+" ", "")
	f.Add("Basic cm9vdDpyb290", "")
	f.Add("Bearer "+token.Text(), "Bearer "+token.Text())
	f.Add("", "\x00")
	d := newDoor(nil)
	d.tokens.add("ci", token, 0)
	f.Fuzz(func(t *testing.T, first, second string) {
		values := []string{first}
		if second != "" {
			values = append(values, second)
		}
		c, failure := d.Identify(call(remote, certificateOf("cert:web"), values...))
		right := second == "" && strings.HasSuffix(strings.TrimSpace(first), " "+token.Text()) && strings.EqualFold(strings.Fields(first)[0], "bearer") && len(strings.Fields(first)) == 2
		switch {
		case failure == nil && (!right || c.Identity != "token:ci"):
			t.Errorf("%q is taken for %s", values, c.Identity)
		case failure != nil && right && !strings.ContainsAny(first, "\t\r\n\v\f\u0085\u00a0"):
			t.Errorf("%q is refused: %v", values, failure)
		case failure != nil && failure.Reason != rpcerror.ReasonTokenDamaged && failure.Reason != rpcerror.ReasonTokenUnknown:
			t.Errorf("%q: %s", values, failure.Reason)
		case failure != nil && len(first) > 30 && strings.Contains(failure.Message, first[10:]):
			t.Errorf("%q: the refusal repeats it: %s", values, failure.Message)
		}
	})
}

// A node that has not caught up since it started tells nobody that there is no such token: it is answered at once, and
// counted as no failure. What it knows counts all the same.
func TestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(nil)
		known, late := accesstoken.New(), accesstoken.New()
		d.tokens.add("known", known, 0)
		d.behind = func() bool { return true }
		ask := func(token accesstoken.Token) (*Caller, *rpcerror.Failure) {
			return d.Caller(call(remote, overTLS, "Bearer "+token.Text()))
		}
		if c, f := ask(known); f != nil || c.Identity != "token:known" {
			t.Errorf("a token that it knows: %v %v", c, f)
		}
		began := time.Now()
		c, f := ask(late)
		if f == nil || c != nil || f.Reason != rpcerror.ReasonNotFresh || f.Meta[rpcerror.MetaWritten] != rpcerror.WrittenNo {
			t.Errorf("a token that it does not know: %v %v", c, f)
		}
		if time.Since(began) != 0 || d.Failures()["token_unknown"] != 0 || d.log.Len() > 0 {
			t.Errorf("it is taken for a failure to log in: %s", d.log.String())
		}
		// It catches up in the moment in which it is asked.
		var catchesUp sync.Once
		d.behind = func() bool { catchesUp.Do(func() { d.tokens.add("late", late, 0) }); return false }
		if c, f := ask(late); f != nil || c.Identity != "token:late" {
			t.Errorf("a token that it has just learned: %v %v", c, f)
		}
		if _, f := ask(accesstoken.New()); f == nil || f.Reason != rpcerror.ReasonTokenUnknown {
			t.Errorf("no token: %v", f)
		}
	})
}
