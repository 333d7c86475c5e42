package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/metrics"
)

// Times of an orderly end. All of them together are StopTimeout at most.
const (
	closeTimeout = 5 * time.Second // for the registry to take the last word
	serveTimeout = 2 * time.Second // for answers that are under way
	// StopTimeout bounds the orderly end of Run.
	StopTimeout = 5*time.Second + closeTimeout + serveTimeout
)

// Options are of New.
type Options struct {
	Logger      *slog.Logger
	DialOptions []grpc.DialOption // of the connections to the registry
}

// Agent watches services. Make one with New, and run it with Run. Its methods may be called by many goroutines.
type Agent struct {
	logger   *slog.Logger
	client   *client.Client
	runner   *checks.Runner
	services *services
	board    *board
	reports  *reports
	opinions *opinions
	metrics  *metrics.Metrics
	servers  *servers

	life   context.Context // of what runs until the agent has said its last word
	end    context.CancelFunc
	waits  sync.WaitGroup // initial waits
	reload sync.Mutex     // one reload at a time; guards config
	config *config.Config
}

// New makes an Agent, and begins to listen. It connects to no registry yet.
func New(cfg *config.Config, o Options) (*Agent, error) {
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	cc := client.DefaultConfig()
	cc.Endpoints, cc.Logger, cc.DialOptions = cfg.Endpoints, logger, o.DialOptions
	c, err := client.New(cc)
	if err != nil {
		return nil, err
	}
	a := &Agent{logger: logger, client: c, board: newBoard(), metrics: metrics.New(), config: cfg}
	a.life, a.end = context.WithCancel(context.Background())
	a.services = newServices(a.said)
	a.runner = checks.NewRunner(checks.To(a.services), checks.WithLogger(logger), checks.WithObserver(a.metrics))
	a.reports = newReports(a.life, func(stop client.OnStop) (lease, error) {
		return c.KeepLease(client.LeaseOptions{TTL: cfg.TTL, ForgetAfter: cfg.ForgetAfter}, client.KeepOptions{
			Reason: "rollcall agent", OnStop: stop, StopReason: "rollcall agent stopped", OnEvent: a.leaseEvent,
		})
	})
	a.opinions = newOpinions(a.life, c, logger, a.judge)
	if a.servers, err = listen(cfg, a); err != nil {
		a.end()
		c.Close()
		return nil, err
	}
	return a, nil
}

// said takes what a service says of itself now.
func (a *Agent) said(s *service) {
	a.board.say(s.config.Name, s.said)
	a.report(s)
}

func (a *Agent) report(s *service) {
	report := client.Report{Service: s.config.Reported(), Status: s.said, Reason: s.why}
	if err := a.reports.report(s.config.OnStop, report); err != nil {
		a.logger.Error("a status was not reported", "service", report.Service, "error", err)
	}
}

// judge takes what the registry says of the services.
func (a *Agent) judge() {
	a.services.mu.Lock()
	defer a.services.mu.Unlock()
	for name, s := range a.services.all {
		whole, own := a.opinions.get(name), a.opinions.get(s.config.Reported())
		// An override of a pattern shows only on names that exist: so what the registry says is known when it has
		// the agent's report.
		heard := whole.Heard && own.Heard && own.Record != nil
		a.board.judged(name, whole.Off || own.OffByOverride(), heard)
	}
}

func (a *Agent) leaseEvent(e client.LeaseEvent) {
	switch e.Type {
	case client.LeaseWasLost:
		a.metrics.LeaseLost()
		a.logger.Warn("the registry took this agent for dead; all is reported anew", "lease", e.LeaseID, "error", e.Err)
	case client.LeaseBecameOverdue:
		a.logger.Warn("the registry has not been reached for a whole ttl, and may take this agent for dead", "lease", e.LeaseID, "error", e.Err)
	case client.LeaseRenewedAgain:
		a.logger.Info("the registry is reached again", "lease", e.LeaseID)
	}
}

// Addresses returns where the agent serves grpc.health.v1 and HTTP; "" where it does not.
func (a *Agent) Addresses() (grpc, http string) { return a.servers.addresses() }

// Run watches the services until ctx ends, and then ends in order: it takes no more from checks, tells the registry
// its last word, which on_stop says, and ends what it serves. Call it once.
func (a *Agent) Run(ctx context.Context) error {
	defer a.client.Close()
	defer a.end()
	first := a.config
	a.config = &config.Config{}
	if err := a.apply(first); err != nil { // what config has checked
		a.servers.stop(a.board)
		return err
	}
	serving, failed := a.servers.serve()
	checking, stopChecks := context.WithCancel(ctx)
	defer stopChecks()
	var ran error
	var running sync.WaitGroup
	running.Go(func() { ran = a.runner.Run(checking) })

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	a.board.say("", client.NotServing)
	stopChecks()
	running.Wait()
	if ran != nil {
		a.logger.Warn("checks have not returned", "error", ran)
	}
	closing, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if closed := a.reports.close(closing); closed != nil {
		a.logger.Warn("the registry has not taken the last word of this agent; what it reported turns NOT_SERVING when the ttl is over", "error", closed)
	}
	a.servers.stop(a.board)
	serving.Wait()
	a.end()
	a.waits.Wait()
	a.opinions.stop()
	return err
}

// Alive implements what a service manager's watchdog asks: it returns an error if the agent is stuck until ctx ends.
func (a *Agent) Alive(ctx context.Context) error {
	const pause = 10 * time.Millisecond
	for !a.services.mu.TryLock() {
		select {
		case <-ctx.Done():
			return errors.New("the agent's services are locked and do not come free")
		case <-time.After(pause):
		}
	}
	a.services.mu.Unlock()
	return nil
}

// Role says in a few words what the agent does.
func (a *Agent) Role() string {
	counts := a.board.statuses()
	total := 0
	for _, n := range counts {
		total += n
	}
	role := fmt.Sprintf("watching %d services: %d SERVING, %d NOT_SERVING, %d UNKNOWN", total, counts[client.Serving], counts[client.NotServing], counts[client.Unknown])
	if silent := a.opinions.silent(); silent > time.Minute {
		role += fmt.Sprintf("; the registry has not been heard for %s", silent.Round(time.Second))
	}
	return role
}
