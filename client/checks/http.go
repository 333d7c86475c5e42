package checks

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/rollcallhq/rollcall/internal/connfailure"
)

const (
	maxHTTPBody   = 64 << 10 // bytes of an answer's body that are read
	maxHTTPHeader = 64 << 10 // bytes of an answer's header that are accepted
	maxRedirects  = 10
)

// HTTPOption is an option of HTTP.
type HTTPOption func(*httpCheck)

// HTTPMethod has the check use another method than GET.
func HTTPMethod(method string) HTTPOption { return func(c *httpCheck) { c.method = method } }

// HTTPHeader adds a header to the request. "Host" sets the host that the server is asked for.
func HTTPHeader(key, value string) HTTPOption {
	return func(c *httpCheck) { c.headers = append(c.headers, [2]string{key, value}) }
}

// HTTPStatus has the check accept exactly these status codes instead of 200 to 299.
func HTTPStatus(codes ...int) HTTPOption {
	return func(c *httpCheck) { c.statusSet, c.statuses = true, append(c.statuses, codes...) }
}

// HTTPBody has the check fail unless the first 64 KiB of the answer's body contain text.
func HTTPBody(text string) HTTPOption { return func(c *httpCheck) { c.body = text } }

// HTTPFollowRedirects has the check follow up to 10 redirects, and judge the last answer. Otherwise a redirect
// is an answer like any other. The headers of HTTPHeader go along, to another host all but Authorization and Cookie.
func HTTPFollowRedirects() HTTPOption { return func(c *httpCheck) { c.follow = true } }

// HTTPTLS sets how https is spoken: authorities, a certificate of the client's. The check keeps a copy.
func HTTPTLS(config *tls.Config) HTTPOption {
	return func(c *httpCheck) { c.tls, c.tlsSet = config.Clone(), true }
}

// HTTPTransport has the check send its requests through t: for a proxy, a Unix socket, or connections that are kept.
// t stays the program's.
func HTTPTransport(t http.RoundTripper) HTTPOption {
	return func(c *httpCheck) { c.transport, c.transportSet = t, true }
}

type httpCheck struct {
	readymade
	url          string
	shown        string // the URL without what may be secret
	method       string
	headers      [][2]string
	statusSet    bool
	statuses     []int
	body         string
	follow       bool
	tls          *tls.Config
	tlsSet       bool
	transport    http.RoundTripper
	transportSet bool
}

// HTTP returns a check that requests rawURL, http or https, and fails unless the answer has a status from 200 to
// 299. The answer must be whole in time, or its body longer than the 64 KiB that are read.
//
// Each run connects anew, so that it meets what a new caller meets: a server that accepts no connections, a name
// that has moved, a certificate that has expired. It uses no proxy, whatever the environment says, and keeps no
// cookies. Messages show neither the answer's body nor the URL's user, password, query and fragment.
//
// A check of another host is not critical by default, because one outage must not take all instances out of
// service; one of this host ("localhost" or a loopback address) is critical.
func HTTP(name, rawURL string, opts ...HTTPOption) Check {
	c := &httpCheck{url: rawURL, method: http.MethodGet}
	c.name, c.run = name, c.get
	if c.err = apply(c, opts); c.err == nil {
		c.err = c.validate()
	}
	return c
}

func (c *httpCheck) validate() error {
	// url.Parse's own errors quote the URL, and with it what may be secret.
	u, err := url.Parse(c.url)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return errors.New("the URL must be http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH")
	}
	if u.Port() != "" || strings.HasSuffix(u.Host, ":") {
		if err := portNumber(u.Port()); err != nil {
			return err
		}
	}
	c.nonCritical = otherHost(u.Hostname())
	c.shown = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	if c.method == "" {
		return errors.New("HTTPMethod needs a method; it is empty")
	}
	if _, err := http.NewRequest(c.method, "http://localhost/", nil); err != nil {
		return fmt.Errorf("%q is no HTTP method", foreign(c.method))
	}
	for _, h := range c.headers {
		if !isToken(h[0]) || strings.ContainsFunc(h[1], func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return fmt.Errorf("%q with its value is no HTTP header", foreign(h[0]))
		}
	}
	if c.statusSet && len(c.statuses) == 0 {
		return errors.New("HTTPStatus needs a status")
	}
	for _, code := range c.statuses {
		if code < 200 || code > 599 {
			return fmt.Errorf("HTTPStatus needs codes from 200 to 599; %d is none", code)
		}
	}
	if c.body != "" && c.method == http.MethodHead {
		return errors.New("an answer to HEAD has no body: HTTPBody needs another method")
	}
	if len(c.body) > maxHTTPBody {
		return errors.New("the text of HTTPBody is longer than the 64 KiB of a body that are read")
	}
	switch {
	case c.tlsSet && c.tls == nil:
		return errors.New("HTTPTLS needs a configuration; it is nil")
	case c.transportSet && c.tlsSet:
		return errors.New("HTTPTLS and HTTPTransport exclude each other: set up TLS in the transport")
	case c.transportSet && isNil(c.transport):
		return errors.New("HTTPTransport needs a transport; it is nil")
	}
	return nil
}

