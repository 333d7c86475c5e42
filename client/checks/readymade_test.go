package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// within runs c with a timeout and fails the test unless it returns about then at the latest.
func within(t *testing.T, c Check, timeout time.Duration) error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		done <- c.Check(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		t.Fatalf("%s has not returned long after its timeout", c.Name())
		return nil
	}
}

const (
	hang  = 400 * time.Millisecond // the timeout where something hangs, after something else that must be done within it
	ample = 10 * time.Second       // where nothing does
)

func wantOK(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("failed: %v", err)
	}
}

// wantFailure fails the test unless err is a failure whose message holds all of parts and no words of Go's.
func wantFailure(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %q", parts)
		return
	}
	if isDegraded(err) {
		t.Errorf("%q is a warning, want a failure", err)
	}
	wantWords(t, err, parts...)
}

func wantWarning(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil || !isDegraded(err) {
		t.Errorf("%v is no warning", err)
		return
	}
	wantWords(t, err, parts...)
}

func wantWords(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the message is %q, want %q in it", err, part)
		}
	}
	for _, words := range []string{"context deadline exceeded", "context canceled", "i/o timeout", "rpc error", "dial tcp"} {
		if strings.Contains(err.Error(), words) {
			t.Errorf("the message %q speaks Go", err)
		}
	}
}

// wantLate is wantFailure for a run that had no answer in time. On a busy machine it had less than hang.
func wantLate(t *testing.T, err error, parts ...string) {
	t.Helper()
	wantFailure(t, err, parts...)
	_, span, _ := strings.Cut(fmt.Sprint(err), " within ")
	if had, bad := time.ParseDuration(span); bad != nil || had <= 0 || had > hang {
		t.Errorf("the message is %q, want the time that the run had, at most %v", err, hang)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%q does not wrap context.DeadlineExceeded", err)
	}
}

// stopped runs c and cancels its context as soon as begun is closed.
func stopped(t *testing.T, c Check, begun <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.Check(ctx) }()
	<-begun
	cancel()
	err := <-done
	wantFailure(t, err, "the check was stopped")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%q does not wrap context.Canceled", err)
	}
}

// listen serves each connection with serve, one after the other, and waits for it at the end of the test.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

// closedPort is an address at which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func refuses(t *testing.T, c Check, parts ...string) {
	t.Helper()
	v, ok := c.(interface{ Validate() error })
	if !ok {
		t.Fatalf("%T has no Validate", c)
	}
	err := v.Validate()
	wantFailure(t, err, parts...)
	if again := c.Check(t.Context()); again == nil {
		t.Errorf("Check of what Validate refuses (%v) succeeds", err)
	}
}

func nonCritical(c Check) bool {
	return c.(interface{ NonCriticalByDefault() bool }).NonCriticalByDefault()
}

func TestOtherHostsAreNotCritical(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": false, "LOCALHOST": false, "localhost.": false, "app.localhost": false,
		"127.0.0.1": false, "127.9.9.9": false, "[::1]": false, "[::ffff:127.0.0.1]": false, "0.0.0.0": false,
		"10.0.0.1": true, "[2001:db8::1]": true, "api.example.com": true, "localhost.example.com": true, "notlocalhost": true,
	} {
		for _, c := range []Check{
			HTTP("x", "http://"+host+":80/x"), HTTP("x", "https://"+host), TCP("x", host+":80"), CertEndpoint("x", host+":443"),
			GRPC("x", host+":80"), GRPC("x", "dns:///"+host+":80"), GRPC("x", "dns:"+host+":80"), GRPC("x", "passthrough:///"+host+":80"),
		} {
			if err := c.(interface{ Validate() error }).Validate(); err != nil {
				t.Errorf("%T of %s: %v", c, host, err)
			}
			if got := nonCritical(c); got != want {
				t.Errorf("%T of %s: not critical is %t, want %t", c, host, got, want)
			}
		}
	}
	if nonCritical(GRPC("x", "unix:///run/x.sock")) || nonCritical(GRPC("x", "unix:/run/x.sock")) {
		t.Error("a Unix socket counts as another host")
	}
	if !nonCritical(DNS("x", "localhost")) {
		t.Error("DNS is critical by default")
	}
}

func TestAddressesThatAreRefused(t *testing.T) {
	for _, addr := range []string{"", "x", ":80", "x:", "x:0", "x:65536", "x:http", "x:-1", "x: 80", "a:b:80", "::1:80", "http://x:80", "x:80/y", "u@x:80", "a b:80"} {
		refuses(t, TCP("x", addr))
		refuses(t, CertEndpoint("x", addr))
		refuses(t, GRPC("x", addr))
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1500 * time.Microsecond: "2ms", 5 * time.Second: "5s", 1234 * time.Millisecond: "1.23s", time.Minute: "1m", 90 * time.Second: "1m30s",
		time.Hour: "1h", 25*time.Hour + time.Second: "25h0m1s", 49 * time.Hour: "2d", -5 * time.Second: "-5s",
	} {
		if got := span(d); got != want {
			t.Errorf("%d is %s, want %s", d, got, want)
		}
	}
}

func FuzzFirstLine(f *testing.F) {
	f.Add([]byte("DISK OK | /=10%\nmore"), []byte(""))
	f.Add([]byte("\n\r\n \t"), []byte("warning: \x1b[31mred\x00"))
	f.Add([]byte(strings.Repeat("ä", maxOutput)), []byte("\xff\xfe"))
	f.Fuzz(func(t *testing.T, stdout, stderr []byte) {
		line := firstLine(stdout, stderr)
		if len(line) > maxOutput || !utf8.ValidString(line) || line != strings.TrimSpace(line) {
			t.Errorf("%q is not fit for a message", line)
		}
		for _, r := range line {
			if !unicode.IsPrint(r) {
				t.Errorf("%q holds %U", line, r)
			}
		}
		if line == "" && strings.ContainsFunc(string(stdout)+string(stderr), func(r rune) bool {
			return unicode.IsPrint(r) && !unicode.IsSpace(r) && r != utf8.RuneError
		}) {
			t.Errorf("nothing is left of %q and %q", stdout, stderr)
		}
	})
}
