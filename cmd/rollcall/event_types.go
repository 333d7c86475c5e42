package main

import (
	"fmt"
	"slices"
	"strings"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// eventTypeName is a type as it is written on the command line: member-changed.
func eventTypeName(t rollcallv1.EventType) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(t.String(), "EVENT_TYPE_"), "_", "-"))
}

// eventTypes are all that can be asked for.
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

func eventTypeNames() []string {
	var names []string
	for _, t := range eventTypes() {
		names = append(names, eventTypeName(t))
	}
	return names
}

// eventTypeList is the value of --type.
type eventTypeList []rollcallv1.EventType

func (l *eventTypeList) Type() string { return "type" }

func (l *eventTypeList) String() string {
	names := make([]string, len(*l))
	for i, t := range *l {
		names[i] = eventTypeName(t)
	}
	return strings.Join(names, ",")
}

func (l *eventTypeList) Set(v string) error {
	for part := range strings.SplitSeq(v, ",") {
		name := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(part), "_", "-"))
		i := slices.Index(eventTypeNames(), name)
		if i < 0 {
			return fmt.Errorf("%q is no type of event; use %s", part, alternatives(eventTypeNames()))
		}
		*l = append(*l, eventTypes()[i])
	}
	return nil
}
