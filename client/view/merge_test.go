package view

import (
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// told is a View without nodes, whose two watches say what the test has them say.
func told(t *testing.T, names ...string) (v *View, a, b func(cluster string, revision int64, synced bool, s client.Status)) {
	t.Helper()
	c, err := client.New(client.Config{Endpoints: []string{"127.0.0.1:1", "127.0.0.1:2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if v, err = New(c, names); err != nil {
		t.Fatal(err)
	}
	says := func(w *watch) func(string, int64, bool, client.Status) {
		return func(cluster string, revision int64, synced bool, s client.Status) {
			u := client.ServicesUpdate{Cluster: cluster, Revision: revision, Synced: synced}
			switch s {
			case nothing:
			case client.ServiceUnknown:
				u.Deleted = append(u.Deleted, names[0])
			default:
				u.Services = append(u.Services, reported(names[0], s, revision))
			}
			v.update(w, u)
		}
	}
	return v, says(v.watches[0]), says(v.watches[1])
}

const nothing client.Status = -1

// TestOlderThanAllKnown: one watch knows that nothing has changed up to revision 2; the other comes with what was so at
// revision 1.
func TestOlderThanAllKnown(t *testing.T) {
	v, a, b := told(t, shop)
	a("c1", 0, true, client.ServiceUnknown)
	a("c1", 2, true, nothing) // it was set and deleted meanwhile
	changed := v.Changed()
	b("c1", 1, true, client.NotServing)
	if o := v.Get(shop); o.Off {
		t.Errorf("it went back to %+v", o)
	}
	b("c1", 2, true, client.ServiceUnknown)
	select {
	case <-changed:
		t.Error("it wakes those who wait")
	default:
	}
}

// TestOlderThanPart: a watch has sent a part of its state, which is newer than all that the other has.
func TestOlderThanPart(t *testing.T) {
	v, a, b := told(t, shop, "other")
	a("c1", 7, false, client.NotServing)
	b("c1", 5, true, client.Serving)
	if o := v.Get(shop); !o.Off || o.Revision != 7 {
		t.Errorf("it went back to %+v", o)
	}
}

// TestMistakeIsForgotten: the cluster that was heard first was a mistake, and the right one has not spoken of the name
// yet.
func TestMistakeIsForgotten(t *testing.T) {
	v, a, b := told(t, shop)
	a("wrong", 9, true, client.NotServing)
	b("right", 3, false, nothing)
	changed := v.Changed()
	v.decide(map[string]int{"right": 2})
	if o := v.Get(shop); o.Off || o.Heard {
		t.Errorf("it is %+v", o)
	}
	select {
	case <-changed:
	default:
		t.Error("it wakes nobody")
	}
	b("right", 3, true, client.ServiceUnknown)
	if got := text(v.Get(shop)); got != "SERVICE_UNKNOWN in right" {
		t.Error(got)
	}
}

// TestOlderThanPartHeld: what is newest in the new cluster does not end what is held, and what is older does not either.
func TestOlderThanPartHeld(t *testing.T) {
	v, _, b := told(t, shop, "other")
	say := func(cluster string, revision int64, synced bool, r *rollcallv1.ServiceRecord) {
		v.update(v.watches[0], client.ServicesUpdate{Cluster: cluster, Revision: revision, Synced: synced, Services: []*rollcallv1.ServiceRecord{r}})
	}
	say("c1", 1, true, overridden(reported(shop, client.Serving, 1), client.NotServing, 1, time.Time{}))
	leased := reported(shop, client.Serving, 7)
	leased.Report.LeaseId = "l"
	say("c2", 7, false, leased)
	b("c2", 5, true, client.Serving)
	if got := text(v.Get(shop)); got != "NOT_SERVING in c1, off, held" {
		t.Error(got)
	}
}
