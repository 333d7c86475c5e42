package certs

import (
	"crypto/x509"
	"slices"
	"testing"
	"time"
)

func TestExpiryIsWarnedOf(t *testing.T) {
	virtual(t, func(t *testing.T, ca *issued, r *running) {
		warned := func(words string) int { return r.log.count(words) }
		soon := "a certificate expires soon"
		r.skip(334 * day)
		if warned(soon) != 0 {
			t.Fatal(r.log.buf.String())
		}
		for i, step := range []struct {
			wait time.Duration
			left string
		}{{day + time.Hour, `left="30 days"`}, {23 * day, `left="7 days"`}, {6 * day, `left=22h59m0s`}} {
			r.skip(step.wait)
			if warned(soon) != i+1 || warned(step.left) != 1 || warned("level=ERROR") != 0 {
				t.Fatalf("step %d:\n%s", i, r.log.buf.String())
			}
		}
		r.skip(day)
		if warned("level=ERROR") != 1 || warned("a certificate has expired") != 1 {
			t.Fatal(r.log.buf.String())
		}
		next := virtualUntil(t, ca, time.Now(), r.now().Add(5*day), "n1")
		r.put(next, ca)
		after(time.Minute)
		if warned(soon) != 4 || warned(`left="5 days"`) != 1 {
			t.Fatal(r.log.buf.String())
		}
		// Another file that changes does not repeat the warning.
		r.write(r.files.CA[0], pemOf(ca, newVirtualCA(t, "two")))
		after(time.Minute)
		if r.Generation() != 3 || warned(soon) != 4 {
			t.Fatal(r.log.buf.String())
		}
	})
}

func TestShortLivesAreWarnedOfLate(t *testing.T) {
	virtual(t, func(t *testing.T, ca *issued, r *running) {
		r.put(virtualUntil(t, ca, time.Now(), time.Now().Add(8*time.Hour), "n1"), ca)
		r.skip(5 * time.Hour)
		if r.Generation() != 2 || r.log.count("expires soon") != 0 {
			t.Fatal(r.log.buf.String())
		}
		r.skip(time.Hour + time.Minute)
		if r.log.count("expires soon") != 1 {
			t.Fatal(r.log.buf.String())
		}
	})
}

func TestExpiries(t *testing.T) {
	d := newDirectory(t)
	soon, dead := caTemplate("soon"), caTemplate("dead")
	soon.NotAfter, dead.NotAfter = begin.Add(10*day), begin.Add(-day)
	ca := newCA(t, "ca")
	template := caTemplate("middle")
	template.NotAfter = begin.Add(20 * day)
	middle := sign(t, ca, template)
	leaf := middle.node(t, "n1")
	d.put(leaf, ca, sign(t, nil, soon), sign(t, nil, dead))
	d.write(d.files.Cert, pemOf(leaf, middle))
	s, err := Open(d.files, nodeAt(begin))
	if err != nil {
		t.Fatal(err)
	}
	want := []Expiry{{"certificate", template.NotAfter, template.NotAfter.Sub(template.NotBefore)}, {"ca", soon.NotAfter, soon.NotAfter.Sub(soon.NotBefore)}}
	if got := s.Expiries(); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestSoon: a certificate that is renewed every day never has a week left.
func TestSoon(t *testing.T) {
	for _, tt := range []struct {
		life, left time.Duration
		soon       bool
	}{
		{365 * day, 7*day + 1, false}, {365 * day, 7*day - 1, true}, {365 * day, -day, true},
		{8 * day, 2 * day, false}, {8 * day, 2*day - 1, true},
		{time.Hour, 15 * time.Minute, false}, {time.Hour, 15*time.Minute - 1, true},
	} {
		e := Expiry{Use: "ca", End: begin.Add(tt.left), Life: tt.life}
		if got := e.Soon(begin); got != tt.soon {
			t.Errorf("%v left of %v: %v", tt.left, tt.life, got)
		}
	}
}

func TestBoundsOfWarnings(t *testing.T) {
	for life, want := range map[time.Duration][]time.Duration{
		365 * day:      {0, day, 7 * day, 30 * day},
		59 * day:       {0, day, 7 * day},
		7 * day:        {0, day},
		2 * day:        {0, day},
		47 * time.Hour: {0, 47 * time.Hour / 4},
	} {
		if got := bounds(&x509.Certificate{NotBefore: begin, NotAfter: begin.Add(life)}); !slices.Equal(got, want) {
			t.Errorf("%v: %v, want %v", life, got, want)
		}
	}
}
