// Package expiry has a leader end the overrides whose time has come, by the cluster's clock.
//
// What a leader proposes names what it saw, and its term: package fsm leaves alone what has changed since, and
// decides by the log's time whether it has come to that.
package expiry
