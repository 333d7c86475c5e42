package client

import (
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// A hedge costs a token of the client's; a call that was answered without one brings hedgeRefund of a token, until
	// there are hedgeBurst. So an overloaded cluster, all of whose answers are late, has to bear a tenth more, not
	// twice as much.
	hedgeBurst  = 10
	hedgeRefund = 0.1
	// hedgeLook is the part of Config.Hedge after which a call looks again whether it may hedge.
	hedgeLook = 4
)

// hedging is what a pursuit needs once an endpoint is silent.
type hedging struct {
	mu      sync.Mutex // guards the making of what follows
	results chan result
	over    chan struct{} // closed when err is set
	err     *Error

	paid        int       // hedges that cost a token
	pausedUntil time.Time // zero: the pause between two rounds has not begun
}

// result is what became of an attempt of several.
type result struct {
	a *attempt
	t try
}

// channels makes what those share who meet at a hand-over.
func (p *pursuit) channels() (results chan result, over chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.results == nil {
		// An endpoint has one attempt at a time, so that no sender waits.
		p.results, p.over = make(chan result, len(p.c.endpoints)), make(chan struct{})
	}
	return p.results, p.over
}

// handOver gives the end of the caller's attempt to the goroutine that has taken over, and waits for the end of the
// call.
func (p *pursuit) handOver(a *attempt, t try) *Error {
	results, over := p.channels()
	results <- result{a, t}
	<-over
	return p.err
}

// takeOver goes on with the call while the caller waits for a silent endpoint.
func (p *pursuit) takeOver() {
	results, over := p.channels()
	p.err = p.pursue(results)
	// Those that lost are waited for: nothing of a call outlives it.
	for _, a := range p.out {
		a.cancel()
	}
	for range p.out {
		<-results
	}
	close(over)
}

// pursue has several endpoints work on the call: the next one is asked when the newest attempt has been silent for
// Config.Hedge, or has failed. It returns when an attempt has settled the call, or when nothing more is to be tried.
func (p *pursuit) pursue(results chan result) *Error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var r result
		select {
		case r = <-results:
		default:
			wait, over := p.advance(results)
			if over != nil {
				return over
			}
			var ended <-chan struct{} // of ctx; attempts that it ends are results
			if !p.pausedUntil.IsZero() {
				ended = p.ctx.Done()
			}
			timer.Reset(wait)
			select {
			case r = <-results:
			case <-timer.C:
				continue
			case <-ended:
				continue
			}
		}
		if settled, err := p.ended(r.a, r.t); settled {
			return err
		}
	}
}

const untilResult = time.Duration(math.MaxInt64)

// advance begins what attempts may begin now, and returns after how long to look again, at the latest. It returns an
// error if nothing is under way and nothing more may be tried.
func (p *pursuit) advance(results chan<- result) (wait time.Duration, over *Error) {
	for {
		if !p.pausedUntil.IsZero() {
			if left := time.Until(p.pausedUntil); left > 0 && p.c.over(p.ctx) == nil {
				return left, nil
			}
			p.pausedUntil = time.Time{}
			p.nextRound()
		}
		if p.refused != nil {
			return untilResult, nil // it is decided when the others have ended
		}
		e := p.peek()
		if e == nil {
			switch {
			case len(p.out) == 0:
				if over := p.roundOver(); over != nil {
					return 0, over
				}
			case !p.round.worth:
				return untilResult, nil
			}
			if left := p.listening(); left > 0 {
				return left, nil
			}
			p.pausedUntil = time.Now().Add(p.roundPause())
			continue
		}
		if stop := p.stop(); stop != nil {
			if len(p.out) > 0 {
				return untilResult, nil // which end soon, or settle it
			}
			return 0, stop
		}
		if left := p.listening(); left > 0 {
			return left, nil
		}
		if !p.mayAdd() {
			return max(p.c.cfg.Hedge/hedgeLook, time.Millisecond), nil
		}
		a := p.begin(e)
		p.c.cfg.Logger.LogAttrs(p.ctx, slog.LevelDebug, "an endpoint is asked beside silent ones", slog.String("endpoint", e.address), slog.Int("silent", len(p.out)-1))
		go func() { results <- result{a, p.make(a)} }()
	}
}

// listening returns how long an attempt may still be silent without another one beside it; 0: all have been silent for
// long enough.
func (p *pursuit) listening() (left time.Duration) {
	for _, a := range p.out {
		left = max(left, p.c.cfg.Hedge-time.Since(a.begun))
	}
	return left
}

// mayAdd reports whether an attempt may begin beside those under way. One at an endpoint that is known to be silent
// costs the cluster nothing, and a failed one is replaced.
func (p *pursuit) mayAdd() bool {
	work := 0
	for _, a := range p.out {
		if !a.e.silent.Load() {
			work++
		}
	}
	if work <= p.paid {
		return true
	}
	if !p.c.hedges.take() {
		return false
	}
	p.paid++
	return true
}

// outran is called when an attempt settled the call. Endpoints that were asked before it, and said nothing at all
// since, are known to be silent until they say something.
func (p *pursuit) outran(winner *attempt) {
	if p.paid == 0 {
		p.c.hedges.refund()
	}
	for _, a := range p.out {
		if a.begun.Before(winner.begun) && a.e.heard.Load() == a.heard {
			a.e.silent.Store(true)
		}
	}
}

// hedgeTokens bounds the hedges of a client, as gRPC's retry throttling bounds retries.
type hedgeTokens struct{ spent atomic.Int64 } // in hedgeRefund

func (h *hedgeTokens) take() bool {
	const price, most = int64(1 / hedgeRefund), int64(hedgeBurst / hedgeRefund)
	for {
		spent := h.spent.Load()
		if spent+price > most {
			return false
		}
		if h.spent.CompareAndSwap(spent, spent+price) {
			return true
		}
	}
}

func (h *hedgeTokens) refund() {
	for {
		spent := h.spent.Load()
		if spent == 0 || h.spent.CompareAndSwap(spent, spent-1) {
			return
		}
	}
}
