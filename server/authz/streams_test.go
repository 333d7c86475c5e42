package authz

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rollcallhq/rollcall/fsm/access"
	"github.com/rollcallhq/rollcall/server/authn"
	"github.com/rollcallhq/rollcall/server/rpcerror"
)

// nameStream is a stream about one name.
type nameStream struct {
	Stream
	streams *Streams
	ctx     context.Context
	name    string
	judged  atomic.Int32
	ended   atomic.Pointer[rpcerror.Failure]
}

func (o *nameStream) why() *rpcerror.Failure    { return o.ended.Load() }
func (o *nameStream) set(why *rpcerror.Failure) { o.ended.Store(why) }

func (o *nameStream) Context() context.Context { return o.ctx }

func (o *nameStream) Judge(now *Reader) *rpcerror.Failure {
	o.judged.Add(1)
	return now.DeniedRead(o.name)
}

func (o *nameStream) EndFor(why *rpcerror.Failure) {
	if o.why() == nil {
		o.set(why)
	}
	o.streams.Leave(&o.Stream)
}

// reason is why the stream ended; "": it did not.
func (o *nameStream) reason() string {
	if o.why() == nil {
		return ""
	}
	return o.why().Reason
}

// running runs do with Streams that run, in virtual time.
func running(t *testing.T, do func(t *testing.T, w *world, s *Streams)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := NewStreams(New(w, w), time.Now)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Run(ctx)
		}()
		do(t, w, s)
		cancel()
		<-done
	})
}

// open opens a stream as a server does.
func open(t *testing.T, s *Streams, c *authn.Caller, name string) *nameStream {
	t.Helper()
	o := &nameStream{streams: s, ctx: calling(t.Context(), c), name: name}
	if s.authorizer.Open() {
		s.JoinUnseen(&o.Stream, o)
		return o
	}
	r, f := s.authorizer.Reader(o.ctx)
	if f == nil {
		f = r.DeniedRead(name)
	}
	if f == nil {
		f = s.Join(&o.Stream, o, c, r)
	}
	o.set(f)
	return o
}

// identities is how many callers have streams.
func (s *Streams) identities() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.groups)
}

func only(p ...string) access.Permissions {
	var grants []access.Grant
	for _, one := range p {
		grants = append(grants, access.Grant{Verbs: access.Read, Pattern: one})
	}
	return access.New(grants...)
}

func settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

var (
	anonymous = &authn.Caller{Identity: "anonymous"}
	ci        = &authn.Caller{Identity: "token:ci", Credential: "1"}
)

func TestStreamsEndWithinASecond(t *testing.T) {
	running(t, func(t *testing.T, w *world, s *Streams) {
		unseen, unseenCI := open(t, s, anonymous, "a"), open(t, s, ci, "b")
		w.change(func() { w.enforced, w.anonymous = true, only("*") })
		settle()
		if unseen.judged.Load()+unseenCI.judged.Load() > 0 || s.identities() > 0 {
			t.Error("everybody may read everything, and callers were looked at")
		}
		w.change(func() { w.anonymous, w.grants["token:ci"] = only("a"), only("b", "c") })
		settle()
		if unseen.reason() != "" || unseenCI.reason() != "" || s.identities() != 2 {
			t.Errorf("streams that may go on ended: %v, %v", unseen.why(), unseenCI.why())
		}
		a, c, no := open(t, s, ci, "a"), open(t, s, ci, "c"), open(t, s, anonymous, "c")
		if a.why() != nil || c.why() != nil || no.reason() != rpcerror.ReasonDenied {
			t.Errorf("%v %v %v", a.why(), c.why(), no.why())
		}
		w.change(func() { w.grants["token:ci"] = only("b") })
		settle()
		if a.why() != nil || c.reason() != rpcerror.ReasonDenied || unseenCI.why() != nil {
			t.Errorf("%v %v %v", a.why(), c.why(), unseenCI.why())
		}
		w.change(func() { w.revoked["1"] = true })
		settle()
		if a.reason() != rpcerror.ReasonTokenRevoked || unseenCI.reason() != rpcerror.ReasonTokenRevoked || unseen.why() != nil {
			t.Errorf("%v %v %v", a.why(), unseenCI.why(), unseen.why())
		}
		w.change(func() { w.anonymous = access.Permissions{} })
		settle()
		if unseen.reason() != rpcerror.ReasonNoCredentials || s.identities() > 0 {
			t.Errorf("%v, %v", unseen.why(), s.identities())
		}
	})
}

