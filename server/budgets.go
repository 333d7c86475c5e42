package server

import (
	"google.golang.org/grpc/peer"

	"github.com/rollcallhq/rollcall/server/budget"
	"github.com/rollcallhq/rollcall/server/flowcontrol"
	"github.com/rollcallhq/rollcall/server/receive"
)

// budgets bound the memory that this node holds for its clients.
type budgets struct {
	streams *budget.Budget // messages of WatchEvents and WatchServices that have not left
	answers *budget.Budget // answers to ListServices, ListEvents and Health.List that are made or have not left
	changes *budget.Budget // changes that are not answered, and answers to large ones that have not left
}

// clientMemoryParts are the three budgets, and the limit of requests that are not complete.
const clientMemoryParts = 4

// newBudgets divides bytes.
func newBudgets(bytes int64, closed func(*peer.Peer) bool) budgets {
	part := bytes / clientMemoryParts
	return budgets{
		streams: budget.New("stream-bytes", part, part/4, closed),
		answers: budget.New("answer-bytes", part, part/4, closed),
		changes: budget.New("change-bytes", part, part/4, closed),
	}
}

// newRequestLimits bounds what requests hold that are not complete.
func newRequestLimits(cfg Config) *receive.Limits {
	part := cfg.ClientMemory / clientMemoryParts
	return receive.New(receive.Config{
		Name: "request-bytes", Node: part, PerConnection: part / 4,
		Member: cfg.Node, MaxMessage: maxRequestBytes, Codec: flowcontrol.NewCodec(),
	})
}

// BudgetUse is how much of one budget of Config.ClientMemory is used.
type BudgetUse struct {
	Name        string // as a QuotaFailure names it
	Used, Limit int64  // bytes
	Refused     int64  // calls so far
}

// Budgets returns the use of all budgets.
func (s *Server) Budgets() []BudgetUse {
	var all []BudgetUse
	for _, b := range []interface {
		Name() string
		Use() (used, limit, refused int64)
	}{s.requests, s.budgets.streams, s.budgets.answers, s.budgets.changes} {
		used, limit, refused := b.Use()
		all = append(all, BudgetUse{b.Name(), used, limit, refused})
	}
	return all
}
