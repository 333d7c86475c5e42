package certs

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// running is a Source whose Run runs, on the virtual clock of a bubble.
type running struct {
	*Source
	directory
	log  *lines
	leap *atomic.Int64 // what the clock of the Source is ahead of the bubble's
}

// virtual runs f in a bubble with a Source of member n1 that reads a directory. The bubble's clock begins in 2000.
func virtual(t *testing.T, f func(t *testing.T, ca *issued, r *running)) {
	synctest.Test(t, func(t *testing.T) {
		ca := newVirtualCA(t, "ca one")
		d := newDirectory(t)
		d.put(virtualNode(t, ca, "n1"), ca)
		log, leap := &lines{}, &atomic.Int64{}
		now := func() time.Time { return time.Now().Add(time.Duration(leap.Load())) }
		s, err := Open(d.files, Options{Use: ForNode, Logger: log.logger(), Now: now})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.Run(ctx) }()
		defer func() { cancel(); <-done }()
		synctest.Wait()
		f(t, ca, &running{s, d, log, leap})
	})
}

func newVirtualCA(t *testing.T, name string) *issued {
	template := caTemplate(name)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(3650*day)
	return sign(t, nil, template)
}

func virtualNode(t *testing.T, ca *issued, names ...string) *issued {
	return virtualUntil(t, ca, time.Now().Add(-time.Hour), time.Now().Add(365*day), names...)
}

func virtualUntil(t *testing.T, ca *issued, from, until time.Time, names ...string) *issued {
	template := nodeTemplate(names...)
	template.NotBefore, template.NotAfter = from, until
	return sign(t, ca, template)
}

// after lets time pass, and everything that it makes happen.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// skip turns the clock of the Source, and has Run look at it.
func (r *running) skip(d time.Duration) {
	r.leap.Add(int64(d))
	after(pollEvery + settle)
}

func (r *running) is(t *testing.T, leaf *issued, generation uint64) {
	t.Helper()
	if !r.Certificate().Equal(leaf.cert) || r.Generation() != generation {
		t.Errorf("certificate %v, generation %d; want %v, %d", r.Certificate().DNSNames, r.Generation(), leaf.cert.DNSNames, generation)
	}
}

func TestRunTakesNewFiles(t *testing.T) {
	virtual(t, func(t *testing.T, ca *issued, r *running) {
		updated := r.Updated()
		next := virtualNode(t, ca, "n1")
		r.put(next, ca)
		after(pollEvery - time.Millisecond)
		if r.Generation() != 1 {
			t.Error("read before it was time")
		}
		after(settle + time.Millisecond)
		r.is(t, next, 2)
		select {
		case <-updated:
		default:
			t.Error("Updated is not closed")
		}
		if got := r.Reloads(); got != (Reloads{Taken: 1}) {
			t.Errorf("%+v", got)
		}
		if r.log.count("certificates read again") != 1 || r.log.count("level=ERROR") != 0 {
			t.Error(r.log.buf.String())
		}
		after(time.Minute)
		if r.Generation() != 2 || r.log.count("certificates read again") != 1 {
			t.Error("taken twice")
		}
	})
}

// Files that are written while Run looks at them are no error, if they are whole a second later.
func TestRunWaitsForFilesThatAreWritten(t *testing.T) {
	virtual(t, func(t *testing.T, ca *issued, r *running) {
		next := virtualNode(t, ca, "n1")
		whole := next.certPEM()
		after(pollEvery - settle/2)
		r.write(r.files.Cert, nil) // truncated
		after(settle)              // Run has seen it
		r.write(r.files.Cert, whole[:len(whole)/2])
		after(settle / 4)
		r.write(r.files.Cert, whole)
		r.write(r.files.Key, next.keyPEM(t))
		after(2 * pollEvery)
		r.is(t, next, 2)
		if r.log.count("level=ERROR") != 0 {
			t.Error(r.log.buf.String())
		}
	})
}

// A list of CAs that is cut off between two of them looks whole: it must not lock out those of the second.
func TestRunTakesNoListOfCAsThatIsStillWritten(t *testing.T) {
	virtual(t, func(t *testing.T, ca *issued, r *running) {
		r.write(r.files.CA[0], pemOf(ca, ca, ca))
		after(pollEvery + settle/2)
		r.write(r.files.CA[0], pemOf(ca, newVirtualCA(t, "ca two")))
		after(settle)
		if r.Generation() != 1 {
			t.Error("taken, though it had just changed")
		}
		after(pollEvery + settle)
		if got := len(r.current.Load().roots); got != 2 || r.Generation() != 2 {
			t.Errorf("%d CAs, generation %d", got, r.Generation())
		}
	})
}