// What was not looked at is looked at once not everybody may read everything; then tokens must prove something.
func TestUnseenStreamsMustProveWhoTheyAre(t *testing.T) {
	running(t, func(t *testing.T, w *world, s *Streams) {
		w.revoked["1"] = true
		o := open(t, s, ci, "a")
		settle()
		if o.why() != nil {
			t.Error(o.why())
		}
		w.change(func() { w.enforced, w.anonymous = true, only("a") })
		settle()
		if o.reason() != rpcerror.ReasonTokenRevoked {
			t.Error(o.why())
		}
	})
}

func TestATokenThatExpiresEndsItsStreams(t *testing.T) {
	running(t, func(t *testing.T, w *world, s *Streams) {
		w.change(func() { w.enforced, w.anonymous, w.grants["token:ci"] = true, only("b"), only("a") })
		settle()
		soon := &authn.Caller{Identity: "token:ci", Credential: "1", Expires: time.Now().Add(time.Hour)}
		later := &authn.Caller{Identity: "token:ci", Credential: "2", Expires: time.Now().Add(2 * time.Hour)}
		second, first := open(t, s, later, "a"), open(t, s, soon, "a")
		settle()
		time.AfterFunc(time.Hour-time.Second, func() {
			w.mu.Lock() // nobody tells: it expires by the clock
			defer w.mu.Unlock()
			w.revoked["1"] = true
		})
		time.Sleep(time.Hour - 2*time.Second)
		synctest.Wait()
		if first.why() != nil {
			t.Error("it ended before its time")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if first.reason() != rpcerror.ReasonTokenRevoked || second.why() != nil {
			t.Errorf("%v %v", first.why(), second.why())
		}
	})
}

// 100,000 streams cost nothing while nothing is another for their caller.
func TestStreamsAreNotJudgedWhileNothingChangesForThem(t *testing.T) {
	running(t, func(t *testing.T, w *world, s *Streams) {
		w.change(func() { w.enforced, w.anonymous = true, only("a") })
		settle()
		o := open(t, s, anonymous, "a")
		settle()
		views := w.looks()
		time.Sleep(time.Hour)
		synctest.Wait()
		if w.looks() != views {
			t.Errorf("the rights were looked at %d times in an hour without a change", w.looks()-views)
		}
		for i := range 100 {
			w.change(func() { w.grants[fmt.Sprint("cert:", i)] = only("b") })
			time.Sleep(time.Millisecond)
		}
		settle()
		if o.judged.Load() > 0 || o.why() != nil {
			t.Errorf("judged %d times, %v", o.judged.Load(), o.why())
		}
		if w.looks() > views+20 {
			t.Errorf("100 changes at once were looked at %d times", w.looks()-views)
		}
		w.change(func() { w.anonymous = only("a", "b") })
		settle()
		w.change(func() { w.grants["cert:1"] = only("c") })
		settle()
		if o.judged.Load() != 1 || o.why() != nil {
			t.Errorf("judged %d times, %v", o.judged.Load(), o.why())
		}
	})
}

// A stream that begins while its caller's rights change is judged by the newest.
func TestAStreamThatBeginsDuringAChange(t *testing.T) {
	running(t, func(t *testing.T, w *world, s *Streams) {
		w.change(func() { w.enforced, w.grants["token:ci"] = true, only("a", "b") })
		settle()
		old := s.authorizer.Of(ci)
		w.change(func() { w.grants["token:ci"] = only("a") })
		settle()

		// Nobody else of the caller is there.
		one := &nameStream{streams: s, ctx: t.Context(), name: "b"}
		if f := s.Join(&one.Stream, one, ci, old); f != nil {
			one.set(f)
		}
		settle()
		if one.reason() != rpcerror.ReasonDenied {
			t.Errorf("alone: %v", one.why())
		}
		// Another stream was judged by what is so now.
		open(t, s, ci, "a")
		two := &nameStream{streams: s, ctx: t.Context(), name: "b"}
		if f := s.Join(&two.Stream, two, ci, old); f == nil || f.Reason != rpcerror.ReasonDenied || two.group != nil {
			t.Errorf("beside another: %v", f)
		}
		// It began with more than what the others were judged by, and that is taken back before anybody looks.
		w.change(func() { w.grants["token:ci"] = only("a", "b") })
		three := open(t, s, ci, "b")
		w.change(func() { w.grants["token:ci"] = only("a") })
		settle()
		if three.reason() != rpcerror.ReasonDenied {
			t.Errorf("between: %v", three.why())
		}
		// It has left before it joined.
		four := &nameStream{streams: s, ctx: t.Context(), name: "a"}
		s.Leave(&four.Stream)
		if f := s.Join(&four.Stream, four, ci, s.authorizer.Of(ci)); f != nil || four.group != nil {
			t.Errorf("a stream that has ended joined: %v", f)
		}
		s.JoinUnseen(&four.Stream, four)
		if s.unseen.first != nil {
			t.Error("a stream that has ended joined unseen")
		}
	})
}

// Reads are closed between the look whether they are open and the joining.
func TestAStreamThatJoinsUnseenTooLate(t *testing.T) {
	running(t, func(t *testing.T, w *world, s *Streams) {
		w.change(func() { w.enforced = true })
		settle()
		o := &nameStream{streams: s, ctx: calling(t.Context(), anonymous), name: "a"}
		s.JoinUnseen(&o.Stream, o)
		settle()
		if o.reason() != rpcerror.ReasonNoCredentials {
			t.Error(o.why())
		}
	})
}

// Over any history of changes and streams, a second after each change exactly those streams are open that their callers
// may have, and none of those that were open and may be is ended.
func TestStreamsAgreeWithModel(t *testing.T) {
	type step struct {
		what     int
		who, one int
		p        string
	}
	steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{rapid.IntRange(0, 7).Draw(t, "what"), rapid.IntRange(0, 3).Draw(t, "who"), rapid.IntRange(0, 20).Draw(t, "one"), rapid.SampledFrom(patterns).Draw(t, "pattern")}
	}), 1, 40)
	callers := []*authn.Caller{anonymous, ci, {Identity: "token:ci", Credential: "2"}, {Identity: "cert:x"}}
	rapid.Check(t, func(rt *rapid.T) {
		script := steps.Draw(rt, "steps")
		var bad string
		running(t, func(t *testing.T, w *world, s *Streams) {
			type opened struct {
				*nameStream
				caller *authn.Caller
				gone   bool // as the model has it
				left   bool
			}
			var all []*opened
			may := func(o *opened) bool {
				return !w.revoked[o.caller.Credential] && (!w.enforced || w.permissions(o.caller.Identity).Allows(access.Read, o.name))
			}
			for i, step := range script {
				who := callers[step.who]
				switch step.what {
				case 0, 1, 2:
					o := &opened{nameStream: open(t, s, who, names[step.one%len(names)]), caller: who}
					o.gone = o.why() != nil
					all = append(all, o)
					continue // the next change comes at once
				case 3:
					if len(all) > 0 {
						o := all[step.one%len(all)]
						o.left = true
						s.Leave(&o.Stream)
					}
				case 4:
					w.change(func() { w.enforced = step.one%4 > 0 })
				case 5:
					w.change(func() { w.grants[who.Identity] = only(step.p) })
				case 6:
					w.change(func() { w.anonymous = only(step.p) })
				case 7:
					w.change(func() { w.revoked[who.Credential] = who.Credential != "" && step.one%2 > 0 })
				}
				settle()
				for _, o := range all {
					if o.left {
						continue
					}
					// Who was not looked at may go on with a token that proves nothing.
					o.gone = o.gone || !may(o) && !(s.authorizer.Open() && o.group == &s.unseen)
					if o.gone != (o.why() != nil) && bad == "" {
						bad = fmt.Sprintf("after step %d the stream of %s about %s is ended: %v; want %v", i, o.caller.Identity, o.name, o.why(), o.gone)
					}
				}
			}
		})
		if bad != "" {
			rt.Fatal(bad)
		}
	})
}
