package fsm

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// TestP9OnlyValuesAreReplicated: every text in results, records and events came in with a command, or
// names a field. A text that the fold words itself would have replicas differ as soon as two binaries
// word it differently, or quote a rune that only the Unicode tables of one of them know.
func TestP9OnlyValuesAreReplicated(t *testing.T) {
	// A rune that Unicode 15 does not know and a later version may: %q writes it as it is or escaped.
	const strange = "shop/\U0001FAE9"
	h := withIDs(t, 1000, 1000*second)
	given := map[string]bool{"": true}
	for i, cmd := range []*logv1.Command{
		withID("1", change(strange, serving)),
		withID("2", changeIf(strange, serving, 99)),
		withID("3", changeIf(strange, serving, 0)),
		withID("4", changeIf("new"+strange, serving, 1)),
		withID("5", &logv1.Change{Service: "gone" + strange, Status: gone, MustExist: true}),
		withID("1", change("another", serving)),
		withID("6", change(strange+"*", serving)),
		withID("7", change("rollcall."+strange, serving)),
		withID("8", change(strange, serving), change(strange, gone)),
		withID("9", change(strange+"\x07", serving)),
		write(),
		write(change("a", 17)),
		announce(&logv1.Member{Name: strange, DirectoryId: "d1"}),
		announce(&logv1.Member{Name: strange, DirectoryId: "d2" + strange}),
		announce(nil),
		compact(-1),
		compact(99),
		grantForgetting(leaseA, second), grantForgetting(leaseB, second), write(leased("a", serving, leaseA), leased("b", serving, leaseB)),
		write(leased("a", serving, leaseC)), write(change("a", serving)),
		expireLeases(99, leaseA), because(revoke(leaseB), "stopped"), forgetLeases(leaseA, leaseB),
		hold(&logv1.HoldLeases{Term: 1, Engaged: true}), because(releaseGuard(), "ours"),
	} {
		texts(cmd.ProtoReflect(), func(s string) { given[s] = true })
		if cmd.GetRecord().GetKind() == logv1.Kind_KIND_LEASE {
			texts(decode(cmd.GetRecord().Payload, &logv1.LeaseCommand{}).ProtoReflect(), func(s string) { given[s] = true })
		}
		given[leaseGuardKey] = true
		result := h.do(t, int64(i)*second, cmd)[0]
		texts(result.ProtoReflect(), func(s string) {
			if !given[s] && !isField(s) {
				t.Errorf("command %d, %v: the result says %q, which nobody gave", i, cmd, s)
			}
		})
	}
	for _, m := range h.registryFile.replicated() {
		texts(m.ProtoReflect(), func(s string) {
			if !given[s] && !isField(s) {
				t.Errorf("%T holds %q, which nobody gave: %v", m, s, m)
			}
		})
	}
}

// isField says whether s is the path of a field of a request.
func isField(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_.") == ""
}

// texts calls f with every string in m and in what it holds.
func texts(m protoreflect.Message, f func(string)) {
	m.Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		each := func(v protoreflect.Value) {
			switch d.Kind() {
			case protoreflect.StringKind:
				f(v.String())
			case protoreflect.MessageKind:
				texts(v.Message(), f)
			}
		}
		if d.IsList() {
			for i := range v.List().Len() {
				each(v.List().Get(i))
			}
			return true
		}
		each(v)
		return true
	})
}

// replicated returns all that the fold handed to the registry file.
func (j *memRegistryFile) replicated() (all []proto.Message) {
	for _, d := range j.deltas {
		for _, e := range d.Events {
			all = append(all, e)
			switch e.Kind {
			case logv1.Kind_KIND_MEMBER:
				all = append(all, decode(e.After, &logv1.Member{}))
			case logv1.Kind_KIND_LEASE:
				all = append(all, decode(e.After, &logv1.Lease{}))
			case logv1.Kind_KIND_LEASE_GUARD:
				all = append(all, decode(e.After, &logv1.LeaseGuard{}))
			}
		}
		for _, r := range d.Records {
			if r.Value == nil {
				continue
			}
			value := appendValue(nil, r.Value)
			switch r.Kind {
			case logv1.Kind_KIND_SERVICE:
				all = append(all, decode(value, &logv1.ServiceRecord{}))
			case logv1.Kind_KIND_REQUEST:
				p := &logv1.RequestRecord{}
				all = append(all, decode(value, p), decode(p.Result, &logv1.StoredResult{}))
			case logv1.Kind_KIND_MEMBER:
				all = append(all, decode(value, &logv1.Member{}))
			case logv1.Kind_KIND_SETTING:
				all = append(all, decode(value, &logv1.Setting{}))
			case logv1.Kind_KIND_LEASE:
				all = append(all, decode(value, &logv1.Lease{}))
			case logv1.Kind_KIND_LEASE_GUARD:
				all = append(all, decode(value, &logv1.LeaseGuard{}))
			default:
				panic(r.Kind)
			}
		}
	}
	return all
}

func decode(b []byte, m proto.Message) proto.Message {
	unmarshal(b, m)
	return m
}
