// Package healthserver is a drop-in for google.golang.org/grpc/health.Server that the registry can switch off.
package healthserver
