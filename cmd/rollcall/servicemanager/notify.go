package servicemanager

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Process is what the service manager is told of.
type Process interface {
	// Alive returns an error if the process is stuck until ctx ends.
	Alive(ctx context.Context) error
	// Role says in a few words what the process does.
	Role() string
}

// Notifier tells the service manager that started this process. The service is ready from Start on.
type Notifier struct {
	process Process
	logger  *slog.Logger
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	mu      sync.Mutex // guards stopped; held while a reload is told
	stopped bool
}

// statusEvery is how often the service manager is told what the process does.
const statusEvery = 5 * time.Second

// Start tells the service manager that the process serves. If the unit has WatchdogSec, the service manager is told
// three times in that time that the process is alive, as long as it is. Start returns nil, whose Stop does nothing, if
// no service manager wants to know.
func Start(process Process, logger *slog.Logger) *Notifier {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	// A wrong variable is the service manager's fault, or of a shell in between; a node serves all the same.
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		logger.Warn("the service manager's watchdog is not fed: WATCHDOG_USEC or WATCHDOG_PID is not a number", "error", err)
	}
	n := &Notifier{process: process, logger: logger}
	role := process.Role()
	n.tell(daemon.SdNotifyReady + "\nSTATUS=" + role)
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.wg.Go(func() { n.tellStatus(ctx, role) })
	if watchdog > 0 {
		n.wg.Go(func() { n.feed(ctx, watchdog/3) })
	}
	return n
}

// Reloading tells the service manager that the process reads its configuration again. Reloaded must follow.
func (n *Notifier) Reloading() {
	// A unit of Type=notify-reload asks for the time. It is empty if the clock cannot be read.
	n.tellUnlessStopped(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// Reloaded tells the service manager that a reload is over, and what the process does now.
func (n *Notifier) Reloaded() {
	if n != nil {
		n.tellUnlessStopped(daemon.SdNotifyReady + "\nSTATUS=" + n.process.Role())
	}
}

func (n *Notifier) tellUnlessStopped(state string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.stopped {
		n.tell(state)
	}
}

// Stop tells the service manager that the process ends. Nothing is told after it has returned.
func (n *Notifier) Stop() {
	if n == nil {
		return
	}
	n.mu.Lock()
	n.stopped = true
	n.tell(daemon.SdNotifyStopping)
	n.mu.Unlock()
	n.cancel()
	n.wg.Wait()
}

// feed tells that the process is alive.
func (n *Notifier) feed(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		bounded, cancel := context.WithTimeout(ctx, every)
		err := n.process.Alive(bounded)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			n.logger.Error("the service manager is not told that this process is alive, and will start it anew", "error", err)
		default:
			n.tell(daemon.SdNotifyWatchdog)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// tellStatus tells what the process does, when that has changed since told.
func (n *Notifier) tellStatus(ctx context.Context, told string) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if role := n.process.Role(); role != told {
			n.tell("STATUS=" + role)
			told = role
		}
	}
}

func (n *Notifier) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.logger.Warn("the service manager cannot be told", "error", err)
	}
}
