package rpcerror

// CheckCluster returns why a node of cluster own must not answer a call for cluster asked; nil if it may. own
// is "" while the node does not know its cluster yet.
func CheckCluster(asked, own string) *Failure {
	switch {
	case asked == own && own != "":
		return nil
	case own == "":
		return NoCluster()
	}
	return &Failure{
		Reason: ReasonClusterChanged,
		Message: "this node belongs to cluster " + own + ", and " + QuoteShort(asked) + " is asked for: it was restored from a backup, " +
			"or founded anew; revisions, page tokens and request ids of the other cluster mean nothing here",
		Meta: map[string]string{MetaClusterID: own},
	}
}

// NoCluster refuses a call that needs a registry, on a node that has none: it belongs to no cluster yet, or
// has not heard of its cluster's first log entry.
func NoCluster() *Failure {
	return &Failure{Reason: ReasonNoCluster, Message: "this node belongs to no cluster yet, and knows nothing of its registry; ask another"}
}
