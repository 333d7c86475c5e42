// Package agent watches services of one machine for a registry: it runs their checks, takes what is pushed to it, and
// reports each as SERVICE/INSTANCE under a lease. It serves grpc.health.v1 for these services by their names, so that
// stock clients and probes of this machine ask it, and what they hear is switched off by the registry as it is of
// client/healthserver.
//
// The parts: services.go says what each service says of itself (its checks and what was pushed); reports.go brings
// that to the registry; opinions.go follows what the registry says; board.go makes one answer of both, which health.go
// serves; agenda.go does what is due later; reload.go takes a new configuration; ports.go has the listeners, and http.go
// the HTTP port.
//
// What belongs here: the course of an agent. What does not: the file's schema (agent/config), what checks do
// (client/checks), flags and signals (cmd/rollcall).
package agent
