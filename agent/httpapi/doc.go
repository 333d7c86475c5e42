// Package httpapi is the HTTP port of an agent: services push their status to it, probes ask it, Prometheus scrapes it,
// and people read its page.
//
//	GET  /                    all services, why each is what it is, and its checks: HTML, plain text or JSON
//	GET  /?service=NAME       the same of one service
//	PUT  /v1/status/NAME      a service says its status: "NOT_SERVING disk full", or JSON
//	DELETE /v1/status/NAME    takes back what was said: the checks alone decide
//	GET  /v1/status/NAME      as /?service=NAME
//	GET  /readyz/NAME         for readiness probes: 200 while NAME is SERVING, else 503 and why
//	GET  /readyz              200 when each check has run once
//	GET  /livez               200 while the agent is not stuck
//	GET  /metrics             for Prometheus
//
// NAME is what follows the prefix in the path, decoded once. Names may have slashes, "//", "." and ".." in them, so no
// path is cleaned or redirected. /v1/status and /readyz take ?service=NAME too, for clients that clean paths.
//
// # Who may ask
//
// A push is taken from this machine only, unless Options.AllowRemotePush. Pages of other origins in a browser of this
// machine may neither push nor read: see guard.go.
//
// # What it costs
//
// At most MaxConnections connections are open, of which three quarters may be kept idle. At the bound new ones wait. A
// connection that dawdles with its request is ended after seconds.
//
// What belongs here: HTTP. What does not: what a service's status is (package agent), and the checks (client/checks).
package httpapi
