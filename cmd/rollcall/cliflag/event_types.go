package cliflag

import (
	"fmt"
	"slices"
	"strings"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/cmd/rollcall/format"
)

// EventTypeName returns a type as it is written on the command line: member-changed.
func EventTypeName(t rollcallv1.EventType) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(t.String(), "EVENT_TYPE_"), "_", "-"))
}

// eventTypes returns all types that can be asked for.
func eventTypes() []rollcallv1.EventType {
	var all []rollcallv1.EventType
	for n := range rollcallv1.EventType_name {
		if t := rollcallv1.EventType(n); t != rollcallv1.EventType_EVENT_TYPE_UNSPECIFIED {
			all = append(all, t)
		}
	}
	slices.Sort(all)
	return all
}

// EventTypeNames returns the names of all types.
func EventTypeNames() []string {
	var names []string
	for _, t := range eventTypes() {
		names = append(names, EventTypeName(t))
	}
	return names
}

// EventTypes is the value of --type: a list of types.
type EventTypes []rollcallv1.EventType

func (l *EventTypes) Type() string { return "type" }

func (l *EventTypes) String() string {
	names := make([]string, len(*l))
	for i, t := range *l {
		names[i] = EventTypeName(t)
	}
	return strings.Join(names, ",")
}

func (l *EventTypes) Set(v string) error {
	for part := range strings.SplitSeq(v, ",") {
		name := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(part), "_", "-"))
		i := slices.Index(EventTypeNames(), name)
		if i < 0 {
			return fmt.Errorf("%q is no type of event; use %s", part, format.Alternatives(EventTypeNames()))
		}
		*l = append(*l, eventTypes()[i])
	}
	return nil
}