// isToken is whether s is a token of RFC 9110, section 5.6.2, as names of headers are.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

var errRedirects = errors.New("too many redirects")

// oneRun returns a client for one run, whose connections are closed when ctx ends: by itself a Transport goes on with
// a TLS handshake that nobody waits for any more, for ever when the server says nothing.
func (c *httpCheck) oneRun(ctx context.Context) *http.Client {
	transport := c.transport
	if !c.transportSet {
		transport = &http.Transport{
			DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
				if err == nil {
					context.AfterFunc(ctx, func() { conn.Close() })
				}
				return conn, err
			},
			DisableKeepAlives:      true,
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: maxHTTPHeader,
			TLSClientConfig:        c.tls,
		}
	}
	return &http.Client{Transport: transport, CheckRedirect: func(_ *http.Request, via []*http.Request) error {
		switch {
		case !c.follow:
			return http.ErrUseLastResponse
		case len(via) > maxRedirects:
			return errRedirects
		}
		return nil
	}}
}

func (c *httpCheck) get(ctx context.Context) error {
	a := begin(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, c.method, c.url, nil)
	if err != nil {
		return errors.New(c.shown + ": the request cannot be made")
	}
	req.Header.Set("User-Agent", "rollcall-checks")
	for i, h := range c.headers {
		switch {
		case strings.EqualFold(h[0], "Host"):
			req.Host = h[1]
		case i > 0 && slices.ContainsFunc(c.headers[:i], func(before [2]string) bool { return strings.EqualFold(before[0], h[0]) }):
			req.Header.Add(h[0], h[1])
		default:
			req.Header.Set(h[0], h[1])
		}
	}
	resp, err := c.oneRun(ctx).Do(req)
	if err != nil {
		return c.failed(a, err)
	}
	defer resp.Body.Close()
	if !c.accepts(resp.StatusCode) {
		redirect := ""
		if resp.StatusCode/100 == 3 && !c.follow {
			redirect = "; redirects are not followed"
		}
		return fmt.Errorf("%s: answered %d, wanted %s%s", c.shown, resp.StatusCode, c.wanted(), redirect)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHTTPBody))
	if err != nil {
		if a.isLate(err) {
			return a.late(c.shown + fmt.Sprintf(": answered %d, but not completely", resp.StatusCode))
		}
		return &wordedError{fmt.Sprintf("%s: answered %d, and broke off", c.shown, resp.StatusCode), err}
	}
	if !bytes.Contains(body, []byte(c.body)) {
		return fmt.Errorf("%s: answered %d, without the text that is wanted in its body", c.shown, resp.StatusCode)
	}
	return nil
}

func (c *httpCheck) accepts(code int) bool {
	if c.statusSet {
		return slices.Contains(c.statuses, code)
	}
	return code/100 == 2
}

func (c *httpCheck) wanted() string {
	if !c.statusSet {
		return "200 to 299"
	}
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(c.statuses), "[]"), " ", " or ")
}

// httpCauses are what net/http's texts hold, and what that means. They quote what the server sent, which a message
// must not.
var httpCauses = []struct{ holds, means string }{
	{"server gave HTTP response to HTTPS client", "it speaks HTTP, not HTTPS"},
	{"malformed HTTP", "it does not speak HTTP"},
	{"readLoopPeekFail", "it does not speak HTTP"},
	{"malformed MIME header", "it does not speak HTTP"},
	{"invalid header", "it does not speak HTTP"},
	{"Content-Length", "it does not speak HTTP"},
	{"transfer encoding", "it does not speak HTTP"},
	{"unsupported protocol scheme", "it redirects to something that is not HTTP"},
	{"Location header", "it redirects to something that is no URL"},
	{"no Host in request URL", "it redirects to something that is no URL"},
	{"response headers exceeded", "the header of its answer is longer than 64 KiB"},
	{"EOF", "it closed the connection without an answer"},
}

func (c *httpCheck) failed(a attempt, err error) error {
	// An error of http.Client begins with the URL.
	if outer := (*url.Error)(nil); errors.As(err, &outer) {
		err = outer.Err
	}
	switch {
	case a.isLate(err):
		return a.late(c.shown + ": no answer")
	case errors.Is(err, errRedirects):
		return fmt.Errorf("%s: more than %d redirects", c.shown, maxRedirects)
	}
	for _, cause := range httpCauses {
		if strings.Contains(err.Error(), cause.holds) {
			return &wordedError{c.shown + ": " + cause.means, err}
		}
	}
	return &wordedError{c.shown + ": " + foreign(connfailure.Text(err.Error())), err}
}
