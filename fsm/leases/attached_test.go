package leases

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestIsID(t *testing.T) {
	for id, want := range map[string]bool{
		"0123456789abcdef": true, "ffffffffffffffff": true, "0000000000000000": true,
		"": false, "l1": false, "0123456789abcdeF": false, "0123456789abcdeg": false, "0123456789abcde": false,
		"0123456789abcdef0": false, "+123456789abcdef": false, "0x23456789abcdef": false, "012345678 abcdef": false, "é123456789abcde": false,
	} {
		if IsID(id) != want {
			t.Errorf("%q is an id: %v", id, !want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64().Draw(t, "n")
		id := format(n)
		if again, ok := parse(id); !ok || again != n || id != fmt.Sprintf("%016x", n) {
			t.Fatalf("%x is %q, and that is %x, %v", n, id, again, ok)
		}
	})
}

type key struct {
	lease    string
	revision int64
}

// TestAttachedIsASortedSet after any changes; a snapshot stays as it was.
func TestAttachedIsASortedSet(t *testing.T) {
	ids := []string{format(0), format(1), format(1 << 63), format(math.MaxUint64), "no id"}
	rapid.Check(t, func(rt *rapid.T) {
		a, model := New[string](), map[key]string{}
		snapshots := map[*Attached[string]]map[key]string{}
		for range rapid.IntRange(1, 60).Draw(rt, "changes") {
			k := key{rapid.SampledFrom(ids).Draw(rt, "lease"), rapid.Int64Range(1, 12).Draw(rt, "revision")}
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				a.Remove(k.lease, k.revision)
				delete(model, k)
			case 1:
				s := a.Snapshot()
				if s != a.Snapshot() {
					rt.Fatal("two snapshots of the same")
				}
				snapshots[s] = maps.Clone(model)
			default:
				a.Add(k.lease, k.revision, fmt.Sprint(k))
				if k.lease != "no id" {
					model[k] = fmt.Sprint(k)
				}
			}
		}
		same(rt, a, ids, model)
		for s, then := range snapshots {
			same(rt, s, ids, then)
		}
		var all []Report[string]
		for k, v := range model { // in any order
			r, _ := Make(k.lease, k.revision, v)
			all = append(all, r)
		}
		same(rt, Fill(all), ids, model)
	})
}

func same(rt *rapid.T, a *Attached[string], ids []string, model map[key]string) {
	if a.Len() != len(model) {
		rt.Fatalf("%d, want %d", a.Len(), len(model))
	}
	a.Scan(func(r Report[string]) bool {
		if model[key{r.Lease(), r.Revision}] != r.Value {
			rt.Fatalf("%v, want %v", r, model)
		}
		return true
	})
	for _, id := range ids {
		var want []key
		for k := range model {
			if k.lease == id {
				want = append(want, k)
			}
		}
		slices.SortFunc(want, func(a, b key) int { return cmp.Compare(a.revision, b.revision) })
		var have []key
		a.Ascend(id, func(r Report[string]) bool { have = append(have, key{r.Lease(), r.Revision}); return true })
		newest := int64(0)
		if len(want) > 0 {
			newest = want[len(want)-1].revision
		}
		if !slices.Equal(have, want) || a.Count(id) != len(want) || a.Newest(id) != newest {
			rt.Fatalf("%s has %v, %d, the newest is %d; want %v", id, have, a.Count(id), a.Newest(id), want)
		}
		for _, k := range want {
			if v, ok := a.Find(id, k.revision); !ok || v != model[k] {
				rt.Fatalf("%v is %q, %v", k, v, ok)
			}
		}
		if _, ok := a.Find(id, 99); ok {
			rt.Fatal("found what is not there")
		}
	}
}
