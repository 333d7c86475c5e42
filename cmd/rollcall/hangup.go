package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// ignoreHangups makes SIGHUP do nothing, where it would end the process without a drain. Elsewhere the signal
// means "read the configuration again"; serve has nothing that can be read again, and says so. The function
// that it returns ends this.
func ignoreHangups(log *slog.Logger) (stop func()) {
	hangups := make(chan os.Signal, 1) // one line for several at once
	signal.Notify(hangups, syscall.SIGHUP)
	done := make(chan struct{})
	var logging sync.WaitGroup
	logging.Go(func() {
		for {
			select {
			case <-hangups:
				log.Info("SIGHUP ignored: there is nothing to reload; SIGTERM stops this node in order")
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(hangups)
		close(done)
		logging.Wait()
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
