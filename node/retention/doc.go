// Package retention has a leader decide how much of the history the cluster keeps, by number and by age, and
// propose it: compactor.go. clock.go tells by which time history ages.
//
// Which events stay below the horizon, and their deletion, belong to packages fsm and store.
package retention