func TestRunKeepsWhatIsGood(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, ca *issued, r *running)
		holds string
	}{
		"truncated": {func(t *testing.T, _ *issued, r *running) { r.write(r.files.Cert, nil) }, "tls.crt is empty"},
		"half written": {func(t *testing.T, ca *issued, r *running) {
			r.write(r.files.Key, virtualNode(t, ca, "n1").keyPEM(t)[:60])
		}, "cut off or damaged"},
		"key and no certificate yet": {func(t *testing.T, ca *issued, r *running) {
			r.write(r.files.Key, virtualNode(t, ca, "n1").keyPEM(t))
		}, "does not belong to"},
		"removed":  {func(t *testing.T, _ *issued, r *running) { os.Remove(r.files.CA[0]) }, "cannot be read: no such file"},
		"other CA": {func(t *testing.T, _ *issued, r *running) { r.write(r.files.CA[0], newVirtualCA(t, "x").certPEM()) }, "signed by no CA"},
		"expired": {func(t *testing.T, ca *issued, r *running) {
			r.put(virtualUntil(t, ca, time.Now().Add(-2*day), time.Now().Add(-day), "n1"), ca)
		}, "expired on"},
		"not a CA": {func(t *testing.T, ca *issued, r *running) { r.put(virtualNode(t, ca, "n1"), virtualNode(t, ca, "n1")) }, "is not one of a CA"},
		"another use": {func(t *testing.T, ca *issued, r *running) {
			r.put(sign(t, ca, &x509.Certificate{DNSNames: []string{"n1"}, NotBefore: time.Now(), NotAfter: time.Now().Add(day), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}), ca)
		}, "may not be used for TLS clients"},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, ca *issued, r *running) {
				good := &issued{cert: r.Certificate()}
				c.spoil(t, ca, r)
				after(10 * time.Minute)
				r.is(t, good, 1)
				if r.log.count("level=ERROR") != 1 || r.log.count(c.holds) != 1 {
					t.Errorf("logged:\n%s", r.log.buf.String())
				}
				if got := r.Reloads(); got != (Reloads{Refused: 1}) {
					t.Errorf("%+v", got)
				}
				if err := r.Reload(); err == nil || !strings.Contains(err.Error(), c.holds) || !strings.Contains(err.Error(), "stay in use") {
					t.Error(err)
				}
				if r.log.count("level=ERROR") != 1 {
					t.Error("logged again, though nothing changed")
				}
				next := virtualNode(t, ca, "n1")
				r.put(next, ca)
				if err := r.Reload(); err != nil {
					t.Fatal(err)
				}
				r.is(t, next, 2)
				c.spoil(t, ca, r)
				after(time.Minute)
				if r.log.count("level=ERROR") != 2 {
					t.Errorf("the second time is not logged:\n%s", r.log.buf.String())
				}
			})
		})
	}
}

// Who writes another wrong file is told that it is wrong, too.
func TestEachChangeIsLogged(t *testing.T) {
	virtual(t, func(t *testing.T, ca *issued, r *running) {
		for i := range 3 {
			r.write(r.files.Key, virtualNode(t, ca, "n1").keyPEM(t))
			after(time.Minute)
			if got := r.log.count("does not belong to"); got != i+1 {
				t.Errorf("%d lines after %d wrong keys", got, i+1)
			}
		}
		if got := r.Reloads(); got != (Reloads{Refused: 3}) {
			t.Errorf("%+v", got)
		}
	})
}

func TestFilesThatComeBackAreNoReload(t *testing.T) {
	virtual(t, func(t *testing.T, _ *issued, r *running) {
		key, err := os.ReadFile(r.files.Key)
		if err != nil {
			t.Fatal(err)
		}
		os.Remove(r.files.Key)
		after(time.Minute)
		r.write(r.files.Key, key)
		after(time.Minute)
		if err := r.Reload(); err != nil || r.Generation() != 1 {
			t.Errorf("%v, generation %d", err, r.Generation())
		}
		os.Remove(r.files.Key)
		after(time.Minute)
		if got := r.log.count("level=ERROR"); got != 2 {
			t.Errorf("%d errors for 2 losses", got)
		}
	})
}

