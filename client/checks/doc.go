// Package checks runs health checks and derives from them the status of services.
package checks
