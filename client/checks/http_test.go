package checks

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func httpServer(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestHTTPStatuses(t *testing.T) {
	url := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscanf(r.URL.Path, "/%d", &code)
		if code/100 == 3 {
			w.Header().Set("Location", "/200")
		}
		w.WriteHeader(code)
		if code != 204 {
			io.WriteString(w, "secret of the body")
		}
	})
	for code, ok := range map[int]bool{200: true, 204: true, 299: true, 301: false, 302: false, 400: false, 404: false, 500: false, 503: false} {
		err := within(t, HTTP("x", fmt.Sprint(url, "/", code)), 5*time.Second)
		if ok {
			wantOK(t, err)
			continue
		}
		wantFailure(t, err, fmt.Sprintf("/%d: answered %d, wanted 200 to 299", code, code))
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the message shows the body: %v", err)
		}
	}
	wantFailure(t, within(t, HTTP("x", url+"/302"), 5*time.Second), "redirects are not followed")
	wantOK(t, within(t, HTTP("x", url+"/302", HTTPFollowRedirects()), 5*time.Second))
	wantOK(t, within(t, HTTP("x", url+"/302", HTTPStatus(302)), 5*time.Second))
	wantOK(t, within(t, HTTP("x", url+"/503", HTTPStatus(200, 503)), 5*time.Second))
	wantFailure(t, within(t, HTTP("x", url+"/204", HTTPStatus(200, 201)), 5*time.Second), "answered 204, wanted 200 or 201")
}

func TestHTTPRequest(t *testing.T) {
	url := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		fmt.Fprint(w, r.Method, r.Host, r.Header["X-Key"], r.URL.RawQuery, user, password)
	})
	withUser := strings.Replace(url, "http://", "http://ann:pw@", 1)
	wantOK(t, within(t, HTTP("x", withUser+"/?q=1", HTTPMethod("PUT"), HTTPHeader("X-Key", "a"), HTTPHeader("x-key", "b"),
		HTTPHeader("Host", "shop.example"), HTTPBody("PUTshop.example[a b]q=1annpw")), 5*time.Second))
	wantFailure(t, within(t, HTTP("x", url, HTTPBody("not there")), 5*time.Second), "answered 200, without the text")
}

func TestHTTPShowsNoSecret(t *testing.T) {
	url := strings.Replace(httpServer(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }), "http://", "http://ann:hunter2@", 1)
	for _, raw := range []string{
		url + "/?token=hunter2#hunter2", "http://ann:hunter2@" + closedPort(t) + "/?token=hunter2", "http://ann:hunter2@nohost.invalid/?hunter2",
		"http://ann:hunt/er2@x", "http://ann:hunter2@x:99999/", "http://ann:%zzhunter2@x/", "ftp://ann:hunter2@x/", "http://ann:hunter2@", "ann:hunter2@x", "http://x:hunter2", "https://hunter2:\x00@x/",
	} {
		err := within(t, HTTP("x", raw), 5*time.Second)
		wantFailure(t, err)
		if strings.Contains(err.Error(), "hunt") {
			t.Errorf("%q shows the secret", err)
		}
	}
}

func TestHTTPRedirects(t *testing.T) {
	var hops atomic.Int32
	url := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{"/loop": "/loop", "/ftp": "ftp://x/secret", "/bad": "http://%zz/secret", "/none": "", "/nohost": "http:///secret"}[r.URL.Path]
		if r.URL.Path == "/loop" {
			hops.Add(1)
		}
		if to != "" {
			w.Header().Set("Location", to)
		}
		w.WriteHeader(http.StatusFound)
	})
	wantFailure(t, within(t, HTTP("x", url+"/loop", HTTPFollowRedirects()), 5*time.Second), "more than 10 redirects")
	if n := hops.Load(); n != 11 {
		t.Errorf("%d requests, want 11", n)
	}
	for path, want := range map[string]string{"/ftp": "not HTTP", "/bad": "no URL", "/nohost": "no URL", "/none": "302"} {
		err := within(t, HTTP("x", url+path, HTTPFollowRedirects()), 5*time.Second)
		wantFailure(t, err, want)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q shows where the redirect leads", err)
		}
	}
}

// hanging serves what write sends, and nothing more until the caller gives up.
func hanging(t *testing.T, write string) string {
	return "http://" + listen(t, func(conn net.Conn) {
		if write != "" {
			http.ReadRequest(bufio.NewReader(conn))
		}
		io.WriteString(conn, write)
		io.Copy(io.Discard, conn)
	})
}

func TestHTTPThatHangs(t *testing.T) {
	wantLate(t, within(t, HTTP("x", hanging(t, "")), hang), "no answer")
	wantLate(t, within(t, HTTP("x", hanging(t, "HTTP/1.1 200 OK\r\nX: y")), hang), "no answer")
	wantLate(t, within(t, HTTP("x", hanging(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok")), hang), "answered 200, but not completely")
	wantLate(t, within(t, HTTP("x", strings.Replace(hanging(t, ""), "http", "https", 1)), hang), "no answer")

	begun := make(chan struct{})
	url := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	})
	stopped(t, HTTP("x", url), begun)
}

// TestHTTPSlowDrip: each byte comes in time, the answer does not.
func TestHTTPSlowDrip(t *testing.T) {
	url := "http://" + listen(t, func(conn net.Conn) {
		http.ReadRequest(bufio.NewReader(conn)) // who answers before he is asked does not speak HTTP
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := conn.Write([]byte("x")); err != nil {
				return
			}
		}
	})
	wantLate(t, within(t, HTTP("x", url), hang), "answered 200, but not completely")
}

func TestHTTPBodyIsBounded(t *testing.T) {
	sent := make(chan int, 1)
	url := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		n := 0
		for n < 1<<30 {
			m, err := w.Write(make([]byte, 1<<16))
			if n += m; err != nil {
				break
			}
		}
		sent <- n
	})
	wantOK(t, within(t, HTTP("x", url), 5*time.Second))
	if n := <-sent; n >= 1<<30 {
		t.Errorf("the server could send %d bytes", n)
	}
}

