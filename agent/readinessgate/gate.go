package readinessgate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

// Times of a Gate.
const (
	refresh    = time.Minute            // from one look at the pod to the next, and a tenth more or less
	spacing    = time.Second            // between two writes, so that a service that flaps does not flood the API server
	minBackoff = 250 * time.Millisecond // after the first failure; twice as long after each further one
	maxBackoff = 30 * time.Second
	forbidden  = time.Minute // after an answer that only a person can mend
)

// pods is what a Gate needs of a Pod.
type pods interface {
	read(context.Context) (*object, error)
	write(context.Context, condition) (*object, error)
}

// Gate keeps one condition of a pod. Make one with New, and run it with Run. Its methods may be called by many
// goroutines.
type Gate struct {
	conditionType string
	logger        *slog.Logger
	pods          pods

	changed chan struct{} // of capacity one: a word that waits is enough

	mu       sync.Mutex // guards what follows
	wanted   condition  // zero: nothing was said yet
	since    time.Time  // since when Kubernetes is not known to have the status of wanted; zero: it has it
	writes   uint64
	failures uint64
	gone     bool

	// What Run alone uses.
	have    condition // what the pod has
	known   bool      // whether have is known
	backoff time.Duration
	failed  string // the failure that was logged last; "": the last request was answered
	warned  bool   // of a pod that has no such gate
}

// New makes a Gate that writes the condition conditionType of a pod. It fails if CheckCondition does.
func New(p *Pod, conditionType string, logger *slog.Logger) (*Gate, error) {
	if err := CheckCondition(conditionType); err != nil {
		return nil, err
	}
	return newGate(p, conditionType, logger.With("pod", p.String())), nil
}

func newGate(p pods, conditionType string, logger *slog.Logger) *Gate {
	return &Gate{conditionType: conditionType, logger: logger.With("condition", conditionType), pods: p, changed: make(chan struct{}, 1)}
}

// Set says what the service is now, and why, which the condition has as its message: SERVING is True, NOT_SERVING is
// False, everything else is Unknown. It does not wait. The last word counts. Before the first one, nothing is written.
//
// Another status is written at once, but not more than once a second. Another reason for the same status waits for the
// next look at the pod, within about a minute.
func (g *Gate) Set(s client.Status, why string) {
	next := conditionOf(g.conditionType, s, why)
	g.mu.Lock()
	news := next.Status != g.wanted.Status
	g.wanted = next
	if news && g.since.IsZero() {
		g.since = time.Now()
	}
	g.mu.Unlock()
	if news {
		select {
		case g.changed <- struct{}{}:
		default:
		}
	}
}

// State is what metrics show of a Gate.
type State struct {
	Condition string
	Status    client.Status // that was said last; SERVICE_UNKNOWN before
	Pending   time.Duration // for how long Kubernetes is not known to have it; 0: it has it
	Writes    uint64        // that Kubernetes took
	Failures  uint64        // requests that failed
	Gone      bool          // the pod is deleted, and the Gate has ended
}

// State returns the state of now.
func (g *Gate) State() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := State{Condition: g.conditionType, Status: client.ServiceUnknown, Writes: g.writes, Failures: g.failures, Gone: g.gone}
	switch g.wanted.Status {
	case "True":
		s.Status = client.Serving
	case "False":
		s.Status = client.NotServing
	case "Unknown":
		s.Status = client.Unknown
	}
	if !g.since.IsZero() && !g.gone {
		s.Pending = time.Since(g.since)
	}
	return s
}

// Run keeps the condition until ctx ends, or the pod is deleted. It writes no last word: the condition stays as it is.
func (g *Gate) Run(ctx context.Context) {
	var rest, look time.Duration // from now on: when a change may be written, and when the pod is looked at without one
	look = -1                    // never: nothing was said yet
	for {
		if !g.wait(ctx, rest, look) {
			return
		}
		err := g.bring(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errGone):
			g.mu.Lock()
			g.gone = true
			g.mu.Unlock()
			g.logger.Info("the pod is deleted; its condition is written no more")
			return
		case err != nil:
			rest = g.fail(err)
			look = rest
		default:
			g.succeed()
			rest, look = spacing, refresh+time.Duration((rand.Float64()-0.5)*float64(refresh)/5)
		}
	}
}

