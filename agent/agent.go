package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/rollcallhq/rollcall/agent/config"
	"github.com/rollcallhq/rollcall/client"
	"github.com/rollcallhq/rollcall/client/checks"
	"github.com/rollcallhq/rollcall/client/metrics"
)

// Times of an orderly end.
const (
	checksTimeout = 5 * time.Second // for checks that are under way; the Runner takes no longer
	closeTimeout  = 5 * time.Second // for the registry to take the last word
	serveTimeout  = 2 * time.Second // for answers that are under way
	// StopTimeout bounds the orderly end of Run.
	StopTimeout = checksTimeout + closeTimeout + serveTimeout + time.Second
)

// How long a service that says SERVING is shown as NOT_SERVING while the registry was not heard of it, at most.
const (
	waitUnheard = 500 * time.Millisecond // if no node of the registry is heard
	waitHeard   = 5 * time.Second        // if one is: it will have the agent's report soon
)

// Options are of New. The zero value is useful.
type Options struct {
	Logger      *slog.Logger      // nil: nothing is logged
	DialOptions []grpc.DialOption // of the connections to the registry
	// Listen makes the listener of a port; nil: TCP.
	Listen func(address string) (net.Listener, error)
	// Getenv says which pod of Kubernetes this is, for readiness gates; nil: os.Getenv.
	Getenv func(name string) string
}

// Agent watches services. Make one with New, and run it with Run. Its methods may be called by many goroutines.
type Agent struct {
	logger   *slog.Logger
	registry registry
	runner   *checks.Runner
	services *services
	board    *board
	agenda   *agenda
	reports  *reports
	opinions *opinions
	metrics  *metrics.Metrics
	reloads  *reloadMetrics
	refusals *refusals
	ports    *ports
	gates    *gates

	life       context.Context // of what runs until the agent has said its last word
	end        context.CancelFunc
	taking     context.Context // ends when a reload is taken no more
	endTaking  context.CancelFunc
	begun      atomic.Bool // Run or Close was called
	running    atomic.Bool // Run runs
	judging    atomic.Bool // judge is to be called soon
	firstRound atomic.Bool // of checks is done
	alone      atomic.Bool // it was logged that an initial wait ended without the registry

	reload sync.Mutex // one reload at a time; guards config
	config *config.Config
}

// New makes an Agent, and begins to listen. It connects to no registry yet, and starts nothing: call Run, or Close.
func New(cfg *config.Config, o Options) (*Agent, error) {
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	gates, err := newGates(cfg, o.Getenv, logger)
	if err != nil {
		return nil, err
	}
	cc, err := connections(cfg, logger, o.DialOptions)
	if err != nil {
		return nil, err
	}
	c, err := client.New(cc)
	if err != nil {
		return nil, err
	}
	a := newAgent(cfg, newRegistry(c, cfg, logger), logger)
	a.gates = gates
	listener := o.Listen
	if listener == nil {
		listener = func(address string) (net.Listener, error) { return net.Listen("tcp", address) }
	}
	if a.ports, err = listen(cfg, a.board, newHTTP(a, cfg), listener); err != nil {
		a.end()
		return nil, errors.Join(err, c.Close())
	}
	return a, nil
}

// newAgent makes an Agent without ports.
func newAgent(cfg *config.Config, r registry, logger *slog.Logger) *Agent {
	a := &Agent{logger: logger, registry: r, agenda: newAgenda(), metrics: metrics.New(), reloads: newReloadMetrics(), refusals: newRefusals(), config: cfg}
	a.life, a.end = context.WithCancel(context.Background())
	a.taking, a.endTaking = context.WithCancel(a.life)
	a.board = newBoard(a.startWait)
	a.services = newServices(a.said)
	a.runner = checks.NewRunner(checks.To(a.services), checks.WithLogger(logger), checks.WithObserver(a.metrics))
	a.reports = newReports(func(stop client.OnStop) (lease, error) { return r.newLease(stop, a.leaseEvents()) }, a.agenda, logger)
	a.opinions = newOpinions(a.life, r, a.judge)
	return a
}

// Close frees what New took, if Run is not called. After Run it does nothing.
func (a *Agent) Close() error {
	if a.begun.Swap(true) {
		return nil
	}
	a.end()
	a.ports.close()
	return a.registry.close()
}

// said takes what a service says of itself now. services.mu is held.
func (a *Agent) said(s *service) {
	a.board.say(s.config.Name, s.own.status)
	if s.spoke {
		a.report(s)
	}
}

func (a *Agent) report(s *service) {
	a.reports.report(s.config.OnStop, client.Report{Service: s.config.Reported(), Status: s.own.status, Reason: s.own.reason})
}

