package readinessgate

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

func TestRetryAfterIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		p.fails = func() error { return &answerError{code: http.StatusTooManyRequests, retryAfter: 40 * time.Second} }
		g, _, _ := run(t, p)
		g.Set(client.Serving, "")
		after(0)
		p.set(func() { p.fails = nil })
		g.Set(client.NotServing, "") // a change does not shorten the wait
		after(40*time.Second - time.Millisecond)
		if _, _, tries := p.counts(); tries != 1 {
			t.Errorf("%d tries within Retry-After", tries)
		}
		after(time.Second + time.Millisecond)
		if got := p.statuses(); got != "False" {
			t.Errorf("written: %q", got)
		}
	})
}

func TestForbiddenIsAnErrorWithAHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		p.fails = func() error { return &answerError{code: http.StatusForbidden, message: "pods \"a\" is forbidden"} }
		g, log, _ := run(t, p)
		g.Set(client.Serving, "")
		after(30 * time.Minute)
		if _, _, tries := p.counts(); tries < 28 || tries > 31 {
			t.Errorf("%d tries in 30 minutes", tries)
		}
		if got := log.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "patch of pods/status") {
			t.Errorf("log:\n%s", got)
		}
		p.set(func() { p.fails = nil })
		after(forbidden)
		if got := p.statuses(); got != "True" {
			t.Errorf("written: %q", got)
		}
	})
}

// TestAConflictIsLookedAt: after 409 the pod is read anew; if it is another one, the gate ends.
func TestAConflictIsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		g, _, _ := run(t, p)
		g.Set(client.Serving, "")
		after(2 * time.Second)
		conflicts := 3
		p.set(func() {
			p.fails = func() error {
				if conflicts--; conflicts >= 0 {
					return &answerError{code: http.StatusConflict, reason: "Conflict"}
				}
				return nil
			}
		})
		reads, _, _ := p.counts()
		g.Set(client.NotServing, "")
		after(5 * time.Second)
		if now, _, _ := p.counts(); p.statuses() != "True False" || now != reads+1 {
			t.Errorf("written: %s; %d looks", p.statuses(), now-reads)
		}
		p.set(func() { p.fails = func() error { return errGone } })
		g.Set(client.Serving, "")
		after(time.Hour)
		if s := g.State(); !s.Gone || s.Pending != 0 {
			t.Errorf("state: %+v", s)
		}
	})
}

// TestAPodThatIsReplacedEndsTheGateQuietly: a conflict, and then the look shows another pod of the name.
func TestAPodThatIsReplacedEndsTheGateQuietly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		g, log, _ := run(t, p)
		g.Set(client.Serving, "")
		after(2 * time.Second)
		answers := []error{&answerError{code: http.StatusConflict}, errGone}
		p.set(func() {
			p.fails = func() error {
				if len(answers) == 0 {
					return errors.New("a request too many")
				}
				err := answers[0]
				answers = answers[1:]
				return err
			}
		})
		g.Set(client.NotServing, "")
		after(time.Hour)
		if s := g.State(); !s.Gone || strings.Contains(log.String(), "WARN") {
			t.Errorf("state: %+v, log:\n%s", s, log)
		}
	})
}

// TestAPodThatIsGoneEndsTheGateQuietly: one word at level INFO, and no request more.
func TestAPodThatIsGoneEndsTheGateQuietly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		g, log, _ := run(t, p)
		g.Set(client.Serving, "")
		after(2 * time.Second)
		p.set(func() { p.fails = func() error { return errGone } })
		g.Set(client.NotServing, "")
		after(time.Second)
		_, _, tries := p.counts()
		for range 100 {
			g.Set(client.Serving, "")
			after(time.Minute)
			g.Set(client.NotServing, "")
		}
		if _, _, now := p.counts(); now != tries {
			t.Errorf("%d requests after the pod was gone", now-tries)
		}
		if strings.Contains(log.String(), "WARN") || strings.Contains(log.String(), "ERROR") || !strings.Contains(log.String(), "the pod is deleted") {
			t.Errorf("log:\n%s", log)
		}
	})
}

func TestAPodWithoutTheGateIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		p.pod.Spec.ReadinessGates = nil
		g, log, _ := run(t, p)
		g.Set(client.Serving, "")
		after(10 * time.Minute)
		if n := strings.Count(log.String(), "spec.readinessGates"); n != 1 || p.statuses() != "True" {
			t.Errorf("said %d times; written: %s", n, p.statuses())
		}
	})
}

// TestAWriteThatHasNoEffectIsAFailure: a server that answers and changes nothing is no success.
func TestAWriteThatHasNoEffectIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		p.drops = true
		g, log, _ := run(t, p)
		g.Set(client.Serving, "")
		after(10 * time.Minute)
		if s := g.State(); s.Writes != 0 || s.Failures == 0 || s.Pending < 9*time.Minute || !strings.Contains(log.String(), "took the condition and shows") {
			t.Errorf("state: %+v\n%s", s, log)
		}
	})
}

// TestAWriteWhoseAnswerIsLost: what the pod has is not known then, so a change back is not taken for written.
func TestAWriteWhoseAnswerIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		g, _, _ := run(t, p)
		for range 20 {
			g.Set(client.Serving, "")
			after(2 * time.Second)
			p.set(func() { p.loses = true })
			g.Set(client.NotServing, "")
			after(0)
			p.set(func() { p.loses = false })
			g.Set(client.Serving, "")
			after(2 * time.Second)
			if c := p.pod.Status.Conditions[0]; c.Status != "True" {
				t.Fatalf("SERVING was said last; the pod has %s", c.Status)
			}
		}
	})
}

// TestAChangeDuringAWriteIsNotLost: what is said while a request is under way is written after it.
func TestAChangeDuringAWriteIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		p.took = 3 * time.Second
		g, _, _ := run(t, p)
		g.Set(client.Serving, "")
		after(5 * time.Second) // the look is over, the write is under way
		g.Set(client.NotServing, "")
		after(1500 * time.Millisecond)
		if s := g.State(); p.statuses() != "True" || s.Pending == 0 {
			t.Errorf("written: %s; %+v", p.statuses(), s)
		}
		after(5 * time.Second)
		if s := g.State(); p.statuses() != "True False" || s.Pending != 0 {
			t.Errorf("written: %s; %+v", p.statuses(), s)
		}
	})
}

func TestTheEndStopsARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakePods()
		p.took = time.Hour
		g, log, end := run(t, p)
		g.Set(client.Serving, "")
		after(time.Second)
		at := time.Now()
		end()
		if !time.Now().Equal(at) || strings.Contains(log.String(), "was not written") {
			t.Errorf("the end took %v; log:\n%s", time.Since(at), log)
		}
	})
}