// wait waits for rest, and then for a change, or until look is over; a look below zero never is. It returns false if ctx
// ends.
func (g *Gate) wait(ctx context.Context, rest, look time.Duration) bool {
	pause := time.NewTimer(rest)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-pause.C:
	}
	var over <-chan time.Time
	if look >= 0 {
		timer := time.NewTimer(look - rest)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-g.changed:
	case <-over:
		g.known = false // look at the pod: somebody else may have changed it
	}
	return true
}

// bring brings to Kubernetes what was said last.
func (g *Gate) bring(ctx context.Context) error {
	looked := !g.known
	if looked {
		o, err := g.pods.read(ctx)
		if err != nil {
			return err
		}
		g.look(o)
	}
	g.mu.Lock()
	next := g.wanted
	g.mu.Unlock()
	if next.Status == g.have.Status && (!looked || next.says(g.have)) {
		g.brought(next)
		return nil
	}
	next.LastTransitionTime = time.Now()
	if next.Status == g.have.Status && !g.have.LastTransitionTime.IsZero() {
		next.LastTransitionTime = g.have.LastTransitionTime
	}
	o, err := g.pods.write(ctx, next)
	if a := (*answerError)(nil); errors.As(err, &a) && a.code == http.StatusConflict {
		if _, looked := g.pods.read(ctx); errors.Is(looked, errGone) { // another pod has the name
			return looked
		}
	}
	if err != nil {
		return err
	}
	g.look(o)
	if !g.have.says(next) {
		return fmt.Errorf("the API server took the condition and shows %s with the status %q", g.conditionType, g.have.Status)
	}
	g.mu.Lock()
	g.writes++
	g.mu.Unlock()
	g.brought(next)
	g.logger.Info("the condition of the pod was written", "status", next.Status, "message", next.Message)
	return nil
}

// look takes what the API server says of the pod.
func (g *Gate) look(o *object) {
	g.have, g.known = o.condition(g.conditionType), true
	if !o.hasGate(g.conditionType) && !g.warned {
		g.warned = true
		g.logger.Warn("the pod has no readiness gate of this name, so the condition changes nothing; put it into spec.readinessGates of the pod")
	}
}

// brought notes that Kubernetes has c. If another status was said meanwhile, its wait goes on.
func (g *Gate) brought(c condition) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wanted.Status == c.Status {
		g.since = time.Time{}
	}
}

// fail takes a failure, and returns how long to wait before the next try. A failure is logged when it is another one
// than the last.
func (g *Gate) fail(err error) time.Duration {
	g.mu.Lock()
	g.failures++
	if g.since.IsZero() {
		g.since = time.Now()
	}
	g.mu.Unlock()
	g.known = false // the server may have taken what it did not answer
	g.backoff = min(max(2*g.backoff, minBackoff), maxBackoff)
	pause := g.backoff/2 + rand.N(g.backoff/2)
	var a *answerError
	kind := "unreached"
	if errors.As(err, &a) {
		kind = http.StatusText(a.code)
		if a.retryAfter > 0 {
			pause = max(pause, a.retryAfter+rand.N(time.Second))
		}
		if a.code == http.StatusForbidden {
			pause = max(pause, forbidden)
		}
	}
	level, hint := slog.LevelWarn, "the condition stays as it is until the API server answers"
	if a != nil && a.code == http.StatusForbidden {
		level, hint = slog.LevelError, "give the pod's service account a Role with get and patch of pods/status"
	}
	if kind == g.failed {
		level = slog.LevelDebug
	}
	g.failed = kind
	g.logger.Log(context.Background(), level, "the condition of the pod was not written", "error", err, "next", pause.Round(time.Millisecond), "hint", hint)
	return pause
}

func (g *Gate) succeed() {
	if g.failed != "" {
		g.logger.Info("the API server answers again")
	}
	g.failed, g.backoff = "", 0
}
