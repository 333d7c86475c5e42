package raftlogger

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/rollcallhq/rollcall/raftnode/serveraddress"
)

// repeatEvery is how often raft may repeat a warning or an error.
const repeatEvery = 10 * time.Second

// Logger is an hclog.Logger. It writes raft's log to slog. Raft tells much at Info, which becomes Debug; repeats
// warnings at every retry, which are held back; and calls an error what is only a member that is away, which the
// peer port reports once.
type Logger struct {
	logger *slog.Logger
	name   string
	args   []any
	shared *rate
}

type rate struct {
	mu   sync.Mutex // guards last
	last map[string]repetition
}

type repetition struct {
	at   time.Time
	held int
}

// New returns a Logger that writes to logger.
func New(logger *slog.Logger) *Logger {
	return &Logger{logger: logger.With("part", "raft"), shared: &rate{last: map[string]repetition{}}}
}

// Log writes a message, or counts it if it was written a moment ago.
func (l *Logger) Log(level hclog.Level, msg string, args ...any) {
	to, text := translate(level, msg, args)
	if !l.logger.Enabled(context.Background(), to) {
		return
	}
	held := 0
	if to >= slog.LevelWarn {
		l.shared.mu.Lock()
		last, now := l.shared.last[msg], time.Now()
		if !last.at.IsZero() && now.Sub(last.at) < repeatEvery {
			last.held++
			l.shared.last[msg] = last
			l.shared.mu.Unlock()
			return
		}
		held = last.held
		// Messages are constants of raft, so their number is bounded.
		l.shared.last[msg] = repetition{at: now}
		l.shared.mu.Unlock()
	}
	attrs := append(slogArgs(l.args), slogArgs(args)...)
	if held > 0 {
		attrs = append(attrs, slog.Int("held_back", held))
	}
	l.logger.LogAttrs(context.Background(), to, text, attrs...)
}

// slogArgs turns hclog's key and value pairs into attributes.
func slogArgs(args []any) []slog.Attr {
	attrs := make([]slog.Attr, 0, len(args)/2+1)
	for i := 0; i+1 < len(args); i += 2 {
		name, ok := args[i].(string)
		if !ok {
			name = fmt.Sprint(args[i])
		}
		key, shown := keyOf(name)
		if !shown {
			continue
		}
		switch v := args[i+1].(type) {
		case raft.ServerAddress: // the id of a data directory, which may stand in it, is what members recognise each other by
			name, _ := serveraddress.Split(v)
			attrs = append(attrs, slog.String(key, name))
		case raft.Server:
			attrs = append(attrs, slog.String(key, string(v.ID)))
		case hclog.Format:
			attrs = append(attrs, slog.String(key, fmt.Sprintf(v[0].(string), v[1:]...)))
		case fmt.Stringer:
			attrs = append(attrs, slog.String(key, v.String()))
		default:
			attrs = append(attrs, slog.Any(key, v))
		}
	}
	if len(args)%2 == 1 {
		attrs = append(attrs, slog.Any("extra", args[len(args)-1]))
	}
	return attrs
}

func (l *Logger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *Logger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *Logger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *Logger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *Logger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *Logger) enabled(level slog.Level) bool {
	return l.logger.Enabled(context.Background(), level)
}
func (l *Logger) IsTrace() bool { return l.enabled(slog.LevelDebug - 4) }
func (l *Logger) IsDebug() bool { return l.enabled(slog.LevelDebug) }
func (l *Logger) IsInfo() bool  { return l.enabled(slog.LevelDebug) }
func (l *Logger) IsWarn() bool  { return l.enabled(slog.LevelWarn) }
func (l *Logger) IsError() bool { return l.enabled(slog.LevelError) }

func (l *Logger) ImpliedArgs() []any { return l.args }

func (l *Logger) With(args ...any) hclog.Logger {
	c := *l
	c.args = append(append([]any{}, l.args...), args...)
	return &c
}

func (l *Logger) Name() string { return l.name }

func (l *Logger) Named(name string) hclog.Logger {
	return l.ResetNamed(strings.TrimPrefix(l.name+"."+name, "."))
}

func (l *Logger) ResetNamed(name string) hclog.Logger {
	c := *l
	c.name = name
	return &c
}

func (l *Logger) SetLevel(hclog.Level)  {}
func (l *Logger) GetLevel() hclog.Level { return hclog.NoLevel }

func (l *Logger) StandardLogger(opts *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(opts), "", 0)
}

func (l *Logger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return lineWriter{l} }

type lineWriter struct{ logger *Logger }

func (w lineWriter) Write(b []byte) (int, error) {
	w.logger.Debug(strings.TrimSpace(string(b)))
	return len(b), nil
}
