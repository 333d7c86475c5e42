package fsm

import (
	"bytes"
	"context"
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/fsm/access"
)

// TestAccessLives: what was granted outlives a restart, a snapshot and a compaction, its past can be read, and a scrub
// finds that it is as it was.
func TestAccessLives(t *testing.T) {
	ctx := context.Background()
	h := newHarness(t)
	h.do(t, 1, putRole("mine", access.Read), tokenWith("ci", grantOver("mine", "shop/*")), putGrants("cert:a", grantOver("admin", "*")))
	before := h.Revision()
	h.do(t, 2, by("cert:a", setAuth(true, "viewer")), by("cert:a", putRole("mine", access.Read|access.Report)), by("cert:a", deny("token:ci")), by("cert:a", setAuth(true, "")))

	for _, test := range []struct {
		kind     logv1.Kind
		key      string
		revision int64
		want     func(Value) bool
	}{
		{logv1.Kind_KIND_ROLE, "mine", before, func(v Value) bool { return v.(*logv1.Role).GetVerbs() == uint32(access.Read) }},
		{logv1.Kind_KIND_GRANTS, "token:ci", before, func(v Value) bool { return !v.(*logv1.Grants).GetDenied() }},
		{logv1.Kind_KIND_AUTH, authKey, before, func(v Value) bool { return v == nil }},
		{logv1.Kind_KIND_AUTH, authKey, before + 1, func(v Value) bool { return v.(*logv1.Auth).GetAnonymous() == "viewer" }},
		{logv1.Kind_KIND_TOKEN, "ci", before, func(v Value) bool { return v.(*logv1.Token).GetRevision() == 2 }},
	} {
		if v, err := h.RecordAt(ctx, test.kind, test.key, test.revision); err != nil || !test.want(v) {
			t.Errorf("%v %s at %d: %v, %v", test.kind, test.key, test.revision, v, err)
		}
	}
	h.do(t, 3, compact(h.Revision()+1))

	behind := newHarness(t)
	behind.do(t, 1, write(change("a", serving)), tokenWith("other"))
	changed, generation := behind.AccessChanged(), behind.Access().Generation()
	if err := behind.Restore(h.snapshot(t)); err != nil {
		t.Fatal(err)
	}
	if !closed(changed) || behind.Access().Generation() == generation {
		t.Errorf("a snapshot changed access, and nobody is told: %v, generation %d", closed(changed), behind.Access().Generation())
	}
	for name, other := range map[string]*harness{"restarted": harnessOn(t, h.registryFile), "restored": behind} {
		a := other.Access()
		if who, _ := a.Token(TokenID(secret("ci"))); who != "ci" || a.Tokens() != 1 || !a.Enforced() || !a.Denied("token:ci") || other.ReadsOpen() {
			t.Errorf("%s: %q of %d tokens, enforced %v, everybody reads %v", name, who, a.Tokens(), a.Enforced(), other.ReadsOpen())
		}
		if p := a.Permissions("cert:a"); !p.Whole(access.All) {
			t.Errorf("%s: %+v", name, p)
		}
		if !bytes.Equal(other.StateHash().GetHash(), h.StateHash().GetHash()) {
			t.Errorf("%s: it hashes otherwise", name)
		}
		if scrub, err := other.ScrubMemory(ctx, 1); err != nil || !scrub.Agrees() {
			t.Errorf("%s: a scrub finds %+v, %v", name, scrub, err)
		}
	}

	// A snapshot with the same number of changes is another one all the same.
	first, second := newHarness(t), newHarness(t)
	first.do(t, 1, tokenWith("a"))
	second.do(t, 1, tokenWith("b"), write(change("a", serving)))
	generation = first.Access().Generation()
	if err := first.Restore(second.snapshot(t)); err != nil {
		t.Fatal(err)
	}
	if first.Access().Generation() == generation {
		t.Error("the generation is the same, the tokens are not")
	}
}

// TestScrubFindsAnotherIndexOfTokens: the index by id is compared with the records.
func TestScrubFindsAnotherIndexOfTokens(t *testing.T) {
	for name, spoil := range map[string]func(*accessIndex){
		"an id less":      func(x *accessIndex) { x.names.Delete(TokenID(secret("ci"))) },
		"an id more":      func(x *accessIndex) { x.names.Set("0000000000000000", "ci") },
		"another's id":    func(x *accessIndex) { x.names.Set(TokenID(secret("ci")), "other") },
		"an end more":     func(x *accessIndex) { x.ends.Set(tokenEnd{7, "ci"}) },
		"an end less":     func(x *accessIndex) { x.ends.Clear() },
		"another's ended": func(x *accessIndex) { x.ends.Clear(); x.ends.Set(tokenEnd{7, "ci"}) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.do(t, 1, tokenWith("ci"), lasting("short", 3600e9))
			spoil(&h.state.access)
			h.state.access.changed = true
			h.do(t, 1, write(change("a", serving)))
			scrub, err := h.ScrubMemory(context.Background(), 1)
			if err != nil || scrub.Agrees() || scrub.Derived != "the index of the tokens is not that of their records" {
				t.Errorf("%+v, %v", scrub, err)
			}
		})
	}
}

// TestClosedBeforeShown: what a batch, or a snapshot, brings after the right to read it was taken is not shown while
// everybody still may read everything. Publishing is stopped half-way here: the view of a state without an index of
// leases cannot be made.
func TestClosedBeforeShown(t *testing.T) {
	open := func() *harness {
		h := newHarness(t)
		h.do(t, 1, by("static", setAuth(true, "viewer")))
		return h
	}
	halfway := func(h *harness, publish func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Error("publishing was not stopped")
			}
			if _, shown := h.Status("secret"); !shown || h.ReadsOpen() {
				t.Errorf("it is shown: %v; everybody may read everything: %v", shown, h.ReadsOpen())
			}
		}()
		h.state.attached = nil
		publish()
	}
	commands := []*logv1.Command{by("static", setAuth(true, "")), by("static", write(change("secret", serving)))}

	h := open()
	b := batch{at: map[string]int{}}
	if _, err := h.fold(logOf(t, h.AppliedIndex()+1, 1, &logv1.Entry{Commands: commands}), &b); err != nil {
		t.Fatal(err)
	}
	halfway(h, func() { h.publish(&b) })

	restored, source := open(), open()
	source.do(t, 1, commands...)
	restored.state = source.state
	halfway(restored, restored.publishAll)
}

// TestNewKindsTakeAnAdministrator: a kind for which nobody said what its commands take is for administrators alone.
func TestNewKindsTakeAnAdministrator(t *testing.T) {
	h := harnessWith(t, Config{RegistryFile: newMemRegistryFile(), Kinds: DefaultKinds().With(flagKind)})
	h.do(t, 1, putGrants("cert:ops", grantOver("operator", "*")), putGrants("cert:root", grantOver("admin", "*")), by("static", setAuth(true, "viewer")))
	for who, denied := range map[string]bool{"": true, "cert:ops": true, "cert:root": false, "static": false} {
		if r := h.do(t, 1, by(who, flags("a")))[0]; (r.GetRefusal().GetReason() == logv1.Refusal_REASON_DENIED) != denied {
			t.Errorf("%q: %v", who, r)
		}
	}
}
