package credential

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
)

// lookInterval is the least time between two readings of the file for calls.
const lookInterval = time.Second

// Held is a token as calls carry it. It never changes.
type Held struct {
	// Metadata are the headers of a call. It must not be changed.
	Metadata   map[string]string
	Generation uint64 // 1 or more; another token has another
	text       string
}

// Source gives the token of calls. It is safe for use by many goroutines, and has none of its own.
type Source struct {
	file   string
	ask    func(context.Context) (string, error) // nil: there is a file
	logger *slog.Logger
	begun  time.Time

	held    atomic.Pointer[Held]
	problem atomic.Pointer[error] // of the file; nil: none
	due     atomic.Int64          // nanoseconds since begun, when the file is read again

	mu sync.Mutex // of who reads the file, or takes another token
}

// FromFile returns a Source of the token that a file holds. The error says what is wrong with the file, and nothing of
// what is in it.
func FromFile(path string, logger *slog.Logger) (*Source, error) {
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	s := &Source{file: path, logger: logger, begun: time.Now()}
	s.take(text)
	s.due.Store(int64(lookInterval))
	return s, nil
}

// FromFunc returns a Source that asks for the token of each call.
func FromFunc(ask func(context.Context) (string, error), logger *slog.Logger) *Source {
	return &Source{ask: ask, logger: logger, begun: time.Now()}
}

// take holds another token; mu is held, or nobody else knows s.
func (s *Source) take(text string) *Held {
	h := &Held{Metadata: map[string]string{"authorization": "Bearer " + text}, Generation: 1, text: text}
	if last := s.held.Load(); last != nil {
		h.Generation = last.Generation + 1
	}
	s.held.Store(h)
	return h
}

// Get returns the token of a call. Its errors are those of the caller's function: one of its own, or what is wrong with
// the text that it returned.
func (s *Source) Get(ctx context.Context) (*Held, error) {
	if s.ask == nil {
		s.look()
		return s.held.Load(), nil
	}
	text, err := s.ask(ctx)
	if err != nil {
		return nil, err
	}
	if h := s.held.Load(); h != nil && h.text == text {
		return h, nil
	}
	if text == "" {
		return nil, ErrNone
	}
	if _, err := accesstoken.Check(text); err != nil {
		return nil, &DamagedError{err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.held.Load(); h != nil && h.text == text {
		return h, nil
	}
	return s.take(text), nil
}

// Generation returns that of the token that a call would carry now; 0 if the caller's function was not asked yet.
func (s *Source) Generation() uint64 {
	if s.ask == nil {
		s.look()
	}
	if h := s.held.Load(); h != nil {
		return h.Generation
	}
	return 0
}

// Renewed reports whether a call would carry another token now than the one of a generation, which a node has refused.
func (s *Source) Renewed(ctx context.Context, generation uint64) bool {
	if s.ask != nil {
		h, err := s.Get(ctx)
		return err == nil && h.Generation != generation
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held.Load().Generation == generation {
		s.read()
	}
	return s.held.Load().Generation != generation
}

// Problem says what is wrong with the file now, in whose place the token is used that was read before; nil if nothing is.
func (s *Source) Problem() error {
	if p := s.problem.Load(); p != nil {
		return *p
	}
	return nil
}

// look reads the file again if it is time. One caller does, and the others go on with the token that there is.
func (s *Source) look() {
	if int64(time.Since(s.begun)) < s.due.Load() || !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	s.read()
}

// read reads the file again; mu is held.
func (s *Source) read() {
	text, err := read(s.file)
	s.due.Store(int64(time.Since(s.begun) + lookInterval))
	last := s.Problem()
	switch {
	case err != nil:
		err = fmt.Errorf("%w; the token that was read before is used", err)
		if last == nil || last.Error() != err.Error() {
			s.problem.Store(&err)
			s.logger.Warn("the token file cannot be used any more", slog.Any("error", err))
		}
		return
	case last != nil:
		s.logger.Info("the token file can be used again", slog.String("file", s.file))
		s.problem.Store(nil)
	}
	if text != s.held.Load().text {
		s.take(text)
		s.logger.Info("the token file holds another token, which is used from now on", slog.String("file", s.file))
	}
}
