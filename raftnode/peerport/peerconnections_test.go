package peerport

import (
	"io"
	"net"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRefused(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Err: err} }
	for _, test := range []struct {
		err  error
		want bool
	}{
		{dial(syscall.ECONNREFUSED), true},
		{dial(syscall.EHOSTUNREACH), false},
		{dial(syscall.ETIMEDOUT), false},
		{io.EOF, false},
		{&RefusedError{Peer: "n2", Reason: "n2 is starting"}, false},
		{addressErrors{{"a:1", dial(syscall.ECONNREFUSED)}, {"b:1", dial(syscall.ECONNREFUSED)}}, true},
		{addressErrors{{"a:1", dial(syscall.ECONNREFUSED)}, {"b:1", dial(syscall.ETIMEDOUT)}}, false},
		{addressErrors{{"a:1", io.EOF}, {"b:1", dial(syscall.ECONNREFUSED)}}, false},
	} {
		if got := Refused(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
}

func TestPeerConnections(t *testing.T) {
	l := NewPeerConnections()
	if l.EndedBy("n1") {
		t.Error("a peer that never called is cut")
	}
	first, second := l.Begin("n1"), l.Begin("n1")
	first(true)
	first(false)
	if l.EndedBy("n1") {
		t.Error("cut with a connection open")
	}
	second(false)
	if !l.EndedBy("n1") || l.EndedBy("n2") {
		t.Error("not cut, or another is")
	}
	select {
	case <-l.Ended():
	default:
		t.Error("nobody was told")
	}
	third := l.Begin("n1")
	if l.EndedBy("n1") {
		t.Error("cut with a new connection")
	}
	third(false)
	if l.EndedBy("n1") {
		t.Error("cut although this side ended it")
	}
}
