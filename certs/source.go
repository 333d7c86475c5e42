package certs

import (
	"context"
	"crypto/x509"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// pollEvery is how often Run looks at the files.
	pollEvery = 5 * time.Second

	// settle is how long files that changed must stay the same before Run takes them. A file that is half
	// written may look whole: a list of CAs that ends too early, for example.
	settle = time.Second
)

// Use says what a certificate is for.
type Use int

const (
	ForClient Use = iota // it is shown to servers, whose CAs need not be those that sign clients
	ForNode              // it is shown to servers and to clients, and must verify as both against the CAs
)

// Options of a Source. The zero value is that of a client.
type Options struct {
	Use    Use
	Logger *slog.Logger     // default: what is logged is lost
	Now    func() time.Time // default: time.Now

	// Check is asked about the process's own certificate before it is taken, at Open and later; nil: nothing more
	// is asked. A node refuses one that does not name its member.
	Check func(leaf *x509.Certificate) error
}

// Source holds the certificates of a process. Its methods may be called by several goroutines.
type Source struct {
	from Files
	opts Options

	current atomic.Pointer[bundle]

	mu       sync.Mutex    // guards what follows; held while files are read
	updated  chan struct{} // closed when current changes
	refused  refusedFiles  // what was last found wrong; so that it is logged once
	reloads  Reloads
	warnings warnings
}

// refusedFiles are files that were not taken.
type refusedFiles struct {
	contents contents
	why      string // "": none
}

// Reloads count what became of files that changed since Open.
type Reloads struct {
	Taken   uint64
	Refused uint64 // each content once, not each time that it is read
}

// Open reads the files and verifies them: they are in PEM form, the key belongs to the certificate, and the
// certificate is valid now. That of a node must also verify against the CAs. The error names the file and says what
// is wrong.
func Open(files Files, opts Options) (*Source, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if err := files.validate(opts.Use); err != nil {
		return nil, err
	}
	s := &Source{from: files, opts: opts, updated: make(chan struct{})}
	c, err := files.readSteady(readFile)
	if err != nil {
		return nil, err
	}
	b, err := s.load(c)
	if err != nil {
		return nil, err
	}
	b.generation = 1
	s.current.Store(b)
	return s, nil
}

func (s *Source) now() time.Time { return s.opts.Now() }

func (s *Source) load(c contents) (*bundle, error) {
	b, err := s.from.load(c, s.opts.Use, s.now())
	if err == nil && s.opts.Check != nil && b.cert != nil {
		err = s.opts.Check(b.cert.Leaf)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Run looks at the files every 5 s until ctx ends. Files that changed are taken when they have stayed the same
// for a second, if they verify; else what was taken before stays, which is logged once. It also warns of
// certificates that end soon.
func (s *Source) Run(ctx context.Context) {
	ticks := time.NewTicker(pollEvery)
	defer ticks.Stop()
	for {
		s.warn()
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		seen, isNew := s.look()
		if isNew {
			select {
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
		}
		s.poll(seen)
	}
}

// Generation counts the bundles that were taken: 1 after Open. It never falls.
func (s *Source) Generation() uint64 { return s.current.Load().generation }

// Updated returns a channel that is closed when files are taken next.
func (s *Source) Updated() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updated
}

// Reloads returns the counts since Open.
func (s *Source) Reloads() Reloads {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reloads
}

// Certificate returns the process's own certificate; nil if it has none.
func (s *Source) Certificate() *x509.Certificate {
	if b := s.current.Load(); b.cert != nil {
		return b.cert.Leaf
	}
	return nil
}
