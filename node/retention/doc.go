// Package retention limits the history that the cluster keeps, by number and by age. The leader decides and
// proposes it through the log (compactor.go). clock.go is the time by which history ages.
//
// Which events stay below the horizon, and their deletion, belong to packages fsm and store.
package retention