// judge takes what the registry says of the services.
func (a *Agent) judge() {
	a.services.mu.Lock()
	defer a.services.mu.Unlock()
	opinion := a.opinions.reader()
	var again []string
	var switched switches
	for name, s := range a.services.all {
		whole := opinion(name)
		reported := opinion(s.config.Reported())
		by, heard := s.instance.Judge(reported)
		var gone bool
		if s.rival, gone = a.reports.heard(s.config.Reported(), &reported); gone {
			again = append(again, s.config.Reported())
		}
		s.off = by
		a.board.judged(name, whole.Off || by != nil, whole.Heard && heard)
		switched.add(s, whole.Off || by != nil)
	}
	a.logSwitches(&switched)
	if len(again) > 0 {
		a.logger.Warn("another reporter had instances of this agent, and is gone; this agent reports them again", "instances", len(again), "one", slices.Min(again))
	}
}

// startWait starts the initial wait of a service.
func (a *Agent) startWait(name string, c *cell) {
	a.agenda.at(time.Now().Add(waitUnheard), func() {
		if a.opinions.silent() > 0 {
			a.endWait(name, c, waitUnheard)
			return
		}
		a.agenda.at(time.Now().Add(waitHeard-waitUnheard), func() { a.endWait(name, c, waitHeard) })
	})
}

func (a *Agent) endWait(name string, c *cell, waited time.Duration) {
	if a.board.endWait(name, c) && !a.alone.Swap(true) {
		a.logger.Warn("the registry was not heard within the initial wait; until it is, this agent alone decides", "waited", waited, "service", name)
	}
}

// Addresses returns where the agent serves grpc.health.v1 and HTTP; "" where it does not.
func (a *Agent) Addresses() (grpc, http string) { return a.ports.addresses() }

// Run watches the services until ctx ends, and then ends in order, which takes StopTimeout at most: it takes no more
// from checks, tells the registry its last word, which on_stop says, and ends what it serves. It returns an error if a
// port cannot be served any more, or if it was called before.
func (a *Agent) Run(ctx context.Context) error {
	if a.begun.Swap(true) {
		return errors.New("this agent has run, or was closed")
	}
	var run sync.WaitGroup // ends with life
	defer func() {
		a.running.Store(false)
		a.end()
		run.Wait()
		a.opinions.stop()
		if err := a.registry.close(); err != nil {
			a.logger.Warn("the connections to the registry did not end in order", "error", err)
		}
	}()
	first := a.config
	a.config = &config.Config{}
	if err := a.apply(first); err != nil { // what config has checked
		a.ports.close()
		return err
	}
	a.reloads.started()
	run.Go(func() { a.agenda.run(a.life) })
	failed := a.ports.serve()
	checking, stopChecks := context.WithCancel(ctx)
	defer stopChecks()
	var ran error
	var runs sync.WaitGroup
	runs.Go(func() { ran = a.runner.Run(checking) })
	gating, endGates := context.WithCancel(ctx)
	defer endGates()
	var gate sync.WaitGroup
	gate.Go(func() { a.gates.run(gating, a.gateWord, a.changed) })
	a.running.Store(true)

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	a.logger.Info("stopping")
	endGates() // before anything says NOT_SERVING because the agent ends
	gate.Wait()
	a.endTaking()
	a.reload.Lock() // a reload that is under way is over
	a.services.end()
	a.reload.Unlock()
	a.board.say("", client.NotServing)
	stopChecks()
	runs.Wait()
	if ran != nil {
		a.logger.Warn("checks have not returned", "error", ran)
	}
	a.lastWord()
	a.board.shutdown()
	stopping, cancel := context.WithTimeout(context.Background(), serveTimeout)
	defer cancel()
	a.ports.stop(stopping, a.board.endWatches)
	return err
}

// lastWord ends the leases.
func (a *Agent) lastWord() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := a.reports.close(ctx); err != nil {
		a.logger.Warn("the registry has not taken the last word of this agent; what it reported turns NOT_SERVING when the ttl is over", "error", err)
	}
}

// Role says in a few words what the agent does.
func (a *Agent) Role() string {
	if !a.running.Load() {
		return "starting"
	}
	counts, _ := a.board.statuses()
	total := 0
	for _, n := range counts {
		total += n
	}
	role := fmt.Sprintf("watching %d services: %d SERVING, %d NOT_SERVING, %d UNKNOWN", total, counts[client.Serving], counts[client.NotServing], counts[client.Unknown])
	if silent := a.opinions.silent(); silent > time.Minute {
		role += fmt.Sprintf("; the registry has not been heard for %s", silent.Round(time.Second))
	}
	if refused := a.refusals.all().shown(); refused != nil {
		role += "; the registry refuses the reports: " + refused.Reason
	}
	return role
}
