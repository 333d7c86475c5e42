// Package readinessgate writes what an agent says of a service into the pod that the agent runs in, as the condition
// that a readiness gate of the pod waits for. So a pod leaves the endpoints of its Kubernetes Services while the
// registry has the service switched off, also for callers that know no gRPC.
//
// The parts: gate.go decides what is written and when; pods.go speaks to Kubernetes' API server; environment.go finds
// the API server and the pod; condition.go is the condition itself.
//
// A Gate is fail-static. While the API server is away, and after the agent has ended, the condition stays as it was
// written last.
//
// What belongs here: one condition of one pod. What does not: what a service says (agent), the file (agent/config),
// every other object of Kubernetes.
package readinessgate