// A certificate from a machine whose clock is ahead is taken as soon as it is valid.
func TestNotYetValidIsTakenLater(t *testing.T) {
	virtual(t, func(t *testing.T, ca *issued, r *running) {
		next := virtualUntil(t, ca, time.Now().Add(time.Hour), time.Now().Add(day), "n1")
		r.put(next, ca)
		after(time.Hour - time.Second)
		if r.Generation() != 1 || r.log.count("level=ERROR") != 1 {
			t.Errorf("generation %d\n%s", r.Generation(), r.log.buf.String())
		}
		after(pollEvery + settle)
		r.is(t, next, 2)
	})
}

func TestRotationOfTheCA(t *testing.T) {
	virtual(t, func(t *testing.T, ca *issued, r *running) {
		two := newVirtualCA(t, "ca two")
		next := virtualNode(t, two, "n1")
		for i, step := range []func(){
			func() { r.write(r.files.CA[0], pemOf(ca, two)) },
			func() { r.put(next, ca, two) },
			func() { r.write(r.files.CA[0], pemOf(two)) },
		} {
			step()
			after(pollEvery + settle)
			if got := r.Generation(); got != uint64(i)+2 {
				t.Fatalf("step %d: generation %d\n%s", i, got, r.log.buf.String())
			}
		}
		r.is(t, next, 4)
	})
}

// Kubernetes mounts a secret as symlinks to ..data/FILE, and exchanges the symlink ..data.
func TestSecretsOfKubernetes(t *testing.T) {
	virtual(t, func(t *testing.T, ca *issued, _ *running) {
		dir := t.TempDir()
		put := func(version string, leaf *issued) {
			t.Helper()
			d := directory{t: t, files: Files{Cert: filepath.Join(dir, version, "tls.crt"), Key: filepath.Join(dir, version, "tls.key"), CA: []string{filepath.Join(dir, version, "ca.crt")}}}
			if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
				t.Fatal(err)
			}
			d.put(leaf, ca)
			if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		put("..1", virtualNode(t, ca, "n1"))
		files := Files{}
		for name, to := range map[string]*string{"tls.crt": &files.Cert, "tls.key": &files.Key, "ca.crt": nil} {
			path := filepath.Join(dir, name)
			if err := os.Symlink("..data/"+name, path); err != nil {
				t.Fatal(err)
			}
			if to == nil {
				files.CA = []string{path}
			} else {
				*to = path
			}
		}
		log := &lines{}
		s, err := Open(files, Options{Use: ForNode, Logger: log.logger()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.Run(ctx)
		for i, version := range []string{"..2", "..3", "..4"} {
			next := virtualNode(t, ca, "n1")
			put(version, next)
			after(pollEvery + settle)
			if !s.Certificate().Equal(next.cert) || s.Generation() != uint64(i)+2 {
				t.Errorf("version %s is not taken: generation %d", version, s.Generation())
			}
		}
		if log.count("level=ERROR") != 0 {
			t.Error(log.buf.String())
		}
	})
}

// Readings in the midst of an exchange never mix two versions: the key of one is never judged with the certificate
// of the other.
func TestReadSteadyDoesNotMix(t *testing.T) {
	files := Files{Cert: "cert", Key: "key", CA: []string{"ca"}}
	for swapAt := range 7 { // after so many files
		version, read := "1", 0
		c, err := files.readSteady(func(path string) ([]byte, error) {
			if read == swapAt {
				version = "2"
			}
			read++
			return []byte(path + version), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		got := string(c.cert[4:]) + string(c.key[3:]) + string(c.ca[0][2:])
		if got != "111" && got != "222" {
			t.Errorf("exchanged after %d files: versions %s", swapAt, got)
		}
	}
}

// A clock that leaps changes nothing of what was taken, and what it makes wrong mends itself.
func TestClockLeaps(t *testing.T) {
	d := newDirectory(t)
	ca := newCA(t, "ca")
	n1 := ca.node(t, "n1")
	d.put(n1, ca)
	c := &clock{now: begin}
	s, err := Open(d.files, Options{Use: ForNode, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	next := ca.node(t, "n1")
	for _, leap := range []time.Duration{10 * 365 * day, -10 * 365 * day} {
		c.set(begin.Add(leap))
		s.warn()
		if err := s.Reload(); err != nil || s.Generation() != 1 {
			t.Fatalf("%s: %v, generation %d", leap, err, s.Generation())
		}
	}
	d.put(next, ca)
	if err := s.Reload(); Reason(err) != ReasonNotYetValid {
		t.Error(err)
	}
	c.set(begin)
	if err := s.Reload(); err != nil || !s.Certificate().Equal(next.cert) {
		t.Errorf("after the clock is right again: %v", err)
	}
}