func TestHTTPGarbage(t *testing.T) {
	for _, answer := range []string{
		"secret garbage\r\n\r\n", "SSH-2.0-secret\r\n", "HTTP/9.9.9 200 secret\r\n\r\n", "HTTP/1.1 secret\r\n\r\n", "HTTP/1.1 200 OK\r\nsecret\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: secret\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: secret\r\n\r\n", "HTTP/1.1 200 OK\r\n: secret\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsecret",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("secret", 20000) + "\r\n\r\n", "", "\x00\x01\x02",
	} {
		url := "http://" + listen(t, func(conn net.Conn) {
			http.ReadRequest(bufio.NewReader(conn))
			io.WriteString(conn, answer)
		})
		err := within(t, HTTP("x", url), 5*time.Second)
		wantFailure(t, err, url)
		if err != nil && (strings.Contains(err.Error(), "secret") || len(err.Error()) > 200) {
			t.Errorf("%.300q shows what the server sent", err)
		}
	}
	wantFailure(t, within(t, HTTP("x", "http://"+closedPort(t)), 5*time.Second), "connection refused")
	wantFailure(t, within(t, HTTP("x", httpServer(t, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })), 5*time.Second), "closed the connection")
}

func TestHTTPS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	s.Config.ErrorLog = discardLog
	defer s.Close()
	wantFailure(t, within(t, HTTP("x", s.URL), 5*time.Second), "an authority that is not trusted here")
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	wantOK(t, within(t, HTTP("x", s.URL, HTTPTLS(&tls.Config{RootCAs: roots})), 5*time.Second))
	wantFailure(t, within(t, HTTP("x", s.URL, HTTPTLS(&tls.Config{RootCAs: roots, ServerName: "other.example"})), 5*time.Second), "its certificate is for another name")
	plain := httpServer(t, func(w http.ResponseWriter, r *http.Request) {})
	wantFailure(t, within(t, HTTP("x", strings.Replace(plain, "http", "https", 1)), 5*time.Second), "it speaks HTTP, not HTTPS")
}

// TestHTTPConnectsAnew: a kept connection would hide a server that accepts no new ones.
func TestHTTPConnectsAnew(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	var conns atomic.Int32
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c := HTTP("x", s.URL)
	for range 3 {
		wantOK(t, within(t, c, 5*time.Second))
	}
	if n := conns.Load(); n != 3 {
		t.Errorf("%d connections for 3 runs", n)
	}
	s.Listener.Close()
	wantFailure(t, within(t, c, 5*time.Second), "connection refused")
}

func TestHTTPUsesNoProxy(t *testing.T) {
	client := HTTP("x", "http://api.example.com/").(*httpCheck).oneRun(t.Context())
	if client.Transport.(*http.Transport).Proxy != nil {
		t.Error("the environment's proxy is used")
	}
}

func TestHTTPTransport(t *testing.T) {
	called := false
	c := HTTP("x", "http://api.example.com/", HTTPTransport(roundTripper(func(r *http.Request) (*http.Response, error) {
		called = true
		return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
	})))
	wantOK(t, within(t, c, ample))
	if !called {
		t.Error("the transport was not used")
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestHTTPOfNothing(t *testing.T) {
	for _, url := range []string{"", "x", "/x", "http://", "http:///x", "http://:80/", "HTTP//x", "ftp://x", "http://x:0/", "http://x:65536/", "http://x:/", "http://x:y/", "http://a b/", "://x", "unix:///x"} {
		refuses(t, HTTP("x", url))
	}
	const url = "http://x/"
	refuses(t, HTTP("x", url, HTTPMethod("")), "method")
	refuses(t, HTTP("x", url, HTTPMethod("G T")), "method")
	refuses(t, HTTP("x", url, HTTPHeader("", "x")), "header")
	refuses(t, HTTP("x", url, HTTPHeader("a b", "x")), "header")
	refuses(t, HTTP("x", url, HTTPHeader("a", "x\r\nb: c")), "header")
	refuses(t, HTTP("x", url, HTTPStatus()), "status")
	refuses(t, HTTP("x", url, HTTPStatus(200, 0)), "0")
	refuses(t, HTTP("x", url, HTTPStatus(100)), "100")
	refuses(t, HTTP("x", url, HTTPStatus(600)), "600")
	refuses(t, HTTP("x", url, HTTPBody("x"), HTTPMethod("HEAD")), "HEAD")
	refuses(t, HTTP("x", url, HTTPBody(strings.Repeat("x", maxHTTPBody+1))), "64 KiB")
	refuses(t, HTTP("x", url, HTTPTransport(nil)), "nil")
	refuses(t, HTTP("x", url, HTTPTLS(nil)), "nil")
	refuses(t, HTTP("x", url, HTTPTransport(http.DefaultTransport), HTTPTLS(&tls.Config{})), "exclude")
}
