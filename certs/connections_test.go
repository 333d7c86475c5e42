package certs

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// closeOnce is a connection that counts.
type closeOnce struct{ closed atomic.Int32 }

func (c *closeOnce) Close() error { c.closed.Add(1); return nil }

func stateOf(all ...*issued) tls.ConnectionState {
	var state tls.ConnectionState
	for _, i := range all {
		state.PeerCertificates = append(state.PeerCertificates, i.cert)
	}
	return state
}

// Connections of a CA that was taken away are listed, and closed within 10 s; others stay.
func TestConnectionsOfAnOldCAAreClosed(t *testing.T) {
	virtual(t, func(t *testing.T, one *issued, r *running) {
		two := newVirtualCA(t, "ca two")
		log := &lines{}
		all := NewConnections(r.Source, log.logger())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); all.Run(ctx) }()
		r.put(virtualNode(t, two, "n1"), one, two)
		after(pollEvery + settle)
		denied := atomic.Bool{}
		byName := func(*x509.Certificate) error {
			if denied.Load() {
				return refuse(ReasonWrongName, "denied")
			}
			return nil
		}
		var old, kept, dialed, named, anonymous, gone closeOnce
		all.Accepted(&old, "old", stateOf(virtualNode(t, one, "a")), nil)
		all.Accepted(&kept, "kept", stateOf(virtualNode(t, two, "a")), nil)
		all.Dialed(&dialed, "dialed", stateOf(virtualNode(t, one, "n2")), nil)
		all.Accepted(&named, "named", stateOf(virtualNode(t, two, "b")), byName)
		all.Accepted(&anonymous, "anonymous", tls.ConnectionState{}, nil)()
		all.Accepted(&gone, "gone", stateOf(virtualNode(t, one, "c")), nil)()
		if got := all.Len(); got != 4 {
			t.Errorf("%d connections, want 4", got)
		}
		after(time.Hour)
		if len(all.Stale()) != 0 || log.count("closed") != 0 {
			t.Fatalf("%v\n%s", all.Stale(), log.buf.String())
		}
		denied.Store(true)
		r.put(virtualNode(t, two, "n1"), two)
		after(pollEvery + settle - time.Millisecond)
		stale := all.Stale()
		if len(stale) == 0 {
			t.Fatalf("nothing is stale; generation %d", r.Generation())
		}
		for remote, want := range map[string]string{"old": ReasonUnknownCA, "dialed": ReasonUnknownCA, "named": ReasonWrongName} {
			if Reason(stale[remote]) != want {
				t.Errorf("%s: %v, want %s", remote, stale[remote], want)
			}
		}
		after(spread)
		for name, c := range map[string]struct {
			conn *closeOnce
			want int32
		}{"old": {&old, 1}, "kept": {&kept, 0}, "dialed": {&dialed, 1}, "named": {&named, 1}, "anonymous": {&anonymous, 0}, "gone": {&gone, 0}} {
			if got := c.conn.closed.Load(); got != c.want {
				t.Errorf("%s: closed %d times, want %d", name, got, c.want)
			}
		}
		if log.count("no longer verifies") != 3 {
			t.Error(log.buf.String())
		}
		cancel()
		<-done
	})
}

func TestManyConnectionsAreClosedInTime(t *testing.T) {
	virtual(t, func(t *testing.T, one *issued, r *running) {
		two := newVirtualCA(t, "ca two")
		log := &lines{}
		all := NewConnections(r.Source, log.logger())
		shown := stateOf(virtualNode(t, one, "a"))
		conns := make([]closeOnce, 1000)
		for i := range conns {
			all.Accepted(&conns[i], "", shown, nil)
		}
		r.put(virtualNode(t, two, "n1"), two)
		if err := r.Reload(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go all.Run(ctx)
		closed := func() (n int) {
			for i := range conns {
				n += int(conns[i].closed.Load())
			}
			return n
		}
		after(spread / 2)
		if got := closed(); got < 400 || got > 600 {
			t.Errorf("%d closed after half the time", got)
		}
		after(spread/2 + time.Second)
		if got := closed(); got != 1000 {
			t.Errorf("%d closed", got)
		}
		if log.count("connection closed") != maxLogged || log.count("count=980") != 1 {
			t.Error(log.buf.String())
		}
		cancel()
		synctest.Wait()
	})
}

// A clock that is wrong when files are taken closes nothing, and neither does a certificate that has expired since.
func TestAWrongClockClosesNothing(t *testing.T) {
	virtual(t, func(t *testing.T, ca *issued, r *running) {
		all := NewConnections(r.Source, slog.New(slog.DiscardHandler))
		var conn closeOnce
		all.Accepted(&conn, "a", stateOf(virtualUntil(t, ca, time.Now(), time.Now().Add(time.Hour), "a")), nil)
		for _, leap := range []time.Duration{20 * 365 * day, -40 * 365 * day} {
			r.skip(leap)
			if got := all.Stale(); len(got) != 0 {
				t.Errorf("%v", got)
			}
		}
		r.skip(20 * 365 * day)
		after(2 * time.Hour) // the certificate was for one
		if got := all.Stale(); len(got) != 0 {
			t.Errorf("%v", got)
		}
	})
}

// A CA that is renewed with the same name and key closes nothing, though it was not valid at the time of the handshakes.
func TestARenewedCAClosesNothing(t *testing.T) {
	virtual(t, func(t *testing.T, ca *issued, r *running) {
		all := NewConnections(r.Source, slog.New(slog.DiscardHandler))
		var conn closeOnce
		all.Accepted(&conn, "a", stateOf(virtualNode(t, ca, "a")), nil)
		after(2 * time.Hour)
		template := caTemplate("ca one")
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(7), time.Now(), time.Now().Add(3650*day)
		der, err := x509.CreateCertificate(rand.Reader, template, template, ca.key.Public(), ca.key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		r.put(virtualNode(t, ca, "n1"), &issued{cert, ca.key})
		after(2 * pollEvery)
		if got := all.Stale(); r.Generation() != 2 || len(got) != 0 {
			t.Errorf("generation %d: %v", r.Generation(), got)
		}
	})
}
