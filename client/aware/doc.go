// Package aware makes gRPC clients that know which services are switched off.
package aware
