package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/rollcallhq/rollcall/node"
)

// hangups are the SIGHUPs of "serve": read the certificates again, open the audit log again. Without one the signal would end the process, and
// without a drain.
type hangups struct {
	node atomic.Pointer[node.Node] // nil: not open yet
	stop func()                    // ends the handling
}

func handleHangups(log *slog.Logger) *hangups {
	h := &hangups{}
	signals := make(chan os.Signal, 1) // one reading for several at once
	signal.Notify(signals, syscall.SIGHUP)
	done := make(chan struct{})
	var handling sync.WaitGroup
	handling.Go(func() {
		for {
			select {
			case <-signals:
				h.reload(log)
			case <-done:
				return
			}
		}
	})
	h.stop = func() {
		signal.Stop(signals)
		close(done)
		handling.Wait()
	}
	return h
}

func (h *hangups) reload(log *slog.Logger) {
	err, audit, admin := node.ErrNoTLS, false, false
	if n := h.node.Load(); n != nil {
		err, audit, admin = n.ReloadCertificates(), n.ReopenAuditLog(), n.ReloadAdminToken()
	}
	switch {
	case errors.Is(err, node.ErrNoTLS) && audit:
		log.Info("SIGHUP: the audit log is opened again, other settings need a restart")
	case errors.Is(err, node.ErrNoTLS) && admin: // it is in the log
	case errors.Is(err, node.ErrNoTLS):
		log.Info("SIGHUP ignored: there is nothing to reload; SIGTERM stops this node in order")
	case err != nil: // it is in the log
	case audit:
		log.Info("SIGHUP: certificates are read and the audit log is opened again, other settings need a restart")
	default:
		log.Info("SIGHUP: certificates are read again, other settings need a restart")
	}
}

// endAtHangup ends the context at SIGHUP, unless the process was started to ignore it (nohup): the terminal
// of a command that runs in the foreground was closed.
func endAtHangup(ctx context.Context) (context.Context, context.CancelFunc) {
	if signal.Ignored(syscall.SIGHUP) {
		return context.WithCancel(ctx)
	}
	return signal.NotifyContext(ctx, syscall.SIGHUP)
}
