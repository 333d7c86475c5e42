package view

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// TestOverrideEndsWhileTheRegistryIsAway: what was said last stays, and the registry says that it is over.
func TestOverrideEndsWhileTheRegistryIsAway(t *testing.T) {
	inBubble(t, 3, func(r *fakeRegistry) {
		r.set(shop, client.Serving)
		r.change(func(s map[string]*rollcallv1.ServiceRecord, revision int64) {
			s[shop] = overridden(s[shop], client.NotServing, revision, time.Now().Add(time.Minute))
		})
	}, justShop, nil, func(v *running) {
		v.is(shop, "NOT_SERVING in c1, off")
		for _, n := range v.r.nodes {
			n.kill()
		}
		v.after(time.Hour)
		v.is(shop, "NOT_SERVING in c1, off")
		v.r.set(shop, client.Serving) // without the override
		for _, n := range v.r.nodes {
			n.start()
		}
		v.after(6 * time.Second)
		v.is(shop, "SERVING in c1")
	})
}

// TestDeletedAndSetAgain: the newest word counts, also when it is that there is none.
func TestDeletedAndSetAgain(t *testing.T) {
	inBubble(t, 3, nil, justShop, nil, func(v *running) {
		for range 3 {
			v.r.set(shop, client.NotServing)
			v.is(shop, "NOT_SERVING in c1, off")
			v.r.set(shop, client.ServiceUnknown)
			v.is(shop, "SERVICE_UNKNOWN in c1")
			v.r.nodes[0].kill()
			v.r.set(shop, client.Serving)
			v.is(shop, "SERVING in c1")
			v.r.nodes[0].start()
			v.r.set(shop, client.ServiceUnknown)
			v.after(6 * time.Second)
			v.is(shop, "SERVICE_UNKNOWN in c1")
		}
	})
}

// TestOperatorsWhileNodesAreWiped: two operators switch one name by overrides while nodes lose their disks one at a
// time, and instances report anew under leases. What is off stays off until an operator speaks, and when all nodes are
// of one cluster, the last word counts.
func TestOperatorsWhileNodesAreWiped(t *testing.T) {
	for seed := range uint64(40) {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			inBubble(t, 3, func(r *fakeRegistry) { r.set(shop, client.Serving) }, justShop, nil, func(v *running) {
				var told []string
				off := false // it was, and no operator has spoken since
				look := func() {
					if o := v.Get(shop); off && !o.Off {
						t.Errorf("it was off and is %q: %s", text(o), strings.Join(told, "; "))
					} else if o.Off && o.Record.GetOverride() != nil && o.Cluster == v.r.home.id { // else an operator may have spoken in a newer one
						off = true
					}
				}
				override := func(s client.Status) {
					told = append(told, fmt.Sprintf("override %v in %s", s, v.r.home.id))
					off = false
					v.r.change(func(state map[string]*rollcallv1.ServiceRecord, revision int64) {
						record := state[shop]
						if record == nil {
							record = reported(shop, client.Serving, revision)
						}
						state[shop] = overridden(record, s, revision, time.Time{})
					})
					v.after(0)
				}
				status := func() client.Status { return []client.Status{client.Serving, client.NotServing}[rng.IntN(2)] }
				for cluster := range 3 {
					for range rng.IntN(3) {
						override(status())
						look()
					}
					next := newFakeCluster(fmt.Sprintf("c%d", cluster+2))
					order := rng.Perm(3)
					for at, i := range order {
						told = append(told, fmt.Sprintf("n%d is wiped: %s", i+1, next.id))
						v.r.found(next, v.r.nodes[i])
						if at == rng.IntN(3) {
							v.r.home = next
						}
						v.after(time.Duration(rng.IntN(20_000)) * time.Millisecond)
						look()
						switch rng.IntN(3) {
						case 0:
							override(status())
						case 1:
							told = append(told, "a report in "+v.r.home.id)
							v.r.change(func(state map[string]*rollcallv1.ServiceRecord, revision int64) {
								record := reported(shop, client.Serving, revision)
								record.Report.LeaseId = "l"
								if before := state[shop]; before.GetOverride() != nil {
									override := before.GetOverride()
									record.Override, record.Status = override, override.GetStatus()
								}
								state[shop] = record
							})
						}
						v.after(time.Duration(rng.IntN(3_000)) * time.Millisecond)
						look()
					}
					v.r.home = next
				}
				last := status()
				override(last)
				v.after(time.Minute)
				if o := v.Get(shop); o.Status != last || o.Held || o.Off != (last == client.NotServing) {
					t.Errorf("at last it is %q: %s", text(o), strings.Join(told, "; "))
				}
			})
		})
		if !ok {
			return
		}
	}
}
