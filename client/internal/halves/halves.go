// Package halves splits the endpoints of a client for two watches of the same, of which the newer word counts: a node
// that hangs is noticed after many seconds only, and must not keep the other half's news from a program.
package halves

// Of returns the two disjoint halves of the endpoints, the larger one first; one endpoint, or none, is not split.
func Of(endpoints []string) [][]string {
	if len(endpoints) < 2 {
		return [][]string{endpoints}
	}
	middle := (len(endpoints) + 1) / 2
	return [][]string{endpoints[:middle], endpoints[middle:]}
}
