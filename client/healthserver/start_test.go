package healthserver

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcallhq/rollcall/client"
)

func wantStatus(t *testing.T, s *Server, name string, want client.Status) {
	t.Helper()
	if got, err := check(t, s, name); err != nil || got != want {
		t.Errorf("%q is %v, %v, want %v", name, got, err, want)
	}
}

func TestNothingIsServedBeforeTheFirstOpinion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		s := mustNew(t, withRegistry(src, &fakeLease{}), WithInstance(address))
		run(t, s)
		w := watch(t, s, "")
		synctest.Wait()
		wantStatus(t, s, "", client.NotServing)
		wantStatus(t, s, service, client.NotServing)
		wantStatus(t, s, "liveness", client.Serving)
		if got := w.all(); len(got) != 1 || got[0] != client.NotServing {
			t.Errorf("Watch sent %v, want NOT_SERVING at once", got)
		}
		src.say(map[string]opinion{service: absent()})
		synctest.Wait()
		wantStatus(t, s, "", client.NotServing) // the instance was not heard
		src.say(map[string]opinion{instance: absent()})
		synctest.Wait()
		wantStatus(t, s, "", client.Serving)
		if got := w.last(); got != client.Serving {
			t.Errorf("Watch sent %v last", got)
		}
	})
}

func TestTheInitialWaitEnds(t *testing.T) {
	for _, wait := range []time.Duration{defaultInitialWait, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var opts []Option
			if wait != defaultInitialWait {
				opts = append(opts, WithInitialWait(wait))
			}
			s := mustNew(t, append(opts, withRegistry(newFakeSource(), &fakeLease{}))...)
			run(t, s)
			w := watch(t, s, "")
			time.Sleep(wait - time.Millisecond)
			synctest.Wait()
			wantStatus(t, s, "", client.NotServing)
			time.Sleep(time.Millisecond)
			synctest.Wait()
			wantStatus(t, s, "", client.Serving)
			if got := w.last(); got != client.Serving {
				t.Errorf("Watch sent %v last", got)
			}
			time.Sleep(time.Hour) // silence
			synctest.Wait()
			wantStatus(t, s, "", client.Serving)
		})
	}
}

// A program may do much between New and Run.
func TestTheInitialWaitBeginsWithRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, withRegistry(newFakeSource(), &fakeLease{}))
		time.Sleep(time.Minute)
		run(t, s)
		time.Sleep(defaultInitialWait - time.Millisecond)
		wantStatus(t, s, "", client.NotServing)
	})
}

// A program that forgot Run serves, too.
func TestTheInitialWaitBeginsWithAQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, withRegistry(newFakeSource(), &fakeLease{}))
		w := watch(t, s, "")
		time.Sleep(defaultInitialWait)
		synctest.Wait()
		wantStatus(t, s, "", client.Serving)
		if got := w.last(); got != client.Serving {
			t.Errorf("Watch sent %v last", got)
		}
	})
}

func TestARestartWhileOffTakesNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		s := mustNew(t, withRegistry(src, &fakeLease{}))
		run(t, s)
		w := watch(t, s, "")
		synctest.Wait()
		src.say(map[string]opinion{service: report(client.NotServing, "")})
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := w.all(); len(got) != 1 || got[0] != client.NotServing {
			t.Errorf("Watch sent %v, want nothing but NOT_SERVING", got)
		}
	})
}

// An override of a pattern shows only on names that exist, so the own report must be there first.
func TestAPublisherWaitsForItsOwnName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFakeSource()
		src.say(map[string]opinion{service: absent(), instance: absent()})
		s := mustNew(t, withRegistry(src, &fakeLease{}), WithInstance(address), WithPublish(Publish{}))
		run(t, s)
		synctest.Wait()
		wantStatus(t, s, "", client.NotServing)
		src.say(map[string]opinion{instance: overridden(client.NotServing)})
		synctest.Wait()
		time.Sleep(time.Hour)
		wantStatus(t, s, "", client.NotServing)
		src.say(map[string]opinion{instance: report(client.Serving, "lease-1")})
		synctest.Wait()
		wantStatus(t, s, "", client.Serving)
	})
}

// A process that is off and comes back withdrew its report when it stopped. The override shows again only when the new
// report is there.
func TestWhatIsOffStaysOffUntilTheNameIsThereAgain(t *testing.T) {
	for publishes, want := range map[bool]client.Status{true: client.NotServing, false: client.Serving} {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.say(map[string]opinion{service: absent(), instance: overridden(client.NotServing)}) // as from a state file
			opts := []Option{withRegistry(src, &fakeLease{}), WithInstance(address)}
			if publishes {
				opts = append(opts, WithPublish(Publish{}))
			}
			s := mustNew(t, opts...)
			run(t, s)
			w := watch(t, s, "")
			synctest.Wait()
			wantStatus(t, s, "", client.NotServing)
			src.say(map[string]opinion{instance: absent()})
			synctest.Wait()
			time.Sleep(time.Hour)
			wantStatus(t, s, "", want)
			src.say(map[string]opinion{instance: overridden(client.NotServing)})
			synctest.Wait()
			if sent := w.all(); publishes && len(sent) != 1 {
				t.Errorf("Watch sent %v", sent)
			}
			src.say(map[string]opinion{instance: report(client.Serving, "lease-1")})
			synctest.Wait()
			wantStatus(t, s, "", client.Serving)
			src.say(map[string]opinion{instance: absent()}) // deleted, and nothing was off
			synctest.Wait()
			wantStatus(t, s, "", client.Serving)
		})
	}
}

func TestWithoutAClientTheProcessAloneDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, WithInstance(address))
		wantStatus(t, s, "", client.Serving)
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Hour, cancel)
		if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run returns %v", err)
		}
		wantStatus(t, s, "", client.Serving)
	})
}

// Whatever becomes of the registry and of Run, the last opinion stays.
func TestTheLastOpinionStays(t *testing.T) {
	for _, last := range []client.Status{client.Serving, client.NotServing} {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.say(map[string]opinion{service: report(last, "")})
			s := mustNew(t, withRegistry(src, &fakeLease{}))
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			if err := s.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Run returns %v", err)
			}
			time.Sleep(time.Hour)
			wantStatus(t, s, "", last)
		})
	}
}

func TestRunIsCalledOnce(t *testing.T) {
	s := mustNew(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Run returns %v", err)
	}
	if err := s.Run(ctx); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the second Run returns %v", err)
	}
}
