package main

import (
	"strings"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
)

// writable refuses a name before anything is sent.
func writable(service string) error {
	if err := rollcallv1.CheckName(service); err != nil {
		return invalid("service name %w", err)
	}
	return nil
}

// lookable refuses a name that no node would look up.
func lookable(service string) error {
	if err := rollcallv1.CheckLookup(service); err != nil {
		return invalid("service name %w", err)
	}
	return nil
}

// ownName reports whether a node answers this name for itself: it has a status and no record.
func ownName(service string) bool {
	return service == "" || strings.HasPrefix(service, rollcallv1.OwnPrefix)
}
