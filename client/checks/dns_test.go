package checks

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer is a resolver that asks a name server of this test's, whose answers are those of answer.
func nameServer(t *testing.T, answer func(name string, b *dnsmessage.Message) bool) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil {
				continue
			}
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			if !answer(m.Questions[0].Name.String(), &m) {
				continue
			}
			if out, err := m.Pack(); err == nil {
				conn.WriteTo(out, from)
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestDNS(t *testing.T) {
	r := nameServer(t, func(name string, m *dnsmessage.Message) bool {
		switch {
		case name == "gone.example.":
			m.RCode = dnsmessage.RCodeNameError
		case name == "broken.example.":
			m.RCode = dnsmessage.RCodeServerFailure
		case m.Questions[0].Type == dnsmessage.TypeA && name == "shop.example.":
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
				Body:   &dnsmessage.AResource{A: [4]byte{10, 0, 0, 7}},
			}}
		}
		return true
	})
	wantOK(t, within(t, DNS("x", "shop.example.", DNSResolver(r)), 5*time.Second))
	wantOK(t, within(t, DNS("x", "shop.example.", DNSResolver(r), DNSAddress("10.0.0.7")), 5*time.Second))
	wantOK(t, within(t, DNS("x", "shop.example.", DNSResolver(r), DNSAddress("::ffff:10.0.0.7")), 5*time.Second))
	wantFailure(t, within(t, DNS("x", "shop.example.", DNSResolver(r), DNSAddress("10.0.0.7", "10.0.0.8")), 5*time.Second), "shop.example. is not at 10.0.0.8, but at [10.0.0.7]")
	wantFailure(t, within(t, DNS("x", "gone.example.", DNSResolver(r)), 5*time.Second), "gone.example.: the host is not known")
	wantFailure(t, within(t, DNS("x", "empty.example.", DNSResolver(r)), 5*time.Second), "empty.example.: the host is not known")
	wantFailure(t, within(t, DNS("x", "broken.example.", DNSResolver(r)), 5*time.Second), "the name server does not answer")
}

func TestDNSThatHangs(t *testing.T) {
	asked := make(chan struct{}, 100)
	r := nameServer(t, func(string, *dnsmessage.Message) bool {
		asked <- struct{}{}
		return false
	})
	wantLate(t, within(t, DNS("x", "shop.example.", DNSResolver(r)), hang), "shop.example.: no answer")
	for len(asked) > 0 {
		<-asked
	}
	stopped(t, DNS("x", "shop.example.", DNSResolver(r)), asked)
	dead := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, io.ErrUnexpectedEOF }}
	wantFailure(t, within(t, DNS("x", "shop.example.", DNSResolver(dead)), 5*time.Second))
}

func TestDNSOfNothing(t *testing.T) {
	for _, host := range []string{"", "10.0.0.1", "::1", "x:80", "http://x", "a b", "u@x"} {
		refuses(t, DNS("x", host))
	}
	refuses(t, DNS("x", "h", DNSAddress("nine")), `"nine"`)
	refuses(t, DNS("x", "h", DNSResolver(nil)), "nil")
}
