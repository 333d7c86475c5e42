// Package workload is what the load and the servers under it agree on.
package workload

import "fmt"

// Service is the name of service i: of one length, and of the form that Rollcall's documentation
// advises.
func Service(i int) string { return fmt.Sprintf("team-%02d/service-%07d", i%100, i) }
