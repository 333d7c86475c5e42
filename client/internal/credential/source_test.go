package credential

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
)

func put(t *testing.T, path string) string {
	t.Helper()
	text := accesstoken.New().Text()
	if err := errors.Join(os.WriteFile(path+".next", []byte(text), 0o600), os.Rename(path+".next", path)); err != nil {
		t.Fatal(err)
	}
	return text
}

func open(t *testing.T, path string) *Source {
	t.Helper()
	s, err := FromFile(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantToken(t *testing.T, s *Source, text string, generation uint64) {
	t.Helper()
	h, err := s.Get(t.Context())
	if err != nil || h.Metadata["authorization"] != "Bearer "+text || h.Generation != generation || s.Generation() != generation {
		t.Errorf("%+v, %v; want generation %d", h, err, generation)
	}
}

// The file is read once in a second at most, whoever asks, and at once when the token was refused.
func TestWhenTheFileIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "token")
		first := put(t, path)
		s := open(t, path)
		wantToken(t, s, first, 1)
		second := put(t, path)
		time.Sleep(lookInterval - 1)
		wantToken(t, s, first, 1)
		time.Sleep(time.Nanosecond)
		wantToken(t, s, second, 2)
		third := put(t, path)
		if s.Renewed(t.Context(), 3) != true { // of another one than that which is held: nothing is read
			t.Error("it is not another one")
		}
		wantToken(t, s, second, 2)
		if !s.Renewed(t.Context(), 2) {
			t.Error("the file holds another one")
		}
		wantToken(t, s, third, 3)
		if s.Renewed(t.Context(), 3) {
			t.Error("the file holds the same one")
		}
		// The same token written anew is no other one.
		if err := os.WriteFile(path, []byte("\n"+third+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		wantToken(t, s, third, 3)
	})
}

// A file that is unusable says so until it is usable again, also if it holds the same token then.
func TestProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "token")
		text := put(t, path)
		s := open(t, path)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if s.Problem() != nil {
			t.Error("nobody has looked")
		}
		time.Sleep(time.Second)
		wantToken(t, s, text, 1)
		if err := s.Problem(); err == nil || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "read before is used") {
			t.Errorf("%v", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		wantToken(t, s, text, 1)
		if err := s.Problem(); err != nil {
			t.Errorf("%v", err)
		}
	})
}

// What is no regular file is refused at once: reading a pipe would wait for its writer.
func TestWhatIsNoFile(t *testing.T) {
	directory := t.TempDir()
	pipe := filepath.Join(directory, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(directory, "link")
	if err := os.Symlink(filepath.Join(directory, "none"), link); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{pipe: "is not a regular file", directory: "is a directory", link: "no such file", "": "is empty"} {
		if _, err := FromFile(path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", path, err)
		}
	}
	// A link to a file is followed, as Kubernetes' Secrets need it.
	text := put(t, filepath.Join(directory, "none"))
	wantToken(t, open(t, link), text, 1)
}

// Many callers and an exchange at the same time: each gets a whole token, and in the end the last.
func TestManyCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "token")
		put(t, path)
		s := open(t, path)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for last := uint64(0); ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
					h, err := s.Get(ctx)
					if err != nil || h.Generation < last {
						t.Errorf("%v, %v after %d", h, err, last)
						return
					}
					if _, err := accesstoken.Check(strings.TrimPrefix(h.Metadata["authorization"], "Bearer ")); err != nil {
						t.Error(err)
					}
					last = h.Generation
					s.Renewed(ctx, last)
				}
			})
		}
		var text string
		for range 20 {
			time.Sleep(time.Second)
			text = put(t, path)
		}
		time.Sleep(2 * time.Second)
		cancel()
		all.Wait()
		wantToken(t, s, text, 21)
	})
}

// A call costs no allocation for its token.
func TestGetAllocatesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	text := put(t, path)
	for _, s := range []*Source{open(t, path), FromFunc(func(context.Context) (string, error) { return text, nil }, slog.New(slog.DiscardHandler))} {
		if _, err := s.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		if n := testing.AllocsPerRun(50, func() { _, _ = s.Get(ctx) }); n > 0 {
			t.Errorf("%v allocations", n)
		}
	}
}
