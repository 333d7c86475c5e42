package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"time"
)

const day = 24 * time.Hour

// Expiry is when something ends that connections rest on.
type Expiry struct {
	Use string    // "certificate": the process's own and the CAs above it; "ca": the CAs that it trusts
	End time.Time // the earliest end
	// Life is how long the certificate that ends then is valid.
	Life time.Duration
}

// Soon reports whether somebody should look: less than a week is left, and less than a quarter of a life. Certificates
// that live for a day are renewed by a program, and always have less than a week.
func (e Expiry) Soon(now time.Time) bool { return e.End.Sub(now) < min(7*day, e.Life/4) }

// Expiries returns when the certificates end, those that there are: one's own, with the CAs above it, and the
// first of the CAs that had not ended when the files were taken.
func (s *Source) Expiries() []Expiry {
	b := s.current.Load()
	var all []Expiry
	if b.cert != nil {
		all = append(all, earliest("certificate", b.chain))
	}
	if b.roots != nil {
		all = append(all, earliest("ca", b.live))
	}
	return all
}

func earliest(use string, certs []*x509.Certificate) Expiry {
	first := certs[0]
	for _, cert := range certs[1:] {
		if cert.NotAfter.Before(first.NotAfter) {
			first = cert
		}
	}
	return Expiry{use, first.NotAfter, life(first)}
}

func life(cert *x509.Certificate) time.Duration { return cert.NotAfter.Sub(cert.NotBefore) }

// stillValid are the CAs that have not ended; all of them if there is none. An old CA that nobody needs any more
// may stand in the file for ever.
func stillValid(cas []*x509.Certificate, now time.Time) []*x509.Certificate {
	var live []*x509.Certificate
	for _, ca := range cas {
		if !now.After(ca.NotAfter) {
			live = append(live, ca)
		}
	}
	if live == nil {
		return cas
	}
	return live
}

// warnings remember what was warned of.
type warnings struct {
	generation uint64                              // of the bundle that they are about
	last       map[[sha256.Size]byte]time.Duration // by certificate: the bound that was last warned of
}

// bounds are what may be left of a certificate when Run warns: 30, 7 and 1 days, those that are at most half of its
// life. One that lives for less than two days is renewed by a program; there the bound is a quarter of its life.
func bounds(cert *x509.Certificate) []time.Duration {
	half := life(cert) / 2
	if half < day {
		return []time.Duration{0, half / 2}
	}
	all := []time.Duration{0, day, 7 * day, 30 * day}
	for all[len(all)-1] > half {
		all = all[:len(all)-1]
	}
	return all
}

// warn logs which certificates end soon, each once per bound.
func (s *Source) warn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, now := s.current.Load(), s.now()
	if s.warnings.generation != b.generation {
		kept := map[[sha256.Size]byte]time.Duration{}
		for _, cert := range b.watched() {
			if last, ok := s.warnings.last[fingerprint(cert)]; ok {
				kept[fingerprint(cert)] = last
			}
		}
		s.warnings = warnings{generation: b.generation, last: kept}
	}
	for _, cert := range b.watched() {
		left := cert.NotAfter.Sub(now)
		for _, bound := range bounds(cert) {
			if left > bound {
				continue
			}
			if last, ok := s.warnings.last[fingerprint(cert)]; ok && last <= bound {
				break
			}
			s.warnings.last[fingerprint(cert)] = bound
			if left <= 0 {
				s.opts.Logger.Error("a certificate has expired: connections that need it fail; put a new one into its file", "holder", holderName(cert), "expired", cert.NotAfter.UTC())
			} else {
				s.opts.Logger.Warn("a certificate expires soon; put a new one into its file", "holder", holderName(cert), "expires", cert.NotAfter.UTC(), "left", leftWords(left))
			}
			break
		}
	}
}

func leftWords(left time.Duration) string {
	if left >= 2*day {
		return fmt.Sprintf("%d days", (left+day/2)/day)
	}
	return left.Truncate(time.Minute).String()
}
