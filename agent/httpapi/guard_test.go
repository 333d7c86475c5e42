package httpapi

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWhoMayAsk(t *testing.T) {
	const loopback, machine, other = "127.0.0.1:7612", "10.0.0.7:7612", "10.0.0.9:50000"
	for _, test := range []struct {
		name    string
		method  string
		peer    string // where the request comes from
		to      string // the address that it came to
		host    string
		headers string
		o       Options
		code    int // 204 for a push that is taken
	}{
		{"a process of this machine", "PUT", "127.0.0.1:50000", loopback, "127.0.0.1:7612", "", Options{}, 204},
		{"by IPv6", "PUT", "[::1]:50000", "[::1]:7612", "[::1]:7612", "", Options{}, 204},
		{"by IPv4 in IPv6", "PUT", "[::ffff:127.0.0.1]:50000", "[::ffff:127.0.0.1]:7612", "localhost:7612", "", Options{}, 204},
		{"by localhost", "PUT", "127.0.0.1:50000", loopback, "LocalHost.:7612", "", Options{}, 204},
		{"by a name below localhost", "PUT", "127.0.0.1:50000", loopback, "agent.localhost", "", Options{}, 204},
		{"HTTP/1.0 without a host", "PUT", "127.0.0.1:50000", loopback, "", "", Options{}, 204},
		{"by a name that the agent has", "PUT", "127.0.0.1:50000", loopback, "Agent:7612", "", Options{Hosts: []string{"agent"}}, 204},
		{"by this machine's own address", "PUT", "10.0.0.7:50000", machine, "10.0.0.7:7612", "", Options{}, 204},
		{"by another loopback address", "PUT", "127.0.0.1:50000", "127.0.0.2:7612", "127.0.0.2:7612", "", Options{}, 204},
		{"by this machine's own address in IPv6", "PUT", "[::ffff:10.0.0.7]:50000", "[::ffff:10.0.0.7]:7612", "10.0.0.7:7612", "", Options{}, 204},

		{"another machine", "PUT", other, machine, "10.0.0.7:7612", "", Options{}, 403},
		{"another machine that may", "PUT", other, machine, "10.0.0.7:7612", "", Options{AllowRemotePush: true}, 204},
		{"another machine that may, by a name", "PUT", other, machine, "agent.example:7612", "", Options{AllowRemotePush: true}, 204},
		{"another machine reads", "GET", other, machine, "10.0.0.7:7612", "", Options{}, 200},
		{"another machine reads by a name", "GET", other, machine, "agent.example:7612", "", Options{}, 200},

		{"a page of another origin", "PUT", "127.0.0.1:50000", loopback, "127.0.0.1:7612", "Origin: https://evil.example", Options{}, 403},
		{"a page of another origin, by Sec-Fetch-Site", "PUT", "127.0.0.1:50000", loopback, "localhost:7612", "Sec-Fetch-Site: cross-site", Options{}, 403},
		{"a page of another port", "PUT", "127.0.0.1:50000", loopback, "localhost:7612", "Sec-Fetch-Site: same-site", Options{}, 403},
		{"a page without an origin", "PUT", "127.0.0.1:50000", loopback, "localhost:7612", "Origin: null", Options{}, 403},
		{"a page of another origin, of who may push from anywhere", "PUT", other, machine, "10.0.0.7:7612", "Origin: https://evil.example", Options{AllowRemotePush: true}, 403},

		{"a rebound name", "PUT", "127.0.0.1:50000", loopback, "evil.example:7612", "Origin: http://evil.example:7612", Options{}, 421},
		{"a rebound name that the browser takes for the same", "PUT", "127.0.0.1:50000", loopback, "evil.example:7612", "Sec-Fetch-Site: same-origin", Options{}, 421},
		{"a rebound name reads", "GET", "127.0.0.1:50000", loopback, "evil.example:7612", "", Options{}, 421},
		{"a rebound name without a port", "HEAD", "127.0.0.1:50000", loopback, "evil.example", "", Options{}, 421},
		{"a rebound name like localhost", "GET", "127.0.0.1:50000", loopback, "localhost.evil.example:7612", "", Options{}, 421},
		{"a rebound name that ends like localhost", "GET", "127.0.0.1:50000", loopback, "evil-localhost:7612", "", Options{}, 421},
		{"a rebound name like an address", "GET", "127.0.0.1:50000", loopback, "127.0.0.1.evil.example:7612", "", Options{}, 421},
		{"a rebound name of another address", "PUT", other, machine, "evil.example:7612", "Origin: http://evil.example:7612", Options{AllowRemotePush: true}, 421},
		{"an unknown way here", "GET", "127.0.0.1:50000", "", "evil.example", "", Options{}, 421},
		{"an unknown peer", "PUT", "@", loopback, "localhost", "", Options{}, 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake("a")
			h := newHandler(f, test.o, newConnections(1, nil))
			r := httptest.NewRequest(test.method, "/v1/status/a", strings.NewReader("SERVING"))
			r.RemoteAddr, r.Host = test.peer, test.host
			if key, value, ok := strings.Cut(test.headers, ": "); ok {
				r.Header.Set(key, value)
			}
			if test.to != "" {
				at, err := net.ResolveTCPAddr("tcp", test.to)
				if err != nil {
					t.Fatal(err)
				}
				r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(at)))
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != test.code {
				t.Errorf("%d %q, want %d", w.Code, w.Body, test.code)
			}
			if taken := f.said("a") != ""; taken != (test.code == 204) {
				t.Errorf("taken: %t", taken)
			}
			if w.Header().Get("Access-Control-Allow-Origin") != "" {
				t.Error("pages of other origins may read the answer")
			}
		})
	}
}
